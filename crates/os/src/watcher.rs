//! A watcher: a small process of its own that sends datagrams once the process which started it has ended.
//!
//! ```text
//!   watched process                                  watcher (the same program, `watch`)
//!   Watcher::start   -- socket pair, datagram sockets, its own pidfd --> gives up everything else
//!   Watcher::leave   -- a datagram for one of the sockets -------------> keeps it, says that it does
//!   Watcher::forget  -- nothing more for this socket ------------------> forgets the datagram
//!   (ends, however)                                   its pidfd is readable: sends the datagrams, ends
//!   Watcher::dismiss -- nothing more to tell at all -------------------> ends
//! ```
//! Each socket has one peer, to which the watched process has connected it by the end, and for each the
//! watcher keeps the datagram that was left last.
//!
//! A pidfd names one process, for as long as somebody holds it, and is readable once all threads of that
//! process have ended: docs/protocol.md ("Death notices") says what that proves. A watched process that
//! stands still, or is taken apart by a debugger, has not ended. The watcher has a session of its own and
//! nothing of the watched process but these descriptors, so it holds up nobody who waits for a port, a
//! file, a terminal or the end of a pipe. It must never say anything before the end, nor outlive it for long.
//!
//! Nothing here knows what a datagram says.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::sockopt::socket_type;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open, setsid};
use rustix::stdio::{stderr, stdin};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use crate::limits::{NOTICE_LEN_MAX, NOTICE_PAUSES, WATCHED_SOCKETS_MAX};
use crate::sandbox::{self, Kind, Needs};
use crate::sys::descriptors::close_from;

/// What the watched process says when there is nothing more to tell; no socket has this number. Every other
/// message begins with the number of a socket, and a datagram for it follows, or none.
const DISMISSED: u8 = u8::MAX;
const _: () = assert!(WATCHED_SOCKETS_MAX < DISMISSED as usize);
/// What the watched process says along with the sockets.
const SOCKETS: [u8; 1] = [b'S'];
/// What the watcher says for each datagram that it keeps.
const KEPT: [u8; 1] = [1];
/// The first descriptor that a watcher does not need: it has its end of the socket pair as standard input,
/// and the pidfd as standard error. The sockets for datagrams come over the socket pair.
const NOT_NEEDED: u16 = 3;
/// Room for the descriptors of the sockets in a message.
const SOCKETS_SPACE: usize = rustix::cmsg_space!(ScmRights(WATCHED_SOCKETS_MAX));

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
    /// It keeps the datagram that was left last: from here on the end of this process is told with it.
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
    /// through one of `sockets`, each of which must be connected by then.
    ///
    /// # Errors
    /// The program cannot be started, or the host gives no more descriptors.
    pub fn start(mut command: Command, sockets: &[UdpSocket]) -> io::Result<Watcher> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        hand_over(&ours, sockets)?;
        // This process names itself, so it cannot be anybody else whom the watcher watches.
        let myself = pidfd_open(getpid(), PidfdFlags::empty())?;
        let child = command
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
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

    /// Leaves a datagram with the watcher for the socket of this number, in place of an earlier one for that
    /// socket.
    ///
    /// # Errors
    /// The watcher has ended.
    pub fn leave(&mut self, number: u8, datagram: &[u8]) -> io::Result<()> {
        assert!(
            (1..=NOTICE_LEN_MAX).contains(&datagram.len()),
            "a datagram of {} bytes",
            datagram.len()
        );
        self.say(&[&[number], datagram].concat())
    }

    /// Has the watcher forget the datagram for the socket of this number.
    ///
    /// # Errors
    /// The watcher has ended.
    pub fn forget(&mut self, number: u8) -> io::Result<()> {
        self.say(&[number])
    }

    /// Tells the watcher that there is nothing more to tell; it ends.
    pub fn dismiss(&mut self) {
        self.dismissed = true;
        // A watcher that has ended already needs not be told.
        let _ = self.say(&[DISMISSED]);
    }

    fn say(&self, message: &[u8]) -> io::Result<()> {
        let socket = self.socket.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        send(socket, message, SendFlags::NOSIGNAL)?;
        Ok(())
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

/// Gives the watcher its sockets, before it is there.
fn hand_over(pair: &OwnedFd, sockets: &[UdpSocket]) -> io::Result<()> {
    assert!(sockets.len() <= WATCHED_SOCKETS_MAX, "{} sockets", sockets.len());
    let descriptors: Vec<BorrowedFd<'_>> = sockets.iter().map(AsFd::as_fd).collect();
    let mut space = [MaybeUninit::uninit(); SOCKETS_SPACE];
    let mut along = SendAncillaryBuffer::new(&mut space);
    along.push(SendAncillaryMessage::ScmRights(&descriptors));
    sendmsg(pair, &[IoSlice::new(&SOCKETS)], &mut along, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Takes what [`hand_over`] gave.
fn take_sockets(pair: BorrowedFd<'_>) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); SOCKETS_SPACE];
    let mut along = RecvAncillaryBuffer::new(&mut space);
    let (mut word, flags) = ([0; 1], RecvFlags::CMSG_CLOEXEC);
    recvmsg(pair, &mut [IoSliceMut::new(&mut word)], &mut along, flags)?;
    if word != SOCKETS {
        return Err(io::Error::other("it was given no sockets"));
    }
    let mut sockets = Vec::new();
    for message in along.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            sockets.extend(descriptors);
        }
    }
    Ok(sockets)
}

/// The whole life of a watcher's process. Returns when there is nothing left to do.
///
/// # Errors
/// This process was not started by [`Watcher::start`].
pub fn watch() -> io::Result<()> {
    if socket_type(stdin()) != Ok(SocketType::SEQPACKET) {
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
    let sockets = take_sockets(stdin())?;
    let _entered = Needs::default().enter().map_err(io::Error::other)?;
    sandbox::narrow(Kind::Watcher);
    let mut notices = Notices::default();
    wait_for_the_end(&mut notices)?;
    if notices.are_none() {
        return Ok(());
    }
    for pause in NOTICE_PAUSES {
        thread::sleep(pause);
        notices.send(&sockets);
    }
    Ok(())
}

/// The datagrams that are to be sent at the end, each at the number of its socket.
#[derive(Debug, Default)]
struct Notices([Option<Vec<u8>>; WATCHED_SOCKETS_MAX]);

impl Notices {
    /// Keeps what a message of the watched process says; is it a datagram?
    fn keep(&mut self, message: &[u8]) -> bool {
        let Some((number, datagram)) = message.split_first() else {
            return false;
        };
        let Some(notice) = self.0.get_mut(usize::from(*number)) else {
            return false;
        };
        *notice = (!datagram.is_empty()).then(|| datagram.to_vec());
        notice.is_some()
    }

    fn are_none(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    fn send(&self, sockets: &[OwnedFd]) {
        for (notice, socket) in self.0.iter().zip(sockets) {
            if let Some(notice) = notice {
                // Whatever the network says of one attempt, the next one may get through.
                let _ = send(socket, notice, SendFlags::NOSIGNAL);
            }
        }
    }
}

/// Waits until the watched process has ended, or has nothing more to tell, and keeps what it says until then.
fn wait_for_the_end(notices: &mut Notices) -> io::Result<()> {
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
            let mut message = [0; 1 + NOTICE_LEN_MAX];
            match recv(control, &mut message[..], RecvFlags::empty()) {
                Ok((_, 0)) => listens = false,
                Ok((_, 1)) if message[0] == DISMISSED => {
                    *notices = Notices::default();
                    return Ok(());
                }
                Ok((_, length)) => {
                    if notices.keep(message.get(..length).unwrap_or_default()) {
                        let _ = send(control, &KEPT, SendFlags::NOSIGNAL);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::CONNRESET) => listens = false,
                Err(error) => return Err(error.into()),
            }
        } else if has_ended {
            return Ok(());
        }
    }
}
