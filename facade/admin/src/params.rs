//! Path and query parameters, decoded with our own words for what is wrong.

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::Uri;
use axum::http::request::Parts;

use crate::fields::closest;
use crate::problem::{Problem, ProblemKind, shorten};

/// The path parameter `{name}`, percent-decoded.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

/// The path parameter `{id}`, percent-decoded.
#[cfg(feature = "scheduler")]
#[derive(Debug)]
pub(crate) struct Id(pub(crate) String);

/// The path parameters `{name}` and `{*key}`, percent-decoded; a key may hold slashes.
#[derive(Debug)]
pub(crate) struct NameKey(pub(crate) String, pub(crate) String);

async fn params(parts: &mut Parts) -> Result<RawPathParams, Problem> {
    RawPathParams::from_request_parts(parts, &()).await.map_err(|rejection| {
        let detail = format!("{rejection}; encode every byte beyond ASCII as %XX of its UTF-8");
        Problem::new(ProblemKind::BadPath, detail).at(&parts.uri)
    })
}

fn param(params: &RawPathParams, wanted: &str) -> String {
    params.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value.to_owned()).unwrap_or_default()
}

impl<S: Sync> FromRequestParts<S> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(param(&params(parts).await?, "name")))
    }
}

#[cfg(feature = "scheduler")]
impl<S: Sync> FromRequestParts<S> for Id {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Ok(Self(param(&params(parts).await?, "id")))
    }
}

impl<S: Sync> FromRequestParts<S> for NameKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let params = params(parts).await?;
        Ok(Self(param(&params, "name"), param(&params, "key")))
    }
}

/// The query string as pairs; parameters that are not in `known` and those given twice are refused.
pub(crate) fn query(uri: &Uri, known: &[&'static str]) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for part in uri.query().unwrap_or_default().split('&').filter(|part| !part.is_empty()) {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        let (Some(name), Some(value)) = (decode(name), decode(value)) else {
            let detail = format!("`{}` is not valid percent-encoded UTF-8", shorten(part));
            return Err(Problem::new(ProblemKind::BadQuery, detail));
        };
        if !known.contains(&name.as_str()) {
            let advice = match closest(&name, known.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if known.is_empty() => "this route takes none".to_owned(),
                None => format!("known are {}", known.join(", ")),
            };
            let detail = format!("`{}` is not a parameter here; {advice}", shorten(&name));
            return Err(Problem::new(ProblemKind::BadQuery, detail));
        }
        if pairs.iter().any(|(given, _)| *given == name) {
            return Err(Problem::new(ProblemKind::BadQuery, format!("`{name}` is given more than once; keep one")));
        }
        pairs.push((name, value));
    }
    Ok(pairs)
}

/// Percent-decoding of a query part, in which `+` is a space.
fn decode(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                out.push((high * 16 + low) as u8);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String)>, Problem> {
        query(&format!("/x?{text}").parse().expect("a URI"), &["limit", "after"])
    }

    #[test]
    fn pairs_are_decoded() {
        let pairs = of("limit=5&after=a%2Fb+c").expect("fine");
        assert_eq!(pairs, [("limit".into(), "5".into()), ("after".into(), "a/b c".into())]);
    }

    #[test]
    fn unknown_twice_given_and_broken_parameters_are_refused() {
        assert!(of("limti=5").expect_err("misspelt").detail().contains("did you mean `limit`"));
        for text in ["limit=1&limit=2", "after=%f", "after=%zz", "after=%ff"] {
            assert_eq!(of(text).expect_err(text).kind(), ProblemKind::BadQuery);
        }
    }
}
