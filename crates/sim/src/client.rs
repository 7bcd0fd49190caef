//! The client: the outside's user of the guest. Asks, waits, asks again as TCP would, and never accepts two
//! different answers to one question.

use std::collections::BTreeMap;

use replica::{Span, Time};
use toy::server::PAYLOAD_OFF;

use crate::{
    checker::{Check, Violation, ensure},
    random::Random,
};

/// A client with one request at a time.
#[derive(Debug)]
pub struct Client {
    patience: Span,
    think: Span,
    seq: u64,
    payload: u64,
    /// When it does something next; `None`: it has finished.
    due: Option<Time>,
    waiting: bool,
    replies: BTreeMap<u64, Vec<u8>>,
    /// It has asked the guest to switch itself off.
    leaving: bool,
    sent: u64,
}

impl Client {
    /// A client that begins soon.
    #[must_use]
    pub fn new(patience: Span, think: Span) -> Client {
        Client {
            patience,
            think,
            seq: 0,
            payload: 0,
            due: Some(Time(0).after(think)),
            waiting: false,
            replies: BTreeMap::new(),
            leaving: false,
            sent: 0,
        }
    }

    /// When to call [`Client::wake`].
    #[must_use]
    pub fn due(&self) -> Option<Time> {
        self.due
    }

    /// The request that it sends now, for the first time or again.
    pub fn wake(&mut self, random: &mut Random, now: Time) -> Option<(u64, u64)> {
        self.due?;
        if !self.waiting {
            self.seq += 1;
            self.payload = if self.leaving {
                PAYLOAD_OFF
            } else {
                random.draw() >> 1
            };
            self.waiting = true;
        }
        self.sent += 1;
        self.due = Some(now.after(self.patience));
        Some((self.seq, self.payload))
    }

    /// A reply comes.
    ///
    /// # Errors
    /// If it answers what was not asked, or contradicts an earlier one.
    pub fn on_reply(&mut self, now: Time, seq: u64, content: Vec<u8>) -> Result<(), Violation> {
        ensure(seq <= self.seq, Check::Output, || {
            format!("the client gets a reply to request {seq}, which it has not made yet")
        })?;
        if let Some(before) = self.replies.get(&seq) {
            return ensure(*before == content, Check::Output, || {
                format!("the client gets two different replies to request {seq}")
            });
        }
        self.replies.insert(seq, content);
        if self.waiting && seq == self.seq {
            self.waiting = false;
            self.due = (!self.leaving).then(|| now.after(self.think));
        }
        Ok(())
    }

    /// Its last request will be that the guest switch itself off.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// It asks nothing more.
    pub fn stop(&mut self) {
        self.leaving = true;
        self.due = None;
    }

    /// Has it asked its last question?
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// Requests that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.replies.len() as u64
    }

    /// Requests sent, with repetitions.
    #[must_use]
    pub fn sent(&self) -> u64 {
        self.sent
    }
}
