//! The oracle: one uninterrupted run of a fresh guest with the survivor's inputs, without any protocol.
//!
//! The run must show exactly what the outside saw, and end in the survivor's state. It is made in the end of
//! a world whose guest has survived, and must not use anything of `replica` but the trait `Guest`.

use std::sync::atomic::AtomicBool;

use machine::Step;
use machine::Stop;

use crate::{
    checker::{Check, Violation, ensure},
    subject::{Subject, Tape, hash_of, is_shown},
};

/// Makes the reference run; the answer is what it shows, as hashes.
///
/// # Errors
/// If the run does not take the same course as the survivor's life.
pub fn run<G: Subject>(
    config: &G::Config,
    tape: &Tape,
    now: Step,
    fingerprint: u64,
) -> Result<Vec<u64>, Violation> {
    let mut guest = G::boot(config);
    let mut shown = Vec::new();
    for at in &tape.inputs {
        run_to(&mut guest, at.step, &mut shown)?;
        guest.inject(&at.what);
        ensure(guest.fingerprint() == at.fingerprint, Check::Oracle, || {
            format!(
                "the reference run is in another state after the input at step {}",
                at.step
            )
        })?;
        collect(&mut guest, &mut shown);
    }
    run_to(&mut guest, now, &mut shown)?;
    ensure(guest.fingerprint() == fingerprint, Check::Oracle, || {
        format!("the reference run ends in another state at step {now}")
    })?;
    Ok(shown)
}

/// Compares what the reference run shows with what the outside saw. The last output of a guest that is off
/// may be missing there: it is the news of just that.
///
/// # Errors
/// At the first difference.
pub fn compare(shown: &[u64], seen: &[u64], is_off: bool) -> Result<(), Violation> {
    let without_last = shown.split_last().map(|(_, rest)| rest);
    let equal = shown == seen || (is_off && without_last == Some(seen));
    ensure(equal, Check::Oracle, || {
        let same = shown.iter().zip(seen).take_while(|(a, b)| a == b).count();
        format!(
            "the outside saw {} outputs, an uninterrupted run shows {}; they agree on the first {same}",
            seen.len(),
            shown.len()
        )
    })
}

fn run_to<G: Subject>(guest: &mut G, step: Step, shown: &mut Vec<u64>) -> Result<(), Violation> {
    let cut = AtomicBool::new(false);
    loop {
        let pause = guest.run(step, &cut);
        collect(guest, shown);
        match pause {
            Stop::Effects => {}
            _ if guest.now() >= step => return Ok(()),
            pause => {
                let what = format!(
                    "the reference run stops at {} with {pause:?}, before {step}",
                    guest.now()
                );
                return Err(Violation::new(Check::Oracle, what));
            }
        }
    }
}

fn collect<G: Subject>(guest: &mut G, shown: &mut Vec<u64>) {
    while let Some(effect) = guest.take_effect() {
        if is_shown(&effect) {
            shown.push(hash_of(&effect));
        }
    }
}
