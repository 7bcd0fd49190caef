//! Every bound of the crate, with what happens when it is reached (L1).

use std::time::Duration;

use replica::Span;

/// A running guest's sockets are looked at so often.
pub const LOOK_EVERY: Span = Span::from_us(20);
/// An idle guest thread looks at its sockets for so long before it sleeps.
pub const AWAKE: Span = Span::from_us(40);
/// Likewise of one half of a pair, if the last time something came within this.
pub const AWAKE_LONG: Span = Span::from_us(200);
const _: () = assert!(AWAKE.0 < AWAKE_LONG.0);
/// Messages or frames taken from one source in one turn, so that no source starves the others.
pub const BATCH_MAX: usize = 64;

/// How nice to others one half of a pair is, where it is allowed to be this little: with four others that
/// compute on two processors, it is then late by 11 ms in one of a hundred wake-ups instead of 25, and leaves
/// them a tenth of a processor that it computes on.
pub const NICE: i32 = -10;

/// Bytes of lines for people that wait for standard error. Past this, lines are dropped and counted.
pub const STDERR_BACKLOG_MAX: usize = 256 << 10;
/// The end of a process waits at most this long for whoever hears its last words: the peer, a console,
/// standard error, the file of events.
pub const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);
