//! Every bound of the crate, with what happens when it is reached. Nothing here grows without one (L1).

use std::time::Duration;

use replica::Span;

/// Longest message between replicas. A longer one from the peer ends the link.
pub const MESSAGE_LEN_MAX: usize = 32 << 20;
/// Bytes waiting to be written to the peer. The protocol's own window is far below; past this the link ends.
pub const LINK_BACKLOG_MAX: usize = 96 << 20;
/// Bytes asked from the link in one read.
pub const LINK_READ_LEN: usize = 256 << 10;
/// Longest heartbeat payload.
pub const HEARTBEAT_LEN_MAX: usize = 1024;
/// A peer that does not finish the handshake in this time is dropped.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes going on at once on one listener; more callers wait in the kernel's queue.
pub const HANDSHAKES_MAX: usize = 8;
/// The end of a replica waits at most this long for the peer to take its last words.
pub const LAST_WORDS_PATIENCE: Duration = Duration::from_secs(1);
/// Between two attempts to connect.
pub const CONNECT_RETRY: Duration = Duration::from_millis(200);
/// One attempt to connect.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A running guest's sockets are looked at so often.
pub const LOOK_EVERY: Span = Span::from_us(20);
/// An idle guest thread looks at its sockets for so long before it sleeps.
pub const AWAKE: Span = Span::from_us(40);
/// Likewise of one half of a pair, if the last time something came within this.
pub const AWAKE_LONG: Span = Span::from_us(200);
const _: () = assert!(AWAKE.0 < AWAKE_LONG.0);
/// Messages or frames taken from one source in one turn, so that no source starves the others.
pub const BATCH_MAX: usize = 64;

/// How nice to others a replica or a gateway is, where it is allowed to be this little: with four others that compute on two processors, it is then
/// late by 11 ms in one of a hundred wake-ups instead of 25, and leaves them a tenth of a processor that it computes on.
pub const NICE: i32 = -10;

/// Bytes of a recording waiting to be written to its file. Past this the guest waits.
pub const LOG_BACKLOG_MAX: usize = 4 << 20;
/// A recording is written to its file when so many bytes wait, or after so long.
pub const LOG_WRITE_LEN: usize = 256 << 10;
/// See [`LOG_WRITE_LEN`].
pub const LOG_WRITE_WITHIN: Duration = Duration::from_millis(10);
/// Bytes of a log file read at once.
pub const LOG_READ_LEN: usize = 1 << 20;
/// Steps of a replay between two looks at the operator's signals.
pub const REPLAY_SLICE_STEPS: u64 = 20_000_000;
/// Epochs tried at the start of a pair, one after the other, while others claim them.
pub const CLAIMS_MAX: u32 = 100;
/// Threads that do disk requests.
pub const DISK_THREADS: usize = 4;
/// A request that met a full disk, or a lock that could not be taken, is tried again after this time.
pub const DISK_RETRY: Duration = Duration::from_secs(1);
/// A thread that does not come back from its disk in this time is left behind at the end.
pub const DISK_CLOSE_PATIENCE: Duration = Duration::from_secs(3);
/// Longest read of a guest; a longer one fails. Linux asks for a megabyte or two.
pub const DISK_REQUEST_LEN_MAX: u32 = 16 << 20;
const _: () = assert!(DISK_REQUEST_LEN_MAX as usize <= replica::limits::DISK_BYTES_MAX);
/// Zeros written at once where the file system cannot do it for us.
pub const ZEROES_LEN: usize = 1 << 20;

/// Bytes waiting for a console's reader. Past this the guest's output is dropped, as on a serial line.
pub const CONSOLE_BACKLOG_MAX: usize = 4 << 20;
/// A console's client that does not read for so long is sent away.
pub const CONSOLE_PATIENCE: Duration = Duration::from_secs(5);
/// Chunks of console input waiting for the guest. Past this the reader waits, and so does the typist.
pub const CONSOLE_INPUT_CHUNKS: usize = 64;

/// Bytes waiting for the gateway. Past this frames are dropped, as by a network card.
pub const GATEWAY_BACKLOG_MAX: usize = 4 << 20;
/// Between two attempts to reach a gateway that went away.
pub const GATEWAY_RETRY: Duration = Duration::from_millis(100);
/// A frame on a tap: 64 KiB of payload with an Ethernet header.
pub const FRAME_LEN_MAX: usize = 65_550;
/// How often a new primary announces its addresses, and the pauses between, as QEMU does (50, 150, 250 ms..).
pub const ANNOUNCE_ROUNDS: u32 = 5;
/// First pause between two announcements.
pub const ANNOUNCE_FIRST_MS: u64 = 50;
/// Each pause is this much longer than the one before.
pub const ANNOUNCE_STEP_MS: u64 = 100;

const _: () = assert!(MESSAGE_LEN_MAX * 2 < LINK_BACKLOG_MAX);
const _: () = assert!(replica::limits::MESSAGE_BYTES_MAX <= MESSAGE_LEN_MAX);
