//! `Config`: what a machine is made of, which is the part of its initial state that is not zero.
//!
//! Both replicas must be built from equal configurations; the log's header carries the configuration, and the
//! handshake compares. Nothing outside a configuration may decide how a machine begins.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::{Digest, narrow::wide};

/// The most harts that a machine can have.
pub const HARTS_MAX: usize = 8;
/// How many virtio-mmio slots the QEMU `virt` board has.
pub(crate) const VIRTIO_SLOTS: usize = 8;

/// A machine before its first step. [`Machine::new`](crate::Machine::new) refuses what no machine can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of RAM, a multiple of 2 MiB, at most 16 GiB.
    pub memory: u64,
    /// How many harts: 1 to 8.
    pub harts: usize,
    /// The virtio-blk devices, in the order of their slots.
    pub disks: Vec<DiskConfig>,
    /// The virtio-net devices, in the order of their slots, which follow those of the disks.
    pub nets: Vec<NetConfig>,
    /// By which registers the guest drives all of its virtio devices.
    pub virtio: Transport,
    /// What the device tree hands the guest as `rng-seed`. The primary chooses it; both sides have the same.
    pub rng_seed: [u8; 32],
    /// Wall-clock time of step 0, in nanoseconds since 1970: what goldfish-rtc counts from.
    pub wall_clock_ns: u64,
    /// What a reset loads into RAM.
    pub boot: Boot,
}

/// The registers of virtio-mmio, which come in two versions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// Version 2, which the standard describes (VIRTIO 4.2.2).
    #[default]
    Modern,
    /// Version 1, which was there before the standard (VIRTIO 4.2.4). QEMU's board has it unless
    /// `virtio-mmio.force-legacy=false` is given, and some kernels know no other.
    Legacy,
}

impl Transport {
    /// What the register Version tells.
    #[must_use]
    pub fn version(self) -> u8 {
        match self {
            Transport::Modern => 2,
            Transport::Legacy => 1,
        }
    }
}

/// One virtio-blk device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// Whether the guest may only read (VIRTIO_BLK_F_RO).
    pub read_only: bool,
    /// The serial number that answers VIRTIO_BLK_T_GET_ID: at most 20 bytes.
    pub serial: String,
}

/// One virtio-net device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// The device's Ethernet address.
    pub mac: [u8; 6],
}

/// Images that the reset puts into RAM. Shared, because a reboot loads them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// What every hart enters in M-mode: flat, which is loaded at the start of RAM, or an ELF file; either
    /// may be compressed with gzip. With a kernel it is OpenSBI's `fw_dynamic` or `fw_jump`. Empty: there is
    /// none, and every hart enters the kernel in M-mode.
    pub firmware: Arc<[u8]>,
    /// The kernel, a RISC-V `Image`, an ELF file or flat code; either may be compressed with gzip. Empty:
    /// there is none.
    pub kernel: Arc<[u8]>,
    /// The initramfs; empty: there is none.
    pub initrd: Arc<[u8]>,
    /// The kernel's command line.
    pub command_line: String,
}

impl Config {
    /// A digest of the whole configuration, images included: equal digests make equal machines.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Config {
            memory,
            harts,
            disks,
            nets,
            virtio,
            rng_seed,
            wall_clock_ns,
            boot,
        } = self;
        let Boot {
            firmware,
            kernel,
            initrd,
            command_line,
        } = boot;
        let mut hasher = Xxh3::new();
        let mut field = |bytes: &[u8]| {
            hasher.update(&wide(bytes.len()).to_le_bytes());
            hasher.update(bytes);
        };
        for number in [
            *memory,
            wide(*harts),
            *wall_clock_ns,
            wide(disks.len()),
            wide(nets.len()),
            u64::from(virtio.version()),
        ] {
            field(&number.to_le_bytes());
        }
        for DiskConfig {
            sectors,
            read_only,
            serial,
        } in disks
        {
            field(&sectors.to_le_bytes());
            field(&[u8::from(*read_only)]);
            field(serial.as_bytes());
        }
        for NetConfig { mac } in nets {
            field(mac);
        }
        field(rng_seed);
        field(command_line.as_bytes());
        for image in [firmware, kernel, initrd] {
            field(image);
        }
        Digest(hasher.digest128())
    }
}
