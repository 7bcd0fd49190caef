//! `Watch`: who tells the backup of a pair when the primary's process has ended, and what the end of this
//! process proves about its disks.
//!
//! `pair` starts the watcher (`os::watcher`) before the sandbox is entered; `World` leaves the node's notice
//! with it, hears what it says, and dismisses it when there is nothing more to tell. A pair without a watcher
//! is as safe and slower: the backup then waits for the end of the lease. So nothing here may end a replica.

use std::ffi::{OsStr, OsString};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use link::{Link, datagrams_to};
use os::poll::{Interest, Poller, Token};
use os::watcher::{Said, Watcher};
use report::{Happening, Reporter};

/// The watcher of this process, if it has one.
#[derive(Debug, Default)]
pub struct Watch {
    watcher: Option<Watcher>,
    /// Why there is no watcher though there should be one, until that is told.
    trouble: Option<String>,
    /// The socket through which both this process and its watcher speak to the backup.
    datagrams: Option<UdpSocket>,
}

impl Watch {
    /// Starts `program`, with its arguments, as the watcher of a primary whose backup is there: in the first
    /// moments of the primary's process. Without a program there is no watcher.
    #[must_use]
    pub fn start(program: &[OsString], backup: SocketAddr) -> Watch {
        let mut watch = Watch::default();
        let Some((name, arguments)) = program.split_first() else {
            return watch;
        };
        match start(name, arguments, backup) {
            Ok((watcher, datagrams)) => {
                watch.watcher = Some(watcher);
                watch.datagrams = Some(datagrams);
            }
            Err(error) => watch.trouble = Some(format!("no watcher can be started: {error}")),
        }
        watch
    }

    /// The socket for heartbeats of which the watcher has a copy.
    #[must_use]
    pub fn datagrams(&self) -> Option<&UdpSocket> {
        self.datagrams.as_ref()
    }

    /// Is there a watcher?
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.watcher.is_some()
    }

    /// Has the poller wait for what the watcher says, and tells if there is none.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn register(&mut self, poller: &Poller, token: Token, reporter: &mut Reporter) -> io::Result<()> {
        if let Some(reason) = self.trouble.take() {
            reporter.happened(Happening::Unwatched { reason });
        }
        match &self.watcher {
            Some(watcher) => poller.add(watcher, token, Interest::Read),
            None => Ok(()),
        }
    }

    /// Leaves the node's notice with the watcher, sealed for the session of this link.
    pub fn leave(&mut self, notice: &[u8], link: Option<&mut Link>) {
        if let (Some(watcher), Some(link)) = (&mut self.watcher, link)
            && let Err(error) = watcher.leave(&link.heartbeats().seal_last(notice))
        {
            // The watcher has ended, which `hear` tells.
            tracing::debug!("no notice left: {error}");
        }
    }

    /// Hears what the watcher says.
    ///
    /// # Errors
    /// The poller cannot wait for the watcher's end.
    pub fn hear(&mut self, poller: &Poller, token: Token, reporter: &mut Reporter) -> io::Result<()> {
        let Some(watcher) = &mut self.watcher else {
            return Ok(());
        };
        match watcher.hear() {
            Said::Nothing => {}
            Said::Kept => {
                let watcher = watcher.pid();
                reporter.happened(Happening::Watched { watcher });
            }
            Said::Ending => poller.add(watcher, token, Interest::Read)?,
            Said::Dismissed => self.watcher = None,
            Said::Gone(status) => {
                let how = status.map_or_else(|| "somehow".to_owned(), |status| status.to_string());
                let reason = format!("its watcher has ended: {how}");
                reporter.happened(Happening::Unwatched { reason });
                self.watcher = None;
            }
        }
        Ok(())
    }

    /// Has the watcher end: there is no backup any more, or it knows already how this process ends.
    pub fn dismiss(&mut self) {
        if let Some(watcher) = &mut self.watcher {
            watcher.dismiss();
        }
    }
}

fn start(name: &OsStr, arguments: &[OsString], backup: SocketAddr) -> io::Result<(Watcher, UdpSocket)> {
    let mut command = Command::new(name);
    // `ps` and `pgrep` show this program by its name, and tell this process from the one it watches.
    command.arg0("lockstep").args(arguments);
    let datagrams = datagrams_to(backup)?;
    Ok((Watcher::start(command, &datagrams)?, datagrams))
}

/// File systems on which a process ends no sooner than its writes do: a thread that writes a file there waits
/// in its kernel until the device has answered, and no signal ends that wait. On others, NFS above all, a
/// killed process leaves a write that its kernel still sends. docs/decisions/0088 has the reasons.
const SETTLES: [u64; 7] = [
    0xef53,      // ext2, ext3, ext4
    0x5846_5342, // xfs
    0x9123_683e, // btrfs
    0xf2f5_2010, // f2fs
    0x0102_1994, // tmpfs
    0x0116_1970, // gfs2
    0x7461_636f, // ocfs2
];

/// Is no write to this file under way any more once the process that wrote it has ended?
#[must_use]
pub fn settles_with_its_writer(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|system| {
        let kind = u64::from_ne_bytes(system.f_type.to_ne_bytes()) & 0xffff_ffff;
        SETTLES.contains(&kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_system_that_is_not_known_to_wait_for_its_writes_does_not_settle() {
        assert!(settles_with_its_writer(Path::new("/dev/shm")), "tmpfs");
        for other in ["/proc/self/stat", "/nowhere/at/all"] {
            assert!(!settles_with_its_writer(Path::new(other)), "{other}");
        }
    }

    #[test]
    fn a_watcher_that_cannot_be_started_is_none() {
        let backup = ([127, 0, 0, 1], 1).into();
        assert!(!Watch::start(&[], backup).is_there());
        let watch = Watch::start(&["/nowhere/at/all".into()], backup);
        assert!(!watch.is_there() && watch.trouble.is_some());
    }
}
