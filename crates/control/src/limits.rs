//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::ops::RangeInclusive;
use std::time::Duration;

/// Callers that are connected at one time. One more has the caller that has been idle for longest sent away.
pub const CALLERS_MAX: usize = 32;
/// Callers that get events as they happen. One more is refused.
pub const FOLLOWERS_MAX: usize = 16;
const _: () = assert!(FOLLOWERS_MAX < CALLERS_MAX);
/// Callers that the kernel keeps until they are accepted; more are told to try again.
pub const BACKLOG: i32 = 64;
/// Callers that are accepted in a row before those that are there are served: few enough that none of them
/// gives way to the next before its request was looked for.
pub const ACCEPTS_MAX: usize = 8;
const _: () = assert!(ACCEPTS_MAX + FOLLOWERS_MAX < CALLERS_MAX);
/// Bytes of a request's line. A longer one is refused, and its caller sent away.
pub const REQUEST_LEN_MAX: usize = 4 << 10;
/// Bytes that are read from a caller at once.
pub const READ_LEN: usize = 4 << 10;
/// Bytes of events that are taken for a caller at once; the next are taken when these have left.
pub const OUTPUT_LEN: usize = 64 << 10;
/// A caller that takes nothing for so long though there is something to take, or that has begun a request and
/// does not end it, is sent away.
pub const PATIENCE: Duration = Duration::from_secs(10);
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
/// Bytes of an answer that a caller takes from a VM.
pub const ANSWER_LEN_MAX: usize = 1 << 20;
/// Bytes that a program reads from a VM at once.
pub const ANSWER_READ_LEN: usize = 64 << 10;
/// Seconds for which a program can wait for what it has begun: up to a day.
pub const PATIENCE_S: RangeInclusive<u64> = 1..=86_400;
/// Processes that a program asks at one time.
pub const CALLS_MAX: usize = 64;
/// Control sockets of one user on one host that are looked at.
pub const PROCESSES_MAX: usize = 4096;
/// Bytes of a snapshot's file in one piece on a control socket.
pub const PIECE_LEN_MAX: usize = 256 << 10;
const _: () = assert!(PIECE_LEN_MAX <= ANSWER_LEN_MAX);
/// A program that gets a snapshot gives up when nothing has come of it for so long: longer than the VM's
/// process waits for anything.
pub const SNAPSHOT_SILENCE: Duration = Duration::from_secs(90);
