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
/// Pause between the first two attempts to connect; each pause is twice the one before.
pub const CONNECT_RETRY: Span = Span::from_ms(100);
/// Longest pause between two attempts to connect.
pub const CONNECT_RETRY_MAX: Span = Span::from_ms(1_000);
/// Longest time that one attempt to connect takes.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
const _: () = assert!(MESSAGE_LEN_MAX * 2 < LINK_BACKLOG_MAX);
const _: () = assert!(replica::limits::MESSAGE_BYTES_MAX <= MESSAGE_LEN_MAX);
