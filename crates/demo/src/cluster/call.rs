//! How an agent is asked: over the Unix socket of its host, as `lockstep status` asks it.

use std::path::Path;

use agent::types::{ChangeObject, SiteObject, VmObject};
use membership::asking::{Agent, AskError};
use serde_json::Value;

use crate::pair::VM;

/// An agent, as it is called.
pub struct AgentCall(Agent);

impl AgentCall {
    /// The agent whose directory of sockets this is.
    pub fn new(sockets: &Path) -> AgentCall {
        AgentCall(Agent::at(sockets.join("agent.sock")))
    }

    /// How the site is.
    pub fn site(&self) -> Result<SiteObject, AskError> {
        self.0.get("/v1/site")
    }

    /// How the demo's VM is.
    pub fn vm(&self) -> Result<VmObject, AskError> {
        self.0.get(&path(""))
    }

    /// Has something changed of the demo's VM: `part` is what follows its path.
    pub fn change(&self, method: &str, part: &str, body: &Value) -> Result<ChangeObject, AskError> {
        self.0.change(method, &path(part), body, None)
    }

    /// Creates the demo's VM.
    pub fn create(&self, body: &Value) -> Result<ChangeObject, AskError> {
        self.0.change("POST", "/v1/vms", body, None)
    }
}

fn path(part: &str) -> String {
    format!("/v1/vms/{VM}{part}")
}
