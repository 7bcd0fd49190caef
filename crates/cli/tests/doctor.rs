//! `lockstep doctor` on a site of two hosts that are agents at loopback addresses: what is well, and what is
//! found when something is not.

mod site;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use site::{Running, Site};

fn files(host: &str) -> String {
    format!("--config {{{host}/agent.toml}} --state-dir {{{host}/state}} --run-dir {{{host}/run}}")
}

fn agent(site: &Site, host: &str) -> Running {
    let mut agent = site.begins(&format!("agent run --config {{{host}/agent.toml}}"));
    agent.says("answers at");
    agent
}

/// What the doctor says of a host, with this exit code.
fn lines(site: &Site, host: &str, words: &str, code: i32) -> Vec<Value> {
    let said = site.ends(&format!("doctor --json --config {{{host}/agent.toml}} {words}"));
    said.with(code);
    let text = String::from_utf8(said.0.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The verdicts of what is said about this, of another host or of this one.
fn verdicts(lines: &[Value], host: Option<&str>, about: &str) -> Vec<String> {
    let of = lines
        .iter()
        .filter(|line| line["host"].as_str() == host && line["about"] == about);
    of.map(|line| line["verdict"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_doctor_finds_two_hosts_well_and_then_what_is_broken() {
    let site = Site::new(&[]);
    fs::create_dir(site.path("shared")).unwrap();
    let words = format!(
        "agent init --host a --address 127.0.95.1 --shared {{shared}} {}",
        files("a")
    );
    site.ends(&words).with(0);
    // No agent yet.
    let seen = lines(&site, "a", "--peers", 3);
    assert_eq!(verdicts(&seen, None, "agent"), ["no"]);
    assert_eq!(verdicts(&seen, None, "other hosts"), ["no"]);

    let _a = agent(&site, "a");
    let socket = site.path("a/run/lockstep/agent.sock").display().to_string();
    let mut token = site.lockstep("agent token");
    let token = token.env("LOCKSTEP_HOST", &socket).output().unwrap();
    let token = String::from_utf8(token.stdout).unwrap();
    let words = format!(
        "agent join 127.0.95.1 --token {} --host b --address 127.0.95.2 {}",
        token.trim(),
        files("b")
    );
    site.ends(&words).with(0);
    let b = agent(&site, "b");
    // The agent of a has to see b's card in the directory.
    let seen = loop {
        let seen = lines(&site, "a", "--peers", 0);
        if verdicts(&seen, None, "other hosts").is_empty() {
            break seen;
        }
    };
    for about in ["processor", "kernel", "memory", "swap", "clock", "open files"] {
        assert_eq!(verdicts(&seen, None, about).len(), 1, "{about}: {seen:?}");
    }
    for about in [
        "site",
        "agent",
        "directory",
        "key",
        "sockets",
        "state",
        "ports",
        "leftovers",
    ] {
        let verdicts = verdicts(&seen, None, about);
        // How much room the disk has is none of this test's business.
        assert!(verdicts == ["ok"] || about == "state", "{about}: {seen:?}");
    }
    for about in ["build", "clock", "shared directory", "packets"] {
        assert_eq!(verdicts(&seen, Some("b"), about), ["ok"], "{about}: {seen:?}");
    }
    assert_eq!(verdicts(&seen, Some("b"), "ports"), ["ok", "ok"], "{seen:?}");
    let arbiter = fs::read_dir(site.path("shared/arbiter")).unwrap();
    assert_eq!(arbiter.count(), 0, "nothing is left behind");

    let key = site.path("a/site.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    drop(std::os::unix::net::UnixListener::bind(
        site.path("a/run/lockstep/web.0123456789abcdef.control"),
    ));
    b.dies();
    let seen = lines(&site, "a", "--peers", 3);
    assert_eq!(verdicts(&seen, None, "key"), ["no"]);
    assert_eq!(verdicts(&seen, None, "agent"), ["ok"]);
    assert_eq!(verdicts(&seen, Some("b"), "agent"), ["no"]);
    assert_eq!(verdicts(&seen, Some("b"), "ports"), [""; 0]);
}

#[test]
fn a_host_of_no_site_is_examined_all_the_same() {
    let site = Site::new(&[]);
    let seen = lines(&site, "none", "", 0);
    assert_eq!(verdicts(&seen, None, "site"), ["warn"]);
    assert_eq!(verdicts(&seen, None, "processor").len(), 1);
    let said = site.ends("doctor --config {none/agent.toml} --peers").with(3);
    assert!(said.contains("no    site: this host is of no site"), "{said}");
    assert!(said.trim_end().ends_with(" 1 no"), "{said}");
}
