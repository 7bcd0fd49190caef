//! `Host`: one host of the demo, which is an agent with all that this has started, and a directory of its
//! own.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::call::AgentCall;
use super::dying::Descendants;
use crate::live::Live;
use crate::pair::{READY, VM};
use crate::process::{END_PATIENCE, Process, own_program};

/// A host.
pub struct Host {
    /// Name of the host.
    pub name: &'static str,
    /// How its agent is asked.
    pub agent: AgentCall,
    directory: PathBuf,
    /// Where the words of its agents are kept.
    words: PathBuf,
    lead_in: Vec<String>,
    /// `None`: the host is dead, or its agent has ended.
    running: Option<Process>,
    /// How many agents it has had.
    agents: u32,
}

impl Host {
    /// Makes a host, as a person does it by `lockstep agent init`. `site` is the directory that all hosts
    /// share, with the site's key in it; `lead_in` leads a program into the host.
    pub fn make(
        name: &'static str,
        site: &Path,
        address: Ipv4Addr,
        etcd: Option<&str>,
        lead_in: Vec<String>,
    ) -> Result<Host> {
        let directory = site.join(name);
        for part in ["", "run", "events"] {
            let part = directory.join(part);
            fs::DirBuilder::new().mode(0o700).create(&part)?;
        }
        fs::copy(site.join("key"), directory.join("site.key"))?;
        let path = |name: &str| directory.join(name).display().to_string();
        let mut command = own_program(&[])?;
        command
            .args(["agent", "init", "--host", name, "--address", &address.to_string()])
            .args(["--shared", &site.display().to_string()])
            .args(["--config", &path("agent.toml")])
            .args(["--state-dir", &path("state"), "--run-dir", &path("run")]);
        if let Some(etcd) = etcd {
            command.args(["--etcd", etcd]);
        }
        let made = command.output().context("cannot start `lockstep agent init`")?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            bail!("`lockstep agent init` has failed: {}", said.trim());
        }
        Ok(Host {
            name,
            agent: AgentCall::new(&directory.join("run/lockstep")),
            words: site.to_owned(),
            directory,
            lead_in,
            running: None,
            agents: 0,
        })
    }

    /// Starts the host's agent.
    pub fn start(&mut self) -> Result<()> {
        self.agents += 1;
        let path = |name: &str| self.directory.join(name).display().to_string();
        let arguments = [
            "agent",
            "run",
            "--config",
            &path("agent.toml"),
            "--trial",
            &path("events"),
        ];
        let name = format!("agent-{}-{}", self.name, self.agents);
        let arguments = arguments.map(str::to_owned);
        let agent = Process::start_within(&self.lead_in, &self.words, &name, &arguments, |_| {})?;
        self.running = Some(agent);
        Ok(())
    }

    /// Ends all its processes at once, by SIGKILL, and waits until they are gone.
    pub fn die(&mut self) -> Result<()> {
        let Some(mut agent) = self.running.take() else {
            return Ok(());
        };
        let started = Descendants::of(agent.id())?;
        started.kill();
        agent.kill()?;
        // What it has started since ends with it, as it was told to.
        started.wait()
    }

    /// Has its agent end in good order. False: it ended otherwise, or not at all.
    pub fn end(&mut self, live: &mut Live) -> Result<bool> {
        let Some(agent) = &mut self.running else {
            return Ok(true);
        };
        let started = Descendants::of(agent.id())?;
        agent.ask_to_end()?;
        let status = agent.wait(END_PATIENCE, live)?;
        if status.is_some_and(|status| status.success()) {
            self.running = None;
            started.wait()?;
            return Ok(true);
        }
        let words = agent.last_words();
        live.complain(&format!("the agent of host {} ended badly: {words}", self.name));
        Ok(false)
    }

    /// Has it an agent, as far as the demo knows?
    pub fn is_alive(&self) -> bool {
        self.running.is_some()
    }

    /// Fails if its agent has ended by itself.
    pub fn check(&mut self, live: &mut Live) -> Result<()> {
        let Some(agent) = &mut self.running else {
            return Ok(());
        };
        if let Some(status) = agent.wait(Duration::ZERO, live)? {
            bail!(
                "the agent of host {} has ended ({status}): {}",
                self.name,
                agent.last_words()
            );
        }
        Ok(())
    }

    /// Has the guest said, on its console on this host, that Redis answers?
    pub fn has_booted(&self) -> bool {
        let console = self.directory.join(format!("state/consoles/{VM}.log"));
        let text = fs::read(console).unwrap_or_default();
        String::from_utf8_lossy(&text).contains(READY)
    }

    /// The files of the events of all processes of the VM that there were here.
    pub fn events(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.join("events"));
        let entries = entries.into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // What is left then is told by nobody; the kernel has ended it with the agent.
        let _ = self.die();
    }
}
