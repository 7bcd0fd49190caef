//! The orders that can be given to a running VM, as a program gives them: to the process that shows the guest
//! to the world, and until what was ordered is done. Nothing here prints, or asks whether it is meant.

use std::path::Path;
use std::time::{Duration, Instant};

use replica::VmName;
use report::{Happening, Line, RoleWord, StateWord};

use crate::client::{CallError, Caller, Found, find};
use crate::limits::PATIENCE_S;
use crate::progress::Progress;
use control::Status;
use control::{Answer, Verb};

/// So long a process may take for an answer.
pub const PATIENCE: Duration = Duration::from_secs(3);
/// Time between two lines about a clone on its way.
const DRAW_EVERY: Duration = Duration::from_millis(200);

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

pub(crate) fn begun(answer: Answer) -> Result<u64, VerbError> {
    match answer {
        Answer::Begun { events } | Answer::Events { first: events } => Ok(events),
        Answer::Refused { sentence, .. } => Err(VerbError::Refused(sentence)),
        Answer::Failed { sentence } => Err(VerbError::Failed(sentence)),
        Answer::Status { .. } | Answer::Console { .. } => {
            Err(VerbError::Failed("it answers another question".into()))
        }
    }
}

/// Gives an order, and follows the events that tell what comes of it.
fn order_and_follow(process: &Found, verb: &Verb) -> Result<Caller, VerbError> {
    let after = order(process, verb)?;
    follow(process, after)
}

/// Follows a process's events, from the one of number `after` on.
fn follow(process: &Found, after: u64) -> Result<Caller, VerbError> {
    let mut events = process.call(PATIENCE)?;
    begun(events.ask(&Verb::Events { follow: true, after }, PATIENCE)?)?;
    Ok(events)
}

/// The next event, if one that can be read comes until then.
fn event(events: &mut Caller, until: Instant) -> Result<Option<Line>, VerbError> {
    let line = events.line(until)?;
    Ok(line.and_then(|line| serde_json::from_slice(&line).ok()))
}

/// What the next event says, if one that can be read comes until then.
fn happening(events: &mut Caller, until: Instant) -> Result<Option<Happening>, VerbError> {
    Ok(event(events, until)?.map(|line| line.happening))
}

/// Gives an order, and waits for the event that tells what came of it; gives its sentence. `outcome` says of
/// an event whether the order was done (true) or failed (false); `None`: it is about something else.
fn carry_through(
    process: &Found,
    vm: &VmName,
    verb: &Verb,
    outcome: impl Fn(&Happening) -> Option<bool>,
) -> Result<String, VerbError> {
    let mut events = order_and_follow(process, verb)?;
    loop {
        let Some(happening) = happening(&mut events, Instant::now() + PATIENCE)? else {
            continue;
        };
        let sentence = happening.sentence().unwrap_or_default();
        match outcome(&happening) {
            Some(true) => return Ok(format!("{vm}: {sentence}")),
            Some(false) => return Err(VerbError::Failed(sentence)),
            None => {}
        }
    }
}

/// Waits until the process has changed to this role, at `since_ns` of CLOCK_BOOTTIME or later. `watch` is
/// asked a few times a second whether to go on waiting; false: it does not want to.
///
/// # Errors
/// There is no answer, or the process has ended.
pub fn await_role(
    process: &Found,
    wanted: RoleWord,
    since_ns: u64,
    watch: &mut dyn FnMut() -> bool,
) -> Result<bool, VerbError> {
    let mut events = follow(process, 0)?;
    while watch() {
        if let Some(line) = event(&mut events, Instant::now() + DRAW_EVERY)?
            && line.time_ns >= since_ns
            && matches!(line.happening, Happening::Role { role, .. } if role == wanted)
        {
            return Ok(true);
        }
    }
    Ok(false)
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

/// Has the guest stand, or with `paused` false run on; gives a sentence of what was done. The backup knows
/// it then too.
///
/// # Errors
/// It is refused, it does not come about, or there is no answer.
pub fn pause(process: &Found, vm: &VmName, paused: bool) -> Result<String, VerbError> {
    let is_paused = |status: Status| status.is_live() && status.paused_since_wall_ns.is_some();
    if paused && process.status(PATIENCE)?.is_some_and(is_paused) {
        return Ok(format!("{vm} is paused already"));
    }
    let verb = if paused { Verb::Pause } else { Verb::Resume };
    carry_through(process, vm, &verb, |happening| match happening {
        Happening::Paused => paused.then_some(true),
        Happening::Resumed => (!paused).then_some(true),
        // The order came too late for this process.
        Happening::HandedOver { .. } | Happening::Halt(_) => Some(false),
        _ => None,
    })
}

/// What became of the wish for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Protecting {
    /// The VM has a backup already, at this address.
    Already(String),
    /// The process there is called, and nobody waits for what comes of it.
    Begun,
    /// The VM is protected; the sentence says by whom, and after which time.
    Done(String),
    /// The time is over, and the VM goes on being copied.
    TimeIsOver,
    /// Nobody wants to wait any more, and the VM goes on being copied.
    Stopped,
}

impl Protecting {
    /// The exit code of a program that has seen it: 124 the time is over, 130 stopped, 0 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Protecting::Already(_) | Protecting::Begun | Protecting::Done(_) => 0,
            Protecting::TimeIsOver => 124,
            Protecting::Stopped => 130,
        }
    }

    /// What to tell the person who wanted it for `vm`.
    #[must_use]
    pub fn sentence(&self, vm: &VmName) -> String {
        match self {
            Protecting::Already(peer) => format!("{vm} is protected already, by {peer}"),
            Protecting::Done(sentence) => format!("{vm}: {sentence}"),
            Protecting::Begun | Protecting::TimeIsOver | Protecting::Stopped => {
                format!("{vm} goes on being copied; `lockstep status {vm}` shows how far it is")
            }
        }
    }
}

/// A length of time to wait, such as `90s`, `10m` or `1h`; a number alone is seconds.
///
/// # Errors
/// It is none, or none from a second to a day: the sentence says what to write.
pub fn patience(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits).unwrap_or_default() {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => 0,
    };
    let number = digits.parse::<u64>().ok();
    let seconds = number.and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| PATIENCE_S.contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| format!("`{text}` is no time from 1 s to a day; use for example 90s or 10m"))
}

/// Gives an order after which the guest is copied: to get a backup ([`Verb::Protect`],
/// [`Verb::ResumeProtection`]), or another one in place of the one that it has ([`Verb::MoveBackup`]). Waits
/// until that is done for at most `patience` (`None`: not at all), and gives a line about it to `watch` a few
/// times a second (empty: no news), which answers whether to go on waiting.
///
/// # Errors
/// It is refused, it comes to nothing, or there is no answer.
pub fn protect(
    process: &Found,
    verb: &Verb,
    patience: Option<Duration>,
    watch: &mut dyn FnMut(&str) -> bool,
) -> Result<Protecting, VerbError> {
    let moves = matches!(verb, Verb::MoveBackup { .. });
    if !moves
        && let Some(status) = process.status(PATIENCE)?
        && status.protection.state == StateWord::Protected
        && status.is_live()
    {
        return Ok(Protecting::Already(status.peer.unwrap_or_default()));
    }
    let Some(patience) = patience else {
        return order(process, verb).map(|_| Protecting::Begun);
    };
    let mut events = order_and_follow(process, verb)?;
    let began = Instant::now();
    let (mut progress, mut drawn) = (Progress::new(began), began);
    // What was said of the new backup; and is there none besides it?
    let (mut protected, mut only) = (None, !moves);
    while began.elapsed() < patience {
        let happening = happening(&mut events, Instant::now() + DRAW_EVERY)?;
        let sentence = happening
            .as_ref()
            .and_then(Happening::sentence)
            .unwrap_or_default();
        match happening {
            Some(Happening::Protected { .. }) => protected = Some(sentence),
            // The old one may be lost for another reason meanwhile.
            Some(Happening::Dismissed { .. } | Happening::Alone { .. }) => only = true,
            Some(Happening::CloneFailed { .. }) => return Err(VerbError::Failed(sentence)),
            Some(Happening::NotDismissed { .. }) if moves => return Err(VerbError::Failed(sentence)),
            _ => {}
        }
        if only && let Some(sentence) = protected {
            return Ok(Protecting::Done(sentence));
        }
        let mut text = String::new();
        if drawn.elapsed() >= DRAW_EVERY
            && let Some(status) = process.status(PATIENCE)?
        {
            drawn = Instant::now();
            text = progress.line(&status, drawn);
        }
        if !watch(&text) {
            return Ok(Protecting::Stopped);
        }
    }
    Ok(Protecting::TimeIsOver)
}

/// Has the backup of a running VM dismissed, or the process sent away that is to be it; gives a sentence of
/// what was done. `suspended`: the process remembers where it has called the backup.
///
/// # Errors
/// It is refused, it does not come about, or there is no answer.
pub fn unprotect(process: &Found, vm: &VmName, suspended: bool) -> Result<String, VerbError> {
    let state = process.status(PATIENCE)?.map(|status| status.protection.state);
    let is_lost = state == Some(StateWord::NeedsBackup);
    if state == Some(StateWord::Unprotected) || (is_lost && !suspended) {
        return Ok(format!("{vm} has no backup"));
    }
    let verb = if suspended {
        Verb::SuspendProtection
    } else {
        Verb::Unprotect
    };
    carry_through(process, vm, &verb, |happening| match happening {
        Happening::Suspended { .. } => is_lost.then_some(true),
        // Alone: the backup was given up for another reason meanwhile.
        Happening::Dismissed { .. } | Happening::CloneFailed { .. } | Happening::Alone { .. } => Some(true),
        Happening::NotDismissed { .. } => Some(false),
        _ => None,
    })
}

/// Has the process and the VM's backup change their roles; gives a sentence of what was done.
///
/// # Errors
/// It is refused, it does not come about, or there is no answer.
pub fn failover(process: &Found, vm: &VmName) -> Result<String, VerbError> {
    carry_through(process, vm, &Verb::Failover, |happening| match happening {
        Happening::HandedOver { .. } => Some(true),
        // The two sides could not agree, and the arbiter has decided between them.
        Happening::NotHandedOver { .. } | Happening::Alone { .. } | Happening::Halt(_) => Some(false),
        _ => None,
    })
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
