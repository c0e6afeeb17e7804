//! Who may read and who may write: token, host, origin.
//!
//! Three doors, each closed by default. *Token*: when one is set, every write carries it (`Authorization: Bearer`);
//! it is compared in constant time, and a peer that keeps failing is refused unheard. *Host*: while the API answers
//! on loopback only, a request must name a loopback host, else a page of another site could reach it by letting its
//! own name resolve to 127.0.0.1 (DNS rebinding). *Origin*: without a token a browser's write must come from this
//! very page; other programs send no `Origin` and pass.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::ConnectInfo;
use axum::http::header::{AUTHORIZATION, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{Method, Uri};
use subtle::ConstantTimeEq;
use trimtab_config::Secret;

use crate::problem::{Problem, ProblemKind, shorten};
use crate::settings::{AdminSettings, TOKEN_MAX, is_loopback};
use crate::throttle::Throttle;

/// Which listener the router is behind, as far as it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Listener {
    /// Ours, bound to the address of the settings: on loopback every peer is this machine.
    Own,
    /// Somebody else's application: the peer is known only from `ConnectInfo`.
    Foreign,
}

/// What a request wants, for the rules of [`Guard`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The page, its files and the health of the process: no secret in them.
    Public,
    /// Everything else that changes nothing.
    Read,
    /// Everything that changes something.
    Write,
}

impl Access {
    /// Methods that must not change anything read; all others write.
    pub(crate) fn of(method: &Method) -> Self {
        if matches!(*method, Method::GET | Method::HEAD) { Self::Read } else { Self::Write }
    }
}

/// The rules of one router.
#[derive(Debug)]
pub(crate) struct Guard {
    token: Option<Secret>,
    protect_reads: bool,
    hosts: Hosts,
    listener: Listener,
    throttle: Throttle,
}

#[derive(Debug)]
enum Hosts {
    Any,
    /// Loopback names, and these.
    Only(Vec<String>),
}

impl Guard {
    pub(crate) fn new(settings: &AdminSettings, listener: Listener) -> Self {
        // Behind a foreign listener the bind is unknown; a token says that others are expected.
        let open = match listener {
            Listener::Own => !settings.is_loopback(),
            Listener::Foreign => settings.token.is_some(),
        };
        let hosts = if open && settings.hosts.is_empty() {
            Hosts::Any
        } else {
            Hosts::Only(settings.hosts.iter().map(|host| host.to_ascii_lowercase()).collect())
        };
        Self {
            token: settings.token.clone(),
            protect_reads: settings.protect_reads,
            hosts,
            listener,
            throttle: Throttle::default(),
        }
    }

    /// Lets the request pass or says why not.
    ///
    /// # Complexity
    /// A read without `protect_reads` looks at one header and allocates nothing.
    pub(crate) fn check(&self, access: Access, request: &Parts) -> Result<(), Problem> {
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
        self.check_parts(access, &request.uri, &request.headers, peer)
    }

    /// As [`check`](Self::check) for a read whose peer only matters when reads are protected.
    pub(crate) fn check_parts(
        &self,
        access: Access,
        uri: &Uri,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), Problem> {
        let host = host_of(uri, headers);
        self.check_host(host)?;
        match (access, &self.token) {
            (Access::Public, _) => Ok(()),
            (Access::Read, _) if !self.protect_reads => Ok(()),
            (_, Some(token)) => self.check_token(token, headers, peer),
            (Access::Read, None) => Ok(()),
            (Access::Write, None) => {
                self.check_peer(peer)?;
                check_origin(host, headers)
            }
        }
    }

    /// Whether writes need a token: the page then asks for it.
    pub(crate) fn needs_token(&self) -> bool {
        self.token.is_some()
    }

    /// Whether reads need it too.
    pub(crate) fn protects_reads(&self) -> bool {
        self.protect_reads && self.token.is_some()
    }

    fn check_host(&self, host: Option<&str>) -> Result<(), Problem> {
        let Hosts::Only(hosts) = &self.hosts else { return Ok(()) };
        // Browsers always send one; a program that does not is no victim of rebinding.
        let Some(host) = host else { return Ok(()) };
        let name = without_port(host);
        if is_loopback_name(name) || hosts.iter().any(|known| known.eq_ignore_ascii_case(name)) {
            return Ok(());
        }
        let detail = format!(
            "the request names the host `{}`, but only loopback names and `server.hosts` are answered; \
             add it to server.hosts and set server.token",
            shorten(name)
        );
        Err(Problem::new(ProblemKind::ForbiddenHost, detail))
    }

    fn check_token(&self, token: &Secret, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<(), Problem> {
        if let Some(wait) = self.throttle.refused(peer) {
            let detail = "too many wrong tokens came from this peer; wait, then send the right one";
            return Err(Problem::new(ProblemKind::TooManyAttempts, detail).retry_after(wait.as_secs() + 1));
        }
        let Some(header) = headers.get(AUTHORIZATION) else {
            // Not counted as a failure: this is how a client finds out that a token is wanted.
            let detail = "this request needs the header `Authorization: Bearer <token>` with the value of server.token";
            return Err(unauthorized(detail, ""));
        };
        let given = header.as_bytes();
        let given = match given.split_at_checked(7) {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case(b"bearer ") => rest.trim_ascii(),
            _ => {
                self.throttle.failed(peer);
                return Err(unauthorized(
                    "the header Authorization must be `Bearer <token>`",
                    ", error=\"invalid_request\"",
                ));
            }
        };
        if same(given, token.expose().as_bytes()) {
            return Ok(());
        }
        self.throttle.failed(peer);
        Err(unauthorized("the bearer token is not the value of server.token", ", error=\"invalid_token\""))
    }

    fn check_peer(&self, peer: Option<IpAddr>) -> Result<(), Problem> {
        let detail = match (self.listener, peer) {
            (Listener::Own, _) => return Ok(()),
            (Listener::Foreign, Some(peer)) if is_loopback(peer) => return Ok(()),
            (Listener::Foreign, Some(peer)) => format!("{peer} is not this machine: set server.token and send it"),
            (Listener::Foreign, None) => {
                "the application that mounts this API does not tell where a request comes from: \
                 set server.token, or serve with `into_make_service_with_connect_info::<SocketAddr>()`"
                    .to_owned()
            }
        };
        Err(Problem::new(ProblemKind::RemoteWrite, detail))
    }
}

fn unauthorized(detail: &str, error: &str) -> Problem {
    let challenge = format!("Bearer realm=\"trimtab\"{error}");
    let challenge = HeaderValue::from_str(&challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    Problem::new(ProblemKind::Unauthorized, detail).header(WWW_AUTHENTICATE, challenge)
}

/// Refuses what a browser sends for a page that is not ours.
fn check_origin(host: Option<&str>, headers: &HeaderMap) -> Result<(), Problem> {
    if let Some(origin) = headers.get(ORIGIN) {
        let authority = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, rest)| rest);
        let same = authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host));
        if !same {
            let detail = format!(
                "the browser sent this write for the page of `{}`; open this server's own page, or set server.token and send it",
                shorten(&String::from_utf8_lossy(origin.as_bytes()))
            );
            return Err(Problem::new(ProblemKind::CrossSite, detail));
        }
    }
    let site = headers.get("sec-fetch-site").map_or(&b"none"[..], HeaderValue::as_bytes);
    if matches!(site, b"same-origin" | b"none") {
        return Ok(());
    }
    let detail = "the browser marks this write as coming from another site; open this server's own page";
    Err(Problem::new(ProblemKind::CrossSite, detail))
}

/// The host that the request names: the authority of an absolute URI (also HTTP/2), else the header.
fn host_of<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    match uri.authority() {
        Some(authority) => Some(authority.as_str()),
        // A host that is not text is nobody's; the replacement matches no rule.
        None => headers.get(HOST).map(|host| host.to_str().unwrap_or("?")),
    }
}

/// `[::1]:8000` → `[::1]`, `localhost:8000` → `localhost`.
fn without_port(host: &str) -> &str {
    if host.starts_with('[') {
        return host.find(']').map_or(host, |end| &host[..=end]);
    }
    host.split_once(':').map_or(host, |(name, _)| name)
}

fn is_loopback_name(name: &str) -> bool {
    if name.eq_ignore_ascii_case("localhost") {
        return true;
    }
    if let Some(inner) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok_and(|ip| is_loopback(ip.into()));
    }
    // Digits first: a name such as `127.evil.example` must not pass, and parsing refuses it.
    name.starts_with("127.") && name.parse::<Ipv4Addr>().is_ok_and(|ip| ip.is_loopback())
}

/// Whether two tokens are equal, in time that depends on neither's content nor length.
fn same(given: &[u8], wanted: &[u8]) -> bool {
    let mut left = [0_u8; TOKEN_MAX];
    let mut right = [0_u8; TOKEN_MAX];
    let fits = given.len() <= TOKEN_MAX && wanted.len() <= TOKEN_MAX && !wanted.is_empty();
    let (given_len, wanted_len) = (given.len().min(TOKEN_MAX), wanted.len().min(TOKEN_MAX));
    left[..given_len].copy_from_slice(&given[..given_len]);
    right[..wanted_len].copy_from_slice(&wanted[..wanted_len]);
    let equal = left.ct_eq(&right) & (given_len as u64).ct_eq(&(wanted_len as u64));
    fits && bool::from(equal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_split_from_ports() {
        assert_eq!(without_port("localhost:8000"), "localhost");
        assert_eq!(without_port("[::1]:8000"), "[::1]");
        assert_eq!(without_port("[::1"), "[::1");
        assert_eq!(without_port(""), "");
    }

    #[test]
    fn only_this_machine_is_a_loopback_name() {
        for name in ["localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "[::1]", "[::ffff:127.0.0.1]"] {
            assert!(is_loopback_name(name), "{name}");
        }
        for name in
            ["127.evil.example", "localhost.evil.example", "0.0.0.0", "[::]", "10.0.0.1", "", "127.0.0.1.", "[::1"]
        {
            assert!(!is_loopback_name(name), "{name}");
        }
    }

    #[test]
    fn tokens_are_equal_only_when_whole() {
        assert!(same(b"0123456789abcdef", b"0123456789abcdef"));
        assert!(!same(b"0123456789abcde", b"0123456789abcdef"));
        assert!(!same(b"0123456789abcdef\0", b"0123456789abcdef"));
        assert!(!same(b"", b""));
        let long = [b'x'; TOKEN_MAX + 1];
        assert!(!same(&long, &long[..TOKEN_MAX]));
    }
}
