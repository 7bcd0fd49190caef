//! Bounds of the log: how large entries, frames and headers may be, and what they count in a buffer. What
//! exceeds one is refused by whoever decodes it.

/// A frame is closed when its entries reach this size.
pub const FRAME_BYTES_CLOSE: usize = 256 << 10;
/// Largest disk read; a longer one fails at the disk layer (VIRTIO_BLK_S_IOERR) instead of being done.
pub const DISK_BYTES_MAX: usize = 16 << 20;
/// Longest run of bytes of any input but a disk read; a longer one is cut or dropped before it is injected.
pub const INPUT_BYTES_MAX: usize = 1 << 17;
/// Largest body of a frame. A longer one is refused.
pub const FRAME_BYTES_MAX: usize = FRAME_BYTES_CLOSE + DISK_BYTES_MAX + (64 << 10);
/// Largest header of a log. A longer one is refused.
pub const HEADER_BYTES_MAX: usize = 64 << 10;
/// Longest name or sentence in a message. A longer one is refused.
pub const TEXT_BYTES_MAX: usize = 4096;
/// Most devices of a kind in a header. A header with more is refused.
pub const DEVICES_MAX: u64 = 64;
/// Most components of a digest. A digest with more is refused.
pub const DIGEST_PARTS_MAX: u64 = 4096;
/// Longest name of a digest's component, in bytes. A longer one is refused.
pub const DIGEST_NAME_MAX: usize = 256;
/// Most steps from one entry to the next; an entry further away is refused. The recorder stays far below:
/// it writes the time every millisecond.
pub const STEPS_PER_ENTRY_MAX: u64 = 1 << 40;
/// Latest `mtime` in a log (10 MHz): after 200 years. A later one is refused.
pub const MTIME_MAX: u64 = 1 << 56;
/// What an entry counts in a buffer beyond its bytes.
pub const ENTRY_COST: u64 = 64;
/// Most bytes before the frame in a message that carries one: a tag and two numbers.
pub const LOG_HEAD_BYTES_MAX: usize = 1 + 10 + 10;

const _: () = assert!(FRAME_BYTES_MAX > FRAME_BYTES_CLOSE + DISK_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_CLOSE > 2 * INPUT_BYTES_MAX - 1);
