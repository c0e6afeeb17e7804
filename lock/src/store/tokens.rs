//! The highest token seen: a server that gives a lower one has lost its memory, and its locks mean nothing.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::StoreError;

#[derive(Debug, Default)]
pub(crate) struct Tokens(AtomicU64);

impl Tokens {
    /// To be called before a token is asked for: the answer must be higher.
    pub(crate) fn before(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    /// Accepts a token, or fails closed.
    pub(crate) fn accept(&self, token: u64, before: u64) -> Result<u64, StoreError> {
        if token <= before {
            return Err(StoreError::plain(format!(
                "the server gave token {token} after {before}: it was restored from an older state, or its clock was set back \
                 while it had lost its data; raise its counter of tokens beyond {before} before these locks are used again"
            ))
            .permanent());
        }
        self.0.fetch_max(token, Ordering::AcqRel);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_that_goes_back_is_refused_and_answers_may_overtake_each_other() {
        let tokens = Tokens::default();
        let (one, two) = (tokens.before(), tokens.before());
        assert_eq!(tokens.accept(6, two).unwrap(), 6);
        assert_eq!(tokens.accept(5, one).unwrap(), 5);
        let error = tokens.accept(6, tokens.before()).unwrap_err();
        assert!(error.permanent && error.to_string().starts_with("the server gave token 6 after 6"), "{error}");
    }
}
