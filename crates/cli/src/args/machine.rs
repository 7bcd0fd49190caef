//! The flags of a machine: what it is made of, what its devices lead to, and what executes it. The commands
//! in `args` take them, `vm_file` lays them over `VM.toml`, and `spec` says what they mean.
//!
//! The first paragraph of a flag's comment is what `-h` says of the flag, in a line or two of 80 columns; all
//! of the comment is what `--help` and the manual pages say. Nothing here opens a file.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::help::{DEVICES, DIAGNOSIS, MACHINE, PAIR};
use crate::values;

/// A machine: flags override the file.
#[derive(Args, Default)]
#[command(next_help_heading = MACHINE)]
pub struct VmArgs {
    /// Description of the machine, with the same words as the flags
    #[arg(value_name = "VM.toml", help_heading = None::<&'static str>)]
    pub file: Option<PathBuf>,
    /// Name of the VM [default: vm]
    ///
    /// The arbiter, the locks of the VM's disks and a gateway know the VM by this name, so each VM has a name
    /// of its own, and both halves of a pair have the same one.
    #[arg(long, value_parser = values::text(values::name))]
    pub name: Option<String>,
    /// What to boot: a Linux Image, an ELF file or flat code
    ///
    /// The Image is RISC-V Linux's, with an EFI stub or without; flat code is for example u-boot.bin. Each
    /// may be compressed with gzip. docs/recipes/other-systems.md lists all forms.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,
    /// Initramfs for the kernel
    #[arg(long, value_name = "FILE")]
    pub initrd: Option<PathBuf>,
    /// Kernel command line [default: empty]
    #[arg(long, value_name = "STRING", visible_alias = "cmdline")]
    pub append: Option<String>,
    /// FILE, uboot or none [default: this host's OpenSBI]
    ///
    /// What starts in M-mode; left out, the OpenSBI of this host's distribution. With a kernel the file is
    /// OpenSBI's fw_dynamic or fw_jump, and `none` starts the kernel itself in M-mode; without a kernel it is
    /// any firmware. Flat code and ELF files are taken. `uboot` is for a disk that boots by itself: OpenSBI
    /// and, in the place of a kernel, Debian's U-Boot, which starts what the disk has (EFI and so GRUB, or
    /// extlinux). A host without U-Boot fetches it once.
    #[arg(long, value_name = "FILE", visible_alias = "bios")]
    pub firmware: Option<PathBuf>,
    /// RAM, at most 16G [default: 512M]
    ///
    /// A size such as 512M or 4G: a multiple of 2M.
    #[arg(long, value_name = "SIZE", visible_alias = "mem", value_parser = values::text(values::memory))]
    pub memory: Option<String>,
    /// Harts (processors), 1 to 8 [default: 1]
    #[arg(long, value_name = "N", visible_aliases = ["cpus", "smp"],
        value_parser = values::value(values::harts))]
    pub harts: Option<usize>,
    /// What to do when the guest's kernel panics [default: keep]
    ///
    /// A panic is seen by what the kernel writes to its console.
    #[arg(long, value_name = "WHAT")]
    pub on_panic: Option<PanicPolicy>,
    /// Disk: raw or qcow2 file, or device; may be given several times [default: none]
    ///
    /// FILE,readonly is a disk that the guest cannot change; FILE,serial=TEXT says what the guest reads as
    /// the disk's serial number. A file is an image if its name ends in `.qcow2`, or with
    /// FILE,format=qcow2, and else raw; FILE,format=raw says so of any file. FILE,overlay=NEW.qcow2 leaves
    /// FILE as it is: all writes go to NEW.qcow2, which is made if it is not there. An image's backing file
    /// lies in the image's directory, or is named with FILE,backing=OTHER. A VM that has a backup, or can get
    /// one, uses raw disks only.
    #[arg(long, value_name = "FILE", help_heading = DEVICES,
        value_parser = values::text(values::disk))]
    pub disk: Vec<String>,
    /// User-data for cloud-init [default: none]
    ///
    /// A file, or two: USER-DATA,META-DATA. The guest finds them on one more disk, the last one, which it can
    /// only read (a NoCloud disk, labelled CIDATA). Without META-DATA the instance and the host are called as
    /// the VM is. The files are read when the VM starts, and a backup gets what was read then.
    #[arg(long, value_name = "FILE", help_heading = DEVICES,
        value_parser = values::text(values::cloud_init))]
    pub cloud_init: Option<String>,
    /// Network: gateway=HOST:PORT, gateway=SOCKET, tap=NAME or none [default: none]
    ///
    /// A gateway's address may be followed by `,key=FILE` or `,insecure`. Without either, the pair's key is
    /// used over TCP, and none over a Unix socket.
    #[arg(long, value_name = "NET", help_heading = DEVICES, value_parser = values::net_text)]
    pub net: Option<String>,
    /// Ethernet address [default: from the VM's name]
    #[arg(long, value_name = "MAC", help_heading = DEVICES, value_parser = values::text(values::mac))]
    pub mac: Option<String>,
    /// Registers of virtio devices [default: modern]
    ///
    /// `modern` is version 2 of virtio-mmio. `legacy` is version 1, which is QEMU's default, for kernels that
    /// know no other.
    #[arg(long, value_name = "modern|legacy", help_heading = DEVICES,
        value_parser = values::text(values::virtio))]
    pub virtio: Option<String>,
    /// Console: stdio, none, a file, unix:SOCKET or keys:SOCKET [default: stdio]
    ///
    /// A file gets the output; at 64 MiB it becomes FILE.1, and a new one is begun. `unix:SOCKET` passes
    /// every byte, for programs. `keys:SOCKET` is for people: Ctrl-A h lists its keys, as on a terminal.
    #[arg(long, value_name = "WHERE", visible_alias = "console", help_heading = DEVICES)]
    pub serial: Option<String>,
}

/// What is done about a guest whose kernel has panicked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PanicPolicy {
    /// Say so and leave the guest as it is
    Keep,
    /// Switch the guest off, on both sides of a pair; the exit code is 1
    Stop,
    /// Press the guest's reset button
    Reset,
}

/// What the agent of a site does about a guest that hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HangPolicy {
    /// Say so and leave the guest as it is
    Tell,
    /// Press the guest's reset button, at most once in ten minutes
    Reset,
}

/// What becomes of a backup that is too slow.
#[derive(Args)]
#[command(next_help_heading = PAIR)]
pub struct SlowArgs {
    /// What is done about a backup that is too slow [default: drop]
    #[arg(long, value_name = "WHAT", hide_short_help = true)]
    pub on_slow: Option<SlowPolicy>,
    /// Least share of its speed that a backup must leave the guest, in percent [default: 50]
    ///
    /// The mean of the last minute counts. With 0 a backup is too slow only if it hardly follows at all, for
    /// ten seconds.
    #[arg(long, value_name = "PERCENT", hide_short_help = true,
        value_parser = values::value(values::min_speed))]
    pub min_speed: Option<u32>,
}

/// What is done about a backup that is too slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlowPolicy {
    /// Drop it while the guest runs, which then has no backup
    Drop,
    /// Keep it, and let the guest run only as fast as it can follow
    Follow,
}

/// What executes the guest's instructions, and how it is checked.
#[derive(Args, Default)]
#[command(next_help_heading = DIAGNOSIS)]
pub struct EngineArgs {
    /// What executes instructions; both compute the same, and the interpreter is slow
    #[arg(
        long,
        value_name = "ENGINE",
        default_value = "translator",
        hide_short_help = true
    )]
    pub engine: Engine,
    /// Drop caches at random with this seed; nothing may change (a check of determinism)
    #[arg(long, value_name = "SEED", hide_short_help = true, value_parser = values::value(values::number))]
    pub zeal: Option<u64>,
}

/// What executes the guest's instructions.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// Translates what runs often to machine code, on hosts where it can
    #[default]
    Translator,
    /// Interprets every instruction
    Interpreter,
}
