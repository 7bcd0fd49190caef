//! A program that gets a snapshot over a control socket ([`Part`]).
//!
//! The program says one line, [`Part::GoOn`], once it has kept the guest's disks. So the VM's process opens
//! no file and waits for no disk, and what the program has is either the whole file or nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use report::amount;
use serde::Serialize;

use crate::client::{CallError, Caller, Found};
use crate::limits::SNAPSHOT_SILENCE;
use crate::verbs::{PATIENCE, VerbError, begun};
use control::{Part, RequestId, Verb, line};

/// Time between two lines about a snapshot on its way.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Time between two looks at whoever keeps the disks, for whom the guest's requests wait.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A snapshot that a program has got.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Taken {
    /// The guest's step.
    pub step: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Disks that the guest has, of which nothing is in the file.
    pub disks: u64,
    /// Milliseconds from the order to the last byte.
    pub took_ms: f64,
    /// Milliseconds for which the guest stood since hardly more pages could be kept for it.
    pub stood_ms: f64,
}

/// Keeps the guest's disks along with a snapshot.
pub trait Hook {
    /// Begins: the guest stands at this step for its disks, which are quiet from now on.
    ///
    /// # Errors
    /// It cannot begin; the sentence says why.
    fn begin(&mut self, step: u64) -> Result<(), String>;

    /// Whether the disks are kept by now.
    ///
    /// # Errors
    /// They will not be; the sentence says why.
    fn is_done(&mut self) -> Result<bool, String>;
}

/// Has the process take a snapshot of its guest, and writes the file. `watch` gets a line about how far it is
/// now and then, and says whether it is still wanted; `None` is given if it is not.
///
/// # Errors
/// It is refused, it comes to nothing, the file takes nothing more, or there is no answer.
pub fn snapshot(
    process: &Found,
    hook: Option<&mut dyn Hook>,
    file: &mut dyn Write,
    watch: &mut dyn FnMut(&str) -> bool,
) -> Result<Option<Taken>, VerbError> {
    let mut caller = process.call(PATIENCE)?;
    let order = Verb::Snapshot { hook: hook.is_some() };
    begun(caller.ask(&order, PATIENCE)?)?;
    take(caller, hook, file, watch)
}

/// The same over a connection that leads through others, who have ordered the snapshot ([`Caller::over`]).
///
/// # Errors
/// As those of [`snapshot`].
pub fn snapshot_over(
    mut caller: Caller,
    hook: Option<&mut dyn Hook>,
    file: &mut dyn Write,
    watch: &mut dyn FnMut(&str) -> bool,
) -> Result<Option<Taken>, VerbError> {
    begun(caller.answer(RequestId::default(), PATIENCE)?)?;
    take(caller, hook, file, watch)
}

/// Takes a snapshot that is under way.
fn take(
    mut caller: Caller,
    mut hook: Option<&mut dyn Hook>,
    file: &mut dyn Write,
    watch: &mut dyn FnMut(&str) -> bool,
) -> Result<Option<Taken>, VerbError> {
    let began = Instant::now();
    // Of the snapshot its step, its disks, its pages and its bytes so far.
    let (mut taken, mut progress) = ((0, 0, 0, 0), String::new());
    let (mut heard, mut drawn, mut is_kept) = (began, began, true);
    loop {
        if drawn.elapsed() >= DRAW_EVERY || drawn == began {
            drawn = Instant::now();
            if !watch(&progress) {
                return Ok(None);
            }
        }
        if !is_kept && let Some(hook) = &mut hook {
            is_kept = is_done(*hook, &mut caller)?;
        }
        let patience = if is_kept { DRAW_EVERY } else { LOOK_EVERY };
        let Some(part) = part(&mut caller, Instant::now() + patience)? else {
            if heard.elapsed() >= SNAPSHOT_SILENCE {
                return Err(CallError::Silent(caller.vm.clone()).into());
            }
            continue;
        };
        heard = Instant::now();
        match part {
            Part::Step {
                step,
                pages,
                disks,
                quiet,
            } => {
                taken = (step, disks, pages, 0);
                if let (true, Some(hook)) = (quiet, &mut hook) {
                    hook.begin(step).map_err(VerbError::Failed)?;
                    is_kept = false;
                }
            }
            Part::Bytes { length, pages } => {
                copy(&mut caller, length, file)?;
                taken.3 += length;
                progress = far(pages, taken.2);
            }
            Part::Done { stood_ms } => {
                let (step, disks, _, bytes) = taken;
                let took_ms = began.elapsed().as_secs_f64() * 1e3;
                return Ok(Some(Taken {
                    step,
                    bytes,
                    disks,
                    took_ms,
                    stood_ms,
                }));
            }
            Part::Failed { why } => {
                let vm = &caller.vm;
                let sentence = format!("no snapshot of {vm} was taken: {why}; the guest has not noticed");
                return Err(VerbError::Failed(sentence));
            }
            Part::GoOn => {}
        }
    }
}

/// Whether the disks are kept; if they are, the VM is told.
fn is_done(hook: &mut dyn Hook, caller: &mut Caller) -> Result<bool, VerbError> {
    let is_done = hook.is_done().map_err(VerbError::Failed)?;
    if is_done {
        caller.send(&line(&Part::GoOn))?;
    }
    Ok(is_done)
}

/// The next part, if one comes until then.
fn part(caller: &mut Caller, until: Instant) -> Result<Option<Part>, VerbError> {
    let Some(text) = caller.line(until)? else {
        return Ok(None);
    };
    let part = serde_json::from_slice(&text);
    part.map(Some)
        .map_err(|error| VerbError::Failed(format!("the VM's process says what is no snapshot: {error}")))
}

/// Copies bytes behind a line to the file; a signal does not end the waiting for them.
fn copy(caller: &mut Caller, length: u64, file: &mut dyn Write) -> Result<(), VerbError> {
    let until = Instant::now() + SNAPSHOT_SILENCE;
    loop {
        if let Some(bytes) = caller.bytes(length, until)? {
            return file.write_all(&bytes).map_err(|error| {
                VerbError::Failed(format!("the file takes nothing more: {error}; nothing was kept"))
            });
        }
        if Instant::now() >= until {
            return Err(CallError::Silent(caller.vm.clone()).into());
        }
    }
}

/// How far it is, in MiB of memory.
fn far(pages: u64, all: u64) -> String {
    let mib = |pages: u64| amount::grouped((pages.min(all) * PAGE_LEN) >> 20);
    format!("{} of {} MiB", mib(pages), mib(all))
}

/// Bytes of a page of the guest's memory.
const PAGE_LEN: u64 = 4096;
