//! `lockstep demo --cluster`: three hosts with agents and a real guest. Two hosts die and one comes back, and
//! the client loses nothing; and no process outlives the demo.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The demo with these flags. A busy host shall not look dead.
fn demo(flags: &[&str], temporary: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command
        .args([
            "demo",
            "--cluster",
            "--directory",
            "shared",
            "--timeout-ms",
            "5000",
        ])
        .args(flags)
        .env("TMPDIR", temporary)
        .envs([("COLUMNS", "80"), ("LC_ALL", "C")])
        .stdin(Stdio::null());
    command
}

#[test]
fn hosts_die_and_come_back_and_the_client_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let output = demo(&["--seconds", "5", "--json"], directory.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(told["asked"]["directory"], "shared", "{told}");
    let seen = &told["seen"];
    for lost in ["writes_lost", "reads_wrong", "connections_reset", "divergences"] {
        assert_eq!(seen[lost], 0, "{lost} in {told}");
    }
    assert!(seen["writes_acked"].as_u64() > Some(0), "{told}");
    assert_eq!(seen["connections_opened"], 1, "{told}");
    assert_eq!(seen["failovers"], 2, "{told}");
    assert!(seen["digests_compared"].as_u64() > Some(0), "{told}");
    let positive = |value: &Value| value.as_f64() > Some(0.0);
    for list in ["protected_again_ms", "unprotected_ms", "client_pauses_ms"] {
        let list = seen[list].as_array().unwrap();
        assert!(list.len() == 2 && list.iter().all(positive), "{told}");
    }
    assert!(
        positive(&seen["alone_ms"]) && positive(&seen["handed_over_ms"]),
        "{told}"
    );
    // It ran on each host, and in the end again on the one that has come back.
    let ran_on: Vec<&str> = seen["ran_on"]
        .as_array()
        .unwrap()
        .iter()
        .map(|host| host.as_str().unwrap())
        .collect();
    assert_eq!(ran_on.len(), 4, "{told}");
    assert_eq!((ran_on[0], ran_on[3]), ("a", "a"), "{told}");
    // The last host says of each other one that it is silent.
    let reasons = seen["reasons"].as_array().unwrap();
    for dead in &ran_on[..2] {
        let names = |reason: &&Value| {
            reason
                .as_str()
                .unwrap()
                .starts_with(&format!("{dead}'s agent has not answered"))
        };
        assert_eq!(reasons.iter().filter(names).count(), 1, "{dead} in {told}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[test]
fn no_process_outlives_the_demo_however_it_ends() {
    for (signal, code, left) in [(Signal::INT, Some(130), 0), (Signal::KILL, None, 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut child = demo(&[], directory.path())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        says(&mut child, "the client begins to write");
        let all = descendants(&child);
        // The gateway, three agents, both halves, and the primary's watcher.
        assert!(all.len() >= 7, "{all:?}");
        kill_process(Pid::from_child(&child), signal).unwrap();
        assert_eq!(child.wait().unwrap().code(), code);
        while all.iter().any(|&pid| runs(pid)) {
            std::thread::yield_now();
        }
        // What is left of a demo that was killed is removed by the next one.
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), left);
    }
}

#[test]
fn flags_of_the_usual_demo_are_none_of_a_cluster() {
    for flags in [["--kills", "2"], ["--kill", "backup"], ["--clients", "2"]] {
        let directory = tempfile::tempdir().unwrap();
        let output = demo(&flags, directory.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
    let alone = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["demo", "--netns"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stderr);
    assert!(
        alone.status.code() == Some(2) && said.contains("--cluster"),
        "{said}"
    );
}

/// Waits for a line of standard error that has these words in it.
fn says(child: &mut Child, words: &str) {
    let mut errors: BufReader<ChildStderr> = BufReader::new(child.stderr.take().unwrap());
    let mut said = String::new();
    while !said.contains(words) {
        assert_ne!(
            errors.read_line(&mut said).unwrap(),
            0,
            "it never said '{words}' but: {said}"
        );
    }
    // It may say more, and shall not end for want of a reader.
    std::thread::spawn(move || errors.lines().for_each(drop));
}

/// Numbers of the processes that this one has started, and those that these have started.
fn descendants(child: &Child) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse::<u32>().ok());
    let parents: BTreeMap<u32, u32> = pids.filter_map(|pid| Some((pid, parent(pid)?))).collect();
    let mut found = vec![child.id()];
    let mut next = 0;
    while let Some(&of) = found.get(next) {
        found.extend(
            parents
                .iter()
                .filter(|(_, parent)| **parent == of)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found.split_off(1)
}

/// The parent of a process; `None`: it has ended.
fn parent(pid: u32) -> Option<u32> {
    // `pid (name) state parent ..`
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Does a process still run? One that has ended and that nobody has waited for has no command line any more.
fn runs(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}
