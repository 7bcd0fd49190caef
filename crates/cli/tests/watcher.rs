//! The watcher of a primary's process, from outside: real processes that end in every way, and what is told
//! of it. The tests stand where the primary does: they start `lockstep watcher` with the descriptors that it
//! gets from a primary, and watch another process with it.

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
    recv, send, sendmsg, socketpair,
};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A process that is watched, its watcher, and who hears of its end.
struct Scene {
    watched: Child,
    watcher: Child,
    control: OwnedFd,
    ear: UdpSocket,
    /// Hears what is sent through the watcher's second socket.
    other_ear: UdpSocket,
}

/// A socket that hears, and one that is connected to it.
fn line() -> (UdpSocket, UdpSocket) {
    let ear = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mouth = UdpSocket::bind("127.0.0.1:0").unwrap();
    mouth.connect(ear.local_addr().unwrap()).unwrap();
    (ear, mouth)
}

impl Scene {
    /// `command` is watched.
    fn of(command: &mut Command) -> Scene {
        let watched = command.stdin(Stdio::piped()).spawn().unwrap();
        let ((ear, mouth), (other_ear, other_mouth)) = (line(), line());
        let kind = SocketType::SEQPACKET;
        let (control, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None).unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut along = SendAncillaryBuffer::new(&mut space);
        let sockets = [mouth.as_fd(), other_mouth.as_fd()];
        assert!(along.push(SendAncillaryMessage::ScmRights(&sockets)));
        let word = [IoSlice::new(b"S")];
        sendmsg(&control, &word, &mut along, SendFlags::NOSIGNAL).unwrap();
        let process = pidfd_open(Pid::from_child(&watched), PidfdFlags::empty()).unwrap();
        let watcher = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .arg("watcher")
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::from(process))
            .spawn()
            .unwrap();
        Scene {
            watched,
            watcher,
            control,
            ear,
            other_ear,
        }
    }

    /// A process that lives until it is killed.
    fn new() -> Scene {
        Scene::of(Command::new("cat").stdout(Stdio::null()))
    }

    /// Leaves a datagram for the first socket, and waits until the watcher keeps it: by then it has looked at
    /// the process, too.
    fn leave(&self, datagram: &[u8]) {
        self.leave_for(0, datagram);
    }

    fn leave_for(&self, socket: u8, datagram: &[u8]) {
        self.say(&[&[socket], datagram].concat());
        let (_, length) = recv(&self.control, &mut [0; 8][..], RecvFlags::empty()).unwrap();
        assert_eq!(length, 1);
    }

    fn say(&self, message: &[u8]) {
        send(&self.control, message, SendFlags::NOSIGNAL).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.watched), signal).unwrap();
    }

    /// What is told; waits for it.
    fn hears(&self) -> Vec<u8> {
        let mut datagram = [0; 100];
        let length = self.ear.recv(&mut datagram).unwrap();
        datagram[..length].to_vec()
    }

    /// Has nothing been told so far?
    fn is_silent(&self) -> bool {
        self.ear.set_nonblocking(true).unwrap();
        let silent = self.ear.recv(&mut [0; 8]).is_err();
        self.ear.set_nonblocking(false).unwrap();
        silent
    }

    fn watcher_ends(&mut self) {
        let status = self.watcher.wait().unwrap();
        assert!(status.success(), "{status}");
    }

    /// A line of what the kernel says of the watcher.
    fn status(&self, field: &str) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.watcher.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{field}:")));
        line.unwrap().trim().to_owned()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in [&mut self.watched, &mut self.watcher] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn the_end_of_a_process_is_told_however_it_comes() {
    for signal in [
        Signal::KILL,
        Signal::SEGV,
        Signal::ABORT,
        Signal::TERM,
        Signal::ILL,
    ] {
        let mut scene = Scene::new();
        scene.leave(b"ended");
        assert!(scene.is_silent());
        scene.signal(signal);
        assert_eq!(scene.hears(), b"ended");
        // It is told before anybody has asked the kernel how the process ended.
        assert_eq!(
            scene.watched.wait().unwrap().signal(),
            Some(signal.as_raw()),
            "{signal:?}"
        );
        scene.watcher_ends();
    }
    let mut scene = Scene::new();
    scene.leave(b"ended");
    drop(scene.watched.stdin.take());
    assert_eq!(scene.hears(), b"ended");
    assert_eq!(scene.watched.wait().unwrap().code(), Some(0));
    scene.watcher_ends();
}

#[test]
fn a_process_that_stands_still_or_runs_another_program_has_not_ended() {
    let scene = Scene::new();
    scene.leave(b"early");
    scene.signal(Signal::STOP);
    let stat = format!("/proc/{}/stat", scene.watched.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") T ") {}
    // The watcher takes this after the process has stopped, so it has looked at the process since.
    scene.leave(b"ended");
    assert!(scene.is_silent());
    scene.signal(Signal::KILL);
    assert_eq!(scene.hears(), b"ended", "what was left last");

    let mut shell = Command::new("sh");
    let mut scene = Scene::of(shell.args(["-c", "read word; exec cat"]).stdout(Stdio::piped()));
    scene.leave(b"early");
    let stdin = scene.watched.stdin.as_mut().unwrap();
    stdin.write_all(b"go\nhere\n").unwrap();
    let mut echo = [0; 5];
    let stdout = scene.watched.stdout.as_mut().unwrap();
    stdout.read_exact(&mut echo).unwrap();
    assert_eq!(&echo, b"here\n", "the other program runs");
    scene.leave(b"ended");
    assert!(scene.is_silent());
    scene.signal(Signal::KILL);
    assert_eq!(scene.hears(), b"ended");
}

#[test]
fn one_thread_that_ends_is_not_the_process() {
    // Its first thread ends, and another one goes on.
    let program = "
import ctypes, threading, sys
threading.Thread(target=lambda: sys.stdin.read()).start()
print('runs', flush=True)
ctypes.CDLL(None).pthread_exit(None)
";
    let Ok(_) = Command::new("python3").arg("--version").output() else {
        return;
    };
    let mut python = Command::new("python3");
    let mut scene = Scene::of(python.args(["-c", program]).stdout(Stdio::piped()));
    let mut line = [0; 5];
    let stdout = scene.watched.stdout.as_mut().unwrap();
    stdout.read_exact(&mut line).unwrap();
    let stat = format!("/proc/{}/stat", scene.watched.id());
    while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {}
    scene.leave(b"ended");
    assert!(scene.is_silent());
    scene.signal(Signal::KILL);
    assert_eq!(scene.hears(), b"ended");
}

#[test]
fn a_dismissed_watcher_ends_and_tells_nothing() {
    let mut scene = Scene::new();
    scene.leave(b"ended");
    scene.say(&[255]);
    scene.watcher_ends();
    scene.signal(Signal::KILL);
    scene.watched.wait().unwrap();
    assert!(scene.is_silent());
}

#[test]
fn each_peer_is_told_what_was_left_for_it_last() {
    let mut scene = Scene::new();
    scene.leave_for(1, b"to the other, early");
    scene.leave_for(0, b"to the one");
    scene.leave_for(1, b"to the other");
    scene.signal(Signal::KILL);
    assert_eq!(scene.hears(), b"to the one");
    let mut datagram = [0; 100];
    let length = scene.other_ear.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"to the other");
    scene.watcher_ends();
}

#[test]
fn a_peer_whose_notice_is_forgotten_is_told_nothing_and_the_other_is() {
    let mut scene = Scene::new();
    scene.leave_for(0, b"to the one");
    scene.leave_for(1, b"to the other");
    scene.say(&[0]);
    scene.signal(Signal::KILL);
    scene.watcher_ends();
    assert!(scene.is_silent());
    let mut datagram = [0; 100];
    let length = scene.other_ear.recv(&mut datagram).unwrap();
    assert_eq!(&datagram[..length], b"to the other");
}

#[test]
fn a_watcher_that_is_told_to_forget_all_tells_nothing() {
    let mut scene = Scene::new();
    scene.leave(b"ended");
    scene.say(&[0]);
    // A number that no socket has is nobody's.
    scene.say(&[9, 9]);
    scene.signal(Signal::KILL);
    scene.watcher_ends();
    assert!(scene.is_silent());
}

#[test]
fn a_watcher_with_which_nothing_was_left_tells_nothing() {
    let mut scene = Scene::new();
    scene.signal(Signal::KILL);
    scene.watcher_ends();
    assert!(scene.is_silent());
}

#[test]
fn only_the_end_of_the_process_counts_not_that_its_descriptors_are_closed() {
    let mut scene = Scene::new();
    scene.leave(b"ended");
    let (other, _) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .unwrap();
    drop(std::mem::replace(&mut scene.control, other));
    // Nothing shows from outside when the watcher has seen that, so give it every chance to err.
    while scene.status("State").starts_with('R') {}
    assert!(scene.is_silent());
    scene.signal(Signal::KILL);
    assert_eq!(scene.hears(), b"ended");
    scene.watcher_ends();
}

#[test]
fn a_watcher_holds_nothing_of_those_who_started_it_and_may_do_nothing_else() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    // As a shell leaves a pipe open in the programs that it starts.
    fcntl_setfd(&writer, FdFlags::empty()).unwrap();
    let scene = Scene::new();
    fcntl_setfd(&writer, FdFlags::CLOEXEC).unwrap();
    scene.leave(b"ended");
    let process = format!("/proc/{}", scene.watcher.id());
    let mut open: Vec<String> = std::fs::read_dir(format!("{process}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    open.sort();
    assert_eq!(open, ["0", "1", "2", "3", "4"], "two of them are its sockets");
    assert_eq!(
        std::fs::read_link(format!("{process}/cwd")).unwrap(),
        std::path::Path::new("/")
    );
    let stat = std::fs::read_to_string(format!("{process}/stat")).unwrap();
    assert!(stat.contains(" (lockstep-watch) "), "{stat}");
    let session = stat.rsplit(") ").next().unwrap().split(' ').nth(3).unwrap();
    assert_eq!(session, scene.watcher.id().to_string(), "a session of its own");
    assert_eq!(scene.status("NoNewPrivs"), "1");
    assert_eq!(scene.status("Seccomp"), "2");
    assert_eq!(scene.status("CapEff"), "0000000000000000");
    assert_eq!(scene.status("CapPrm"), "0000000000000000");
    assert_eq!(scene.status("Threads"), "1");
    // Signals that a terminal or a unit sends to all of a group do not keep it from telling.
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        kill_process(Pid::from_child(&scene.watcher), signal).unwrap();
    }
    scene.leave(b"ended");
    // The watched process (`cat`) has inherited the pipe; once it has ended, only a watcher could hold it.
    scene.signal(Signal::KILL);
    drop(writer);
    assert_eq!(reader.read(&mut [0]).unwrap(), 0);
    assert_eq!(scene.hears(), b"ended");
}

#[test]
fn the_notice_is_sent_more_than_once_and_then_the_watcher_ends() {
    let mut scene = Scene::new();
    scene.leave(b"ended");
    scene.signal(Signal::KILL);
    scene.watcher_ends();
    scene.ear.set_nonblocking(true).unwrap();
    let told = std::iter::from_fn(|| scene.ear.recv(&mut [0; 8]).ok()).count();
    assert!((3..=10).contains(&told), "{told}");
}

#[test]
fn a_watcher_that_nobody_needs_says_so_and_ends() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .arg("watcher")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        said.contains("`lockstep primary` starts its watcher itself"),
        "{said}"
    );
}

#[test]
fn a_watcher_says_that_it_has_ended_by_closing_its_socket() {
    let mut scene = Scene::new();
    scene.leave(b"ended");
    scene.watcher.kill().unwrap();
    scene.watcher.wait().unwrap();
    let mut control = [PollFd::new(&scene.control, PollFlags::IN)];
    poll(&mut control, None).unwrap();
    let heard = recv(&scene.control, &mut [0; 8][..], RecvFlags::empty());
    assert!(matches!(heard, Ok((_, 0)) | Err(Errno::CONNRESET)), "{heard:?}");
}
