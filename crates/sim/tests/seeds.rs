//! Drawn worlds: a few seeds for every `cargo test`, and that a seed is a world for ever.
//!
//! `sim toy N` runs as many seeds as there is time for; here are enough to see a gross mistake at once.

use std::{cell::RefCell, rc::Rc};

use sim::{Options, Toy, run};

fn trace_of(seed: u64) -> (Vec<String>, String) {
    let lines = Rc::new(RefCell::new(Vec::new()));
    let copy = Rc::clone(&lines);
    let tracer = move |line: &str| {
        copy.borrow_mut().push(line.to_owned());
    };
    let outcome = run::run::<Toy>(Options::draw(seed), seed, Some(Box::new(tracer)));
    (lines.take(), format!("{outcome:?}"))
}

#[test]
fn two_hundred_worlds_keep_all_rules() {
    for seed in 0..200 {
        let outcome = run::run::<Toy>(Options::draw(seed), seed, None);
        assert_eq!(outcome.violation, None, "seed {seed}");
    }
}

#[test]
fn a_seed_replays_exactly() {
    for seed in [1, 26, 77] {
        let (lines, outcome) = trace_of(seed);
        assert!(lines.len() > 50);
        assert_eq!((lines, outcome), trace_of(seed));
    }
}

#[test]
fn the_drawn_worlds_are_not_all_calm() {
    let outcomes: Vec<_> = (0..200)
        .map(|seed| run::run::<Toy>(Options::draw(seed), seed, None))
        .collect();
    let count = |what: fn(&run::Outcome) -> bool| outcomes.iter().filter(|outcome| what(outcome)).count();
    assert!(count(|outcome| outcome.live == Some(sim::ProcessId::A)) > 20);
    assert!(count(|outcome| outcome.live == Some(sim::ProcessId::B)) > 20);
    assert!(count(|outcome| outcome.live.is_none()) > 20);
    assert!(count(|outcome| outcome.repeated > 0) > 10);
    assert!(count(|outcome| outcome.survived) > 150);
}
