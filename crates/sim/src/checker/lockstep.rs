//! At equal points of the log both guests are equal: every input, every effect, every fingerprint (FT 2-a).
//!
//! The backup's tape must be a beginning of the primary's for as long as the backup replays. The world calls
//! this whenever either guest has run; a side that is live has no life to be compared with any more.

use crate::{
    checker::{Check, Violation, ensure},
    subject::{At, Tape},
};

/// How much of the two tapes is compared.
#[derive(Debug, Default)]
pub struct Lockstep {
    /// How many inputs were compared.
    inputs: usize,
    /// How many effects were compared.
    effects: usize,
}

impl Lockstep {
    /// Compares what the backup has done since the last call.
    ///
    /// # Errors
    /// At the first difference.
    pub fn compare(&mut self, primary: &Tape, backup: &Tape) -> Result<(), Violation> {
        same("input", &mut self.inputs, &primary.inputs, &backup.inputs)?;
        same("effect", &mut self.effects, &primary.effects, &backup.effects)
    }

    /// How many inputs and effects were compared.
    #[must_use]
    pub fn compared(&self) -> usize {
        self.inputs + self.effects
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
