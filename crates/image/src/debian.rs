//! A whole Debian: a raw ext4 disk with systemd and PostgreSQL, and Debian's kernel beside it for direct
//! boot.
//!
//! `mmdebstrap` installs the packages with their maintainer scripts, under QEMU's user-mode emulation, which
//! takes minutes; `mke2fs -d` makes the disk. Root needs no other program; other users need `fakeroot` and
//! `uidmap`.
//!
//! The guest differs from Debian's defaults as follows (`guest/debian-*.sh`). root logs in on the console
//! (ttyS0) without a password, and nothing else offers a login. systemd-networkd asks for an address on every
//! Ethernet card. PostgreSQL listens on all addresses and trusts 10.0.2.0/24, where the gateway's forwards
//! come from, and has a database `bench` of the role `bench`. Timers and mounts that would only cost time are
//! masked. Documentation, translations and drivers for hardware that the machine does not have are not
//! unpacked. `lockstep-fsync-check` is there.
//!
//! The disk in the cache is the original: machines need a copy or an overlay of it. It has no boot loader.
//! Beside it are its kernel, the initramfs that Debian made for it, and a smaller one of ours that is the
//! default, because it takes 0.2 billion instructions where Debian's takes three.

use std::fs;
use std::path::{Path, PathBuf};

use rehearsal::{Node, Tree};

use super::SUITE;
use super::appliance::{BUSYBOX_PACKAGE, FSYNC_CHECK};
use super::apt::Apt;
use super::boot_files::{self, FIRMWARE, FIRMWARE_PACKAGE, INITRD, KERNEL};
use super::cache::{Cache, Key};
use super::cpio;
use super::emulation;
use super::error::ImageError;
use super::mirror::Archive;
use super::modules::{KernelModules, Module};
use super::progress::{Progress, Report, Stage, Unit};
use super::tools::{
    self, APT_GET, ARCH_TEST, DPKG_DEB, FAKEROOT, MKE2FS, MMDEBSTRAP, NEWUIDMAP, SETPRIV, TAR,
};

/// The kernel command line with which to boot: Debian's usual one without self-tests (see
/// `APPLIANCE_APPEND`).
pub const DEBIAN_APPEND: &str = "root=/dev/vda rw console=ttyS0 quiet cryptomgr.notests \
     initcall_blacklist=jent_mod_init,load_system_certificate_list,trace_eval_init";

/// Version of this builder, raised when the image that it makes of the same options changes.
const BUILDER_VERSION: u32 = 1;

/// Script that mmdebstrap runs, with the new root directory as argument.
const BEFORE_PACKAGES: &str = include_str!("guest/debian-before-packages.sh");
const AFTER_PACKAGES: &str = include_str!("guest/debian-after-packages.sh");

/// Process 1 of our own initramfs.
const INIT: &str = include_str!("guest/debian-init.sh");

/// The programs of busybox that this script uses.
const INIT_APPLETS: [&str; 7] = [
    "cat",
    "insmod",
    "mount",
    "poweroff",
    "sh",
    "switch_root",
    "usleep",
];

/// The modules that this script loads: those that the disk needs, and those of the other devices, whose
/// drivers udev would load more slowly.
const INIT_MODULES: [&str; 6] = [
    "virtio_mmio",
    "virtio_blk",
    "virtio_net",
    "virtio_rng",
    "crc32c_generic",
    "ext4",
];

/// Packages that are installed besides Debian's minimal base.
const PACKAGES: [&str; 11] = [
    "e2fsprogs",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-riscv64",
    "login",
    "postgresql",
    "systemd",
    "systemd-sysv",
    "udev",
    "util-linux",
];

/// Patterns of files that are not unpacked.
const LEFT_OUT_FILES: [&str; 6] = [
    "/usr/share/bug/*",
    "/usr/share/doc/*",
    "/usr/share/info/*",
    "/usr/share/lintian/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
];

/// Directories of drivers that are not unpacked: hardware that the machine does not have. They are most of a
/// kernel package and of the time that its installation takes under emulation.
#[rustfmt::skip]
const LEFT_OUT_DRIVERS: [&str; 38] = [
    "drivers/accessibility", "drivers/ata", "drivers/atm", "drivers/bluetooth", "drivers/gpu", "drivers/hid",
    "drivers/hwmon", "drivers/i2c", "drivers/iio", "drivers/infiniband", "drivers/input", "drivers/leds",
    "drivers/media", "drivers/mmc", "drivers/mtd", "drivers/net/can", "drivers/net/ethernet",
    "drivers/net/hamradio", "drivers/net/ieee802154", "drivers/net/phy", "drivers/net/usb",
    "drivers/net/wireless", "drivers/nvme", "drivers/pinctrl", "drivers/scsi/*", "drivers/spi",
    "drivers/staging", "drivers/usb", "drivers/video", "drivers/w1", "net/6lowpan", "net/bluetooth",
    "net/can", "net/ieee802154", "net/mac80211", "net/nfc", "net/wireless", "sound",
];

/// Size in bytes of the smallest disk, which has room for what is installed and for some database.
const DISK_BYTES_MIN: u64 = 1 << 30;

/// Names of the files that only this kind of image has.
const DEBIAN_INITRD: &str = "initrd-debian";
const DISK: &str = "disk.raw";

/// The options of a Debian disk.
#[derive(Clone, Debug)]
pub struct DebianOptions {
    /// More Debian packages to install.
    pub packages: Vec<String>,
    /// Size of the disk in bytes. The file is sparse.
    pub disk_bytes: u64,
    /// Build even if the cache has the image.
    pub rebuild: bool,
    /// Directory in which images are kept; the user's cache if absent.
    pub cache: Option<Cache>,
    /// Address of the Debian mirror; the mirror of the machine's apt configuration if absent.
    pub mirror: Option<String>,
}

impl Default for DebianOptions {
    fn default() -> Self {
        Self {
            packages: Vec::new(),
            disk_bytes: 2 << 30,
            rebuild: false,
            cache: None,
            mirror: None,
        }
    }
}

/// A finished Debian. The files belong to the cache: read them, copy the disk, never write them.
#[derive(Clone, Debug)]
pub struct DebianImage {
    /// The kernel, a flat RISC-V Image.
    pub kernel: PathBuf,
    /// Our own initramfs: loads a few drivers, mounts the disk and starts its init.
    pub initrd: PathBuf,
    /// Debian's own initramfs, decompressed. Boots the same disk, with three billion instructions more.
    pub debian_initrd: PathBuf,
    /// OpenSBI's `fw_dynamic.bin`.
    pub firmware: PathBuf,
    /// The disk: raw, one ext4 filesystem labelled `lockstep`, no partitions.
    pub disk: PathBuf,
    /// The kernel command line with which to boot.
    pub append: String,
}

/// Builds a Debian, or finds it in the cache.
pub fn build_debian(
    options: &DebianOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<DebianImage, ImageError> {
    if options.disk_bytes < DISK_BYTES_MIN || !options.disk_bytes.is_multiple_of(1 << 20) {
        return Err(ImageError::Option(
            "a Debian's disk has at least 1 GiB, in whole MiB; give for example `--size 4G`".to_owned(),
        ));
    }
    let cache = options.cache.clone().map_or_else(Cache::of_user, Ok)?;
    let build = |output: &Path, report: Report<'_>| build(&cache, options, output, report);
    let directory = cache.find_or_build(&key(options), options.rebuild, progress, build)?;
    Ok(DebianImage {
        kernel: directory.join(KERNEL),
        initrd: directory.join(INITRD),
        debian_initrd: directory.join(DEBIAN_INITRD),
        firmware: directory.join(FIRMWARE),
        disk: directory.join(DISK),
        append: DEBIAN_APPEND.to_owned(),
    })
}

fn key(options: &DebianOptions) -> Key {
    Key::new("debian", BUILDER_VERSION)
        .with(SUITE.as_bytes())
        .with_all(&[BEFORE_PACKAGES, AFTER_PACKAGES, INIT, FSYNC_CHECK])
        .with_all(&LEFT_OUT_FILES)
        .with_all(&LEFT_OUT_DRIVERS)
        .with_all(&packages(options))
        .with(&options.disk_bytes.to_le_bytes())
        .with_all(options.mirror.as_slice())
}

fn packages(options: &DebianOptions) -> Vec<String> {
    let mut packages: Vec<String> = PACKAGES.map(str::to_owned).to_vec();
    packages.extend(options.packages.iter().cloned());
    packages.sort();
    packages.dedup();
    packages
}

fn build(
    cache: &Cache,
    options: &DebianOptions,
    output: &Path,
    report: Report<'_>,
) -> Result<(), ImageError> {
    let mut needed = vec![APT_GET, DPKG_DEB, TAR, MKE2FS, MMDEBSTRAP, ARCH_TEST, SETPRIV];
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        needed.extend([FAKEROOT, NEWUIDMAP]);
    }
    needed.extend(emulation::needed());
    tools::require(&needed)?;
    emulation::require(is_root)?;
    let archive = Archive::of_this_machine(options.mirror.as_deref())?;
    let work = output.join("work");
    fs::create_dir(&work).map_err(ImageError::file("create", &work))?;

    // The first steps are quick, and find out whether the mirror answers and the packages exist.
    let apt = Apt::prepare(&cache.root().join("apt"), &archive, &[])?;
    apt.update(report)?;
    apt.check_names(&options.packages)?;
    for package in [FIRMWARE_PACKAGE, BUSYBOX_PACKAGE] {
        for deb in apt.download(&[package.to_owned()], report)? {
            apt.unpack(&deb, &work.join(package))?;
        }
    }
    boot_files::copy_firmware(&work.join(FIRMWARE_PACKAGE), &output.join(FIRMWARE))?;

    let tarball = install(options, &archive, &apt, &work, report)?;
    report(Progress::begin(Stage::Disk));
    write_boot_files(&tarball, &work, output)?;
    write_disk(&tarball, options.disk_bytes, &work, &output.join(DISK), is_root)?;
    fs::remove_dir_all(&work).map_err(ImageError::file("remove", &work))
}

/// Installs everything with mmdebstrap into a tarball.
fn install(
    options: &DebianOptions,
    archive: &Archive,
    apt: &Apt,
    work: &Path,
    report: Report<'_>,
) -> Result<PathBuf, ImageError> {
    let tarball = work.join("root.tar");
    let mut command = tools::command_tied_to_us(MMDEBSTRAP);
    command.args([
        "--variant=minbase",
        "--architectures=riscv64",
        "--format=tar",
        "--verbose",
    ]);
    command.arg(format!("--include={}", packages(options).join(",")));
    command.arg("--aptopt=APT::Install-Recommends \"false\"");
    command.arg("--aptopt=Acquire::Languages \"none\"");
    // mmdebstrap does not read the machine's apt configuration, in which a site's proxy stands.
    for (option, value) in apt.proxies()? {
        command.arg(format!("--aptopt={option} \"{value}\""));
    }
    for pattern in LEFT_OUT_FILES {
        command.arg(format!("--dpkgopt=path-exclude={pattern}"));
    }
    for directory in LEFT_OUT_DRIVERS {
        command.arg(format!(
            "--dpkgopt=path-exclude=/usr/lib/modules/*/kernel/{directory}/*"
        ));
    }
    // A hook with a space in it is run as `sh -c HOOK exec ROOT`.
    command.arg(format!("--essential-hook={BEFORE_PACKAGES}"));
    command.arg(format!("--customize-hook={}", customize_hook()));
    command.arg(SUITE).arg(&tarball).arg(archive.source_line(SUITE));

    // The initramfs is postponed: the kernel's installation and a trigger would each make one, and
    // AFTER_PACKAGES makes it once.
    command.env("INITRD", "No");

    let log = work.join("install.log");
    let mut count = InstallCount::default();
    tools::watch(&mut command, "installing Debian", &log, || {
        count.read(&fs::read(&log).unwrap_or_default());
        report(Progress {
            stage: Stage::Install,
            done: count.done,
            total: count.total,
            unit: Unit::Packages,
        });
    })?;
    Ok(tarball)
}

/// The hook after the packages, with the test script that it is to put in place.
fn customize_hook() -> String {
    const MARK: &str = "LOCKSTEP_FSYNC_CHECK";
    assert!(
        !FSYNC_CHECK.contains(MARK),
        "the script may not contain the end of its here-document"
    );
    format!(
        "{AFTER_PACKAGES}\n\
         cat >\"$root/usr/local/bin/lockstep-fsync-check\" <<'{MARK}'\n\
         {FSYNC_CHECK}{MARK}\n\
         chmod 755 \"$root/usr/local/bin/lockstep-fsync-check\"\n"
    )
}

/// How many packages are unpacked and set up, by what dpkg has printed so far.
#[derive(Default)]
struct InstallCount {
    read_bytes: usize,
    done: u64,
    total: u64,
}

impl InstallCount {
    fn read(&mut self, log: &[u8]) {
        // Only whole lines are read; the rest of the last one comes with the next look.
        let Some(new) = log.get(self.read_bytes..) else {
            return;
        };
        let end = new
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        self.read_bytes += end;
        for line in String::from_utf8_lossy(&new[..end]).lines() {
            // Unpacking is half of a package's work. dpkg unpacks the essential packages a second time.
            if line.starts_with("Unpacking ") || line.starts_with("Setting up ") {
                self.done += 1;
            } else if let Some((_, rest)) = line.split_once(" upgraded, ") {
                let newly = rest.split(' ').next().and_then(|count| count.parse::<u64>().ok());
                self.total += 2 * newly.unwrap_or_default();
            }
        }
        self.total = self.total.max(self.done);
    }
}

/// Takes the kernel, and the files that belong to it, out of the tarball.
fn write_boot_files(tarball: &Path, work: &Path, output: &Path) -> Result<(), ImageError> {
    const PACKAGE: &str = "linux-image-riscv64";
    let taken = work.join("kernel");
    fs::create_dir(&taken).map_err(ImageError::file("create", &taken))?;
    let mut command = tools::command(TAR);
    command
        .arg("-C")
        .arg(&taken)
        .arg("-xf")
        .arg(tarball)
        .args(["./boot", "./usr/lib/modules"]);
    tools::run(&mut command, "copying the kernel")?;
    boot_files::write_kernel(&taken.join("boot"), PACKAGE, &output.join(KERNEL))?;
    boot_files::write_plain_initramfs(&taken.join("boot"), &output.join(DEBIAN_INITRD))?;
    let modules = boot_files::only_entry(&taken.join("usr/lib/modules"), "", PACKAGE)?;
    let modules = KernelModules::scan(&modules, PACKAGE)?.in_load_order(&INIT_MODULES)?;
    let busybox = work.join(BUSYBOX_PACKAGE).join("usr/bin/busybox");
    let busybox = fs::read(&busybox).map_err(ImageError::file("read", &busybox))?;
    boot_files::write_initramfs(&initramfs(modules, busybox), &output.join(INITRD))
}

/// The tree of our own initramfs.
fn initramfs(modules: Vec<Module>, busybox: Vec<u8>) -> Tree {
    let mut tree = Tree::default();
    for directory in ["dev", "proc", "root", "sys"] {
        tree.insert_directory(directory);
    }
    cpio::insert_console(&mut tree);
    tree.insert_file("init", 0o755, INIT);
    tree.insert_file("bin/busybox", 0o755, busybox);
    for applet in INIT_APPLETS {
        tree.insert(&format!("bin/{applet}"), Node::Symlink("busybox".to_owned()));
    }
    let names: String = modules
        .iter()
        .map(|module| format!("{}\n", module.name))
        .collect();
    tree.insert_file("modules/list", 0o644, names);
    for Module { name, data } in modules {
        tree.insert_file(&format!("modules/{name}.ko"), 0o644, data);
    }
    tree
}

/// Unpacks the tarball and makes a filesystem of it, with the owners that the tarball names.
fn write_disk(tarball: &Path, bytes: u64, work: &Path, disk: &Path, is_root: bool) -> Result<(), ImageError> {
    const SCRIPT: &str = r#"set -e
        mkdir "$2"
        # The directory of the root is readable by all; mkdir alone leaves that to the umask.
        chmod 755 "$2"
        tar -C "$2" --numeric-owner --xattrs --xattrs-include='*' -xf "$1"
        mke2fs -q -F -t ext4 -L lockstep -m 1 -E lazy_itable_init=0,lazy_journal_init=0 -d "$2" "$3" "$4"
        rm -rf "$2""#;
    // Only a pretended root can own files as others; both steps must happen under the same pretence.
    let mut command = tools::command(if is_root { tools::SH } else { FAKEROOT });
    if !is_root {
        command.arg(tools::SH.program);
    }
    command
        .args(["-c", SCRIPT, "sh"])
        .arg(tarball)
        .arg(work.join("root"))
        .arg(disk);
    command.arg(format!("{}M", bytes >> 20));
    tools::run(&mut command, "writing the disk").map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_whole_lines_of_the_log() {
        let mut count = InstallCount::default();
        count.read(b"0 upgraded, 3 newly installed, 0 to remove\nUnpacking a (1) ...\nUnpack");
        assert_eq!((count.done, count.total), (1, 6));
        count.read(b"0 upgraded, 3 newly installed, 0 to remove\nUnpacking a (1) ...\nUnpacking b (1) ...\n");
        assert_eq!((count.done, count.total), (2, 6));
    }

    #[test]
    fn disk_that_cannot_hold_debian_is_refused() {
        for disk_bytes in [0, 1 << 20, (2 << 30) + 1] {
            let options = DebianOptions {
                disk_bytes,
                ..DebianOptions::default()
            };
            assert!(matches!(
                build_debian(&options, &mut |_| {}),
                Err(ImageError::Option(_))
            ));
        }
    }

    #[test]
    fn scripts_of_the_guest_are_valid_shell() {
        for (name, script) in [
            ("debian init", INIT.to_owned()),
            ("before", BEFORE_PACKAGES.to_owned()),
            ("after", customize_hook()),
            ("init", include_str!("guest/init.sh").to_owned()),
            ("dhcp", include_str!("guest/dhcp.sh").to_owned()),
            ("redis", include_str!("guest/redis.sh").to_owned()),
        ] {
            let mut command = tools::command(tools::SH);
            tools::run(command.args(["-n", "-c", &script]), name).unwrap();
        }
    }

    #[test]
    fn fsync_check_verifies_what_it_wrote_and_finds_damage() {
        let directory = std::env::temp_dir().join(format!("lockstep-fsync-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        let run = |arguments: &[&str]| {
            let mut command = tools::command(tools::SH);
            command
                .args(["-c", FSYNC_CHECK, "lockstep-fsync-check"])
                .args(arguments)
                .arg(&directory);
            tools::run(&mut command, "checking")
        };
        let written = run(&["write", "3"]).unwrap() + &run(&["write", "2"]).unwrap();
        let numbers: Vec<&str> = written
            .lines()
            .filter_map(|line| line.split(' ').nth(1))
            .collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5"]);
        assert_eq!(run(&["verify"]).unwrap(), "verified 5 files, 0 different\n");
        fs::write(directory.join("4"), "damage").unwrap();
        let complaint = run(&["verify"]).unwrap_err().to_string();
        fs::remove_dir_all(&directory).unwrap();
        assert!(
            complaint.ends_with("different 4\nverified 4 files, 1 different"),
            "{complaint}"
        );
    }
}
