//! `trimtab simulate` as a user runs it: every format, every output, and what it says to bad input.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Keys of the traces written here: every key twice in a row, 20 keys in a cycle.
fn keys() -> Vec<u64> {
    (0..400_u64).map(|n| n / 2 % 20).collect()
}

fn lines(line: impl Fn(u64) -> String) -> String {
    keys().into_iter().map(|key| line(key) + "\n").collect()
}

fn fixture() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/simulate/demo.u64.zst")
}

fn run_in(directory: &TempDir, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_trimtab"))
        .arg("simulate")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

/// Runs and answers the JSON of the first trace.
fn figures(directory: &TempDir, arguments: &[&str]) -> Value {
    let output = run_in(directory, &[arguments, &["--json", "-", "--no-svg", "--size", "10,20"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    value["traces"][0].clone()
}

/// Runs what must fail; answers its message.
fn refusal(directory: &TempDir, arguments: &[&str]) -> String {
    let output = run_in(directory, arguments);
    let message = String::from_utf8(output.stderr).expect("messages are text");
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
    assert!(!message.contains("panicked"), "{message}");
    message
}

#[test]
fn every_format_gives_the_same_figures() {
    let directory = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
    write("a.u64", &keys().iter().flat_map(|key| key.to_le_bytes()).collect::<Vec<u8>>());
    write("b.txt", lines(|key| format!("key-{key}")).as_bytes());
    write("c.csv", format!("time,key\n{}", lines(|key| format!("0,\"k,{key}\""))).as_bytes());
    write("d.lis", lines(|key| format!("{} 1 0 0", key * 8)).as_bytes());
    let log =
        lines(|key| format!("::1 - - [10/Oct/2026:13:55:36 +0000] \"GET /{key}?a HTTP/1.1\" 200 100 \"-\" \"-\""));
    write("e.log", log.as_bytes());
    write("f", log.as_bytes());
    for name in ["a.u64", "b.txt", "c.csv", "d.lis", "e.log", "f"] {
        let trace = figures(&directory, &[name]);
        assert_eq!(trace["requests"], 400, "{name}");
        assert_eq!(trace["distinct_keys"], 20, "{name}");
        assert_eq!(trace["rows"][1]["optimum"]["hits"], 380, "{name}");
        for policy in trace["rows"][1]["policies"].as_object().unwrap().values() {
            assert_eq!(policy["hits"], 380, "{name}: all keys fit");
        }
        assert_eq!(trace["rows"][0]["policies"]["lru"]["hits"], 200, "{name}: only the second of each pair");
        assert_eq!(trace["rows"][0]["optimum"]["hits"], 200 + 9 * 10, "{name}");
    }
    assert_eq!(figures(&directory, &["loop:20,requests=200"])["rows"][1]["optimum"]["hits"], 180);
}

#[test]
fn standard_input_is_read_once_whatever_it_is() {
    let directory = TempDir::new().unwrap();
    for content in [lines(|key| key.to_string()).into_bytes(), fs::read(fixture()).unwrap()] {
        let mut arguments = vec!["simulate", "-", "--json", "-", "--no-svg"];
        if content.starts_with(&[0x28, 0xb5]) {
            arguments.extend(["--format", "u64"]);
        }
        let mut child = Command::new(env!("CARGO_BIN_EXE_trimtab"))
            .args(arguments)
            .current_dir(&directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(&content).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(value["traces"][0]["name"], "stdin");
    }
    assert!(refusal(&directory, &["-", "-"]).contains("read once"));
}

#[test]
fn compressed_trace_has_its_table_curves_and_byte_ratios() {
    let directory = TempDir::new().unwrap();
    let trace = fixture();
    let output = run_in(&directory, &[trace.to_str().unwrap(), "--sizes", "--markdown", "page.md"]);
    let (table, progress) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{progress}");
    assert!(table.contains("2,000 requests for 199 keys"), "{table}");
    assert!(table.contains("byte hit ratio") && table.contains("optimum"), "{table}");
    assert!(table.contains("curves in demo.svg"), "{table}");
    assert!(progress.contains("demo: 100 %"), "{progress}");
    let svg = fs::read_to_string(directory.path().join("demo.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
    let page = fs::read_to_string(directory.path().join("page.md")).unwrap();
    assert!(page.contains("## demo") && page.contains("| entries | of keys |"), "{page}");
}

#[test]
fn several_traces_have_a_picture_each_and_a_mean() {
    let directory = TempDir::new().unwrap();
    let families =
        ["zipf:0.9,keys=500,requests=5000", "shift:50,keys=1000,requests=5000", "shift:50,keys=1000,requests=5000"];
    let output = run_in(&directory, &[&families[..], &["-q", "--policy", "lru", "--size", "5%"]].concat());
    assert!(output.status.success() && output.stderr.is_empty());
    let table = String::from_utf8_lossy(&output.stdout);
    assert!(table.contains("mean over all rows") && !table.contains("adaptive"), "{table}");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
    assert!(refusal(&directory, &[families[0], families[1], "--svg", "one.svg"]).contains("directory"));
}

#[test]
fn a_run_gives_the_same_figures_again() {
    let directory = TempDir::new().unwrap();
    let run = |seed: &str| {
        let family = "zipf+scan,keys=900,every=500,scan=200,requests=9000";
        let rows = figures(&directory, &[family, "--seed", seed])["rows"].clone();
        ["adaptive", "lru"].map(|policy| {
            rows.as_array().unwrap().iter().map(|row| row["policies"][policy].clone()).collect::<Vec<_>>()
        })
    };
    assert_eq!(run("1"), run("1"));
    // Another seed samples other keys, and only where there is something to choose.
    let ([adaptive, lru], [other, same]) = (run("1"), run("2"));
    assert!(adaptive != other && lru == same);
}

#[test]
fn shards_are_those_of_the_cache_unless_chosen() {
    let directory = TempDir::new().unwrap();
    let rows = |more: &[&str]| {
        let family = "zipf:0.8,keys=900,requests=9000";
        figures(&directory, &[&[family], more].concat())["rows"].clone()
    };
    // A cache of few entries has one.
    assert_eq!(rows(&[]), rows(&["--shards", "1"]));
    assert_ne!(rows(&[]), rows(&["--shards", "4"]));
    for refused in ["0", "3", "2048", "many"] {
        assert!(refusal(&directory, &["loop:5", "--shards", refused]).contains("powers of two from 1 to 1024"));
    }
}

#[test]
fn limit_takes_the_first_requests_and_says_so() {
    let directory = TempDir::new().unwrap();
    let trace = fixture();
    let trace = figures(&directory, &[trace.to_str().unwrap(), "--sizes", "--limit", "100"]);
    assert_eq!(trace["requests"], 100);
    assert!(trace["notes"][0].as_str().unwrap().contains("--limit"));
    assert!(refusal(&directory, &["loop:5", "--limit", "0"]).contains("--limit"));
}

#[test]
fn bad_traces_are_refused_with_place_and_remedy() {
    let directory = TempDir::new().unwrap();
    let demo = fs::read(fixture()).unwrap();
    let mut flipped = demo.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0x55;
    let mut log = lines(|_| "h - - [t] \"GET / HTTP/1.1\" 200 1".to_owned());
    log.push_str("no log line\n");
    let cases: [(&str, &[u8], &str); 11] = [
        ("empty.u64", b"", "holds no request"),
        ("blank.txt", b"\n\n", "holds no request"),
        ("odd.u64", &[1; 13], "5 bytes follow 1 whole keys"),
        ("cut.u64.zst", &demo[..demo.len() - 20], "zstd"),
        ("flipped.u64.zst", &flipped, "zstd"),
        ("binary.txt", b"a\n\xff\xfe\n", "line 2"),
        ("unknown", b"\0\x01\x02\x03\0\0\0\0", "--format u64"),
        ("packed.txt", b"\x1f\x8b\x08\0", "gzip -dc"),
        ("bad.lis", b"1 2 3 4\nseven 1\n", "line 2"),
        ("bad.csv", b"key,size\n\"a,1\n", "never closed"),
        ("bad.log", log.as_bytes(), "line 401"),
    ];
    for (name, content, part) in cases {
        fs::write(directory.path().join(name), content).unwrap();
        let message = refusal(&directory, &[name, "--no-svg", "-q"]);
        assert!(message.contains(part) && message.contains(name), "{name}: {message}");
    }
    assert!(refusal(&directory, &["missing.u64"]).contains("no such file"));
    assert!(refusal(&directory, &["zpif:0.9"]).contains("did you mean"));
    assert!(refusal(&directory, &["."]).contains("directory"));
    assert!(refusal(&directory, &["bad.csv", "--lenient", "--column", "url"]).contains("key, size"));
    assert!(refusal(&directory, &["odd.u64", "--sizes", "--format", "text"]).contains("no sizes"));
}

#[test]
fn companion_sizes_must_fit_the_trace() {
    let directory = TempDir::new().unwrap();
    let trace = directory.path().join("t.u64");
    fs::write(&trace, [7; 24]).unwrap();
    assert!(refusal(&directory, &["t.u64", "--sizes"]).contains("t.u32"));
    for wrong in [8, 16] {
        fs::write(directory.path().join("t.u32"), vec![1; wrong]).unwrap();
        let message = refusal(&directory, &["t.u64", "--sizes"]);
        assert!(message.contains("sizes for the 3 requests"), "{message}");
    }
    fs::write(directory.path().join("t.u32"), [1; 12]).unwrap();
    assert_eq!(figures(&directory, &["t.u64", "--sizes"])["bytes"], 3 * 0x0101_0101_u64);
}

#[test]
fn bad_options_are_refused_before_anything_is_read() {
    let directory = TempDir::new().unwrap();
    for (arguments, part) in [
        (["loop:5", "--size", "0"], "smallest is 1"),
        (["loop:5", "--size", "10,200%"], "at most 100 %"),
        (["loop:5", "--policy", "clock"], "adaptive"),
        (["loop:5", "--json", "no/such/file.json"], "no directory no/such"),
        (["loop:5", "--svg", "no/such.svg"], "no directory no"),
        (["loop:5", "--threads", "0"], "--threads"),
        (["loop:5", "--format", "pdf"], "u64"),
    ] {
        let message = refusal(&directory, &arguments);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is written");
}
