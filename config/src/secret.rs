//! A text that must never be printed: tokens, passwords, connection strings.
//!
//! `Debug`, `Display` and `Serialize` write a mask. The one place that needs the text inside a serialised tree is the loader,
//! which compares layers; it opens a window on its own thread for exactly that call. The schema marks secrets as `writeOnly`, so
//! everything that works on trees (errors, origins, changes, tables) knows what to mask without knowing the Rust type.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is shown in place of a secret.
pub(crate) const MASK: &str = "***";

/// A secret text; only [`expose`](Self::expose) shows it.
///
/// ```
/// use trimtab_config::Secret;
///
/// let token = Secret::new("hunter2");
/// assert_eq!(format!("{token} {token:?}"), "*** Secret(***)");
/// assert_eq!(serde_json::to_string(&token).unwrap(), "\"***\"");
/// assert_eq!(token.expose(), "hunter2");
/// assert!(token.matches("hunter2") && !token.matches("hunter3"));
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself. Every call is a place to review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the secret is empty: usually a mistake worth a check.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Compares with a text that a stranger offered, in a time that depends on its length alone.
    ///
    /// # Complexity
    ///
    /// Always reads all of `offered`, wherever the first difference is.
    pub fn matches(&self, offered: &str) -> bool {
        let (own, offered) = (self.0.as_bytes(), offered.as_bytes());
        let mut difference = own.len() ^ offered.len();
        for (index, byte) in offered.iter().enumerate() {
            let own = own.get(index).copied().unwrap_or(0);
            difference |= usize::from(std::hint::black_box(own ^ byte));
        }
        std::hint::black_box(difference) == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({MASK})")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(MASK)
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

thread_local! {
    static REVEALED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `serialise` with secrets written in clear, on this thread only, also when it unwinds.
pub(crate) fn reveal<R>(serialise: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            REVEALED.set(self.0);
        }
    }
    let _restore = Restore(REVEALED.replace(true));
    serialise()
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if REVEALED.get() { &self.0 } else { MASK })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        // Printed settings that are fed back would otherwise make "***" the password.
        if text == MASK {
            return Err(serde::de::Error::custom(
                "this is the mask of a secret, not the secret; write the secret itself",
            ));
        }
        Ok(Self(text))
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "password",
            "writeOnly": true,
            "description": "A secret text; shown as *** everywhere.",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_closes_even_after_a_panic() {
        let secret = Secret::new("canary");
        assert_eq!(reveal(|| serde_json::to_string(&secret).unwrap()), "\"canary\"");
        let _ = std::panic::catch_unwind(|| reveal(|| panic!("a serialiser gives up")));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"***\"");
    }

    #[test]
    fn the_mask_itself_is_no_secret() {
        let error = serde_json::from_str::<Secret>("\"***\"").unwrap_err();
        assert!(error.to_string().contains("write the secret itself"));
    }

    #[test]
    fn comparison_needs_the_whole_text() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        for wrong in ["", "ab", "abd", "abcd", "abc\0"] {
            assert!(!secret.matches(wrong), "{wrong:?}");
        }
    }
}
