//! Which host this is, and which of its boots.
//!
//! A lock or a claim says both of the process that wrote it, so that another process can tell whether the
//! writer may still be alive.

use std::fs;

/// The name of this host, as `hostname` prints it.
#[must_use]
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The number of this host's boot, another one after each start. Empty where the kernel does not say.
#[must_use]
pub fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id")
        .unwrap_or_default()
        .trim()
        .to_owned()
}
