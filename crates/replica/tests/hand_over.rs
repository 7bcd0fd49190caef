//! Two sides change their roles while their guest lives on (FT 3.3-c), and what can go wrong just then.

mod world;

use machine::Input;
use replica::{Epoch, Event, Halt, News, PeerId, RoleName, limits};
use world::{A, B, World, ms, same_state};

fn roles(world: &World) -> (RoleName, RoleName) {
    (world.process(A).role(), world.process(B).role())
}

/// Has the side `from` hand the VM over, and waits until the other one is its primary.
fn hand_over(world: &mut World, from: usize) {
    world.deliver(from, Event::HandOver);
    let to = 1 - from;
    world.until("the roles are changed", |world| {
        world.process(to).live.is_some() && world.process(from).role() == RoleName::Backup
    });
}

/// The frames that both sides have shown, in the order in which they did.
fn shown(world: &World) -> Vec<Vec<u8>> {
    let mut frames: Vec<_> = [A, B]
        .iter()
        .flat_map(|&side| world.process(side).shown.iter())
        .filter_map(|(at, effect)| match effect {
            machine::Effect::NetTransmit { frame, .. } => Some((*at, frame.clone())),
            _ => None,
        })
        .collect();
    frames.sort_by_key(|(at, _)| *at);
    frames.into_iter().map(|(_, frame)| frame).collect()
}

#[test]
fn the_sides_change_their_roles_again_and_again_and_the_guest_lives_on() {
    // FT 3.3-c.
    let mut world = World::running_pair();
    let mut expected = 0;
    for round in 0..6 {
        let (from, to) = if round % 2 == 0 { (A, B) } else { (B, A) };
        world.frame(from, &[b'e', round]);
        world.run_for(ms(5));
        hand_over(&mut world, from);
        assert_eq!(world.process(to).role(), RoleName::Primary);
        world.frame(to, &[b'e', round + 100]);
        world.frame(to, &[b'w', round]);
        world.run_for(ms(20));
        expected += 2;
        assert_eq!(shown(&world).len(), expected, "each answer is shown once");
    }
    assert_eq!(world.process(A).live, Some(Epoch(13)));
    assert_eq!(
        world.heirs[&8],
        [1],
        "the winner names the side that has handed over"
    );
    world.run_for(ms(30));
    same_state(&mut world);
    let told = world
        .process(A)
        .news
        .iter()
        .filter(|news| matches!(news, News::HandedOver(_)));
    assert_eq!(told.count(), 3);
}

#[test]
fn what_was_held_is_shown_by_the_other_side_once_and_in_order() {
    // FT 2.2-a, 2.2-e.
    let mut world = World::running_pair();
    world.delay = ms(3);
    for round in 0..4 {
        world.frame(A, &[b'e', round]);
    }
    world.run_for(ms(1));
    world.deliver(A, Event::HandOver);
    world.until("B is live", |world| world.process(B).live.is_some());
    world.run_for(ms(30));
    let frames = shown(&world);
    assert_eq!(frames.len(), 4, "{frames:?}");
    assert!(frames.is_sorted(), "{frames:?}");
}

#[test]
fn no_request_is_at_a_disk_when_the_vm_is_handed_over_and_the_guest_runs_until_then() {
    // FT 3.3-d.
    let mut world = World::running_pair();
    world.disk_away = true;
    world.frame(A, b"w1");
    world.run_for(ms(5));
    assert_eq!(world.process(A).disk_log.len(), 1);
    assert!(!world.process(A).node.is_swapping());
    world.deliver(A, Event::HandOver);
    world.frame(A, b"w2");
    world.frame(A, b"e0");
    world.run_for(ms(50));
    assert_eq!(roles(&world), (RoleName::Primary, RoleName::Backup));
    assert!(world.process(A).node.is_swapping());
    assert_eq!(world.process(A).frames().len(), 1, "the guest runs on");
    assert_eq!(world.process(A).disk_log.len(), 1, "nothing new goes to the disk");
    world.disk_away = false;
    world.until("B is live", |world| world.process(B).live.is_some());
    world.run_for(ms(30));
    assert!(!world.process(B).node.is_swapping(), "it may come back");
    assert_eq!(world.process(A).disk_log.len(), 1);
    assert_eq!(world.process(B).disk_log.len(), 1, "the other one is B's");
    assert_eq!(world.disk.len(), 2);
}

#[test]
fn requests_go_to_the_disk_until_the_backup_is_close() {
    // FT 3.3-c: the guest's clients wait for what is held back.
    let mut world = World::running_pair();
    let slices = std::mem::take(&mut world.slices[B]);
    let lag = |world: &World| world.process(A).node.metrics().lag;
    world.frame(A, b"w1");
    world.until("the backup is behind", |world| lag(world) > limits::HAND_OVER_LAG);
    world.deliver(A, Event::HandOver);
    world.frame(A, b"w2");
    world.run_for(ms(20));
    assert_eq!(roles(&world), (RoleName::Primary, RoleName::Backup));
    assert!(lag(&world) < limits::LAG_TARGET);
    assert_eq!(world.process(A).disk_log.len(), 2);
    world.slices[B] = slices;
    world.until("B is live", |world| world.process(B).live.is_some());
    world.run_for(ms(30));
    assert_eq!(world.disk.len(), 2);
}

#[test]
fn a_disk_that_does_not_answer_keeps_the_vm_where_it_is() {
    let mut world = World::running_pair();
    world.disk_away = true;
    world.frame(A, b"w1");
    world.run_for(ms(5));
    world.deliver(A, Event::HandOver);
    world.frame(A, b"w2");
    world.until("it is told", |world| !world.process(A).news.is_empty());
    let why = News::NotHandedOver(PeerId(0), "a disk does not answer".to_owned());
    assert_eq!(world.process(A).news, [why]);
    assert_eq!(roles(&world), (RoleName::Primary, RoleName::Backup));
    world.disk_away = false;
    world.run_for(ms(20));
    assert_eq!(
        world.process(A).disk_log.len(),
        2,
        "what was held back goes to the disk"
    );
}

#[test]
fn an_arbiter_that_does_not_answer_is_found_out_before_the_guest_stops() {
    let mut world = World::running_pair();
    world.arbiter_away = true;
    world.deliver(A, Event::HandOver);
    world.frame(A, b"e0");
    world.run_for(ms(10));
    let why = News::NotHandedOver(PeerId(0), "the arbiter does not answer".to_owned());
    assert_eq!(world.process(A).news, [why]);
    assert_eq!(roles(&world), (RoleName::Primary, RoleName::Backup));
    assert_eq!(world.process(A).frames().len(), 1);
}

#[test]
fn the_new_primary_shows_nothing_before_the_old_one_has_answered_it() {
    // FT 2-h: until then the old one may have claimed the epoch after this one, of which it is a member.
    let mut world = World::running_pair();
    world.deliver(A, Event::HandOver);
    world.until("B has won", |world| world.process(B).role() == RoleName::Primary);
    world.cut_from[A] = true;
    world.frame(B, b"e0");
    world.run_for(ms(50));
    assert!(world.process(B).frames().is_empty());
    assert_eq!(world.process(B).live, None);
    // Each suspects the other in time, and one of them goes on.
    world.until("somebody is live", |world| {
        (0..2).any(|side| world.process(side).role() == RoleName::Solo)
    });
    world.run_for(ms(2_000));
    let alive = (0..2)
        .filter(|&side| world.process(side).halted.is_none())
        .count();
    assert_eq!(alive, 1);
}

#[test]
fn if_the_new_primary_dies_with_its_epoch_the_old_one_claims_the_epoch_after_it() {
    // FT 2.3-e: the record of the epoch names it as an heir.
    let mut world = World::running_pair();
    world.frame(A, b"e0");
    world.run_for(ms(5));
    world.deliver(A, Event::HandOver);
    world.until("B has asked", |world| !world.process(B).asked.is_empty());
    world.crash(B);
    world.until("A is alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(world.process(A).live, Some(Epoch(9)));
    let asked: Vec<u64> = world
        .process(A)
        .asked
        .iter()
        .map(|(_, claim)| claim.epoch.0)
        .collect();
    assert_eq!(asked, [8, 9]);
    world.frame(A, b"e1");
    world.run_for(ms(10));
    assert_eq!(world.process(A).frames().len(), 2);
}

#[test]
fn if_the_backup_dies_before_it_asks_the_old_primary_goes_on_where_its_guest_stands() {
    let mut world = World::running_pair();
    world.deliver(A, Event::HandOver);
    world.until("A has handed over", |world| {
        world.process(A).role() == RoleName::Handing
    });
    world.crash(B);
    world.frame(A, b"e0");
    world.until("A is alone", |world| world.process(A).role() == RoleName::Solo);
    assert_eq!(world.process(A).live, Some(Epoch(8)));
    world.run_for(ms(10));
    assert_eq!(world.process(A).frames().len(), 1);
}

#[test]
fn the_old_primary_takes_over_again_when_the_new_one_dies() {
    let mut world = World::running_pair();
    hand_over(&mut world, A);
    for round in 0..10 {
        world.frame(B, &[b'e', round]);
    }
    world.run_for(ms(20));
    assert_eq!(world.process(B).frames().len(), 10);
    world.crash(B);
    world.until("A is alone", |world| world.process(A).role() == RoleName::Solo);
    world.frame(A, b"n");
    world.run_for(ms(10));
    assert_eq!(world.process(A).live, Some(Epoch(9)));
    assert!(!world.process(A).frames().is_empty() || world.process(A).halted.is_none());
}

#[test]
fn a_guest_that_is_off_is_not_handed_over() {
    let mut world = World::running_pair();
    world.deliver(A, Event::Input(Input::Control(machine::Control::PowerOff)));
    world.deliver(A, Event::HandOver);
    world.run_for(ms(50));
    assert!(matches!(world.process(A).halted, Some(Halt::Off(_))));
    assert!(matches!(world.process(B).halted, Some(Halt::Off(_))));
}

#[test]
fn dismissing_the_backup_ends_a_hand_over_that_is_being_made_ready() {
    let mut world = World::running_pair();
    world.disk_away = true;
    world.frame(A, b"w1");
    world.run_for(ms(5));
    world.deliver(A, Event::HandOver);
    world.deliver(A, Event::Unprotect);
    world.until("A is alone", |world| world.process(A).role() == RoleName::Solo);
    assert!(matches!(world.process(A).news[0], News::NotHandedOver(..)));
    assert_eq!(world.process(B).halted, Some(Halt::Dismissed));
}
