//! Two processes become a pair, or say why not.
//!
//! Two `Handshake`s pass each other their messages without a link; the test is the arbiter and builds the
//! machines. Each refusal must name its reason on both sides.

use machine::{Boot, Config, DiskConfig, NetConfig};
use replica::{
    Epoch, Failure, Handshake, HandshakeAction, HandshakeEvent, Header, Hello, How, ImageId, Seq, Side, Span,
    Start, Time, limits,
    log::entry_bytes::Base,
    peer::{
        joining::{CutAt, PROTOCOL},
        message::Message,
    },
};

fn config() -> Config {
    Config {
        memory: 128 << 20,
        harts: 2,
        disks: vec![DiskConfig {
            sectors: 4096,
            read_only: false,
            serial: "root".to_owned(),
        }],
        nets: vec![NetConfig {
            mac: [2, 0, 0, 0, 0, 1],
        }],
        virtio: machine::Transport::default(),
        rng_seed: [1; 32],
        wall_clock_ns: 5,
        boot: Boot {
            kernel: b"kernel".as_slice().into(),
            ..Boot::default()
        },
    }
}

fn hello(side: Side) -> Hello {
    let mut config = config();
    if side == Side::Backup {
        // The seeds are the primary's business.
        config.rng_seed = [2; 32];
        config.wall_clock_ns = 6;
        config.nets[0].mac = [2, 0, 0, 0, 0, 2];
    }
    Hello {
        vm: "db".to_owned(),
        side,
        owner: if side == Side::Primary { 11 } else { 22 },
        timeout: limits::TIMEOUT_DEFAULT,
        header: Some(Header::new(&config, "lockstep 0.1", 0)),
        settings: String::new(),
    }
}

/// How a handshake ended on one side.
#[derive(Debug, PartialEq)]
enum Outcome {
    Done(Box<Start>),
    Failed(Failure),
    Open,
}

/// What the backup finds at its own arbiter and disks.
type Proof = fn(Epoch, u128) -> HandshakeEvent;

fn drive(one: Hello, two: Hello, arbiter: Option<Epoch>, build: bool) -> [Outcome; 2] {
    drive_with(one, two, arbiter, build, |_, _| HandshakeEvent::Proven)
}

fn drive_with(one: Hello, two: Hello, arbiter: Option<Epoch>, build: bool, proof: Proof) -> [Outcome; 2] {
    let now = Time(0);
    lead(
        [Handshake::new(now, one), Handshake::new(now, two)],
        arbiter,
        build,
        proof,
    )
}

/// The handshake by which `waiting` becomes an apprentice of the guest that runs as `one`, in epoch 5.
fn join(one: Hello, waiting: Hello) -> [Outcome; 2] {
    let now = Time(0);
    let sides = [
        Handshake::of_running(now, one, Epoch(5), TOKEN),
        Handshake::new(now, waiting),
    ];
    lead(sides, None, true, |_, _| HandshakeEvent::Proven)
}

const TOKEN: [u8; 16] = [7; 16];

/// What a host that waits for whichever VM comes has not of this one.
fn lacks() -> Vec<ImageId> {
    vec![ImageId::of(b"kernel")]
}

fn lead(mut sides: [Handshake; 2], arbiter: Option<Epoch>, build: bool, proof: Proof) -> [Outcome; 2] {
    let now = Time(0);
    let mut outcomes = [Outcome::Open, Outcome::Open];
    for _ in 0..20 {
        for index in 0..2 {
            while let Some(action) = sides[index].poll() {
                match action {
                    HandshakeAction::Send(bytes) => {
                        sides[1 - index].handle(now, HandshakeEvent::Peer(bytes.to_vec()));
                    }
                    HandshakeAction::AskNext => {
                        let answer =
                            arbiter.map_or(HandshakeEvent::ArbiterUnreachable, HandshakeEvent::Granted);
                        sides[index].handle(now, answer);
                    }
                    HandshakeAction::Consider(theirs) => {
                        let event = if theirs.settings.is_empty() {
                            HandshakeEvent::Unfit("this host has no such network".to_owned())
                        } else {
                            HandshakeEvent::Fits { lacks: lacks() }
                        };
                        sides[index].handle(now, event);
                    }
                    HandshakeAction::Supply { token, images } => {
                        assert_eq!((token, images), (TOKEN, lacks()));
                    }
                    HandshakeAction::Prove { epoch, owner } => {
                        sides[index].handle(now, proof(epoch, owner));
                    }
                    HandshakeAction::Build(_) if build => sides[index].handle(now, HandshakeEvent::Built),
                    HandshakeAction::Build(_) => {
                        sides[index].handle(now, HandshakeEvent::BuildFailed("no memory".to_owned()));
                    }
                    HandshakeAction::Done {
                        start,
                        primary,
                        backup,
                    } => {
                        assert_eq!((primary, backup), (11, 22), "both sides know whose epoch it is");
                        outcomes[index] = Outcome::Done(Box::new(start));
                    }
                    HandshakeAction::Failed(failure) => outcomes[index] = Outcome::Failed(failure),
                }
            }
        }
    }
    outcomes
}

fn refused(one: Hello, two: Hello) -> [Failure; 2] {
    drive(one, two, Some(Epoch(1)), true).map(|outcome| match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    })
}

#[test]
fn a_pair_is_formed_with_the_primarys_seeds_and_the_longer_timeout() {
    // FT 3.1-b (from boot).
    let mut backup = hello(Side::Backup);
    backup.timeout = Span::from_ms(800);
    let [one, two] = drive(hello(Side::Primary), backup, Some(Epoch(4)), true);
    assert_eq!(one, two);
    let Outcome::Done(start) = one else {
        panic!("{one:?}")
    };
    assert_eq!(start.epoch, Epoch(4));
    assert_eq!(start.timeout, Span::from_ms(800));
    assert_eq!(Some(&start.header), hello(Side::Primary).header.as_ref());
    let built = start.header.config(config().boot).unwrap();
    assert_eq!(built, config());
}

/// A host that waits for whichever VM comes.
fn waiting() -> Hello {
    Hello {
        vm: String::new(),
        header: None,
        ..hello(Side::Backup)
    }
}

#[test]
fn a_host_that_waits_takes_the_machine_of_whichever_running_vm_comes() {
    // FT 3.1-a, 3.1-c.
    let running = Hello {
        settings: "arbiter = \"/shared\"".to_owned(),
        ..hello(Side::Primary)
    };
    let [one, two] = join(running.clone(), waiting());
    assert_eq!(one, two);
    let Outcome::Done(start) = one else {
        panic!("{one:?}")
    };
    assert_eq!((start.epoch, start.how), (Epoch(5), How::Clone { token: TOKEN }));
    assert_eq!(Some(start.header), running.header, "with the seeds");
}

#[test]
fn a_host_that_cannot_take_a_vm_says_why() {
    let [one, two] = join(hello(Side::Primary), waiting()).map(|outcome| match outcome {
        Outcome::Failed(failure) => failure,
        other => panic!("{other:?}"),
    });
    let why = "this host has no such network";
    assert_eq!(two, Failure::Unfit(why.to_owned()));
    assert_eq!(one, Failure::Refused(why.to_owned()));
}

#[test]
fn a_vm_that_boots_is_not_taken_by_a_host_that_waits_for_a_running_one() {
    let boots = Hello {
        settings: "arbiter = \"/shared\"".to_owned(),
        ..hello(Side::Primary)
    };
    let [one, two] = refused(boots, waiting());
    assert_eq!(one, Failure::WaitsForRunning);
    assert!(matches!(two, Failure::Refused(_) | Failure::OutOfTurn), "{two:?}");
}

#[test]
fn two_of_a_kind_refuse_each_other() {
    let mut other = hello(Side::Primary);
    other.owner = 33;
    assert_eq!(
        refused(hello(Side::Primary), other),
        [const { Failure::SameSide(Side::Primary) }; 2]
    );
}

#[test]
fn a_process_does_not_pair_with_itself() {
    let mut other = hello(Side::Backup);
    other.owner = 11;
    assert_eq!(refused(hello(Side::Primary), other)[0], Failure::Myself);
}

#[test]
fn another_vm_is_refused_by_name() {
    let mut other = hello(Side::Backup);
    other.vm = "web".to_owned();
    let [one, _] = refused(hello(Side::Primary), other);
    assert_eq!(
        one.to_string(),
        "the other side is of the VM `web`, this side of `db`; give both the same name"
    );
}

#[test]
fn another_machine_is_refused_with_the_first_difference() {
    type Edit = fn(&mut Header);
    let changes: [(Edit, &str); 9] = [
        (
            |h| h.memory = 1 << 30,
            "the memory size differs: 1 GiB there, 128 MiB here",
        ),
        (|h| h.harts = 4, "the number of harts"),
        (
            |h| h.virtio = machine::Transport::Legacy,
            "the version of virtio-mmio differs: 1 there, 2 here",
        ),
        (|h| h.disks.clear(), "the number of disks"),
        (|h| h.disks[0].sectors = 1, "a disk's size"),
        (|h| h.command_line = "quiet".to_owned(), "the kernel command line"),
        (
            |h| h.kernel.sha256[0] ^= 1,
            "the kernel differs: 6 bytes, SHA-256",
        ),
        (|h| h.features = 1, "CPU feature set"),
        (|h| h.model = 2, "the machine model differs: 2 there, 1 here"),
    ];
    for (change, text) in changes {
        let mut other = hello(Side::Backup);
        change(other.header.as_mut().unwrap());
        let [one, two] = refused(hello(Side::Primary), other);
        assert!(one.to_string().contains(text), "{one}");
        assert!(matches!(two, Failure::Machine(_)), "{two}");
    }
}

#[test]
fn an_image_that_changed_since_is_not_used() {
    let header = hello(Side::Primary).header;
    let boot = Boot {
        kernel: b"other".as_slice().into(),
        ..Boot::default()
    };
    assert!(
        header
            .as_ref()
            .unwrap()
            .config(boot)
            .unwrap_err()
            .to_string()
            .starts_with("the kernel differs")
    );
}

#[test]
fn without_an_arbiter_or_a_machine_there_is_no_pair() {
    let [one, two] = drive(hello(Side::Primary), hello(Side::Backup), None, true);
    assert_eq!(one, Outcome::Failed(Failure::Arbiter));
    assert!(matches!(two, Outcome::Failed(Failure::Refused(why)) if why.contains("arbiter")));
    let [one, two] = drive(hello(Side::Primary), hello(Side::Backup), Some(Epoch(1)), false);
    assert!(matches!(one, Outcome::Failed(Failure::Refused(why)) if why.contains("no memory")));
    assert!(matches!(two, Outcome::Failed(Failure::Build(_))));
}

#[test]
fn a_backup_builds_nothing_before_it_has_seen_the_primarys_claim_at_its_own_arbiter() {
    // FT 2.3-e: two arbiters would let both sides win.
    let both = |proof| {
        drive_with(
            hello(Side::Primary),
            hello(Side::Backup),
            Some(Epoch(4)),
            true,
            proof,
        )
    };
    let found = |epoch, owner| {
        assert_eq!(
            (epoch, owner),
            (Epoch(4), 11),
            "the epoch of `Start`, the owner of `Hello`"
        );
        HandshakeEvent::Proven
    };
    assert!(both(found).iter().all(|side| matches!(side, Outcome::Done(_))));

    let why = "the arbiter directory of the backup does not know epoch 4";
    let [one, two] = both(|_, _| {
        HandshakeEvent::NotShared("the arbiter directory of the backup does not know epoch 4".to_owned())
    });
    assert_eq!(one, Outcome::Failed(Failure::Refused(why.to_owned())));
    assert_eq!(two, Outcome::Failed(Failure::NotShared(why.to_owned())));
}

#[test]
fn a_machine_that_nobody_asked_to_build_and_a_proof_that_nobody_asked_for_are_out_of_turn() {
    for event in [HandshakeEvent::Built, HandshakeEvent::Proven] {
        let mut side = Handshake::new(Time(0), hello(Side::Backup));
        side.handle(Time(0), event);
        let last = std::iter::from_fn(|| side.poll()).last();
        assert_eq!(last, Some(HandshakeAction::Failed(Failure::OutOfTurn)));
    }
}

#[test]
fn an_unsound_timeout_is_refused() {
    let mut other = hello(Side::Backup);
    other.timeout = Span::from_ms(10);
    let [one, two] = refused(hello(Side::Primary), other);
    assert_eq!(two, Failure::Timeout);
    assert_eq!(one, Failure::Timeout);
}

#[test]
fn another_protocol_garbage_silence_and_disorder_end_it() {
    let after = |event: HandshakeEvent| {
        let mut side = Handshake::new(Time(0), hello(Side::Primary));
        side.handle(Time(0), event);
        let mut last = None;
        while let Some(action) = side.poll() {
            last = Some(action);
        }
        match last {
            Some(HandshakeAction::Failed(failure)) => failure,
            other => panic!("{other:?}"),
        }
    };
    let peer = |message: Message| HandshakeEvent::Peer(message.encode().to_vec());
    assert_eq!(
        after(peer(Message::OtherProtocol(PROTOCOL + 1))),
        Failure::Protocol { theirs: PROTOCOL + 1 }
    );
    assert!(matches!(
        after(HandshakeEvent::Peer(vec![0xff, 1, 2])),
        Failure::Garbage(_)
    ));
    assert!(matches!(after(HandshakeEvent::Peer(vec![])), Failure::Garbage(_)));
    assert_eq!(after(peer(Message::Ready)), Failure::OutOfTurn);
    assert_eq!(after(HandshakeEvent::LinkLost), Failure::LinkLost);
    assert_eq!(after(HandshakeEvent::Built), Failure::OutOfTurn);

    let mut side = Handshake::new(Time(0), hello(Side::Backup));
    let deadline = side.deadline().unwrap();
    side.wake(Time(deadline.0 - 1));
    assert_eq!(side.deadline(), Some(deadline));
    side.wake(deadline);
    side.poll();
    assert_eq!(side.poll(), Some(HandshakeAction::Failed(Failure::Silence)));
    assert_eq!(side.deadline(), None);
}

#[test]
fn messages_survive_their_bytes() {
    let start = Start {
        epoch: Epoch(3),
        timeout: Span(9),
        how: How::Clone { token: [7; 16] },
        header: hello(Side::Primary).header.unwrap(),
    };
    let cut = CutAt {
        base: Base {
            seq: Seq(70_000),
            step: machine::Step(1 << 40),
            mtime: 12_345_678,
            rate: 4_000_000,
        },
        outputs: 900,
        released: 880,
        entropy: vec![64, 8],
    };
    let waiting = Hello {
        vm: String::new(),
        header: None,
        settings: "disk = [\"a\"]".to_owned(),
        ..hello(Side::Backup)
    };
    for message in [
        Message::Hello(hello(Side::Backup)),
        Message::Hello(waiting),
        Message::OtherProtocol(3),
        Message::Welcome { lacks: vec![] },
        Message::Welcome {
            lacks: vec![ImageId::of(b"kernel"), ImageId::of(b"initrd")],
        },
        Message::Refuse("no".to_owned()),
        Message::Start(start),
        Message::Ready,
        Message::Diverged {
            at: machine::Step(5),
            part: "ram".to_owned(),
        },
        Message::Ended { released: 8 },
        Message::HandOver {
            released: 9,
            rejoin: true,
        },
        Message::Cut(cut),
        Message::Following { digests: 2 },
        Message::Abandon("the link is too slow".to_owned()),
        Message::Dismiss,
        Message::Dismissed,
        Message::Taken(Epoch(8)),
        Message::Declined("no disk".to_owned()),
    ] {
        let bytes = message.clone().encode();
        assert_eq!(Message::decode(&bytes), Ok(message));
        for length in 0..bytes.len() {
            assert!(Message::decode(&bytes[..length]).is_err());
        }
        // Of another protocol only the number is understood.
        let other = bytes == Message::OtherProtocol(3).encode();
        assert!(other || Message::decode(&[&bytes[..], &[0]].concat()).is_err());
    }
}
