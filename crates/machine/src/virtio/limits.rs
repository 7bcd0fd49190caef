//! Every named maximum of the virtio devices, and what happens when the guest or a peer reaches it.
//!
//! The devices use these limits and no others, so what a guest can make a machine hold is the sum of what is
//! here.

/// The largest ring of any queue, as on QEMU's board. A driver that asks for more breaks a rule
/// (DEVICE_NEEDS_RESET).
pub const QUEUE_MAX: u16 = 1024;
/// Descriptors of one buffer, with those in an indirect table, whatever the size of the ring. More break a
/// rule (DEVICE_NEEDS_RESET).
pub const CHAIN_MAX: u16 = 1024;

/// Disk requests in flight. Reached: the rest stays in the ring until one completes.
pub const REQUESTS_MAX: usize = 128;
/// Data segments of one disk request that the driver is told, beside header and status (VIRTIO 5.2.4,
/// `seg_max`). A request with more is served, up to [`CHAIN_MAX`].
pub const SEGMENTS_MAX: u32 = 254;
/// Data of one disk request, as on QEMU's board: the last whole sector below 2 GiB. Exceeded:
/// VIRTIO_BLK_S_IOERR. No memory is held for it: a request moves its data in parts.
pub const REQUEST_BYTES_MAX: u64 = (1 << 31) - 512;
/// Data that one operation of a disk moves. A request with more becomes several operations, one after the
/// other.
pub const PART_BYTES_MAX: u32 = 2 << 20;
/// Data of all disk requests in flight. Reached: the rest stays in the ring until one completes, so the
/// state holds at most this and one more part.
pub const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;
/// Sectors of one discard or write-zeroes request. Exceeded: VIRTIO_BLK_S_IOERR.
pub const ZERO_SECTORS_MAX: u32 = 1 << 21;

/// Bytes of one Ethernet frame, without FCS: a 9000-byte jumbo frame fits. Longer ones are dropped.
pub const FRAME_BYTES_MAX: usize = 9216;
/// Bytes of the shortest frame that is one: the Ethernet header. Shorter ones are dropped.
pub const FRAME_BYTES_MIN: usize = 14;
/// Frames held while the guest has no buffers. Reached: the newest is dropped.
pub const FRAMES_HELD_MAX: usize = 256;

/// Random bytes for one buffer of the entropy device. A larger buffer is filled up to here.
pub const ENTROPY_BYTES_MAX: usize = 1024;
/// Random bytes that the entropy device keeps for buffers to come. It asks for more when it has less than
/// half, and for no more than it has room for.
pub const ENTROPY_POOL_BYTES: usize = 4096;

#[allow(clippy::as_conversions, reason = "constants, looked at by the compiler only")]
const _: () = {
    assert!(QUEUE_MAX.is_power_of_two());
    // A driver that keeps to `seg_max` is never refused: a full request is header, data and status.
    assert!(SEGMENTS_MAX + 2 <= CHAIN_MAX as u32);
    assert!(REQUEST_BYTES_MAX.is_multiple_of(512) && PART_BYTES_MAX.is_multiple_of(512));
    // The used ring tells data and status of a request in 32 bits.
    assert!(REQUEST_BYTES_MAX < u32::MAX as u64);
    assert!(PART_BYTES_MAX as u64 <= IN_FLIGHT_BYTES_MAX);
    assert!(ENTROPY_BYTES_MAX <= ENTROPY_POOL_BYTES / 2);
};
