//! How a pair is formed when something goes wrong in the middle of it, one case each.
//!
//! Each world begins without a pair, calm but for one fault that is tied to an action of a handshake. A
//! primary has four of these (`Hello`, the question for an epoch, `Start`, the end), a backup six (`Hello`,
//! `Welcome`, the proof, the machine, `Ready`, the end). The checkers watch, and a founder starts whom the
//! pair lacks; `sim form toy N` runs drawn worlds of the kind.

use replica::{Epoch, Halt, RoleName, Span, Time};
use sim::{
    Options, Outcome, ProcessId, Toy, World,
    faults::{Armed, Death, Fault, Trigger},
    process::Life,
};

const A: ProcessId = ProcessId::A;
const B: ProcessId = ProcessId::B;

/// A world without a pair, in which this goes wrong at action number `word` of a process's handshakes.
fn with(seed: u64, who: ProcessId, word: u64, fault: Fault) -> World<Toy> {
    let mut options = Options::calm_forming(seed);
    let trigger = Trigger::Word(word);
    options.armed = vec![Armed { who, trigger, fault }];
    World::new(options, seed, None)
}

/// Lives the world to its end, in which its guest must be served and go off.
fn finish(mut world: World<Toy>, what: &str) -> (World<Toy>, Outcome) {
    let survived = world.live();
    let outcome = world.outcome(survived);
    assert_eq!(outcome.violation, None, "{what}");
    assert!(survived, "{what}");
    (world, outcome)
}

#[test]
fn two_processes_become_a_pair_in_the_first_epoch_and_serve() {
    let mut world = World::<Toy>::new(Options::calm_forming(1), 1, None);
    let limit = Time(Span::from_ms(1_000).0);
    assert!(world.run_while(limit, |world| world.client().answered() < 3));
    assert_eq!(world.role(A), Some(RoleName::Primary));
    assert_eq!(world.role(B), Some(RoleName::Backup));
    assert_eq!(world.process(B).epoch, Epoch(1));
    let (_, outcome) = finish(world, "calm");
    assert_eq!((outcome.failovers, outcome.words.len()), (0, 2));
    assert_eq!(outcome.words, [4, 6]);
}

#[test]
fn a_backup_whose_ready_is_lost_goes_on_alone_or_loses_to_the_second_call() {
    let (mut alone, mut lost) = (0, 0);
    for seed in 0..200 {
        let (world, outcome) = finish(with(seed, B, 5, Fault::Reset), &format!("seed {seed}"));
        let is_lost = world.process(B).life == Life::Halted(Halt::Lost(Epoch(2)));
        alone += u64::from(outcome.live == Some(B));
        lost += u64::from(is_lost && outcome.words[A.index()] > 4 && outcome.live.is_none());
    }
    assert!(
        alone > 3 && lost > 3,
        "{alone} alone, {lost} lost to the second call"
    );
}

#[test]
fn whoever_dies_at_whatever_point_a_pair_is_formed_in_the_end() {
    for (who, words) in [(A, 4), (B, 6)] {
        for word in 1..=words {
            for death in [Death::Process, Death::Host] {
                let world = with(word, who, word, Fault::Crash(who, death));
                finish(
                    world,
                    &format!("{who} dies ({death:?}) instead of its action {word}"),
                );
            }
        }
    }
}

#[test]
fn a_backup_waits_for_the_next_primary_when_its_own_has_died_after_its_claim() {
    let world = with(1, A, 3, Fault::Crash(A, Death::Process));
    let (world, outcome) = finish(world, "A dies instead of saying `Start`");
    assert_eq!((world.process(B).epoch, outcome.failovers), (Epoch(2), 0));
}

#[test]
fn a_claim_that_is_granted_and_not_answered_is_given_up_so_the_guest_can_be_started_anywhere() {
    let mut given_up = 0;
    for seed in 0..10 {
        let mut options = Options::calm_forming(seed);
        options.arbiter.lost_permille = 1000;
        options.unsafe_for = Span::from_ms(2_000);
        let (world, _) = finish(World::new(options, seed, None), &format!("seed {seed}"));
        // Each start finds the end of the one before, and claims the epoch after it.
        given_up += world.process(world.owner()).epoch.0 - 1;
    }
    assert!(given_up > 10, "{given_up}");
}

#[test]
fn no_pair_is_formed_while_its_sides_see_two_arbiters() {
    for seed in 0..10 {
        let mut options = Options::calm_forming(seed);
        options.arbiter.apart = true;
        let mut world = World::<Toy>::new(options, seed, None);
        world.run_until(Time(Span::from_ms(199).0));
        assert_eq!(world.role(B), None, "seed {seed}");
        assert!(matches!(world.process(A).life, Life::Halted(Halt::Abandoned(_))));
        let (world, _) = finish(world, &format!("seed {seed}"));
        assert!(world.process(B).epoch > Epoch(1), "seed {seed}");
    }
}

#[test]
fn a_primary_that_is_stopped_gives_its_epoch_up_and_its_backup_goes_on_or_waits() {
    for word in 1..=3 {
        let (world, _) = finish(with(word, A, word, Fault::Leave(A)), &format!("after {word}"));
        assert!(matches!(world.process(A).life, Life::Halted(Halt::Abandoned(_))));
    }
}
