//! Which host this is, and which of its boots.
//!
//! The lock of a disk and the record of an arbiter say both of the process that wrote them (`lock` of crate
//! `disk`, `record` of crate `arbiter`), so that another process can tell whether it runs on the writer's
//! host; and where two hosts do not share what they should share, the sentence for the operator names the
//! host. Two hosts may have the same name, so a match must never count as proof that the writer is dead; and
//! neither answer may reach the guest, which is the same on all hosts.

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

/// The number that this host's installation was given, from `/etc/machine-id`; empty where there is none. A
/// copied disk image gives two hosts the same one.
#[must_use]
pub fn machine_id() -> String {
    let id = fs::read_to_string("/etc/machine-id").unwrap_or_default();
    let id = id.trim();
    // An image that is to get a number at its first start holds a word in its place.
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_id { id.to_owned() } else { String::new() }
}

/// When this process was started, in clock ticks since the host's boot; 0 where the kernel does not say.
#[must_use]
pub fn started() -> u64 {
    // Behind the name, which may hold anything, the 20th word is field 22 of proc_pid_stat(5).
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let word = stat
        .rsplit_once(')')
        .and_then(|(_, rest)| rest.split_whitespace().nth(19));
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The name of the user of this process, or the number of a user without one; for people.
#[must_use]
pub fn user_name() -> String {
    let number = nix::unistd::getuid();
    match nix::unistd::User::from_uid(number) {
        Ok(Some(user)) => user.name,
        _ => format!("user {number}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_when_it_was_started() {
        let uptime = fs::read_to_string("/proc/uptime").unwrap();
        let seconds: f64 = uptime.split_whitespace().next().unwrap().parse().unwrap();
        let ticks = rustix::param::clock_ticks_per_second() as f64;
        assert!(started() > 0);
        // The kernel prints hundredths, which a binary fraction is not exactly.
        let now = (seconds * ticks).round() as u64;
        assert!(started() <= now, "{} of {now}", started());
    }
}
