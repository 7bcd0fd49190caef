//! `Site`: this host's agent, as the commands call it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use agent::Problem;
use agent::client::{Answer, CallError, Question, Where, ask};
use agent::types::{ChangeObject, VmObject};
use replica::VmName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spec;

/// The variable that says where the agent is called.
const VARIABLE: &str = "LOCKSTEP_HOST";
/// The agent has this long to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// This host's agent.
pub struct Site {
    to: Where,
    /// Is every change only judged?
    is_trial: bool,
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
            Ok(_) => Ok(Some(Site { to, is_trial: false })),
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
            is_trial: false,
        }
    }

    /// The same, which has every change only judged if `is_trial`.
    pub fn trial(self, is_trial: bool) -> Site {
        Site { is_trial, ..self }
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

    /// Where it is called.
    pub fn to(&self) -> Where {
        self.to.clone()
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

    /// Has something changed. The request has a number, so what asks it again does nothing twice.
    pub fn change(&self, method: &str, path: &str, body: &impl Serialize) -> Result<ChangeObject, SiteError> {
        self.change_of(method, path, body, None)
    }

    /// The same, if what is changed has this generation; `None`: whichever it has.
    pub fn change_of(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        generation: Option<u64>,
    ) -> Result<ChangeObject, SiteError> {
        let question = Question {
            // Only methods that this program names come here.
            method: method.parse().unwrap_or_default(),
            path: match self.is_trial {
                true => format!("{path}?dry_run=true"),
                false => path.to_owned(),
            },
            body: Some(serde_json::to_vec(body).map_err(SiteError::Unknown)?),
            key: Some(format!("{:032x}", os::entropy::random_u128())),
            generation,
        };
        read(ask(&self.to, &question, PATIENCE)?)
    }
}

pub(super) fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, SiteError> {
    if answer.is_good() {
        return serde_json::from_slice(&answer.body).map_err(SiteError::Unknown);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(problem) => Err(SiteError::Problem(problem)),
        Err(error) => Err(SiteError::Unknown(error)),
    }
}
