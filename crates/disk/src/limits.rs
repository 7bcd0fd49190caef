//! Every bound of the crate, with what happens when it is reached.
//!
//! All files of the crate take theirs from here. No queue, buffer or wait may be without a bound
//! (docs/style.md, L1), and the assertions keep the bounds consistent. A bound that concerns the guest or its
//! storage is documented in docs/disks.md too.

use std::time::Duration;

use replica::Span;

/// Threads for each disk: this many requests of a disk are under way at once, and further ones wait.
pub const DISK_THREADS: usize = 4;
/// Different troubles of one disk that are told before the disk is well again; further ones are not told.
pub const DISK_TROUBLES_MAX: usize = 8;
/// Bytes of the aligned memory of each disk thread of a pair. Longer transfers go in several parts.
pub const BOUNCE_LEN: usize = 2 << 20;
/// Largest alignment of memory in bytes for direct I/O. A file that wants more is not used directly.
pub const BOUNCE_ALIGN_MAX: usize = 64 << 10;
const _: () = assert!(BOUNCE_LEN.is_multiple_of(BOUNCE_ALIGN_MAX));
/// A request that met trouble, or a lock that could not be taken, is tried again after this time.
pub const DISK_RETRY: Duration = Duration::from_secs(1);
/// Storage that has not answered for so long counts as away, and people are told. A disk that wakes from
/// standby, or a path that is switched, takes less on the whole.
pub const DISK_AWAY_AFTER: Span = Span::from_ms(5_000);
/// Bytes that a probe reads: a block of most file systems, and aligned for all storage that is used directly.
pub const PROBE_LEN: u64 = 4096;
const _: () = assert!(PROBE_LEN.is_multiple_of(crate::SECTOR_LEN));
/// Time that a thread has, at the end, to come back from its disk; after that it is left behind.
pub const DISK_CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Longest read of a guest in bytes; a longer one fails. Linux asks for a megabyte or two.
pub const DISK_REQUEST_LEN_MAX: u32 = 16 << 20;
const _: () = assert!(DISK_REQUEST_LEN_MAX as usize <= replica::limits::DISK_BYTES_MAX);
/// Zeros written at once, in bytes, where the file system has no call that writes them.
pub const ZEROES_LEN: usize = 1 << 20;
/// Threads for each disk at an NBD server, whose way there takes longer than a drive's own.
pub const NBD_THREADS: usize = 16;
const _: () = assert!(NBD_THREADS <= block::limits::REQUESTS_MAX);
/// Time that one address of an NBD server has to take a connection.
pub const NBD_CONNECT_PATIENCE: Duration = Duration::from_secs(2);
/// An NBD server whose host has died is found out after this time.
pub const NBD_DEAD_AFTER: Duration = Duration::from_secs(5);
/// A request waits so long for a connection before people are told that the server is away.
pub const NBD_AWAY_AFTER: Duration = Duration::from_secs(3);
/// Shortest and longest time between two calls to an NBD server.
pub const NBD_RETRY_MIN: Duration = Duration::from_millis(20);
/// See [`NBD_RETRY_MIN`].
pub const NBD_RETRY_MAX: Duration = Duration::from_millis(500);
/// Bytes that are read from an NBD server at once, if more is there than is wanted.
pub const NBD_READ_LEN: usize = 64 << 10;
/// Time that an NBD server has for each step through its door.
pub const NBD_HANDSHAKE_PATIENCE: Duration = Duration::from_secs(5);
