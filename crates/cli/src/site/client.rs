//! `Site`: this host's agent, as the commands call it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use agent::types::{ChangeObject, OperationObject, OperationState, VmObject};
use agent::{Agent, AskError};
use anyhow::Result;
use membership::client::CallError;
use replica::VmName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spec;
use terminal::Line;
use terminal::Screen;

/// The variable that says where the agent is called.
const VARIABLE: &str = "LOCKSTEP_HOST";
/// Pause between two looks at how far something is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// An operation that was begun has this long to be seen by the agent.
const SEEN_PATIENCE: Duration = Duration::from_secs(5);

/// This host's agent.
pub struct Site {
    agent: Agent,
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

/// The agent's socket that the environment names, if it does.
pub fn named_socket() -> Option<PathBuf> {
    let named = std::env::var(VARIABLE).ok().filter(|text| !text.is_empty())?;
    Some(PathBuf::from(named.strip_prefix("unix:").unwrap_or(&named)))
}

impl Site {
    /// The agent that the environment names, or else that of this host, if one answers there.
    ///
    /// # Errors
    /// The environment names one that does not answer.
    pub fn here() -> Result<Option<Site>, AskError> {
        let named = named_socket();
        let socket = named
            .clone()
            .unwrap_or_else(|| spec::local_directory().join("agent.sock"));
        let agent = Agent::at(socket.clone());
        match UnixStream::connect(&socket) {
            Ok(_) => Ok(Some(Site { agent })),
            Err(_) if named.is_none() => Ok(None),
            Err(error) => Err(AskError::Call(CallError::Nobody {
                place: agent.place(),
                reason: error.to_string(),
            })),
        }
    }

    /// The same, where a command needs an agent.
    ///
    /// # Errors
    /// None answers.
    pub fn needed() -> Result<Site, AskError> {
        Site::here()?.ok_or_else(|| {
            AskError::Call(CallError::Nobody {
                place: spec::local_directory().join("agent.sock").display().to_string(),
                reason: "`lockstep agent run` starts one".into(),
            })
        })
    }

    /// The agent, if it looks after this VM.
    ///
    /// # Errors
    /// It gives no answer.
    pub fn of(vm: &VmName) -> Result<Option<Site>, AskError> {
        let Some(site) = Site::here()? else {
            return Ok(None);
        };
        match site.vm(vm) {
            Ok(_) => Ok(Some(site)),
            Err(AskError::Problem(problem)) if problem.code == "no-vm" => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// How a VM is.
    pub fn vm(&self, vm: &VmName) -> Result<VmObject, AskError> {
        self.get(&format!("/v1/vms/{vm}"))
    }

    /// How a VM is by news that is younger than this question.
    pub fn fresh_vm(&self, vm: &VmName) -> Result<VmObject, AskError> {
        self.get(&format!("/v1/vms/{vm}?fresh=true"))
    }

    /// Asks for an object.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        self.agent.get(path)
    }

    /// Asks for an object that is made for this question.
    pub fn make<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AskError> {
        self.agent.make(path, body)
    }

    /// Has something changed.
    pub fn change(&self, method: &str, path: &str, body: &impl Serialize) -> Result<ChangeObject, AskError> {
        self.agent.change(method, path, body)
    }

    /// Waits until an operation has ended, but at most for `patience`. Meanwhile a terminal shows what it
    /// waits for.
    pub fn await_end(&self, operation: &OperationObject, patience: Duration) -> Result<Waited> {
        let path = format!("/v1/operations/{}", operation.id);
        let began = Instant::now();
        let mut line = Line::begin()?;
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

/// As much of a text as fits on a line of the terminal.
fn fitting(text: &str) -> String {
    let width = Screen::of_stdout().width.saturating_sub(1);
    text.chars().take(width).collect()
}
