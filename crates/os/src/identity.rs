//! Which host this is, and which of its boots.
//!
//! The lock of a disk says both of the process that wrote it (`lock` of crate `disk`), so that another
//! process can tell whether it runs on the writer's host; and where two hosts do not share what they should
//! share, the sentence for the operator names the host. Two hosts may have the same name, so a match must
//! never count as proof that the writer is dead; and neither answer may reach the guest, which is the same on
//! all hosts.

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
