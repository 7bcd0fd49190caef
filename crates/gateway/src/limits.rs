//! Every bound of the gateway in one place (L1). Guests and clients are hostile: each of these bounds is
//! reached in practice. All files of the crate take theirs from here; nothing may grow without one.

use std::time::Duration;

/// VMMs connected at once. One more VMM with a key takes the place of a connection of its key that shows no
/// guest, or is refused.
pub const PEERS_MAX: usize = 256;
/// VMMs connected at once with the same key. One more takes the place of a connection that shows no guest, or
/// is refused.
pub const PEERS_PER_KEY_MAX: usize = 64;
/// VMMs connected at once without a key, so that they leave room for those with a key. One more takes the
/// place of a connection that shows no guest, or is refused.
pub const PLAIN_PEERS_MAX: usize = 64;
/// Keys that a gateway knows. Each key costs a try at a handshake.
pub const KEYS_MAX: usize = 64;
/// Connections that have not shown a key yet. One more pushes out an old one.
pub const VISITORS_MAX: usize = 32;
/// Longest time of a whole handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);
/// Silence after which a peer with a key, which asks ten times a second whether the gateway is there, is
/// disconnected.
pub const PEER_GONE: Duration = Duration::from_millis(1_000);
/// Pause between two looks for such peers.
pub const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Pause between two sentences about refusals of one kind.
pub const TELL_EVERY: Duration = Duration::from_secs(5);
/// MAC addresses that one peer may own. One more takes the place of the one that has been silent longest, if
/// that is for at least `MAC_IDLE`; else its frames are dropped.
pub const MACS_PER_PEER_MAX: usize = 16;
/// Silence of a MAC address after which it may be forgotten for another one of the same peer, as in an
/// ordinary switch.
pub const MAC_IDLE: Duration = Duration::from_secs(300);
/// Time over which a peer goes on using a MAC address that another peer has, before both are told that there
/// are two VMs with it. A stalled primary that wakes up after its backup has taken over ends much sooner.
pub const CONFLICT_AFTER: Duration = Duration::from_secs(3);
/// Silence of such a peer after which its use of the address is a new matter.
pub const CONFLICT_OVER: Duration = Duration::from_secs(60);
/// Pause between two sentences about the same conflict.
pub const CONFLICT_TOLD_EVERY: Duration = Duration::from_secs(600);
/// Pause between two questions to a guest whose address another VM has taken over, whether it is there.
pub const LOSER_ASKED_EVERY: Duration = Duration::from_secs(1);
/// Such questions: enough for the answers to go on for `CONFLICT_AFTER`, and for one that is lost.
pub const LOSER_ASKED_MAX: u32 = 5;
/// Conflicts that are watched. One more takes the place of the one that is quiet longest.
pub const CONFLICTS_MAX: usize = 64;
/// MAC addresses that belong to one key. The address that is longest out of use makes room.
pub const MACS_PER_KEY_MAX: usize = 1024;
const _: () = assert!(MACS_PER_PEER_MAX * PEERS_PER_KEY_MAX <= MACS_PER_KEY_MAX);
/// Addresses by which the gateway knows guests. The address of the guest that has been away longest makes
/// room.
pub const GUESTS_MAX: usize = 256;
/// Time for which a guest has an address by its lease, or by having used it. The guest asks for more time
/// when half of it is over. Of a guest that is away for longer than this another guest may get the address.
pub const LEASE: Duration = Duration::from_secs(60 * 60);
/// Addresses that one MAC may use besides its lease. The oldest of them makes room.
pub const ADDRESSES_PER_MAC_MAX: usize = 4;
/// Refused destinations that are told one by one.
pub const FORBIDDEN_TOLD_MAX: usize = 64;
/// Bytes waiting for a peer above which connections stop sending to it and wait.
pub const PEER_HIGH_WATER: usize = 512 * 1024;
/// Bytes waiting for a peer below which connections send to it again.
pub const PEER_LOW_WATER: usize = 128 * 1024;
/// Bytes waiting for a peer above which frames to it are dropped.
pub const PEER_QUEUE_MAX: usize = 2 * 1024 * 1024;
/// Bytes waiting for a peer above which flooded frames to it are dropped. The bound is small, because a
/// silent backup may not read at all.
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

/// TCP connections that guests have opened to the outside, and, counted apart, those that clients have opened
/// to guests. Neither a guest nor the outside can use up the other's share.
pub const CONNECTIONS_PER_DIRECTION_MAX: usize = 2048;
/// Clients' connections of one forward, so that the clients of one guest leave room for those of another.
pub const CONNECTIONS_PER_FORWARD_MAX: usize = 1536;
/// Clients' connections of one client's address. One more is reset.
pub const CONNECTIONS_PER_SOURCE_MAX: usize = 512;
/// Connections to the outside of one guest. One more is refused.
pub const CONNECTIONS_PER_GUEST_MAX: usize = 1024;
/// Clients' connections of one forward that wait for a guest which does not answer. Further clients wait in
/// the kernel's queue.
pub const WAITING_PER_FORWARD_MAX: usize = 256;
/// Waiting connections of one client's address. One more is reset: in the kernel's queue it would keep the
/// others out.
pub const WAITING_PER_SOURCE_MAX: usize = 128;
const _: () = assert!(CONNECTIONS_PER_FORWARD_MAX < CONNECTIONS_PER_DIRECTION_MAX);
const _: () = assert!(2 * CONNECTIONS_PER_SOURCE_MAX <= CONNECTIONS_PER_FORWARD_MAX);
const _: () = assert!(2 * WAITING_PER_SOURCE_MAX <= WAITING_PER_FORWARD_MAX);
const _: () = assert!(2 * CONNECTIONS_PER_GUEST_MAX <= CONNECTIONS_PER_DIRECTION_MAX);
/// Sockets kept with their buffers for the next connections; the buffers of further ones are given back.
pub const SPARE_SOCKETS_MAX: usize = 32;
/// Time for which a connection that both sides have closed answers late segments.
pub const TIME_WAIT: Duration = Duration::from_secs(10);
/// Connections that answer late segments. They hold no buffers; one more ends the wait of the oldest.
pub const LATE_MAX: usize = 4096;
/// Time for which clients wait for a guest that is not there, or from which nothing comes, before they are
/// reset. It is longer than a failover, which nobody shall notice; an operator whose pairs take longer to
/// suspect each other can have more (`GatewayConfig::guest_away_max`).
pub const GUEST_AWAY_MAX: Duration = Duration::from_secs(10);
/// A connection that one side has not answered for this long never was one, also if that side is there: as
/// long as Linux goes on with its SYNs.
pub const HALF_OPEN_TIMEOUT: Duration = Duration::from_secs(130);
const _: () = assert!(GUEST_AWAY_MAX.as_secs() < HALF_OPEN_TIMEOUT.as_secs());
/// Silence of the guest on an open connection after which the guest is asked whether it still knows the
/// connection (RFC 9293 section 3.8.4). A guest that was booted anew answers with a reset.
pub const PROBE_EVERY: Duration = Duration::from_secs(60);
/// Questions in a row that a guest may leave unanswered, an hour in all. Then the guest side of the
/// connection has ended.
pub const PROBES_MAX: u32 = 60;
/// Pause until a guest that has taken a lease, and so may have been booted anew, is asked about its
/// connections.
pub const DOUBT: Duration = Duration::from_secs(1);
/// Idleness below which a half-closed connection makes no room for another one.
pub const HALF_CLOSED_SPARED: Duration = Duration::from_secs(1);
/// Pause after a look through a full table that found no connection to make room.
pub const EVICTION_RETRY: Duration = Duration::from_millis(100);
/// Host sockets that both sides have finished with, and that are kept until the kernel has delivered what was
/// given to it. One more leaves the oldest connection's to the kernel, which is less patient with a socket
/// that nobody holds.
pub const LEAVING_MAX: usize = 1024;
/// Pause between two looks whether all has been delivered of connections that end with a reset, which the
/// kernel does not tell.
pub const LEAVING_LOOK_EVERY: Duration = Duration::from_millis(200);
/// Bytes buffered in each direction of a connection. The memory is touched only as far as it is used.
pub const TCP_BUFFER_LEN: usize = 256 * 1024;
/// Silence after which the kernel probes an idle host connection, and pause between its probes.
pub const HOST_PROBE_EVERY: Duration = Duration::from_secs(60);
/// Probes in a row that a host may leave unanswered: ten minutes in all.
pub const HOST_PROBES_MAX: u32 = 10;
/// Pause before an accept that failed for want of descriptors is tried again.
pub const ACCEPT_RETRY: Duration = Duration::from_millis(200);

/// Time that an acknowledgement waits for data to ride on. A frame of the guest is an entry of the log, so
/// fewer are better.
pub const ACK_DELAY: Duration = Duration::from_millis(4);
/// The longest pause between retransmissions to a guest, however long it has been away.
pub const RETRANSMIT_MAX: Duration = Duration::from_secs(1);
/// Pauses between the retransmissions that follow the first one after a MAC has changed its owner, while the
/// guest stays mute: its announcement may leave before its receive queue is ready.
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

/// Addresses and ports of guests that have a host socket for their datagrams. The mapping that is idle
/// longest of the guest that has most of them makes room.
pub const UDP_MAPPINGS_MAX: usize = 2048;
/// Such mappings of one guest. The guest's mapping that is idle longest makes room.
pub const UDP_MAPPINGS_PER_GUEST_MAX: usize = 1024;
/// Destinations that a mapping remembers, to take answers from. The one that was not sent to for the longest
/// time makes room.
pub const CONTACTS_PER_MAPPING_MAX: usize = 256;
/// Clients of UDP forwards. The client that is idle longest of the source that has most of them makes room.
pub const UDP_CLIENTS_MAX: usize = 2048;
/// Clients of UDP forwards with one address, likewise. Addresses of datagrams can be forged, so this is only
/// a first hurdle.
pub const UDP_CLIENTS_PER_SOURCE_MAX: usize = 256;
/// Silence after which a mapping or a client is forgotten: what RFC 4787 REQ-5 recommends.
pub const UDP_IDLE: Duration = Duration::from_secs(300);
/// Time for which a port rests after its last use: an answer that comes later than a silent mapping lives is
/// expected by nobody.
pub const PORT_REST: Duration = UDP_IDLE;
/// Time for which a port rests even if all ports rest.
pub const PORT_REST_MIN: Duration = Duration::from_secs(30);
/// Ports of this host that rest after one guest has used them. Its oldest port makes room if it has rested
/// for `PORT_REST_MIN`; else the guest gets no further port.
pub const RESTING_PER_GUEST_MAX: usize = 4096;
/// Ports that are tried before it is said that there is none.
pub const PORT_TRIES: usize = 16;
const _: () = assert!(UDP_MAPPINGS_PER_GUEST_MAX < UDP_MAPPINGS_MAX);
const _: () = assert!(UDP_CLIENTS_PER_SOURCE_MAX < UDP_CLIENTS_MAX);
/// Datagrams of one socket before the others have their turn.
pub const DATAGRAMS_PER_TURN: usize = 64;
/// Pings under way, by identifier and destination. The one that is idle longest of the guest that has most of
/// them makes room.
pub const PINGS_MAX: usize = 256;
/// Pings under way of one guest. The guest's ping that is idle longest makes room.
pub const PINGS_PER_GUEST_MAX: usize = 64;
/// Silence after which a ping is forgotten (RFC 5508 REQ-2).
pub const PING_IDLE: Duration = Duration::from_secs(60);
/// DNS questions under way. The oldest makes room.
pub const DNS_QUERIES_MAX: usize = 128;
/// DNS questions under way of one guest. The guest's oldest makes room.
pub const DNS_QUERIES_PER_GUEST_MAX: usize = 32;
/// Longest DNS question that is forwarded, in bytes.
pub const DNS_QUERY_LEN_MAX: usize = 4096;
/// Time that one resolver may take before the next is asked.
pub const DNS_TIMEOUT: Duration = Duration::from_secs(2);

/// Packets of which some fragments have come. The oldest makes room.
pub const FRAGMENTED_MAX: usize = 64;
/// Such packets of one guest. The guest's oldest makes room.
pub const FRAGMENTED_PER_GUEST_MAX: usize = 16;
/// Fragments of one packet: enough for the longest at the smallest size that links have in practice, 576
/// bytes.
pub const FRAGMENTS_PER_PACKET_MAX: usize = 128;
/// Time in which all fragments of a packet must have come.
pub const REASSEMBLY_TIMEOUT: Duration = Duration::from_secs(15);
const _: () = assert!(FRAGMENTED_PER_GUEST_MAX < FRAGMENTED_MAX);
const _: () = assert!(FRAGMENTS_PER_PACKET_MAX * (576 - 24) > 65_535);
/// Guests for which datagrams wait until their MAC is known. Datagrams for further ones are lost.
pub const HELD_GUESTS_MAX: usize = 32;
/// Bytes that wait for one such guest: the longest datagram and more. Further ones are lost.
pub const HELD_PER_GUEST_LEN_MAX: usize = 128 * 1024;
/// Time for which they wait.
pub const HELD_TIMEOUT: Duration = Duration::from_secs(3);

/// Guests' connections to resolvers. The oldest makes room.
pub const DNS_STREAMS_MAX: usize = 128;
/// Silence after which such a connection ends.
pub const DNS_STREAM_IDLE: Duration = Duration::from_secs(60);
/// Time for which a resolver that did not answer is asked last.
pub const RESOLVER_SPARED: Duration = Duration::from_secs(60);

/// Pause between two ARP requests for the same address.
pub const ARP_RETRY: Duration = Duration::from_millis(200);
/// Largest IP packet on the virtual segment: ordinary Ethernet.
pub const MTU: usize = 1500;

const _: () = assert!(PEER_LOW_WATER < PEER_HIGH_WATER && PEER_HIGH_WATER < PEER_QUEUE_MAX);
const _: () = assert!(PEER_FLOOD_MAX <= PEER_QUEUE_MAX);
const _: () = assert!(TCP_BUFFER_LEN >= 64 * 1024);

/// Allows this process as many descriptors as its hard limit permits: a busy gateway has thousands of
/// sockets, and the usual soft limit is 1024.
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
        tracing::warn!("the limit of open files cannot be raised, and many connections may fail: {error}");
    }
}
