//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

/// Bytes of a cell that are read. A longer one is none of ours, and is refused as damaged.
pub const CELL_LEN_MAX: u64 = 16 << 10;
/// Heirs that a claim may name. More are a bug of the caller.
pub const HEIRS_MAX: usize = 64;
/// Epochs tried at a start, one after the other, while others claim and close them. After so many the arbiter
/// counts as unreachable.
pub const STARTS_MAX: u32 = 100;
/// A claim is collected only when so many newer ones are there.
pub const CLAIMS_KEPT: usize = 16;
/// A claim is collected only when it is so much older than the newest one, by the clock of the directory's
/// server; so is a file that a claimant left behind when it was killed.
pub const CLAIM_AGE_MIN: Duration = Duration::from_secs(7 * 24 * 3600);

// Whoever looked at a listing before the newest claims were made must still find the claim that it asks for.
const _: () = assert!(CLAIMS_KEPT >= 2);
const _: () = assert!(HEIRS_MAX as u64 * 33 < CELL_LEN_MAX / 2);
