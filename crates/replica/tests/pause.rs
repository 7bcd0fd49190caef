//! A guest that stands because its operator wants it to, alone and in a pair (FT 3.3-a): it does nothing, its
//! pair stays a pair, and whoever goes on with it has it stand too.

mod world;

use machine::{Control, Input, PowerState};
use replica::{Entry, EntryKind, Event, Guest, Halt, LogReader, Mark, News, Options, RoleName, Span};
use world::{A, B, World, header, ms, same_state};

/// Gives an order to a side and waits until it says that it is carried out.
fn order(world: &mut World, side: usize, paused: bool) {
    let before = world.process(side).news.len();
    world.deliver(side, Event::Pause(paused));
    world.until("the order is carried out", |world| {
        world.process(side).news[before..].contains(&News::Paused(paused))
    });
}

/// The guest of a side stands for longer than any timeout, whatever comes for it.
fn stands(world: &mut World, side: usize) {
    let (step, shown) = (
        world.process(side).node.guest().now(),
        world.process(side).shown.len(),
    );
    for number in 0..40 {
        world.frame(side, &[b'e', number]);
        world.run_for(ms(50));
    }
    assert_eq!(world.process(side).node.guest().now(), step);
    assert_eq!(world.process(side).shown.len(), shown);
}

#[test]
fn a_guest_alone_stands_until_it_is_told_to_run_and_its_time_goes_on() {
    let mut world = World::solo(Options::default());
    world.run_for(ms(20));
    let before = world.process(A).node.guest().mtime();
    order(&mut world, A, true);
    stands(&mut world, A);
    order(&mut world, A, false);
    world.until("it answers", |world| !world.process(A).frames().is_empty());
    // 40 times 50 ms, in ticks of 100 ns: a clock that stood would be wrong from now on.
    let jumped = world.process(A).node.guest().mtime() - before;
    assert!(jumped >= 20_000_000, "{jumped}");
}

#[test]
fn orders_that_are_carried_out_already_are_answered_all_the_same() {
    for mut world in [World::owner(), World::running_pair()] {
        for paused in [false, true, true, false, false] {
            order(&mut world, A, paused);
        }
        world.frame(A, b"e1");
        world.until("it answers", |world| !world.process(A).frames().is_empty());
    }
}

#[test]
fn a_pair_stays_a_pair_while_its_guest_stands() {
    let mut world = World::running_pair();
    order(&mut world, A, true);
    assert_eq!(world.process(B).news, [News::Paused(true)], "the backup knows");
    stands(&mut world, A);
    assert_eq!(world.process(A).role(), RoleName::Primary);
    assert_eq!(world.process(B).role(), RoleName::Backup);
    order(&mut world, A, false);
    world.run_for(ms(20));
    assert!(!world.process(A).frames().is_empty());
    same_state(&mut world);
}

#[test]
fn the_operator_hears_of_it_once_the_backup_knows() {
    let mut world = World::running_pair();
    world.delay = ms(40);
    world.deliver(A, Event::Pause(true));
    world.run_for(ms(60));
    assert_eq!(world.process(A).news, [], "the acknowledgement is under way");
    world.run_for(ms(40));
    assert_eq!(world.process(A).news, [News::Paused(true)]);
}

#[test]
fn whoever_takes_the_guest_over_has_it_stand() {
    let mut world = World::running_pair();
    order(&mut world, A, true);
    world.crash(A);
    world.until("B is live", |world| world.process(B).live.is_some());
    stands(&mut world, B);
    assert_eq!(
        world.process(B).news,
        [News::Paused(true), News::Paused(true)],
        "it is told again where it is live"
    );
    order(&mut world, B, false);
    world.until("it answers", |world| !world.process(B).frames().is_empty());
}

#[test]
fn a_guest_that_runs_again_runs_on_the_other_side_too() {
    let mut world = World::running_pair();
    order(&mut world, A, true);
    order(&mut world, A, false);
    world.crash(A);
    world.until("B is live", |world| world.process(B).live.is_some());
    world.frame(B, b"e1");
    world.until("it answers", |world| !world.process(B).frames().is_empty());
}

#[test]
fn sides_change_their_roles_while_the_guest_stands_and_back() {
    // FT 3.3-c.
    let mut world = World::running_pair();
    // An answer that has come for a guest that stands is got anew on the other side.
    world.frame(A, b"w1");
    world.run_for(Span::from_us(500));
    order(&mut world, A, true);
    world.run_for(ms(5));
    for (from, to) in [(A, B), (B, A)] {
        world.deliver(from, Event::HandOver);
        world.until("the roles are changed", |world| {
            world.process(to).role() == RoleName::Primary && world.process(from).role() == RoleName::Backup
        });
        world.run_for(ms(5));
        stands(&mut world, to);
    }
    world.crash(A);
    world.until("B is live", |world| world.process(B).role() == RoleName::Solo);
    stands(&mut world, B);
    order(&mut world, B, false);
    world.until("it answers", |world| !world.process(B).frames().is_empty());
    assert_eq!(world.disk.len(), 1, "the write is done");
}

#[test]
fn a_backup_that_comes_while_the_guest_stands_has_it_stand() {
    let mut world = World::owner();
    world.run_for(ms(20));
    order(&mut world, A, true);
    let copy = world.join(A);
    world.until("it is protected", |world| {
        world.process(A).role() == RoleName::Primary
            && world
                .processes
                .get(copy)
                .is_some_and(|copy| copy.role() == RoleName::Backup)
    });
    stands(&mut world, A);
    world.crash(A);
    world.until("it is live", |world| world.process(copy).role() == RoleName::Solo);
    stands(&mut world, copy);
    order(&mut world, copy, false);
    world.until("it answers", |world| !world.process(copy).frames().is_empty());
}

#[test]
fn a_backup_that_replaces_another_one_while_the_guest_stands_has_it_stand() {
    // FT 3.3-b.
    let mut world = World::running_pair();
    order(&mut world, A, true);
    let copy = world.join(A);
    world.until("B is replaced", |world| {
        world.process(B).halted == Some(Halt::Dismissed)
    });
    stands(&mut world, A);
    world.crash(A);
    world.until("it is live", |world| world.process(copy).role() == RoleName::Solo);
    stands(&mut world, copy);
}

#[test]
fn a_backup_is_dismissed_while_the_guest_stands() {
    let mut world = World::running_pair();
    order(&mut world, A, true);
    world.deliver(A, Event::Unprotect);
    world.until("A is alone", |world| world.process(A).role() == RoleName::Solo);
    stands(&mut world, A);
    order(&mut world, A, false);
    world.until("it answers", |world| !world.process(A).frames().is_empty());
}

#[test]
fn a_primary_that_leaves_leaves_a_guest_that_stands() {
    let mut world = World::running_pair();
    order(&mut world, A, true);
    world.deliver(A, Event::Leave);
    world.until("A has left", |world| world.process(A).halted == Some(Halt::Left));
    world.until("B is live", |world| world.process(B).live.is_some());
    stands(&mut world, B);
}

#[test]
fn the_plug_of_a_guest_that_stands_is_pulled() {
    // FT 3.3-a.
    let mut world = World::running_pair();
    order(&mut world, A, true);
    world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    for side in [A, B] {
        world.until("it is off", |world| {
            world.process(side).halted == Some(Halt::Off(PowerState::Off))
        });
    }
}

#[test]
fn the_log_of_a_guest_that_stood_has_marks_and_nothing_between_them() {
    let mut world = World::solo(Options {
        record: Some(header()),
        ..Options::default()
    });
    order(&mut world, A, true);
    stands(&mut world, A);
    order(&mut world, A, false);
    world.run_for(ms(20));
    world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    // What an operator wants of a guest that is off cannot be done.
    world.until("it is off", |world| world.process(A).halted.is_some());
    let mut log = LogReader::to_look_at();
    log.push(&world.process(A).file);
    assert!(log.header().unwrap().is_some());
    let mut entries: Vec<Entry> = Vec::new();
    while let Some(more) = log.frame().unwrap() {
        entries.extend(more);
    }
    let at = |paused| {
        let mark = EntryKind::Mark(Mark::Paused(paused));
        entries.iter().position(|entry| entry.kind == mark).unwrap()
    };
    assert_eq!(at(false), at(true) + 1);
    assert_eq!(entries[at(false)].at, entries[at(true)].at);
}
