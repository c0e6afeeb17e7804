//! The bare handler: axum, one route, constant bytes. Nothing can be had for less on this stack.

use std::io::Read;

use axum::Router;
use axum::http::{HeaderValue, header};
use axum::routing::get;
use tokio::net::TcpListener;

/// What the child does: reads the body from standard input, listens on a free port, prints it, serves until killed.
///
/// # Errors
///
/// When standard input cannot be read, no port can be had, or the content type is no header value.
pub fn serve(content_type: &str) -> Result<(), String> {
    let mut body = Vec::new();
    std::io::stdin().read_to_end(&mut body).map_err(|error| format!("cannot read the body: {error}"))?;
    let content_type =
        HeaderValue::from_str(content_type).map_err(|_| format!("{content_type:?} is no content type"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| format!("cannot listen: {error}"))?;
        let port = listener.local_addr().map_err(|error| format!("cannot tell the port: {error}"))?.port();
        super::announce(port).map_err(|error| format!("cannot print the port: {error}"))?;
        answer(listener, content_type, body).await.map_err(|error| format!("cannot serve: {error}"))
    })
}

/// Answers each GET of an entry with `body`.
pub(super) async fn answer(listener: TcpListener, content_type: HeaderValue, body: Vec<u8>) -> std::io::Result<()> {
    // Static bytes are cloned without copying, as those of a cache are.
    let body: axum::body::Bytes = body.into();
    let handler = get(async move || ([(header::CONTENT_TYPE, content_type)], body));
    axum::serve(listener, Router::new().route("/api/memory/cache/{name}/entry/{key}", handler)).await
}
