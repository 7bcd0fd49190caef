//! The same checks over every device: save and restore mid-request, reset, odd widths, replay.

use hart::Width;
use machine::{
    DiskStatus,
    parts::{Device, Slot},
};

use crate::{
    blk, net,
    rig::{EVENT_IDX, Rig, into, out},
    rng,
    state::{self, Field},
};

/// A device, a script that leaves something unfinished, and one that finishes it.
struct Subject {
    make: fn() -> Slot,
    begin: fn(&mut Rig),
    finish: fn(&mut Rig),
}

impl Subject {
    /// The same scripts with a device that is made so.
    fn with(&self, make: fn() -> Slot) -> Subject {
        Subject { make, ..*self }
    }
}

const BLOCK: Subject = Subject {
    make: blk::make,
    begin: |rig| {
        let data = rig.place(&[0x42; 1024]);
        blk::request(rig, kind::OUT, 9, &[out(data, 1000), out(data, 24)]);
        let room = rig.alloc(2048);
        blk::request(rig, kind::IN, 1, &[into(room, 1024), into(room + 1024, 1024)]);
        blk::request(rig, kind::FLUSH, 0, &[]);
        blk::complete(rig, 0, DiskStatus::Ok, &[]);
    },
    finish: |rig| {
        blk::complete(rig, 2, DiskStatus::Ok, &[]);
        blk::complete(rig, 1, DiskStatus::Ok, &[0x24; 2048]);
        blk::request(rig, kind::FLUSH, 0, &[]);
    },
};
use crate::world::{kind, register, status};

const NET: Subject = Subject {
    make: net::make,
    begin: |rig| {
        let room = rig.alloc(64);
        rig.offer(0, &[into(room, 64)]);
        net::arrive(rig, net::frame(200));
        net::arrive(rig, net::frame(40));
        let frame = rig.place(&[3; 80]);
        rig.offer(1, &[out(frame, 80)]);
        rig.notify(1);
        rig.offer_indirect(1, &[out(frame, 50), out(frame, 10)]);
    },
    finish: |rig| {
        rig.notify(1);
        let room = rig.alloc(1024);
        rig.offer_indirect(0, &[into(room, 300), into(room + 300, 200)]);
        rig.offer(0, &[into(room + 500, 500)]);
        rig.notify(0);
    },
};

const ENTROPY: Subject = Subject {
    make: rng::make,
    begin: |rig| {
        let room = rig.alloc(64);
        rig.offer(0, &[into(room, 16), into(room + 16, 16)]);
        rig.offer(0, &[into(room + 32, 8)]);
        rig.notify(0);
    },
    finish: |rig| {
        rng::give(rig, &[0xa5; 32]);
        rng::give(rig, &[0x5a; 8]);
    },
};

fn variants(subject: &Subject) -> [Rig; 3] {
    [
        Rig::started(subject.make),
        Rig::started_with(subject.make, !EVENT_IDX, 16),
        Rig::started_with(subject.make, u64::MAX, 16),
    ]
}

fn a_restore_mid_request_goes_on_equally(subject: &Subject) {
    for mut rig in variants(subject) {
        (subject.begin)(&mut rig);
        let mut fork = rig.fork();
        assert!(rig.state() == fork.state());
        (subject.finish)(&mut rig);
        (subject.finish)(&mut fork);
        assert!(rig.state() == fork.state());
        assert_eq!(rig.take_interrupt(), fork.take_interrupt());
        for queue in 0..rig.queues.len() {
            assert_eq!(rig.used(queue), fork.used(queue));
        }
    }
}

fn a_replay_gives_equal_effects_and_state(subject: &Subject) {
    let run = |mut rig: Rig| {
        (subject.begin)(&mut rig);
        (subject.finish)(&mut rig);
        assert!(!rig.needs_reset());
        (rig.state(), rig.take_effects())
    };
    for (one, two) in variants(subject).into_iter().zip(variants(subject)) {
        let (one, two) = (run(one), run(two));
        assert!(!one.1.is_empty());
        assert!(one == two);
    }
}

fn a_reset_leaves_nothing_behind(subject: &Subject) {
    // Ids of disk requests are unique for the life of the guest.
    let without_ids = |slot: &mut Slot| {
        let mut fields = state::save(slot);
        // And a legacy driver says once and for all what a page is.
        let outlives = ["next_id", "guest_page_bytes"];
        fields.retain(|field| !matches!(field, Field::Number(name, _) if outlives.contains(name)));
        fields
    };
    for mut rig in variants(subject) {
        let fresh = without_ids(&mut (subject.make)());
        (subject.begin)(&mut rig);
        let mut button = rig.fork();
        rig.write(register::STATUS, status::RESET);
        assert_eq!(rig.irq.0, 0);
        assert_eq!(without_ids(&mut rig.slot), fresh);
        button.slot.reset();
        assert_eq!(without_ids(&mut button.slot), fresh);
        // And it works as before.
        rig.take_effects();
        rig.start(u64::MAX, 16);
        (subject.begin)(&mut rig);
        assert!(!rig.needs_reset());
        assert!(!rig.take_effects().is_empty());
    }
}

fn any_width_is_answered_anywhere(subject: &Subject) {
    let mut rig = Rig::started(subject.make);
    (subject.begin)(&mut rig);
    for offset in 0..0x1000_u64 {
        for width in [Width::Byte, Width::Half, Width::Word, Width::Double] {
            if !offset.is_multiple_of(width.bytes()) {
                continue;
            }
            let value = rig.with(|slot, reach| slot.read(offset, width, reach)).unwrap();
            assert_eq!(value & !width.mask(), 0);
            if offset >= 0x100 {
                let bytes = (0..width.bytes()).map(|i| {
                    let byte = rig
                        .with(|slot, reach| slot.read(offset + i, Width::Byte, reach))
                        .unwrap();
                    byte << (8 * i)
                });
                assert_eq!(value, bytes.sum::<u64>());
            } else if width.bytes() < 4 {
                assert_eq!(value, 0);
            }
            // Stores that have no effect: short ones, and everything in the configuration space but for what
            // the driver may write there.
            let is_writable = offset < 0x124 && offset + width.bytes() > 0x120;
            if offset >= 0x100 && !is_writable || width.bytes() < 4 {
                let before = state::save(&mut rig.slot);
                assert!(rig.with(|slot, reach| slot.write(offset, width, u64::MAX, reach)));
                assert_eq!(before, state::save(&mut rig.slot));
            }
        }
    }
}

fn nothing_happens_without_a_driver(subject: &Subject) {
    let mut rig = Rig::new(subject.make);
    for queue in 0..4 {
        rig.write(register::QUEUE_NOTIFY, queue);
    }
    assert!(rig.take_effects().is_empty());
    assert_eq!(rig.read(register::INTERRUPT_STATUS), 0);
    assert_eq!(rig.slot.deadline(), None);
}

macro_rules! suite {
    ($name:ident, $subject:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_restore_mid_request_goes_on_equally() {
                super::a_restore_mid_request_goes_on_equally(&$subject);
            }

            #[test]
            fn a_replay_gives_equal_effects_and_state() {
                super::a_replay_gives_equal_effects_and_state(&$subject);
            }

            #[test]
            fn a_reset_leaves_nothing_behind() {
                super::a_reset_leaves_nothing_behind(&$subject);
            }

            #[test]
            fn any_width_is_answered_anywhere() {
                super::any_width_is_answered_anywhere(&$subject);
            }

            #[test]
            fn nothing_happens_without_a_driver() {
                super::nothing_happens_without_a_driver(&$subject);
            }
        }
    };
}

suite!(block, BLOCK);
suite!(network, NET);
suite!(entropy, ENTROPY);
suite!(legacy_block, BLOCK.with(blk::make_legacy));
suite!(legacy_network, NET.with(net::make_legacy));
suite!(legacy_entropy, ENTROPY.with(rng::make_legacy));
