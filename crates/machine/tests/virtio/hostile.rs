//! Broken guests and lying peers: whatever they do, nothing panics, hangs or grows, and it replays.

use crate::world::{Bytes, MEMORY, World, play};

use crate::state::{self, Field};

/// Operations per device kind; four kinds: a million in all.
const OPERATIONS: usize = 250_000;
const OPERATIONS_PER_WORLD: usize = 500;
const BYTES_PER_OPERATION: usize = 24;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count.div_ceil(8))
            .flat_map(|_| self.next().to_le_bytes())
            .take(count)
            .collect()
    }
}

fn act(world: &mut World, operations: &[u8]) {
    for operation in operations.chunks(BYTES_PER_OPERATION) {
        world.act(&mut Bytes(operation));
    }
}

/// A second world with the same state, by save and restore.
fn fork(world: &mut World, kind: u8) -> World {
    let mut fork = World::new(kind).unwrap();
    state::restore(&mut fork.slot, state::save(&mut world.slot)).unwrap();
    let mut memory = vec![0; MEMORY as usize];
    world.ram.read(hart::ram::BASE, &mut memory).unwrap();
    fork.ram.write(hart::ram::BASE, &memory).unwrap();
    fork.resume_from(world);
    fork
}

fn torment(kind: u8) {
    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ u64::from(kind));
    let mut effects = 0;
    for _ in 0..OPERATIONS / OPERATIONS_PER_WORLD {
        let operations = random.bytes(OPERATIONS_PER_WORLD * BYTES_PER_OPERATION);
        let (before, after) = operations.split_at(operations.len() / 2);
        let mut world = World::new(kind).unwrap();
        act(&mut world, before);
        // The saver asserts every limit; the fork must go on exactly as the original.
        let mut fork = fork(&mut world, kind);
        act(&mut world, after);
        act(&mut fork, after);
        assert_eq!(world.observed, fork.observed);
        assert_eq!(state::save(&mut world.slot), state::save(&mut fork.slot));
        effects += world.effects_taken;
    }
    // The torment is worth nothing if it never gets past the first check.
    println!("{effects} effects");
    assert!(kind == 3 || effects > 20_000, "only {effects} effects");
}

#[test]
fn net_survives() {
    torment(0);
}

#[test]
fn block_survives() {
    torment(1);
}

#[test]
fn entropy_survives() {
    torment(2);
}

#[test]
fn an_empty_slot_survives() {
    torment(3);
}

#[test]
fn legacy_devices_survive() {
    for kind in [64, 65, 66] {
        torment(kind);
    }
}

/// A snapshot is a peer's bytes: what is not rejected must be safe to run.
#[test]
fn forged_states_survive() {
    let mut random = Random(11);
    let mut accepted = 0;
    for round in 0..4000_u64 {
        let kind = (round % 4) as u8;
        let mut world = World::new(kind).unwrap();
        let operations = random.bytes(100 * BYTES_PER_OPERATION);
        let (before, after) = operations.split_at(operations.len() / 2);
        act(&mut world, before);
        let mut fields = state::save(&mut world.slot);
        for field in &mut fields {
            // Which fields follow depends on "operation", so that one stays.
            if let Field::Number(name, value) = field
                && *name != "operation"
            {
                match random.next() % 16 {
                    0 => *value = random.next() >> (random.next() % 64),
                    1 => *value = random.next() % 2,
                    _ => {}
                }
            }
        }
        let mut forged = World::new(kind).unwrap();
        if state::restore(&mut forged.slot, fields).is_ok() {
            accepted += 1;
            act(&mut forged, after);
        }
    }
    assert!(accepted > 1000, "only {accepted} were not rejected");
}

#[test]
fn pure_noise_replays() {
    let mut random = Random(7);
    for kind in 0..4 {
        let mut data = random.bytes(20_000);
        data[0] = kind;
        assert_eq!(play(&data), play(&data));
    }
}
