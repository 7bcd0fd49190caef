//! The boot loader: Debian's U-Boot for the board, and the OpenSBI that starts it, for disks that boot by
//! themselves.
//!
//! `cli` calls [`build_boot_loader`] for `lockstep image uboot`, and for `--firmware uboot` where the host
//! has no U-Boot of its own ([`U_BOOT_PATHS`]); `cache` has the result, or has it fetched here. Both files
//! are as Debian ships them. Nothing is built, and no script of the packages runs.

use std::fs;
use std::path::{Path, PathBuf};

use super::SUITE;
use super::apt::Apt;
use super::boot_files::{self, FIRMWARE, FIRMWARE_PACKAGE};
use super::cache::{Cache, Key};
use super::error::ImageError;
use super::mirror::Archive;
use super::progress::{Progress, Report, Stage};
use super::tools::{self, APT_GET, DPKG_DEB};

/// Where distributions put the U-Boot that OpenSBI starts in S-mode on the board.
pub const U_BOOT_PATHS: [&str; 1] = ["/usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin"];

/// Version of this builder, raised when what it takes of the packages changes.
const BUILDER_VERSION: u32 = 1;

/// The package with U-Boot, and the path of the file in it.
const U_BOOT_PACKAGE: &str = "u-boot-qemu";
const U_BOOT_PATH: &str = "usr/lib/u-boot/qemu-riscv64_smode/u-boot.bin";

/// Name of the file of U-Boot in the cache.
const U_BOOT: &str = "u-boot.bin";

/// The options of a boot loader.
#[derive(Clone, Debug, Default)]
pub struct BootLoaderOptions {
    /// Fetch even if the cache has it.
    pub rebuild: bool,
    /// Directory in which images are kept; the user's cache if absent.
    pub cache: Option<Cache>,
    /// Address of the Debian mirror; the mirror of the machine's apt configuration if absent.
    pub mirror: Option<String>,
}

/// A boot loader. The files belong to the cache: read them, never write them.
#[derive(Clone, Debug)]
pub struct BootLoader {
    /// OpenSBI's `fw_dynamic.bin`.
    pub firmware: PathBuf,
    /// U-Boot for S-mode, flat code that takes the place of a kernel.
    pub u_boot: PathBuf,
}

/// Fetches the boot loader, or finds it in the cache.
pub fn build_boot_loader(
    options: &BootLoaderOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<BootLoader, ImageError> {
    let cache = options.cache.clone().map_or_else(Cache::of_user, Ok)?;
    let build = |output: &Path, report: Report<'_>| {
        tools::require(&[APT_GET, DPKG_DEB])?;
        let archive = Archive::of_this_machine(options.mirror.as_deref())?;
        build(&cache, &archive, output, report)
    };
    let key = Key::new("uboot", BUILDER_VERSION)
        .with(SUITE.as_bytes())
        .with_all(options.mirror.as_slice());
    let directory = cache.find_or_build(&key, options.rebuild, progress, build)?;
    Ok(BootLoader {
        firmware: directory.join(FIRMWARE),
        u_boot: directory.join(U_BOOT),
    })
}

fn build(cache: &Cache, archive: &Archive, output: &Path, report: Report<'_>) -> Result<(), ImageError> {
    let packages = [U_BOOT_PACKAGE, FIRMWARE_PACKAGE].map(str::to_owned);
    let apt = Apt::prepare(&cache.root().join("apt"), archive, &packages)?;
    apt.update(report)?;
    let debs = apt.download(&packages, report)?;
    report(Progress::begin(Stage::Unpack));
    let work = output.join("work");
    for deb in debs.iter().filter(|deb| packages.contains(&deb.package)) {
        apt.unpack(deb, &work)?;
    }
    boot_files::copy_firmware(&work, &output.join(FIRMWARE))?;
    let u_boot = work.join(U_BOOT_PATH);
    fs::copy(&u_boot, output.join(U_BOOT)).map_err(ImageError::file("copy", &u_boot))?;
    fs::remove_dir_all(&work).map_err(ImageError::file("remove", &work))
}
