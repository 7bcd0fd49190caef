//! One side dies at every action of a run, in turn.
//!
//! An observer who sees only what both sides show accepts no lost, doubled-and-different or reordered output,
//! and the survivor always goes on. `sim sweep` does the same with a world around it.

mod world;

use machine::Effect;
use replica::{Guest, RoleName, Span};
use world::{A, B, World};

/// Requests, as clients would send them.
fn load(world: &mut World) {
    for round in 0..25u8 {
        for (kind, argument) in [
            (b'e', round),
            (b'w', round % 3),
            (b'r', round % 3),
            (b'c', round),
            (b'e', 100),
        ] {
            world.frame(A, &[kind, argument]);
        }
        world.run_for(Span::from_us(700));
    }
    world.run_for(Span::from_ms(3));
}

fn shown(world: &World, index: usize) -> Vec<Effect> {
    let shown = world
        .process(index)
        .shown
        .iter()
        .map(|(_, effect)| effect.clone());
    shown
        .filter(|effect| !matches!(effect, Effect::EntropyWanted { .. }))
        .collect()
}

/// Runs the load with a death after `actions`; false when the run was over before.
fn die(victim: usize, actions: u64) -> bool {
    let mut world = World::pair();
    world.crashes_after = Some((victim, actions));
    load(&mut world);
    if world.crashes_after.is_some() {
        return false;
    }
    let survivor = 1 - victim;
    world.until("alone", |world| world.process(survivor).role() == RoleName::Solo);
    world.run_for(Span::from_ms(20));
    let before = shown(&world, A);
    let after = if victim == A { shown(&world, B) } else { Vec::new() };
    // What the backup shows again is the end of what the primary has shown, and then it goes on. (Outputs
    // are all different, since they contain the state, or the comparison of lengths below would fail.)
    let overlap = (0..=after.len().min(before.len()))
        .rev()
        .find(|&n| before[before.len() - n..] == after[..n])
        .unwrap();
    let toy = world.process(survivor).node.guest();
    let writes = toy.disk_writes();
    let outputs = world.process(survivor).node.metrics().outputs - writes;
    let seen = before.len() + after.len() - overlap;
    assert_eq!(seen as u64, outputs, "victim {victim}, action {actions}");
    assert!(
        toy.pending_disk().is_empty(),
        "victim {victim}, action {actions}: all answered"
    );
    // The disk holds the last write to each sector, as the surviving guest remembers them.
    for (sector, data) in toy.written() {
        assert_eq!(
            world.disk.get(sector),
            Some(data),
            "victim {victim}, action {actions}"
        );
    }
    true
}

#[test]
fn the_primary_may_die_at_any_action() {
    // FT 2.2-a, 2.2-b, 2.2-e, 2.3-b, 3.4-c.
    let mut actions = 0;
    while die(A, actions) {
        actions += 1;
    }
    assert!(actions > 100, "{actions}");
}

#[test]
fn the_backup_may_die_at_any_action() {
    // FT 2.3-a.
    let mut actions = 0;
    while die(B, actions) {
        actions += 1;
    }
    assert!(actions > 20, "{actions}");
}
