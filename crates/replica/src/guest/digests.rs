//! `Digests`: when the log of a live guest gets a digest, and the one that has begun.
//!
//! The recorder asks after each run, and appends what it is given. A digest that has few pages to hash is
//! taken at once; another one begins and ends later, so that the guest never stands for it
//! (docs/decisions/0099). It belongs to one recorder: a replica that goes live begins anew, and what the log
//! had begun before then never ends.

use machine::Step;

use crate::guest::Guest;
use crate::guest::clock::next_multiple;
use crate::limits;
use vmlog::entry::EntryKind;

/// When the log gets digests.
#[derive(Debug)]
pub struct Digests {
    /// Steps between two digests, and the step of the next one; `None`: none comes by itself.
    pub schedule: Option<(u64, Step)>,
    /// Has one begun that has not ended? Then no other is due.
    pub begun: bool,
}

impl Digests {
    /// Digests after so many steps each, for a guest that stands at `step`.
    #[must_use]
    pub fn new(every: Option<u64>, step: Step) -> Digests {
        Digests {
            schedule: every.map(|every| (every, next_multiple(step, every))),
            begun: false,
        }
    }

    /// The step at which the next one is due; [`Step::NEVER`]: none is.
    #[must_use]
    pub fn due(&self) -> Step {
        let schedule = self.schedule.filter(|_| !self.begun);
        schedule.map_or(Step::NEVER, |(_, next)| next)
    }

    /// Takes a digest of the guest's present state, or begins it if that costs less and it need not be had
    /// `at_once`. One that had begun is dropped.
    pub fn take<G: Guest>(&mut self, guest: &mut G, at_once: bool) -> EntryKind {
        self.begun = !at_once && u64::from(guest.pages_to_hash()) > limits::DIGEST_PAGES;
        if self.begun {
            guest.begin_digest();
            return EntryKind::DigestBegins;
        }
        let digest = guest.digest();
        self.plan(guest);
        EntryKind::Digest(digest)
    }

    /// Hashes some pages of the digest that has begun; if these were the last ones, ends it.
    pub fn go_on<G: Guest>(&mut self, guest: &mut G) -> Option<EntryKind> {
        if !self.begun {
            return None;
        }
        let digest = guest.hash_some(limits::HASH_PAGES)?;
        self.begun = false;
        self.plan(guest);
        Some(EntryKind::DigestEnds(digest))
    }

    /// Plans the next one. A guest that writes many pages gets fewer, so that they cost no more of its time.
    pub fn plan<G: Guest>(&mut self, guest: &G) {
        if let Some((every, next)) = &mut self.schedule {
            let more = guest.pages_hashed() / limits::DIGEST_PAGES;
            let more = every.saturating_mul(more.min(limits::DIGEST_PAUSE_MAX));
            *next = next_multiple(guest.now(), *every).after(more);
        }
    }
}
