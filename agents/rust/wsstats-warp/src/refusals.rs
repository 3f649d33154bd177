//! Requests that are refused.

use std::time::SystemTime;

use http::header::UPGRADE;
use http::{HeaderMap, Request, StatusCode};
use warp::log::{Info, Log};
use wsstats::Agent;

/// Records each request for a WebSocket that is answered otherwise, by a handler or by a
/// rejection, as a handshake that failed, with its status. It goes around all routes, and
/// around what recovers from rejections: `routes.with(wsstats_warp::refusals(agent))`.
pub fn refusals(agent: Agent) -> Log<impl Fn(Info<'_>) + Clone> {
    warp::log::custom(move |info| {
        if info.status() == StatusCode::SWITCHING_PROTOCOLS || !asks_for_websocket(info.request_headers()) {
            return;
        }
        let request = request(info.path(), info.request_headers());
        let handshake = agent.server_handshake(&request, info.remote_addr(), []);
        let start = SystemTime::now().checked_sub(info.elapsed());
        handshake.began(start.unwrap_or_else(SystemTime::now)).refused(Some(info.status().as_u16()), "");
    })
}

fn asks_for_websocket(headers: &HeaderMap) -> bool {
    let tokens = headers.get_all(UPGRADE).iter().filter_map(|value| value.to_str().ok());
    tokens.flat_map(|value| value.split(',')).any(|token| token.trim().eq_ignore_ascii_case("websocket"))
}

/// A request as the agent knows it. warp has none that could be lent.
pub(crate) fn request(path: &str, headers: &HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    if let Ok(uri) = path.parse() {
        *request.uri_mut() = uri;
    }
    request.headers_mut().clone_from(headers);
    request
}
