//! The client: the user of the guest, who sees only what the guest answers.
//!
//! The client makes one request at a time, waits, asks again as TCP would, thinks, and makes the next one. It
//! is a checker too: it never accepts two different answers to one question. It must not know which process
//! serves it.

use std::collections::BTreeMap;

use replica::{Span, Time};
use toy::server::PAYLOAD_OFF;

use toy::random::Random;

use crate::checker::{Check, Violation, ensure};

/// A client with one request at a time.
#[derive(Debug)]
pub struct Client {
    /// How long it waits before it asks again.
    patience: Span,
    /// How long it thinks between an answer and its next request.
    think: Span,
    /// The number of its present request, from 1.
    seq: u64,
    /// The content of its present request.
    payload: u64,
    /// When it does something next; `None`: it has finished.
    due: Option<Time>,
    /// Does it wait for the answer to its present request?
    waiting: bool,
    /// The answers to its requests, by number.
    replies: BTreeMap<u64, Vec<u8>>,
    /// Does it want nothing more, but perhaps that the guest switch itself off?
    leaving: bool,
    /// How often it asked, with repetitions.
    sent: u64,
}

impl Client {
    /// A client that makes its first request after it has thought.
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

    /// The number and the content of the request that the client sends now, for the first time or again.
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

    /// A reply to request `seq` comes.
    ///
    /// # Errors
    /// If the reply answers what was not asked, or contradicts an earlier one.
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
            // A client that has stopped is not due any more, whatever comes.
            let goes_on = self.due.is_some() && self.payload != PAYLOAD_OFF;
            self.due = goes_on.then(|| now.after(self.think));
        }
        Ok(())
    }

    /// The client's last request will be that the guest switch itself off.
    pub fn leave(&mut self) {
        self.leaving = true;
    }

    /// The client asks nothing more.
    pub fn stop(&mut self) {
        self.leaving = true;
        self.due = None;
    }

    /// Will its next request be its last one, or has it asked that?
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
