//! The devices of the QEMU `virt` board that are not virtio: one plain struct each, no host resources.

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
