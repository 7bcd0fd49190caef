//! Every bound, pause and patience of this crate.

use std::time::Duration;

use replica::Span;

/// Frames and words taken from a gateway's connection in one go, most of which may not be for the guest. The
/// rest waits for the next round of the loop.
pub const ITEMS_MAX: usize = 256;
const _: () = assert!(os::limits::BATCH_MAX <= ITEMS_MAX);
/// Most old frames thrown away when a tap goes live: the kernel queues fewer unless it is told otherwise.
pub const TAP_STALE_MAX: usize = 1024;
/// Pause after the host had no thread for a connection to the gateway.
pub const GATEWAY_THREAD_PAUSE: Span = Span::from_ms(100);
/// Bytes waiting for the gateway. Past this frames are dropped, as by a network card.
pub const GATEWAY_BACKLOG_MAX: usize = 4 << 20;
/// Time between the beginnings of two attempts to reach a gateway.
pub const GATEWAY_DIAL_EVERY: Duration = Duration::from_millis(100);
/// Attempts that go on beside each other; one more ends the second oldest.
pub const GATEWAY_DIALS_MAX: usize = 4;
const _: () = assert!(GATEWAY_DIALS_MAX >= 2);
/// Pause after a gateway has refused the key: it will not change its mind soon.
pub const GATEWAY_REFUSED_PAUSE: Duration = Duration::from_secs(1);
/// A gateway is asked at least this often whether it is there, and a tap whether it is up.
pub const PORTS_LOOK_EVERY: Span = Span::from_ms(100);
/// A gateway that owes an answer for so long leads nowhere for the time being; another connection is tried
/// beside.
pub const GATEWAY_SUSPECT: Span = Span::from_ms(300);
/// A connection on which an answer is owed for so long is given up.
pub const GATEWAY_GONE: Span = Span::from_ms(1_000);
const _: () = assert!(PORTS_LOOK_EVERY.0 < GATEWAY_SUSPECT.0 && GATEWAY_SUSPECT.0 < GATEWAY_GONE.0);
/// Bytes of frames kept until the gateway is known to have them. Past this all kept frames are forgotten.
pub const GATEWAY_KEPT_MAX: usize = 512 << 10;
/// A connection that comes so long after the cut does not get the kept frames any more.
pub const GATEWAY_KEPT_FOR: Span = Span::from_ms(2_000);
/// Interfaces of a bridge at which a tap looks, each time that it looks at itself. A bridge with more of them
/// is taken to be well.
pub const UPLINKS_MAX: usize = 8;
/// A frame on a tap: 64 KiB of payload with an Ethernet header.
pub const FRAME_LEN_MAX: usize = 65_550;
/// How many times a survivor announces its guest's addresses after a takeover, as QEMU does.
pub const ANNOUNCE_ROUNDS: u32 = 5;
/// Pause between the first two announcements.
pub const ANNOUNCE_FIRST_MS: u64 = 50;
/// Each further pause is this much longer than the one before: 50, 150, 250, 350 ms.
pub const ANNOUNCE_STEP_MS: u64 = 100;
