//! The example does what it says.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../examples/echo.rs"]
mod echo;
mod support;

use support::{Observer, closed};

/// Red when: the example fails, or its two ends do not tell of the same messages.
#[tokio::test]
async fn echo_is_observed_at_both_ends() {
    let (near, far) = (Observer::start().await, Observer::start().await);
    echo::run(&near.agent, &far.agent).await.unwrap();
    assert_eq!(near.close().await, closed(1005, "", "local", true));
    assert_eq!(far.close().await, closed(1005, "", "remote", true));
    let messages = ["text 1 5 in 1", "text 2 11 in 1", "text 3 8 in 1"];
    for (observer, kind) in [(&near, "send"), (&far, "receive"), (&far, "send"), (&near, "receive")] {
        assert_eq!(observer.messages(kind).await, messages, "{kind}");
    }
    let (processed, sent) = (far.of("process").await, far.of("send").await);
    assert_eq!(processed.len(), 3);
    assert!(sent.iter().all(|event| event["links"][0]["attributes"]["ws.link.kind"] == "active"));
}
