//! A watcher: a small process of its own that sends a datagram once the process which started it has ended.
//!
//! ```text
//!   watched process                                  watcher (the same program, `watch`)
//!   Watcher::start   -- socket pair, datagram socket, its own pidfd -->  gives up everything else
//!   Watcher::leave   -- a datagram ------------------------------------> keeps it, says that it does
//!   (ends, however)                                   its pidfd is readable: sends the datagram, ends
//!   Watcher::dismiss -- nothing more to tell --------------------------> ends
//! ```
//! A pidfd names one process, for as long as somebody holds it, and is readable once all threads of that
//! process have ended: docs/protocol.md ("Death notices") says what that proves. A watched process that
//! stands still, or is taken apart by a debugger, has not ended. The watcher has a session of its own and
//! nothing of the watched process but these three descriptors, so it holds up nobody who waits for a port, a
//! file, a terminal or the end of a pipe. It must never say anything before the end, nor outlive it for long.
//!
//! Nothing here knows what the datagram says.

use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, setsid};
use rustix::stdio::{stderr, stdin, stdout};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use crate::limits::{NOTICE_LEN_MAX, NOTICE_PAUSES};
use crate::sandbox::{self, Kind, Needs};
use crate::sys::descriptors::close_from;

/// What the watched process says when there is nothing more to tell; no datagram is so short.
const DISMISSED: [u8; 1] = [0];
/// What the watcher says for each datagram that it keeps.
const KEPT: [u8; 1] = [1];
/// The first descriptor that a watcher does not need: it has its socket as standard input, the socket for
/// datagrams as standard output, and the pidfd as standard error.
const NOT_NEEDED: u16 = 3;

/// The watcher of this process, as this process sees it.
#[derive(Debug)]
pub struct Watcher {
    child: Child,
    /// This end of the socket pair, readable when the watcher has something to say; `None` once the watcher
    /// has closed its end.
    socket: Option<OwnedFd>,
    /// The watcher's own pidfd, readable when it has ended.
    process: OwnedFd,
    dismissed: bool,
}

/// What a watcher has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing new.
    Nothing,
    /// It keeps the datagram that was left last: from here on the end of this process is told.
    Kept,
    /// It is about to end: [`Watcher::as_fd`] is another descriptor from here on, to be waited for anew.
    Ending,
    /// It has ended, as it was told to.
    Dismissed,
    /// It has ended by itself, or was killed: nobody will tell of the end of this process.
    Gone(Option<ExitStatus>),
}

impl Watcher {
    /// Starts a watcher of this process. `command` must come to [`watch`]. What is left with the watcher goes
    /// through `datagrams`, which must be connected by then.
    ///
    /// # Errors
    /// The program cannot be started, or the host gives no more descriptors.
    pub fn start(mut command: Command, datagrams: &UdpSocket) -> io::Result<Watcher> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        // This process names itself, so it cannot be anybody else whom the watcher watches.
        let myself = pidfd_open(getpid(), PidfdFlags::empty())?;
        let child = command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(OwnedFd::from(datagrams.try_clone()?)))
            .stderr(Stdio::from(myself))
            .env_clear()
            .spawn()?;
        // It has copies of what the watcher was given, and would hold the other end of the socket pair open.
        drop(command);
        Ok(Watcher {
            process: pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?,
            child,
            socket: Some(ours),
            dismissed: false,
        })
    }

    /// Number of the watcher's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Leaves a datagram with the watcher, in place of an earlier one.
    ///
    /// # Errors
    /// The watcher has ended.
    pub fn leave(&mut self, datagram: &[u8]) -> io::Result<()> {
        assert!(
            (2..=NOTICE_LEN_MAX).contains(&datagram.len()),
            "a datagram of {} bytes",
            datagram.len()
        );
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        send(socket, datagram, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// Tells the watcher that there is nothing more to tell; it ends.
    pub fn dismiss(&mut self) {
        self.dismissed = true;
        if let Some(socket) = &self.socket {
            // A watcher that has ended already needs not be told.
            let _ = send(socket, &DISMISSED, SendFlags::NOSIGNAL);
        }
    }

    /// What the watcher has said since the last call. Never waits.
    pub fn hear(&mut self) -> Said {
        let Some(socket) = &self.socket else {
            return match self.child.try_wait() {
                Ok(None) => Said::Nothing,
                _ if self.dismissed => Said::Dismissed,
                ended => Said::Gone(ended.ok().flatten()),
            };
        };
        match recv(socket, &mut [0; 1][..], RecvFlags::empty()) {
            Err(Errno::AGAIN | Errno::INTR) => Said::Nothing,
            Ok((_, 1..)) => Said::Kept,
            Ok(_) | Err(_) => {
                self.socket = None;
                Said::Ending
            }
        }
    }
}

impl AsFd for Watcher {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_ref().unwrap_or(&self.process).as_fd()
    }
}

/// The whole life of a watcher's process. Returns when there is nothing left to do.
///
/// # Errors
/// This process was not started by [`Watcher::start`].
pub fn watch() -> io::Result<()> {
    let kinds = [socket_type(stdin()), socket_type(stdout())];
    if kinds != [Ok(SocketType::SEQPACKET), Ok(SocketType::DGRAM)] {
        return Err(io::Error::other("nothing to watch"));
    }
    close_from(NOT_NEEDED);
    // A session of its own: whoever signals the terminal or the group of the watched process means that one.
    let _ = setsid();
    let _ = std::env::set_current_dir("/");
    let _ = rustix::thread::set_name(c"lockstep-watch");
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        // The watcher ends by itself, when the watched process does; whoever ends both asks that one.
        flag::register(signal, Arc::default())?;
    }
    sandbox::ask_to_stay_in_memory();
    let _entered = Needs::default().enter().map_err(io::Error::other)?;
    sandbox::narrow(Kind::Watcher);
    let Some(notice) = wait_for_the_end()? else {
        return Ok(());
    };
    for pause in NOTICE_PAUSES {
        thread::sleep(pause);
        // Whatever the network says of one attempt, the next one may get through.
        let _ = send(stdout(), &notice, SendFlags::NOSIGNAL);
    }
    Ok(())
}

/// Waits until the watched process has ended. `None`: there is nothing to tell.
fn wait_for_the_end() -> io::Result<Option<Vec<u8>>> {
    let mut notice = None;
    // A watched process may close its end before it ends, and only its end counts.
    let mut listens = true;
    loop {
        let (control, process) = (stdin(), stderr());
        let mut sources = vec![PollFd::new(&process, PollFlags::IN)];
        if listens {
            sources.push(PollFd::new(&control, PollFlags::IN));
        }
        match poll(&mut sources, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let has_ended = !sources[0].revents().is_empty();
        // What was left before the end counts, so the socket is read first, and empty before the end is
        // believed.
        let has_said = sources.get(1).is_some_and(|source| !source.revents().is_empty());
        if has_said {
            let mut message = [0; NOTICE_LEN_MAX];
            match recv(control, &mut message[..], RecvFlags::empty()) {
                Ok((_, 0)) => listens = false,
                Ok((_, 1)) => return Ok(None),
                Ok((_, length)) => {
                    notice = message.get(..length).map(<[u8]>::to_vec);
                    let _ = send(control, &KEPT, SendFlags::NOSIGNAL);
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::CONNRESET) => listens = false,
                Err(error) => return Err(error.into()),
            }
        } else if has_ended {
            return Ok(notice);
        }
    }
}
