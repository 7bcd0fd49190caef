//! A VM that runs gets a backup, and loses its primary, or its backup by its operator's wish.
//!
//! The timeout is so long that what must come of it before it is over, or before it is over twice, is seen in
//! the order of what happens. No test looks at a clock.

use std::os::unix::net::UnixListener;
use std::process::Output;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;

/// A guest on bare metal that answers the request `0x80 + n` at its serial line with a network frame, which
/// has the number n and a hash of the guest's whole life in it; at 0xfe it answers and goes off.
const SERVER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/guests/server.bin");
/// The serial line's byte for "answer, then go off".
const OFF: u8 = 0xfe;
/// Long enough for a process to be stopped and a command to be given, on a machine that has much to do.
const TIMEOUT_MS: &str = "5000";

impl Site {
    /// The VM web, which runs alone and may get a backup.
    fn owner(&self, flags: &[&str]) -> Replica {
        let mut owner = self.lockstep("run");
        std::fs::write(self.path("vm.toml"), format!("timeout_ms = {TIMEOUT_MS}\n")).unwrap();
        owner.arg(self.path("vm.toml"));
        owner.args(["--name", "web", "--key"]).arg(self.path("key"));
        owner.arg("--arbiter").arg(&self.arbiter);
        owner.arg("--events").arg(self.path("owner")).args(flags);
        let owner = Replica::start(&mut owner);
        while !self.path("owner").exists() {
            std::thread::yield_now();
        }
        owner
    }

    /// A process that waits for whichever VM comes, and its address. Commands to the VM's owner do not find
    /// it, as if it ran on another host.
    fn attends(&self) -> (Replica, String) {
        self.attends_as("copy")
    }

    /// The same, for a process whose events go to the file of this name.
    fn attends_as(&self, events: &str) -> (Replica, String) {
        let mut copy = self.program();
        copy.args([
            "backup",
            "--listen",
            "127.0.0.1:0",
            "--timeout-ms",
            TIMEOUT_MS,
            "--key",
        ]);
        copy.arg(self.path("key")).arg("--events").arg(self.path(events));
        copy.env("XDG_RUNTIME_DIR", self.path(&format!("elsewhere-{events}")));
        let mut copy = Replica::start(&mut copy);
        let listens = copy.says("waiting for the primary on");
        let address = listens.rsplit(' ').next().unwrap().to_owned();
        (copy, address)
    }

    /// Such a process, once it has become the backup of the VM web.
    fn copy(&self) -> Replica {
        let (copy, address) = self.attends();
        let done = self.tells(&["protect", "web", "--to", &address]);
        let told = String::from_utf8(done.stdout).unwrap();
        assert!(done.status.success(), "{told}");
        assert!(told.contains("the VM has a backup at 127.0.0.1:"), "{told}");
        // The copy hears a message later than its owner that it is the backup.
        while !self.is_backup("copy") {
            std::thread::yield_now();
        }
        copy
    }

    /// Has the process with this file of events heard that it is the backup?
    fn is_backup(&self, name: &str) -> bool {
        let backup = |it: &Happening| {
            matches!(
                it,
                Happening::Role {
                    role: RoleWord::Backup,
                    ..
                }
            )
        };
        self.path(name).exists() && self.events(name).iter().any(backup)
    }

    /// An echoing VM and its backup.
    pub fn protected(&self) -> (Replica, Replica) {
        let mut owner = self.owner(&[]);
        owner.echoes(b'a');
        let copy = self.copy();
        owner.echoes(b'b');
        (owner, copy)
    }

    pub fn tells(&self, words: &[&str]) -> Output {
        self.program().args(words).output().unwrap()
    }

    /// The protection of the VM web as its owner tells it: its state and the code of its first reason.
    fn protection(&self) -> (String, String) {
        let status = self.tells(&["status", "web", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        let protection = &status["protection"];
        let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        (
            word(&protection["state"]),
            word(&protection["reasons"][0]["code"]),
        )
    }
}

/// Has the guest said anything on its serial line that nobody has read?
fn has_said_more(replica: &Replica) -> bool {
    let stdout = replica.child.stdout.as_ref().unwrap();
    let now = Timespec::default();
    poll(&mut [PollFd::new(stdout, PollFlags::IN)], Some(&now)).unwrap() > 0
}

/// The network of the VM, and a client there.
struct Network {
    listener: UnixListener,
    live: UnixStream,
}

impl Network {
    /// The network of a VM that `owner` starts on it.
    fn of(site: &Site, owner: impl FnOnce(&str) -> Replica) -> (Network, Replica) {
        let listener = UnixListener::bind(site.path("net")).unwrap();
        let owner = owner(&format!("gateway={}", site.path("net").display()));
        let (live, _) = listener.accept().unwrap();
        (Network { listener, live }, owner)
    }

    /// The connection of the process that goes on with the VM.
    fn goes_on(&mut self) {
        self.live = self.listener.accept().unwrap().0;
    }

    /// Has the guest in `replica` answer the request of a number; the hash of its life.
    fn asks(&mut self, replica: &mut Replica, number: u8) -> u64 {
        replica.types(&[0x80 + number]);
        let number = u64::from(number);
        loop {
            let mut length = [0; 4];
            self.live
                .read_exact(&mut length)
                .expect("the VM is on its network");
            let mut frame = vec![0; u32::from_be_bytes(length) as usize];
            self.live.read_exact(&mut frame).unwrap();
            // The guest's frames have no addresses; those by which a host announces it have.
            if frame[..14] != [0; 14] {
                continue;
            }
            // A survivor may show once more what had left already.
            let field = |at: usize| u64::from_le_bytes(frame[at..at + 8].try_into().unwrap());
            assert!(field(16) <= number, "an answer that nobody asked for");
            if field(16) == number {
                return field(24);
            }
        }
    }
}

#[test]
fn the_two_sides_change_their_roles_and_each_can_take_over_from_the_other() {
    // FT 3.3-c.
    let site = Site::new();
    let (mut owner, mut copy) = site.protected();
    let done = site.tells(&["failover", "web"]);
    let told = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{told}");
    assert!(told.contains("web: the VM is live at 127.0.0.1:"), "{told}");
    copy.says("this side is live, epoch 2");
    copy.echoes(b'c');
    let refused = site.tells(&["failover", "web"]);
    assert_eq!(
        refused.status.code(),
        Some(4),
        "the order is for the side that runs the guest"
    );
    copy.signal(Signal::KILL);
    owner.says("this side is live, epoch 3");
    owner.echoes(b'd');
    let refused = site.tells(&["failover", "web"]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{told}");
    assert!(
        told.contains("web has no backup that could go on with it"),
        "{told}"
    );
    owner.types(b"o");
    owner.ends_well();
}

#[test]
fn a_backup_is_replaced_by_another_one_which_then_takes_over() {
    // FT 3.3-b.
    let site = Site::new();
    let mut owner = site.owner(&[]);
    owner.echoes(b'a');
    let (second, address) = site.attends_as("second");
    let refused = site.tells(&["move-backup", "web", "--to", &address]);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(4), "{told}");
    assert!(
        told.contains("web has no backup that could be replaced"),
        "{told}"
    );
    let mut copy = site.copy();
    let (mut owner, mut second) = (owner, second);
    owner.echoes(b'b');
    let done = site.tells(&["move-backup", "web", "--to", &address]);
    let told = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(done.status.success(), "{told}");
    assert!(
        told.contains(&format!("the VM has a backup at {address}")),
        "{told}"
    );
    copy.ends_well();
    assert_eq!(site.code("copy"), HaltCode::Dismissed);
    owner.echoes(b'c');
    owner.signal(Signal::KILL);
    second.says("this side is live, epoch 2");
    second.echoes(b'd');
    second.types(b"o");
    second.ends_well();
    let alone = |it: &Happening| matches!(it, Happening::Alone { .. } | Happening::Suspected { .. });
    assert!(
        !site.events("owner").iter().any(alone),
        "it had a backup all the time"
    );
}

#[test]
fn a_backup_that_stands_still_is_replaced_with_the_help_of_the_arbiter() {
    let site = Site::new();
    let (mut owner, mut copy) = site.protected();
    let (mut second, address) = site.attends_as("second");
    copy.stands_still();
    let done = site.tells(&["move-backup", "web", "--to", &address]);
    let told = String::from_utf8([done.stdout, done.stderr].concat()).unwrap();
    assert!(done.status.success(), "{told}");
    owner.says("has taken its place");
    owner.echoes(b'c');
    owner.signal(Signal::KILL);
    second.says("this side is live, epoch 3");
    second.echoes(b'd');
    // The old backup wakes, and has nothing to say any more.
    copy.signal(Signal::CONT);
    copy.ends();
    assert!(!matches!(site.code("copy"), HaltCode::Off));
    second.types(b"o");
    second.ends_well();
}

#[test]
fn a_vm_that_was_protected_while_it_ran_answers_on_after_sigkill_of_its_primary() {
    // FT 3.1-a, 3.1-c, 2.3-b
    let site = Site::new();
    std::fs::copy(SERVER, site.path("firmware")).unwrap();
    std::fs::write(site.path("disk"), [0; 1 << 16]).unwrap();
    let disk = site.path("disk").display().to_string();
    let (mut network, mut owner) = Network::of(&site, |net| site.owner(&["--disk", &disk, "--net", net]));
    for number in 1..4 {
        network.asks(&mut owner, number);
    }
    let mut copy = site.copy();
    let last = network.asks(&mut owner, 4);
    owner.signal(Signal::KILL);
    copy.says("this side is live, epoch 2");
    network.goes_on();
    assert_eq!(network.asks(&mut copy, 4), last, "it has lived the same life");
    assert_ne!(network.asks(&mut copy, 5), last);
    copy.types(&[OFF]);
    copy.ends_well();
    assert_eq!(site.code("copy"), HaltCode::Off);
}

#[test]
fn a_backup_that_stands_still_is_dismissed_by_the_arbiter_before_two_timeouts_are_over() {
    let site = Site::new();
    let (mut owner, mut copy) = site.protected();
    copy.stands_still();
    let done = site.tells(&["unprotect", "web", "--yes"]);
    let told = String::from_utf8(done.stdout).unwrap();
    assert_eq!(done.status.code(), Some(0), "{told}");
    assert!(
        told.contains("is dismissed; the VM goes on here without a backup"),
        "{told}"
    );
    assert_eq!(site.protection(), ("unprotected".into(), "dismissed".into()));
    owner.echoes(b'c');
    // It reads, when it goes on, what it was told while it stood.
    copy.signal(Signal::CONT);
    copy.ends_well();
    assert_eq!(site.code("copy"), HaltCode::Dismissed);
    owner.types(b"o");
    owner.ends_well();
    // After two timeouts the operator would have heard that nobody answers. The backup was not suspected,
    // for which the guest would have stood.
    let events = site.events("owner");
    assert!(events.iter().any(|it| matches!(it, Happening::Dismissed { .. })));
    let late = |it: &Happening| matches!(it, Happening::NotDismissed { .. } | Happening::Suspected { .. });
    assert!(!events.iter().any(late), "{events:?}");
}

#[test]
fn a_backup_that_cannot_be_dismissed_stays_one_until_the_arbiter_answers() {
    let site = Site::new();
    let (mut owner, mut copy) = site.protected();
    copy.stands_still();
    let (here, away) = (site.path("arbiter"), site.path("away"));
    std::fs::rename(&here, &away).unwrap();
    // What the guest answers to this is held, for the backup does not have it.
    owner.types(b"c");
    let done = site.tells(&["unprotect", "web", "--yes"]);
    let told = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(1), "{told}");
    let sentence = "is not dismissed yet: neither it nor the arbiter answers; the VM keeps it until one of \
                    them does";
    assert!(told.contains(sentence), "{told}");
    owner.says(sentence);
    assert!(!has_said_more(&owner), "two timeouts later it is still held");
    let events = site.events("owner");
    let alone = |it: &Happening| matches!(it, Happening::Dismissed { .. } | Happening::GoLive { .. });
    assert!(!events.iter().any(alone), "{events:?}");
    std::fs::rename(&away, &here).unwrap();
    owner.shows(b'c');
    owner.echoes(b'd');
    copy.signal(Signal::CONT);
    copy.ends_well();
    assert_eq!(site.code("copy"), HaltCode::Dismissed);
    owner.types(b"o");
    owner.ends_well();
    assert_eq!(site.code("owner"), HaltCode::Off);
}

#[test]
fn a_process_that_dies_on_its_way_to_be_the_backup_is_told_of_by_its_address() {
    let site = Site::new();
    let mut owner = site.owner(&[]);
    for _ in 0..5 {
        let (copy, address) = site.attends();
        let before = site.events("owner").len();
        let done = site.tells(&["protect", "web", "--to", &address, "--no-wait"]);
        assert!(done.status.success());
        let since = |found: &dyn Fn(&Happening) -> Option<String>| loop {
            if let Some(peer) = site.events("owner")[before..].iter().find_map(found) {
                break peer;
            }
            std::thread::yield_now();
        };
        since(&|it| match it {
            Happening::Cloning { peer, .. } => Some(peer.clone()),
            _ => None,
        });
        copy.signal(Signal::KILL);
        // The clone may have been done just before.
        let gone = since(&|it| match it {
            Happening::CloneFailed { peer, .. } | Happening::Alone { peer, .. } => Some(peer.clone()),
            _ => None,
        });
        assert_eq!(gone, address);
    }
    owner.echoes(b'a');
    owner.types(b"o");
    owner.ends_well();
}
