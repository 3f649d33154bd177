//! With `tracing` and its layer for OpenTelemetry, the application's own spans are in the
//! traces of its messages.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

mod support;

use futures_util::{SinkExt, StreamExt};
use opentelemetry::trace::TracerProvider;
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use support::{CLIENT_DATA, Observer, span_id, trace_id};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tracing::Instrument;
use tracing_subscriber::layer::SubscriberExt;
use wsstats_tungstenite::{accept_async, connect_async};

#[tracing::instrument]
async fn query(of: &str) -> String {
    tokio::task::yield_now().await;
    format!("the answer to {of}")
}

/// Red when: a span of a handler is in another trace than its message, or a handshake or
/// send does not name the span of `tracing` that is active.
#[tokio::test]
async fn spans_of_handlers_are_in_the_trace_of_their_message() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(layer));

    let (near, far) = (Observer::start().await, Observer::start().await);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ws://{}/", listener.local_addr().unwrap());
    let serving = async {
        let mut ws = accept_async(&far.agent, listener.accept().await.unwrap().0).await.unwrap();
        while let Some(message) = ws.next().await {
            if let Message::Text(question) = message.unwrap() {
                let processing = ws.process([]);
                let answer = processing.run(query(question.as_str())).await;
                processing.run(ws.send(Message::text(answer))).await.unwrap();
            }
        }
    };
    let asking = async {
        let mut ws = connect_async(&near.agent, url).await.unwrap().0;
        for i in 1..=3 {
            ws.send(Message::text(format!("question {i}"))).await.unwrap();
            assert_eq!(ws.next().await.unwrap().unwrap(), Message::text(format!("the answer to question {i}")));
        }
        ws.close(None).await.unwrap();
        while ws.next().await.is_some() {}
    };
    tokio::join!(serving, asking.instrument(tracing::info_span!("dialogue")));
    near.close().await;
    far.close().await;

    let spans = exporter.get_finished_spans().unwrap();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<&SpanData>>();
    let [dialogue] = named("dialogue")[..] else { panic!("{spans:#?}") };
    let (trace, span) = (dialogue.span_context.trace_id().to_string(), dialogue.span_context.span_id().to_string());
    let handshake = &near.of("handshake").await[0];
    assert_eq!(handshake["traceparent"], format!("00-{trace}-{span}-01"));
    assert_eq!(&far.of("handshake").await[0]["traceparent"].as_str().unwrap()[3..35], trace);
    for event in near.of("send").await {
        assert_eq!(
            (&event["links"][0]["trace_id"], &event["links"][0]["span_id"]),
            (&trace.clone().into(), &span.clone().into())
        );
    }

    let id = handshake["ws.connection.id"].as_str().unwrap();
    let (queries, handlers, sends) = (named("query"), named("ws.handle"), far.of("send").await);
    assert_eq!((queries.len(), handlers.len(), sends.len()), (3, 6, 3));
    for i in 0..3 {
        let ordinal = i as u64 + 1;
        let (handler, sender) = (handlers[2 * i], handlers[2 * i + 1]);
        for span in [queries[i], handler, sender] {
            assert_eq!(span.span_context.trace_id().to_string(), trace_id(id, CLIENT_DATA, ordinal));
        }
        assert_eq!(queries[i].parent_span_id, handler.span_context.span_id());
        for span in [handler, sender] {
            assert_eq!(span.parent_span_id.to_string(), span_id(id, CLIENT_DATA, ordinal, 4, 2), "of process");
        }
        assert_eq!(sends[i]["links"][0]["span_id"], sender.span_context.span_id().to_string());
    }
}
