//! Every bound of the crate, with what happens when it is reached. All files of the crate take theirs from
//! here; nothing may grow without one (L1 of docs/style.md).

use std::time::Duration;

use replica::Span;

/// Bytes of a recording waiting to be written to its file. Past this the guest waits.
pub const LOG_BACKLOG_MAX: usize = 4 << 20;
/// A recording is written to its file when so many bytes wait, or after [`LOG_WRITE_WITHIN`].
pub const LOG_WRITE_LEN: usize = 256 << 10;
/// Longest time for which bytes of a recording wait for more, see [`LOG_WRITE_LEN`].
pub const LOG_WRITE_WITHIN: Duration = Duration::from_millis(10);
/// Bytes of a log file read at once.
pub const LOG_READ_LEN: usize = 1 << 20;
/// Steps of a replay between two looks at the operator's signals.
pub const REPLAY_SLICE_STEPS: u64 = 20_000_000;

/// Bytes of a line of the guest's console that are looked at for a panic of its kernel. The rest of the line
/// is shown all the same.
pub const CONSOLE_LINE_MAX: usize = 512;

/// A live side looks so often whether its disks have become larger.
pub const DISK_LOOK_EVERY: Span = Span::from_ms(1_000);

/// In a pair, ports are looked at so many times within the failure-detection timeout, if that is more often:
/// so news of a cut is never older than a quarter of the timeout.
pub const PORTS_LOOKS_PER_TIMEOUT: u64 = 6;

/// Links to other replicas at one time: a member's, and that of a process which is to become one. Another
/// host is not called before one of them is closed.
pub const LINKS_MAX: usize = 2;
// The link with which a process begins may have a socket of its own.
const _: () = assert!(LINKS_MAX < os::limits::WATCHED_SOCKETS_MAX);
/// Longest time for which a host is called that is to take a VM's backup.
pub const PROTECT_PATIENCE: Span = Span::from_ms(10_000);
/// Longest time for which a host that waits for VMs waits for the bulk link of the one that has come, which
/// its owner calls for no longer. Then there is no pair, and other VMs may come.
pub const BULK_LINK_PATIENCE: Span = Span::from_ms(10_000);
const _: () = assert!(BULK_LINK_PATIENCE.0 >= link::limits::BULK_CALL_PATIENCE.0);
/// The node is told of room on the bulk link when there is so much, in bytes.
pub const BULK_ROOM_TOLD: usize = 1 << 20;
/// Bytes of an image that are read at once: a third of a millisecond.
pub const IMAGE_READ_LEN: u64 = 1 << 20;
/// Pieces of a clone that an apprentice takes from its bulk link at a time. Between two times it gives a sign
/// of life: on a host that is busy with other things, 16 MiB of pages took more than a second to be placed.
pub const BULK_BATCH_MAX: usize = 4;
/// Bytes of a snapshot that wait to be packed. The node is told how much room there is.
pub const SNAPSHOT_BACKLOG_MAX: usize = 16 << 20;
/// The state may be larger than that, since it comes at once; pages only as there is room.
const _: () = assert!(SNAPSHOT_BACKLOG_MAX >= 2 * machine::PAGE);
/// Longest time for which a caller is waited for that has not taken the end of its snapshot.
pub const SNAPSHOT_FAREWELL: Duration = Duration::from_secs(60);
