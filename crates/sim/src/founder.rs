//! The founder: an operator who has the first pair of a world formed, as often as it takes.
//!
//! Here stand what he is told (`FounderOptions`), what a process remembers that is to be one half of a pair
//! (`Candidate`), and when the operator starts another one; what these do in a world stands in `forming.rs`.
//! Nothing here may know more of a process than that it is there.

use std::fmt;

use replica::{Caller, Epoch, HandshakeAction, PeerId, Span, Time};

use crate::faults::show;

/// How a pair is formed.
#[derive(Clone, Debug)]
pub struct FounderOptions {
    /// How often the operator looks.
    pub every: Span,
    /// How long a primary waits before it calls again.
    pub pause: Span,
    /// How long a primary calls.
    pub patience: Span,
    /// How many processes the operator starts at most, beside the first two, before the world is healed.
    pub starts: u64,
    /// How many of a thousand looks have the operator start a primary though there is one.
    pub mistakes_permille: u64,
}

impl Default for FounderOptions {
    /// An operator who looks every five milliseconds and makes no mistakes.
    fn default() -> FounderOptions {
        FounderOptions {
            every: Span::from_ms(5),
            pause: Span::from_ms(10),
            patience: Span::from_ms(5_000),
            starts: u64::MAX,
            mistakes_permille: 0,
        }
    }
}

impl fmt::Display for FounderOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "  founder looks every {}, starts {} more, {}/1000 by mistake; primary calls every {} for {}",
            show(self.every),
            self.starts,
            self.mistakes_permille,
            show(self.pause),
            show(self.patience)
        )
    }
}

/// A process that is to be one half of a pair, until it is.
#[derive(Debug)]
pub struct Candidate {
    /// What decides for a primary between its handshakes; `None`: it is to be the backup, and listens.
    pub caller: Option<Caller>,
    /// Until when a primary calls, in true time.
    pub calls_until: Time,
    /// Has a primary called when nobody listened? Then the founder starts another backup.
    pub called_in_vain: bool,
    /// The link of the present handshake, or of the last one.
    pub peer: PeerId,
    /// The epoch for which a backup has built its machine last.
    pub epoch: Epoch,
    /// Does it wait for its own host, its arbiter or its disks? Then it looks at nothing else.
    pub is_busy: bool,
    /// An action of its handshake that was handed out and not yet carried out, because the process stood
    /// still in between.
    pub in_hand: Option<HandshakeAction>,
}
