//! Every bound of the crate, with what happens when it is reached.
//!
//! All files of the crate take theirs from here. No buffer, wait or number of callers may be without a bound
//! (docs/style.md, L1), and the assertions keep the bounds consistent with those of the protocol. Peers and
//! strangers are hostile: the bounds that concern a caller are reached in practice.

use std::time::Duration;

use replica::Span;

/// Longest message between replicas. A longer one from the peer ends the link.
pub const MESSAGE_LEN_MAX: usize = 32 << 20;
/// Bytes that may wait to be written to the peer. The protocol's own window is far below; past this the link
/// ends.
pub const LINK_BACKLOG_MAX: usize = 96 << 20;
/// The kernel breaks a link on which sent bytes stay unacknowledged, or a probe unanswered, for this long, or
/// for [`LINK_USER_TIMEOUTS`] if that is longer: the replicas decide who suspects whom, not the kernel.
pub const LINK_USER_TIMEOUT: Span = Span::from_ms(12_000);
/// The patience of [`LINK_USER_TIMEOUT`] in failure-detection timeouts.
pub const LINK_USER_TIMEOUTS: u64 = 5;
const _: () = assert!(LINK_USER_TIMEOUTS > replica::limits::START_TIMEOUTS);
const _: () = assert!(LINK_USER_TIMEOUT.0 > replica::limits::LINK_PATIENCE.0);
/// After so long without a byte the kernel asks whether the other end of a link is still there.
pub const LINK_PROBE_AFTER: Duration = Duration::from_secs(5);
/// Time between two such questions of the kernel.
pub const LINK_PROBE_EVERY: Duration = Duration::from_secs(1);
/// Bytes asked from the link in one read.
pub const LINK_READ_LEN: usize = 256 << 10;
/// Longest heartbeat payload.
pub const HEARTBEAT_LEN_MAX: usize = 1024;
/// A caller that has not finished the whole handshake of a link in this time is dropped, however much it has
/// said.
pub const HANDSHAKE_TIMEOUT: Span = Span::from_ms(5_000);
/// Handshakes that go on at once on one listener. One more makes room: the oldest handshake of the source
/// that has the most of them is dropped.
pub const HANDSHAKES_MAX: usize = 256;
/// Callers accepted in one turn of a listener, so that a flood of new ones does not keep it from those it
/// has.
pub const CALLERS_PER_TURN: usize = 64;
/// A listener that cannot take a caller, because the host has no descriptor or memory for it, tries again
/// after this.
pub const SHORTAGE_PAUSE: Span = Span::from_ms(250);
/// Refused callers that are told of one by one within [`REFUSALS_WITHIN`]; more are counted.
pub const REFUSALS_TOLD_MAX: u64 = 16;
/// The time to which [`REFUSALS_TOLD_MAX`] applies.
pub const REFUSALS_WITHIN: Span = Span::from_ms(60_000);
/// Tokens of bulk links that one listener expects at once. One more is not expected.
pub const TOKENS_MAX: usize = 16;
/// Pause between the first two attempts to connect; each pause is twice the one before.
pub const CONNECT_RETRY: Span = Span::from_ms(100);
/// Longest pause between two attempts to connect.
pub const CONNECT_RETRY_MAX: Span = Span::from_ms(1_000);
/// Longest time that one attempt to connect takes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const _: () = assert!(MESSAGE_LEN_MAX * 2 < LINK_BACKLOG_MAX);
const _: () = assert!(replica::limits::MESSAGE_BYTES_MAX <= MESSAGE_LEN_MAX);

/// Longest body of a record on a bulk link. A longer one from the peer ends the bulk link.
pub const BULK_RECORD_LEN_MAX: usize = 288 << 10;
/// Largest page in bytes of a guest whose pages go over a bulk link.
pub const BULK_PAGE_LEN_MAX: usize = 4096;
/// Pages in one record of a bulk link, most of which are zeros if there are so many.
pub const BULK_PAGES_MAX: usize = 1024;
/// Pages with content in one record of a bulk link: what is compressed as one block.
pub const BULK_CONTENTS_MAX: usize = 64;
/// Longest piece in bytes of an image or a state in one record.
pub const BULK_PIECE_LEN_MAX: usize = BULK_CONTENTS_MAX * BULK_PAGE_LEN_MAX;
// The longest body: 1024 page numbers of at most 6 bytes each, a few more numbers, and 64 contents.
const _: () = assert!(BULK_PIECE_LEN_MAX + 6 * BULK_PAGES_MAX + 64 <= BULK_RECORD_LEN_MAX);
/// Longest image that goes over a bulk link, in bytes: an image is loaded into the guest's memory.
pub const BULK_IMAGE_LEN_MAX: u64 = 4 << 30;
/// Longest state of a machine without its memory, in bytes: what `machine` restores at most.
pub const BULK_STATE_LEN_MAX: u64 = 512 << 20;
/// Bytes that the kernel keeps of a bulk link without having sent them. More would be a queue that nobody
/// sees, in front of what becomes urgent.
pub const BULK_UNSENT_MAX: u32 = 256 << 10;
/// Time for which the sender of a bulk link calls; then there is no bulk link.
pub const BULK_CALL_PATIENCE: Span = Span::from_ms(10_000);
/// What the records cost, in bytes, that were handed to the sender of a bulk link and that the kernel has not
/// taken yet. A record for which there is no room is given back.
pub const BULK_ON_THE_WAY_MAX: usize = 32 << 20;
/// Whoever found no room is called when so many bytes are on the way or fewer. The room is then that of
/// [`BULK_BUFFERS_MAX`] long records, whose buffers are used again: more room at once would have the guest
/// thread take new memory from the kernel, which costs it more than copying a page.
pub const BULK_ROOM_AGAIN: usize = BULK_ON_THE_WAY_MAX - (1 << 20);
/// Threads that compress and encrypt for one bulk link.
pub const BULK_PACKERS: usize = 2;
/// How often the guest thread looks whether the other threads of a bulk link let it have what they share,
/// before it does something else: for longer than they ever keep it while they run.
pub const BULK_LOOKS: u32 = 200;
/// Used buffers that each end of a bulk link keeps to be used again, of each kind.
pub const BULK_BUFFERS_MAX: usize = 16;
/// What the records cost, in bytes, that have come over a bulk link and that the guest thread has not taken.
/// Past this the thread of the receiver holds one more record in hand and reads nothing: the kernels of both
/// sides keep the sender waiting.
pub const BULK_RECEIVED_MAX: usize = 32 << 20;
/// A receiver that found no room reads again when so many bytes wait for the guest thread or fewer.
pub const BULK_READ_AGAIN: usize = BULK_RECEIVED_MAX - (4 << 20);
/// Time of sending over which the rate of a bulk link is measured.
pub const BULK_RATE_WITHIN: Span = Span::from_ms(100);
// A record costs its content and at most 8 bytes for each number, and a few hundred bytes.
const _: () = assert!(2 * BULK_RECORD_LEN_MAX < BULK_READ_AGAIN && 2 * BULK_RECORD_LEN_MAX < BULK_ROOM_AGAIN);
