//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

/// Bytes of a key. A longer one is refused.
pub const KEY_LEN_MAX: usize = 200;
/// Bytes of one part of a key, as long as a VM's or a host's name may be. A longer one is refused.
pub const PART_LEN_MAX: usize = 64;
/// Parts of a key. A key with more is refused.
pub const PARTS_MAX: usize = 4;
/// Bytes of a value. A longer one is refused.
pub const VALUE_LEN_MAX: usize = 256 << 10;
/// Keys that a store is read with. More are refused with the reading.
pub const KEYS_MAX: usize = 4096;
/// Files that a directory is read with. More are refused with the reading.
pub const FILES_MAX: usize = 64 * KEYS_MAX;
/// Bytes of a version's file before the value.
pub const HEAD_LEN_MAX: usize = 1024;
/// Attempts at a write while others write the same key, each of which means that another write succeeded.
/// After so many the store counts as away.
pub const TRIES_MAX: u32 = 100;
/// Versions of a key that a directory keeps, the newest ones.
pub const VERSIONS_KEPT: usize = 16;
/// How much older than the newest version another one must be before it is removed, by the clock of the
/// directory's server.
pub const VERSION_AGE_MIN: Duration = Duration::from_secs(24 * 3600);
/// How much older than the newest version a file must be that a writer left behind when it was killed.
pub const LEFTOVER_AGE_MIN: Duration = Duration::from_secs(7 * 24 * 3600);
/// How long a presence lasts that nobody renews, as hosts use it.
pub const PRESENCE_TTL: Duration = Duration::from_secs(15);
/// Shortest time to live of a presence. A shorter one is refused.
pub const PRESENCE_TTL_MIN: Duration = Duration::from_secs(2);
/// Longest time to live of a presence. A longer one is refused.
pub const PRESENCE_TTL_MAX: Duration = Duration::from_secs(3600);
/// How often a watch looks at a directory.
pub const POLL_EVERY: Duration = Duration::from_millis(250);
/// What a watch of etcd keeps for its reader. A reader that is slower has the server wait, and then reads
/// everything again.
pub const SEEN_KEPT: usize = 64;
/// How long a watch waits after it could not reach the store, before it tries again.
pub const RETRY_EVERY: Duration = Duration::from_millis(500);

// Whoever looked at a listing before the newest versions were made must still find the one that it asks for.
const _: () = assert!(VERSIONS_KEPT >= 2);
// All parts of the longest key, with what is between them, and what a file's name adds, make a file's name.
const _: () = assert!(KEY_LEN_MAX + 21 <= 255);
