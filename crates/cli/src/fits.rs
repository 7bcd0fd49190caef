//! Whether flags and `VM.toml` describe the machine that a log or a snapshot is of, and what that machine is.
//!
//! Nothing here opens a file.

use anyhow::{Result, bail};
use host::{FirmwareSpec, VmSpec};
use replica::Header;
use report::amount;

use crate::log;
use crate::vm_file::VmFile;

/// Is what was given of the machine what `whose` header says? What is not given is left to that.
pub fn fits(whose: &str, file: &VmFile, spec: &VmSpec, header: &Header) -> Result<()> {
    let differs = |flag: &str, log: String, given: String| {
        bail!("{whose}'s machine has {log}, not {given}; leave `--{flag}` out (or the line of VM.toml)")
    };
    if file.memory.is_some() && spec.memory != header.memory {
        let [log, given] = [header.memory, spec.memory].map(amount::bytes);
        return differs("memory", format!("{log} of memory"), given);
    }
    if file
        .harts
        .is_some_and(|harts| harts as u64 != u64::from(header.harts))
    {
        return differs("harts", format!("{} harts", header.harts), spec.harts.to_string());
    }
    if file.append.is_some() && spec.append != header.command_line {
        let log = format!("the command line `{}`", header.command_line);
        return differs("append", log, format!("`{}`", spec.append));
    }
    if file.virtio.is_some() && spec.virtio != header.virtio {
        let [log, given] = [header.virtio, spec.virtio].map(|virtio| virtio.version().to_string());
        return differs("virtio", format!("version {log} of virtio-mmio"), given);
    }
    let disks = disks(file, spec);
    if disks != 0 && disks != header.disks.len() {
        let log = format!("{} disks", header.disks.len());
        return differs("disk", log, disks.to_string());
    }
    if !spec.nets.is_empty() && spec.nets.len() != header.nets.len() {
        let log = format!("{} network devices", header.nets.len());
        return differs("net", log, spec.nets.len().to_string());
    }
    let macs = spec.nets.iter().zip(&header.nets);
    if let Some((_, log)) = macs
        .into_iter()
        .find(|(given, log)| given.mac.is_some_and(|mac| mac != log.mac))
    {
        let log = format!("the Ethernet address {}", log::objects::hex(&log.mac));
        return differs("mac", log, file.mac.clone().unwrap_or_default());
    }
    Ok(())
}

/// How many disks were given, that for cloud-init included, whether its files were read or not.
fn disks(file: &VmFile, spec: &VmSpec) -> usize {
    spec.disks.len() + usize::from(file.cloud_init.is_some())
}

/// Makes `spec` that of the machine that the header of a snapshot names; its disks and networks must be
/// given, since only the operator knows where they lead.
pub fn adopt(file: &VmFile, spec: &mut VmSpec, header: &Header) -> Result<()> {
    fits("the snapshot", file, spec, header)?;
    for (what, flag, theirs, ours) in [
        ("disks", "disk FILE", header.disks.len(), disks(file, spec)),
        ("networks", "net NET", header.nets.len(), spec.nets.len()),
    ] {
        if theirs != ours {
            let both = format!("{theirs} in the snapshot, {ours} here");
            bail!("the number of {what} differs: {both}; give `--{flag}` for each");
        }
    }
    spec.memory = header.memory;
    spec.harts = usize::try_from(header.harts).unwrap_or(usize::MAX);
    spec.append.clone_from(&header.command_line);
    spec.virtio = header.virtio;
    // The snapshot has the images.
    spec.kernel = None;
    spec.initrd = None;
    spec.firmware = FirmwareSpec::None;
    Ok(())
}
