//! The guest's network on this host: how its Ethernet frames leave the VMM and come back. Whoever runs the
//! guest has a `port` for each network device: no cable, a `tap`, or a `plug` in a gateway, which `dial`
//! reaches.
//!
//! Frames may be lost here, as on any network, but never wait long enough to hold up the guest.

pub mod announce;
pub mod dial;
mod dialing;
pub mod lead;
pub mod limits;
pub mod plug;
pub mod port;
pub mod tap;
mod uplinks;

pub use announce::Announcer;
pub use dial::Endpoint;
pub use lead::Lead;
pub use plug::Plug;
pub use port::{Port, PortSpec};
pub use tap::Tap;

/// Why the guest's network cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// There is no such tap interface, or it may not be used.
    #[error(
        "cannot open the tap interface '{name}'; make it with `ip tuntap add {name} mode tap user $USER` \
         and `ip link set {name} up`"
    )]
    Tap {
        /// Name of the interface.
        name: String,
        /// What the operating system said of it.
        source: std::io::Error,
    },
    /// No gateway answers at the endpoint.
    #[error("the gateway at {endpoint} does not answer; start it with `lockstep gateway`")]
    Gateway {
        /// Address or socket of the gateway.
        endpoint: String,
        /// What the operating system said of the connection.
        source: std::io::Error,
    },
    /// A gateway answers, but it is not for this VM: one of the two has another key, or none.
    #[error("the gateway at {endpoint} and this VM do not go together")]
    Refused {
        /// Address or socket of the gateway.
        endpoint: String,
        /// Why the handshake failed.
        source: cable::keyed::KeyedError,
    },
    /// The key for the gateway cannot be read.
    #[error(transparent)]
    Key(#[from] link::KeyError),
}
