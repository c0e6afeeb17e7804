//! The one rule for names of caches, pools, lanes, locks' groups and limits.
//!
//! Such a name is a metric label, a part of paths and of variable names: few letters, never a path, never a surprise.

use thiserror::Error;

/// The longest name, in bytes.
pub const NAME_MAX: usize = 64;

/// A name that is not allowed, with the rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{what} name {shown:?} is not allowed ({fault}); use 1 to {NAME_MAX} of a-z, 0-9, '_' and '-', starting with a letter or digit"
)]
pub struct NameError {
    what: &'static str,
    shown: String,
    fault: String,
}

/// Checks the name of a `what`, such as "cache": 1 to [`NAME_MAX`] of `a-z`, `0-9`, `_` and `-`, a letter or digit first.
///
/// ```
/// use trimtab_config::check_name;
///
/// assert!(check_name("cache", "user-pages").is_ok());
/// let error = check_name("cache", "user pages").unwrap_err();
/// assert!(error.to_string().starts_with("cache name \"user pages\" is not allowed (' ' is in it)"));
/// ```
///
/// # Errors
///
/// [`NameError`] says what is wrong with it, and shows no more of it than a name may have.
pub fn check_name(what: &'static str, name: &str) -> Result<(), NameError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-';
    let fault = if name.is_empty() {
        "it is empty".to_owned()
    } else if name.len() > NAME_MAX {
        format!("it has {} bytes", name.len())
    } else if let Some(wrong) = name.chars().find(|c| !allowed(*c)) {
        format!("{wrong:?} is in it")
    } else if name.starts_with(['_', '-']) {
        "it starts with neither letter nor digit".to_owned()
    } else {
        return Ok(());
    };
    Err(NameError { what, shown: name.chars().take(NAME_MAX).collect(), fault })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_be_paths_or_break_labels_are_refused() {
        for name in ["", "a/b", "..", "Users", "_a", "-a", "a b", "é", "a\n", &"x".repeat(65), &"é".repeat(4_000)] {
            let error = check_name("pool", name).unwrap_err().to_string();
            assert!(error.starts_with("pool name") && error.contains("1 to 64") && error.len() < 400, "{error}");
        }
        for name in ["a", "0", "users", "user-pages_2", &"x".repeat(64)] {
            assert_eq!(check_name("pool", name), Ok(()));
        }
    }
}
