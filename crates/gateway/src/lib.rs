//! The gateway: gives guests a network without privileges, and keeps their clients' connections when a
//! primary dies.
//!
//! The gateway is a process of its own. VMMs connect to it and speak Ethernet frames (the crate `cable`); in
//! this crate, which knows no log, *frame* always means such a network frame. The gateway answers ARP, DHCP
//! and DNS, opens host sockets for what guests open, and listens on host ports that lead to guests. Because
//! TCP ends here on both sides, a client notices of a failover only that an answer took longer.
//!
//! ```text
//!  VMM --frames--> peer --> switch --> event_loop --> tcp: endpoint <-> splice --> host sockets
//!  VMM <--frames-- peer <-- switch <-- segment <----- udp, dns, dhcp, icmp
//! ```
//! Over TCP a VMM shows at the `door` that it has the key, and all its frames are sealed (`cable`'s `keyed`).
//!
//! Invariant: nothing that a guest or a client sends can make the gateway panic, or use more than `limits`
//! allows.
#![forbid(unsafe_code)]

mod card;
mod clients;
mod config;
mod conflict;
mod destination;
mod dhcp;
mod dns;
mod dns_message;
mod dns_streams;
mod door;
mod endpoint;
mod event_loop;
mod expiry;
mod forwards;
mod fragments;
mod gauges;
mod guests;
mod held;
mod host_port;
mod icmp;
mod late;
mod leaving;
mod limits;
mod listener;
mod local_address;
mod mappings;
mod nat;
mod peer;
mod pings;
mod resting;
mod room;
mod segment;
mod shares;
mod socket_errors;
mod sockets;
mod splice;
mod switch;
mod tcp;
mod token;
mod told;
mod udp;
mod window;

pub use config::{
    Forward, ForwardError, GatewayConfig, GatewayError, GatewayReady, GatewayStop, GuestListen, Protocol,
    Resolvers, Target,
};
pub use destination::{Destination, DestinationError};

use os::sandbox::{self, Kind};

/// What tests of the limits look at while a gateway runs. No program needs it.
#[cfg(feature = "parts")]
pub mod parts {
    pub use crate::gauges::{Gauge, Gauges};
}

/// Runs a gateway on this thread until it is stopped. `ready` is called once, when the gateway listens on all
/// its sockets.
///
/// # Errors
/// The configuration makes no sense, an address cannot be listened on, or the system's polling fails.
pub fn run(config: GatewayConfig, ready: impl FnOnce(GatewayReady)) -> Result<(), GatewayError> {
    let (event_loop, announcement) = event_loop::EventLoop::new(&config)?;
    let entered = config.sandbox.then(|| config.needs().enter()).transpose()?;
    os::stderr::open();
    sandbox::narrow(Kind::Gateway);
    tracing::info!(listen = %announcement.listen, "gateway ready");
    ready(announcement);
    let result = event_loop.run();
    drop(entered);
    result
}
