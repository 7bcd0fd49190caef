//! Every bound of the crate, with what happens when it is reached.
//!
//! All files of the crate take theirs from here, and other crates those that concern them too ([`BATCH_MAX`],
//! [`LAST_WORDS_PATIENCE`]). No queue or wait may be without a bound (docs/style.md, L1). The first ones are
//! times of the guest thread, chosen by measurement (docs/decisions/0031-no-watcher-thread.md).

use std::time::Duration;

use replica::Span;

/// Time between two looks at a running guest's sockets.
pub const LOOK_EVERY: Span = Span::from_us(20);
/// Time for which an idle guest thread looks at its sockets before it sleeps.
pub const AWAKE: Span = Span::from_us(40);
/// Time for which one half of a pair looks before it sleeps, if something came within this time in the last
/// wait.
pub const AWAKE_LONG: Span = Span::from_us(200);
const _: () = assert!(AWAKE.0 < AWAKE_LONG.0);
/// Messages or network frames taken from one source in one turn, so that no source starves the others.
pub const BATCH_MAX: usize = 64;

/// Niceness of one half of a pair, where it is allowed to be this little. With four others that compute on
/// two processors, a half is then late by 11 ms in one of a hundred wake-ups instead of 25 ms, and leaves the
/// others a tenth of a processor on which it computes.
pub const NICE: i32 = -10;
/// Niceness of a thread that carries a clone: guests, gateways and clients come first. It is a share as well,
/// a tenth of that of others, so a clone on a busy host ends.
pub const NICE_OF_BULK: i32 = 10;

/// Bytes of lines for people that may wait for standard error. Past this, lines are dropped and counted.
pub const STDERR_BACKLOG_MAX: usize = 256 << 10;
/// Longest time that the end of a process waits for those who hear its last words: the peer, a console,
/// standard error, the file of events.
pub const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);

/// Most sockets that a watcher is given when it is started, and so most datagrams that it keeps.
pub const WATCHED_SOCKETS_MAX: usize = 4;
/// Longest datagram that can be left with a watcher.
pub const NOTICE_LEN_MAX: usize = 2048;
/// Pauses before each attempt of a watcher to send its datagrams: one may be lost, and an outage be short.
/// The watcher ends after the last one.
pub const NOTICE_PAUSES: [Duration; 6] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(4),
    Duration::from_millis(15),
    Duration::from_millis(60),
    Duration::from_millis(120),
];
