//! The section `[server]`: where the API listens, who may write, how large things may be.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use trimtab_config::{ByteSize, Duration, Problems, Profile, Secret, Settings};

/// Shortest token that is accepted: 16 characters of base64 are 96 bits, far beyond guessing over a network.
const TOKEN_MIN: usize = 16;
/// Longest token: comparing copies it into a buffer of this size.
pub(crate) const TOKEN_MAX: usize = 256;

/// Where the API listens, who may write, and how large bodies, keys and pages may be.
///
/// | field | minimal | balanced | maximum |
/// |---|---|---|---|
/// | `events_max` | 4 | 32 | 256 |
/// | `events_interval` | 2s | 1s | 1s |
/// | `history` (points) | 60 | 300 | 600 |
/// | all others | the same in every profile | | |
///
/// ```
/// use trimtab_admin::AdminSettings;
///
/// let settings = AdminSettings::default();
/// assert!(settings.address.ip().is_loopback(), "nobody else can reach a fresh installation");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminSettings {
    /// Address and port to listen on. Default `127.0.0.1:8000`. Anything but loopback needs a token.
    pub address: SocketAddr,
    /// Bearer token that every write must carry, 16 to 256 visible ASCII characters. Default none: then only this
    /// machine may write.
    pub token: Option<Secret>,
    /// Whether reads need the token too, health and the page itself excepted. Default false.
    pub protect_reads: bool,
    /// Further host names that requests may name, for a proxy in front, without port. Needs a token.
    pub hosts: Vec<String>,
    /// Largest request body apart from entries. Default 64 KiB.
    pub body_max: ByteSize,
    /// Largest request body of an entry, its key and JSON around it included. Default 1 MiB.
    pub entry_max: ByteSize,
    /// Longest key in bytes. Default 256 B.
    pub key_max: ByteSize,
    /// How long a request body may take to arrive. Default 10s.
    pub body_timeout: Duration,
    /// Caches that may exist when another is created over HTTP. Default 256.
    pub caches_max: usize,
    /// Entries on one page of a listing when `limit` is not given. Default 100.
    pub page_default: usize,
    /// Most entries on one page of a listing. Default 1000.
    pub page_max: usize,
    /// Event streams that may be open at once.
    pub events_max: usize,
    /// How often the page is told the news.
    pub events_interval: Duration,
    /// Points of history kept for each of the first 128 caches, one per `events_interval`, 48 B each.
    pub history: usize,
    /// Directory for snapshots of caches: those made over HTTP, and those of caches with `snapshot = true`. Made when it is
    /// needed. Default none: then no snapshot is made or read.
    pub snapshots: Option<PathBuf>,
}

impl Default for AdminSettings {
    fn default() -> Self {
        Self::for_profile(Profile::default())
    }
}

impl AdminSettings {
    /// Whether only this machine can reach the address.
    pub fn is_loopback(&self) -> bool {
        is_loopback(self.address.ip())
    }
}

impl Settings for AdminSettings {
    fn for_profile(profile: Profile) -> Self {
        let (events_max, interval, history) = match profile {
            Profile::Minimal => (4, 2, 60),
            Profile::Maximum => (256, 1, 600),
            Profile::Balanced => (32, 1, 300),
        };
        Self {
            address: SocketAddr::from(([127, 0, 0, 1], 8000)),
            token: None,
            protect_reads: false,
            hosts: Vec::new(),
            body_max: ByteSize::kib(64),
            entry_max: ByteSize::mib(1),
            key_max: ByteSize::b(256),
            body_timeout: std::time::Duration::from_secs(10).into(),
            caches_max: 256,
            page_default: 100,
            page_max: 1000,
            events_max,
            events_interval: std::time::Duration::from_secs(interval).into(),
            history,
            snapshots: None,
        }
    }

    fn check(&self, problems: &mut Problems) {
        self.check_access(problems);
        if self.snapshots.as_ref().is_some_and(|directory| directory.as_os_str().is_empty()) {
            problems.report("snapshots", "", "name a directory, or leave it out for no snapshots");
        }
        let mut within = |path: &str, value: u64, unit: &str, min: u64, max: u64| {
            if !(min..=max).contains(&value) {
                problems.report(path, value, format!("choose {min} to {max}{unit}"));
            }
        };
        within("body_max", self.body_max.as_u64(), " bytes", 1024, 64 << 20);
        within("entry_max", self.entry_max.as_u64(), " bytes", 1024, 1 << 30);
        within("key_max", self.key_max.as_u64(), " bytes", 1, 4096);
        within("body_timeout", self.body_timeout.as_millis() as u64, " milliseconds", 100, 600_000);
        within("caches_max", self.caches_max as u64, "", 1, 65_536);
        within("page_max", self.page_max as u64, "", 1, 10_000);
        within("page_default", self.page_default as u64, "", 1, self.page_max.max(1) as u64);
        within("events_max", self.events_max as u64, "", 1, 10_000);
        within("events_interval", self.events_interval.as_millis() as u64, " milliseconds", 100, 60_000);
        within("history", self.history as u64, "", 2, 3600);
    }
}

impl AdminSettings {
    fn check_access(&self, problems: &mut Problems) {
        if let Some(token) = &self.token {
            let token = token.expose();
            if !(TOKEN_MIN..=TOKEN_MAX).contains(&token.len()) {
                let remedy = format!(
                    "choose {TOKEN_MIN} to {TOKEN_MAX} characters, for example the output of `openssl rand -hex 24`"
                );
                problems.report("token", "(hidden)", remedy);
            }
            if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                problems.report("token", "(hidden)", "use visible ASCII characters only: it travels in a header");
            }
        } else {
            if !self.is_loopback() {
                let remedy =
                    "others can reach this address: set server.token (at least 16 characters), or listen on 127.0.0.1";
                problems.report("address", self.address.to_string(), remedy);
            }
            if !self.hosts.is_empty() {
                let remedy = "other host names mean that others can reach the API: set server.token";
                problems.report("hosts", self.hosts.join(", "), remedy);
            }
            if self.protect_reads {
                problems.report("protect_reads", true, "there is no token to ask for: set server.token");
            }
        }
        for (index, host) in self.hosts.iter().enumerate() {
            let known = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:[]".contains(&byte);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(known) {
                problems.report(format!("hosts.{index}"), host, "write a host name or address without scheme and port");
            }
        }
    }
}

/// Whether an address is one of this machine's own, mapped ones included.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
