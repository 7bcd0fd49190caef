//! `Watch`: who tells a process' backup when the process has ended, the sockets through which that is told,
//! and what the end of the process proves about its disks.
//!
//! `pair` and `run` start the watcher (`os::watcher`) before the sandbox is entered; `World` leaves the
//! node's notices with it, one for each link, hears what it says, and dismisses it when there is nothing more
//! to tell. A notice must come from where the link's heartbeats come from, so each link has a socket of which
//! the watcher has a copy. These sockets are made before the sandbox too: in it no thread may make one.
//!
//! A pair without a watcher is as safe and slower: the backup then waits for the end of the lease. So nothing
//! here may end a replica.

use std::ffi::OsString;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use link::{Link, datagrams_to};
use os::poll::{Interest, Poller, Token};
use os::watcher::{Said, Watcher};
use replica::PeerId;
use report::{Happening, Reporter};
use rustix::net::getsockname;

use crate::limits::LINKS_MAX;

/// The watcher of this process, if it has one, and the sockets for heartbeats.
#[derive(Debug, Default)]
pub struct Watch {
    watcher: Option<Watcher>,
    /// Why there is no watcher though there should be one, until that is told.
    trouble: Option<String>,
    /// The sockets, each of which the watcher knows by its place here. The first [`LINKS_MAX`] are for
    /// whatever links are made; one more is of the link with which the process begins.
    mouths: Vec<Mouth>,
}

/// A socket for the heartbeats of one link at a time, of which the watcher has a copy.
#[derive(Debug)]
struct Mouth {
    socket: UdpSocket,
    /// Whose link uses the socket; `None`: it is free.
    peer: Option<PeerId>,
}

impl Watch {
    /// Makes the sockets for links to hosts with addresses of the kind of `peer`, and starts `program`, with
    /// its arguments, as the watcher of this process: in the first moments of the process. Without a program
    /// there is no watcher. `own`: the socket of the link with which the process begins, if that link has a
    /// socket of its own; no later link gets it, since it speaks from one address of this host.
    #[must_use]
    pub fn start(program: &[OsString], peer: SocketAddr, own: Option<UdpSocket>) -> Watch {
        let mut watch = Watch::default();
        let made = (0..LINKS_MAX).map(|_| datagrams_to(peer));
        let sockets: io::Result<Vec<UdpSocket>> = made.chain(own.map(Ok)).collect();
        match sockets {
            Ok(sockets) => {
                match start(program, &sockets) {
                    Ok(watcher) => watch.watcher = watcher,
                    Err(error) => watch.trouble = Some(format!("no watcher can be started: {error}")),
                }
                let mouths = sockets.into_iter().map(|socket| Mouth { socket, peer: None });
                watch.mouths.extend(mouths);
            }
            Err(error) => watch.trouble = Some(format!("no sockets for a watcher: {error}")),
        }
        watch
    }

    /// A socket for the heartbeats of one more link; `None`: all are in use, or there are none.
    #[must_use]
    pub fn socket(&self) -> Option<&UdpSocket> {
        let mut mouths = self.mouths.iter().take(LINKS_MAX);
        let free = mouths.find(|mouth| mouth.peer.is_none())?;
        Some(&free.socket)
    }

    /// A link to this peer is there. If its heartbeats go through one of the sockets here, no other link may
    /// use that one until the peer is forgotten.
    pub fn meet(&mut self, peer: PeerId, link: &Link) {
        let Ok(ours) = getsockname(link.heartbeats_fd()) else {
            return;
        };
        let uses = |mouth: &&mut Mouth| getsockname(&mouth.socket).is_ok_and(|address| address == ours);
        if let Some(mouth) = self.mouths.iter_mut().find(uses) {
            mouth.peer = Some(peer);
        }
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

    /// Leaves a notice for this peer with the watcher, sealed for the session of their link.
    pub fn leave(&mut self, peer: PeerId, sealed: &[u8]) {
        if let Some(number) = self.number(peer)
            && let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.leave(number, sealed)
        {
            // The watcher has ended, which `hear` tells.
            tracing::debug!("no notice left: {error}");
        }
    }

    /// There is nothing more to tell this peer, whose link is closed: another one may use its socket.
    pub fn forget(&mut self, peer: PeerId) {
        if let Some(number) = self.number(peer)
            && let Some(watcher) = &mut self.watcher
            && let Err(error) = watcher.forget(number)
        {
            tracing::debug!("no notice forgotten: {error}");
        }
        for mouth in self.mouths.iter_mut().filter(|mouth| mouth.peer == Some(peer)) {
            mouth.peer = None;
        }
    }

    /// The number by which the watcher knows the socket of the link to this peer.
    fn number(&self, peer: PeerId) -> Option<u8> {
        let index = self.mouths.iter().position(|mouth| mouth.peer == Some(peer))?;
        u8::try_from(index).ok()
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

fn start(program: &[OsString], sockets: &[UdpSocket]) -> io::Result<Option<Watcher>> {
    let Some((name, arguments)) = program.split_first() else {
        return Ok(None);
    };
    let mut command = Command::new(name);
    // `ps` and `pgrep` show this program by its name, and tell this process from the one it watches.
    command.arg0("lockstep").args(arguments);
    Watcher::start(command, sockets).map(Some)
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
    fn the_socket_of_the_first_link_is_for_no_later_one() {
        let anybody = ([127, 0, 0, 1], 0).into();
        let own = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = own.local_addr().unwrap();
        let mut watch = Watch::start(&[], anybody, Some(own));
        for number in 0..LINKS_MAX {
            assert_ne!(watch.socket().unwrap().local_addr().unwrap(), address);
            watch.mouths[number].peer = Some(PeerId(number as u32));
        }
        assert!(watch.socket().is_none());
        watch.forget(PeerId(0));
        assert!(watch.socket().is_some());
    }

    #[test]
    fn a_watcher_that_cannot_be_started_is_none() {
        let backup = ([127, 0, 0, 1], 1).into();
        let watch = Watch::start(&[], backup, None);
        assert!(!watch.is_there() && watch.trouble.is_none());
        assert_eq!(watch.mouths.len(), LINKS_MAX);
        let watch = Watch::start(&["/nowhere/at/all".into()], backup, None);
        assert!(!watch.is_there() && watch.trouble.is_some());
    }
}
