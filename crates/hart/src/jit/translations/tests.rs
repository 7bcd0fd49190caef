//! Checks that superblocks are made, found and dropped, and that the least memory has room for any of them.

use super::{
    super::plan::{self, OPS_MAX},
    *,
};
use crate::{decode::decode, op::Code};

const NOWHERE: Present<'_> = Present {
    known: &|_| None,
    sp: 0,
};

/// Makes superblocks of loads at the slots of some pages until there is no room for more; returns how many.
fn fill(translations: &mut Translations) -> usize {
    let load = |slot| {
        (
            slot,
            Op::new(Code::Ld, 11, 5 + slot as u32 % 2, 0, 0).with_halves(1),
        )
    };
    for count in 0.. {
        let (place, slot) = (1 + count / 1024, count % 1024);
        let ops: Vec<_> = (slot..slot + OPS_MAX).map(load).collect();
        translations.open(place);
        assert!(matches!(translations.find(place, slot), Found::Hot));
        if translations.add(place, slot, &ops, &NOWHERE).is_none() {
            return count;
        }
        assert!(matches!(translations.find(place, slot), Found::Code(_)));
    }
    unreachable!("the memory is bounded");
}

#[test]
fn when_the_memory_is_used_up_everything_goes_and_all_of_it_is_there_again() {
    let Some(mut translations) = Translations::new(64, 1, 0) else {
        return; // This host cannot run generated code.
    };
    let count = fill(&mut translations);
    let changes = translations.changes();
    assert!(count > 2, "{count}");
    translations.clear();
    assert!(translations.changes() > changes);
    translations.open(1);
    assert!(matches!(translations.find(1, 0), Found::Hot));
    assert_eq!(fill(&mut translations), count);
}

/// The ops of a loop: these, and a branch back to the first.
fn looped(mut ops: Vec<Op>) -> Vec<(usize, Op)> {
    ops.push(Op::new(Code::Bne, 0, 9, 0, -2 * ops.len() as i32));
    let ops = ops.into_iter().map(|op| op.with_halves(2)).enumerate();
    ops.map(|(index, op)| (2 * index, op)).collect()
}

#[test]
fn the_least_memory_has_room_for_a_loop_that_is_there_twice() {
    // The op with the longest code, through registers that take seats of others.
    let long = |index| Op::new(Code::ScD, 16 + index as u32 % 8, 24 + index as u32 % 8, 7, 0);
    // A loop with streams that is as long as one may be.
    let length = plan::STREAMS_MAX * plan::OPS_PER_STREAM;
    let mut walking: Vec<_> = (0..length - 5).map(long).collect();
    walking.extend([5, 6, 28, 29].map(|base| Op::new(Code::Ld, 9, base, 0, 0)));
    let walking = looped(walking);
    assert!(plan::Plan::new(&walking, 0).streams().len() == plan::STREAMS_MAX);
    // A loop with as many lazy registers as there may be, each of which every way out extends, that is as
    // long as one may be to have them carried.
    let mut adding: Vec<_> = [2, 8, 10, 11, 12, 13, 14, 15]
        .map(|lazy| Op::new(Code::Addw, lazy, lazy, lazy, 0))
        .to_vec();
    adding.extend((0..8 * plan::OPS_PER_LAZY - 9).map(long));
    let adding = looped(adding);
    // A loop that is as long as any, of conversions to integers without sign from alternating precisions,
    // whose vector registers every way out stores.
    let convert =
        |index: usize| decode(0xc035_9553 ^ (index as u32 % 13) << 15 ^ (index as u32 / 13 % 2) << 25);
    let floating = looped((0..OPS_MAX - 1).map(convert).collect());
    assert!(floating.len() == OPS_MAX && floating[20].1.code == Code::Float);
    for ops in [walking, adding, floating] {
        let Some(mut translations) = Translations::new(1, 1, 0) else {
            return; // This host cannot run generated code.
        };
        translations.open(0);
        assert!(translations.add(0, 0, &ops, &NOWHERE).is_some());
    }
}

#[test]
fn a_frame_across_two_pages_is_looked_up_access_by_access() {
    let Some(mut translations) = Translations::new(64, 1, 0) else {
        return;
    };
    let push = Op::new(Code::Addi, 2, 2, 0, -32).with_halves(1);
    let save = |imm| Op::new(Code::Sd, 0, 2, 8, imm).with_halves(1);
    let ops = [(0, push), (1, save(8)), (2, save(16)), (3, save(24))];
    let mut hot_bytes = |place, sp| {
        translations.open(place);
        translations.add(place, 0, &ops, &Present { sp, ..NOWHERE });
        let [(_, bytes), _] = translations.newest();
        bytes
    };
    let inside = hot_bytes(1, 0x5020);
    assert_eq!(hot_bytes(2, 0x5000), inside);
    assert!(hot_bytes(3, 0x5008) > inside + 40, "two more lookups");
}

#[test]
fn a_store_to_a_page_drops_what_was_made_of_it_and_nothing_else() {
    let Some(mut translations) = Translations::new(64, 1, 0) else {
        return;
    };
    let nops = |slot| [(slot, Op::new(Code::Nop, 0, 0, 0, 0).with_halves(1))];
    for place in [1, 2] {
        translations.open(place);
        translations.add(place, 100, &nops(100), &NOWHERE);
    }
    let changes = translations.changes();
    translations.written(1, 101..=102);
    assert_eq!(translations.changes(), changes);
    translations.written(1, 99..=100);
    assert!(translations.changes() > changes);
    assert!(matches!(translations.find(1, 100), Found::Hot));
    assert!(matches!(translations.find(2, 100), Found::Code(_)));
}
