//! Reading one entry: the route that a service is measured by, so it does nothing it can leave out.
//!
//! No layer stands before it; the path is read in place, without the router's copies of its parameters; the value
//! goes out as the bytes that were stored. The guard and the meters are asked directly.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::Uri;
use axum::http::header::{CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{check_key, check_name, no_cache, typed};
use crate::guard::Access;
use crate::metrics::{Group, sampled_start};
use crate::problem::{Problem, ProblemKind, shorten};
use crate::router::{App, Routes};

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new().routes(routes!(read))
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Read an entry
///
/// Answers the JSON as it was stored. A key may hold slashes; encode `%`, `?` and `#`.
#[utoipa::path(
    get,
    path = "/api/memory/cache/{name}/entry/{*key}",
    tag = "entries",
    params(("name" = String, Path, description = "Name of the cache"), ("key" = String, Path, description = "Key of the entry")),
    responses(
        (status = 200, description = "The stored JSON", body = serde_json::Value),
        (status = "4XX", description = "No such cache or entry", body = crate::schema::ProblemBody, content_type = "application/problem+json")
    )
)]
async fn read(State(app): State<Arc<App>>, request: Request) -> Response {
    let started = sampled_start();
    let (parts, _) = request.into_parts();
    let response = match app.guard.check(Access::Read, &parts).and_then(|()| find(&app, &parts.uri)) {
        Ok(value) => {
            let mut response = Response::new(Body::from(value));
            response.headers_mut().insert(CONTENT_TYPE, JSON);
            response
        }
        Err(problem) => problem.at(&parts.uri).into_response(),
    };
    app.metrics.count(Group::Entry, response.status());
    app.metrics.time(Group::Entry, started);
    response
}

fn find(app: &App, uri: &Uri) -> Result<Bytes, Problem> {
    let (name, key) = split(uri.path());
    let (name, key) = (decode(name)?, decode(key)?);
    let Some(cache) = app.console.caches().get(&name) else { return Err(no_cache(app, &name)) };
    let Some(bytes) = cache.as_bytes() else { return Err(typed(&*cache)) };
    match bytes.get(&key) {
        Some(value) => Ok(value),
        None => Err(missing(app, &name, &key)),
    }
}

#[cold]
fn missing(app: &App, name: &str, key: &str) -> Problem {
    if let Err(problem) = check_name(name).and_then(|()| check_key(app, key)) {
        return problem;
    }
    let detail =
        format!("the cache `{name}` has no entry `{}`: it was never put, has expired, or was evicted", shorten(key));
    Problem::new(ProblemKind::UnknownEntry, detail)
}

/// Name and key of `…/cache/{name}/entry/{key}`, still encoded. The router has matched the path already, behind
/// whatever prefix it is mounted at; the first occurrence ends the prefix, since names hold no slash.
fn split(path: &str) -> (&str, &str) {
    let rest = path.split_once("/api/memory/cache/").map_or("", |(_, rest)| rest);
    rest.split_once("/entry/").unwrap_or((rest, ""))
}

/// Percent-decoding that borrows when there is nothing to decode. As in the router, what is no escape stays as it is.
fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    if !text.as_bytes().contains(&b'%') {
        return Ok(Cow::Borrowed(text));
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let digit = |offset: usize| bytes.get(at + offset).and_then(|byte| char::from(*byte).to_digit(16));
        if let (b'%', Some(high), Some(low)) = (byte, digit(1), digit(2)) {
            out.push((high * 16 + low) as u8);
            at += 3;
        } else {
            out.push(byte);
            at += 1;
        }
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| {
        let detail =
            format!("`{}` does not decode to UTF-8; encode every byte beyond ASCII as %XX of its UTF-8", shorten(text));
        Problem::new(ProblemKind::BadPath, detail)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_split_behind_any_prefix() {
        assert_eq!(split("/api/memory/cache/a/entry/k"), ("a", "k"));
        assert_eq!(split("/admin/api/memory/cache/a/entry/k/entry/l"), ("a", "k/entry/l"));
        assert_eq!(split("/elsewhere"), ("", ""));
    }

    #[test]
    fn decoding_borrows_and_leaves_what_is_no_escape() {
        assert!(matches!(decode("user:1").expect("plain"), Cow::Borrowed("user:1")));
        assert_eq!(decode("a%2Fb%20c").expect("escapes"), "a/b c");
        assert_eq!(decode("100%").expect("no escape"), "100%");
        assert_eq!(decode("%zz%4").expect("no escape"), "%zz%4");
        assert_eq!(decode("%ff").expect_err("no UTF-8").kind(), ProblemKind::BadPath);
    }
}
