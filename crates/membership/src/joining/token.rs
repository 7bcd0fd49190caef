//! `Token`: what a person carries from a host of a site to one that is to join. It holds the fingerprint of
//! the site's authority, so that the host that joins knows to whom it speaks, and a secret, so that the agent
//! knows the token again.
//!
//! The secret never leaves the two ends: it makes a key pair, whose public half the agent keeps as a hash,
//! and whose private half signs the TLS handshake of the host that joins.

use rcgen::{CertificateParams, KeyPair};
use ring::digest;
use rustls::pki_types::CertificateDer;

use crate::identity::{Fingerprint, IdentityError, ed25519};

/// What the text of a token begins with.
const HEAD: &str = "lsj_";
/// Bytes of an authority's fingerprint that a token holds.
const AUTHORITY_LEN: usize = 16;
/// Bytes of a token's secret.
const SECRET_LEN: usize = 16;
/// Bytes of a token that tell a slip of the pen.
const CHECK_LEN: usize = 2;
/// Bytes of a token.
const LEN: usize = AUTHORITY_LEN + SECRET_LEN + CHECK_LEN;

/// A token. It is printed on purpose only.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    authority: [u8; AUTHORITY_LEN],
    secret: [u8; SECRET_LEN],
}

impl Token {
    /// Draws a token for hosts that are to join the site of this authority.
    #[must_use]
    pub fn draw(authority: Fingerprint) -> Token {
        let mut start = [0; AUTHORITY_LEN];
        start.copy_from_slice(&authority.0[..AUTHORITY_LEN]);
        let secret = os::entropy::random_u128().to_le_bytes();
        Token {
            authority: start,
            secret,
        }
    }

    /// Reads what [`Token::text`] gives; `None`: this is no token, or not all of one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Token> {
        let digits = text.trim().strip_prefix(HEAD)?;
        if digits.len() != 2 * LEN || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; LEN];
        for (byte, pair) in bytes.iter_mut().zip(digits.as_bytes().chunks(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
        }
        let (authority, rest) = bytes.split_at(AUTHORITY_LEN);
        let (secret, check) = rest.split_at(SECRET_LEN);
        let token = Token {
            authority: authority.try_into().ok()?,
            secret: secret.try_into().ok()?,
        };
        (token.check() == check).then_some(token)
    }

    /// The token as a person carries it: `lsj_` and 68 hexadecimal digits.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = [&self.authority[..], &self.secret, &self.check()].concat();
        let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{HEAD}{digits}")
    }

    /// Is this the authority of the token's site?
    #[must_use]
    pub fn is_of(&self, authority: Fingerprint) -> bool {
        authority.0.starts_with(&self.authority)
    }

    /// A certificate that its holder signs itself, with its private key.
    ///
    /// # Errors
    /// It cannot be made: a bug.
    pub fn certificate(&self) -> Result<(CertificateDer<'static>, KeyPair), IdentityError> {
        let key = ed25519(&self.secret, b"lockstep 1 token of a host that joins")?;
        let certificate = CertificateParams::default().self_signed(&key)?;
        Ok((CertificateDer::from(certificate.der().to_vec()), key))
    }

    /// What the agent that gives the token keeps of it.
    ///
    /// # Errors
    /// As those of [`Token::certificate`].
    pub fn fingerprint(&self) -> Result<Fingerprint, IdentityError> {
        Ok(Fingerprint::of(&self.certificate()?.0)?)
    }

    fn check(&self) -> [u8; CHECK_LEN] {
        let sum = digest::digest(&digest::SHA256, &[&self.authority[..], &self.secret].concat());
        let mut check = [0; CHECK_LEN];
        check.copy_from_slice(&sum.as_ref()[..CHECK_LEN]);
        check
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_it_is_written_and_a_slip_of_the_pen_is_seen() {
        let authority = Fingerprint([7; 32]);
        let token = Token::draw(authority);
        let text = token.text();
        assert!(Token::parse(&format!(" {text}\n")) == Some(token.clone()));
        assert!(token.is_of(authority) && !token.is_of(Fingerprint([8; 32])));
        let other = if text.ends_with('0') { '1' } else { '0' };
        let slip = format!("{}{other}", &text[..text.len() - 1]);
        for bad in [&text[..text.len() - 2], &text[1..], &slip, "", "lsj_"] {
            assert!(Token::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn each_token_has_a_fingerprint_of_its_own_which_is_not_its_secret() {
        let authority = Fingerprint([7; 32]);
        let (one, other) = (Token::draw(authority), Token::draw(authority));
        let fingerprint = one.fingerprint().unwrap();
        assert_eq!(one.fingerprint().unwrap(), fingerprint);
        assert_ne!(other.fingerprint().unwrap(), fingerprint);
        let holds = |bytes: &[u8]| bytes.windows(SECRET_LEN).any(|part| part == one.secret);
        assert!(!holds(&fingerprint.0));
        assert!(!holds(&one.certificate().unwrap().0));
    }
}
