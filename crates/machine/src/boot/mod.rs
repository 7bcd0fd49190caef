//! What the reset puts into RAM and into the harts' registers, computed once from the [`Config`].
//!
//! ```text
//! 0x8000_0000  firmware, or a flat kernel alone
//! 0x8020_0000  flat kernel behind a firmware (an Image: its text_offset from the start of RAM)
//!        ...   ELF files lie where they are linked
//!              fw_dynamic_info, below the initrd, read by OpenSBI in its first instructions
//!              initrd, below the FDT, 4 KiB aligned
//!              FDT, 2 MiB aligned, below the end of RAM and below 3 GiB, as QEMU puts it
//! ```
//! There is no reset ROM: all harts start at the first instruction of the firmware, or of a kernel without
//! one, with `a0` = hart id, `a1` = FDT and `a2` = fw_dynamic_info, which is the state in which the ROM of
//! QEMU's `virt` leaves them.
//!
//! [`Machine`](crate::Machine) asks for the [`Layout`] once and applies it at each reset. Nothing here looks
//! at a running machine.

mod elf;
pub mod fdt;
pub mod firmware;
mod foreign;
mod image;
mod program;
mod unpack;

use std::fmt;

use hart::ram::BASE;

pub use firmware::Layout;

use crate::config::{Config, HARTS_MAX, VIRTIO_SLOTS};

/// Bytes of the unit in which a machine has memory: 2 MiB.
pub const MEMORY_UNIT: u64 = 2 << 20;
/// Bytes of the longest kernel command line: Linux's `COMMAND_LINE_SIZE` on RISC-V, without the terminating
/// zero.
pub const COMMAND_LINE_MAX: usize = 1023;

/// The machine cannot be built from this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BootError {
    /// So many harts were asked for, which is not 1 to 8.
    Harts(usize),
    /// So many bytes of memory were asked for, which is not a positive multiple of 2 MiB up to 16 GiB.
    Memory(u64),
    /// So many virtio devices are needed, which is more than the board has slots.
    Devices(usize),
    /// The host has no room for the guest's memory, and what it says.
    HostMemory(String),
    /// There is neither a firmware nor a kernel.
    NothingToBoot,
    /// A file is no program for this board.
    Foreign {
        /// Which file: "kernel" or "firmware".
        image: &'static str,
        /// What the file is and what to give instead, as the rest of a sentence.
        found: &'static str,
    },
    /// A file contradicts itself or ends too early.
    Damaged {
        /// Which file: "kernel" or "firmware".
        image: &'static str,
        /// What the file would be, as the rest of a sentence.
        format: &'static str,
    },
    /// The kernel wants to be loaded at this offset, at which no kernel can be.
    KernelOffset(u64),
    /// Part of a program lies outside RAM.
    OutsideRam {
        /// Which program: "kernel" or "firmware".
        what: &'static str,
        /// The physical address that the part wants.
        address: u64,
    },
    /// Parts of two programs, or of one, want the same memory.
    Overlap {
        /// The program whose part begins lower.
        first: &'static str,
        /// The program whose part begins higher.
        second: &'static str,
        /// The first address that both want.
        at: u64,
    },
    /// Execution would begin at this address, which is odd or outside RAM.
    Entry(u64),
    /// The images do not fit into the memory.
    TooLarge {
        /// The image that has no room.
        what: &'static str,
        /// How many bytes the image needs.
        needs: u64,
        /// How many bytes there are for it.
        room: u64,
    },
    /// The command line has so many bytes, which is more than Linux takes.
    CommandLineLength(usize),
    /// The command line contains a zero byte.
    CommandLineZero,
    /// This serial number of a disk has more than 20 bytes.
    SerialLength(String),
    /// The device tree cannot be written, and why.
    Fdt(String),
}

impl BootError {
    /// The sentence for people. `called` says what they call an image ("kernel", "initrd", "firmware" or
    /// "device tree"): whoever has read it from a file can name that file.
    #[must_use]
    pub fn sentence(&self, called: &dyn Fn(&'static str) -> String) -> String {
        match self {
            BootError::Foreign { image, found } => format!("{} is {found}", called(image)),
            BootError::Damaged { image, format } => format!(
                "{} is {format}, and damaged or incomplete; fetch it again",
                called(image)
            ),
            BootError::OutsideRam { what, address } => format!(
                "{} wants to lie at {address:#x}, where no RAM is; RAM begins at {BASE:#x} and is as large \
                 as `--memory` says (of Linux give the Image, not vmlinux)",
                called(what)
            ),
            BootError::Overlap { first, second, at } => format!(
                "{} and {} both want the memory at {at:#x}; a kernel that is linked to {BASE:#x} runs \
                 without a firmware, with `--firmware none`",
                called(first),
                called(second)
            ),
            BootError::KernelOffset(offset) => format!(
                "{} wants to be loaded at offset {offset:#x}; only multiples of 2 MiB work",
                called("kernel")
            ),
            BootError::TooLarge { what, needs, room } => format!(
                "{} needs {needs} bytes and there is room for {room}; give the guest more memory",
                called(what)
            ),
            BootError::Harts(harts) => format!("{harts} harts asked for; give 1 to {HARTS_MAX}"),
            BootError::Memory(bytes) => {
                format!("{bytes} bytes of memory asked for; give a multiple of 2 MiB, at most 16 GiB")
            }
            BootError::Devices(count) => {
                format!("{count} virtio devices asked for; the board has {VIRTIO_SLOTS} slots")
            }
            BootError::HostMemory(why) => format!("the host has no room for the guest's memory: {why}"),
            BootError::NothingToBoot => {
                "nothing to boot; give `--kernel FILE` or `--firmware FILE`".to_owned()
            }
            BootError::Entry(entry) => format!(
                "the first instruction would be at {entry:#x}, which is odd or outside RAM; link the program \
                 to RAM, which begins at {BASE:#x}"
            ),
            BootError::CommandLineLength(length) => {
                format!("the kernel command line has {length} bytes; Linux takes {COMMAND_LINE_MAX}")
            }
            BootError::CommandLineZero => "the kernel command line contains a zero byte".to_owned(),
            BootError::SerialLength(serial) => {
                format!("the disk serial number {serial:?} is longer than 20 bytes")
            }
            BootError::Fdt(why) => format!("the device tree cannot be written: {why}"),
        }
    }
}

impl fmt::Display for BootError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence(&|image| format!("the {image}")))
    }
}

impl std::error::Error for BootError {}

/// Checks what no later step of building a machine checks.
///
/// # Errors
/// The first thing that is wrong with the configuration.
pub fn validate(config: &Config) -> Result<(), BootError> {
    let devices = config.disks.len() + config.nets.len();
    if config.harts == 0 || config.harts > HARTS_MAX {
        return Err(BootError::Harts(config.harts));
    }
    if config.memory == 0 || config.memory > hart::ram::SIZE_MAX || !config.memory.is_multiple_of(MEMORY_UNIT)
    {
        return Err(BootError::Memory(config.memory));
    }
    // One slot is the entropy device's.
    if devices + 1 > VIRTIO_SLOTS {
        return Err(BootError::Devices(devices + 1));
    }
    if let Some(disk) = config.disks.iter().find(|disk| disk.serial.len() > 20) {
        return Err(BootError::SerialLength(disk.serial.clone()));
    }
    if config.boot.command_line.len() > COMMAND_LINE_MAX {
        return Err(BootError::CommandLineLength(config.boot.command_line.len()));
    }
    if config.boot.command_line.contains('\0') {
        return Err(BootError::CommandLineZero);
    }
    Ok(())
}
