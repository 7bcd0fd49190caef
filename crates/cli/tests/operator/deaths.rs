//! The death of a primary's process: what its host tells the backup, and what then is not waited for.
//!
//! Where a notice must shorten the takeover the timeout is so long that a test without one would not end.

use std::os::unix::process::CommandExt;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, kill_process_group, pidfd_open};

use super::*;

/// A timeout that no test could wait for.
const FOR_EVER_MS: &str = "60000";
const LONG_MS: &str = "3000";

impl Site {
    /// A pair with this timeout, each side with flags of its own, whose primary leads a process group.
    fn pair_with(&self, timeout_ms: &str, of_primary: &[&str], of_backup: &[&str]) -> (Replica, Replica) {
        let half = |role: &str, address: &str, flags: &[&str]| {
            let mut half = self.half_within(role, address, timeout_ms);
            half.arg("--events")
                .arg(self.path(role))
                .args(flags)
                .process_group(0);
            Replica::start(&mut half)
        };
        let mut backup = half("backup", "127.0.0.1:0", of_backup);
        let line = backup.says("waiting for the primary on");
        let mut primary = half("primary", line.rsplit(' ').next().unwrap(), of_primary);
        primary.says("paired with");
        primary.echoes(b'a');
        (primary, backup)
    }

    /// Waits until the primary's watcher keeps a notice, and gives the watcher.
    fn watcher(&self, primary: &mut Replica) -> Pid {
        loop {
            let watched = self.events("primary").into_iter().find_map(|it| match it {
                Happening::Watched { watcher } => Some(watcher),
                _ => None,
            });
            if let Some(watcher) = watched {
                return Pid::from_raw(i32::try_from(watcher).unwrap()).unwrap();
            }
            primary.echoes(b'w');
        }
    }

    /// Did the backup, which has ended, hear that the primary's process had ended? And how long after its
    /// last sign of life did the backup go live?
    fn takeover(&self) -> (bool, f64) {
        let events = self.events("backup");
        let told = |it: &Happening| matches!(it, Happening::PeerEnded { .. });
        let live = events.iter().find_map(|it| match it {
            Happening::GoLive { after_ms, .. } => Some(*after_ms),
            _ => None,
        });
        (events.iter().any(told), live.unwrap())
    }
}

/// Waits until a process has ended.
fn wait_for_the_end(process: &OwnedFd) {
    poll(&mut [PollFd::new(process, PollFlags::IN)], None).unwrap();
}

fn goes_on(backup: &mut Replica) {
    backup.says("this side is live, epoch 2");
    backup.echoes(b'b');
    backup.types(b"o");
    backup.ends_well();
}

#[test]
fn a_primary_that_dies_is_known_to_be_dead_however_it_dies() {
    for signals in [
        &[Signal::KILL][..],
        &[Signal::ABORT],
        &[Signal::STOP, Signal::KILL],
    ] {
        let site = Site::new();
        let (mut primary, mut backup) = site.pair_with(FOR_EVER_MS, &[], &[]);
        let watcher = pidfd_open(site.watcher(&mut primary), PidfdFlags::empty()).unwrap();
        for &signal in signals {
            primary.signal(signal);
        }
        backup.says("the primary's host says that the process has ended");
        goes_on(&mut backup);
        let (told, after_ms) = site.takeover();
        assert!(told && after_ms < 30_000.0, "{signals:?}: {after_ms} ms");
        wait_for_the_end(&watcher);
    }
}

#[test]
fn killing_the_primarys_process_group_does_not_kill_its_watcher() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair_with(FOR_EVER_MS, &[], &[]);
    site.watcher(&mut primary);
    kill_process_group(Pid::from_child(&primary.child), Signal::KILL).unwrap();
    goes_on(&mut backup);
    assert!(site.takeover().0);
}

#[test]
fn without_a_key_a_death_is_told_of_as_well() {
    let site = Site::new();
    let half = |role: &str, address: &str| {
        let mut half = site.lockstep(role);
        half.args(["--insecure", "--timeout-ms", FOR_EVER_MS, "--backup", address]);
        half.arg("--arbiter").arg(site.path("arbiter"));
        half.arg("--events").arg(site.path(role));
        Replica::start(&mut half)
    };
    let mut backup = half("backup", "127.0.0.1:0");
    let line = backup.says("waiting for the primary on");
    let mut primary = half("primary", line.rsplit(' ').next().unwrap());
    primary.echoes(b'a');
    site.watcher(&mut primary);
    primary.signal(Signal::KILL);
    goes_on(&mut backup);
    assert!(site.takeover().0);
}

#[test]
fn a_primary_that_stands_still_is_not_told_of_as_dead() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair_with(LONG_MS, &[], &[]);
    let watcher = pidfd_open(site.watcher(&mut primary), PidfdFlags::empty()).unwrap();
    primary.signal(Signal::STOP);
    backup.says("this side is live, epoch 2");
    primary.signal(Signal::CONT);
    let (status, said) = primary.ends();
    assert_eq!(status.code(), Some(3), "{said}");
    wait_for_the_end(&watcher);
    backup.types(b"o");
    backup.ends_well();
    let (told, after_ms) = site.takeover();
    assert!(!told && after_ms >= 2_900.0, "{after_ms} ms");
}

#[test]
fn a_watcher_that_is_killed_first_is_told_of_and_costs_only_the_timeout() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair_with(LONG_MS, &[], &[]);
    let watcher = site.watcher(&mut primary);
    rustix::process::kill_process(watcher, Signal::KILL).unwrap();
    let line = primary.says("nobody tells the backup any more if this process dies");
    assert!(
        line.contains("its watcher has ended: signal: 9 (SIGKILL)"),
        "{line}"
    );
    assert!(
        !Path::new(&format!("/proc/{}", watcher.as_raw_nonzero())).exists(),
        "no zombie"
    );
    primary.echoes(b'c');
    primary.signal(Signal::KILL);
    goes_on(&mut backup);
    let (told, after_ms) = site.takeover();
    assert!(!told && after_ms >= 2_000.0, "{after_ms} ms");
}

#[test]
fn either_side_can_have_deaths_found_out_by_the_timeout_alone() {
    let flag = &["--timeout-only"][..];
    for (of_primary, of_backup) in [(flag, &[][..]), (&[][..], flag)] {
        let site = Site::new();
        let (mut primary, mut backup) = site.pair_with(LONG_MS, of_primary, of_backup);
        if of_primary.is_empty() {
            site.watcher(&mut primary);
        }
        primary.signal(Signal::KILL);
        goes_on(&mut backup);
        let (told, after_ms) = site.takeover();
        assert!(!told && after_ms >= 2_000.0, "{after_ms} ms");
        let watched = |it: &Happening| matches!(it, Happening::Watched { .. });
        assert_eq!(site.events("primary").iter().any(watched), of_primary.is_empty());
    }
}

#[test]
fn a_watcher_ends_with_the_pair_and_is_not_missed() {
    // The primary leaves; the guest ends; the backup dies.
    for end in ["leave", "off", "alone"] {
        let site = Site::new();
        let (mut primary, backup) = site.pair_with(LONG_MS, &[], &[]);
        let number = site.watcher(&mut primary);
        let watcher = pidfd_open(number, PidfdFlags::empty()).unwrap();
        match end {
            "leave" => primary.signal(Signal::TERM),
            "off" => primary.types(b"o"),
            _ => {
                backup.signal(Signal::KILL);
                primary.says("the VM goes on here without a backup");
                // Another backup may come, so the watcher stays until the VM's own end.
                primary.types(b"o");
            }
        }
        wait_for_the_end(&watcher);
        let said = primary.ends_well();
        assert!(!said.contains("nobody tells the backup"), "{end}: {said}");
    }
}

#[test]
fn a_watcher_that_cannot_be_started_is_told_of_and_not_needed() {
    let mount = ["-r", "-m", "mount", "-t", "tmpfs", "none", "/proc"];
    if !Command::new("unshare")
        .args(mount)
        .status()
        .is_ok_and(|status| status.success())
    {
        // This host lets no program see files of its own.
        return;
    }
    // The limit of processes is reached.
    let site = Site::new();
    let (mut backup, address) = site.backup();
    let mut half = site.half("primary", &address);
    // Without /proc there is no program to start: a new mount lies over it, for the primary alone.
    let program = half.get_program().to_owned();
    let arguments: Vec<_> = half.get_args().map(ToOwned::to_owned).collect();
    let script = "mount -t tmpfs none /proc && exec \"$0\" \"$@\"";
    let mut unshare = Command::new("unshare");
    unshare
        .args(["-r", "-m", "sh", "-c", script])
        .arg(program)
        .args(arguments);
    unshare
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    half = unshare;
    let mut primary = Replica::start(&mut half);
    primary.says("no watcher can be started");
    primary.echoes(b'a');
    primary.types(b"o");
    primary.ends_well();
    backup.ends_well();
}
