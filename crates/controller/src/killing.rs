//! A process of a VM is killed, as if its host had died, because somebody tests what becomes of the VM. It is
//! the only thing that an agent ends by force.
//!
//! A process number alone says nothing, since another process may have it by now: what is killed has answered
//! for the VM while a handle of it was held.

use std::path::Path;

use caller::{Found, PATIENCE};
use control::Status;
use messages::vm_name::VmName;
use report::{RoleWord, StateWord};
use rustix::fd::OwnedFd;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Kills the process that is the owner of this epoch of the VM, or its backup, and gives its number.
///
/// # Errors
/// There is none here, or the kernel does not allow it; the sentence says so.
pub fn kill(sockets: &Path, vm: &VmName, epoch: u64, is_owner: bool) -> Result<u32, String> {
    let is_meant = |status: &Status| {
        // A VM that has given its backup up meanwhile would not outlive its owner.
        let has_role = if is_owner {
            status.is_live() && status.protection.state == StateWord::Protected
        } else {
            status.role == Some(RoleWord::Backup)
        };
        status.epoch == epoch && has_role
    };
    for found in caller::find(sockets, Some(vm.as_str())) {
        let Some(pid) = told(&found).filter(is_meant).map(|status| status.pid) else {
            continue;
        };
        let process = handle(pid).ok_or_else(|| format!("process {pid} has ended"))?;
        if told(&found).filter(is_meant).map(|status| status.pid) != Some(pid) {
            continue;
        }
        // A watcher that outlived it by a moment would tell of its death, which a dead host does not do.
        let watchers: Vec<OwnedFd> = children(pid).into_iter().filter_map(handle).collect();
        for watcher in &watchers {
            // It may have ended just now.
            let _ = pidfd_send_signal(watcher, Signal::KILL);
        }
        return match pidfd_send_signal(&process, Signal::KILL) {
            Ok(()) => Ok(pid),
            Err(error) => Err(format!("process {pid} cannot be killed ({error})")),
        };
    }
    Err(format!("no process here has epoch {epoch} of {vm} any more"))
}

fn told(found: &Found) -> Option<Status> {
    found.status(PATIENCE).ok().flatten()
}

fn handle(pid: u32) -> Option<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Numbers of the processes that this one has started and that live.
fn children(parent: u32) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let child = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
        (parent_of(&stat)? == parent).then_some(pid)
    };
    entries.filter_map(child).collect()
}

/// The number of the parent in the text of `/proc/PID/stat`. The name before it may have any letters.
fn parent_of(stat: &str) -> Option<u32> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_parent_is_read_whatever_the_name_is() {
        assert_eq!(parent_of("7 (a) b (c)) S 42 7 7"), Some(42));
        assert_eq!(parent_of("7"), None);
        assert_eq!(parent_of("7 (a) S"), None);
    }

    #[test]
    fn a_child_is_found_as_long_as_it_lives() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        assert!(children(std::process::id()).contains(&child.id()));
        drop(child.stdin.take());
        let pid = child.id();
        child.wait().unwrap();
        assert!(!children(std::process::id()).contains(&pid));
    }

    #[test]
    fn where_no_process_answers_nothing_is_killed() {
        let directory = tempfile::tempdir().unwrap();
        let vm = VmName::new("web").unwrap();
        let why = kill(directory.path(), &vm, 3, true).unwrap_err();
        assert_eq!(why, "no process here has epoch 3 of web any more");
    }
}
