//! Rust source with everything blanked out that is not code: comments, strings, characters.
//!
//! A rule that looks for a word in code would otherwise find it in prose, in error messages and in the rules
//! themselves. This is no parser: it knows just enough of the language to tell where a comment or a literal ends.
//! Lines keep their number and their length.

/// The code of a file, with spaces in place of the rest.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = match chars[at] {
            '/' if next_is(&chars, at, '/') => line_end(&chars, at),
            '/' if next_is(&chars, at, '*') => comment_end(&chars, at),
            '"' => string_end(&chars, at),
            'r' | 'b' | 'c' if !part_of_a_word(&chars, at) => prefixed_string_end(&chars, at),
            '\'' => character_end(&chars, at),
            _ => at,
        };
        if end == at {
            code.push(chars[at]);
            at += 1;
        } else {
            code.extend(chars[at..end].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
            at = end;
        }
    }
    code
}

fn next_is(chars: &[char], at: usize, wanted: char) -> bool {
    chars.get(at + 1) == Some(&wanted)
}

fn part_of_a_word(chars: &[char], at: usize) -> bool {
    at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_')
}

fn line_end(chars: &[char], at: usize) -> usize {
    chars[at..].iter().position(|c| *c == '\n').map_or(chars.len(), |length| at + length)
}

/// Block comments nest.
fn comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut at) = (0, at);
    while at < chars.len() {
        if chars[at] == '/' && next_is(chars, at, '*') {
            depth += 1;
            at += 2;
        } else if chars[at] == '*' && next_is(chars, at, '/') {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], at: usize) -> usize {
    let mut at = at + 1;
    while at < chars.len() {
        match chars[at] {
            '\\' => at += 2,
            '"' => return at + 1,
            _ => at += 1,
        }
    }
    chars.len()
}

/// `r"…"`, `r#"…"#`, `b"…"`, `br#"…"#`, `c"…"`, `b'…'`; the start itself when it is an ordinary word.
fn prefixed_string_end(chars: &[char], at: usize) -> usize {
    let mut after = at;
    while matches!(chars.get(after), Some('r' | 'b' | 'c')) && after < at + 2 {
        after += 1;
    }
    let raw = chars[at..after].contains(&'r');
    let hashes = if raw { chars[after..].iter().take_while(|c| **c == '#').count() } else { 0 };
    match chars.get(after + hashes) {
        Some('"') if raw => {
            let mut close = vec!['"'];
            close.resize(hashes + 1, '#');
            let body = after + hashes + 1;
            let length = chars[body..].windows(close.len()).position(|window| window == close);
            length.map_or(chars.len(), |length| body + length + close.len())
        }
        Some('"') => string_end(chars, after),
        Some('\'') if !raw => {
            let end = character_end(chars, after);
            if end == after { at } else { end }
        }
        _ => at,
    }
}

/// The end of a character; the start itself when it is a lifetime.
fn character_end(chars: &[char], at: usize) -> usize {
    if next_is(chars, at, '\\') {
        let body = (at + 3).min(chars.len());
        return chars[body..].iter().position(|c| *c == '\'').map_or(chars.len(), |length| body + length + 1);
    }
    if chars.get(at + 2) == Some(&'\'') { at + 3 } else { at }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that stay.
    fn words(text: &str) -> Vec<String> {
        let code = code_only(text);
        assert_eq!(code.lines().count(), text.lines().count());
        assert_eq!(code.chars().count(), text.chars().count());
        code.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn comments_go_whatever_their_kind() {
        assert_eq!(words("a // b\nc /* d /* e */ f */ g /// h\n//! i"), ["a", "c", "g"]);
    }

    #[test]
    fn strings_go_with_their_quotes_and_escapes() {
        assert_eq!(words(r#"a "b \" c" d"#), ["a", "d"]);
        assert_eq!(words("a r#\"b \" c\"# d br##\"e\"# f\"## g"), ["a", "d", "g"]);
        assert_eq!(words("a b\"b\" c c\"d\" e"), ["a", "c", "e"]);
        assert_eq!(words("a \"// no comment\" b"), ["a", "b"]);
    }

    #[test]
    fn characters_go_and_lifetimes_stay() {
        assert_eq!(words(r"a '\'' b '\u{1F600}' c '/' d b'x' e"), ["a", "b", "c", "d", "e"]);
        assert_eq!(words("f<'a>(x: &'a str, y: 'static)"), ["f<'a>(x:", "&'a", "str,", "y:", "'static)"]);
        assert_eq!(words("a '\"' b '\"' c"), ["a", "b", "c"]);
    }

    #[test]
    fn words_that_begin_like_a_literal_stay() {
        assert_eq!(words("bar \"x\" r cb r#type b"), ["bar", "r", "cb", "r#type", "b"]);
    }

    #[test]
    fn what_never_ends_ends_with_the_file() {
        assert_eq!(words("a \"b"), ["a"]);
        assert_eq!(words("a /* b"), ["a"]);
        assert_eq!(words("a r#\"b"), ["a"]);
        assert_eq!(words("a '\\"), ["a"]);
    }
}
