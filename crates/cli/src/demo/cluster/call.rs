//! How an agent is asked: over the Unix socket of its host, as `lockstep status` asks it.

use std::path::Path;
use std::time::Duration;

use agent::Problem;
use agent::client::{Answer, Question, Where, ask};
use agent::types::{ChangeObject, SiteObject, VmObject};
use anyhow::{Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::demo::pair::VM;

/// An agent has this long to answer a question.
const PATIENCE: Duration = Duration::from_secs(5);
/// An agent has this long to answer that something is changed: its store may be slow.
const CHANGE_PATIENCE: Duration = Duration::from_secs(30);

/// An agent, as it is called.
pub struct AgentCall(Where);

impl AgentCall {
    /// The agent whose directory of sockets this is.
    pub fn new(sockets: &Path) -> AgentCall {
        AgentCall(Where::Socket(sockets.join("agent.sock")))
    }

    /// How the site is.
    pub fn site(&self) -> Result<SiteObject> {
        read(&ask(&self.0, &Question::get("/v1/site"), PATIENCE)?)
    }

    /// How the demo's VM is.
    pub fn vm(&self) -> Result<VmObject> {
        read(&ask(&self.0, &Question::get(&path("")), PATIENCE)?)
    }

    /// Has something changed of the demo's VM: `part` is what follows its path.
    pub fn change(&self, method: &str, part: &str, body: &Value) -> Result<ChangeObject> {
        self.send(method, path(part), body)
    }

    /// Creates the demo's VM.
    pub fn create(&self, body: &Value) -> Result<ChangeObject> {
        self.send("POST", "/v1/vms".into(), body)
    }

    fn send(&self, method: &str, path: String, body: &Value) -> Result<ChangeObject> {
        let question = Question {
            method: method.parse()?,
            path,
            body: Some(body.to_string().into_bytes()),
            key: None,
        };
        read(&ask(&self.0, &question, CHANGE_PATIENCE)?)
    }
}

fn path(part: &str) -> String {
    format!("/v1/vms/{VM}{part}")
}

/// What an agent has answered, or why it has not done what it was asked.
fn read<T: DeserializeOwned>(answer: &Answer) -> Result<T> {
    if answer.is_good() {
        return Ok(serde_json::from_slice(&answer.body)?);
    }
    let problem: Problem = serde_json::from_slice(&answer.body)?;
    let reasons = problem.reasons.iter().map(|reason| reason.sentence.as_str());
    let all: Vec<&str> = std::iter::once(problem.detail.as_str()).chain(reasons).collect();
    bail!("{}", all.join("; "))
}
