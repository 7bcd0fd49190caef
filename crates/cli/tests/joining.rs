//! Hosts that join a site with a token: real agents at loopback addresses. What is refused is refused with
//! one sentence, and leaves nothing behind.

#[path = "../../etcd/tests/cluster/server.rs"]
#[allow(dead_code, reason = "only a part of what an etcd can be told is needed here")]
mod server;
mod site;

use std::fs;
use std::io::BufReader;
use std::os::unix::fs::PermissionsExt;

use site::{Ended, Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];

/// A directory with a shared one in it.
fn new_site() -> Site {
    let site = Site::new(&[("waits", &WAITS)]);
    fs::create_dir(site.path("shared")).unwrap();
    site
}

/// Makes a host the first one of a site, and starts its agent.
fn first(site: &Site, host: &str, address: &str) -> Running {
    first_with(site, host, address, "--shared {shared}")
}

/// The same, with these words about what the hosts have in common.
fn first_with(site: &Site, host: &str, address: &str, common: &str) -> Running {
    let said = site
        .ends(&format!(
            "agent init --host {host} --address {address} {common} {}",
            files(host)
        ))
        .with(0);
    assert!(said.contains("here:  lockstep agent token"), "{said}");
    let line = format!("there: lockstep agent join {address} --token TOKEN");
    assert!(said.contains(&line), "{said}");
    agent(site, host)
}

fn files(host: &str) -> String {
    format!("--config {{{host}/agent.toml}} --state-dir {{{host}/state}} --run-dir {{{host}/run}}")
}

fn agent(site: &Site, host: &str) -> Running {
    let mut agent = site.begins(&format!("agent run --config {{{host}/agent.toml}}"));
    agent.says("answers at");
    agent
}

/// What a command says, given at this host.
fn at(site: &Site, host: &str, words: &str) -> Ended {
    let mut command = site.lockstep(words);
    let socket = site.path(&format!("{host}/run/lockstep/agent.sock"));
    command.env("LOCKSTEP_HOST", format!("unix:{}", socket.display()));
    Ended(command.output().unwrap())
}

/// A token of this host's agent.
fn token(site: &Site, host: &str, more: &str) -> String {
    let given = at(site, host, &format!("agent token {more}"));
    given.with(0);
    let line = String::from_utf8(given.0.stdout).unwrap();
    line.trim_end().to_owned()
}

/// Has a host join by the agent at `agent`; what it says, with this exit code. A host that does not join has
/// no file afterwards.
fn joins(site: &Site, host: &str, agent: &str, token: &str, more: &str, code: i32) -> String {
    let words = format!("agent join {agent} --token {token} {more} {}", files(host));
    let said = site.ends(&words).with(code);
    let is_there = site.path(&format!("{host}/agent.toml")).exists();
    assert_eq!(is_there, code == 0, "{said}");
    assert_eq!(
        site.path(&format!("{host}/site.key")).exists(),
        code == 0,
        "{said}"
    );
    if code != 0 {
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    said
}

#[test]
fn a_host_joins_with_a_token_and_takes_a_backup() {
    let site = new_site();
    let _a = first(&site, "a", "127.0.91.1");
    let good = token(&site, "a", "");
    let own = "--host b --address 127.0.91.2 --zone cellar";
    let said = joins(&site, "b", "127.0.91.1", &good, own, 0);
    assert!(said.contains("host b at 127.0.91.2 is one of a's site"), "{said}");
    let key = fs::metadata(site.path("b/site.key")).unwrap();
    assert_eq!(key.permissions().mode() & 0o777, 0o600);
    let keys = ["a/site.key", "b/site.key"].map(|file| fs::read(site.path(file)).unwrap());
    assert_eq!(keys[0], keys[1]);
    let text = fs::read_to_string(site.path("b/agent.toml")).unwrap();
    assert!(
        text.contains("zone = \"cellar\"") && !text.contains("port"),
        "{text}"
    );
    let of_a = fs::read_to_string(site.path("a/agent.toml")).unwrap();
    let of_site = |text: &str| text.split_once("[arbiter]").unwrap().1.to_owned();
    assert_eq!(of_site(&text), of_site(&of_a));

    let said = joins(
        &site,
        "c",
        "127.0.91.1",
        &good,
        "--host c --address 127.0.91.3",
        4,
    );
    assert!(
        said.contains("a host has joined with this token already"),
        "{said}"
    );
    let words = format!("agent join 127.0.91.1 --token {good} {}", files("b"));
    let said = site.ends(&words).with(1);
    assert!(said.contains("this host is one of a site already"), "{said}");

    // b is known before its agent has run.
    let second = token(&site, "a", "--valid 2h");
    let taken = joins(
        &site,
        "c",
        "127.0.91.1",
        &second,
        "--host b --address 127.0.91.3",
        4,
    );
    assert!(
        taken.contains("has a host called b already, at 127.0.91.2"),
        "{taken}"
    );
    let _b = agent(&site, "b");
    let file = format!(
        "name = \"web\"\nfirmware = \"{}\"\nmemory = \"16M\"\nserial = \"none\"\n",
        site.path("waits").display()
    );
    fs::write(site.path("web.toml"), file).unwrap();
    at(&site, "b", "create {web.toml}").with(0);
    at(&site, "b", "start web --on a --wait-for protected").with(0);
    let hosts = at(&site, "a", "hosts").with(0);
    let is_ready = |line: &str| line.starts_with("b ") && line.contains("ready");
    assert!(hosts.lines().any(is_ready), "{hosts}");
    let web = at(&site, "a", "status web --json");
    let web: serde_json::Value = serde_json::from_slice(&web.0.stdout).unwrap();
    assert_eq!(web["backup"]["host"], "b");
    at(&site, "a", "stop web --hard --yes").with(0);

    // A token that was refused for another reason is good still.
    let said = joins(&site, "c", "127.0.91.1:7701", &second, "--host c", 0);
    assert!(
        said.contains("host c at 127.0.0.1 "),
        "the address of the connection: {said}"
    );
}

#[test]
fn a_host_joins_a_site_that_has_everything_in_etcd() {
    let etcd = server::Cluster::start(1);
    let url = etcd.endpoints().remove(0);
    let place = url.replace("http://", "etcd://");
    let site = new_site();
    let _a = first_with(
        &site,
        "a",
        "127.0.102.1",
        &format!("--etcd {url} --arbiter {place}"),
    );
    let good = token(&site, "a", "");
    joins(
        &site,
        "b",
        "127.0.102.1",
        &good,
        "--host b --address 127.0.102.2",
        0,
    );
    let text = fs::read_to_string(site.path("b/agent.toml")).unwrap();
    assert!(
        text.contains(&format!("[arbiter]\nplace = \"{place}\"\n")),
        "{text}"
    );
    let _b = agent(&site, "b");
    loop {
        let said = at(&site, "a", "doctor --peers --config {a/agent.toml}");
        let said = String::from_utf8(said.0.stdout).unwrap();
        assert!(said.contains(&format!("{place} can be written")), "{said}");
        // Until the agent of b answers there is nothing to be seen.
        if said.contains(&format!("sees in {place} what was written here")) {
            break;
        }
    }
    // A third host that has no key makes no site of its own there.
    let words = format!("agent init --host c --address 127.0.102.3 --etcd {url} --arbiter {place}");
    let said = site.ends(&format!("{words} {}", files("c"))).with(1);
    assert!(said.contains("this site has other hosts already"), "{said}");
    // And without etcd for both things a shared directory is needed.
    let words = format!(
        "agent init --host c --address 127.0.102.3 --etcd {url} {}",
        files("c")
    );
    let said = site.ends(&words).with(2);
    assert!(said.contains("--shared"), "{said}");
}

#[test]
fn a_token_that_is_not_good_is_refused_with_a_sentence() {
    let site = new_site();
    let a = first(&site, "a", "127.0.92.1");
    let c = "--host c --address 127.0.92.3";
    let refused = |token: &str, more: &str, code: i32, part: &str| {
        let said = joins(&site, "c", "127.0.92.1", token, more, code);
        assert!(said.contains(part), "`{part}`: {said}");
        said
    };
    refused("lsj_0123", c, 2, "this is no token");
    let good = token(&site, "a", "");
    refused(
        &good,
        "--host a --address 127.0.92.3",
        4,
        "has a host called a already, at 127.0.92.1",
    );
    refused(
        &good,
        "--host c --address 127.0.92.1",
        4,
        "127.0.92.1 is the address of a",
    );
    refused(
        &good,
        "--host c --address 192.0.2.1",
        1,
        "192.0.2.1 is no address of this host",
    );
    refused(
        &good,
        "--host c$ --address 127.0.92.3",
        1,
        "a host's name is made of",
    );
    let said = site
        .ends(&format!("agent join nohost. --token {good} {}", files("c")))
        .with(1);
    assert!(said.contains("nohost. cannot be resolved"), "{said}");
    at(&site, "a", "agent token --valid 2d").with(2);

    // As long as the token is good, the host is refused for its name.
    let short = token(&site, "a", "--valid 1s");
    loop {
        let said = joins(
            &site,
            "c",
            "127.0.92.1",
            &short,
            "--host a --address 127.0.92.3",
            4,
        );
        if !said.contains("has a host called a already") {
            assert!(said.contains("the token's time is over"), "{said}");
            break;
        }
    }

    // Another agent does not know it, and looks at no token at all after some wrong ones.
    a.dies();
    let _a = agent(&site, "a");
    refused(&good, c, 4, "does not know this token");
    let other = token(&site, "a", "");
    while !joins(&site, "c", "127.0.92.1", &good, c, 4).contains("looks at none for a minute") {}
    refused(&other, c, 4, "looks at none for a minute");
}

#[test]
fn an_agent_of_another_site_learns_nothing_and_is_not_believed() {
    let site = new_site();
    let _a = first(&site, "a", "127.0.93.1");
    fs::create_dir(site.path("other")).unwrap();
    let words = format!(
        "agent init --host x --address 127.0.93.9 --shared {{other}} {}",
        files("x")
    );
    site.ends(&words).with(0);
    let _x = agent(&site, "x");
    let good = token(&site, "a", "");
    let said = joins(
        &site,
        "c",
        "127.0.93.9",
        &good,
        "--host c --address 127.0.93.3",
        5,
    );
    assert!(
        said.contains("is no host of the site that the token is of"),
        "{said}"
    );
    // Nobody at all.
    let said = joins(
        &site,
        "c",
        "127.0.93.8",
        &good,
        "--host c --address 127.0.93.3",
        5,
    );
    assert!(said.contains("no agent answers at 127.0.93.8:7701"), "{said}");
    joins(
        &site,
        "c",
        "127.0.93.1",
        &good,
        "--host c --address 127.0.93.3",
        0,
    );
}

/// The path that is shared leads elsewhere in each process: to a directory where the process was started.
#[test]
fn a_host_with_another_directory_under_the_same_path_does_not_join() {
    let site = new_site();
    let own = |host: &str, words: &str| {
        let mut command = site.lockstep(words);
        command.current_dir(site.path(host));
        command
    };
    for host in ["a", "b"] {
        fs::create_dir_all(site.path(&format!("{host}/shared"))).unwrap();
    }
    let words = "agent init --host a --address 127.0.94.1 --shared /proc/self/cwd/shared";
    Ended(own("a", &format!("{words} {}", files("a"))).output().unwrap()).with(0);
    let mut child = own("a", "agent run --config {a/agent.toml}").spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let mut a = Running { child, errors };
    a.says("answers at");
    let good = token(&site, "a", "");
    let words = format!(
        "agent join 127.0.94.1 --token {good} --host b --address 127.0.94.2 {}",
        files("b")
    );
    let joins = |code: i32, part: &str| {
        let said = Ended(own("b", &words).output().unwrap()).with(code);
        assert!(said.contains(part), "{said}");
        assert!(code == 0 || !site.path("b/site.key").exists());
    };
    joins(1, "there is no directory /proc/self/cwd/shared/arbiter here");
    fs::create_dir(site.path("b/shared/arbiter")).unwrap();
    joins(
        1,
        "/proc/self/cwd/shared/arbiter on a is another directory; it is not shared",
    );
    fs::remove_dir(site.path("b/shared/arbiter")).unwrap();
    let shared = |host: &str, part: &str| site.path(&format!("{host}/shared/{part}"));
    std::os::unix::fs::symlink(shared("a", "arbiter"), shared("b", "arbiter")).unwrap();
    joins(1, "the site's directory cannot be used here");
    std::os::unix::fs::symlink(shared("a", "directory"), shared("b", "directory")).unwrap();
    joins(0, "host b at 127.0.94.2 is one of a's site");
    let left = fs::read_dir(shared("a", "arbiter")).unwrap();
    assert_eq!(left.count(), 0, "no mark is left");
}
