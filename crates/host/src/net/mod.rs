//! The guest's network on this host: how its Ethernet frames leave the VMM and come back.

pub mod gateway;
pub mod stream;
