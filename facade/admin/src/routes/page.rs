//! The dashboard and its files, compiled in; the OpenAPI document; the kinds of problems.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::OriginalUri;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH};
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::fields::closest;
use crate::problem::{Problem, ProblemKind, no_such_route, shorten};
use crate::router::{Answer, Routes};
use crate::schema::ProblemBody;

pub(crate) fn routes() -> Routes {
    OpenApiRouter::new()
        .routes(routes!(index))
        .routes(routes!(file))
        .routes(routes!(document))
        .routes(routes!(problems))
        .routes(routes!(problem))
}

/// Only what this server sends itself; styles and scripts from files only; in nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

const INDEX: &str = include_str!("../dashboard/index.html");

/// Name, media type, content.
const FILES: [(&str, &str, &str); 15] = [
    ("app.js", "text/javascript; charset=utf-8", include_str!("../dashboard/app.js")),
    ("worth.js", "text/javascript; charset=utf-8", include_str!("../dashboard/worth.js")),
    ("budget.js", "text/javascript; charset=utf-8", include_str!("../dashboard/budget.js")),
    ("chart.js", "text/javascript; charset=utf-8", include_str!("../dashboard/chart.js")),
    ("pools.js", "text/javascript; charset=utf-8", include_str!("../dashboard/pools.js")),
    ("panels.js", "text/javascript; charset=utf-8", include_str!("../dashboard/panels.js")),
    ("lanes.js", "text/javascript; charset=utf-8", include_str!("../dashboard/lanes.js")),
    ("calls.js", "text/javascript; charset=utf-8", include_str!("../dashboard/calls.js")),
    ("locks.js", "text/javascript; charset=utf-8", include_str!("../dashboard/locks.js")),
    ("limits.js", "text/javascript; charset=utf-8", include_str!("../dashboard/limits.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("../dashboard/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("../dashboard/icon.svg")),
    ("uplot.js", "text/javascript; charset=utf-8", include_str!("../dashboard/uplot.js")),
    ("uplot.css", "text/css; charset=utf-8", include_str!("../dashboard/uplot.css")),
    ("LICENSE-uplot.txt", "text/plain; charset=utf-8", include_str!("../dashboard/LICENSE-uplot.txt")),
];

/// The dashboard
#[utoipa::path(
    get,
    path = "/",
    tag = "page",
    responses((status = 200, description = "The page", body = String, content_type = "text/html"))
)]
async fn index(OriginalUri(original): OriginalUri) -> Response {
    // Mounted below a prefix, with or without a slash at its end: the page's links are relative to this base.
    let base = format!("{}/", original.path().trim_end_matches('/'));
    let html = INDEX.replace("{{base}}", &escape(&base)).replace("{{parts}}", &crate::parts::COMPILED.join(" "));
    let mut response = html.into_response();
    page_headers(response.headers_mut(), "text/html; charset=utf-8");
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn page_headers(headers: &mut HeaderMap, media: &'static str) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    for (name, value) in [
        ("content-security-policy", POLICY),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;").replace('>', "&gt;")
}

/// A file of the dashboard
#[utoipa::path(
    get,
    path = "/dashboard/{file}",
    tag = "page",
    params(("file" = String, Path, description = "`app.js`, `style.css` and the like")),
    responses(
        (status = 200, description = "The file", body = String),
        (status = 304, description = "The file that the client has is the newest"),
        (status = 404, description = "No such file", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn file(request: HeaderMap, uri: Uri) -> Answer<Response> {
    let name = uri.path().rsplit('/').next().unwrap_or_default();
    let Some(at) = FILES.iter().position(|(known, ..)| *known == name) else { return Err(no_such_route(&uri)) };
    let (_, media, content) = FILES[at];
    let tag = &TAGS[at];
    let known = request.get(IF_NONE_MATCH).is_some_and(|tags| tags == tag);
    let mut response = if known {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        Bytes::from_static(content.as_bytes()).into_response()
    };
    page_headers(response.headers_mut(), media);
    response.headers_mut().insert(ETAG, tag.clone());
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

/// Entity tags by content: a new version of the program is seen at once, an unchanged file is not sent again.
static TAGS: LazyLock<[HeaderValue; FILES.len()]> = LazyLock::new(|| {
    FILES.map(|(_, _, content)| {
        // FNV-1a, 64 bits: it tells versions of our own files apart, nothing more is asked of it.
        let hash = content
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        HeaderValue::from_str(&format!("\"{hash:016x}\"")).unwrap_or(HeaderValue::from_static("\"0\""))
    })
});

/// OpenAPI document
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "page",
    responses((status = 200, description = "This document", body = Object))
)]
async fn document() -> Response {
    static DOCUMENT: LazyLock<Bytes> =
        LazyLock::new(|| serde_json::to_vec(&crate::openapi()).unwrap_or_default().into());
    ([(CONTENT_TYPE, "application/json")], DOCUMENT.clone()).into_response()
}

/// A kind of problem.
#[derive(Debug, Serialize, ToSchema)]
struct KindBody {
    /// What `type` names it in errors.
    r#type: String,
    /// The status that it is answered with.
    status: u16,
    /// What it means.
    title: &'static str,
}

impl From<ProblemKind> for KindBody {
    fn from(kind: ProblemKind) -> Self {
        Self { r#type: format!("/problems/{}", kind.code()), status: kind.status().as_u16(), title: kind.title() }
    }
}

/// Kinds of problems
#[utoipa::path(
    get,
    path = "/problems",
    tag = "page",
    responses((status = 200, description = "Every kind", body = Vec<KindBody>))
)]
async fn problems() -> Json<Vec<KindBody>> {
    Json(ProblemKind::ALL.iter().map(|kind| KindBody::from(*kind)).collect())
}

/// A kind of problem
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "page",
    params(("code" = String, Path, description = "The last part of `type`")),
    responses(
        (status = 200, description = "The kind", body = KindBody),
        (status = 404, description = "No such kind", body = ProblemBody, content_type = "application/problem+json")
    )
)]
async fn problem(uri: Uri) -> Answer<Json<KindBody>> {
    let code = uri.path().rsplit('/').next().unwrap_or_default();
    if let Some(kind) = ProblemKind::ALL.iter().find(|kind| kind.code() == code) {
        return Ok(Json((*kind).into()));
    }
    let near = closest(code, ProblemKind::ALL.iter().map(|kind| kind.code()));
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let detail = format!("there is no problem kind `{}`{hint} All of them are at /problems", shorten(code));
    Err(Problem::new(ProblemKind::UnknownProblem, detail).at(&uri))
}
