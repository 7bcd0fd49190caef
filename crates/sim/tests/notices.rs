//! Death notices: a backup that is told of its primary's end need not wait for the lease, whenever and
//! however often it is told; and a notice that means another process or another epoch changes nothing.

use replica::{
    Epoch, Notice, Span,
    peer::heartbeat::{Beat, Heartbeat},
};
use sim::{Options, ProcessId, Toy, World, faults::Death, process::owner, run::RECOVERY};

fn world(seed: u64, notice: Notice) -> World<Toy> {
    let options = Options {
        notice,
        ..Options::calm(seed)
    };
    World::new(options, seed, None)
}

/// How long it takes until B is live, after A's process has died.
fn takes_over(seed: u64, notice: Notice) -> Span {
    let mut world = world(seed, notice);
    world.run_for(Span::from_ms(100));
    let died = world.now();
    world.crash(ProcessId::A, Death::Process);
    let limit = died.after(RECOVERY);
    let is_live = world.run_while(limit, |world| world.owner() != ProcessId::B);
    assert!(is_live, "seed {seed}: {:?}", world.violation());
    let took = world.now().since(died);
    world.live();
    assert_eq!(world.violation(), None, "seed {seed}");
    took
}

#[test]
fn a_backup_that_is_told_of_its_primarys_end_does_not_wait_for_the_lease() {
    // docs/decisions/0088. Some watchers tell at once, some late, some never: then the lease is waited for.
    let sooner = |notice: Notice| {
        let soon = Span::from_ms(80);
        (0..40).filter(|seed| takes_over(*seed, notice) < soon).count()
    };
    assert_eq!(sooner(Notice::TimeoutOnly), 0);
    assert!((10..40).contains(&sooner(Notice::Settled)));
    assert!((10..40).contains(&sooner(Notice::Unsettled)));
}

#[test]
fn a_notice_of_another_process_or_another_epoch_ends_no_pair() {
    let mut world = world(1, Notice::Settled);
    world.run_for(Span::from_ms(100));
    let epoch = world.process(ProcessId::B).epoch;
    let [a, b] = ProcessId::PAIR.map(|who| owner(1, who));
    for (epoch, owner) in [
        (Epoch(epoch.0 - 1), a),
        (Epoch(epoch.0 + 1), a),
        (epoch, b),
        (epoch, 7),
    ] {
        let beat = Beat::Ended { settled: true };
        let notice = Heartbeat { epoch, owner, beat };
        world.tell(ProcessId::B, notice.encode().to_vec());
    }
    world.run_for(Span::from_ms(1_000));
    assert_eq!(world.owner(), ProcessId::A);
    assert_eq!(world.violation(), None);
}

#[test]
fn drawn_worlds_have_notices_of_all_kinds() {
    let count = |notice: Notice| {
        (0..300)
            .filter(|seed| Options::draw(*seed).notice == notice)
            .count()
    };
    for notice in [Notice::TimeoutOnly, Notice::Settled, Notice::Unsettled] {
        assert!(count(notice) > 60, "{notice:?}");
    }
}
