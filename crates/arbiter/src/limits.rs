//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::ops::RangeInclusive;
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
/// In etcd, which tells no time, a claim is collected only when its epoch is so many numbers older than the
/// newest one: as many as no sleeping replica has missed. A claim and its end take about 700 bytes.
pub const CLAIMS_KEPT_BY_NUMBER: u64 = 256;
/// Epochs whose claims and ends are removed from etcd at once, so that claims go which could not be removed
/// before. What is older stays, and does no harm.
pub const CLAIMS_REMOVED_AT_ONCE: u64 = 32;
/// A mark in etcd lasts so long if the process that has left it is killed.
pub const MARK_TTL: Duration = Duration::from_secs(60);
/// Keys of an arbiter in etcd that are listed to find its VMs. VMs whose keys are behind these are not found.
pub const KEYS_LISTED: usize = 20_000;
/// Keys of a VM's claims that are listed in etcd to find the last one. If so many are keys of others, the
/// arbiter is of no use until somebody removes them.
pub const CLAIMS_LISTED: usize = 64;
/// Milliseconds that one call of etcd may be allowed to take. What is not among them is refused.
pub const DEADLINE_MS: RangeInclusive<u64> = 10..=600_000;
/// Bytes of what the names of keys in etcd begin with. A longer text is refused.
pub const PREFIX_LEN_MAX: usize = 64;
/// Bytes of the file with the password of a user at etcd. A longer file is refused.
pub const PASSWORD_LEN_MAX: u64 = 4096;

/// Time that one address of a disk server has to take a connection.
pub const SERVER_CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// Time that a disk server has to answer, if nothing else is said. A claim may take longer, since it waits
/// for writes of the one before; then it is asked again.
pub const SERVER_PATIENCE: Duration = Duration::from_secs(5);
/// Time that a disk server has at least, if the rest of a question's time is less.
pub const SERVER_PATIENCE_MIN: Duration = Duration::from_millis(10);

// Whoever looked at a listing before the newest claims were made must still find the claim that it asks for.
const _: () = assert!(CLAIMS_KEPT >= 2);
const _: () = assert!(HEIRS_MAX as u64 * 33 < CELL_LEN_MAX / 2);
// A transaction of etcd has at most 128 operations, unless its operator says otherwise.
const _: () = assert!(2 * CLAIMS_REMOVED_AT_ONCE <= 128);
// The newest claims are never removed.
const _: () = assert!(CLAIMS_KEPT_BY_NUMBER >= CLAIMS_KEPT as u64);
