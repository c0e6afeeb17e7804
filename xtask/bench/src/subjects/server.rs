//! The program `trimtab` under load, beside a bare axum handler that returns the same bytes.
//!
//! Both run as processes of their own on loopback and stay up for the whole case; `wrk -t1 -c64` asks one, then the
//! other, in turn. The bare handler answers with the very bytes and content type that the program was seen to answer
//! with, so the ratio is what routing, lookup, guards and metrics cost on top of HTTP itself.

mod bare;
mod process;
mod wrk;

use std::cell::OnceCell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

use serde_json::{Value, json};

pub use bare::serve as serve_bare;
pub(super) use process::build_server;

use crate::frame::{Bar, Case, Contender, Measure, Options, Plan, Role, Rounds, Subject, Wanted};
use process::Running;

const CACHE: &str = "bench";
const KEY: &str = "user:123";

/// The subject `server`.
#[derive(Debug)]
pub struct ServerSubject;

impl Subject for ServerSubject {
    fn name(&self) -> &'static str {
        "server"
    }

    fn about(&self) -> &'static str {
        "requests per second on GET of a cached entry, beside a bare axum handler (needs wrk)"
    }

    fn packages(&self) -> &'static [&'static str] {
        &["trimtab", "axum", "hyper", "tokio"]
    }

    fn plan(&self, options: &Options) -> Result<Plan, String> {
        let pair: Rc<OnceCell<Result<Pair, String>>> = Rc::default();
        let seconds = if options.quick { 2 } else { 10 };
        let contender = |name: &'static str, role: Role, url: fn(&Pair) -> String| {
            let pair = Rc::clone(&pair);
            Contender::new(name, role, move |turn| {
                let pair = pair.get_or_init(Pair::start).as_ref().map_err(Clone::clone)?;
                // The warm-up turn needs no more than to fill pools and caches.
                let seconds = if turn.round == 0 { 1 } else { seconds };
                let url = url(pair);
                if fetch(&url)? != pair.answer {
                    return Err(format!("{url} does not answer with the bytes that were put in"));
                }
                let load = wrk::run(&url, seconds)?;
                Ok(vec![load.requests, load.p50_ms, load.p99_ms])
            })
        };
        let case = Case {
            name: "get/64c".into(),
            what: format!("wrk -t1 -c64 -d{seconds} on GET of one cached entry, keep-alive, loopback"),
            threads: 2,
            measures: vec![
                Measure::higher("requests", "1/s"),
                Measure::lower("p50", "ms"),
                Measure::lower("p99", "ms"),
            ],
            contenders: vec![
                contender("trimtab", Role::Ours, |pair| pair.ours.url(&entry_path())),
                contender("bare axum", Role::Limit, |pair| pair.bare.url(&entry_path())),
            ],
            // Turns of ten seconds need no nine rounds.
            rounds: Rounds::Warmed(options.rounds_or(5, 3)),
        };
        Ok(Plan { cases: vec![case], notes: Vec::new() })
    }

    fn bars(&self) -> Vec<Bar> {
        vec![Bar {
            case: "get/64c",
            measure: "requests",
            ours: "trimtab",
            wanted: Wanted::RatioAtLeast(0.85, "bare axum"),
            source: "GET of a cached entry: at least 85 % of a bare axum handler's requests",
        }]
    }
}

fn entry_path() -> String {
    format!("/api/memory/cache/{CACHE}/entry/{KEY}")
}

/// Both servers, up and answering.
#[derive(Debug)]
struct Pair {
    ours: Running,
    bare: Running,
    answer: Answer,
}

/// What a GET is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    content_type: String,
    body: Vec<u8>,
}

impl Pair {
    fn start() -> Result<Self, String> {
        wrk::find_or_install()?;
        let program = process::build_server()?;
        let ours = Running::trimtab(&program)?;
        let created = format!("/api/memory/cache/{CACHE}/create");
        send("POST", &ours.url(&created), &json!({ "max_size": 1000, "policy": "adaptive", "memory_limit_mb": 100 }))?;
        let entry = json!({ "key": KEY, "value": { "name": "John", "email": "john@example.com" } });
        send("PUT", &ours.url(&format!("/api/memory/cache/{CACHE}/entry")), &entry)?;
        let answer = fetch(&ours.url(&entry_path()))?;
        if !String::from_utf8_lossy(&answer.body).contains("john@example.com") {
            return Err(format!("GET gives {:?} instead of the value put in", String::from_utf8_lossy(&answer.body)));
        }
        let bare = Running::bare(&answer.content_type, &answer.body)?;
        Ok(Self { ours, bare, answer })
    }
}

fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(10))).build().into()
}

fn send(method: &str, url: &str, body: &Value) -> Result<(), String> {
    let request = match method {
        "PUT" => agent().put(url),
        _ => agent().post(url),
    };
    request.send_json(body).map(|_| ()).map_err(|error| format!("{method} {url} failed: {error}"))
}

fn fetch(url: &str) -> Result<Answer, String> {
    let fail = |error: ureq::Error| format!("GET {url} failed: {error}");
    let mut response = agent().get(url).call().map_err(fail)?;
    let content_type =
        response.headers().get("content-type").and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let body = response.body_mut().read_to_vec().map_err(fail)?;
    Ok(Answer { content_type, body })
}

/// Prints the port of a child server as its line of JSON.
fn announce(port: u16) -> std::io::Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{}", json!({ "port": port }))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bare_handler_answers_with_the_bytes_and_type_it_was_given() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(bare::answer(
            listener,
            axum::http::HeaderValue::from_static("application/json"),
            br#"{"a":1}"#.to_vec(),
        ));
        let answer = fetch(&format!("http://127.0.0.1:{port}{}", entry_path())).unwrap();
        assert_eq!(answer, Answer { content_type: "application/json".into(), body: br#"{"a":1}"#.to_vec() });
        assert!(fetch(&format!("http://127.0.0.1:{port}/elsewhere")).unwrap_err().contains("404"));
    }
}
