//! `Header`: what a log begins with, and what a primary tells its backup before the first entry: all of the
//! machine's initial state except the images themselves, which are named by length and SHA-256.

use machine::{DiskConfig, NetConfig, Step};

/// Names an image.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ImageId {
    /// Bytes; 0: none.
    pub length: u64,
    /// SHA-256 of the content.
    pub sha256: [u8; 32],
}

/// What a log begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The program that wrote it, with its version; only for people.
    pub program: String,
    /// Properties of the host CPU that can change results of the guest. Equal on both sides.
    pub features: u64,
    /// The step of the first entry at the earliest.
    pub start: Step,
    /// Bytes of RAM.
    pub memory: u64,
    /// Number of harts.
    pub harts: u32,
    /// virtio-blk devices.
    pub disks: Vec<DiskConfig>,
    /// virtio-net devices.
    pub nets: Vec<NetConfig>,
    /// Seed of the guest's random numbers at boot.
    pub rng_seed: [u8; 32],
    /// Wall-clock time of step 0, in nanoseconds since 1970.
    pub wall_clock_ns: u64,
    /// Kernel command line.
    pub command_line: String,
    /// OpenSBI or a flat firmware.
    pub firmware: ImageId,
    /// The kernel.
    pub kernel: ImageId,
    /// The initramfs.
    pub initrd: ImageId,
}
