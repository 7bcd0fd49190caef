//! What a VM that boots takes from this host beside its images: the boot loader behind the word `uboot`, and
//! the texts for cloud-init.
//!
//! `vm` calls [`ready`] before a process that boots a guest, or may, enters the sandbox: the boot loader may
//! have to be fetched first. Commands that only look at a machine, such as `replay`, need neither.

use std::path::{Path, PathBuf};

use ::image::U_BOOT_PATHS;
use anyhow::{Context, Result, anyhow};
use cloud_init::CloudInit;
use host::spec::FIRMWARE_PATHS;

use crate::vm_file::{FIRMWARE_UBOOT, VmFile};
use crate::{image, usage, values};

/// The machine with what was meant by its words. `goes_on`: its images come from elsewhere, and no boot
/// loader is needed.
///
/// # Errors
/// A file for cloud-init is of no use, or there is no boot loader.
pub fn ready(mut file: VmFile, goes_on: bool) -> Result<VmFile> {
    if let Some(files) = &file.cloud_init {
        let (user_data, meta_data) = values::cloud_init(files)?;
        file.cloud_init_texts = Some(CloudInit::read(&user_data, meta_data.as_deref())?);
    }
    if file.firmware.as_deref() == Some(Path::new(FIRMWARE_UBOOT)) && !goes_on {
        take_u_boot(&mut file)?;
    }
    Ok(file)
}

/// Puts U-Boot in the place of the kernel.
fn take_u_boot(file: &mut VmFile) -> Result<()> {
    let given = [
        ("kernel", file.kernel.is_some()),
        ("initrd", file.initrd.is_some()),
        ("append", file.append.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(_, is_given)| *is_given) {
        let why = "with `--firmware uboot` kernel, initrd and command line come from the disk";
        return Err(usage::mark(anyhow!(
            "{why}; leave `--{name}` out (or the line of VM.toml)"
        )));
    }
    let first_of = |paths: &[&str]| paths.iter().map(PathBuf::from).find(|path| path.exists());
    match first_of(&U_BOOT_PATHS) {
        Some(u_boot) if first_of(&FIRMWARE_PATHS).is_some() => {
            file.firmware = None;
            file.kernel = Some(u_boot);
        }
        _ => {
            let fetched = image::boot_loader(false).context(
                "this host has not both U-Boot and OpenSBI (Debian's packages u-boot-qemu and opensbi), and \
                 they cannot be fetched",
            )?;
            file.firmware = Some(fetched.firmware);
            file.kernel = Some(fetched.u_boot);
        }
    }
    Ok(())
}
