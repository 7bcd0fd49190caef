//! The log file: what a survivor appended, replayed from its bytes alone, is the guest's life (decisions D5).
//!
//! Checked in the end of a world whose processes write log files. Across a failover the file goes on where
//! the channel ended, so this also shows that the states of the two codecs were joined rightly. It must use
//! nothing but the bytes.

use std::{cell::Cell, rc::Rc, sync::atomic::AtomicBool};

use machine::Step;
use replica::{End, LogReader, Playback, Playing};

use crate::{
    checker::{Check, Violation, ensure},
    subject::{Subject, Watched},
};

/// Steps replayed at a time: odd, so that the stops are elsewhere than in the life.
const SLICE: u64 = 77_777;

/// Replays `file` and compares its outputs with `shown`, the outputs of the whole life. If the guest is off
/// they must be the same; otherwise the end of the file may be missing.
///
/// # Errors
/// If the file is damaged, if its replay parts from the life, or if too much of it is missing.
pub fn check<G: Subject>(
    config: &G::Config,
    file: &[u8],
    shown: &[u64],
    is_off: bool,
) -> Result<(), Violation> {
    let wrong = |why: String| Violation::new(Check::Oracle, format!("the log file: {why}"));
    let mut reader = LogReader::default();
    reader.push(file);
    ensure(matches!(reader.header(), Ok(Some(_))), Check::Oracle, || {
        "the log file has no header".to_owned()
    })?;
    // The guest is watched again, because the outputs in the log are stamped.
    let guest = Watched::new(G::boot(config), Rc::new(Cell::new(u64::MAX)));
    let tape = guest.tape();
    let mut playback = Playback::new(guest, reader, Step::NEVER);
    playback.push(&[]);
    let cut = AtomicBool::new(false);
    let end = loop {
        let playing = playback
            .slice(&cut, SLICE)
            .map_err(|why| wrong(why.to_string()))?;
        drop(playback.take_effects());
        match playing {
            Playing::Busy => {}
            Playing::Ended(end) => break end,
            other => return Err(wrong(format!("stops as {other:?}"))),
        }
    };
    let replayed = &tape.borrow().shown;
    ensure(shown.starts_with(replayed), Check::Oracle, || {
        "the log file shows other outputs than the guest's life".to_owned()
    })?;
    let whole = end == End::Off && replayed.len() == shown.len();
    ensure(whole || !is_off, Check::Oracle, || {
        format!(
            "the log file ends as {end:?} with {} of {} outputs, though the guest is off",
            replayed.len(),
            shown.len()
        )
    })
}
