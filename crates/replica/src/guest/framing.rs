//! `Log`: the log of a live guest, from its entries to the frames that leave for the file and the backup.
//!
//! The recorder appends each entry as it happens and hands the frames out when they are due. `Log` knows how
//! long what is in it may wait, and in which company; when to look, and where the frames go, is up to the
//! recorder and the roles. It must never drop an entry that somebody wants.

use std::collections::VecDeque;

use machine::Step;

use crate::limits;
use crate::metrics::Metrics;
use messages::time::{Span, Time};
use vmlog::codec::{Encoder, Frame};
use vmlog::entry::{Entry, EntryKind, Seq};
use vmlog::entry_bytes::Base;

/// The log of a live guest, on its way into frames.
#[derive(Debug)]
pub struct Log {
    /// Makes frames of entries. It has the number of the last entry and the frame that is not finished yet.
    encoder: Encoder,
    /// Does anybody want the log? A guest that runs alone without a file has none.
    wanted: bool,
    /// Finished frames that no flush has handed out yet.
    closed: VecDeque<Frame>,
    /// Since when something waits for a flush: an entry, or steps that the log does not cover.
    oldest: Option<Time>,
    /// Does an output wait for its entry? Then the log must go at once, or soon in company (FT 3.5-c).
    urgent: bool,
    /// Does a console's output wait for its entry? Then the log must go soon, even if the guest is idle.
    soon: bool,
}

impl Log {
    /// A log that starts where `encoder` stands.
    #[must_use]
    pub fn new(encoder: Encoder, wanted: bool) -> Log {
        Log {
            encoder,
            wanted,
            closed: VecDeque::new(),
            oldest: None,
            urgent: false,
            soon: false,
        }
    }

    /// Says whether anybody reads the log from now on. If nobody does, what was not handed out is dropped.
    pub fn set_wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
        if !wanted {
            self.closed.clear();
            self.encoder.finish();
            self.oldest = None;
        }
    }

    /// Begins to keep the log at `step`, for somebody who has the guest's state there; nothing is to do if it
    /// is kept already and covers the guest's life up to `step`.
    pub fn begin(&mut self, step: Step) {
        if !self.wanted {
            self.encoder.skip_to(step);
            self.wanted = true;
        }
    }

    /// The last entry.
    #[must_use]
    pub fn base(&self) -> Base {
        self.encoder.base()
    }

    /// The number of the last entry.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.encoder.seq()
    }

    /// The step of the last entry.
    #[must_use]
    pub fn step(&self) -> Step {
        self.encoder.step()
    }

    /// Appends an entry and gives its number; 0 if nobody wants the log.
    pub fn append(&mut self, now: Time, metrics: &mut Metrics, at: Step, kind: EntryKind) -> Seq {
        if !self.wanted {
            return Seq(0);
        }
        metrics.entries += 1;
        let is_digest = matches!(kind, EntryKind::Digest(_) | EntryKind::DigestEnds(_));
        metrics.digests += u64::from(is_digest);
        self.oldest.get_or_insert(now);
        let seq = self.encoder.push(&Entry { at, kind });
        if self.encoder.bytes() >= limits::FRAME_BYTES_CLOSE {
            self.closed.extend(self.encoder.finish());
        }
        seq
    }

    /// When the log should be flushed, if entries may wait for `patience`, and those of outputs in a hurry
    /// for `hurry`. `None`: there is nothing to flush.
    #[must_use]
    pub fn due(&self, patience: Span, hurry: Span) -> Option<Time> {
        let patience = if !self.closed.is_empty() {
            Span(0)
        } else if self.urgent {
            patience.min(hurry)
        } else if self.soon {
            patience.min(limits::FLUSH_EVERY)
        } else {
            patience
        };
        Some(self.oldest?.after(patience))
    }

    /// Hands out everything as frames, and has the log cover the steps up to `at`.
    pub fn flush(&mut self, now: Time, metrics: &mut Metrics, at: Step) -> VecDeque<Frame> {
        if self.wanted && at > self.encoder.step() {
            self.append(now, metrics, at, EntryKind::Progress);
        }
        self.closed.extend(self.encoder.finish());
        self.oldest = None;
        self.urgent = false;
        self.soon = false;
        let frames = std::mem::take(&mut self.closed);
        metrics.log_bytes += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
        frames
    }

    /// Does anybody want the log?
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Is a finished frame here that no flush has handed out yet?
    #[must_use]
    pub fn has_frame(&self) -> bool {
        !self.closed.is_empty()
    }

    /// Notes that the guest has run to `step`: if the log does not cover that yet, a flush waits since `now`.
    pub fn on_ran(&mut self, now: Time, step: Step) {
        if self.wanted && step > self.encoder.step() {
            self.oldest.get_or_insert(now);
        }
    }

    /// Notes that the log must go at once, or soon in company.
    pub fn hurry(&mut self) {
        self.urgent = true;
    }

    /// Notes that the log must go soon, even if the guest is idle.
    pub fn go_soon(&mut self) {
        self.soon = true;
    }
}
