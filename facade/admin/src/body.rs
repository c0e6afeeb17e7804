//! Reading request bodies: announced as JSON, bounded, in time, and refused in words.
//!
//! The limit is ours rather than a layer's, so that routes without a body pay nothing and every refusal is a
//! problem. A body that is too large is still drained, up to a bound: a client that is cut off in the middle of
//! sending would see a broken connection instead of the explanation.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use trimtab_config::ByteSize;

use crate::problem::{Problem, ProblemKind, shorten};

/// How much of an oversized body is read and dropped, and for how long.
const DRAIN_MAX: u64 = 32 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What a body may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Largest size.
    pub(crate) max: ByteSize,
    /// The setting that holds `max`, for the message.
    pub(crate) setting: &'static str,
    /// Longest time to arrive.
    pub(crate) time: Duration,
}

/// The whole body, if it is announced as JSON and keeps the limit.
///
/// # Cancel safety
/// Dropping the future drops what was read.
pub(crate) async fn read_json(headers: &HeaderMap, mut body: Body, limit: Limit) -> Result<Bytes, Problem> {
    let max = limit.max.as_u64();
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if let Err(problem) = content_type(headers) {
        drain(body, announced).await;
        return Err(problem);
    }
    if announced.is_some_and(|length| length > max) {
        drain(body, announced).await;
        return Err(too_large(announced, limit));
    }
    let mut whole = BytesMut::with_capacity(announced.unwrap_or(0).min(max) as usize);
    let reading = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                let detail = format!("the body broke off after {} bytes ({error}); send it again", whole.len());
                Problem::new(ProblemKind::BadBody, detail)
            })?;
            if let Ok(data) = frame.into_data() {
                if (whole.len() + data.len()) as u64 > max {
                    return Ok(false);
                }
                whole.extend_from_slice(&data);
            }
        }
        Ok(true)
    };
    match tokio::time::timeout(limit.time, reading).await {
        Ok(Ok(true)) => Ok(whole.freeze()),
        Ok(Ok(false)) => {
            drain(body, None).await;
            Err(too_large(announced, limit))
        }
        Ok(Err(problem)) => Err(problem),
        Err(_) => {
            let detail = format!(
                "the body had not arrived after {}ms; send it at once, or raise server.body_timeout",
                limit.time.as_millis()
            );
            Err(Problem::new(ProblemKind::BodyTimeout, detail))
        }
    }
}

fn too_large(announced: Option<u64>, limit: Limit) -> Problem {
    let size = announced.map_or_else(|| "more than that".to_owned(), |length| format!("{length} bytes"));
    let detail = format!(
        "the body may have {} bytes and has {size}; send less, or raise server.{}",
        limit.max.as_u64(),
        limit.setting
    );
    Problem::new(ProblemKind::BodyTooLarge, detail)
        .with("limit_bytes", limit.max.as_u64())
        .with("setting", format!("server.{}", limit.setting))
}

/// Reads and drops, so that the client finishes sending and reads the answer.
async fn drain(mut body: Body, announced: Option<u64>) {
    if announced.is_some_and(|length| length > DRAIN_MAX) {
        return;
    }
    let mut left = DRAIN_MAX;
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let size = frame.data_ref().map_or(0, |data| data.len() as u64);
            match left.checked_sub(size) {
                Some(rest) => left = rest,
                None => break,
            }
        }
    };
    // Whether it ended or ran out of time, the answer is the same.
    let _ = tokio::time::timeout(DRAIN_TIME, reading).await;
}

/// `application/json` or any `+json`, in UTF-8.
fn content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase());
    let observed = match given.as_deref() {
        None => "it has no Content-Type".to_owned(),
        Some(given) => {
            let mut parts = given.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let json = media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"));
            let charset = parts.find_map(|part| part.strip_prefix("charset=")).map(|value| value.trim_matches('"'));
            if json && charset.is_none_or(|charset| charset == "utf-8" || charset == "utf8") {
                return Ok(());
            }
            format!("it is `{}`", shorten(given))
        }
    };
    let detail =
        format!("the body must be JSON in UTF-8, but {observed}; send the header `Content-Type: application/json`");
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit() -> Limit {
        Limit { max: ByteSize::b(10), setting: "body_max", time: Duration::from_secs(1) }
    }

    fn json() -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_TYPE, "application/json; charset=UTF-8".parse().expect("a header"))])
    }

    #[tokio::test]
    async fn a_body_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
        assert_eq!(read_json(&json(), Body::from("0123456789"), limit()).await.expect("fits"), "0123456789");
        let problem = read_json(&json(), Body::from("0123456789a"), limit()).await.expect_err("one too many");
        assert_eq!(problem.kind(), ProblemKind::BodyTooLarge);
        assert!(problem.detail().contains("server.body_max"));
    }

    #[tokio::test]
    async fn a_form_is_refused_since_browsers_send_it_across_sites() {
        for value in ["application/x-www-form-urlencoded", "text/plain", "application/json; charset=latin1", ""] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, value.parse().expect("a header"))]);
            let problem = read_json(&headers, Body::from("{}"), limit()).await.expect_err(value);
            assert_eq!(problem.kind(), ProblemKind::UnsupportedMediaType, "{value}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_never_comes_is_given_up() {
        let never = Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let problem = read_json(&json(), never, limit()).await.expect_err("never");
        assert_eq!(problem.kind(), ProblemKind::BodyTimeout);
    }
}
