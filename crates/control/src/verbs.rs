//! The orders that can be given to a running VM, as a program gives them: to the process that shows the guest
//! to the world, and until what was ordered is done. Nothing here prints, or asks whether it is meant.

use std::path::Path;
use std::time::{Duration, Instant};

use replica::VmName;

use crate::client::{CallError, Found, find};
use crate::protocol::{Answer, Verb};

/// So long a process may take for an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// Why an order came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum VerbError {
    /// No process of the VM answers.
    #[error(
        "no process of a VM called {0} answers on this host; `lockstep status` lists those of this \
         user that do"
    )]
    NoAnswer(VmName),
    /// A check has refused it, and nothing was changed.
    #[error("{0}")]
    Refused(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The process gives no answer.
    #[error(transparent)]
    Call(#[from] CallError),
}

impl VerbError {
    /// The exit code of a program that has met it: 4 refused, 5 no process of the VM answers, 1 anything
    /// else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            VerbError::Refused(_) => 4,
            VerbError::NoAnswer(_) | VerbError::Call(CallError::Ended(_) | CallError::Silent(_)) => 5,
            VerbError::Failed(_) | VerbError::Call(_) => 1,
        }
    }
}

/// The process in this user's `directory` that shows the VM's guest to the world, or else any of the VM.
///
/// # Errors
/// There is none.
pub fn process(directory: &Path, vm: &VmName) -> Result<Found, VerbError> {
    let found = find(directory, Some(vm.as_str()));
    let first = found.first().cloned();
    let is_live = |found: &Found| matches!(found.status(PATIENCE), Ok(Some(status)) if status.is_live());
    let live = match found.len() {
        1 => None,
        _ => found.into_iter().find(is_live),
    };
    live.or(first).ok_or_else(|| VerbError::NoAnswer(vm.clone()))
}

/// Gives an order; gives the number of the first event that tells what comes of it.
fn order(process: &Found, verb: &Verb) -> Result<u64, VerbError> {
    begun(process.ask(verb, PATIENCE)?)
}

fn begun(answer: Answer) -> Result<u64, VerbError> {
    match answer {
        Answer::Begun { events } | Answer::Events { first: events } => Ok(events),
        Answer::Refused { sentence, .. } => Err(VerbError::Refused(sentence)),
        Answer::Failed { sentence } => Err(VerbError::Failed(sentence)),
        Answer::Status { .. } => Err(VerbError::Failed("it answers another question".into())),
    }
}

/// Asks the guest to switch off, or with `hard` pulls its plug, and waits until its process has ended; false:
/// it has not after `patience`.
///
/// # Errors
/// It is refused, or there is no answer.
pub fn stop(process: &Found, hard: bool, patience: Duration) -> Result<bool, VerbError> {
    let until = Instant::now() + patience;
    order(process, &Verb::Stop { hard })?;
    Ok(process.await_end(until)?)
}

/// Presses the guest's reset button.
///
/// # Errors
/// It is refused, or there is no answer.
pub fn reset(process: &Found) -> Result<(), VerbError> {
    order(process, &Verb::Reset).map(drop)
}

/// Gives the last lines of events to `each`, and with `follow` those to come, until the process ends.
///
/// # Errors
/// It is refused, or there is no answer.
pub fn events(process: &Found, follow: bool, each: &mut dyn FnMut(&str)) -> Result<(), VerbError> {
    let mut caller = process.call(PATIENCE)?;
    begun(caller.ask(&Verb::Events { follow, after: 0 }, PATIENCE)?)?;
    loop {
        match caller.line(Instant::now() + PATIENCE) {
            Ok(Some(line)) => each(&String::from_utf8_lossy(&line)),
            Ok(None) => {}
            Err(CallError::Ended(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}
