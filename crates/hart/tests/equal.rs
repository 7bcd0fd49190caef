//! However a run is cut up and whatever is forgotten on the way, the guest ends in the same state.
//!
//! `SEED=n SEEDS=m` tests m guests from the n-th on instead of the usual few.

#![allow(
    clippy::disallowed_methods,
    reason = "longer runs are asked for in the environment"
)]

mod support;

use hart::{Engine, Interpreter, InterpreterOptions, Ram, Reason, Translate, Translate::*, ram::DIRTY};
use support::{
    Computer, State,
    loops::{prepare_floats, prepare_loops},
    random::{Random, prepare},
};

/// Guests, and how far they go.
#[derive(Clone, Copy)]
struct Kind {
    prepare: fn(&mut Computer, &mut Random),
    steps: u64,
}

const NONSENSE: Kind = Kind {
    prepare,
    steps: 3_000,
};
const LOOPS: Kind = Kind {
    prepare: prepare_loops,
    steps: 12_000,
};

const FLOATS: Kind = Kind {
    prepare: prepare_floats,
    steps: 12_000,
};

/// Runs the guest of `seed`; `next` says how far to go at a time, and whether to forget everything before.
fn run(
    kind: Kind,
    seed: u64,
    options: InterpreterOptions,
    mut next: impl FnMut() -> (u64, bool),
) -> (State, u64) {
    let mut computer = Computer::new(&[], options);
    computer.board.steps_per_tick = 3;
    (kind.prepare)(&mut computer, &mut Random(seed));
    let mut known = Known::of(&computer.ram);
    while computer.now.0 < kind.steps {
        let (steps, forget) = next();
        if forget {
            // Forgotten, replaced, or deprived of some permissions to store.
            match computer.now.0 % 4 {
                0 => computer.engine.forget(),
                1 => computer.engine = Interpreter::new(options),
                rest => {
                    known.check(&computer.ram);
                    computer.ram.settle(|page, _| u64::from(page) % 2 == rest % 2);
                    known = Known::of(&computer.ram);
                }
            }
        }
        let until = kind.steps.min(computer.now.0 + steps);
        if computer.run_to(until) == Reason::Wait {
            // WFI may end for no reason.
            computer.hart.waiting = false;
        }
    }
    known.check(&computer.ram);
    let now = computer.now.0;
    (computer.state(), now)
}

/// What was in RAM at some time.
struct Known(Vec<Vec<u8>>);

impl Known {
    fn of(ram: &Ram) -> Known {
        Known((0..ram.pages()).map(|page| ram.page(page).to_vec()).collect())
    }

    /// Whatever was written since then is known to have been.
    fn check(&self, ram: &Ram) {
        for (page, content) in self.0.iter().enumerate() {
            let dirty = ram.flags(page) & DIRTY != 0;
            assert!(dirty || ram.page(page) == content, "page {page}");
        }
    }
}

fn with(zeal: Option<u64>, translate: Translate) -> InterpreterOptions {
    InterpreterOptions {
        zeal,
        translate,
        ..InterpreterOptions::default()
    }
}

fn compare(kind: Kind, seed: u64) -> u64 {
    let steps = kind.steps;
    let (whole, end) = run(kind, seed, with(None, Never), || (steps, false));
    let check = |(other, now): (State, u64), how: &str| {
        assert_eq!(end, now, "seed {seed}, {how}");
        assert_eq!(whole.differences(&other), "", "seed {seed}, {how}");
    };
    check(
        run(kind, seed, with(Some(seed), Never), || (steps, false)),
        "zeal",
    );
    check(run(kind, seed, with(None, Never), || (1, false)), "one by one");
    check(run(kind, seed, with(None, Hot), || (steps, false)), "translated");
    check(
        run(kind, seed, with(None, Always), || (steps, false)),
        "translated at once",
    );
    check(
        run(kind, seed, with(Some(seed), Always), || (steps, false)),
        "translated, zeal",
    );
    let mut random = Random(seed ^ 0x5555);
    check(
        run(kind, seed, with(None, Never), || {
            (1 + random.below(40), random.below(4) == 0)
        }),
        "in pieces, forgetting",
    );
    check(
        run(kind, seed, with(None, Always), || {
            (1 + random.below(400), random.below(8) == 0)
        }),
        "translated, in pieces, forgetting",
    );
    let cramped = InterpreterOptions {
        code_bytes: Some(0),
        ..with(None, Always)
    };
    check(
        run(kind, seed, cramped, || (steps, false)),
        "translated, with little memory",
    );
    end
}

/// Compares the seeds that are asked for.
fn compare_all(kind: Kind) {
    let first = std::env::var("SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or(0u64);
    let count = std::env::var("SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(150);
    let steps: u64 = (first..first + count).map(|seed| compare(kind, seed)).sum();
    // Most guests must get somewhere, or this tests nothing.
    assert!(steps > count * kind.steps / 2, "{steps} steps");
}

#[test]
fn a_run_in_pieces_equals_a_run_in_one() {
    compare_all(NONSENSE);
}

#[test]
fn a_run_of_loops_in_pieces_equals_a_run_in_one() {
    compare_all(LOOPS);
}

#[test]
fn a_run_of_loops_that_compute_with_floats_in_pieces_equals_a_run_in_one() {
    compare_all(FLOATS);
}

#[test]
fn every_cut_of_a_run_into_two_is_invisible() {
    for seed in 1000..1003 {
        let (whole, end) = run(NONSENSE, seed, with(None, Never), || (NONSENSE.steps, false));
        for k in (1..end).step_by(7) {
            let mut pieces = [k, NONSENSE.steps].into_iter();
            let (other, now) = run(NONSENSE, seed, with(None, Always), || {
                (pieces.next().unwrap_or(NONSENSE.steps), false)
            });
            assert_eq!(end, now, "seed {seed}, {k}");
            assert_eq!(whole.differences(&other), "", "seed {seed}, {k}");
        }
    }
}
