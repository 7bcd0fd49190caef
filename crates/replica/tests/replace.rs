//! A backup is replaced by another one while the guest runs, with no instant in which the VM has none.
//!
//! FT 3.1-a and 3.3-b: whatever dies on the way, somebody goes on with all that was ever shown.

mod world;

use replica::{ClaimKind, Event, Halt, News, PeerId, RoleName, Span};
use world::{A, TIMEOUT, World, count, ms};

/// The number of the last answer that anybody has shown.
fn last_answer(world: &World) -> u64 {
    let shown = world.processes.iter().flat_map(|process| process.frames());
    shown.map(|answer| count(&answer)).max().unwrap_or(0)
}

/// A VM that has run for a while and has a backup: the process 1.
fn protected() -> World {
    let mut world = World::running_owner();
    assert_eq!(world.join(A), 1);
    world.until("protected", |world| role(world, 1) == Some(RoleName::Backup));
    world
}

/// A VM with two backups, the processes 1 and 2, of which the second one knows that it is one.
fn with_heir() -> World {
    let mut world = protected();
    world.join(A);
    world.until("a second backup", |world| {
        role(world, 2) == Some(RoleName::Backup)
    });
    world
}

/// A VM at the moment at which it has made the process 2 its second backup, which cannot know of it yet.
fn with_second_member() -> World {
    let mut world = protected();
    world.join(A);
    world.until("a second backup", |world| {
        let is_guarded = |news: &&News| matches!(news, News::Guarded(_));
        world.process(A).news.iter().filter(is_guarded).count() == 2
    });
    world
}

fn role(world: &World, process: usize) -> Option<RoleName> {
    world.processes.get(process).map(|process| process.role())
}

/// Asks the guest something each millisecond until `done`.
fn work_until(world: &mut World, owner: usize, what: &str, done: impl Fn(&World) -> bool) {
    for number in 0..10_000 {
        if done(world) {
            return;
        }
        world.frame(owner, &[b'e', number as u8]);
        world.run_for(ms(1));
    }
    panic!("never: {what}");
}

/// The guest answers at `owner`, and has forgotten nothing that it has ever shown.
fn goes_on(world: &mut World, owner: usize) {
    let before = last_answer(world);
    world.frame(owner, b"e9");
    world.until("an answer", |world| {
        let answers = world.process(owner).frames();
        answers.last().is_some_and(|answer| count(answer) > before)
    });
}

#[test]
fn a_backup_is_replaced_and_the_vm_has_one_all_the_time() {
    // FT 3.3-b.
    let mut world = protected();
    assert_eq!(world.join(A), 2);
    world.delay = ms(2);
    let mut both = false;
    for number in 0..2000 {
        world.frame(A, &[b'e', number as u8]);
        world.run_for(ms(1));
        let is_backup =
            |number| role(&world, number) == Some(RoleName::Backup) && world.process(number).halted.is_none();
        assert!(is_backup(1) || is_backup(2), "somebody can go on at any time");
        both |= is_backup(1) && is_backup(2);
        if world.process(1).halted.is_some() {
            break;
        }
    }
    assert!(both);
    assert_eq!(world.process(1).halted, Some(Halt::Dismissed));
    world.run_for(ms(50));
    let news = &world.process(A).news;
    assert!(matches!(
        news[news.len() - 2..],
        [News::Guarded(new), News::Dismissed(old)] if new != old
    ));
    assert_eq!(role(&world, A), Some(RoleName::Primary));
    assert!(world.process(A).asked.is_empty(), "a promise needs no arbiter");
    world.crash(A);
    world.until("live", |world| role(world, 2) == Some(RoleName::Solo));
    assert_eq!(world.process(2).live.map(|epoch| epoch.0), Some(8));
    goes_on(&mut world, 2);
}

#[test]
fn an_old_backup_that_does_not_answer_is_excluded_and_the_new_one_is_heir() {
    let mut world = with_heir();
    assert!(world.process(A).node.is_dismissing(), "the old one is to go");
    // It stands still, and its promise never comes.
    world.processes[1].stopped = true;
    work_until(&mut world, A, "excluded", |world| {
        matches!(world.process(A).news.last(), Some(News::Dismissed(_)))
    });
    let (_, claim) = &world.process(A).asked[0];
    assert_eq!(
        (claim.kind, &claim.heirs[..]),
        (ClaimKind::Resolve, &[world::process(2)][..])
    );
    assert_eq!(role(&world, A), Some(RoleName::Primary));
    assert_eq!(world.process(A).live.map(|epoch| epoch.0), Some(8));
    // The heir knows that it is a member of that epoch, and tells that.
    world.run_for(ms(20));
    assert_eq!(world.process(2).node.metrics().epoch.0, 8);
    assert!(!world.process(A).node.is_dismissing());
    world.crash(A);
    world.until("live", |world| role(world, 2) == Some(RoleName::Solo));
    assert_eq!(world.process(2).live.map(|epoch| epoch.0), Some(9));
    assert_eq!(world.process(2).asked.len(), 1);
    goes_on(&mut world, 2);
    // The old one comes back, and must not go on.
    world.processes[1].stopped = false;
    world.until("halted", |world| world.process(1).halted.is_some());
}

#[test]
fn an_heir_that_has_not_heard_of_the_epoch_claims_the_one_after() {
    let mut world = with_heir();
    world.processes[1].stopped = true;
    // The arbiter's answer is the last thing that this primary learns.
    world.until("asked", |world| !world.process(A).asked.is_empty());
    world.crash(A);
    world.until("live", |world| role(world, 2) == Some(RoleName::Solo));
    assert_eq!(world.process(2).live.map(|epoch| epoch.0), Some(9));
    assert_eq!(world.process(2).asked.len(), 2);
    goes_on(&mut world, 2);
}

#[test]
fn a_new_backup_that_dies_is_given_up_and_the_old_one_stays() {
    let mut world = with_second_member();
    // It is a member, and dies before it knows that: the old one is not asked to go.
    world.processes[2].stopped = true;
    let done = |world: &World| matches!(world.process(A).news.last(), Some(News::Abandoned(..)));
    work_until(&mut world, A, "given up", done);
    assert_eq!(role(&world, A), Some(RoleName::Primary));
    let (_, claim) = &world.process(A).asked[0];
    assert_eq!(
        (claim.kind, &claim.heirs[..]),
        (ClaimKind::Resolve, &[world::process(1)][..])
    );
    world.run_for(ms(20));
    world.crash(A);
    world.until("live", |world| role(world, 1) == Some(RoleName::Solo));
    assert_eq!(world.process(1).live.map(|epoch| epoch.0), Some(9));
    goes_on(&mut world, 1);
}

/// A VM whose backup dies while another one is cloned.
fn backup_lost_in_clone() -> World {
    let mut world = protected();
    world.join(A);
    world.bulk_room = 64;
    world.until("a clone under way", |world| world.process(A).bulk_sent > 20);
    world.bulk_room = 0;
    world.processes[1].stopped = true;
    world
}

/// The bulk link of the clone takes something again.
fn let_clone_go_on(world: &mut World) {
    world.bulk_room = 1 << 20;
    let room = Event::BulkRoom {
        peer: PeerId(102),
        bytes: world.bulk_room,
        rate: None,
        spare: false,
    };
    world.deliver(A, room);
}

#[test]
fn a_clone_goes_on_though_the_backup_that_it_was_to_replace_dies() {
    let mut world = backup_lost_in_clone();
    work_until(&mut world, A, "alone", |world| {
        role(world, A) == Some(RoleName::Solo)
    });
    assert_eq!(world.process(A).live.map(|epoch| epoch.0), Some(8));
    let_clone_go_on(&mut world);
    work_until(&mut world, A, "protected", |world| {
        role(world, 2) == Some(RoleName::Backup)
    });
    world.run_for(ms(20));
    world.crash(A);
    world.until("live", |world| role(world, 2) == Some(RoleName::Solo));
    assert_eq!(world.process(2).live.map(|epoch| epoch.0), Some(9));
    goes_on(&mut world, 2);
}

#[test]
fn a_clone_outlives_an_arbiter_that_is_away() {
    let mut world = backup_lost_in_clone();
    world.arbiter_away = true;
    world.until("claiming", |world| role(world, A) == Some(RoleName::Claiming));
    world.run_for(Span(TIMEOUT.0 * 6));
    assert!(world.process(2).halted.is_none());
    world.arbiter_away = false;
    world.until("alone", |world| role(world, A) == Some(RoleName::Solo));
    let_clone_go_on(&mut world);
    work_until(&mut world, A, "protected", |world| {
        role(world, 2) == Some(RoleName::Backup)
    });
    goes_on(&mut world, A);
}

#[test]
fn a_primary_that_loses_both_backups_at_once_goes_on_alone() {
    let mut world = with_second_member();
    world.processes[1].stopped = true;
    world.processes[2].stopped = true;
    world.until("alone", |world| role(world, A) == Some(RoleName::Solo));
    goes_on(&mut world, A);
}

#[test]
fn a_process_that_comes_while_the_arbiter_is_asked_is_sent_away() {
    let mut world = protected();
    world.arbiter_away = true;
    world.processes[1].stopped = true;
    world.until("claiming", |world| role(world, A) == Some(RoleName::Claiming));
    world.join(A);
    world.until("refused", |world| {
        matches!(world.process(A).news.last(), Some(News::Abandoned(..)))
    });
    world.arbiter_away = false;
    world.until("alone", |world| role(world, A) == Some(RoleName::Solo));
    let copy = world.join(A);
    work_until(&mut world, A, "protected", |world| {
        role(world, copy) == Some(RoleName::Backup)
    });
}

#[test]
fn whoever_wants_no_backup_gets_none_in_every_phase() {
    for wait in 0..400 {
        let mut world = protected();
        world.join(A);
        world.bulk_room = 2048;
        world.run_for(Span::from_us(200 * wait));
        world.deliver(A, Event::Unprotect);
        world.until("alone", |world| role(world, A) == Some(RoleName::Solo));
        world.run_for(Span(TIMEOUT.0 * 3));
        let halted = |number: usize| {
            let process = world.processes.get(number);
            process.is_none_or(|process| process.halted.is_some())
        };
        assert!(halted(1) && halted(2), "after {wait}");
        goes_on(&mut world, A);
    }
}

#[test]
fn a_primary_may_die_at_any_moment_while_its_backup_is_replaced() {
    // FT 2.3-b, 2.3-e: one of the two goes on, with all that was shown, and the other one ends.
    let (mut old, mut new) = (0, 0);
    for after in (0..500).chain((500..3000).step_by(7)) {
        let mut world = protected();
        world.join(A);
        world.bulk_room = 256;
        world.crashes_after = Some((A, after));
        for number in 0..400 {
            world.frame(A, &[b'e', number as u8]);
            world.run_for(ms(1));
            if world.process(A).stopped {
                break;
            }
        }
        if !world.process(A).stopped {
            break;
        }
        let alive = |world: &World, number| role(world, number) == Some(RoleName::Solo);
        world.until("live", |world| alive(world, 1) || alive(world, 2));
        world.run_for(Span(TIMEOUT.0 * 4));
        assert!(alive(&world, 1) != alive(&world, 2), "after {after}");
        let owner = if alive(&world, 1) { 1 } else { 2 };
        old += u32::from(owner == 1);
        new += u32::from(owner == 2);
        goes_on(&mut world, owner);
    }
    assert!(old > 10 && new > 10, "{old} old, {new} new ones went on");
}
