//! The devices of the QEMU `virt` board that are not virtio: one plain struct in each file.
//!
//! The [`Board`](crate::board) owns one of each and calls it as a [`Device`](crate::device::Device). No
//! device here knows another, nor holds anything of the host.

pub mod aclint;
pub mod plic;
pub mod rtc;
pub mod syscon;
pub mod uart;

pub use aclint::Aclint;
pub use plic::Plic;
pub use rtc::Rtc;
pub use syscon::Syscon;
pub use uart::Uart;
