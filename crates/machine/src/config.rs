//! What a machine is made of: the part of its initial state that is not zero.
//!
//! Both replicas must be built from equal configurations; the handshake and the log header carry it.

use std::sync::Arc;

use xxhash_rust::xxh3::Xxh3;

use crate::{Digest, narrow::wide};

/// Most harts.
pub const HARTS_MAX: usize = 8;
/// virtio-mmio slots of the QEMU `virt` board.
pub const VIRTIO_SLOTS: usize = 8;

/// A machine before its first step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bytes of RAM, a multiple of 2 MiB, at most 16 GiB.
    pub memory: u64,
    /// 1 to 8.
    pub harts: usize,
    /// virtio-blk devices.
    pub disks: Vec<DiskConfig>,
    /// virtio-net devices.
    pub nets: Vec<NetConfig>,
    /// What the FDT hands the guest as `rng-seed`. Chosen by the primary, equal on both sides.
    pub rng_seed: [u8; 32],
    /// Wall-clock time of step 0, in nanoseconds since 1970: what goldfish-rtc counts from.
    pub wall_clock_ns: u64,
    /// What is loaded into RAM at reset.
    pub boot: Boot,
}

/// One virtio-blk device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskConfig {
    /// Capacity in sectors of 512 bytes.
    pub sectors: u64,
    /// VIRTIO_BLK_F_RO.
    pub read_only: bool,
    /// Answer to VIRTIO_BLK_T_GET_ID, at most 20 bytes.
    pub serial: String,
}

/// One virtio-net device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetConfig {
    /// Ethernet address.
    pub mac: [u8; 6],
}

/// Images that the reset puts into RAM. Shared, because a reboot loads them again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boot {
    /// OpenSBI `fw_dynamic.bin`, or with no kernel a flat firmware: loaded at the start of RAM.
    pub firmware: Arc<[u8]>,
    /// A flat RISC-V `Image`; empty: none.
    pub kernel: Arc<[u8]>,
    /// An initramfs; empty: none.
    pub initrd: Arc<[u8]>,
    /// Kernel command line.
    pub command_line: String,
}

impl Config {
    /// A digest of all of it, images included: equal configurations make equal machines.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let Config {
            memory,
            harts,
            disks,
            nets,
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
