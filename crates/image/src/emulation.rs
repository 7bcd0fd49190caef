//! Whether this machine runs riscv64 programs: the kernel's binfmt_misc with QEMU's user-mode emulation
//! behind it.
//!
//! Debian's packages register the emulator at boot, through systemd. In a container, or on a machine without
//! systemd, that has not happened; root can register it here, which lasts until the next boot and installs
//! nothing.
//!
//! `debian` asks before it builds, as Debian's own installation scripts run under emulation; an appliance
//! runs nothing of the guest and needs no emulator. Nothing may be installed here, and nothing changed that
//! the emulator's package would not do by itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::error::ImageError;
use super::tools::Tool;

/// File in which the kernel shows what is registered.
const REGISTERED: &str = "/proc/sys/fs/binfmt_misc/qemu-riscv64";

/// File into which a line is written to register an emulator.
const REGISTER: &str = "/proc/sys/fs/binfmt_misc/register";

/// File of Debian's emulator packages that holds the line to register.
const CONFIGURATION: &str = "/usr/lib/binfmt.d/qemu-riscv64.conf";

/// Debian's emulator.
const EMULATOR: Tool = Tool::new("qemu-riscv64-static", "qemu-user-static");

/// Packages that have to be installed before [`require`] can succeed, to be named together with other missing
/// programs.
pub fn needed() -> Option<Tool> {
    let is_here = is_enabled(&state()) || Path::new(CONFIGURATION).exists();
    (!is_here).then_some(EMULATOR)
}

/// Makes sure that riscv64 programs run, or says why not.
pub fn require(is_root: bool) -> Result<(), ImageError> {
    if is_enabled(&state()) {
        return Ok(());
    }
    let missing = |reason: String| ImageError::NoEmulation { reason };
    if !Path::new(CONFIGURATION).exists() {
        return Err(missing("QEMU's user-mode emulator is not installed".to_owned()));
    }
    if !is_root {
        return Err(missing(
            "the emulator is installed but not registered with the kernel".to_owned(),
        ));
    }
    register().map_err(|error| missing(format!("the emulator could not be registered ({error})")))
}

/// What the kernel says of the emulator; an empty text if there is none.
fn state() -> String {
    fs::read_to_string(REGISTERED).unwrap_or_default()
}

/// Whether the emulator is registered with the flag F, which opens it then, so that it is found from inside a
/// chroot. Without that flag it is not used.
fn is_enabled(state: &str) -> bool {
    let mut lines = state.lines();
    lines.next() == Some("enabled")
        && lines.any(|line| {
            line.strip_prefix("flags: ")
                .is_some_and(|flags| flags.contains('F'))
        })
}

fn register() -> std::io::Result<()> {
    if !Path::new(REGISTER).exists() {
        let point = Path::new(REGISTER).parent().unwrap_or(Path::new("/"));
        let mounted = Command::new("mount")
            .args(["-t", "binfmt_misc", "binfmt_misc"])
            .arg(point)
            .status()?;
        if !mounted.success() {
            return Err(std::io::Error::other("binfmt_misc cannot be mounted"));
        }
    }
    let configuration = fs::read_to_string(CONFIGURATION)?;
    for line in configuration.lines().filter(|line| line.starts_with(':')) {
        fs::write(REGISTER, line)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emulator_counts_only_when_enabled_and_usable_in_a_chroot() {
        let state =
            |first: &str, flags: &str| format!("{first}\ninterpreter /usr/bin/x\nflags: {flags}\noffset 0\n");
        assert!(is_enabled(&state("enabled", "POF")));
        assert!(!is_enabled(&state("disabled", "POF")));
        assert!(!is_enabled(&state("enabled", "PO")));
        assert!(!is_enabled(""));
    }
}
