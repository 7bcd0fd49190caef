//! Two processes become a pair, or refuse each other and say why.
//!
//! Callers of another VM, arbiters and disks that only look the same, a talk that breaks off. Each half must
//! say its reason, and a waiting backup must outlive all of them.

use std::path::Path;
use std::time::Duration;

use arbiter::{Arbiter, DirectoryArbiter, Place, Process};
use disk::{Access, Disk, Holder};
use host::ownership::Ownership;
use host::{ProtectSpec, VmSpec};
use link::bulk::{Phase, Sender};
use link::{Key, Link, Listener, Security, Token};
use machine::Boot;
use os::wake::Waker;
use replica::peer::message::Message;
use replica::{
    Claim, ClaimKind, Epoch, Header, Hello, How, MayOwn, OnSlow, Side, Span, Start, Verdict, VmName,
};

use crate::replica::{ARBITER, DISK, NAME, Replica, ask};
use crate::site::{Site, vm};

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
            words.contains("is of the VM `toy`, this side of `other`"),
            "{words}"
        );
        let words = backup.says("refused");
        assert!(
            words.contains("is of the VM `other`, this side of `toy`"),
            "{words}"
        );
    }
    let mut primary = site.start("primary", Some(&address), false);
    let mut cable = site.gateway.accept();
    assert_eq!(primary.says("paired"), "1");
    assert_eq!(backup.says("paired"), "1");
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
}

/// The owner of a VM that runs is this test: calls the host at `address`, and greets it.
fn call_as_owner(site: &Site, address: &str, header: &Header) -> Link {
    let key = Key::load(&site.dir.path().join("key")).unwrap();
    let address = address.parse().unwrap();
    let patience = Span::from_ms(10_000);
    let mut link = link::connect(address, &Security::Key(key), patience, &mut |_| true).unwrap();
    let hello = Hello {
        vm: "toy".to_owned(),
        side: Side::Primary,
        owner: 99,
        timeout: Span::from_ms(3_000),
        header: Some(header.clone()),
        settings: String::new(),
    };
    send(&mut link, Message::Hello(hello));
    assert!(matches!(next(&mut link), Message::Hello(_)));
    link
}

#[test]
fn a_vm_that_can_get_a_backup_may_call_its_host_though_it_has_no_gateway() {
    let site = Site::new();
    let mut spec = vm(site.dir.path(), "owner");
    spec.nets.clear();
    assert!(!spec.needs(None).sockets.tcp);
    spec.protect = Some(ProtectSpec {
        key: None,
        timeout: Span::from_ms(3_000),
        settings: String::new(),
        timeout_only: true,
        on_slow: OnSlow::default(),
        watcher: Vec::new(),
    });
    assert!(spec.needs(None).sockets.tcp);
}

#[test]
fn a_waiting_host_refuses_a_machine_that_its_program_does_not_compute() {
    let site = Site::new();
    let mut host = site.start("host", None, false);
    let address = host.says("listening");
    let config = vm(site.dir.path(), "owner").config(Boot::default(), &[]);
    let ours = VmSpec::header(&config);
    let (mut newer, mut elsewhere) = (ours.clone(), ours);
    newer.model += 1;
    elsewhere.features += 1;
    for (header, why) in [(newer, "the machine model"), (elsewhere, "CPU feature set")] {
        let mut link = call_as_owner(&site, &address, &header);
        let Message::Refuse(reason) = next(&mut link) else {
            panic!("it was not refused")
        };
        for words in [reason, host.says("refused")] {
            assert!(
                words.contains(why) && words.contains("the same release"),
                "{words}"
            );
        }
    }
}

#[test]
fn a_waiting_host_is_there_for_others_when_an_owner_dies_before_its_bulk_link_comes() {
    let site = Site::new();
    let mut host = site.start("host", None, false);
    let address = host.says("listening");
    let (header, _disks) = own(&site, Boot::default());
    let mut link = call_as_owner(&site, &address, &header);
    assert!(matches!(next(&mut link), Message::Welcome { .. }));
    send(&mut link, start(&header));
    drop(link);
    let words = host.says("refused");
    assert!(words.contains("the bulk link did not come"), "{words}");
    let mut link = call_as_owner(&site, &address, &header);
    assert!(matches!(next(&mut link), Message::Welcome { .. }));
}

#[test]
fn a_waiting_host_ends_when_the_images_do_not_come_since_it_is_in_the_sandbox_of_that_vm() {
    let site = Site::new();
    let mut host = site.start("host", None, false);
    let address = host.says("listening");
    let firmware = b"what the host has not".as_slice().into();
    let (header, _disks) = own(
        &site,
        Boot {
            firmware,
            ..Boot::default()
        },
    );
    let mut link = call_as_owner(&site, &address, &header);
    assert!(matches!(next(&mut link), Message::Welcome { lacks } if lacks == [header.firmware]));
    send(&mut link, start(&header));
    let key = Security::Key(Key::load(&site.dir.path().join("key")).unwrap());
    let waker = Waker::new().unwrap();
    let bulk = Sender::call(address.parse().unwrap(), &key, Token::new(TOKEN), None, waker).unwrap();
    while bulk.phase() != Phase::Open {
        std::thread::yield_now();
    }
    drop(bulk);
    assert!(matches!(next(&mut link), Message::Refuse(_)));
    let words = host.says("failed");
    assert!(words.contains("closed the link"), "{words}");
}

/// What the bulk link of a test shows.
const TOKEN: [u8; 16] = [7; 16];

/// The process of the tests owns the VM in epoch 1: the machine, booted from `boot`, and the locked disks.
fn own(site: &Site, boot: Boot) -> (Header, Vec<Disk>) {
    let spec = vm(site.dir.path(), "owner");
    let disks = spec.open_disks(Access::Pair).unwrap();
    let header = VmSpec::header(&spec.config(boot, &disks));
    let mut arbiter = DirectoryArbiter::open(&site.dir.path().join("arbiter"), Process::here(None)).unwrap();
    let (vm, epoch, owner) = (spec.name, Epoch(1), 99);
    let claim = Claim {
        epoch,
        owner,
        after: None,
        heirs: Vec::new(),
        kind: ClaimKind::Start,
    };
    assert_eq!(arbiter.claim(&vm, &claim).verdict, Verdict::Won);
    disks[0].lock(&Holder { vm, epoch, owner }).unwrap();
    (header, disks)
}

/// The owner's decision.
fn start(header: &Header) -> Message {
    Message::Start(Start {
        epoch: Epoch(1),
        timeout: Span::from_ms(3_000),
        how: How::Clone { token: TOKEN },
        header: header.clone(),
    })
}

fn send(link: &mut Link, message: Message) {
    link.send(&message.encode()).unwrap();
    assert!(link.flush().unwrap());
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
    for message in [Message::Hello(hello), Message::Welcome { lacks: vec![] }] {
        send(&mut link, message);
    }
    link
}

#[test]
fn a_primary_calls_again_when_the_talk_breaks_off_unless_the_backup_has_gone_live_since() {
    let site = Site::new();
    let key = Key::load(&site.dir.path().join("key")).unwrap();
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Security::Key(key)).unwrap();
    let mut primary = site.start("primary", Some(&listener.address().to_string()), false);
    // The link ends after the decision: the next pair has the next epoch, which this backup would claim if it
    // suspected.
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
    let mut arbiter = DirectoryArbiter::open(&site.dir.path().join("arbiter"), Process::here(None)).unwrap();
    let claim = Claim {
        epoch: Epoch(3),
        owner: 99,
        after: None,
        heirs: Vec::new(),
        kind: ClaimKind::Failover,
    };
    assert_eq!(arbiter.claim(&vm, &claim).verdict, Verdict::Won);
    let _link = welcome(&mut listener);
    let words = primary.says("failed");
    assert!(words.contains("epoch 3 of 'toy' is taken"), "{words}");
}

#[test]
fn a_start_whose_last_question_had_no_answer_gives_up_the_last_epoch_if_that_is_its_own() {
    let site = Site::new();
    let spec = vm(site.dir.path(), "primary");
    let place = Place::Directory(site.dir.path().join("arbiter"));
    let mut ours = Ownership::open(&spec, &place, 7).unwrap();
    assert_eq!(ours.begin(&spec, Duration::ZERO).unwrap(), Epoch(1));
    let mut others = Ownership::open(&spec, &place, 8).unwrap();
    others.give_up(&spec, MayOwn::Unknown);
    let is_open = |arbiter: &mut Ownership| {
        let last = arbiter.arbiter().last(&spec.name).unwrap().unwrap();
        last.closed.is_none()
    };
    assert!(is_open(&mut others), "it is the other process's");
    ours.give_up(&spec, MayOwn::Unknown);
    assert!(!is_open(&mut others));
    assert_eq!(others.begin(&spec, Duration::ZERO).unwrap(), Epoch(2));
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
fn a_running_vm_is_not_started_a_second_time() {
    let site = Site::new();
    let (_primary, _backup, mut cable) = site.pair(false);
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    for (role, why) in [
        ("run", "is in use by VM 'toy' epoch 1 (pid "),
        ("primary", "toy runs as epoch 1 on host "),
    ] {
        let mut second = site.start(role, Some("127.0.0.1:1"), false);
        let words = second.says("failed");
        assert!(words.contains(why), "{words}");
    }
}
