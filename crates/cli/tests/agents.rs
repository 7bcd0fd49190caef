//! A site of three hosts, each an agent at a loopback address of its own: the commands, hosts that die with
//! everything that runs there, agents that die alone.
//!
//! Agents and VMs are real processes; what is waited for is seen by `lockstep status --json`.

mod hosts;
#[path = "../../etcd/tests/cluster/server.rs"]
#[allow(dead_code, reason = "only a part of what an etcd can be told is needed here")]
mod server;
mod site;
mod terminal;

use hosts::{Cluster, HOSTS};

#[test]
fn a_vm_is_protected_again_after_each_death_of_a_host_and_says_why_when_it_cannot_be() {
    // FT 3.1-d.
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
fn a_site_without_a_shared_directory_has_its_directory_and_its_arbiter_in_etcd() {
    let mut etcd = server::Cluster::start(1);
    let url = etcd.endpoints().remove(0);
    let place = url.replace("http://", "etcd://");
    let mut cluster = Cluster::with(101, &format!("--etcd {url} --arbiter {place}"));
    cluster.at("a", "create {web.toml}").with(0);
    cluster.at("a", "start web").with(0);
    let second = cluster.protected("a", "a");
    // Nobody misses it while all is well, and it is waited for where it is needed.
    etcd.kill(0);
    cluster.host_dies("a");
    etcd.restart(0);
    cluster.protected(&second, &second);
    let web = cluster.web(&second);
    assert_eq!(web["epoch"], 2, "{web}");
    cluster.at(&second, "stop web --hard --yes").with(0);
    cluster.at(&second, "wait web --for off").with(0);
    let said = cluster.at(&second, "release web --epoch 2 --yes").with(0);
    assert!(said.contains("epoch 2 of web is closed already"), "{said}");
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
        let hosts: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(hosts.len(), HOSTS.len());
        // A million steps a second is slower than any host that interprets.
        let is_measured = |host: &serde_json::Value| host["steps_per_second"].as_u64().unwrap() > 1_000_000;
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
