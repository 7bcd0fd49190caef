//! Kill sweeps small enough for every `cargo test`.
//!
//! The whole one is `cargo run --release -p sim -- sweep toy`: it kills either side at every point of a calm
//! run, these at a few of them.

use sim::{Options, Toy, run, sweep};

#[test]
fn either_side_may_die_at_any_point_of_a_run() {
    let swept = sweep::sweep::<Toy>(&Options::calm(3), &3, 7, |_, _| {});
    assert!(swept.runs > 100, "{} runs", swept.runs);
    assert!(swept.failovers > swept.runs / 2, "{} failovers", swept.failovers);
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}

#[test]
fn each_process_may_die_at_any_point_of_a_run_with_three_failovers() {
    let calm = run::run::<Toy>(Options::calm_life(3), 3, None);
    assert_eq!((calm.violation, calm.failovers), (None, 3));
    assert_eq!(
        calm.actions.len(),
        5,
        "A and B, and a new one after each failover"
    );
    let swept = sweep::sweep::<Toy>(&Options::calm_life(3), &3, 61, |_, _| {});
    assert!(
        swept.failovers > 2 * swept.runs,
        "{} in {}",
        swept.failovers,
        swept.runs
    );
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}

#[test]
fn each_process_may_die_at_any_point_of_a_run_in_which_backups_are_replaced() {
    let calm = run::run::<Toy>(Options::calm_moves(3), 3, None);
    assert_eq!((calm.violation, calm.replacements, calm.hand_overs), (None, 2, 1));
    let swept = sweep::sweep::<Toy>(&Options::calm_moves(3), &3, 31, |_, _| {});
    assert!(swept.runs > 100, "{} runs", swept.runs);
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}

#[test]
fn either_side_may_die_at_any_point_at_which_a_pair_is_formed_and_after_it() {
    let swept = sweep::sweep::<Toy>(&Options::calm_forming(3), &3, 1, |_, _| {});
    assert!(swept.runs > 300, "{} runs", swept.runs);
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}

#[test]
fn the_first_thousand_points_matter_as_much_as_the_last() {
    // A run in which console bytes keep coming and every slice may be interrupted.
    let options = Options {
        typing: Some(replica::Span::from_ms(3)),
        cut_permille: 500,
        ..Options::calm(11)
    };
    let swept = sweep::sweep::<Toy>(&options, &11, 13, |_, _| {});
    let first = swept.violations.first();
    assert!(first.is_none(), "{first:?}");
}
