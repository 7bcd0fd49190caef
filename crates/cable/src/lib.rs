//! The connection between a VM and a gateway, for both of its ends.
//!
//! What passes is QEMU's stream of network frames (`stream`), over TCP or a Unix socket (`wire`). With a key
//! the connection begins with a Noise handshake, and everything after it is sealed (`keyed`); then both ends
//! also exchange words, by which a cut is noticed and a quiet backup stays quiet. `mac` has the Ethernet
//! addresses by which a gateway knows VMs.
//!
//! The gateway serves many such connections without blocking, a VM one for each network device (`host`'s
//! `net/plug`). Nothing here decides who may connect, or where a frame goes.
#![forbid(unsafe_code)]

pub mod keyed;
pub mod mac;
pub mod stream;
pub mod wire;
