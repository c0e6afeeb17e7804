//! What goes over the socket between the program and a worker: frames of a length, a kind and a body.
//!
//! ```text
//!   length of the rest: u32 │ kind: u8 │ body
//!   program → worker   terms      what the worker may take, and which functions it must know (postcard)
//!                      call       length of the name: u16, name, argument (postcard)
//!   worker → program   ready      nothing
//!                      refused    why the worker will not serve, text
//!                      done, panicked, oversize, argument, result
//!                                 processor time: u64 ns, then the result (postcard), what the panic said, size and limit: u64
//!                                 each, or why the argument or the result could not be coded
//! ```
//!
//! Numbers are little-endian. Both ends are the same program, so there is no version to agree on; that the functions are the
//! same is checked at the start.

use serde::{Deserialize, Serialize};

/// Bytes before the body.
pub(super) const HEAD: usize = 5;
/// What a frame may have beyond the limit of a message: name, times, text of a panic.
pub(super) const SLACK: usize = 64 << 10;
/// The longest text of a panic or an error that is sent.
const TEXT_MAX: usize = 16 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Terms = 1,
    Call,
    Ready,
    Refused,
    Done,
    Panicked,
    Oversize,
    Argument,
    Result,
}

impl Kind {
    const ALL: [Self; 9] = [
        Self::Terms,
        Self::Call,
        Self::Ready,
        Self::Refused,
        Self::Done,
        Self::Panicked,
        Self::Oversize,
        Self::Argument,
        Self::Result,
    ];

    /// Whether it says what came of a call.
    pub(super) fn is_answer(self) -> bool {
        !matches!(self, Self::Terms | Self::Call | Self::Ready | Self::Refused)
    }

    fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == code)
    }
}

/// What a worker is told before its first job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Terms {
    pub(super) memory_limit: u64,
    pub(super) message_max: u64,
    pub(super) nice: u8,
    /// Names and types.
    pub(super) functions: Vec<(String, String)>,
}

/// Begins a frame: the length is filled in by [`finish`].
pub(super) fn begin(kind: Kind) -> Vec<u8> {
    vec![0, 0, 0, 0, kind as u8]
}

/// Ends a frame; false if it is too long for its length.
pub(super) fn finish(frame: &mut [u8]) -> bool {
    let Ok(length) = u32::try_from(frame.len() - 4) else { return false };
    frame[..4].copy_from_slice(&length.to_le_bytes());
    true
}

/// The length of a frame's rest, without the kind, and the kind; an error says what is wrong.
pub(super) fn head(head: [u8; HEAD], body_max: usize) -> Result<(Kind, usize), String> {
    let [a, b, c, d, code] = head;
    let length = u32::from_le_bytes([a, b, c, d]) as usize;
    let kind = Kind::of(code).ok_or_else(|| format!("a frame of the unknown kind {code}"))?;
    let body = length.checked_sub(1).ok_or("a frame without a kind")?;
    if body > body_max {
        return Err(format!("a frame of {body} bytes, where {body_max} are the most"));
    }
    Ok((kind, body))
}

/// A call, to which the argument is then added.
pub(super) fn begin_call(function: &str) -> Vec<u8> {
    let mut frame = begin(Kind::Call);
    let name = &function.as_bytes()[..function.len().min(u16::MAX.into())];
    frame.extend_from_slice(&(name.len() as u16).to_le_bytes());
    frame.extend_from_slice(name);
    frame
}

/// How many bytes of a call are not the argument.
pub(super) fn call_overhead(function: &str) -> usize {
    HEAD + 2 + function.len().min(u16::MAX.into())
}

/// Function and argument of a call's body.
pub(super) fn parse_call(body: &[u8]) -> Option<(&str, &[u8])> {
    let (length, rest) = body.split_first_chunk::<2>()?;
    let (name, argument) = rest.split_at_checked(u16::from_le_bytes(*length).into())?;
    Some((std::str::from_utf8(name).ok()?, argument))
}

/// Processor time and the rest of an answer's body.
pub(super) fn parse_answer(body: &[u8]) -> Option<(u64, &[u8])> {
    let (time, rest) = body.split_first_chunk::<8>()?;
    Some((u64::from_le_bytes(*time), rest))
}

/// At most [`TEXT_MAX`] bytes of a text, cut between characters.
pub(super) fn shorten(text: &str) -> &str {
    let mut end = text.len().min(TEXT_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_comes_back_as_it_was_sent() {
        let mut frame = begin_call("resize");
        assert_eq!(frame.len(), call_overhead("resize"));
        frame.extend_from_slice(b"argument");
        assert!(finish(&mut frame));
        let (first, body) = frame.split_first_chunk::<HEAD>().unwrap();
        assert_eq!(head(*first, 1 << 10), Ok((Kind::Call, body.len())));
        assert_eq!(parse_call(body), Some(("resize", &b"argument"[..])));
    }

    #[test]
    fn what_is_no_frame_is_told_and_not_allocated() {
        assert!(head([0, 0, 0, 0, 5], 9).unwrap_err().contains("without a kind"));
        assert!(head([9, 0, 0, 0, 99], 9).unwrap_err().contains("unknown kind 99"));
        assert!(head([255, 255, 255, 255, 5], 9).unwrap_err().contains("9 are the most"));
        for body in [&b""[..], b"\x09", b"\x09\x00abc", b"\x01\x00\xff"] {
            assert_eq!(parse_call(body), None, "{body:?}");
        }
        assert_eq!(parse_answer(b"1234567"), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_a_panic(
            first in proptest::array::uniform5(proptest::num::u8::ANY),
            body in proptest::collection::vec(proptest::num::u8::ANY, 0..64),
        ) {
            if let Ok((_, length)) = head(first, 100) {
                proptest::prop_assert!(length <= 100);
            }
            if let Some((name, argument)) = parse_call(&body) {
                proptest::prop_assert_eq!(2 + name.len() + argument.len(), body.len());
            }
            proptest::prop_assert_eq!(parse_answer(&body).is_some(), body.len() >= 8);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = "ä".repeat(TEXT_MAX);
        assert!(shorten(&text).len() <= TEXT_MAX);
        assert_eq!(shorten("short"), "short");
    }
}
