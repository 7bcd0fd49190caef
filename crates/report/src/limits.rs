//! Every bound of the crate, with what happens when it is reached. The reporter and `waiting` take theirs
//! from here; nothing may grow without one (L1 of docs/style.md).

use replica::Span;

/// Bytes of events that wait for their file. Past this, events are dropped and counted.
pub const EVENTS_BACKLOG_MAX: usize = 1 << 20;
/// Bytes of a file of events. Past this a new one is begun, and the full one is kept beside it.
pub const EVENTS_LEN_MAX: u64 = 64 << 20;
/// An arbiter that has said nothing for so long is said not to answer.
pub const WAITING_FIRST: Span = Span::from_ms(1_000);
/// Time between two sentences that say that an arbiter does not answer.
pub const WAITING_EVERY: Span = Span::from_ms(10_000);
