//! `.lis` block traces, as published with the ARC paper: each line "first block, number of blocks, ignored, request
//! number", unrolled to one request a block.

use std::io::BufRead;

use super::lines::{Line, Lines, shortened};
use super::{Reading, SimulateError};

const UNDERSTOOD: &str = "block ranges, one request a block";

pub(super) fn read(reading: &mut Reading<'_>, input: &mut dyn BufRead) -> Result<String, SimulateError> {
    if reading.options.sizes {
        return Err(SimulateError::Option {
            option: "--sizes",
            value: reading.name.to_owned(),
            what: "the blocks of a .lis trace are all of one size".to_owned(),
            remedy: "leave --sizes out: the byte hit ratio is the hit ratio".to_owned(),
        });
    }
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
            Err(what) => reading.bad_line(number, what)?,
            Ok((first, count)) => {
                for block in first..first + count {
                    if reading.out.number(block, 0).is_break() {
                        return Ok(UNDERSTOOD.to_owned());
                    }
                }
            }
        }
    }
}

/// First block and number of blocks of a line.
fn parse(line: &str) -> Result<(u64, u64), String> {
    let mut words = line.split_ascii_whitespace();
    let mut word = |what: &str| {
        let word = words.next().ok_or_else(|| format!("no {what}; a line is \"first block, number of blocks, …\""))?;
        word.parse::<u64>().map_err(|_| format!("the {what} {:?} is no whole number below 2^64", shortened(word)))
    };
    let (first, count) = (word("first block")?, word("number of blocks")?);
    if first.checked_add(count).is_none() {
        return Err(format!("{count} blocks from block {first} on go beyond 2^64"));
    }
    Ok((first, count))
}

#[cfg(test)]
mod tests {
    use super::super::{Format, Options, read_str};

    #[test]
    fn ranges_are_unrolled() {
        let trace = read_str(Format::Lis, "10 3 0 1\n\n11 1 0 2\n5 0 0 3\n", &Options::default()).unwrap();
        assert_eq!(trace.requests, [0, 1, 2, 1]);
    }

    #[test]
    fn a_giant_range_stops_at_the_limit() {
        let trace = read_str(Format::Lis, "0 18446744073709551615 0 1", &Options::default()).unwrap();
        assert_eq!(trace.requests.len(), 1000);
    }

    #[test]
    fn what_is_no_range_names_line_and_word() {
        for (content, part) in [
            ("1 1\nx 2", "first block \"x\""),
            ("1 1\n7", "no number of blocks"),
            ("1 1\n9 -1", "number of blocks \"-1\""),
            ("1 1\n18446744073709551615 1", "beyond 2^64"),
        ] {
            let error = read_str(Format::Lis, content, &Options::default()).unwrap_err();
            assert!(error.contains("line 2") && error.contains(part), "{error}");
        }
    }
}
