//! Three hosts of a site on this one: an agent for each, at a loopback address of its own, with real
//! processes.

mod consoles;
mod verbs;

use std::path::PathBuf;
use std::process::{Child, Command};

use serde_json::Value;

use crate::site::{Ended, Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];
/// A firmware that sends back every byte it gets on its serial line.
const ECHOES: [u32; 7] = [
    0x1000_02b7, // lui t0, 0x10000: the UART
    0x0052_c303, // again: lbu t1, 5(t0)
    0x0013_7313, // andi t1, t1, 1: is there a byte?
    0xfe03_0ce3, // beqz t1, again
    0x0002_c303, // lbu t1, 0(t0)
    0x0062_8023, // sb t1, 0(t0)
    0xfedf_f06f, // j again
];
/// A firmware that never stops writing to its serial line.
const FLOODS: [u32; 4] = [
    0x1000_02b7, // lui t0, 0x10000: the UART
    0x0780_0313, // li t1, 'x'
    0x0062_8023, // again: sb t1, 0(t0)
    0xffdf_f06f, // j again
];
/// Names of the hosts.
pub const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Three hosts. Everything that runs there ends with this value.
pub struct Cluster {
    /// The directory of all.
    pub site: Site,
    /// The agents that run, by the number of their host.
    pub agents: [Option<Running>; 3],
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.agents = [None, None, None];
        for host in HOSTS {
            self.kill_vms(host);
        }
    }
}

impl Cluster {
    /// A site at the addresses 127.0.`net`.1 to 3, whose agents run, and a file of a VM called web.
    pub fn new(net: u8) -> Cluster {
        Cluster::with(net, "--shared {shared}")
    }

    /// As [`Cluster::new`], with these words about what the hosts have in common.
    pub fn with(net: u8, common: &str) -> Cluster {
        let site = Site::new(&[("waits", &WAITS), ("echoes", &ECHOES), ("floods", &FLOODS)]);
        std::fs::create_dir(site.path("shared")).unwrap();
        let file = format!(
            "name = \"web\"\nfirmware = \"{}\"\nmemory = \"16M\"\nserial = \"none\"\n",
            site.path("waits").display()
        );
        std::fs::write(site.path("web.toml"), file).unwrap();
        let mut cluster = Cluster {
            site,
            agents: [None, None, None],
        };
        for (number, host) in HOSTS.iter().enumerate() {
            let home = cluster.site.path(host);
            std::fs::create_dir(&home).unwrap();
            if number > 0 {
                std::fs::copy(cluster.site.path("a/site.key"), home.join("site.key")).unwrap();
            }
            let last = number + 1;
            cluster
                .site
                .ends(&format!(
                    "agent init --host {host} --address 127.0.{net}.{last} {common} --config \
                     {{{host}/agent.toml}} --state-dir {{{host}/state}} --run-dir {{{host}/run}}"
                ))
                .with(0);
            cluster.begin_agent(number);
        }
        cluster
    }

    /// Has the file of the VM say that it runs this firmware.
    pub fn runs(&self, firmware: &str) {
        let file = self.site.path("web.toml");
        let text = std::fs::read_to_string(&file).unwrap();
        let (waits, other) = (self.site.path("waits"), self.site.path(firmware));
        let text = text.replace(&waits.display().to_string(), &other.display().to_string());
        std::fs::write(file, text).unwrap();
    }

    pub fn begin_agent(&mut self, number: usize) {
        let host = HOSTS[number];
        let mut agent = self
            .site
            .begins(&format!("agent run --config {{{host}/agent.toml}}"));
        agent.says("answers at");
        self.agents[number] = Some(agent);
    }

    /// A command that is given at this host.
    pub fn command(&self, host: &str, words: &str) -> Command {
        let mut command = self.site.lockstep(words);
        let socket = self.site.path(&format!("{host}/run/lockstep/agent.sock"));
        command.env("LOCKSTEP_HOST", format!("unix:{}", socket.display()));
        command
    }

    /// What a command says, given at this host.
    pub fn at(&self, host: &str, words: &str) -> Ended {
        Ended(self.command(host, words).output().unwrap())
    }

    /// How the VM web is, as this host's agent sees it.
    pub fn web(&self, host: &str) -> Value {
        let said = self.at(host, "status web --json");
        let line = String::from_utf8(said.0.stdout).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Waits until each host's agent knows the VM, which was created at one of them.
    pub fn await_known(&self) {
        for host in HOSTS {
            while self.web(host).is_null() {}
        }
    }

    /// Waits until the VM runs on `primary` and is protected, as this host's agent sees it, and gives the
    /// host of its backup. What an agent knows of a host that has just died is still that it lives.
    pub fn protected(&self, host: &str, primary: &str) -> String {
        loop {
            self.at(host, "wait web --for protected").with(0);
            let web = self.web(host);
            let is_protected = web["protection"]["state"] == "protected";
            let backup = web["backup"]["host"].as_str();
            if let (true, Some(backup)) = (is_protected && web["primary"]["host"] == primary, backup) {
                return backup.to_owned();
            }
        }
    }

    /// Numbers of the processes of VMs on this host.
    pub fn vms(&self, host: &str) -> Vec<i32> {
        let state = self.site.path(&format!("{host}/state")).display().to_string();
        let key = self.site.path(&format!("{host}/site.key")).display().to_string();
        let is_of_host = |line: &str| {
            let is_agent = line.contains("agent\0run");
            !is_agent && (line.contains(&state) || line.contains(&key))
        };
        let processes = std::fs::read_dir("/proc").unwrap().flatten();
        let numbers = processes.filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
            is_of_host(&line).then_some(number)
        });
        numbers.collect()
    }

    pub fn kill_vms(&self, host: &str) {
        for number in self.vms(host) {
            let process = rustix::process::Pid::from_raw(number).unwrap();
            // It may have ended just now.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }

    /// Everything that runs on this host dies at once.
    pub fn host_dies(&mut self, host: &str) {
        let number = HOSTS.iter().position(|name| *name == host).unwrap();
        if let Some(mut agent) = self.agents[number].take() {
            kill(&mut agent.child);
        }
        self.kill_vms(host);
    }

    pub fn agent_dies(&mut self, host: &str) {
        let number = HOSTS.iter().position(|name| *name == host).unwrap();
        self.agents[number].take().unwrap().dies();
    }

    pub fn log_of(&self, host: &str) -> PathBuf {
        self.site.path(&format!("{host}/state/logs"))
    }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}
