//! How an agent works.

use std::collections::BTreeMap;
use std::time::Duration;

use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use http::{Uri, uri};

use crate::Encoding;
use crate::agent::Agent;
use crate::backoff::Timing;
use crate::identity::{ENV_AGGREGATES, ENV_ENDPOINT, ENV_TOKEN, resource};

const DEFAULT_ENDPOINT: &str = "ws://localhost:4390/v1/wsstats";
const DEFAULT_PATH: &str = "/v1/wsstats";
const MIN_QUEUE_BYTES: usize = 16 << 10;
/// For ever: times that far away can be reckoned with.
const MAX_DELAY: Duration = Duration::from_secs(1 << 30);

/// An option of an agent that is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The endpoint is no URL of a receiver. It is not repeated, as it may hold a secret.
    #[error("endpoint: {0}")]
    Endpoint(&'static str),
    /// A header cannot be sent, or belongs to the WebSocket handshake.
    #[error("header {name:?}: {why}")]
    Header {
        /// The header's name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A limit of a batch is 0.
    #[error("batch: expected values above 0")]
    Batch,
    /// The queue is too small.
    #[error("queue: expected at least {MIN_QUEUE_BYTES} bytes, got {0}")]
    Queue(usize),
    /// The system has no TLS that can be used.
    #[cfg(feature = "tls")]
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
    /// The thread of the link cannot be started.
    #[error("thread of the link: {0}")]
    Thread(#[source] std::io::Error),
}

/// Makes an [`Agent`]. What is set here goes before the environment.
#[derive(Clone, Default)]
#[must_use = "nothing is done before build"]
pub struct AgentBuilder {
    endpoint: Option<String>,
    token: Option<String>,
    headers: Vec<(String, String)>,
    service: Option<String>,
    attributes: BTreeMap<String, String>,
    encoding: Option<Encoding>,
    batch: Option<(usize, usize, Duration)>,
    queue_bytes: Option<usize>,
    aggregates: Option<u32>,
    #[cfg(feature = "tls")]
    tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub(crate) timing: Timing,
}

impl AgentBuilder {
    /// Sets the receiver's URL: `ws` or `wss`, the path defaults to `/v1/wsstats`. The
    /// default is the environment's `WSSTATS_ENDPOINT`, else
    /// `ws://localhost:4390/v1/wsstats`.
    pub fn endpoint(mut self, endpoint: impl Into<String>) -> AgentBuilder {
        self.endpoint = Some(endpoint.into());
        self
    }

    /// Sends `Authorization: Bearer token` (RFC 6750) when the link opens. The default is
    /// the environment's `WSSTATS_TOKEN`.
    pub fn token(mut self, token: impl Into<String>) -> AgentBuilder {
        self.token = Some(token.into());
        self
    }

    /// Adds a header to the request that opens the link. Those of the WebSocket handshake
    /// itself cannot be set.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> AgentBuilder {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the TLS configuration of a `wss` link. The default trusts the system's
    /// certificates.
    #[cfg(feature = "tls")]
    pub fn tls_config(mut self, config: std::sync::Arc<rustls::ClientConfig>) -> AgentBuilder {
        self.tls = Some(config);
        self
    }

    /// Sets `service.name`. It goes before [`AgentBuilder::resource`], `OTEL_SERVICE_NAME`
    /// and `OTEL_RESOURCE_ATTRIBUTES`.
    pub fn service_name(mut self, name: impl Into<String>) -> AgentBuilder {
        self.service = Some(name.into());
        self
    }

    /// Adds an attribute to the resource that all telemetry of this agent is of. It goes
    /// before those of `OTEL_RESOURCE_ATTRIBUTES`.
    pub fn resource(mut self, key: impl Into<String>, value: impl Into<String>) -> AgentBuilder {
        self.attributes.insert(key.into(), value.into());
        self
    }

    /// Has the agent speak this encoding alone. By default it speaks
    /// [`Encoding::Proto`] with receivers that know it, and [`Encoding::Json`] with others.
    pub fn encoding(mut self, encoding: Encoding) -> AgentBuilder {
        self.encoding = Some(encoding);
        self
    }

    /// Bounds a batch: it is sent when it holds so many events (default 512) or about so
    /// many bytes (default 256 KiB; counted as JSON in both encodings), or when its oldest
    /// event is so old (default 1 s). All three are greater than 0. The receiver's own
    /// limits hold beside these.
    pub fn batch(mut self, max_events: usize, max_bytes: usize, max_delay: Duration) -> AgentBuilder {
        self.batch = Some((max_events, max_bytes, max_delay));
        self
    }

    /// Bounds the memory of events that are not yet acknowledged, in bytes. The default is
    /// 4 MiB, the least 16 KiB. The link needs some more: what a batch takes, a quarter
    /// for [`AgentBuilder::aggregates`], and in the binary form up to about 2 MiB for the
    /// connections and texts that the receiver knows.
    pub fn max_queue_bytes(mut self, n: usize) -> AgentBuilder {
        self.queue_bytes = Some(n);
        self
    }

    /// Has the agent measure its messages itself and tell the receiver their counts and
    /// sizes in histograms, beside the events. Counts are exact and outlast a queue that
    /// is full. While there are more than so many message events a second, events whose
    /// spans the receiver's sampling would not keep are not sent any more; the metrics know
    /// them all the same.
    ///
    /// The default is the environment's `WSSTATS_AGGREGATES`, else 0: never, as events tell
    /// more than histograms do. Of these, processing times are known to about 9 %, and
    /// metrics of messages have no exemplars.
    pub fn aggregates(mut self, above: u32) -> AgentBuilder {
        self.aggregates = Some(above);
        self
    }

    /// Starts the agent, on a thread of its own. It never waits for the network: a receiver
    /// that cannot be reached is tried again and again.
    ///
    /// # Errors
    ///
    /// An option is wrong, or there is no thread to be had.
    pub fn build(self) -> Result<Agent, BuildError> {
        Agent::start(Config::new(self, &|key| std::env::var(key).ok())?)
    }
}

/// What was built, with the environment.
pub(crate) struct Config {
    pub(crate) endpoint: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) resource: BTreeMap<String, String>,
    pub(crate) encoding: Option<Encoding>,
    pub(crate) max_events: usize,
    pub(crate) max_bytes: usize,
    pub(crate) max_delay: Duration,
    pub(crate) queue_bytes: usize,
    pub(crate) aggregates: u32, // message events a second; 0: never
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<std::sync::Arc<rustls::ClientConfig>>,
    pub(crate) timing: Timing,
}

impl Config {
    pub(crate) fn new(b: AgentBuilder, env: &dyn Fn(&str) -> Option<String>) -> Result<Config, BuildError> {
        let set = |key: &str| env(key).filter(|value| !value.is_empty());
        let endpoint = b.endpoint.or_else(|| set(ENV_ENDPOINT));
        let token = b.token.or_else(|| set(ENV_TOKEN)).filter(|token| !token.is_empty());
        let (max_events, max_bytes, max_delay) = b.batch.unwrap_or((512, 256 << 10, Duration::from_secs(1)));
        if max_events == 0 || max_bytes == 0 || max_delay.is_zero() {
            return Err(BuildError::Batch);
        }
        let queue_bytes = b.queue_bytes.unwrap_or(4 << 20);
        if queue_bytes < MIN_QUEUE_BYTES {
            return Err(BuildError::Queue(queue_bytes));
        }
        let endpoint = parse_endpoint(endpoint.as_deref().unwrap_or(DEFAULT_ENDPOINT))?;
        Ok(Config {
            headers: headers(&b.headers, token.as_deref())?,
            resource: resource(b.service, b.attributes, &set),
            encoding: b.encoding,
            max_events,
            max_bytes,
            max_delay: max_delay.min(MAX_DELAY),
            queue_bytes,
            aggregates: b.aggregates.unwrap_or_else(|| env_count(&set)),
            #[cfg(feature = "tls")]
            tls: match b.tls {
                None if endpoint.scheme_str() == Some("wss") => Some(crate::tls::system()?),
                stated => stated,
            },
            endpoint,
            timing: b.timing,
        })
    }
}

/// Reads the rate of the environment, 0 where it is absent or bad: the specification
/// wants a bad variable reported and left out, not a program that does not start.
fn env_count(env: &dyn Fn(&str) -> Option<String>) -> u32 {
    let Some(value) = env(ENV_AGGREGATES) else { return 0 };
    value.parse().unwrap_or_else(|_| {
        tracing::warn!("wsstats: environment ignored: {ENV_AGGREGATES}: expected an integer of at least 0");
        0
    })
}

fn parse_endpoint(endpoint: &str) -> Result<Uri, BuildError> {
    const EXPECTED: BuildError = BuildError::Endpoint("expected a URL such as ws://localhost:4390/v1/wsstats");
    if endpoint.contains('#') {
        return Err(BuildError::Endpoint("expected no fragment"));
    }
    let uri: Uri = endpoint.parse().map_err(|_| EXPECTED)?;
    if !matches!(uri.scheme_str(), Some("ws" | "wss")) {
        return Err(BuildError::Endpoint("expected the scheme ws or wss"));
    }
    let authority = uri.authority().ok_or(EXPECTED)?;
    if authority.as_str().contains('@') {
        return Err(BuildError::Endpoint("user information is not sent by WebSocket clients, use a token or a header"));
    }
    if authority.host().is_empty() {
        return Err(EXPECTED);
    }
    if uri.scheme_str() == Some("wss") && !cfg!(feature = "tls") {
        return Err(BuildError::Endpoint("wss needs the feature tls"));
    }
    let has_path = endpoint.split_once("://").is_some_and(|(_, rest)| rest.contains('/'));
    if has_path {
        return Ok(uri);
    }
    let query = uri.query().map_or(String::new(), |query| format!("?{query}"));
    let mut parts = uri.into_parts();
    parts.path_and_query = uri::PathAndQuery::from_maybe_shared(format!("{DEFAULT_PATH}{query}")).ok();
    Uri::from_parts(parts).map_err(|_| EXPECTED)
}

fn headers(stated: &[(String, String)], token: Option<&str>) -> Result<HeaderMap, BuildError> {
    const HANDSHAKE: [&str; 6] = [
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "sec-websocket-extensions",
        "sec-websocket-protocol",
    ];
    let mut headers = HeaderMap::new();
    for (name, value) in stated {
        let wrong = |why| BuildError::Header { name: name.clone(), why };
        let key: HeaderName = name.parse().map_err(|_| wrong("is no name of a header"))?;
        if HANDSHAKE.contains(&key.as_str()) {
            return Err(wrong("cannot be set, it belongs to the WebSocket handshake"));
        }
        let value = HeaderValue::from_str(value).map_err(|_| wrong("expected no control characters"))?;
        headers.append(key, value);
    }
    if let Some(token) = token {
        let name = || AUTHORIZATION.as_str().to_owned();
        let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
            .map_err(|_| BuildError::Header { name: name(), why: "expected no control characters" })?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::{AgentBuilder, BuildError, Config};
    use crate::Agent;
    use crate::Encoding;
    use std::time::Duration;

    fn config(b: AgentBuilder, env: &[(&str, &str)]) -> Result<Config, BuildError> {
        let env: Vec<(String, String)> = env.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Config::new(b, &move |key| env.iter().find(|(k, _)| k == key).map(|(_, v)| v.clone()))
    }

    /// Red when: a wrong option starts an agent, or the error repeats a URL or a token.
    #[test]
    fn wrong_options_are_errors() {
        let b = Agent::builder;
        for (b, want) in [
            (b().endpoint("http://localhost"), "endpoint: expected the scheme ws or wss"),
            (b().endpoint("localhost:4390"), "endpoint: expected the scheme ws or wss"),
            (b().endpoint("ws://"), "endpoint: expected a URL such as ws://localhost:4390/v1/wsstats"),
            (b().endpoint("ws://h/x#secret"), "endpoint: expected no fragment"),
            (
                b().endpoint("ws://secret@h"),
                "endpoint: user information is not sent by WebSocket clients, use a token or a header",
            ),
            (
                b().header("Sec-WebSocket-Key", "x"),
                "header \"Sec-WebSocket-Key\": cannot be set, it belongs to the WebSocket handshake",
            ),
            (b().header("a b", "x"), "header \"a b\": is no name of a header"),
            (b().header("x-a", "secret\n"), "header \"x-a\": expected no control characters"),
            (b().token("secret\n"), "header \"authorization\": expected no control characters"),
            (b().batch(0, 1, Duration::from_secs(1)), "batch: expected values above 0"),
            (b().batch(1, 1, Duration::ZERO), "batch: expected values above 0"),
            (b().max_queue_bytes(16_383), "queue: expected at least 16384 bytes, got 16383"),
        ] {
            assert_eq!(config(b, &[]).err().map(|e| e.to_string()).as_deref(), Some(want));
        }
    }

    /// Red when: a default changes, or the environment goes before an option.
    #[test]
    fn options_go_before_the_environment() {
        let c = config(Agent::builder(), &[]).unwrap();
        assert_eq!(c.endpoint, "ws://localhost:4390/v1/wsstats");
        assert_eq!((c.max_events, c.max_bytes, c.max_delay), (512, 262_144, Duration::from_secs(1)));
        assert_eq!((c.queue_bytes, c.aggregates, c.encoding), (4_194_304, 0, None));
        assert!(c.headers.is_empty() && c.resource.is_empty());

        let env = [
            ("WSSTATS_ENDPOINT", "wss://env:1?a=b"),
            ("WSSTATS_TOKEN", "env"),
            ("WSSTATS_AGGREGATES", "7"),
            ("OTEL_SERVICE_NAME", "env"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.name=attributes, host.name = web%2C7 ,a=b=c"),
        ];
        let c = config(Agent::builder(), &env).unwrap();
        assert_eq!(c.endpoint, "wss://env:1/v1/wsstats?a=b");
        assert_eq!(c.headers.get("authorization").unwrap(), "Bearer env");
        assert_eq!(c.aggregates, 7);
        let resource: Vec<_> = c.resource.iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(resource, ["a=b=c", "host.name=web,7", "service.name=env"]);

        let b = Agent::builder().endpoint("ws://stated/").token("t").aggregates(8).encoding(Encoding::Json);
        let c = config(b.service_name("s").resource("service.name", "r").resource("a", "r"), &env).unwrap();
        assert_eq!(c.endpoint, "ws://stated/");
        assert_eq!(c.headers.get("authorization").unwrap(), "Bearer t");
        assert_eq!((c.aggregates, c.encoding), (8, Some(Encoding::Json)));
        assert_eq!(c.resource.get("service.name").unwrap(), "s");
        assert_eq!(c.resource.get("a").unwrap(), "r");
    }

    /// Red when: a bad variable is an error, or takes others with it.
    #[test]
    fn bad_environment_is_left_out() {
        let env =
            [("WSSTATS_AGGREGATES", "-1"), ("OTEL_SERVICE_NAME", "env"), ("OTEL_RESOURCE_ATTRIBUTES", "a=b,c%=d")];
        let c = config(Agent::builder(), &env).unwrap();
        assert_eq!(c.aggregates, 0);
        assert_eq!(c.resource.len(), 1);
        assert_eq!(c.resource.get("service.name").unwrap(), "env");
    }
}
