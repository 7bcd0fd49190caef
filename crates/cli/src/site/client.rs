//! `Site`: this host's agent, as the commands call it.

use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use agent::types::{ChangeObject, VmObject};
use membership::asking::{Agent, AskError};
use membership::client::{CallError, Where};
use replica::VmName;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::spec;

/// The variable that says where the agent is called.
const VARIABLE: &str = "LOCKSTEP_HOST";

/// This host's agent.
#[derive(Clone)]
pub struct Site {
    agent: Agent,
    /// Is every change only judged?
    is_dry_run: bool,
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
            Ok(_) => Ok(Some(Site {
                agent,
                is_dry_run: false,
            })),
            Err(_) if named.is_none() => Ok(None),
            Err(error) => Err(AskError::Call(CallError::Nobody {
                place: agent.place(),
                reason: error.to_string(),
            })),
        }
    }

    /// The same, which has every change only judged if `is_dry_run`.
    pub fn dry_run(self, is_dry_run: bool) -> Site {
        Site { is_dry_run, ..self }
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

    /// Where it is called.
    pub fn to(&self) -> Where {
        self.agent.to()
    }

    /// Where the agent is called, for people.
    pub(super) fn place(&self) -> String {
        self.agent.place()
    }

    /// Connects to the agent's socket.
    ///
    /// # Errors
    /// Nobody listens there.
    pub(super) fn connect(&self) -> Result<UnixStream, AskError> {
        let nobody = |reason: String| {
            AskError::Call(CallError::Nobody {
                place: self.place(),
                reason,
            })
        };
        match self.to() {
            Where::Socket(socket) => UnixStream::connect(socket).map_err(|error| nobody(error.to_string())),
            Where::Host { .. } => Err(nobody("it is not this host's".into())),
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

    /// Asks for lines of text.
    pub fn text(&self, path: &str) -> Result<String, AskError> {
        self.agent.text(path)
    }

    /// Asks for an object that is made for this question.
    pub fn make<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AskError> {
        self.agent.make(path, body)
    }

    /// Has something changed.
    pub fn change(&self, method: &str, path: &str, body: &impl Serialize) -> Result<ChangeObject, AskError> {
        self.change_of(method, path, body, None)
    }

    /// The same, if what is changed has this generation; `None`: whichever it has.
    pub fn change_of(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        generation: Option<u64>,
    ) -> Result<ChangeObject, AskError> {
        let query = if self.is_dry_run { "?dry_run=true" } else { "" };
        self.agent
            .change(method, &format!("{path}{query}"), body, generation)
    }
}
