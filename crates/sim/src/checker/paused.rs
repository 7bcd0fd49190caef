//! A guest that was paused stands, on whatever host, until somebody has it run on (FT 3.3-a).
//!
//! Its operator has been told, by the process to which the order was given, that the guest stands. From then
//! on the guest may not come beyond the step where it stood, wherever it lives, before an order to run on, to
//! switch off or to reset has been given to any process. Nothing is asked of a node but where its guest is.

use machine::Step;

use toy_outside::names::ProcessId;

use crate::checker::{Check, Violation, ensure};

/// What the operator of a guest knows of its pause.
#[derive(Debug, Default)]
pub struct Paused {
    /// The process to which the last order was given, if that was that the guest shall stand.
    ordered: Option<ProcessId>,
    /// Where it stands, since the operator has been told so; `None`: it may run.
    step: Option<Step>,
}

impl Paused {
    /// The operator gives an order: the guest of this process shall stand, or (`None`) do anything else.
    pub fn on_order(&mut self, stands: Option<ProcessId>) {
        self.ordered = stands;
        self.step = self.step.filter(|_| stands.is_some());
    }

    /// A live process tells that the guest stands, at this step.
    pub fn on_told(&mut self, who: ProcessId, step: Step) {
        if self.ordered == Some(who) {
            self.step.get_or_insert(step);
        }
    }

    /// The guest has come to this step; it lives in the process `who`.
    ///
    /// # Errors
    /// If it has run though it is to stand.
    pub fn check(&self, who: ProcessId, step: Step) -> Result<(), Violation> {
        let limit = self.step.unwrap_or(Step::NEVER);
        ensure(step <= limit, Check::Paused, || {
            format!("the guest of {who} runs to step {step}, and was paused at {limit}")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_paused_guest_that_runs_is_noticed_and_one_that_was_told_to_run_is_not() {
        let (a, b) = (ProcessId::A, ProcessId::B);
        let mut paused = Paused::default();
        paused.on_told(a, Step(5));
        assert_eq!(paused.check(a, Step(6)), Ok(()), "nobody has ordered it");
        paused.on_order(Some(a));
        paused.on_told(b, Step(5));
        assert_eq!(paused.check(a, Step(7)), Ok(()), "it does not stand yet");
        paused.on_told(a, Step(7));
        paused.on_told(a, Step(9));
        assert_eq!(paused.check(a, Step(7)), Ok(()));
        assert!(paused.check(b, Step(8)).is_err());
        paused.on_order(None);
        assert_eq!(paused.check(b, Step(8)), Ok(()));
    }
}
