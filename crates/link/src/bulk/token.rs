//! `Token`: the secret by which a bulk link belongs to a main link, and the set of those that are expected.
//!
//! The side that listens draws a token, hands it out on a main link, and puts it into the `Tokens` of its
//! listener. Whoever shows it there, after having shown the key, has the bulk link of that main link; the
//! token is then used up. No token admits two connections, and none is ever printed.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::TOKENS_MAX;

/// Bytes of a token.
pub const TOKEN_LEN: usize = 16;

/// The secret that binds a bulk link to a main link. The token is never printed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token([u8; TOKEN_LEN]);

impl Token {
    /// Draws a new token.
    ///
    /// # Errors
    /// The host gives no random numbers.
    pub fn draw() -> io::Result<Token> {
        let mut bytes = [0; TOKEN_LEN];
        getrandom::fill(&mut bytes)?;
        Ok(Token(bytes))
    }

    /// The token of these bytes, which have come on a main link.
    #[must_use]
    pub const fn new(bytes: [u8; TOKEN_LEN]) -> Token {
        Token(bytes)
    }

    /// The secret itself, to be handed out on a main link.
    #[must_use]
    pub fn bytes(&self) -> &[u8; TOKEN_LEN] {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The tokens that were handed out and that nobody has shown yet. Clones are the same set, so that the thread
/// that talks on the main link can add a token while another thread listens.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    expected: Arc<Mutex<BTreeSet<Token>>>,
}

impl Tokens {
    /// Expects a bulk link with this token. `false`: [`TOKENS_MAX`] are expected already, and this one is
    /// not.
    #[must_use]
    pub fn expect(&self, token: Token) -> bool {
        let mut expected = self.lock();
        if expected.len() >= TOKENS_MAX && !expected.contains(&token) {
            return false;
        }
        expected.insert(token);
        true
    }

    /// Expects it no longer, since the main link on which it was handed out is gone.
    pub fn forget(&self, token: &Token) {
        self.lock().remove(token);
    }

    /// Somebody who has the key shows a token. `true`: the token was expected, and now it no longer is.
    ///
    /// The set is searched by comparing bytes, whose time tells something about the tokens in it; but only
    /// peers that have the key get to ask, and each question costs a whole handshake.
    pub(crate) fn redeem(&self, token: &Token) -> bool {
        self.lock().remove(token)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Token>> {
        self.expected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_admits_one_and_a_forgotten_or_unknown_one_nobody() {
        let tokens = Tokens::default();
        let (first, second) = (Token::draw().unwrap(), Token::draw().unwrap());
        assert!(tokens.expect(first) && tokens.clone().expect(second));
        assert!(tokens.redeem(&first));
        assert!(!tokens.redeem(&first));
        tokens.forget(&second);
        assert!(!tokens.redeem(&second));
    }

    #[test]
    fn no_more_tokens_are_expected_than_the_limit_says() {
        let tokens = Tokens::default();
        let all: Vec<Token> = (0..TOKENS_MAX).map(|_| Token::draw().unwrap()).collect();
        assert!(all.iter().all(|token| tokens.expect(*token)));
        let more = Token::draw().unwrap();
        assert!(!tokens.expect(more));
        // One that is expected already is no more than that.
        assert!(tokens.expect(all[0]));
        assert!(tokens.redeem(&all[1]));
        assert!(tokens.expect(more));
    }

    #[test]
    fn a_token_is_not_printed() {
        assert_eq!(format!("{:?}", Token::new([7; TOKEN_LEN])), "Token(..)");
    }
}
