//! Running VMs that are asked and told by `lockstep status`, `stop`, `reset` and `events`, and by callers of
//! their control sockets who mean no good.
//!
//! The processes are real and in their sandbox; each test has a runtime directory of its own.

mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::Value;
use site::{Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];

impl Site {
    /// A process that runs a VM; `words` say more of it than that it waits for ever.
    fn starts(&self, words: &str) -> Running {
        let flags = "--memory 16M --serial none --firmware {waits}";
        let (role, rest) = words.split_once(' ').unwrap();
        self.begins(&format!("{role} {flags} {rest}"))
    }

    /// A VM that runs alone, once it runs.
    fn runs(&self, name: &str) -> Running {
        let running = self.starts(&format!("run --name {name}"));
        while self
            .status(name)
            .is_none_or(|status| status["guest"] != "running")
        {
            std::thread::yield_now();
        }
        running
    }

    /// The two halves of a pair of the VM web, primary first, once they are a pair.
    fn pair(&self) -> (Running, Running) {
        let half = |role: &str, address: &str| {
            self.starts(&format!(
                "{role} --name web --arbiter {{arbiter}} --key {{key}} --timeout-ms 1000 --backup {address}"
            ))
        };
        let mut backup = half("backup", "127.0.0.1:0");
        let listens = backup.says("waiting for the primary on ");
        let waiting = self.status("web").unwrap();
        assert_eq!(waiting["protection"]["state"], "starting");
        let sentence = waiting["protection"]["reasons"][0]["sentence"].as_str().unwrap();
        assert!(
            sentence.starts_with("it waits for the primary on 127.0.0.1:"),
            "{sentence}"
        );
        let mut primary = half("primary", listens.rsplit(' ').next().unwrap());
        primary.says("paired with");
        backup.says("paired with");
        (primary, backup)
    }

    /// What the processes of a VM say in JSON.
    fn statuses(&self, name: &str) -> Vec<Value> {
        let output = self.lockstep(&format!("status {name} --json")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }

    /// What the only process of a VM says; `None`: there is none.
    fn status(&self, name: &str) -> Option<Value> {
        self.statuses(name).pop()
    }

    /// The control sockets, by the names of their VMs.
    fn sockets(&self) -> Vec<(String, PathBuf)> {
        let files = std::fs::read_dir(self.path("run/lockstep")).unwrap();
        let paths = files.map(|file| file.unwrap().path());
        let mut sockets: Vec<_> = paths
            .filter(|path| path.extension().is_some_and(|ending| ending == "control"))
            .map(|path| {
                let name = path.file_stem().unwrap().to_str().unwrap();
                (name.rsplit_once('.').unwrap().0.to_owned(), path)
            })
            .collect();
        sockets.sort();
        sockets
    }

    /// A connection to the control socket of a VM.
    fn calls(&self, name: &str) -> Caller {
        let sockets = self.sockets();
        let (_, path) = sockets.iter().find(|(vm, _)| vm == name).unwrap();
        Caller(BufReader::new(UnixStream::connect(path).unwrap()))
    }
}

impl Running {
    fn gets(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }
}

/// A connection to a control socket.
struct Caller(BufReader<UnixStream>);

impl Caller {
    fn sends(&mut self, text: &[u8]) {
        // The other side may have hung up: then the answer says why.
        let _ = self.0.get_mut().write_all(text);
    }

    /// The next line; `None`: the other side has hung up.
    fn hears(&mut self) -> Option<Value> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Ok(0) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            other => {
                other.unwrap();
                Some(serde_json::from_str(&line).unwrap())
            }
        }
    }

    fn asks(&mut self, request: &str) -> Value {
        self.sends(format!("{request}\n").as_bytes());
        self.hears().unwrap()
    }
}

#[test]
fn all_vms_are_listed_each_with_its_state_and_why_and_the_dead_are_swept() {
    let site = Site::new(&[("waits", &WAITS)]);
    assert!(
        site.ends("status")
            .with(0)
            .contains("no VM with a name of its own runs here")
    );
    let web = site.runs("web");
    let shop = site.runs("shop.2");
    let text = site.ends("status").with(0);
    let lines: Vec<&str> = text.lines().collect();
    assert!(
        lines[0].starts_with("VM      ROLE   GUEST    PROTECTION     PEER"),
        "{text}"
    );
    assert!(
        lines[1].starts_with("shop.2  alone  running  o unprotected  -"),
        "{text}"
    );
    assert!(lines[2].contains("started to run alone"), "{text}");
    assert!(
        lines[3].starts_with("web     alone  running  o unprotected  -"),
        "{text}"
    );
    assert_eq!(lines.len(), 5, "{text}");
    let text = site.ends("status web").with(0);
    let first = format!("o web: unprotected, alone here (pid {})", web.child.id());
    assert!(
        text.starts_with(&first) && text.contains("\n     Guest  running here for "),
        "{text}"
    );

    // A VM without a name cannot be asked for.
    let nameless = site.starts("run --events {events}");
    while !std::fs::read_to_string(site.path("events")).is_ok_and(|text| text.contains("\"role\"")) {
        std::thread::yield_now();
    }
    assert_eq!(site.sockets().len(), 2);
    nameless.dies();

    shop.dies();
    assert_eq!(site.sockets().len(), 2, "who is killed leaves its socket behind");
    assert!(!site.ends("status").with(0).contains("shop.2"));
    assert_eq!(site.sockets().len(), 1);
    for words in [
        "status shop.2",
        "stop shop.2 --hard --yes",
        "reset shop.2 --yes",
        "events shop.2",
    ] {
        let text = site.ends(words).with(5);
        assert!(
            text.contains("no process of a VM called shop.2 answers on this host"),
            "{text}"
        );
    }
    // A start sweeps too.
    web.dies();
    let _web = site.runs("web");
    assert_eq!(site.sockets().len(), 1);
}

#[test]
fn programs_read_the_status_as_json() {
    let site = Site::new(&[("waits", &WAITS)]);
    let web = site.runs("web");
    let status = site.status("web").unwrap();
    assert_eq!(status["api"], "v1");
    assert_eq!(status["name"], "web");
    assert_eq!(status["pid"], web.child.id());
    assert_eq!(status["host"], os::identity::host_name());
    assert_eq!(
        (&status["guest"], &status["role"]),
        (&"running".into(), &"solo".into())
    );
    let protection = &status["protection"];
    assert_eq!(protection["state"], "unprotected");
    assert_eq!(protection["reasons"][0]["code"], "user");
    assert!(protection["since_wall_ns"].as_u64().unwrap() > 0);
    assert!(status["figures"]["step"].as_u64().unwrap() > 0);
    assert!(status["observed"]["age_ms"].as_u64().unwrap() <= 50);
    // Everything that stands there is documented.
    let document = include_str!("../../../docs/control.md");
    for key in status
        .as_object()
        .unwrap()
        .keys()
        .chain(protection.as_object().unwrap().keys())
    {
        assert!(document.contains(&format!("`{key}`")), "{key}");
    }
}

#[test]
fn a_pair_is_protected_until_its_backup_dies_and_says_why_it_is_not() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (primary, backup) = site.pair();
    let both = site.statuses("web");
    let mut roles: Vec<&str> = both
        .iter()
        .map(|status| status["role"].as_str().unwrap())
        .collect();
    roles.sort_unstable();
    assert_eq!(roles, ["backup", "primary"]);
    for status in &both {
        assert_eq!(status["protection"]["state"], "protected");
        assert_eq!(status["epoch"], 1);
        assert_eq!(status["arbiter"], site.path("arbiter").display().to_string());
        assert!(status["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    }
    let text = site.ends("status").with(0);
    assert!(
        text.contains("web  primary  running  * protected  127.0.0.1:"),
        "{text}"
    );
    backup.dies();
    while site.status("web").unwrap()["protection"]["state"] != "needs-backup" {
        std::thread::yield_now();
    }
    let text = site.ends("status web").with(3);
    assert!(
        text.starts_with("! web: needs-backup, alone here (pid "),
        "{text}"
    );
    assert!(
        text.contains("is gone (the link is closed); the VM goes on here without a backup"),
        "{text}"
    );
    // The plug of the survivor.
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
    drop(primary);
}

#[test]
fn a_backup_is_dismissed_with_consent_and_the_guest_runs_on() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (mut primary, mut backup) = site.pair();
    let text = site.ends("unprotect web").with(2);
    assert!(
        text.contains("`unprotect` needs `--yes` without a terminal"),
        "{text}"
    );
    let text = site.ends("unprotect web --yes").with(0);
    assert!(text.starts_with("web: the backup 127.0.0.1:"), "{text}");
    assert!(
        text.contains("is dismissed; the VM goes on here without a backup"),
        "{text}"
    );
    primary.says("is dismissed");
    backup.says("has dismissed this backup; the VM goes on there");
    assert!(backup.child.wait().unwrap().success());
    let status = site.status("web").unwrap();
    assert_eq!(status["protection"]["state"], "unprotected");
    assert_eq!(status["protection"]["reasons"][0]["code"], "dismissed");
    assert_eq!(site.ends("unprotect web --yes").with(0), "web has no backup\n");
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
}

#[test]
fn orders_to_a_pair_reach_its_live_half_and_hold_for_both() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (mut primary, mut backup) = site.pair();
    assert_eq!(site.ends("reset web --yes").with(0), "web is reset\n");
    primary.says("the guest's reset button is pressed, as told");
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
    backup.says("plug, on both sides");
    assert!(primary.child.wait().unwrap().success() && backup.child.wait().unwrap().success());
}

#[test]
fn a_guest_is_stopped_by_its_plug_alone_and_reset_and_both_only_with_consent() {
    let site = Site::new(&[("waits", &WAITS)]);
    let mut web = site.runs("web");
    let text = site.ends("stop web").with(4);
    assert!(text.contains("since its board has no power button"), "{text}");
    assert!(
        text.contains("`lockstep stop web --hard`; nothing was changed"),
        "{text}"
    );
    for command in ["stop --hard", "reset"] {
        let text = site.ends(&format!("{command} web")).with(2);
        assert!(
            text.contains(&format!("`{command}` needs `--yes` without a terminal")),
            "{text}"
        );
    }
    let before = site.status("web").unwrap()["figures"]["step"].as_u64().unwrap();
    assert_eq!(site.ends("reset web --yes").with(0), "web is reset\n");
    web.says("the guest's reset button is pressed, as told");
    assert!(before > 0);
    // Once `stop` has said so, the VM can be started again.
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
    let again = site.runs("web");
    assert!(web.child.wait().unwrap().success());
    drop(again);
}

#[test]
fn a_backup_of_a_vm_that_cannot_have_one_is_refused_with_what_is_missing() {
    let site = Site::new(&[("waits", &WAITS)]);
    let web = site.runs("web");
    let text = site.ends("status web").with(0);
    assert!(
        text.contains("`lockstep protect web --to HOST:PORT` makes a backup"),
        "{text}"
    );
    let text = site.ends("protect web --to 127.0.0.1:1").with(4);
    assert!(
        text.contains("a VM without an arbiter can have no backup"),
        "{text}"
    );
    assert!(
        text.contains("`arbiter =` in VM.toml, or `--arbiter PLACE`; nothing was changed"),
        "{text}"
    );
    assert!(
        site.ends("protect web --to nowhere")
            .with(2)
            .contains("has no port")
    );
    assert!(site.ends("protect web").with(2).contains("`--to HOST:PORT`"));
    site.ends("protect shop --to 127.0.0.1:1").with(5);
    web.dies();
    let _pair = site.pair();
    let text = site.ends("protect web --to 127.0.0.1:1").with(0);
    assert!(
        text.starts_with("web is protected already, by 127.0.0.1:"),
        "{text}"
    );
}

/// What the live process of a VM says, and what it says `ms` later.
fn now_and_later(site: &Site, name: &str, ms: u64) -> (Value, Value) {
    let status = || {
        let is_live = |status: &Value| matches!(status["role"].as_str(), Some("solo" | "primary"));
        site.statuses(name).into_iter().find(is_live).unwrap()
    };
    let at = |status: &Value| status["observed"]["wall_ns"].as_u64().unwrap();
    let now = status();
    let later = std::iter::repeat_with(status).find(|later| at(later) >= at(&now) + ms * 1_000_000);
    (now, later.unwrap())
}

/// A guest that says it is paused stands, for so long at least.
fn stands(site: &Site, name: &str, ms: u64) {
    let (now, later) = now_and_later(site, name, ms);
    assert_eq!(now["figures"]["step"], later["figures"]["step"]);
    for status in site.statuses(name) {
        assert_eq!(status["guest"], "paused");
        assert!(status["paused_since_wall_ns"].as_u64().unwrap() > 0);
    }
}

/// A guest has been told to run on, and does.
fn runs_on(site: &Site, name: &str) {
    let text = site.ends(&format!("resume {name}")).with(0);
    assert_eq!(text, format!("{name}: the guest runs, as told\n"));
    let (now, later) = now_and_later(site, name, 100);
    let step = |status: &Value| status["figures"]["step"].as_u64().unwrap();
    assert!(step(&later) > step(&now));
}

#[test]
fn a_guest_is_paused_until_it_is_told_to_run_on() {
    let site = Site::new(&[("waits", &WAITS)]);
    let mut web = site.runs("web");
    assert_eq!(site.status("web").unwrap()["paused_since_wall_ns"], Value::Null);
    let text = site.ends("pause web").with(0);
    let expected = "web: the guest is paused, as told; `lockstep resume` has it run on\n";
    assert_eq!(text, expected);
    web.says("the guest is paused, as told");
    stands(&site, "web", 100);
    assert_eq!(site.ends("pause web").with(0), "web is paused already\n");
    let text = site.ends("status web").with(0);
    assert!(text.contains("\n     Guest  paused for "), "{text}");
    assert!(text.contains("`lockstep resume` has it run on"), "{text}");
    let text = site.ends("reset web --yes").with(4);
    assert!(
        text.contains("web is paused, and a guest that stands cannot boot"),
        "{text}"
    );
    stands(&site, "web", 100);
    runs_on(&site, "web");
    runs_on(&site, "web");
    assert_eq!(site.ends("reset web --yes").with(0), "web is reset\n");
    // The plug is pulled of a guest that stands, too.
    site.ends("pause web").with(0);
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
    assert!(web.child.wait().unwrap().success());
    site.ends("pause web").with(5);
}

#[test]
fn a_pair_is_paused_and_whoever_goes_on_with_the_guest_has_it_stand() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (mut primary, mut backup) = site.pair();
    site.ends("pause web").with(0);
    backup.says("the guest is paused, as told");
    stands(&site, "web", 100);
    for status in site.statuses("web") {
        assert_eq!(status["protection"]["state"], "protected");
        assert_eq!(status["protection"]["flags"][0], "paused");
    }
    // Longer than the timeout.
    stands(&site, "web", 1500);
    // The two change their roles, and change them back.
    for _ in 0..2 {
        let text = site.ends("failover web").with(0);
        assert!(text.contains("this side is its backup now"), "{text}");
        let is_a_pair = |site: &Site| {
            let live =
                |status: &Value| status["role"] == "primary" && status["protection"]["state"] == "protected";
            site.statuses("web").iter().any(live)
        };
        while !is_a_pair(&site) {
            std::thread::yield_now();
        }
        stands(&site, "web", 100);
    }
    primary.gets(rustix::process::Signal::KILL);
    backup.says("this side is live");
    backup.says("the guest is paused, as told");
    primary.child.wait().unwrap();
    while site.status("web").unwrap()["role"] != "solo" {
        std::thread::yield_now();
    }
    stands(&site, "web", 100);
    runs_on(&site, "web");
    assert_eq!(site.ends("stop web --hard --yes").with(0), "web is off\n");
}

#[test]
fn a_backup_is_dismissed_from_a_paused_guest_and_both_can_be_undone() {
    let site = Site::new(&[("waits", &WAITS)]);
    let (primary, mut backup) = site.pair();
    site.ends("pause web").with(0);
    let text = site.ends("protection suspend web").with(2);
    assert!(
        text.contains("`protection suspend` needs `--yes` without a terminal"),
        "{text}"
    );
    let text = site.ends("protection suspend web --yes").with(0);
    assert!(
        text.contains("is dismissed; the VM goes on here without a backup"),
        "{text}"
    );
    assert!(backup.child.wait().unwrap().success());
    let status = site.status("web").unwrap();
    assert_eq!(status["protection"]["state"], "unprotected");
    let reason = &status["protection"]["reasons"][0];
    assert_eq!(reason["code"], "suspended");
    let sentence = reason["sentence"].as_str().unwrap();
    let address = sentence.split(' ').nth(2).unwrap();
    assert_eq!(
        site.ends("protection suspend web --yes").with(0),
        "web has no backup\n"
    );
    stands(&site, "web", 100);

    // Nobody waits there yet: the guest has not noticed, and the host is remembered.
    let text = site.ends("protection resume web").with(1);
    assert!(text.contains("has not become the backup"), "{text}");
    let status = site.status("web").unwrap();
    assert_eq!(status["protection"]["state"], "needs-backup");
    let flags = "backup --serial none --timeout-ms 1000";
    let mut child = site
        .lockstep(&format!("{flags} --listen {address} --key {{key}}"))
        .spawn()
        .unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let mut again = Running { child, errors };
    again.says("waiting for the primary on ");
    let text = site.ends("protection resume web").with(0);
    assert!(
        text.contains(&format!("the VM has a backup at {address}")),
        "{text}"
    );
    // The new backup knows that the guest stands, although that was so before it came.
    again.says("the guest is paused, as told");
    stands(&site, "web", 100);
    let text = site.ends("protection resume web").with(0);
    assert!(text.starts_with("web is protected already, by "), "{text}");
    primary.dies();
    while site.status("web").is_none_or(|status| status["role"] != "solo") {
        std::thread::yield_now();
    }
    stands(&site, "web", 100);
    runs_on(&site, "web");

    // It was called by the other side, and knows nobody to call.
    for words in ["protection resume web", "protection suspend web --yes"] {
        let text = site.ends(words).with(4);
        assert!(
            text.contains("has called no host to be the backup of web"),
            "{text}"
        );
    }
    drop(again);
    let _alone = site.runs("shop");
    site.ends("protection resume shop").with(4);
    assert_eq!(
        site.ends("protection suspend shop --yes").with(0),
        "shop has no backup\n"
    );
}

#[test]
fn events_are_given_to_the_last_as_they_happen() {
    let site = Site::new(&[("waits", &WAITS)]);
    let _web = site.runs("web");
    let mut follower = site.lockstep("events web --follow").spawn().unwrap();
    let mut lines = BufReader::new(follower.stdout.take().unwrap()).lines();
    let mut next = || -> Option<Value> { Some(serde_json::from_str(&lines.next()?.unwrap()).unwrap()) };
    assert_eq!(next().unwrap()["event"], "role");
    site.ends("reset web --yes").with(0);
    let reset = next().unwrap();
    assert_eq!(
        (&reset["event"], &reset["by"]),
        (&"reset".into(), &"control".into())
    );
    let text = site.ends("events web").with(0);
    assert_eq!(text.lines().count(), 2, "without --follow it ends: {text}");
    site.ends("stop web --hard --yes").with(0);
    let rest: Vec<Value> = std::iter::from_fn(next).collect();
    let names: Vec<&str> = rest.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(names.first(), Some(&"stop"));
    assert_eq!(names.last(), Some(&"halt"), "{names:?}");
    assert!(follower.wait().unwrap().success());
}

#[test]
fn a_request_that_comes_again_is_not_done_twice() {
    let site = Site::new(&[("waits", &WAITS)]);
    let _web = site.runs("web");
    let request = r#"{"id":"5eed","do":"reset"}"#;
    let first = site.calls("web").asks(request);
    assert_eq!(first["answer"], "begun");
    let mut caller = site.calls("web");
    assert_eq!(caller.asks(request), first, "also on another connection");
    assert_eq!(caller.asks(request), first);
    let other = caller.asks(r#"{"id":"5eed","do":"stop","hard":true}"#);
    assert_eq!(other["answer"], "failed");
    let events = site.ends("events web").with(0);
    assert_eq!(events.matches("\"reset\"").count(), 1, "{events}");
}

#[test]
fn whoever_sends_garbage_is_told_so_and_sent_away() {
    let site = Site::new(&[("waits", &WAITS)]);
    let _web = site.runs("web");
    let long = [b'x'; 64 << 10];
    let nested = format!("{}\n", "[".repeat(4000));
    for garbage in [
        &b"hello\n"[..],
        b"{}\n",
        b"{\"id\":\"1\",\"do\":\"explode\"}\n",
        b"{\"id\":\"+1\",\"do\":\"status\"}\n",
        b"{\"id\":1,\"do\":\"status\"}\n",
        b"\xff\xfe\0\n",
        nested.as_bytes(),
        &long,
    ] {
        let mut caller = site.calls("web");
        caller.sends(garbage);
        let answer = caller.hears();
        // Of a long line the rest may be on its way when the connection is closed, and the answer is lost.
        if let Some(answer) = &answer {
            assert_eq!(answer["answer"], "failed", "{answer}");
        } else {
            assert_eq!(garbage.len(), long.len());
        }
        assert_eq!(caller.hears(), None);
    }
    assert_eq!(site.status("web").unwrap()["guest"], "running");
}

#[test]
fn no_number_of_callers_keeps_anybody_from_asking() {
    let site = Site::new(&[("waits", &WAITS)]);
    let web = site.runs("web");
    // Some say nothing, some half of something, some ask and never read.
    let (_, path) = &site.sockets()[0];
    let mut callers = Vec::new();
    for number in 0..2000 {
        let Ok(mut caller) = UnixStream::connect(path) else {
            continue;
        };
        let _ = match number % 3 {
            0 => Ok(()),
            1 => caller.write_all(b"{\"id\":\"1\","),
            _ => {
                caller.set_nonblocking(true).unwrap();
                let status = b"{\"id\":\"1\",\"do\":\"status\"}\n".repeat(100);
                caller.write_all(&status)
            }
        };
        callers.push(caller);
        if number % 500 == 499 {
            assert_eq!(site.status("web").unwrap()["guest"], "running");
        }
    }
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", web.child.id()))
        .unwrap()
        .count();
    assert!(descriptors < 100, "{descriptors}");
    assert_eq!(site.status("web").unwrap()["guest"], "running");
}

#[test]
fn a_follower_that_never_reads_holds_nobody_up() {
    let site = Site::new(&[("waits", &WAITS)]);
    let _web = site.runs("web");
    let mut followers: Vec<Caller> = (0..17).map(|_| site.calls("web")).collect();
    let mut refused = 0;
    for follower in &mut followers {
        let answer = follower.asks(r#"{"id":"1","do":"events","follow":true}"#);
        refused += usize::from(answer["answer"] == "refused");
    }
    assert_eq!(refused, 1, "sixteen may follow");
    // Each reset is a line of events; these are more than any socket holds.
    let mut caller = site.calls("web");
    for number in 0..5000 {
        let answer = caller.asks(&format!(r#"{{"id":"{number:x}","do":"reset"}}"#));
        assert_eq!(answer["answer"], "begun");
    }
    // Who reads late is told how much was lost, and gets the rest.
    let lost = std::iter::from_fn(|| followers[0].hears()).find(|line| line["event"] == "lines-lost");
    assert!(lost.unwrap()["lines"].as_u64().unwrap() > 0);
    assert_eq!(site.status("web").unwrap()["guest"], "running");
}

#[test]
fn a_process_that_is_stopped_is_unknown_and_comes_back() {
    let site = Site::new(&[("waits", &WAITS)]);
    let web = site.runs("web");
    web.gets(rustix::process::Signal::STOP);
    // All of its threads stand once the kernel says that it is stopped.
    let pid = rustix::process::Pid::from_child(&web.child);
    rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::UNTRACED).unwrap();
    let text = site.ends("status web").with(3);
    assert!(text.starts_with("? web: unknown\n"), "{text}");
    assert!(
        text.contains("does not answer, and may be stopped or very busy"),
        "{text}"
    );
    web.gets(rustix::process::Signal::CONT);
    assert_eq!(site.status("web").unwrap()["guest"], "running");
}

#[test]
fn only_the_user_of_a_vm_may_ask_it_and_who_is_asked_is_in_the_sandbox() {
    let site = Site::new(&[("waits", &WAITS)]);
    let web = site.runs("web");
    let tasks = std::fs::read_dir(format!("/proc/{}/task", web.child.id())).unwrap();
    let threads: Vec<String> = tasks
        .map(|task| std::fs::read_to_string(task.unwrap().path().join("status")).unwrap())
        .collect();
    let control = threads
        .iter()
        .find(|status| status.starts_with("Name:\tcontrol\n"));
    let has = |words: &str| control.unwrap().contains(words);
    assert!(has("\nSeccomp:\t2\n") && has("\nNoNewPrivs:\t1\n"), "{control:?}");
    let mode = |path: &PathBuf| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&site.sockets()[0].1), 0o600);
    assert_eq!(mode(&site.path("run/lockstep")), 0o700);
}

#[test]
fn without_home_and_runtime_directory_vms_are_found_in_this_users_own() {
    let site = Site::new(&[("waits", &WAITS)]);
    let name = format!("control-test-{}", std::process::id());
    let bare = |words: &str| {
        let mut command = site.lockstep(words);
        command.env_remove("XDG_RUNTIME_DIR").env_remove("HOME");
        command
    };
    let words = format!("run --name {name} --memory 16M --serial none --firmware {{waits}}");
    let mut child = bare(&words).spawn().unwrap();
    let errors = BufReader::new(child.stderr.take().unwrap());
    let mut running = Running { child, errors };
    let is_there = || bare(&format!("status {name}")).output().unwrap().status.success();
    while !is_there() {
        assert_eq!(running.child.try_wait().unwrap(), None);
    }
    let ended = bare(&format!("stop {name} --hard --yes")).output().unwrap();
    assert!(ended.status.success(), "{ended:?}");
    let mut said = String::new();
    running.errors.read_to_string(&mut said).unwrap();
    assert!(!said.contains("warning"), "{said}");
    assert!(running.child.wait().unwrap().success());
}
