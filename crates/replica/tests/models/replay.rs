//! Replays a recorded life on some engine, and says whether it was the same life.

use std::sync::atomic::AtomicBool;

use hart::{Interpreter, InterpreterOptions, Translate};
use machine::{Machine, Step};
use replica::{Guest, LogReader, Playback, PlaybackError, Playing};

use crate::kept::{self, End};

/// Every recorded life has at least so many digests.
const DIGESTS_MIN: u64 = 20;

/// What computes the machine.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// What is translated.
    pub translate: Translate,
    /// The seed with which caches are dropped at random; `None`: none is.
    pub zeal: Option<u64>,
    /// Most steps from one stop of the guest to the next.
    pub slice: u64,
}

impl How {
    /// The engine.
    pub fn engine(self) -> Interpreter {
        Interpreter::new(InterpreterOptions {
            translate: self.translate,
            zeal: self.zeal,
            ..InterpreterOptions::default()
        })
    }
}

/// Why a life is not lived again.
#[derive(Debug)]
pub enum Failure {
    /// The log or an image is not there, not whole, or of another model.
    Unreadable(String),
    /// The guest lives another life.
    Parted(String),
}

/// Replays a log of the present model to its end, with every output and digest compared.
///
/// # Errors
/// What is wrong, or differs, in a sentence.
pub fn replay(name: &str, how: How) -> Result<End, Failure> {
    let (machine, reader) = open(name, how).map_err(Failure::Unreadable)?;
    let mut playback = Playback::new(machine, reader, Step::NEVER);
    playback.push(&[]);
    let cut = AtomicBool::new(false);
    let end = loop {
        match playback.slice(&cut, how.slice) {
            Ok(Playing::Busy) => {}
            Ok(Playing::Ended(end)) => break end,
            Ok(other) => panic!("the whole log was pushed, and all of it asked for: {other:?}"),
            Err(PlaybackError::Log(why)) => return Err(Failure::Unreadable(why.to_string())),
            Err(PlaybackError::Diverged(why)) => return Err(Failure::Parted(why.to_string())),
        }
    };
    let digests = playback.digests();
    if end != replica::End::Off || digests < DIGESTS_MIN {
        let why = format!("it ends as {end:?}, with {digests} digests");
        return Err(Failure::Unreadable(why));
    }
    let mut machine = playback.into_guest();
    Ok(End {
        name: name.to_owned(),
        step: Guest::now(&machine),
        digest: machine.digest(),
    })
}

/// The machine of a log at its first step, and the log behind its header.
fn open(name: &str, how: How) -> Result<(Machine, LogReader), String> {
    let mut reader = LogReader::default();
    reader.push(&kept::log(name));
    let header = reader.header().map_err(|why| why.to_string())?;
    let header = header.ok_or("it ends within its header")?.clone();
    header.computed_here(0).map_err(|why| why.to_string())?;
    let boot = kept::boot(header.firmware, header.kernel, header.initrd);
    let config = header.config(boot).map_err(|why| why.to_string())?;
    let machine = Machine::new(config, Box::new(how.engine())).map_err(|why| why.to_string())?;
    Ok((machine, reader))
}
