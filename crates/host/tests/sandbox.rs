//! What a process that has entered the sandbox can still do, and what not: each attempt in a process of its
//! own.
//!
//! A child is this test binary again; it enters the sandbox as a replica or a gateway does, and then tries
//! one thing. The attempts must have no effect on the machine that runs the tests, even if the sandbox
//! failed.

#[path = "sandbox/made.rs"]
mod made;
#[path = "sandbox/raw.rs"]
mod raw;
mod site;

use std::io;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use arbiter::{Arbiter, DirectoryArbiter, Process};
use disk::{Access, Disk, Holder};
use gateway::{GatewayConfig, GuestListen};
use host::{PairSpec, VmSpec};
use made::Made;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use os::sandbox::{self, Kind};
use os::signals::Signals;
use ports::{Endpoint, PortSpec};
use replica::VmName;
use replica::{Claim, ClaimKind, Epoch, OnSlow, Span};
use site::vm;
use socket2::{Domain, Protocol, Socket, Type};

/// Set in a child: what it is to try, and where its files are.
const ATTEMPT: &str = "LOCKSTEP_TEST_ATTEMPT";
const DIR: &str = "LOCKSTEP_TEST_DIR";

/// `fcntl`'s command for the signal of a file.
const F_SETSIG: usize = 10;

/// What the child says after an attempt that did not end it.
const DONE: &str = "done: ";
const FAILED: &str = "failed: ";

/// A replica's files, in a directory, and a service of somebody else that listens there.
struct Site(
    tempfile::TempDir,
    #[allow(dead_code, reason = "it listens")] UnixListener,
);

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("vm")).unwrap();
        std::fs::create_dir(dir.path().join("arbiter")).unwrap();
        std::fs::create_dir(dir.path().join("images")).unwrap();
        std::fs::write(dir.path().join("vm/disk"), [0; 4096]).unwrap();
        std::fs::write(dir.path().join("outside"), "secret").unwrap();
        let somebody = UnixListener::bind(dir.path().join("vm/somebody")).unwrap();
        Site(dir, somebody)
    }

    /// Has a child enter the sandbox and try.
    fn attempt(&self, what: &str) -> Output {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_tries", "--nocapture"])
            .env(ATTEMPT, what)
            .env(DIR, self.0.path())
            .output()
            .unwrap()
    }

    fn succeeds(&self, what: &str) {
        let output = self.attempt(what);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains(&format!("{DONE}{what}")), "{what}: {output:?}");
    }

    /// The sandbox refuses it, not something else that would fail without one too, and the process goes on.
    fn is_refused(&self, what: &str) {
        let output = self.attempt(what);
        let said = String::from_utf8_lossy(&output.stdout);
        let refusal = said
            .lines()
            .find(|line| line.starts_with(&format!("{FAILED}{what}: ")));
        let by_sandbox = [libc::ENOSYS, libc::EACCES].map(|number| format!("(os error {number})"));
        assert!(
            refusal.is_some_and(|line| by_sandbox.iter().any(|number| line.contains(number))),
            "{what}: {output:?}"
        );
        assert_eq!(output.status.code(), Some(0), "{what}: {output:?}");
    }

    /// It ends the process.
    fn is_fatal(&self, what: &str) {
        let output = self.attempt(what);
        assert_eq!(output.status.signal(), Some(libc::SIGSYS), "{what}: {output:?}");
    }
}

fn spec(dir: &Path) -> (VmSpec, PairSpec) {
    let mut spec = vm(&dir.join("vm"), "replica");
    // Where nobody listens, but the port may be called.
    spec.nets[0].port = PortSpec::Gateway {
        endpoint: Endpoint::Tcp("127.0.0.1:9".parse().unwrap()),
        key: None,
    };
    let pair = PairSpec {
        address: "127.0.0.1:19".parse().unwrap(),
        key: None,
        arbiter: arbiter::Place::Directory(dir.join("arbiter")),
        timeout: Span::from_ms(1_000),
        patience: Span::from_ms(1_000),
        timeout_only: false,
        on_slow: OnSlow::default(),
        watcher: Vec::new(),
    };
    (spec, pair)
}

/// The body of the children.
#[test]
fn child_that_tries() {
    let Ok(what) = std::env::var(ATTEMPT) else {
        return;
    };
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let (kind, attempt) = what.split_once(' ').unwrap();
    let mut signals = Signals::catch().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let made = Made::new(listener.local_addr().unwrap()).unwrap();
    let held = match kind {
        "gateway" => {
            let listen = GuestListen::Unix(dir.join("vm/socket"));
            GatewayConfig::new(listen).needs().enter()
        }
        "beside" => {
            let (spec, pair) = spec(&dir);
            let entered = spec.enter_sandbox_beside(&pair, &dir.join("images"));
            Ok(entered.unwrap().unwrap())
        }
        "etcd" => {
            let (spec, mut pair) = spec(&dir);
            pair.arbiter = "etcd://127.0.0.1:29".parse().unwrap();
            spec.needs(Some(&pair)).enter()
        }
        _ => {
            let (spec, pair) = spec(&dir);
            spec.needs(Some(&pair)).enter()
        }
    };
    let _held = held.unwrap();
    let kind = match kind {
        "guest" => Kind::Guest,
        "disk" => Kind::Disk,
        "log" => Kind::Log,
        "arbiter" | "beside" | "etcd" => Kind::Arbiter,
        "console" => Kind::Console,
        "control" => Kind::Control,
        "cable" => Kind::Cable,
        _ => Kind::Gateway,
    };
    let attempt = attempt.to_owned();
    let result = sandbox::spawn(kind, "attempt", move || try_it(&attempt, &dir, &made))
        .join()
        .unwrap();
    match result {
        Ok(()) if what.ends_with("a signal to itself") && signals.take() != 1 => println!("\n{FAILED}{what}"),
        Ok(()) => println!("\n{DONE}{what}"),
        Err(error) => println!("\n{FAILED}{what}: {}", os::error::chain(&error)),
    }
}

fn try_it(attempt: &str, dir: &Path, made: &Made) -> io::Result<()> {
    let other = made.other;
    let (first, rest) = attempt.split_once(' ').unwrap_or((attempt, ""));
    let vm = dir.join("vm");
    match (first, rest) {
        ("call", number) => raw::call(number.parse().unwrap(), [0; 3]),
        ("another", "program") => Err(Command::new("/bin/true").exec()),
        ("another", "process") => Command::new("/bin/true").status().map(drop),
        ("a", "forked process") => raw::call(libc::SYS_clone, [libc::SIGCHLD as usize, 0, 0]),
        ("a", "new namespace") => raw::call(libc::SYS_clone, [libc::CLONE_NEWUSER as usize, 0, 0]),
        ("a", "thread") => std::thread::Builder::new().spawn(|| {}).map(drop),
        ("a", "signal to itself") => {
            let this = nix::sys::pthread::pthread_self();
            Ok(nix::sys::pthread::pthread_kill(this, nix::sys::signal::SIGTERM)?)
        }
        ("a", "signal to another") => raw::call(
            libc::SYS_kill,
            [std::os::unix::process::parent_id() as usize, 0, 0],
        ),
        // On a file that is not there: if it is allowed, that is what the kernel complains of.
        ("setting", "the owner of a file's signals") => {
            raw::call(libc::SYS_fcntl, [usize::MAX, libc::F_SETOWN as usize, 0])
        }
        ("setting", "the signal of a file") => raw::call(libc::SYS_fcntl, [usize::MAX, F_SETSIG, 0]),
        ("having", "a file send signals") => raw::call(
            libc::SYS_fcntl,
            [usize::MAX, libc::F_SETFL as usize, libc::O_ASYNC as usize],
        ),
        ("executable", "memory") => host::build::can_translate().map_err(io::Error::other),
        ("a", "raw socket") => inet(SockType::Raw),
        ("a", "datagram socket") => inet(SockType::Datagram),
        ("a", "stream socket") => inet(SockType::Stream),
        ("a", "netlink socket") => family(AddressFamily::Netlink),
        ("a", "packet socket") => family(AddressFamily::Packet),
        ("a", "vsock socket") => family(AddressFamily::Vsock),
        ("a", "unix socket") => UnixStream::connect(vm.join("somebody")).map(drop),
        ("a", "call to another port") => TcpStream::connect(other).map(drop),
        ("a", "call to another port over MPTCP") => {
            let socket = Socket::new(
                Domain::IPV4,
                Type::STREAM,
                Some(Protocol::from(libc::IPPROTO_MPTCP)),
            )?;
            socket.connect(&other.into())
        }
        ("a", "call to another port by its first data") => {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            let sent = socket.send_to_with_flags(b"x", &other.into(), libc::MSG_FASTOPEN);
            sent.map(drop)
        }
        ("a", "datagram to a stranger") => {
            let stranger = made.heartbeats.local_addr()?;
            made.loose.send_to(b"x", stranger).map(drop)
        }
        ("a", "datagram to its peer") => made.heartbeats.send(b"x").map(drop),
        ("a", "call to the gateway") => call_to_nobody("127.0.0.1:9"),
        ("a", "call to its etcd") => call_to_nobody("127.0.0.1:29"),
        ("a", "port of its own") => TcpListener::bind("127.0.0.1:0").map(drop),
        ("a", "question over UDP") => {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(other)?;
            socket.send(b"who is there?").map(drop)
        }
        ("reading", path) => std::fs::read(path.replace("DIR", dir.to_str().unwrap())).map(drop),
        ("listing", path) => std::fs::read_dir(path.replace("DIR", dir.to_str().unwrap())).map(drop),
        ("writing", path) => std::fs::write(path.replace("DIR", dir.to_str().unwrap()), "x"),
        ("the", "disk again") => std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(vm.join("disk"))
            .map(drop),
        ("the", "locks of a takeover") => takeover(&vm),
        ("the", "arbiter's answer") => {
            let name = VmName::new("toy").unwrap();
            let mut arbiter = DirectoryArbiter::open(&dir.join("arbiter"), Process::here(None))
                .map_err(io::Error::other)?;
            let claim = Claim {
                epoch: Epoch(1),
                owner: 7,
                after: None,
                heirs: Vec::new(),
                kind: ClaimKind::Failover,
            };
            match arbiter.claim(&name, &claim).verdict {
                replica::Verdict::Won => Ok(()),
                other => Err(io::Error::other(format!("{other:?}"))),
            }
        }
        ("the", "rotation of events") => {
            std::fs::write(vm.join("events"), "1")?;
            std::fs::rename(vm.join("events"), vm.join("events.1"))?;
            std::fs::write(vm.join("events"), "2")
        }
        _ => panic!("an attempt at {attempt}?"),
    }
}

/// Calls a port at which nobody is to answer; that it may be called is all that is wanted.
fn call_to_nobody(address: &str) -> io::Result<()> {
    match TcpStream::connect(address) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        result => result.map(drop),
    }
}

fn inet(kind: SockType) -> io::Result<()> {
    Ok(socket(AddressFamily::Inet, kind, SockFlag::empty(), None).map(drop)?)
}

fn family(family: AddressFamily) -> io::Result<()> {
    Ok(socket(family, SockType::Datagram, SockFlag::empty(), None).map(drop)?)
}

/// A lock is taken, renewed, confirmed, and given back.
fn takeover(vm: &Path) -> io::Result<()> {
    let disk = Disk::open_raw(&vm.join("disk"), Access::Pair, false, "").map_err(io::Error::other)?;
    for epoch in 1..3 {
        let holder = Holder {
            vm: VmName::new("toy").unwrap(),
            epoch: Epoch(epoch),
            owner: 7,
        };
        disk.lock(&holder).map_err(io::Error::other)?;
    }
    let lock = std::fs::read_to_string(vm.join("disk.lock"))?;
    drop(disk);
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    match (lock.contains(boot.trim()), vm.join("disk.lock").exists()) {
        (true, false) => Ok(()),
        wrong => Err(io::Error::other(format!("{wrong:?}: {lock}"))),
    }
}

const THREADS: [&str; 8] = [
    "guest", "disk", "log", "arbiter", "console", "control", "cable", "gateway",
];

#[test]
fn what_only_an_attacker_asks_for_ends_the_process() {
    let site = Site::new();
    let calls = [
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_open_by_handle_at,
        libc::SYS_setuid,
        libc::SYS_setgroups,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup,
        libc::SYS_add_key,
        libc::SYS_keyctl,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
        libc::SYS_reboot,
        libc::SYS_personality,
    ];
    for (call, thread) in calls.iter().zip(THREADS.iter().cycle()) {
        site.is_fatal(&format!("{thread} call {call}"));
    }
    for thread in THREADS {
        site.is_fatal(&format!("{thread} another program"));
    }
}

#[test]
fn no_thread_starts_a_process_or_reaches_outside() {
    let site = Site::new();
    for thread in THREADS {
        for attempt in [
            "another process",
            "a forked process",
            "a new namespace",
            "a signal to another",
            "setting the owner of a file's signals",
            "setting the signal of a file",
            "having a file send signals",
            "a raw socket",
            "a netlink socket",
            "a packet socket",
            "a vsock socket",
            "a unix socket",
            "a port of its own",
            "reading /etc/passwd",
            "reading DIR/outside",
            "listing /etc",
            "writing DIR/outside",
            "writing /dev/shm/lockstep-test",
        ] {
            // A gateway may read where its resolvers are, in /etc, and nothing else there.
            site.is_refused(&format!("{thread} {attempt}"));
        }
    }
    assert_eq!(
        std::fs::read_to_string(site.0.path().join("outside")).unwrap(),
        "secret"
    );
}

#[test]
fn only_the_guest_thread_makes_code_and_threads() {
    let site = Site::new();
    for thread in THREADS {
        for attempt in ["executable memory", "a thread"] {
            let attempt = format!("{thread} {attempt}");
            if thread == "guest" {
                site.succeeds(&attempt);
            } else {
                site.is_refused(&attempt);
            }
        }
    }
}

#[test]
fn a_replica_calls_its_gateway_and_nobody_else() {
    let site = Site::new();
    for thread in ["guest", "cable"] {
        site.succeeds(&format!("{thread} a call to the gateway"));
        site.is_refused(&format!("{thread} a call to another port"));
        site.is_refused(&format!("{thread} a call to another port over MPTCP"));
        site.is_refused(&format!("{thread} a call to another port by its first data"));
        site.is_refused(&format!("{thread} a datagram socket"));
    }
    for thread in ["disk", "log", "arbiter", "console", "control"] {
        site.is_refused(&format!("{thread} a stream socket"));
    }
    for attempt in [
        "a call to another port",
        "a question over UDP",
        "a datagram to a stranger",
    ] {
        site.succeeds(&format!("gateway {attempt}"));
    }
}

#[test]
fn a_replica_sends_to_whom_it_is_connected_and_to_nobody_else() {
    let site = Site::new();
    for thread in ["guest", "disk", "log", "arbiter", "console", "control", "cable"] {
        site.succeeds(&format!("{thread} a datagram to its peer"));
        site.is_refused(&format!("{thread} a datagram to a stranger"));
        // A message's address is where no filter can look.
        site.is_refused(&format!("{thread} call {}", libc::SYS_sendmsg));
    }
}

#[test]
fn what_a_takeover_needs_is_still_there() {
    let site = Site::new();
    for attempt in [
        "disk the disk again",
        "disk the locks of a takeover",
        "guest the locks of a takeover",
        "arbiter the arbiter's answer",
        "guest the rotation of events",
        "console the rotation of events",
        "guest reading /proc/self/statm",
        "gateway reading /etc/resolv.conf",
    ] {
        site.succeeds(attempt);
    }
}

#[test]
fn the_thread_that_asks_an_etcd_may_call_that_and_nobody_else() {
    let site = Site::new();
    site.succeeds("etcd a call to its etcd");
    for attempt in [
        "a call to another port",
        "a call to another port over MPTCP",
        "a call to another port by its first data",
        "a datagram socket",
        "a unix socket",
        "a netlink socket",
        "a port of its own",
        "a thread",
        "reading DIR/outside",
        "writing DIR/arbiter/x",
    ] {
        site.is_refused(&format!("etcd {attempt}"));
    }
    site.is_refused("arbiter a call to its etcd");
}

/// The VM has brought its arbiter, whose directory is nowhere near its disk.
#[test]
fn the_backup_of_a_vm_that_ran_elsewhere_can_claim() {
    let site = Site::new();
    site.succeeds("beside the arbiter's answer");
    site.is_refused("beside reading DIR/outside");
}

#[test]
fn an_arbiter_that_a_takeover_could_not_use_is_refused_before_there_is_a_backup() {
    let site = Site::new();
    let (spec, mut pair) = spec(site.0.path());
    pair.arbiter = arbiter::Place::Directory(site.0.path().join("nowhere"));
    let images = site.0.path().join("images");
    let thread =
        std::thread::spawn(move || os::error::chain(&spec.enter_sandbox_beside(&pair, &images).unwrap_err()));
    let sentence = thread.join().unwrap();
    assert!(sentence.contains("the arbiter directory"), "{sentence}");
}

#[test]
fn the_thread_that_talks_to_callers_has_no_file_at_all() {
    let site = Site::new();
    for attempt in [
        "the disk again",
        "the locks of a takeover",
        "the rotation of events",
        "reading /proc/self/statm",
    ] {
        site.is_refused(&format!("control {attempt}"));
    }
}

#[test]
fn a_signal_that_comes_to_any_thread_is_not_lost() {
    let site = Site::new();
    for thread in THREADS {
        site.succeeds(&format!("{thread} a signal to itself"));
    }
}

#[test]
fn a_disk_that_a_takeover_could_not_use_is_refused_at_the_start() {
    let site = Site::new();
    let (mut spec, pair) = spec(site.0.path());
    spec.disks[0].file.path = site.0.path().join("vm/nowhere");
    let thread = std::thread::spawn(move || os::error::chain(&spec.needs(Some(&pair)).enter().unwrap_err()));
    let sentence = thread.join().unwrap();
    assert!(sentence.contains("the disk"), "{sentence}");
    assert!(
        sentence.contains("vm/nowhere cannot be used from inside the sandbox"),
        "{sentence}"
    );
    assert!(sentence.contains("No such file"), "{sentence}");
    assert!(sentence.contains("--user"), "{sentence}");
}
