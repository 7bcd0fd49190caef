//! The proof of the machine's model: recorded lives that every later build must live again.
//!
//! Two builds are halves of one pair if they have one model (`machine::MODEL`), so each must compute the same
//! machine. `tests/models/N` keeps what the first build of model N computed: real logs, of guests that use
//! every instruction and every device (`recordings.rs`). Here each is replayed by each engine, with every
//! output and every digest compared, and the digest of the whole state at the end.
//!
//! A new model gets recordings of its own, in a directory of its own:
//! `WRITE=1 cargo test -p replica --test models recording` records what is not there. What is there is never
//! written again: to record a life anew in spite of that, remove its log before.

#![allow(
    clippy::disallowed_methods,
    reason = "the recordings are files, and the environment says whether to write them"
)]

mod kept;
mod record;
mod recordings;
mod replay;
mod world;

use hart::Translate;
use replay::{Failure, How, replay};

const INTERPRETED: How = How {
    translate: Translate::Never,
    zeal: None,
    slice: u64::MAX,
};

/// What is said of a build that does not live a life again.
fn sentence(name: &str, failure: &Failure) -> String {
    let model = machine::MODEL;
    let log = format!("tests/models/{model}/{name}.log");
    match failure {
        Failure::Unreadable(why) => format!(
            "{log} cannot be replayed: {why}. What is recorded of a model stays as it is, and every build \
             with that model must be able to read it"
        ),
        Failure::Parted(what) => format!(
            "this build computes another machine than model {model}: {log}: {what}. Either that is a fault, \
             or the model's number must change (docs/testing.md, \"The machine's model\")"
        ),
    }
}

/// Every recorded life must be lived again.
fn live_again(how: How) {
    let ends = kept::ends();
    assert!(
        !ends.is_empty(),
        "model {} has no recordings: `WRITE=1 cargo test -p replica --test models recording` makes them",
        machine::MODEL
    );
    let failures: Vec<String> = ends
        .iter()
        .filter_map(|kept| {
            let failure = match replay(&kept.name, how) {
                Ok(end) if end == *kept => return None,
                Ok(end) => Failure::Parted(format!("it ends as `{end}` and not as `{kept}`")),
                Err(failure) => failure,
            };
            Some(sentence(&kept.name, &failure))
        })
        .collect();
    assert!(failures.is_empty(), "{how:?}:\n{}", failures.join("\n"));
}

#[test]
fn the_interpreter_lives_each_life_again() {
    live_again(INTERPRETED);
}

#[test]
fn the_translator_lives_each_life_again() {
    live_again(How {
        translate: Translate::Hot,
        ..INTERPRETED
    });
}

#[test]
fn the_translator_that_translates_always_lives_each_life_again() {
    live_again(How {
        translate: Translate::Always,
        ..INTERPRETED
    });
}

#[test]
fn the_interpreter_that_drops_its_caches_lives_each_life_again() {
    live_again(How {
        zeal: Some(10),
        slice: 9_973,
        ..INTERPRETED
    });
}

#[test]
fn the_translator_that_drops_its_caches_lives_each_life_again() {
    live_again(How {
        translate: Translate::Always,
        zeal: Some(19),
        slice: 20_011,
    });
}

/// Has the environment asked for the recordings that are not there?
fn writes() -> bool {
    std::env::var_os("WRITE").is_some()
}

#[test]
fn recording_a_life_on_another_engine_gives_the_same_bytes() {
    for recording in recordings::all() {
        let name = recording.name;
        let file = record::record(&recording, INTERPRETED.engine());
        let again = How {
            translate: Translate::Always,
            ..INTERPRETED
        };
        let is_same = file == record::record(&recording, again.engine());
        assert!(is_same, "{name}: two recordings of one life differ");
        if writes() && !kept::logs().iter().any(|there| there == name) {
            kept::write(name, &file, &recording.config);
        }
    }
    if writes() {
        let end = |name: &String| replay(name, INTERPRETED).unwrap();
        let made: Vec<kept::End> = kept::logs().iter().map(end).collect();
        let kept = kept::ends();
        let is_kept = kept.iter().all(|kept| made.contains(kept));
        assert!(is_kept, "a recording that is there does not end as it did");
        kept::write_ends(&made);
    }
}

#[test]
fn each_log_has_its_end_in_the_table() {
    let ends: Vec<String> = kept::ends().into_iter().map(|end| end.name).collect();
    assert_eq!(kept::logs(), ends);
}
