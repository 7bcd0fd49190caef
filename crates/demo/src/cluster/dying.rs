//! How a host dies: all its processes at once, so that none of them can tell of it. And how it is known that
//! they are gone, though only the agent is a child of the demo.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A killed process is gone after this: the kernel has its memory to free.
const PATIENCE: Duration = Duration::from_secs(20);

/// Processes that one process has started, and those that these have started, as they were at one moment.
pub struct Descendants(Vec<OwnedFd>);

impl Descendants {
    /// Those of the process of this number.
    pub fn of(process: u32) -> Result<Descendants> {
        let parents = parents().context("cannot read /proc")?;
        let mut found = vec![process];
        let mut next = 0;
        while let Some(parent) = found.get(next).copied() {
            found.extend(
                parents
                    .iter()
                    .filter(|(_, of)| **of == parent)
                    .map(|(pid, _)| *pid),
            );
            next += 1;
        }
        let pids = found
            .iter()
            .skip(1)
            .filter_map(|&pid| Pid::from_raw(i32::try_from(pid).ok()?));
        // One that has ended meanwhile need not be killed.
        let open = pids.filter_map(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Descendants(open.collect()))
    }

    /// Sends SIGKILL to each, and first to those that the others have started: a watcher that outlives its
    /// primary tells of the death, which nobody can whose host has died.
    pub fn kill(&self) {
        for process in self.0.iter().rev() {
            // It may have ended just now.
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
    }

    /// Waits until all are gone.
    ///
    /// # Errors
    /// One of them is not after a long time.
    pub fn wait(&self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for process in &self.0 {
            let left = until.saturating_duration_since(Instant::now());
            let left = Timespec::try_from(left).context("the time cannot be told to the kernel")?;
            let mut waited = [PollFd::new(process, PollFlags::IN)];
            if poll(&mut waited, Some(&left)).context("cannot wait for a process")? == 0 {
                bail!(
                    "a process that was killed has not ended within {} s",
                    PATIENCE.as_secs()
                );
            }
        }
        Ok(())
    }
}

/// The parent of each process of this host.
fn parents() -> std::io::Result<BTreeMap<u32, u32>> {
    let entries = fs::read_dir("/proc")?.flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let parents = numbers.filter_map(|pid| {
        // A process may end meanwhile.
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        Some((pid, parent(&stat)?))
    });
    Ok(parents.collect())
}

/// The parent in a line such as `7 (a name) S 3 7 ..`, where the name may have any sign.
fn parent(stat: &str) -> Option<u32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent("7 (lockstep) S 3 7 7 0"), Some(3));
        assert_eq!(parent("7 (a ) S 9 b) R 3 7"), Some(3));
        assert_eq!(parent(""), None);
    }

    #[test]
    fn a_process_dies_with_those_that_it_has_started() {
        // A process that starts another one and tells that it runs.
        let mut child = Command::new("sh")
            .args(["-c", "sleep 600 & echo; wait"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
        let all = Descendants::of(child.id()).unwrap();
        assert_eq!(all.0.len(), 1);
        let own = Descendants::of(std::process::id()).unwrap();
        assert!(own.0.len() >= 2, "the test has started both");
        all.kill();
        child.kill().unwrap();
        child.wait().unwrap();
        all.wait().unwrap();
    }
}
