//! `Tokens`: those that this agent has given, by their fingerprints, and the rules for them: each is good for
//! one host and for a time, and who comes with a wrong one is not heard for long.
//!
//! They are kept in memory alone: a new agent knows none, and a person has it draw another one.

use std::collections::VecDeque;
use std::net::IpAddr;

use messages::time::{Span, Time};

use crate::identity::Fingerprint;
use crate::limits::{TOKEN_FAILURES_MAX, TOKEN_FAILURES_SPAN, TOKENS_KEPT, TOKENS_MAX};

/// The tokens that this agent has given.
#[derive(Debug, Default)]
pub struct Tokens {
    /// The oldest first.
    kept: VecDeque<Kept>,
    /// When calls with tokens that are not good have come lately, the oldest first.
    failures: VecDeque<Time>,
}

/// A token.
#[derive(Debug)]
struct Kept {
    of: Fingerprint,
    until: Time,
    /// The host that has joined with it, and that host's address; `None`: nobody has.
    used: Option<(String, IpAddr)>,
}

/// Why a token is not good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// This agent has not given it, or not since it was started.
    Unknown,
    /// Its time is over.
    Expired,
    /// A host has joined with it.
    Used,
    /// Too many calls with tokens that are not good have come: none is looked at for now.
    TooMany,
}

impl Tokens {
    /// Takes in a token that is good for `valid`; false: too many are good already.
    #[must_use]
    pub fn add(&mut self, now: Time, of: Fingerprint, valid: Span) -> bool {
        let good = self.kept.iter().filter(|kept| kept.is_good(now)).count();
        if good >= TOKENS_MAX {
            return false;
        }
        if self.kept.len() >= TOKENS_KEPT
            && let Some(oldest) = self.kept.iter().position(|kept| !kept.is_good(now))
        {
            self.kept.remove(oldest);
        }
        self.kept.push_back(Kept {
            of,
            until: now.after(valid),
            used: None,
        });
        true
    }

    /// Is the token of this fingerprint good? Whoever asks is a stranger as yet, so failures are counted.
    ///
    /// # Errors
    /// It is not, or too many were not.
    pub fn admit(&mut self, now: Time, of: Fingerprint) -> Result<(), Refusal> {
        while self
            .failures
            .front()
            .is_some_and(|&time| now.since(time) >= TOKEN_FAILURES_SPAN)
        {
            self.failures.pop_front();
        }
        if self.failures.len() >= TOKEN_FAILURES_MAX {
            return Err(Refusal::TooMany);
        }
        let found = self.find(now, of).map(drop);
        if found.is_err() {
            self.failures.push_back(now);
        }
        found
    }

    /// Uses a token up: this host joins with it.
    ///
    /// # Errors
    /// It is not good any more.
    pub fn redeem(&mut self, now: Time, of: Fingerprint, host: &str, at: IpAddr) -> Result<(), Refusal> {
        self.find(now, of)?.used = Some((host.to_owned(), at));
        Ok(())
    }

    /// The host that has joined lately with this name or this address, but not with both: it may not have
    /// begun its agent yet, so the site does not know it. With both it is the same host, which tries again.
    #[must_use]
    pub fn in_the_way(&self, host: &str, at: IpAddr) -> Option<(&str, IpAddr)> {
        let mut used = self.kept.iter().filter_map(|kept| kept.used.as_ref());
        let found = used.find(|(name, address)| (name == host) != (*address == at));
        found.map(|(name, address)| (name.as_str(), *address))
    }

    fn find(&mut self, now: Time, of: Fingerprint) -> Result<&mut Kept, Refusal> {
        let found = self.kept.iter_mut().find(|kept| kept.of == of);
        match found {
            None => Err(Refusal::Unknown),
            Some(kept) if kept.used.is_some() => Err(Refusal::Used),
            Some(kept) if now >= kept.until => Err(Refusal::Expired),
            Some(kept) => Ok(kept),
        }
    }
}

impl Kept {
    fn is_good(&self, now: Time) -> bool {
        self.used.is_none() && now < self.until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: Span = Span::from_ms(900_000);

    fn at(ms: u64) -> Time {
        Time(0).after(Span::from_ms(ms))
    }

    fn token(number: u8) -> Fingerprint {
        Fingerprint([number; 32])
    }

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    #[test]
    fn a_token_is_good_for_one_host_and_for_its_time() {
        let mut tokens = Tokens::default();
        assert!(tokens.add(at(0), token(1), VALID) && tokens.add(at(0), token(2), VALID));
        assert_eq!(tokens.admit(at(1), token(1)), Ok(()));
        assert_eq!(tokens.admit(at(1), token(1)), Ok(()), "looking uses nothing up");
        assert_eq!(tokens.redeem(at(2), token(1), "b", address(2)), Ok(()));
        assert_eq!(
            tokens.redeem(at(2), token(1), "c", address(3)),
            Err(Refusal::Used)
        );
        assert_eq!(tokens.admit(at(3), token(1)), Err(Refusal::Used));
        assert_eq!(tokens.admit(at(899_999), token(2)), Ok(()));
        assert_eq!(tokens.admit(at(900_000), token(2)), Err(Refusal::Expired));
        assert_eq!(
            tokens.redeem(at(900_000), token(2), "c", address(3)),
            Err(Refusal::Expired)
        );
        assert_eq!(tokens.admit(at(900_001), token(3)), Err(Refusal::Unknown));
    }

    #[test]
    fn who_comes_with_wrong_tokens_is_not_heard_for_the_rest_of_a_minute() {
        let mut tokens = Tokens::default();
        assert!(tokens.add(at(0), token(1), VALID));
        for ms in 0..TOKEN_FAILURES_MAX as u64 {
            assert_eq!(tokens.admit(at(ms), token(9)), Err(Refusal::Unknown));
        }
        assert_eq!(tokens.admit(at(59_000), token(1)), Err(Refusal::TooMany));
        assert_eq!(tokens.admit(at(59_999), token(9)), Err(Refusal::TooMany));
        // The first of the failures is forgotten, and not being heard was none.
        assert_eq!(tokens.admit(at(60_000), token(1)), Ok(()));
        assert_eq!(tokens.admit(at(60_000), token(9)), Err(Refusal::Unknown));
        assert_eq!(tokens.admit(at(60_000), token(1)), Err(Refusal::TooMany));
    }

    #[test]
    fn no_more_tokens_are_good_or_remembered_than_the_limits_say() {
        let mut tokens = Tokens::default();
        for number in 0..200 {
            let now = at(u64::from(number) * 901_000);
            assert!(tokens.add(now, token(number), VALID));
        }
        assert_eq!(tokens.kept.len(), TOKENS_KEPT);
        let now = at(1_000_000_000);
        for number in 200..200 + TOKENS_MAX as u8 {
            assert!(tokens.add(now, token(number), VALID));
        }
        assert!(!tokens.add(now, token(255), VALID), "as many are good as may be");
        tokens.redeem(now, token(200), "b", address(2)).unwrap();
        assert!(tokens.add(now, token(255), VALID), "one is used up");
        assert_eq!(tokens.kept.len(), TOKENS_KEPT);
    }

    #[test]
    fn a_host_that_has_joined_just_now_keeps_its_name_and_its_address() {
        let mut tokens = Tokens::default();
        assert!(tokens.add(at(0), token(1), VALID));
        assert_eq!(tokens.in_the_way("b", address(2)), None);
        tokens.redeem(at(1), token(1), "b", address(2)).unwrap();
        assert_eq!(tokens.in_the_way("b", address(3)), Some(("b", address(2))));
        assert_eq!(tokens.in_the_way("c", address(2)), Some(("b", address(2))));
        assert_eq!(tokens.in_the_way("b", address(2)), None, "it tries again");
        assert_eq!(tokens.in_the_way("c", address(3)), None);
    }
}
