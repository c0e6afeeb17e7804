//! The program as a service: what its manual prints works as printed, and it stops as it should.

use crate::running::{Server, agent, trimtab};
use serde_json::Value;
use ureq::http::Request;

/// The lines of the integration guide, as printed there.
const GUIDE: &str = r#"
curl -X POST "http://localhost:8000/api/memory/cache/my_cache/create" \
  -H "Content-Type: application/json" \
  -d '{
    "max_size": 1000,
    "ttl_seconds": 3600,
    "policy": "adaptive",
    "memory_limit_mb": 100,
    "enable_compression": true
  }'
curl -X PUT "http://localhost:8000/api/memory/cache/my_cache/entry" \
  -H "Content-Type: application/json" \
  -d '{
    "key": "user:123",
    "value": {"name": "John", "email": "john@example.com"},
    "ttl_seconds": 1800
  }'
curl "http://localhost:8000/api/memory/cache/my_cache/metrics"
curl "http://localhost:8000/api/memory/metrics/comprehensive"
curl "http://localhost:8000/api/memory/analysis/recommendations"
curl -X POST "http://localhost:8000/api/memory/optimization/trigger"
curl "http://localhost:8000/health/memory"
curl "http://localhost:8000/metrics/prometheus"
"#;

/// One `curl` line, as far as the guide uses the program.
struct Curl {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    body: Option<String>,
}

fn curls(text: &str) -> Vec<Curl> {
    text.split("curl ").skip(1).map(|line| curl(&words(line))).collect()
}

fn curl(words: &[String]) -> Curl {
    let mut curl = Curl { method: "GET".to_owned(), path: String::new(), headers: Vec::new(), body: None };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut next = || words.next().expect("an argument").clone();
        match word.as_str() {
            "-X" => curl.method = next(),
            "-H" => {
                let header = next();
                let (name, value) = header.split_once(": ").expect("a header");
                curl.headers.push((name.to_owned(), value.to_owned()));
            }
            "-d" => curl.body = Some(next()),
            url => url.strip_prefix("http://localhost:8000").expect("the guide's address").clone_into(&mut curl.path),
        }
    }
    curl
}

/// Splits as a shell does, with its two kinds of quotes and the backslash at the end of a line.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.replace("\\\n", " ").chars() {
        if quote == Some(c) {
            quote = None;
        } else if quote.is_none() && (c == '"' || c == '\'') {
            quote = Some(c);
            word.get_or_insert_default();
        } else if quote.is_none() && c.is_whitespace() {
            words.extend(word.take());
        } else {
            word.get_or_insert_default().push(c);
        }
    }
    words.extend(word);
    words
}

fn send(server: &Server, curl: &Curl) -> (u16, String) {
    let mut request = Request::builder().method(curl.method.as_str()).uri(format!("{}{}", server.url, curl.path));
    for (name, value) in &curl.headers {
        request = request.header(name, value);
    }
    let request = request.body(curl.body.clone().unwrap_or_default()).expect("a request");
    let mut answer = agent().run(request).expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_to_string().expect("a text"))
}

fn get(server: &Server, path: &str) -> (u16, String) {
    send(server, &Curl { method: "GET".to_owned(), path: path.to_owned(), headers: Vec::new(), body: None })
}

#[test]
fn every_curl_line_of_the_guide_works_as_printed() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let lines = curls(GUIDE);
    assert_eq!(lines.len(), 8, "all lines were read");
    for line in &lines {
        let (status, body) = send(&server, line);
        assert!((200..300).contains(&status), "{} {}: {status} {body}", line.method, line.path);
        assert!(!body.is_empty(), "{} {} says something", line.method, line.path);
        if line.path.contains("prometheus") {
            assert!(body.contains("process_resident_memory_bytes"), "{body}");
        } else {
            serde_json::from_str::<Value>(&body).unwrap_or_else(|error| panic!("{}: {error}: {body}", line.path));
        }
    }

    let (status, body) = get(&server, "/api/memory/cache/my_cache/entry/user:123");
    assert_eq!(status, 200);
    assert_eq!(serde_json::from_str::<Value>(&body).expect("json")["email"], "john@example.com");
    let (_, metrics) = get(&server, "/api/memory/cache/my_cache/metrics");
    let metrics: Value = serde_json::from_str(&metrics).expect("json");
    assert_eq!((&metrics["hits"], &metrics["size_entries"]), (&Value::from(1), &Value::from(1)));
}

#[test]
fn caches_of_the_settings_file_exist_from_the_start() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("trimtab.toml"), "[cache.sessions]\nmax_entries = 7\n").expect("written");
    let server = Server::start(folder.path(), &[]);
    let (status, body) = get(&server, "/api/memory/cache/sessions");
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("\"memory_limit_mb\":64.0"), "its bytes are limited: {body}");
    let (_, config) = get(&server, "/api/config");
    assert!(config.contains("trimtab.toml:2:1"), "the origin is told: {config}");
}

#[test]
fn sigterm_ends_the_program_cleanly_even_with_an_open_event_stream() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::start(folder.path(), &[]);
    let stream = agent().get(format!("{}/events", server.url)).call().expect("a stream");
    assert_eq!(stream.status(), 200);
    server.terminate();
    let status = server.wait();
    assert!(status.success(), "{status}");
}

#[test]
fn a_port_in_use_names_the_setting_and_exits_with_2() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let output = trimtab(folder.path()).args(["serve", "--address", &address]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains(&address) && error.contains("in use") && error.contains("server.address"), "{error}");
}

#[test]
fn a_bind_to_the_network_without_a_token_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let output = trimtab(folder.path()).args(["--address", "0.0.0.0:0"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2), "serve's options follow the command");
    let output = trimtab(folder.path()).args(["serve", "--address", "0.0.0.0:0"]).output().expect("runs");
    assert_eq!(output.status.code(), Some(2));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("server.token"), "{error}");
}
