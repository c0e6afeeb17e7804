//! Access logs in the common and combined format, as written by Apache, nginx and most others.
//!
//! ```text
//! host ident user [time] "METHOD target PROTOCOL" status bytes "referer" "agent"
//! ```
//!
//! The key is method and target with its query; the size is the number of bytes sent. Lines whose request is no HTTP
//! request (`"-"`, or garbage of a port scan) belong to a healthy log: they are left out and counted.

use std::io::BufRead;

use super::lines::{Line, Lines, shortened};
use super::{Reading, SimulateError};

pub(super) fn read(reading: &mut Reading<'_>, input: &mut dyn BufRead) -> Result<String, SimulateError> {
    const UNDERSTOOD: &str = "access log, key = method and target";
    let mut lines = Lines::new(input);
    loop {
        let number = lines.number() + 1;
        let line = match lines.next().map_err(|error| reading.broken(format!("line {number}"), &error))? {
            None => return Ok(UNDERSTOOD.to_owned()),
            Some(Line::Bad(what)) => {
                reading.bad_line(number, what)?;
                continue;
            }
            Some(Line::Text(line)) => line,
        };
        if line.trim().is_empty() {
            continue;
        }
        match parse(line) {
            Ok(Access { method, target, bytes }) => {
                if reading.out.text(&(method, target), bytes).is_break() {
                    return Ok(UNDERSTOOD.to_owned());
                }
            }
            Err(Unusable::NoRequest(what)) => reading.skip_line(number, what),
            Err(Unusable::NoLogLine(what)) => reading.bad_line(number, what)?,
        }
    }
}

/// One request of a log.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Access<'a> {
    method: &'a str,
    target: &'a str,
    bytes: u64,
}

/// Why a line gives no request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unusable {
    /// A log line, but what the client sent was no HTTP request.
    NoRequest(String),
    /// No line of such a log.
    NoLogLine(String),
}

/// The request of a log line.
pub(super) fn parse(line: &str) -> Result<Access<'_>, Unusable> {
    let no_line =
        |what: &str| Unusable::NoLogLine(format!("{what}; expected: host ident user [time] \"request\" status bytes"));
    let (head, rest) = line.split_once("] \"").ok_or_else(|| no_line("no \"[time]\" followed by a quoted request"))?;
    let (who, _time) = head.split_once('[').ok_or_else(|| no_line("no \"[\" before the time"))?;
    if who.split_ascii_whitespace().count() < 3 {
        return Err(no_line("fewer than three words before the time"));
    }
    let end = closing_quote(rest).ok_or_else(|| no_line("the quoted request never ends"))?;
    let (request, rest) = (&rest[..end], &rest[end + 1..]);
    let mut words = rest.split_ascii_whitespace();
    let status = words.next().unwrap_or("");
    if status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(no_line(&format!("the status {:?} is no three digits", shortened(status))));
    }
    let bytes = match words.next() {
        None => return Err(no_line("no number of bytes after the status")),
        Some("-") => 0,
        Some(bytes) => {
            bytes.parse().map_err(|_| no_line(&format!("the number of bytes {:?} is no number", shortened(bytes))))?
        }
    };
    let mut words = request.split(' ');
    match (words.next(), words.next()) {
        (Some(method), Some(target))
            if !target.is_empty() && !method.is_empty() && method.bytes().all(|byte| byte.is_ascii_uppercase()) =>
        {
            Ok(Access { method, target, bytes })
        }
        _ => Err(Unusable::NoRequest(format!("no HTTP request: {:?}", shortened(request)))),
    }
}

/// Where the quotation ends; a backslash protects what follows it.
fn closing_quote(text: &str) -> Option<usize> {
    let mut protected = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !protected;
        protected = byte == b'\\' && !protected;
        ends
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options, read_str};
    use super::*;

    const LOG: &str = r#"127.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] "GET /a.gif?x=1 HTTP/1.0" 200 2326
10.0.0.7 - - [10/Oct/2000:13:55:37 -0700] "POST /a.gif?x=1 HTTP/1.1" 201 - "http://x/" "curl \"8\""
10.0.0.7 - - [10/Oct/2000:13:55:38 -0700] "-" 408 0 "-" "-"
10.0.0.7 - - [10/Oct/2000:13:55:39 -0700] "GET /a.gif?x=1 HTTP/2.0" 304 0 "-" "Mozilla/5.0 (X11; Linux)"
"#;

    #[test]
    fn key_is_method_and_target_and_size_the_bytes_sent() {
        let options = Options { sizes: true, ..Options::default() };
        let trace = read_str(Format::Log, LOG, &options).unwrap();
        assert_eq!(trace.requests, [0, 1, 0]);
        assert_eq!(trace.sizes.as_deref(), Some(&[2326, 0, 0][..]));
        assert!(trace.notes[0].contains("1 lines were skipped, the first at line 3"), "{:?}", trace.notes);
    }

    #[test]
    fn quotes_protected_in_the_request_do_not_end_it() {
        let line = r#"h - - [t] "GET /a\"b HTTP/1.1" 200 5"#;
        assert_eq!(parse(line), Ok(Access { method: "GET", target: r#"/a\"b"#, bytes: 5 }));
    }

    #[test]
    fn what_is_no_log_line_is_an_error_with_its_number() {
        for (line, part) in [
            ("hello", "no \"[time]\""),
            ("- [t] \"GET / HTTP/1.1\" 200 5", "fewer than three words"),
            ("h - - [t] \"GET /", "never ends"),
            ("h - - [t] \"GET / HTTP/1.1\" ok 5", "status \"ok\""),
            ("h - - [t] \"GET / HTTP/1.1\" 200", "no number of bytes"),
            ("h - - [t] \"GET / HTTP/1.1\" 200 x", "\"x\" is no number"),
        ] {
            let error = read_str(Format::Log, line, &Options::default()).unwrap_err();
            assert!(error.contains("line 1") && error.contains(part), "{line}: {error}");
        }
    }
}
