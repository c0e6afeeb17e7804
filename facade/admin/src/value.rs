//! The JSON of an entry as it is stored: the client's own text without its insignificant white space.
//!
//! Decoding into a tree and encoding again would round large numbers and reorder members; removing white space
//! outside of strings keeps both, needs no tree, and makes equal texts equal bytes. What a careful reader could not
//! take back is refused: nesting deeper than 128 (most parsers' own limit) and escapes of half a surrogate pair.

use crate::problem::shorten;

/// Deepest nesting of arrays and objects.
pub(crate) const DEPTH_MAX: usize = 128;

/// Removes white space outside of strings from `json`, which must be valid JSON.
pub(crate) fn compact(json: &str) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(json.len());
    let mut depth = 0_usize;
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => {
                let end = string_end(bytes, at + 1);
                check_escapes(&json[at..end])?;
                out.extend_from_slice(&bytes[at..end]);
                at = end;
                continue;
            }
            b'[' | b'{' => {
                depth += 1;
                if depth > DEPTH_MAX {
                    return Err(format!("is nested deeper than {DEPTH_MAX} levels; flatten it or store it as text"));
                }
                out.push(byte);
            }
            b']' | b'}' => {
                depth = depth.saturating_sub(1);
                out.push(byte);
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => out.push(byte),
        }
        at += 1;
    }
    Ok(out)
}

/// The position after the closing quote of the string whose content starts at `at`.
fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// Whether the string can be decoded: a lone surrogate is valid JSON, but no text.
fn check_escapes(string: &str) -> Result<(), String> {
    if !string.contains("\\u") {
        return Ok(());
    }
    match serde_json::from_str::<String>(string) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err(format!("holds the string {}, which is not Unicode text (half a surrogate pair)", shorten(string)))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<String>().prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                prop::collection::btree_map(any::<String>(), inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn pretty_text_becomes_the_compact_text_of_the_same_value(value in json()) {
            let pretty = serde_json::to_string_pretty(&value).expect("a value");
            let compacted = compact(&pretty).expect("not deep");
            prop_assert_eq!(compacted, serde_json::to_vec(&value).expect("a value"));
        }
    }

    #[test]
    fn numbers_and_order_survive() {
        let text = "{ \"b\": 12345678901234567890.10, \"a\" : [1 , 2]\n}";
        assert_eq!(compact(text), Ok(b"{\"b\":12345678901234567890.10,\"a\":[1,2]}".to_vec()));
    }

    #[test]
    fn depth_is_bounded_and_half_surrogates_are_refused() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(compact(&nested(DEPTH_MAX)).is_ok());
        assert!(compact(&nested(DEPTH_MAX + 1)).is_err());
        assert!(compact(r#""\ud83d""#).is_err());
        assert!(compact(r#""\ud83d\ude00 \"""#).is_ok());
    }
}
