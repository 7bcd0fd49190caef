//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

/// Callers that are connected at one time. One more has the caller that has been idle for longest sent away.
pub const CALLERS_MAX: usize = 32;
/// Callers that get events as they happen. One more is refused.
pub const FOLLOWERS_MAX: usize = 16;
/// Callers that are at the guest's console. One more is refused.
pub const WATCHERS_MAX: usize = 6;
/// Callers that the kernel keeps until they are accepted; more are told to try again.
pub const BACKLOG: i32 = 64;
/// Callers that are accepted in a row before those that are there are served: few enough that none of them
/// gives way to the next before its request was looked for.
pub const ACCEPTS_MAX: usize = 8;
const _: () = assert!(ACCEPTS_MAX + FOLLOWERS_MAX + WATCHERS_MAX < CALLERS_MAX);
/// Bytes of a request's line. A longer one is refused, and its caller sent away.
pub const REQUEST_LEN_MAX: usize = 4 << 10;
/// Bytes that are read from a caller at once.
pub const READ_LEN: usize = 4 << 10;
/// Bytes of events that are taken for a caller at once; the next are taken when these have left.
pub const OUTPUT_LEN: usize = 64 << 10;
/// A caller that takes nothing for so long though there is something to take, or that has begun a request and
/// does not end it, is sent away.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// A caller at the console that takes nothing for so long is sent away: a person may stop a terminal.
pub const WATCHER_PATIENCE: Duration = Duration::from_secs(300);
/// A caller at the console to whom nothing was said for so long hears that the process lives.
pub const ALIVE_EVERY: Duration = Duration::from_secs(1);
/// Bytes of the guest's console that are kept for callers who come, or are slow.
pub const TAIL_LEN_MAX: usize = 64 << 10;
/// Bytes of what a person types in one piece, and so of what the guest takes at once.
pub const TYPED_LEN_MAX: usize = 1 << 10;
const _: () = assert!(TYPED_LEN_MAX <= replica::limits::TYPED_BYTES_MAX);
/// Pieces of what a person types that wait for the guest. Past this the caller waits.
pub const TYPED_MAX: usize = 16;
/// Signs of a person's name, as others at the console see it.
pub const BY_LEN_MAX: usize = 64;
/// Time between two looks at the patience with callers, while there are any.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After a caller could not be accepted, for want of descriptors, none is accepted for so long.
pub const DEAF_FOR: Duration = Duration::from_millis(100);
/// A status that is asked for so soon after the last one is that one: callers cost the guest no more.
pub const STATUS_AGE_MAX: Duration = Duration::from_millis(50);
/// A caller that wants a status does not wait longer for the guest's thread.
pub const STATUS_PATIENCE: Duration = Duration::from_secs(2);
/// Answers that are remembered by their request's number, so that a repeated request is not done twice.
pub const ANSWERS_MAX: usize = 64;
/// The last lines of events that are kept for who asks later.
pub const LINES_MAX: usize = 512;
/// Bytes of these lines; if they are longer, fewer are kept.
pub const LINES_LEN_MAX: usize = 512 << 10;
/// Control sockets of one user on one host that are looked at.
pub const PROCESSES_MAX: usize = 4096;
/// Bytes of a snapshot's file in one piece on a control socket.
pub const PIECE_LEN_MAX: usize = 256 << 10;
