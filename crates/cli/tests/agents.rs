//! A site of three hosts, each an agent at a loopback address of its own: the commands, hosts that die with
//! everything that runs there, agents that die alone.
//!
//! Agents and VMs are real processes; what is waited for is seen by `lockstep status --json`.

mod site;

use std::path::PathBuf;
use std::process::Child;

use serde_json::Value;
use site::{Ended, Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];
/// Names of the hosts.
const HOSTS: [&str; 3] = ["a", "b", "c"];

/// Three hosts. Everything that runs there ends with this value.
struct Cluster {
    site: Site,
    /// The agents that run, by the number of their host.
    agents: [Option<Running>; 3],
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
    fn new(net: u8) -> Cluster {
        let site = Site::new(&[("waits", &WAITS)]);
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
                    "agent init --host {host} --address 127.0.{net}.{last} --shared {{shared}} --config \
                     {{{host}/agent.toml}} --state-dir {{{host}/state}} --run-dir {{{host}/run}}"
                ))
                .with(0);
            cluster.begin_agent(number);
        }
        cluster
    }

    fn begin_agent(&mut self, number: usize) {
        let host = HOSTS[number];
        let mut agent = self
            .site
            .begins(&format!("agent run --config {{{host}/agent.toml}}"));
        agent.says("answers at");
        self.agents[number] = Some(agent);
    }

    /// What a command says, given at this host.
    fn at(&self, host: &str, words: &str) -> Ended {
        let mut command = self.site.lockstep(words);
        let socket = self.site.path(&format!("{host}/run/lockstep/agent.sock"));
        command.env("LOCKSTEP_HOST", format!("unix:{}", socket.display()));
        Ended(command.output().unwrap())
    }

    /// How the VM web is, as this host's agent sees it.
    fn web(&self, host: &str) -> Value {
        let said = self.at(host, "status web --json");
        let line = String::from_utf8(said.0.stdout).unwrap();
        serde_json::from_str(&line).unwrap_or(Value::Null)
    }

    /// Waits until the VM runs on `primary` and is protected, as this host's agent sees it, and gives the
    /// host of its backup. What an agent knows of a host that has just died is still that it lives.
    fn protected(&self, host: &str, primary: &str) -> String {
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
    fn vms(&self, host: &str) -> Vec<i32> {
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

    fn kill_vms(&self, host: &str) {
        for number in self.vms(host) {
            let process = rustix::process::Pid::from_raw(number).unwrap();
            // It may have ended just now.
            let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
        }
    }

    /// Everything that runs on this host dies at once.
    fn host_dies(&mut self, host: &str) {
        let number = HOSTS.iter().position(|name| *name == host).unwrap();
        if let Some(mut agent) = self.agents[number].take() {
            kill(&mut agent.child);
        }
        self.kill_vms(host);
    }

    fn agent_dies(&mut self, host: &str) {
        let number = HOSTS.iter().position(|name| *name == host).unwrap();
        self.agents[number].take().unwrap().dies();
    }

    fn log_of(&self, host: &str) -> PathBuf {
        self.site.path(&format!("{host}/state/logs"))
    }
}

fn kill(child: &mut Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_vm_is_protected_again_after_each_death_of_a_host_and_says_why_when_it_cannot_be() {
    let mut cluster = Cluster::new(41);
    cluster.at("a", "create {web.toml}").with(0);
    cluster.at("a", "start web").with(0);
    let second = cluster.protected("a", "a");
    cluster.host_dies("a");
    let third = cluster.protected(&second, &second);
    assert!(!["a", second.as_str()].contains(&third.as_str()));
    cluster.host_dies(&second);
    // Nobody is left: the last host runs it alone, and gives a reason for each of the others.
    let reasons = loop {
        let web = cluster.web(&third);
        let reasons = web["protection"]["reasons"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let silent = reasons
            .iter()
            .filter(|reason| reason["code"] == "host-silent")
            .count();
        if web["protection"]["state"] == "needs-backup" && silent == 2 {
            assert_eq!(web["primary"]["host"].as_str(), Some(third.as_str()));
            assert_eq!(web["guest"], "running");
            break reasons;
        }
    };
    assert!(
        reasons.iter().any(|reason| reason["code"] == "backup-lost"),
        "{reasons:?}"
    );
    cluster.at(&third, "status").with(3);
    cluster.begin_agent(0);
    assert_eq!(cluster.protected(&third, &third), "a");
    cluster.at("a", "status web");
    assert!(cluster.log_of("a").exists());
}

#[test]
fn an_agent_that_dies_harms_no_vm_and_the_next_one_goes_on_with_it() {
    let mut cluster = Cluster::new(42);
    cluster.at("b", "create {web.toml}").with(0);
    cluster.at("b", "start web --on a").with(0);
    let backup = cluster.protected("b", "a");
    let pid = cluster.web("a")["primary"]["pid"].clone();
    cluster.agent_dies("a");
    cluster.agent_dies(&backup);
    let of_backup = HOSTS.iter().position(|name| *name == backup).unwrap();
    // A backup that dies while nobody looks after its VM is replaced by whoever does again.
    cluster.kill_vms(&backup);
    cluster.begin_agent(0);
    cluster.begin_agent(of_backup);
    cluster.protected("a", "a");
    assert_eq!(cluster.web("a")["primary"]["pid"], pid, "the process is the same");
    cluster.at("a", "stop web --hard --yes").with(0);
    cluster.at("a", "wait web --for off").with(0);
    assert!(cluster.vms("a").is_empty());
}

/// Waits until each host of the site is told of with its measured speed.
fn every_host_was_measured(cluster: &Cluster) {
    loop {
        let said = cluster.at("a", "hosts --json");
        let text = String::from_utf8(said.0.stdout).unwrap();
        let hosts: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(hosts.len(), HOSTS.len());
        // A million steps a second is slower than any host that interprets.
        let is_measured = |host: &Value| host["steps_per_second"].as_u64().unwrap() > 1_000_000;
        if hosts.iter().all(is_measured) {
            return;
        }
    }
}

#[test]
fn the_commands_of_a_site_do_nothing_twice_and_say_what_they_refuse() {
    let cluster = Cluster::new(43);
    let says = |words: &str, code: i32, part: &str| {
        let text = cluster.at("a", words).with(code);
        assert!(text.contains(part), "`{words}`: {text}");
    };
    says("status", 0, "there is no VM");
    says("start web", 1, "there is no VM called web");
    says("create {web.toml}", 0, "web is created");
    says("create {web.toml}", 0, "web is as in the file");
    says("status weeb", 5, "no process of a VM called weeb");
    says("pause web", 4, "does not run");
    says("failover web", 4, "is not seen to run");
    says(
        "start web --on d",
        1,
        "there is no host called d; the site has a, b, c",
    );
    says(
        "start web --on b --wait-for protected",
        0,
        "web is protected, on b",
    );
    says("start web", 0, "web runs already, on b");
    says("protect web", 0, "web is protected already");
    says("protect web --to b", 4, "move-backup");
    says("stop web", 4, "--hard");
    says("delete web --yes", 4, "web runs on b");
    says("move web --to b", 0, "web is on b already");
    says("move web --to a", 0, "web is protected, on a");
    says("failover web", 0, "web is protected, on ");
    says("move-backup web", 0, "web is protected, on ");
    says("pause web", 0, "web is paused");
    says("pause web", 0, "web is paused already");
    says("status web", 0, "paused");
    says("resume web", 0, "web runs on");
    says("reset web --yes", 0, "web is reset");
    says("protection suspend web", 0, "web is suspended");
    says("protection suspend web", 0, "has no backup, as is wanted");
    says("status web", 0, "protection resume web");
    says("protection resume web", 0, "web is protected");
    says("unprotect web --yes", 0, "web is unprotected");
    says("protect web", 0, "web is protected");
    says("drain c", 0, "c is empty");
    says("hosts", 3, "is being drained by");
    every_host_was_measured(&cluster);
    says("undrain c", 0, "c takes VMs again");
    says("undrain c", 0, "is not being drained");
    says("cancel 0", 1, "there is no operation 0");
    says("operations", 0, "protect web: done by ");
    says("stop web --hard --yes", 0, "web is off");
    says("stop web --hard --yes", 0, "web is off");
    says("delete web --yes", 0, "web is deleted");
    says("delete web --yes", 0, "there is no VM called web");
}
