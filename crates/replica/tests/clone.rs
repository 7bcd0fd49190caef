//! A VM that runs gets a backup, loses its primary, and gets another backup.
//!
//! FT 3.1-a to -c and 2.3-f: nobody outside notices a clone, whatever fails in it, and an output is held from
//! the very entry on that makes the copy a member.

mod world;

use replica::peer::message::{Log, Message};
use replica::{Event, Halt, News, Phase, RoleName, Span};
use world::{A, DELAY, World, count, ms, same_state};

/// A VM that runs, and the process that has just become its backup.
fn protected(world: &mut World, owner: usize) -> usize {
    let copy = world.join(owner);
    world.until("protected", |world| {
        world.process(owner).role() == RoleName::Primary
            && world
                .processes
                .get(copy)
                .is_some_and(|copy| copy.role() == RoleName::Backup)
    });
    copy
}

#[test]
fn a_guest_that_runs_gets_a_backup_and_survives_its_primary() {
    // FT 3.1-a, 3.1-b, 3.1-c.
    let mut world = World::running_owner();
    let copy = protected(&mut world, A);
    assert_eq!(copy, 1);
    let phases: Vec<News> = world.process(A).news.clone();
    assert!(matches!(
        phases.first(),
        Some(News::Cloning(_, Phase::Connecting))
    ));
    assert!(matches!(phases.last(), Some(News::Guarded(_))), "{phases:?}");
    for number in 0..20 {
        world.frame(A, &[b'e', number]);
        world.run_for(ms(1));
    }
    world.run_for(ms(20));
    same_state(&mut world);
    let shown = world.process(A).frames().len();
    assert_eq!(shown, 70);
    world.crash(A);
    world.until("live", |world| world.process(copy).role() == RoleName::Solo);
    world.frame(copy, b"e9");
    // The copy goes on where the primary was.
    world.until("the answer", |world| {
        world
            .process(copy)
            .frames()
            .last()
            .is_some_and(|answer| count(answer) == 71)
    });
}

#[test]
fn it_is_protected_again_as_often_as_hosts_last() {
    // FT 2.3-f, 3.1-e.
    let mut world = World::running_owner();
    let mut owner = A;
    for life in 0..5 {
        let copy = protected(&mut world, owner);
        for number in 0..10 {
            world.frame(owner, &[b'e', number]);
            world.frame(owner, &[b'n', 0]);
            world.run_for(ms(1));
        }
        world.crash(owner);
        world.until("live", |world| world.process(copy).role() == RoleName::Solo);
        assert_eq!(world.process(copy).live.map(|epoch| epoch.0), Some(8 + life));
        owner = copy;
    }
    world.frame(owner, b"e9");
    world.until("the answer", |world| {
        world
            .process(owner)
            .frames()
            .last()
            .is_some_and(|answer| count(answer) == 50 + 5 * 10 + 1)
    });
}

#[test]
fn outputs_wait_for_the_backup_from_the_entry_on_that_makes_it_one() {
    // FT 2.2-c: and not before.
    let mut world = World::running_owner();
    let copy = world.join(A);
    world.delay = ms(2);
    let mut last = 0;
    for number in 0..250 {
        world.frame(A, &[b'e', number]);
        world.run_for(ms(1));
        if world.process(A).role() == RoleName::Solo {
            assert_eq!(
                world.process(A).node.metrics().outputs_held,
                0,
                "nobody is waited for"
            );
            last = number;
        }
    }
    assert!((5..240).contains(&last), "{last}");
    world.until("all has left", |world| world.process(A).frames().len() == 300);
    let delay = &world.process(A).node.metrics().output_delay;
    assert!(delay.count > 5 && delay.percentile(1) >= ms(3), "{delay:?}");
    assert_eq!(world.process(copy).role(), RoleName::Backup);
}

#[test]
fn an_apprentice_that_dies_at_any_moment_costs_the_guest_nothing() {
    for after in 0..40 {
        let mut world = World::running_owner();
        let copy = world.join(A);
        world.until("it begins", |world| world.processes.len() > copy);
        world.run_for(Span::from_us(300 * after));
        if world.process(A).role() != RoleName::Solo {
            break;
        }
        world.crash(copy);
        let shown = world.process(A).frames().len();
        world.frame(A, b"e0");
        world.until("an answer", |world| world.process(A).frames().len() > shown);
        world.until("it is given up", |world| {
            matches!(world.process(A).news.last(), Some(News::Abandoned(..)))
        });
        assert_eq!(world.process(A).role(), RoleName::Solo);
        // And it can be tried again.
        protected(&mut world, A);
    }
}

#[test]
fn an_apprentice_whose_owner_dies_ends_and_never_claims() {
    for after in 0..40 {
        let mut world = World::running_owner();
        let copy = world.join(A);
        world.until("it begins", |world| world.processes.len() > copy);
        world.run_for(Span::from_us(300 * after));
        if world.process(copy).role() != RoleName::Apprentice {
            assert!(after > 2);
            break;
        }
        world.crash(A);
        world.until("it ends", |world| world.process(copy).stopped);
        let Some(Halt::Abandoned(why)) = &world.process(copy).halted else {
            panic!("{:?}", world.process(copy).halted);
        };
        assert_eq!(why, "nothing comes from its primary, nor a heartbeat");
        assert!(world.process(copy).asked.is_empty());
    }
}

#[test]
fn a_clone_that_gets_no_room_is_given_up_and_the_guest_runs_on() {
    let mut world = World::running_owner();
    world.bulk_cut = true;
    world.bulk_room = 200;
    let copy = world.join(A);
    world.until("it begins", |world| world.processes.len() > copy);
    for _ in 0..20 {
        world.run_for(ms(1_000));
    }
    assert!(matches!(
        world.process(A).news.last(),
        Some(News::Abandoned(_, why)) if why == "the bulk link to it takes nothing"
    ));
    assert!(matches!(world.process(copy).halted, Some(Halt::Abandoned(_))));
}

#[test]
fn a_process_that_dies_before_it_has_shaken_hands_makes_room_for_another_one() {
    let mut world = World::running_owner();
    world.join(A);
    // It has greeted, and nothing more.
    world.run_for(world::TICK);
    world.lose_joiner();
    for _ in 0..25 {
        world.run_for(ms(1_000));
    }
    assert!(matches!(
        world.process(A).news.last(),
        Some(News::Abandoned(_, why)) if why == "it does not answer"
    ));
    protected(&mut world, A);
}

#[test]
fn a_guest_that_is_off_takes_no_backup_though_its_disk_has_not_answered() {
    for joins_before in [true, false] {
        let mut world = World::running_owner();
        world.disk_away = true;
        world.frame(A, b"w1");
        world.run_for(ms(1));
        let begin = |world: &mut World| {
            let copy = world.join(A);
            world.until("it begins", |world| world.processes.len() > copy);
        };
        if joins_before {
            begin(&mut world);
        }
        world.frame(A, b"o");
        world.run_for(ms(5));
        assert_eq!(
            world.process(A).role(),
            RoleName::Solo,
            "a request is left to be finished"
        );
        if !joins_before {
            world.join(A);
            world.run_for(ms(5));
        }
        assert!(matches!(
            world.process(A).news.last(),
            Some(News::Abandoned(_, why)) if why == "its guest is off"
        ));
        world.disk_away = false;
        world.until("it ends", |world| world.process(A).stopped);
    }
}

#[test]
fn an_apprentice_may_hear_of_an_output_before_it_has_its_entry() {
    let mut world = World::running_owner();
    let copy = world.join(A);
    world.until("the cut", |world| {
        let cut = News::Cloning(replica::PeerId(101), Phase::CatchingUp);
        world.process(A).news.contains(&cut)
    });
    let shown = world.process(A).frames().len();
    world.frame(A, b"e0");
    world.until("an answer", |world| world.process(A).frames().len() > shown);
    let sent = world.now;
    let (released, frame) = (
        world.process(A).node.metrics().outputs_released,
        Default::default(),
    );
    let sign_of_life = Message::Log(Log {
        sent,
        released,
        frame,
    });
    let bytes = sign_of_life.encode().to_vec();
    world.deliver(copy, Event::Peer(replica::PeerId(0), bytes));
    world.run_for(world::TICK);
    assert_eq!(world.process(copy).halted, None);
}

#[test]
fn an_owner_does_not_spin_while_the_bulk_link_has_no_room_for_a_page() {
    let mut world = World::running_owner();
    world.bulk_room = 10;
    world.join(A);
    world.until("it is copied", |world| {
        let copying = News::Cloning(replica::PeerId(101), Phase::Copying);
        world.process(A).news.last() == Some(&copying)
    });
    world.run_for(ms(2));
    let deadline = world.process(A).node.deadline();
    assert!(
        deadline.is_some_and(|deadline| deadline > world.now),
        "{deadline:?}"
    );
}

#[test]
fn a_bulk_link_that_takes_a_few_bytes_now_and_then_takes_nothing() {
    let mut world = World::running_owner();
    world.bulk_cut = true;
    world.bulk_room = 200;
    let copy = world.join(A);
    world.until("it begins", |world| world.processes.len() > copy);
    let given_up = |world: &World| {
        let last = world.process(A).news.last();
        matches!(last, Some(News::Abandoned(_, why)) if why == "the bulk link to it takes nothing")
    };
    for _ in 0..17 {
        world.run_for(ms(1_000));
        let room = Event::BulkRoom {
            peer: replica::PeerId(101),
            bytes: 10,
            rate: None,
            spare: false,
        };
        world.deliver(A, room);
    }
    assert!(given_up(&world), "{:?}", world.process(A).news.last());
    assert!(matches!(world.process(copy).halted, Some(Halt::Abandoned(_))));
}

#[test]
fn without_the_arbiter_nobody_becomes_a_member_and_with_it_goes_on() {
    let mut world = World::running_owner();
    world.arbiter_away = true;
    let copy = world.join(A);
    world.run_for(ms(3_000));
    assert_eq!(world.process(copy).role(), RoleName::Apprentice);
    assert_eq!(
        world.process(A).news.last(),
        Some(&News::Cloning(replica::PeerId(101), Phase::Arming))
    );
    world.arbiter_away = false;
    world.until("protected", |world| {
        world.process(copy).role() == RoleName::Backup
    });
}

#[test]
fn an_owner_that_was_superseded_halts_instead_of_taking_a_member() {
    let mut world = World::running_owner();
    world.arbiter.insert(8, 77);
    let copy = world.join(A);
    world.until("it ends", |world| world.process(A).stopped);
    assert!(matches!(world.process(A).halted, Some(Halt::Lost(_))));
    world.until("so does the apprentice", |world| world.process(copy).stopped);
    assert!(matches!(world.process(copy).halted, Some(Halt::Abandoned(_))));
}

#[test]
fn a_vm_without_an_epoch_and_one_whose_backup_goes_take_nobody() {
    let mut world = World::pair();
    world.run_for(ms(10));
    world.cut_from[1] = true;
    world.deliver(A, Event::Unprotect);
    world.run_for(DELAY);
    world.join(A);
    world.run_for(ms(10));
    assert!(matches!(
        world.process(A).news.last(),
        Some(News::Abandoned(_, why)) if why == "its backup is being dismissed"
    ));
    world.deliver(A, Event::LinkLost(replica::PeerId(102)));
    world.run_for(DELAY);
    assert_eq!(
        world.process(A).role(),
        RoleName::Primary,
        "another link is nobody's business"
    );
}

/// The operator of a protected VM wants its backup no longer; frames keep coming.
fn unprotect(world: &mut World) {
    world.deliver(A, Event::Unprotect);
    for number in 0..5 {
        world.frame(A, &[b'e', number]);
    }
}

/// The VM has shown all that came for it, and gets another backup that can take over.
fn goes_on_and_is_protected_again(world: &mut World, epoch: u64) {
    world.until("all has left", |world| world.process(A).frames().len() == 55);
    let copy = protected(world, A);
    world.crash(A);
    world.until("live", |world| world.process(copy).role() == RoleName::Solo);
    assert_eq!(world.process(copy).live.map(|epoch| epoch.0), Some(epoch));
}

#[test]
fn a_backup_that_is_dismissed_ends_and_the_guest_runs_on() {
    let mut world = World::running_owner();
    let copy = protected(&mut world, A);
    unprotect(&mut world);
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    world.until("it ends", |world| world.process(copy).stopped);
    assert_eq!(world.process(copy).halted, Some(Halt::Dismissed));
    assert!(world.process(A).asked.is_empty(), "its promise is enough");
    assert!(matches!(world.process(A).news.last(), Some(News::Dismissed(_))));
    goes_on_and_is_protected_again(&mut world, 8);
}

#[test]
fn a_dismissed_backup_never_claims_whatever_becomes_of_its_promise() {
    let mut world = World::running_owner();
    let copy = protected(&mut world, A);
    world.cut_from[copy] = true;
    unprotect(&mut world);
    world.until("it ends", |world| world.process(copy).stopped);
    assert_eq!(world.process(copy).halted, Some(Halt::Dismissed));
    world.until("the arbiter decides", |world| {
        world.process(A).role() == RoleName::Solo
    });
    assert!(world.process(copy).asked.is_empty());
}

#[test]
fn a_silent_backup_is_excluded_at_the_arbiter_while_the_guest_runs_on() {
    let mut world = World::running_owner();
    let copy = protected(&mut world, A);
    world.cut_from[A] = true;
    world.cut_from[copy] = true;
    unprotect(&mut world);
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(world.arbiter.get(&8), Some(&1));
    world.until("it ends", |world| world.process(copy).stopped);
    assert!(matches!(world.process(copy).halted, Some(Halt::Lost(_))));
    world.cut_from[A] = false;
    goes_on_and_is_protected_again(&mut world, 9);
}

#[test]
fn without_the_arbiter_a_silent_backup_stays_and_its_late_promise_counts() {
    let mut world = World::running_owner();
    let copy = protected(&mut world, A);
    world.arbiter_away = true;
    // It hears, but its answers do not come back: only an acknowledgement could be its promise.
    world.delay = ms(1_200);
    world.deliver(A, Event::Unprotect);
    world.until("it is told", |world| {
        world
            .process(A)
            .news
            .iter()
            .any(|news| matches!(news, News::NotDismissed(_)))
    });
    assert_ne!(world.process(A).role(), RoleName::Solo, "nobody has excluded it");
    world.until("it ends", |world| world.process(copy).stopped);
    world.delay = DELAY;
    world.arbiter_away = false;
    world.until("alone", |world| world.process(A).role() == RoleName::Solo);
}

#[test]
fn a_process_on_its_way_is_sent_away_and_a_vm_alone_takes_no_notice() {
    let mut world = World::running_owner();
    world.deliver(A, Event::Unprotect);
    world.run_for(ms(5));
    assert!(world.process(A).news.is_empty());
    let copy = world.join(A);
    world.until("it begins", |world| world.processes.len() > copy);
    world.deliver(A, Event::Unprotect);
    world.until("it ends", |world| world.process(copy).stopped);
    assert!(matches!(world.process(copy).halted, Some(Halt::Abandoned(_))));
}
