//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::ops::RangeInclusive;
use std::time::Duration;

/// Bytes of an answer that a caller takes from a VM.
pub const ANSWER_LEN_MAX: usize = 1 << 20;
/// Bytes that a program reads from a VM at once.
pub const ANSWER_READ_LEN: usize = 64 << 10;
/// Seconds for which a program can wait for what it has begun: up to a day.
pub const PATIENCE_S: RangeInclusive<u64> = 1..=86_400;
/// Processes that a program asks at one time.
pub const CALLS_MAX: usize = 64;
/// A program that gets a snapshot gives up when nothing has come of it for so long: longer than the VM's
/// process waits for anything.
pub const SNAPSHOT_SILENCE: Duration = Duration::from_secs(90);
const _: () = assert!(control::limits::PIECE_LEN_MAX <= ANSWER_LEN_MAX);
