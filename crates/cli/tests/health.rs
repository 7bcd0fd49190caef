//! How the two sides of a VM are off, as its processes say it: a gateway that is killed is missed by both
//! sides and found again, and a backup knows it before anybody takes over.
//!
//! The processes are real and in their sandbox; each test has a runtime directory of its own.

mod site;

use std::io::{BufRead, BufReader};

use serde_json::Value;
use site::{Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];

impl Site {
    /// A gateway with the site's key, once it listens.
    fn gateway(&self) -> Running {
        let socket = self.path("net").display().to_string();
        let mut gateway = self.begins(&format!("gateway --json --listen {socket} --key {{key}}"));
        let mut line = String::new();
        BufReader::new(gateway.child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with('{'), "{line}");
        gateway
    }

    /// The words with which a process of the VM web begins that has the network `net`.
    fn half(&self, words: &str, net: &str) -> Running {
        self.begins(&format!(
            "{words} --name web --memory 16M --serial none --firmware {{waits}} --net {net}"
        ))
    }

    /// The two halves of a pair, primary first, once they are a pair.
    fn pair(&self, net: &str) -> (Running, Running) {
        let half = |role: &str, address: &str| {
            let words =
                format!("{role} --arbiter {{arbiter}} --key {{key}} --timeout-ms 1000 --backup {address}");
            self.half(&words, net)
        };
        let mut backup = half("backup", "127.0.0.1:0");
        let listens = backup.says("waiting for the primary on ");
        let mut primary = half("primary", listens.rsplit(' ').next().unwrap());
        primary.says("paired with");
        backup.says("paired with");
        (primary, backup)
    }

    /// What the processes of the VM web say.
    fn statuses(&self) -> Vec<Value> {
        let output = self.lockstep("status web --json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What so many processes say of their health, once each of them says as expected whether its network is
    /// down.
    fn healths(&self, count: usize, is_down: bool) -> Vec<Value> {
        loop {
            let statuses = self.statuses().into_iter();
            let healths: Vec<Value> = statuses.map(|status| status["health"].clone()).collect();
            let is_as_expected = |health: &Value| health["net_down"] == is_down;
            if healths.len() == count && healths.iter().all(is_as_expected) {
                return healths;
            }
        }
    }
}

#[test]
fn both_sides_say_that_their_gateway_is_gone_and_that_it_is_back() {
    let site = Site::new(&[("waits", &WAITS)]);
    let gateway = site.gateway();
    let net = format!(
        "gateway={},key={}",
        site.path("net").display(),
        site.path("key").display()
    );
    let (mut primary, mut backup) = site.pair(&net);
    for health in site.healths(2, false) {
        assert_eq!(health["net_down_since_wall_ns"], Value::Null);
        assert_eq!(health["disks_away"], Value::Array(Vec::new()));
        assert_eq!(health["arbiter_away_since_wall_ns"], Value::Null);
    }
    gateway.dies();
    for half in [&mut primary, &mut backup] {
        let line = half.says("the network of this side leads nowhere: the gateway at ");
        assert!(line.ends_with("/net does not answer"), "{line}");
    }
    for health in site.healths(2, true) {
        assert!(health["net_down_since_wall_ns"].as_u64().unwrap() > 0);
    }
    let page = site.ends("status web").with(0);
    assert_eq!(
        page.matches("   Network  leads nowhere from here for ").count(),
        2,
        "{page}"
    );
    let _gateway = site.gateway();
    for half in [&mut primary, &mut backup] {
        half.says("the network of this side is back after ");
    }
    site.healths(2, false);
    let page = site.ends("status web").with(0);
    assert!(!page.contains("Network"), "{page}");
    assert!(
        page.starts_with("* web: protected, "),
        "nobody has taken over: {page}"
    );
}

#[test]
fn a_vm_without_a_network_is_never_cut_off_and_a_backup_without_a_key_cannot_know() {
    let site = Site::new(&[("waits", &WAITS)]);
    {
        let _alone = site.half("run", "none");
        site.healths(1, false);
    }
    let socket = site.path("net").display().to_string();
    let mut gateway = site.begins(&format!("gateway --json --listen {socket}"));
    let mut line = String::new();
    BufReader::new(gateway.child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let (_primary, _backup) = site.pair(&format!("gateway={socket}"));
    let known: Vec<Value> = loop {
        let output = site.lockstep("status web --json").output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let statuses = text
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let mut seen: Vec<(String, Value)> = statuses
            .map(|status| (status["role"].to_string(), status["health"]["net_down"].clone()))
            .collect();
        seen.sort_by(|one, other| one.0.cmp(&other.0));
        if seen.len() == 2 && seen[1].1 == false {
            break seen.into_iter().map(|(_, down)| down).collect();
        }
    };
    assert_eq!(known, [Value::Null, Value::from(false)], "backup and primary");
}

#[test]
fn both_sides_say_that_the_arbiter_is_gone_before_anybody_needs_it() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (mut primary, mut backup) = site.pair("none");
    std::fs::rename(site.path("arbiter"), site.path("elsewhere")).unwrap();
    // A busy host may have the guest throttled, too.
    let has_flag = |status: &Value| {
        let flags = status["protection"]["flags"].as_array().unwrap();
        flags.iter().any(|flag| flag == "arbiter-away")
    };
    for half in [&mut primary, &mut backup] {
        half.says("is of no use to this host: ");
    }
    for status in site.statuses() {
        assert!(status["health"]["arbiter_away_since_wall_ns"].as_u64().unwrap() > 0);
        assert!(has_flag(&status), "{status}");
        assert_eq!(status["guest"], "running", "nothing waits for it");
    }
    std::fs::rename(site.path("elsewhere"), site.path("arbiter")).unwrap();
    for half in [&mut primary, &mut backup] {
        half.says("answers this host again after ");
    }
    for status in site.statuses() {
        assert_eq!(status["health"]["arbiter_away_since_wall_ns"], Value::Null);
        assert!(!has_flag(&status), "{status}");
    }
}
