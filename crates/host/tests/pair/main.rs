//! Whole replicas in processes of their own, seen from outside: the test is the gateway they are plugged into.

mod common;
#[path = "../../disk/tests/support/mod.rs"]
mod disks;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use arbiter::{Arbiter, DirectoryArbiter};
use common::toy::Toy;
use common::{Cable, Gateway, vm};
use disks::{O_DIRECT, O_DSYNC, open_flags};
use host::ReplayOptions;
use host::{PairSpec, Pairing};
use link::{Key, KeyFile, Link, Listener, Security};
use replica::VmName;
use replica::peer::message::Message;
use replica::{Claim, Epoch, Side, Span, Verdict};
use report::{Course, HaltCode, Happening, Line, SuspicionWord};

/// Set in a child: which replica it is to be, and where its files are.
const ROLE: &str = "LOCKSTEP_TEST_ROLE";
const DIR: &str = "LOCKSTEP_TEST_DIR";
const PEER: &str = "LOCKSTEP_TEST_PEER";
const SPINS: &str = "LOCKSTEP_TEST_SPINS";
/// Of another VM than all others; with another arbiter directory, or disk, of the same name.
const NAME: &str = "LOCKSTEP_TEST_NAME";
const ARBITER: &str = "LOCKSTEP_TEST_ARBITER";
const DISK: &str = "LOCKSTEP_TEST_DISK";

/// The body of the children.
#[test]
fn child_that_is_a_replica() {
    let Some(role) = std::env::var_os(ROLE) else {
        return;
    };
    let role = role.into_string().unwrap();
    // A write beyond the file size limit, which a test sets, is an error and not the end.
    let beyond = std::sync::Arc::default();
    signal_hook::flag::register(signal_hook::consts::SIGXFSZ, beyond).unwrap();
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let spins = std::env::var_os(SPINS).is_some();
    let mut spec = vm(&dir, &role);
    if let Ok(name) = std::env::var(NAME) {
        spec.name = VmName::new(&name).unwrap();
    }
    if let Some(disk) = std::env::var_os(DISK) {
        spec.disks[0].path = disk.into();
    }
    let pair = PairSpec {
        address: std::env::var(PEER)
            .unwrap_or("127.0.0.1:0".into())
            .parse()
            .unwrap(),
        key: Some(KeyFile {
            path: dir.join("key"),
            though_open: false,
        }),
        arbiter: std::env::var_os(ARBITER).map_or(dir.join("arbiter"), PathBuf::from),
        // Long, because the tests run beside others; a takeover takes this long (the lease of the primary).
        timeout: Span::from_ms(3_000),
        patience: Span::from_ms(60_000),
    };
    let mut build = |_: &machine::Config| Ok(Toy::new(spins));
    let mut progress = |progress: &Pairing<'_>| match progress {
        Pairing::Listening(address) => println!("\nlistening {address}"),
        Pairing::Paired { epoch, .. } => println!("\npaired {}", epoch.0),
        Pairing::Refused(error) => println!("\nrefused {}", os::error::chain(*error)),
        Pairing::Calling { .. } | Pairing::RefusedMore(_) => {}
    };
    let result = match role.as_str() {
        "run" => host::run(&spec, None, &mut build),
        "record" => host::run(&spec, Some(&dir.join("log")), &mut build),
        "primary" => host::primary(&spec, &pair, &mut build, &mut progress),
        _ => host::backup(&spec, &pair, &mut build, &mut progress),
    };
    match result {
        Ok(outcome) => println!("\nended {:?}", outcome.halt),
        Err(error) => println!("\nfailed {}", os::error::chain(&error)),
    }
}

struct Replica {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Replica {
    fn start(role: &str, dir: &Path, peer: Option<&str>, spins: bool) -> Replica {
        Replica::start_with(role, dir, peer, spins, &[])
    }

    fn start_with(
        role: &str,
        dir: &Path,
        peer: Option<&str>,
        spins: bool,
        other: &[(&str, &Path)],
    ) -> Replica {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "child_that_is_a_replica", "--nocapture"]);
        command.env(ROLE, role).env(DIR, dir).stdout(Stdio::piped());
        if let Some(peer) = peer {
            command.env(PEER, peer);
        }
        if spins {
            command.env(SPINS, "1");
        }
        command.envs(other.iter().copied());
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Replica { child, lines }
    }

    /// The rest of the next line that begins with `word`.
    fn says(&mut self, word: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(
                self.lines.read_line(&mut line).unwrap(),
                0,
                "it never said '{word}' but: {seen}"
            );
            if let Some(rest) = line.trim().strip_prefix(word) {
                return rest.trim().to_owned();
            }
            seen += &line;
        }
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Site {
    dir: tempfile::TempDir,
    gateway: Gateway,
}

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("disk"), vec![0; 64 << 10]).unwrap();
        std::fs::create_dir(dir.path().join("arbiter")).unwrap();
        let key = dir.path().join("key");
        std::fs::write(&key, link::Key::generate().unwrap().to_hex()).unwrap();
        std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let gateway = Gateway::new(dir.path());
        Site { dir, gateway }
    }

    fn start(&self, role: &str, peer: Option<&str>, spins: bool) -> Replica {
        Replica::start(role, self.dir.path(), peer, spins)
    }

    fn pair(&self, spins: bool) -> (Replica, Replica, Cable) {
        self.pair_in(spins, "1")
    }

    fn pair_in(&self, spins: bool, epoch: &str) -> (Replica, Replica, Cable) {
        let mut backup = self.start("backup", None, spins);
        let address = backup.says("listening");
        let mut primary = self.start("primary", Some(&address), spins);
        let cable = self.gateway.accept();
        assert_eq!(primary.says("paired"), epoch);
        assert_eq!(backup.says("paired"), epoch);
        (primary, backup, cable)
    }

    fn events(&self, who: &str) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.dir.path().join(format!("{who}.events"))).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn lines(&self, who: &str) -> Vec<Line> {
        let text = std::fs::read_to_string(self.dir.path().join(format!("{who}.events"))).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    fn roles(&self, who: &str) -> Vec<String> {
        let events = self.events(who);
        let roles = events.iter().filter(|event| event["event"] == "role");
        roles
            .map(|event| event["role"].as_str().unwrap().to_owned())
            .collect()
    }

    fn disk(&self, sector: usize) -> Vec<u8> {
        let disk = std::fs::read(self.dir.path().join("disk")).unwrap();
        disk[sector * 512..(sector + 1) * 512].to_vec()
    }
}

/// Asks and checks the answer; gives the number of requests the guest has seen.
fn ask(cable: &mut Cable, request: &[u8]) -> Option<u64> {
    cable.send(request).ok()?;
    let answer = cable.receive()?;
    assert_eq!(answer[..request.len()], *request);
    let count = answer.last_chunk::<8>().unwrap();
    Some(u64::from_le_bytes(*count))
}

#[test]
fn a_guest_alone_answers_and_its_power_off_ends_the_run() {
    let site = Site::new();
    let mut replica = site.start("run", None, false);
    let mut cable = site.gateway.accept();
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"w\x03data").unwrap();
    assert_eq!(cable.receive().unwrap()[..6], *b"w\x03data");
    assert_eq!(site.disk(3)[..6], *b"w\x03data");
    cable.send(b"r\x03").unwrap();
    assert_eq!(cable.receive().unwrap()[..8], *b"r\x03w\x03data");
    cable.send(b"o").unwrap();
    assert_eq!(replica.says("ended"), "Some(Off(Off))");
    let console = std::fs::read_to_string(site.dir.path().join("run.console")).unwrap();
    assert_eq!(console.lines().count(), 52);
    assert!(!site.dir.path().join("disk.lock").exists());
    assert_eq!(site.roles("run"), ["solo", "halted"]);
}

#[test]
fn a_recording_is_replayed_to_its_end_and_only_with_its_own_images() {
    let site = Site::new();
    let mut replica = site.start("record", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert_eq!(ask(&mut cable, b"e-again"), Some(2));
    cable.send(b"o").unwrap();
    assert_eq!(replica.says("ended"), "Some(Off(Off))");
    let (spec, log) = (vm(site.dir.path(), "replay"), site.dir.path().join("log"));
    let mut build = |_: &machine::Config| Ok(Toy::new(false));
    let mut frames = Vec::new();
    let mut seen = |effect| {
        if let machine::Effect::NetTransmit { frame, .. } = effect {
            frames.push(frame[..7].to_vec());
        }
    };
    let (replayed, _) = host::replay(&spec, &log, ReplayOptions::default(), &mut build, &mut seen).unwrap();
    assert_eq!(replayed.end, Some(replica::End::Off));
    assert!(replayed.outputs >= 4 && replayed.digests >= 1, "{replayed:?}");
    assert_eq!(frames, [b"e-hello", b"e-again"]);

    let mut other = |_: &machine::Config| Ok(Toy::broken());
    let error = host::replay(&spec, &log, ReplayOptions::default(), &mut other, &mut |_| {})
        .err()
        .unwrap();
    assert!(matches!(error, host::ReplayError::Playback { .. }), "{error}");
    std::fs::write(site.dir.path().join("firmware"), b"other").unwrap();
    let error = host::replay(&spec, &log, ReplayOptions::default(), &mut build, &mut |_| {})
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("recorded with other images"),
        "{error}"
    );
}

#[test]
fn a_pair_answers_and_its_power_off_ends_both() {
    for spins in [false, true] {
        let site = Site::new();
        let (mut primary, mut backup, mut cable) = site.pair(spins);
        for n in 1..=100 {
            assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
        }
        cable.send(b"o").unwrap();
        assert_eq!(primary.says("ended"), "Some(Off(Off))");
        assert_eq!(backup.says("ended"), "Some(Off(Off))");
        assert_eq!(site.roles("backup"), ["backup", "halted"]);
    }
}

#[test]
fn when_the_primary_is_killed_the_backup_goes_on_where_it_was() {
    for spins in [false, true] {
        let site = Site::new();
        let (mut primary, mut backup, mut cable) = site.pair(spins);
        let mut last = 0;
        for _ in 0..100 {
            last = ask(&mut cable, b"e-hello").unwrap();
        }
        cable.send(b"w\x05kept").unwrap();
        last += u64::from(cable.receive().is_some());
        // One request is under way when the primary dies.
        cable.send(b"w\x06last").unwrap();
        primary.kill();

        let mut cable = site.gateway.accept();
        assert_eq!(cable.announcement().unwrap().len(), 60);
        // Nothing answered is forgotten; the one under way was done or not (FT 2.2-e), so it is asked again.
        let mut count = 0;
        while count <= last {
            cable.send(b"e-after").unwrap();
            loop {
                let answer = cable.receive().unwrap();
                if answer.starts_with(b"e-after") {
                    count = u64::from_le_bytes(*answer.last_chunk().unwrap());
                    break;
                }
                assert!(answer.starts_with(b"w\x06last"), "{answer:?}");
            }
        }
        assert!(count <= last + 2, "{count} after {last}");
        cable.send(b"w\x07live").unwrap();
        while !cable.receive().unwrap().starts_with(b"w\x07live") {}
        assert_eq!(
            (&site.disk(5)[..6], &site.disk(7)[..6]),
            (&b"w\x05kept"[..], &b"w\x07live"[..])
        );
        cable.send(b"o").unwrap();
        assert_eq!(backup.says("ended"), "Some(Off(Off))");
        assert_eq!(site.roles("backup"), ["backup", "claiming", "solo", "halted"]);
        let live = site
            .events("backup")
            .into_iter()
            .find(|event| event["event"] == "go-live")
            .unwrap();
        assert_eq!(live["epoch"], 2);
    }
}

#[test]
fn both_halves_of_a_pair_have_its_disk_open_past_the_page_cache_and_a_vm_alone_has_not() {
    let site = Site::new();
    let path = site.dir.path().join("disk");
    let past_the_cache = |replica: &Replica| {
        let flags = open_flags(&replica.child.id().to_string(), &path);
        assert_eq!(flags.len(), 1, "{flags:?}");
        flags[0] & (O_DIRECT | O_DSYNC) != 0
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(past_the_cache(&primary) && past_the_cache(&backup));
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    let alone = site.start("run", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert!(!past_the_cache(&alone));
}

/// From here on the process can write no file beyond so many bytes: a disk that is ill for it alone.
fn limit_files(replica: &Replica, bytes: Option<u64>) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let (current, maximum) = (bytes, None);
    let pid = Pid::from_child(&replica.child);
    prlimit(Some(pid), Resource::Fsize, Rlimit { current, maximum }).unwrap();
}

#[test]
fn a_disk_that_is_ill_for_the_primary_alone_makes_the_guest_wait_and_a_failover_loses_nothing() {
    let site = Site::new();
    // The primary's events come as they happen.
    let path = site.dir.path().join("primary.events");
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    let pipe = std::fs::File::options()
        .read(true)
        .write(true)
        .open(&path)
        .unwrap();
    let mut lines = BufReader::new(pipe).lines();
    let mut event = |name: &str| loop {
        let line: serde_json::Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if line["event"] == name {
            return line;
        }
    };
    let (mut primary, mut backup, mut cable) = site.pair(false);
    limit_files(&primary, Some(64 * 512));

    cable.send(b"w\x50first").unwrap();
    let trouble = event("disk-trouble");
    assert_eq!(trouble["disk"], 0);
    let what = trouble["what"].as_str().unwrap();
    assert!(what.starts_with("cannot be written: File too large"), "{what}");
    // The guest goes on as far as it does not need that sector.
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    limit_files(&primary, None);
    assert!(cable.receive().unwrap().starts_with(b"w\x50first"));
    assert!(event("disk-well")["lasted_ms"].as_f64().unwrap() > 0.0);
    assert_eq!(site.disk(0x50)[..7], *b"w\x50first");

    limit_files(&primary, Some(64 * 512));
    cable.send(b"w\x51second").unwrap();
    event("disk-trouble");
    primary.kill();
    let mut cable = site.gateway.accept();
    while !cable.receive().unwrap().starts_with(b"w\x51second") {}
    assert_eq!(site.disk(0x51)[..8], *b"w\x51second");
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}

#[test]
fn when_the_backup_is_killed_the_primary_goes_on_alone() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(true);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    backup.kill();
    for n in 2..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(site.roles("primary"), ["primary", "claiming", "solo", "halted"]);
}

fn signal(replica: &Replica, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_child(&replica.child);
    rustix::process::kill_process(pid, signal).unwrap();
}

/// What the first line of events of this name holds.
fn event(events: &[Line], is: impl Fn(&Happening) -> bool) -> Happening {
    let line = events.iter().find(|line| is(&line.happening));
    line.expect("it was told").happening.clone()
}

#[test]
fn a_waiting_backup_outlives_callers_of_another_vm_and_tells_both_sides_why() {
    let site = Site::new();
    let mut backup = site.start("backup", None, false);
    let address = backup.says("listening");
    let disk = site.dir.path().join("other-disk");
    std::fs::write(&disk, vec![0; 64 << 10]).unwrap();
    for _ in 0..2 {
        let other = [(NAME, Path::new("other")), (DISK, &disk)];
        let mut caller = Replica::start_with("primary", site.dir.path(), Some(&address), false, &other);
        let words = caller.says("failed");
        assert!(
            words.contains("is of the VM \"toy\", this side of \"other\""),
            "{words}"
        );
        let words = backup.says("refused");
        assert!(
            words.contains("is of the VM \"other\", this side of \"toy\""),
            "{words}"
        );
    }
    let mut primary = site.start("primary", Some(&address), false);
    let mut cable = site.gateway.accept();
    assert_eq!(primary.says("paired"), "1");
    assert_eq!(backup.says("paired"), "1");
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
}

fn next(link: &mut Link) -> Message {
    loop {
        match link.receive().unwrap() {
            Some(message) => break Message::decode(&message).unwrap(),
            None => std::thread::yield_now(),
        }
    }
}

/// A backup that is this test: says what a backup says before the primary's decision.
fn welcome(listener: &mut Listener) -> Link {
    let mut link = listener.accept(None, &mut |_| {}).unwrap();
    let Message::Hello(mut hello) = next(&mut link) else {
        panic!("no greeting")
    };
    (hello.side, hello.owner) = (Side::Backup, 99);
    for message in [Message::Hello(hello), Message::Welcome] {
        link.send(&message.encode()).unwrap();
        assert!(link.flush().unwrap());
    }
    link
}

#[test]
fn a_primary_calls_again_when_the_talk_breaks_off_unless_the_backup_has_gone_live_since() {
    let site = Site::new();
    let key = Key::load(&site.dir.path().join("key")).unwrap();
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Security::Key(key)).unwrap();
    let mut primary = site.start("primary", Some(&listener.address().to_string()), false);
    // The link ends after the decision: the next pair has the next epoch, which this backup would claim if it suspected.
    for epoch in 1..=2 {
        let mut link = welcome(&mut listener);
        let start = next(&mut link);
        assert!(
            matches!(&start, Message::Start(start) if start.epoch == Epoch(epoch)),
            "{start:?}"
        );
    }
    // It does so, and the VM runs there now.
    let vm = VmName::new("toy").unwrap();
    let mut arbiter = DirectoryArbiter::open(&site.dir.path().join("arbiter")).unwrap();
    let claim = Claim {
        epoch: Epoch(3),
        owner: 99,
        after: None,
    };
    assert_eq!(arbiter.claim(&vm, claim).verdict, Verdict::Won);
    let _link = welcome(&mut listener);
    let words = primary.says("failed");
    assert!(words.contains("epoch 3 of 'toy' is taken"), "{words}");
}

#[test]
fn a_backup_that_sees_another_arbiter_or_another_disk_is_refused_and_both_sides_say_so() {
    // The same paths on two hosts, and what they lead to is not shared.
    let site = Site::new();
    let (arbiter, disk) = (site.dir.path().join("arbiter2"), site.dir.path().join("disk2"));
    std::fs::create_dir(&arbiter).unwrap();
    std::fs::write(&disk, vec![0; 64 << 10]).unwrap();
    let cases = [
        (ARBITER, &arbiter, "does not know epoch 1 of 'toy'"),
        (
            DISK,
            &disk,
            "is not the one that the primary has locked for epoch 2 of 'toy'",
        ),
    ];
    for (which, path, why) in cases {
        let mut backup =
            Replica::start_with("backup", site.dir.path(), None, false, &[(which, path.as_path())]);
        let address = backup.says("listening");
        let mut primary = site.start("primary", Some(&address), false);
        let words = primary.says("failed");
        assert!(
            words.contains("the other side refuses: the ") && words.contains(why),
            "{words}"
        );
        let words = backup.says("refused");
        assert!(
            words.contains(why) && words.contains("both sides must see the same"),
            "{words}"
        );
        assert!(words.contains(&path.display().to_string()), "{words}");
    }
    // With the right ones they become a pair.
    let (mut primary, _backup, mut cable) = site.pair_in(false, "3");
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
}

#[test]
fn a_backup_whose_arbiter_directory_was_replaced_meanwhile_does_not_go_live() {
    // A mount that is gone leaves an empty directory of the same name.
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    let (path, away) = (site.dir.path().join("arbiter"), site.dir.path().join("away"));
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    primary.kill();
    let refusal = loop {
        // The last line may not be whole yet.
        let text = std::fs::read_to_string(site.dir.path().join("backup.events")).unwrap();
        let mut events = text
            .lines()
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        if let Some(event) = events.find(|event| event["event"] == "verdict") {
            break event;
        }
        assert!(backup.child.try_wait().unwrap().is_none());
        std::thread::yield_now();
    };
    assert_eq!(refusal["verdict"], "unreachable");
    assert!(
        refusal["reason"]
            .as_str()
            .unwrap()
            .contains("does not know epoch 1"),
        "{refusal}"
    );
    // When the mount is back it does.
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
    let mut cable = site.gateway.accept();
    cable.announcement().unwrap();
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
}

#[test]
fn a_primary_that_is_told_to_end_leaves_the_vm_to_its_backup() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    signal(&primary, rustix::process::Signal::TERM);
    assert_eq!(primary.says("ended"), "Some(Left)");
    let mut cable = site.gateway.accept();
    assert_eq!(
        ask(&mut cable, b"e-hello"),
        Some(2),
        "the guest goes on where it was"
    );
    cable.send(b"o").unwrap();
    assert_eq!(backup.says("ended"), "Some(Off(Off))");

    let left = event(&site.lines("primary"), |it| matches!(it, Happening::Halt(_)));
    assert!(
        matches!(&left, Happening::Halt(end) if end.code == HaltCode::Left),
        "{left:?}"
    );
    assert!(
        left.sentence()
            .unwrap()
            .starts_with("the VM goes on at 127.0.0.1:")
    );
    let told = event(&site.lines("backup"), |it| {
        matches!(it, Happening::Suspected { .. })
    });
    let expected = SuspicionWord::Left;
    assert!(
        matches!(told, Happening::Suspected { why, .. } if why == expected),
        "{told:?}"
    );
}

#[test]
fn a_backup_that_is_told_to_end_leaves_and_the_primary_says_that_it_is_alone() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    signal(&backup, rustix::process::Signal::TERM);
    assert_eq!(backup.says("ended"), "None");
    for n in 2..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    // Now there is nobody to leave the VM to: the first signal changes nothing, the second pulls the plug.
    signal(&primary, rustix::process::Signal::TERM);
    for n in 51..=100 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    signal(&primary, rustix::process::Signal::TERM);
    assert_eq!(primary.says("ended"), "Some(Off(Off))");

    let left = event(&site.lines("backup"), |it| matches!(it, Happening::Halt(_)));
    assert!(
        matches!(&left, Happening::Halt(end) if end.code == HaltCode::Left),
        "{left:?}"
    );
    let lines = site.lines("primary");
    let alone = event(&lines, |it| matches!(it, Happening::Alone { .. }));
    let expected = SuspicionWord::LinkLost;
    assert!(
        matches!(alone, Happening::Alone { epoch: 2, why, .. } if why == expected),
        "{alone:?}"
    );
    let courses: Vec<Course> = lines
        .iter()
        .filter_map(|line| match line.happening {
            Happening::Stop { course, .. } => Some(course),
            _ => None,
        })
        .collect();
    assert_eq!(courses, [Course::Explain, Course::PowerOff]);
}

#[test]
fn a_closed_terminal_ends_neither_half() {
    let site = Site::new();
    let (mut primary, mut backup, mut cable) = site.pair(false);
    for replica in [&primary, &backup] {
        signal(replica, rustix::process::Signal::HUP);
    }
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    assert_eq!(site.roles("primary"), ["primary", "halted"]);
}

#[test]
fn events_that_nobody_reads_hold_up_neither_half() {
    let site = Site::new();
    let fifos: Vec<std::fs::File> = ["primary.events", "backup.events"]
        .iter()
        .map(|name| full_fifo(&site.dir.path().join(name)))
        .collect();
    let (mut primary, mut backup, mut cable) = site.pair(true);
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"o").unwrap();
    assert_eq!(primary.says("ended"), "Some(Off(Off))");
    assert_eq!(backup.says("ended"), "Some(Off(Off))");
    drop(fifos);
}

/// A FIFO that takes not one byte more, as long as the file that is returned is open.
fn full_fifo(path: &Path) -> std::fs::File {
    use rustix::fs::{CWD, FileType, Mode, OFlags};
    use std::io::Write;
    rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let open = rustix::fs::open(
        path,
        OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let mut fifo = std::fs::File::from(open.unwrap());
    // Whole pages first, then the bytes that are left.
    for length in [4096, 1] {
        while fifo.write(&vec![b'\n'; length]).is_ok() {}
    }
    fifo
}

#[test]
fn a_running_vm_is_not_started_a_second_time() {
    let site = Site::new();
    let (_primary, _backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    for role in ["run", "primary"] {
        let mut second = site.start(role, Some("127.0.0.1:1"), false);
        let words = second.says("failed");
        assert!(words.contains("is in use by VM 'toy' epoch 1 (pid "), "{words}");
    }
}

#[test]
fn a_machine_with_a_firmware_of_four_instructions_switches_itself_off() {
    let dir = tempfile::tempdir().unwrap();
    // lui t0, 0x100; lui t1, 5; addi t1, t1, 0x555; sw t1, 0(t0)
    let firmware: Vec<u8> = [0x0010_02b7_u32, 0x0000_5337, 0x5553_0313, 0x0062_a023]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    std::fs::write(dir.path().join("firmware"), firmware).unwrap();
    let mut spec = vm(dir.path(), "run");
    spec.memory = 64 << 20;
    spec.disks.clear();
    spec.nets.clear();
    let outcome = host::run(
        &spec,
        None,
        &mut host::build::machine(host::build::InterpreterOptions::default()),
    )
    .unwrap();
    assert_eq!(outcome.halt, Some(replica::Halt::Off(machine::PowerState::Off)));
    assert_eq!(outcome.figures.step, 4);
}
