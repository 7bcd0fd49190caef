//! `replay`: a recorded VM lives again, with every output and digest compared to the log. It reads the file
//! for a `Playback` and hands the guest's effects to its caller.
//!
//! It has no `World`: nothing is shown, no disk is opened, and nothing but the log reaches the guest.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use machine::{Effect, Step};
use replica::guest::playback::{Playback, PlaybackError, Playing};
use replica::log::header::Mismatch;
use replica::{End, Guest, Header, LogError, LogReader};

use crate::header::program;
use crate::limits::{LOG_READ_LEN, REPLAY_SLICE_STEPS};
use crate::run::Build;
use crate::spec::{SetupError, VmSpec};
use crate::world_error::WorldError;
use os::signals::Signals;

/// How a replay ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replayed {
    /// Where the guest stands.
    pub at: Step,
    /// How the log ends; `None`: the replay was told to stop before.
    pub end: Option<End>,
    /// How many digests of the log were equal to the guest's.
    pub digests: u64,
    /// How many outputs of the log were equal to the guest's.
    pub outputs: u64,
}

/// Why a log cannot be replayed, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("cannot read the log {path}")]
    Read {
        /// Path of the log.
        path: PathBuf,
        /// What the operating system said of the file.
        source: std::io::Error,
    },
    /// The file is damaged, or of another version.
    #[error("cannot use the log {path}")]
    Log {
        /// Path of the log.
        path: PathBuf,
        /// What is wrong with its bytes.
        source: LogError,
    },
    /// The file ends before its header does.
    #[error("the log {path} ends within its header; nothing was recorded")]
    Empty {
        /// Path of the log.
        path: PathBuf,
    },
    /// The images are others than those of the recording.
    #[error("the log was recorded with other images; give the same `--kernel`, `--initrd` and `--firmware`")]
    Images(#[source] Mismatch),
    /// The guest went another way, or the log is damaged.
    #[error("the replay of {path} stopped")]
    Playback {
        /// Path of the log.
        path: PathBuf,
        /// Where the guest parted from the log, or what is wrong with the log.
        source: PlaybackError,
    },
    /// The VM cannot be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The machine cannot be built.
    #[error("the machine cannot be built: {0}")]
    Build(String),
    /// The operator's signals cannot be caught.
    #[error(transparent)]
    World(#[from] WorldError),
}

/// How a log is replayed.
#[derive(Clone, Copy, Debug)]
pub struct ReplayOptions {
    /// The step at which to stop; [`Step::NEVER`]: at the log's end.
    pub until: Step,
    /// Steps between two looks at the operator's signals. Changes nothing for the guest.
    pub slice: u64,
}

impl Default for ReplayOptions {
    fn default() -> ReplayOptions {
        ReplayOptions {
            until: Step::NEVER,
            slice: REPLAY_SLICE_STEPS,
        }
    }
}

/// Replays `log` on the machine of its header with the images of `spec`; `seen` gets everything the guest
/// shows. Returns the guest where it stopped.
///
/// # Errors
/// The log does not fit, is damaged, or the guest does something else than it says.
pub fn replay<G: Guest>(
    spec: &VmSpec,
    log: &Path,
    options: ReplayOptions,
    build: Build<'_, G>,
    seen: &mut dyn FnMut(Effect),
) -> Result<(Replayed, G), ReplayError> {
    let mut signals = Signals::catch().map_err(WorldError::Poll)?;
    let mut source = Source::open(log)?;
    let mut reader = LogReader::default();
    let header = source.header(&mut reader)?;
    if header.model != machine::MODEL {
        tracing::warn!(
            "the log was recorded by {} with machine model {}, and {} has model {}: the guest may differ",
            header.program,
            header.model,
            program(),
            machine::MODEL
        );
    }
    let config = header.config(spec.boot()?).map_err(ReplayError::Images)?;
    let guest = build(&config).map_err(ReplayError::Build)?;
    let mut playback = Playback::new(guest, reader, options.until);
    let cut = AtomicBool::new(false);
    loop {
        let playing = playback
            .slice(&cut, options.slice.max(1))
            .map_err(|source| ReplayError::Playback {
                path: log.into(),
                source,
            })?;
        playback.take_effects().for_each(&mut *seen);
        let end = match playing {
            Playing::Busy if signals.take() == 0 => continue,
            Playing::Hungry => {
                playback.push(source.read()?);
                continue;
            }
            Playing::Busy | Playing::Reached => None,
            Playing::Ended(end) => Some(end),
        };
        let (digests, outputs) = (playback.digests(), playback.outputs());
        let at = playback.guest().now();
        let replayed = Replayed {
            at,
            end,
            digests,
            outputs,
        };
        return Ok((replayed, playback.into_guest()));
    }
}

/// The log file, read in pieces.
struct Source {
    file: File,
    path: PathBuf,
    buffer: Vec<u8>,
}

impl Source {
    fn open(path: &Path) -> Result<Source, ReplayError> {
        match File::open(path) {
            Ok(file) => Ok(Source {
                file,
                path: path.into(),
                buffer: vec![0; LOG_READ_LEN],
            }),
            Err(source) => Err(ReplayError::Read {
                path: path.into(),
                source,
            }),
        }
    }

    /// Reads the next bytes; none at the end of the file.
    fn read(&mut self) -> Result<&[u8], ReplayError> {
        match self.file.read(&mut self.buffer) {
            Ok(length) => Ok(&self.buffer[..length]),
            Err(source) => Err(ReplayError::Read {
                path: self.path.clone(),
                source,
            }),
        }
    }

    /// Reads the file until the header of the log is complete.
    fn header(&mut self, reader: &mut LogReader) -> Result<Header, ReplayError> {
        loop {
            let bytes = self.read()?;
            let ended = bytes.is_empty();
            reader.push(bytes);
            let header = reader.header().map_err(|source| ReplayError::Log {
                path: self.path.clone(),
                source,
            })?;
            match header {
                Some(header) => return Ok(header.clone()),
                None if ended => {
                    return Err(ReplayError::Empty {
                        path: self.path.clone(),
                    });
                }
                None => {}
            }
        }
    }
}
