//! The guest's network on this host: how its Ethernet frames leave the VMM and come back.

pub mod announce;
pub mod dial;
pub mod lead;
pub mod plug;
pub mod port;
pub mod tap;

pub use announce::Announcer;
pub use dial::Endpoint;
pub use lead::Lead;
pub use plug::Plug;
pub use port::{Port, PortSpec};
pub use tap::Tap;

/// Why the guest's network cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum NetError {
    /// No such interface.
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
    /// No gateway answers.
    #[error("the gateway at {endpoint} does not answer; start it with `lockstep gateway`")]
    Gateway {
        /// Address or socket of the gateway.
        endpoint: String,
        /// What the operating system said of the connection.
        source: std::io::Error,
    },
    /// A gateway, but not for this VM.
    #[error("the gateway at {endpoint} and this VM do not go together")]
    Refused {
        /// Address or socket of the gateway.
        endpoint: String,
        /// Why the handshake failed.
        source: gateway::keyed::KeyedError,
    },
    /// The key for the gateway.
    #[error(transparent)]
    Key(#[from] link::KeyError),
}
