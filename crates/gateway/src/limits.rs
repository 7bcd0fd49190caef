//! Every bound of the gateway in one place. Guests and clients are hostile: each of these is reached in
//! practice.

use std::time::Duration;

/// VMMs connected at once. One more with a key takes the place of one with its key that shows no guest, or is
/// refused.
pub const PEERS_MAX: usize = 256;
/// Of them those with the same key. One more takes the place of one that shows no guest, or is refused.
pub const PEERS_PER_KEY_MAX: usize = 64;
/// Of them those without a key, so that they leave room for the others.
pub const PLAIN_PEERS_MAX: usize = 64;
/// Keys a gateway knows. Each costs a try at a handshake.
pub const KEYS_MAX: usize = 64;
/// Connections that have not shown a key yet. One more pushes an old one out.
pub const VISITORS_MAX: usize = 32;
/// Time for a whole handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after which a peer with a key, which asks ten times a second whether the gateway is there, is
/// disconnected.
pub const PEER_GONE: Duration = Duration::from_millis(1_000);
/// How often that is looked for.
pub const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Between two sentences about refusals of one kind.
pub const TELL_EVERY: Duration = Duration::from_secs(5);
/// MAC addresses one peer may own. Frames from more are dropped.
pub const MACS_PER_PEER_MAX: usize = 16;
/// MAC addresses that belong to one key. The one that is longest out of use makes room.
pub const MACS_PER_KEY_MAX: usize = 1024;
const _: () = assert!(MACS_PER_PEER_MAX * PEERS_PER_KEY_MAX <= MACS_PER_KEY_MAX);
/// Addresses the gateway knows guests by. The one of a guest that has been gone longest makes room.
pub const GUESTS_MAX: usize = 256;
/// Addresses that one MAC may use besides its lease. Its oldest makes room.
pub const ADDRESSES_PER_MAC_MAX: usize = 4;
/// Destinations that a guest may not reach, told one by one.
pub const FORBIDDEN_TOLD_MAX: usize = 64;
/// Bytes waiting for a peer above which connections stop sending to it and wait.
pub const PEER_HIGH_WATER: usize = 512 * 1024;
/// Bytes waiting for a peer below which they start again.
pub const PEER_LOW_WATER: usize = 128 * 1024;
/// Bytes waiting for a peer above which frames to it are dropped.
pub const PEER_QUEUE_MAX: usize = 2 * 1024 * 1024;
/// The same for flooded frames. Small, because a silent backup may not read at all.
pub const PEER_FLOOD_MAX: usize = 64 * 1024;
/// Reads of one peer before the others have their turn.
pub const READS_PER_TURN: usize = 8;
/// Frames and words of one peer before the others have their turn: a small frame may cost as much work as a
/// large one.
pub const ITEMS_PER_TURN: usize = 256;
/// Turns that the owner of an address has for what it sent before another connection may take the address
/// over. Enough for more than a socket holds of ordinary frames; an owner that never stops sending keeps a
/// takeover up no longer than this.
pub const TURNS_BEFORE_TAKEOVER: usize = 64;
/// Connections accepted at one listener before the others have their turn.
pub const ACCEPTS_PER_TURN: usize = 64;

/// TCP connections guests have opened to the outside, and those clients have opened to guests: separate, so
/// that neither a guest nor the outside can use up the other's share.
pub const CONNECTIONS_PER_DIRECTION_MAX: usize = 2048;
/// Of them those of one forward, so that the clients of one guest leave room for those of another.
pub const CONNECTIONS_PER_FORWARD_MAX: usize = 1536;
/// Of them those of one client's address. One more is reset.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 512;
/// Of those to the outside, the ones of one guest. One more is refused.
pub const CONNECTIONS_PER_GUEST_MAX: usize = 1024;
/// Accepted connections per forward that wait for a guest which does not answer. More wait in the listener's
/// backlog.
pub const WAITING_PER_FORWARD_MAX: usize = 256;
/// Of them those of one client's address. One more is reset: in the backlog it would keep the others out.
pub const WAITING_PER_SOURCE_MAX: usize = 128;
const _: () = assert!(CONNECTIONS_PER_FORWARD_MAX < CONNECTIONS_PER_DIRECTION_MAX);
const _: () = assert!(2 * CONNECTIONS_PER_SOURCE_MAX <= CONNECTIONS_PER_FORWARD_MAX);
const _: () = assert!(2 * WAITING_PER_SOURCE_MAX <= WAITING_PER_FORWARD_MAX);
const _: () = assert!(2 * CONNECTIONS_PER_GUEST_MAX <= CONNECTIONS_PER_DIRECTION_MAX);
/// Sockets kept with their buffers for the next connections; the buffers of more are given back.
pub const SPARE_SOCKETS_MAX: usize = 32;
/// How long a connection that both sides have closed answers late segments.
pub const TIME_WAIT: Duration = Duration::from_secs(10);
/// Connections that do so. They hold no buffers; one more ends the oldest's wait.
pub const LATE_MAX: usize = 4096;
/// A connection that one side has not answered for so long was never one. A guest may have to boot first.
pub const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(300);
/// A connection that one side has finished with and on which nothing moves for so long is given up.
pub const HALF_CLOSED_IDLE: Duration = Duration::from_secs(600);
/// Bytes buffered in each direction of a connection. The memory is touched only as far as it is used.
pub const TCP_BUFFER_LEN: usize = 256 * 1024;
/// How long a connection that the host side has finished with may take to close toward the guest.
pub const ORPHAN_TIMEOUT: Duration = Duration::from_secs(60);
/// Silence after which the kernel probes an idle host connection.
pub const HOST_KEEPALIVE: Duration = Duration::from_secs(120);
/// Pause before an accept that failed for want of descriptors is tried again.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// How long an acknowledgement waits for data to ride on. A guest frame is a log entry: fewer are better.
pub const ACK_DELAY: Duration = Duration::from_millis(4);
/// The longest pause between retransmissions to a guest, however long it has been away.
pub const RETRANSMIT_MAX: Duration = Duration::from_secs(1);
/// Pauses after the retransmission at once that follows a change of a MAC's owner, while the guest stays
/// mute: its announcement may leave before its receive queue is ready.
pub const RECOVERY: [Duration; 6] = [
    Duration::from_millis(20),
    Duration::from_millis(30),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
];
/// Silence of a guest after which its next frame counts as a return from an outage.
pub const OUTAGE: Duration = Duration::from_millis(200);
/// Age of unacknowledged data below which a return from an outage does not send it again.
pub const OUTAGE_DATA_AGE: Duration = Duration::from_millis(100);

/// UDP flows, in both directions together. The one idle longest makes room.
pub const UDP_FLOWS_MAX: usize = 512;
/// Of them those that one guest has begun. Its own that is idle longest makes room.
pub const UDP_FLOWS_PER_GUEST_MAX: usize = 128;
/// Of them those of one client's address, likewise. Addresses of datagrams can be forged, so it is only a
/// first hurdle.
pub const UDP_FLOWS_PER_SOURCE_MAX: usize = 64;
/// Silence after which a UDP flow is forgotten.
pub const UDP_IDLE: Duration = Duration::from_secs(60);
/// Datagrams of one socket before the others have their turn.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// DNS questions under way. The oldest makes room.
pub const DNS_QUERIES_MAX: usize = 128;
/// Of them those of one guest, likewise.
pub const DNS_QUERIES_PER_GUEST_MAX: usize = 32;
/// Longest DNS question that is forwarded.
pub const DNS_QUERY_LEN_MAX: usize = 4096;
/// How long one resolver may take before the next is asked.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two ARP requests for the same address.
pub const ARP_RETRY: Duration = Duration::from_millis(200);
/// Largest IP packet on the virtual segment: ordinary Ethernet.
pub const MTU: usize = 1500;

const _: () = assert!(PEER_LOW_WATER < PEER_HIGH_WATER && PEER_HIGH_WATER < PEER_QUEUE_MAX);
const _: () = assert!(PEER_FLOOD_MAX <= PEER_QUEUE_MAX);
const _: () = assert!(TCP_BUFFER_LEN >= 64 * 1024);

/// Allows this process as many descriptors as it may have: a busy gateway has thousands of sockets, and the
/// usual soft limit is 1024.
pub fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    ) {
        tracing::warn!(%error, "cannot raise the limit of open files; many connections may fail");
    }
}
