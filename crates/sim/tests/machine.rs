//! The real machine in drawn worlds, and under a small kill sweep.
//!
//! The toy shows the protocol a million times; these few worlds show that the machine keeps the same rules.
//! More of them is what `sim machine N` is for.

use machine::Machine;
use sim::{Options, run, sweep};

#[test]
fn ten_worlds_with_the_real_machine_keep_all_rules() {
    for seed in 1..=10 {
        let outcome = run::run::<Machine>(Options::draw(seed), seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}

#[test]
fn the_real_machine_survives_death_at_any_point() {
    let swept = sweep::sweep::<Machine>(&Options::calm(1), &1, 97, |_, _| {});
    assert!(swept.failovers > 10);
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}
