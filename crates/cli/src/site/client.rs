//! `Site`: this host's agent, as the commands call it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::Problem;
use agent::client::{Answer, CallError, Question, Where, ask};
use agent::types::{ChangeObject, OperationObject, OperationState, VmObject};
use anyhow::Result;
use replica::VmName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::line::Line;
use crate::screen::Screen;
use crate::spec;

/// The variable that says where the agent is called.
const VARIABLE: &str = "LOCKSTEP_HOST";
/// The agent has this long to answer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two looks at how far something is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An operation that was begun has this long to be seen by the agent.
const SEEN_PATIENCE: Duration = Duration::from_secs(5);

/// This host's agent.
pub struct Site {
    to: Where,
}

/// Why the agent has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SiteError {
    /// It says why itself.
    #[error("{}", told(.0))]
    Problem(Problem),
    /// It gives no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its answer is of another version of this program.
    #[error(
        "the agent gives an answer that this program does not know ({0}); use the program of its release"
    )]
    Unknown(serde_json::Error),
}

/// How the waiting for an operation has ended.
pub enum Waited {
    /// The operation has ended.
    Ended(OperationObject),
    /// The time is over, and it goes on.
    TimeIsOver,
    /// The user wants to wait no more, and it goes on.
    Stopped,
}

impl SiteError {
    /// The exit code of a command that has met it.
    pub fn exit_code(&self) -> u8 {
        match self {
            SiteError::Problem(problem) => problem.exit_code(),
            SiteError::Call(_) => 5,
            SiteError::Unknown(_) => 1,
        }
    }
}

/// A problem with each of its reasons on a line of its own.
fn told(problem: &Problem) -> String {
    let reasons = problem
        .reasons
        .iter()
        .map(|reason| format!("\n      {}", reason.sentence));
    problem.detail.clone() + &reasons.collect::<String>()
}

impl Site {
    /// The agent that the environment names, or else that of this host, if one answers there.
    ///
    /// # Errors
    /// The environment names one that does not answer.
    pub fn here() -> Result<Option<Site>, SiteError> {
        let named = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty());
        let socket = match &named {
            Some(text) => PathBuf::from(text.strip_prefix("unix:").unwrap_or(text)),
            None => spec::local_directory().join("agent.sock"),
        };
        let to = Where::Socket(socket.clone());
        match UnixStream::connect(&socket) {
            Ok(_) => Ok(Some(Site { to })),
            Err(_) if named.is_none() => Ok(None),
            Err(error) => Err(SiteError::Call(CallError::Nobody {
                place: to.place(),
                reason: error.to_string(),
            })),
        }
    }

    /// The agent whose socket this is.
    pub fn at(socket: PathBuf) -> Site {
        Site {
            to: Where::Socket(socket),
        }
    }

    /// The same, where a command needs an agent.
    ///
    /// # Errors
    /// None answers.
    pub fn needed() -> Result<Site, SiteError> {
        Site::here()?.ok_or_else(|| {
            SiteError::Call(CallError::Nobody {
                place: spec::local_directory().join("agent.sock").display().to_string(),
                reason: "`lockstep agent run` starts one".into(),
            })
        })
    }

    /// The agent, if it looks after this VM.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn of(vm: &VmName) -> Result<Option<Site>, SiteError> {
        let Some(site) = Site::here()? else {
            return Ok(None);
        };
        match site.vm(vm) {
            Ok(_) => Ok(Some(site)),
            Err(SiteError::Problem(problem)) if problem.code == "no-vm" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Where the agent is called, for people.
    pub(super) fn place(&self) -> String {
        self.to.place()
    }

    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) fn connect(&self) -> Result<UnixStream, SiteError> {
        let Where::Socket(socket) = &self.to else {
            let (place, reason) = (self.place(), "it is not this host's".into());
            return Err(SiteError::Call(CallError::Nobody { place, reason }));
        };
        UnixStream::connect(socket).map_err(|error| {
            let (place, reason) = (self.place(), error.to_string());
            SiteError::Call(CallError::Nobody { place, reason })
        })
    }

    /// How a VM is.
    pub fn vm(&self, vm: &VmName) -> Result<VmObject, SiteError> {
        self.get(&format!("/v1/vms/{vm}"))
    }

    /// How a VM is by news that is younger than this question.
    pub fn fresh_vm(&self, vm: &VmName) -> Result<VmObject, SiteError> {
        self.get(&format!("/v1/vms/{vm}?fresh=true"))
    }

    /// Asks for an object.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, SiteError> {
        read(ask(&self.to, &Question::get(path), PATIENCE)?)
    }

    /// Asks for lines of text.
    pub fn text(&self, path: &str) -> Result<String, SiteError> {
        let answer = ask(&self.to, &Question::get(path), PATIENCE)?;
        if answer.is_good() {
            return Ok(String::from_utf8_lossy(&answer.body).into_owned());
        }
        read(answer)
    }

    /// Has something changed. The request has a number, so what asks it again does nothing twice.
    pub fn change(&self, method: &str, path: &str, body: &impl Serialize) -> Result<ChangeObject, SiteError> {
        let question = Question {
            // Only methods that this program names come here.
            method: method.parse().unwrap_or_default(),
            path: path.to_owned(),
            body: Some(serde_json::to_vec(body).map_err(SiteError::Unknown)?),
            key: Some(format!("{:032x}", os::entropy::random_u128())),
        };
        read(ask(&self.to, &question, PATIENCE)?)
    }

    /// Waits until an operation has ended, but at most for `patience`. Meanwhile a terminal shows what it
    /// waits for.
    pub fn await_end(&self, operation: &OperationObject, patience: Duration) -> Result<Waited> {
        let path = format!("/v1/operations/{}", operation.id);
        let began = Instant::now();
        let mut line = Line::begin()?;
        loop {
            let seen: Result<OperationObject, SiteError> = self.get(&path);
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
                Err(SiteError::Problem(problem))
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
            std::thread::sleep(LOOK_EVERY);
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
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, SiteError> {
    if answer.is_good() {
        return serde_json::from_slice(&answer.body).map_err(SiteError::Unknown);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(problem) => Err(SiteError::Problem(problem)),
        Err(error) => Err(SiteError::Unknown(error)),
    }
}

/// As much of a text as fits on a line of the terminal.
fn fitting(text: &str) -> String {
    let width = Screen::of_stdout().width.saturating_sub(1);
    text.chars().take(width).collect()
}
