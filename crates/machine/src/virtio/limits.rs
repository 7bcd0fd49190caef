//! Every named maximum of the virtio devices, and what happens when the guest or a peer reaches it.
//!
//! The devices use these limits and no others, so what a guest can make a machine hold is the sum of what is
//! here.

/// The largest ring of the block device. A driver that asks for more breaks a rule (DEVICE_NEEDS_RESET).
pub const BLOCK_QUEUE_MAX: u16 = 128;
/// The largest ring of every other device. A driver that asks for more breaks a rule (DEVICE_NEEDS_RESET).
pub const QUEUE_MAX: u16 = 256;

/// Disk requests in flight. Reached: the rest stays in the ring until one completes.
pub const REQUESTS_MAX: usize = 128;
/// Data segments of one disk request, beside header and status (VIRTIO 5.2.4, `seg_max`).
pub const SEGMENTS_MAX: u32 = 126;
/// Bytes of one data segment that the driver is told (VIRTIO 5.2.4, `size_max`).
pub const SEGMENT_BYTES_MAX: u32 = 16 << 10;
/// Data of one disk request. Exceeded: VIRTIO_BLK_S_IOERR.
pub const REQUEST_BYTES_MAX: u32 = 2 << 20;
/// Data of all disk requests in flight. Reached: the rest stays in the ring until one completes, so the
/// state holds at most this and one more request.
pub const IN_FLIGHT_BYTES_MAX: u64 = 32 << 20;
/// Sectors of one discard or write-zeroes request. Exceeded: VIRTIO_BLK_S_IOERR.
pub const ZERO_SECTORS_MAX: u32 = 1 << 21;

/// Bytes of one Ethernet frame, without FCS: a 9000-byte jumbo frame fits. Longer ones are dropped.
pub const FRAME_BYTES_MAX: usize = 9216;
/// Bytes of the shortest frame that is one: the Ethernet header. Shorter ones are dropped.
pub const FRAME_BYTES_MIN: usize = 14;
/// Frames held while the guest has no buffers. Reached: the newest is dropped.
pub const FRAMES_HELD_MAX: usize = 256;

/// Bytes wanted by one request for entropy. A larger buffer is filled up to here.
pub const ENTROPY_BYTES_MAX: u32 = 1024;

#[allow(clippy::as_conversions, reason = "constants, looked at by the compiler only")]
const _: () = {
    assert!(BLOCK_QUEUE_MAX.is_power_of_two() && QUEUE_MAX.is_power_of_two());
    // VIRTIO 2.7.5.3.1: no chain is longer than the queue; a full request is header, data and status.
    assert!(SEGMENTS_MAX == BLOCK_QUEUE_MAX as u32 - 2);
    // A driver that keeps to `seg_max` and `size_max` is never refused.
    assert!(SEGMENTS_MAX * SEGMENT_BYTES_MAX <= REQUEST_BYTES_MAX);
    assert!(REQUEST_BYTES_MAX.is_multiple_of(512));
    assert!(REQUESTS_MAX >= BLOCK_QUEUE_MAX as usize);
};
