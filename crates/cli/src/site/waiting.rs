//! How commands wait for what they have begun, or for a VM to be as somebody wants it: the agent is asked,
//! and asked again when something has changed. A terminal shows meanwhile what is waited for.

use std::time::{Duration, Instant};

use agent::types::{OperationObject, OperationState, VmObject};
use anyhow::Result;
use replica::VmName;

use super::changes::Changes;
use super::client::Site;
use membership::asking::AskError;
use terminal::Line;
use terminal::Screen;

/// The user's signal is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An operation that was begun has this long to be seen by the agent.
const SEEN_PATIENCE: Duration = Duration::from_secs(5);

/// How the waiting for an operation has ended.
pub enum Waited {
    /// The operation has ended.
    Ended(OperationObject),
    /// The time is over, and it goes on.
    TimeIsOver,
    /// The user wants to wait no more, and it goes on.
    Stopped,
}

impl Site {
    /// Waits until an operation has ended, but at most for `patience`. Meanwhile a terminal shows what it
    /// waits for.
    pub fn await_end(&self, operation: &OperationObject, patience: Duration) -> Result<Waited> {
        let path = format!("/v1/operations/{}", operation.id);
        let began = Instant::now();
        let mut line = Line::begin()?;
        let mut changes = Changes::of(self, "operation,figures");
        loop {
            let seen: Result<OperationObject, AskError> = self.get(&path);
            let shown = match seen {
                Ok(seen) if seen.state != OperationState::Running => {
                    line.clear();
                    return Ok(Waited::Ended(seen));
                }
                Ok(seen) => {
                    let reasons = seen.reasons.iter().map(|reason| reason.sentence.as_str());
                    reasons.collect::<Vec<_>>().join("; ")
                }
                // It was begun just now.
                Err(AskError::Problem(problem))
                    if problem.code == "no-operation" && began.elapsed() < SEEN_PATIENCE =>
                {
                    String::new()
                }
                Err(error) => return Err(error.into()),
            };
            if began.elapsed() >= patience {
                line.clear();
                return Ok(Waited::TimeIsOver);
            }
            if !line.show(&fitting(&format!("{} {}: {shown}", operation.kind, operation.vm))) {
                line.clear();
                return Ok(Waited::Stopped);
            }
            await_change(&mut changes, &mut line, began + patience);
        }
    }

    /// Waits until a VM is as `is_so` says, but at most for `patience`; `None`: the user wants to wait no
    /// more.
    pub fn await_vm(
        &self,
        vm: &VmName,
        patience: Duration,
        is_so: &dyn Fn(&VmObject) -> bool,
    ) -> Result<Option<(bool, VmObject)>> {
        let began = Instant::now();
        let mut line = Line::begin()?;
        let mut changes = Changes::of(self, "vm,figures");
        loop {
            let seen = self.fresh_vm(vm)?;
            let so = is_so(&seen);
            if so || began.elapsed() >= patience {
                line.clear();
                return Ok(Some((so, seen)));
            }
            let reasons = seen
                .protection
                .reasons
                .iter()
                .map(|reason| reason.sentence.as_str());
            let reasons = reasons.collect::<Vec<_>>().join("; ");
            let shown = format!("{vm} is {}: {reasons}", seen.protection.state.as_str());
            if !line.show(&fitting(&shown)) {
                line.clear();
                return Ok(None);
            }
            await_change(&mut changes, &mut line, began + patience);
        }
    }
}

/// Waits until something may have changed at the site, the time is over, or the user wants to wait no more,
/// which `line` goes on to say.
fn await_change(changes: &mut Changes, line: &mut Line, until: Instant) {
    while Instant::now() < until && !line.is_over() && !changes.come(LOOK_EVERY) {}
}

/// As much of a text as fits on a line of the terminal.
fn fitting(text: &str) -> String {
    let width = Screen::of_stdout().width.saturating_sub(1);
    text.chars().take(width).collect()
}
