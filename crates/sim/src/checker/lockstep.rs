//! At equal points of the log all guests are equal: every input, every effect, every fingerprint (FT 2-a).
//!
//! The tape of a process that replays must be a beginning of the tape of the process whose log it replays,
//! for as long as it replays. The world calls this whenever a guest has run; a process that is live has no
//! life to be compared with any more.

use std::collections::BTreeMap;

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure},
    subject::{At, Tape},
};

/// How much of the tapes is compared.
#[derive(Debug, Default)]
pub struct Lockstep {
    /// By process that replays: how much of its tape is known to be equal.
    compared: BTreeMap<ProcessId, Compared>,
}

#[derive(Debug, Default)]
struct Compared {
    /// How many inputs were compared.
    inputs: usize,
    /// How many effects were compared.
    effects: usize,
}

impl Lockstep {
    /// Compares what `who` has replayed since the last call, as its tape `ours` says, with the life that it
    /// replays.
    ///
    /// # Errors
    /// At the first difference.
    pub fn compare(&mut self, who: ProcessId, ours: &Tape, theirs: &Tape) -> Result<(), Violation> {
        let compared = self.compared.entry(who).or_default();
        same("input", &mut compared.inputs, &theirs.inputs, &ours.inputs)?;
        same("effect", &mut compared.effects, &theirs.effects, &ours.effects)
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    name: &str,
    from: &mut usize,
    primary: &[At<T>],
    backup: &[At<T>],
) -> Result<(), Violation> {
    for (index, ours) in backup.iter().enumerate().skip(*from) {
        let theirs = primary.get(index);
        ensure(theirs == Some(ours), Check::Lockstep, || {
            format!("{name} {index} of the backup is {ours:?}, of the primary {theirs:?}")
        })?;
    }
    *from = backup.len();
    Ok(())
}
