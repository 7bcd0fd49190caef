//! Consoles: what is written arrives, and nobody who does not read holds up the guest.
//!
//! Files and sockets, with clients that come, go, and say nothing; terminals need a person and are not tested
//! here.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Command;

use console::{Console, ConsoleSpec, Typed, Want};
use os::wake::Waker;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, SockAddr, Socket, Type};

/// Set in a child that may not open more files for a while, which would disturb the other tests.
const STARVED: &str = "LOCKSTEP_TEST_STARVED";

/// What a guest wants that has room for everything.
const ALL: Want = Want::Next { room: usize::MAX };

fn typed(console: &mut Console, waker: &Waker) -> Typed {
    loop {
        if let Some(typed) = console.typed(ALL) {
            return typed;
        }
        let mut fds = [rustix::event::PollFd::new(waker, rustix::event::PollFlags::IN)];
        rustix::event::poll(&mut fds, None).unwrap();
        waker.clear();
    }
}

#[test]
fn a_file_has_every_byte_when_the_console_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console");
    let mut console = Console::open(&ConsoleSpec::File(path.clone()), &Waker::new().unwrap()).unwrap();
    for n in 0..1000 {
        console.write(format!("line {n}\n").as_bytes());
    }
    assert_eq!(console.typed(ALL), None);
    drop(console);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1000);
}

#[test]
fn clients_of_a_socket_come_and_go_and_each_is_heard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console");
    let waker = Waker::new().unwrap();
    let spec = ConsoleSpec::Socket(path.clone());
    // What a killed process left behind is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let mut console = Console::open(&spec, &waker).unwrap();
    console.write(b"nobody reads this");
    for round in [b"one", b"two"] {
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(round).unwrap();
        // Its bytes show that it is the present client.
        assert_eq!(typed(&mut console, &waker), Typed::Bytes(round.to_vec()));
        console.write(b"to ");
        console.write(round);
        // Before it there may be what nobody has read.
        let mut answer = Vec::new();
        while !answer.ends_with(&[b"to ", &round[..]].concat()) {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            answer.extend(byte);
        }
    }
    assert!(Console::open(&spec, &waker).is_err(), "the socket is in use");
    drop(console);
    assert!(!path.exists());
}

#[test]
fn output_nobody_reads_is_dropped_told_and_not_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console");
    let waker = Waker::new().unwrap();
    let mut console = Console::open(&ConsoleSpec::Socket(path.clone()), &waker).unwrap();
    let mut client = UnixStream::connect(&path).unwrap();
    client.write_all(b"x").unwrap();
    typed(&mut console, &waker);
    let block = vec![b'.'; 1 << 20];
    for _ in 0..32 {
        console.write(&block);
    }
    assert!(console.lost() > 0);
    // The reader goes on, and finds in the stream itself what is missing, and where. Nothing follows.
    let mut read = String::new();
    loop {
        let dots = read.bytes().filter(|&byte| byte == b'.').count() as u64;
        let told: u64 = read.split("\r\n[lockstep: ").skip(1).filter_map(number).sum();
        assert!(dots + told <= 32 << 20);
        if dots + told == 32 << 20 {
            assert_eq!(told, console.lost(), "nothing is lost without a word");
            return;
        }
        let mut some = vec![0; 1 << 20];
        let length = client.read(&mut some).unwrap();
        assert_ne!(length, 0);
        read += std::str::from_utf8(&some[..length]).unwrap();
    }
}

/// The number at the beginning of the rest of a notice, if all of the notice is there.
fn number(notice: &str) -> Option<u64> {
    let (number, _) = notice.split_once(" bytes of the console were not read in time and are lost]\r\n")?;
    number.replace(',', "").parse().ok()
}

#[test]
fn a_place_that_cannot_be_written_is_said_to_be_so() {
    let waker = Waker::new().unwrap();
    let file = ConsoleSpec::File("/nonexistent/console".into());
    assert!(
        Console::open(&file, &waker)
            .unwrap_err()
            .to_string()
            .contains("cannot write the console's output")
    );
    let socket = ConsoleSpec::Socket("/nonexistent/console".into());
    assert!(
        Console::open(&socket, &waker)
            .unwrap_err()
            .to_string()
            .contains("cannot listen")
    );
}

#[test]
fn a_console_that_could_not_take_a_client_takes_one_later() {
    if std::env::var_os(STARVED).is_none() {
        let this = "a_console_that_could_not_take_a_client_takes_one_later";
        let mut child = Command::new(std::env::current_exe().unwrap());
        let output = child
            .args(["--exact", this, "--nocapture"])
            .env(STARVED, "")
            .output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("console");
    let address = SockAddr::unix(&path).unwrap();
    let waker = Waker::new().unwrap();
    let mut console = Console::open(&ConsoleSpec::Socket(path), &waker).unwrap();
    let limit = getrlimit(Resource::Nofile);
    let starved = Rlimit {
        current: Some(0),
        ..limit
    };
    // Often, because nothing tells when the console has failed; it does right after its client was let go.
    let mut client = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
    client.connect(&address).unwrap();
    for round in 0..10 {
        client.write_all(&[round]).unwrap();
        assert_eq!(typed(&mut console, &waker), Typed::Bytes(vec![round]));
        let next = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        setrlimit(Resource::Nofile, starved).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        next.connect(&address).unwrap();
        setrlimit(Resource::Nofile, limit).unwrap();
        client = next;
    }
}
