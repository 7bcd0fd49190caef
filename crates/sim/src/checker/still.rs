//! A clone does not stop the guest: what comes for it is taken in soon (FT 3.1-a).
//!
//! While a process is on its way to be the backup, an input that its owner has looked at must be on the
//! guest's tape within ten milliseconds. That is what a client would notice. It holds in calm worlds only: in
//! others an owner may stand still or wait for an apprentice that is slow. Nothing is asked of a node but
//! whether a clone is under way.

use machine::Input;
use replica::{Span, Time};

use toy_outside::names::ProcessId;

use crate::{
    checker::{Check, Violation, ensure},
    subject::Tape,
};

/// The longest time for which an input may wait for the guest.
const STILL_MAX: Span = Span::from_ms(10);

/// The inputs that wait for a guest that is being cloned.
#[derive(Debug, Default)]
pub struct Still {
    /// Who has looked at an input, when, and how many inputs the tape had then; `None`: nothing waits.
    waits: Option<(ProcessId, Time, usize)>,
}

impl Still {
    /// `who`, the owner, looks at an input for its guest with this tape.
    pub fn on_input(&mut self, who: ProcessId, now: Time, tape: &Tape) {
        if self.waits.is_none_or(|(before, ..)| before != who) {
            self.waits = Some((who, now, tape.inputs.len()));
        }
    }

    /// The guest of `who` has had the chance to run. `cloned`: a clone of it is under way.
    ///
    /// # Errors
    /// If the guest has taken in nothing for too long through a clone.
    pub fn check(&mut self, who: ProcessId, now: Time, cloned: bool, tape: &Tape) -> Result<(), Violation> {
        let Some((_, since, seen)) = self.waits.filter(|(waiting, ..)| *waiting == who) else {
            return Ok(());
        };
        let is_told = |input: &Input| matches!(input, Input::Clock { .. });
        let taken = tape.inputs.iter().skip(seen).any(|at| !is_told(&at.what));
        if taken || !cloned {
            self.waits = None;
            return Ok(());
        }
        ensure(now.since(since) <= STILL_MAX, Check::Still, || {
            format!(
                "the guest of {who} stands for more than {} ms while it is cloned",
                STILL_MAX.0 / 1_000_000
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use machine::Step;

    use super::*;
    use crate::subject::At;

    const A: ProcessId = ProcessId::A;

    fn ms(ms: u64) -> Time {
        Time(Span::from_ms(ms).0)
    }

    #[test]
    fn an_input_that_waits_through_a_clone_is_noticed_and_one_that_is_taken_is_not() {
        let (mut still, mut tape) = (Still::default(), Tape::default());
        still.on_input(A, ms(1), &tape);
        assert_eq!(still.check(A, ms(11), true, &tape), Ok(()));
        assert!(still.check(A, ms(12), true, &tape).is_err());
        tape.inputs.push(At {
            step: Step(1),
            fingerprint: 0,
            what: Input::Console {
                port: 0,
                bytes: vec![1],
            },
        });
        assert_eq!(still.check(A, ms(12), true, &tape), Ok(()));
        assert_eq!(
            still.check(A, ms(90), true, &tape),
            Ok(()),
            "nothing waits any more"
        );
        still.on_input(A, ms(100), &tape);
        assert_eq!(still.check(A, ms(200), false, &tape), Ok(()), "there is no clone");
    }
}
