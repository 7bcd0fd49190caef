//! What the demo leaves behind, shows and says, with a real guest: its processes end with it, and its report
//! can be read on any terminal.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A demo that runs, with its standard streams piped to the test.
struct Demo {
    child: Child,
    errors: BufReader<std::process::ChildStderr>,
    said: String,
}

impl Demo {
    fn start(arguments: &[&str], temporary: &std::path::Path) -> Demo {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .arg("demo")
            .args(arguments)
            .env("TMPDIR", temporary)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let errors = BufReader::new(child.stderr.take().unwrap());
        let said = String::new();
        Demo { child, errors, said }
    }

    /// Waits for a line of standard error that has these words in it.
    fn says(&mut self, words: &str) {
        loop {
            let mut line = String::new();
            let length = self.errors.read_line(&mut line).unwrap();
            self.said += &line;
            assert_ne!(length, 0, "it never said '{words}' but: {}", self.said);
            if line.contains(words) {
                return;
            }
        }
    }

    /// Numbers of the processes that the demo has started and that still run.
    fn children(&self) -> Vec<i32> {
        let is_child = |pid: &i32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            // `pid (name) state parent ..`
            let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            fields.split(' ').nth(1) == Some(&self.child.id().to_string())
        };
        let entries = std::fs::read_dir("/proc").unwrap();
        let pids = entries.filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
        pids.filter(is_child).collect()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does a process still run? One that has ended and that nobody has waited for has no command line any more.
fn runs(pid: i32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn a_demo_that_is_killed_takes_its_processes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&["--kill", "none"], directory.path());
    demo.says("the guest boots");
    let children = demo.children();
    assert_eq!(children.len(), 3, "gateway, backup and primary");
    // A process that stands still ends as well: the gateway, the first, which the demo has heard already, so
    // that it has asked the kernel for its end.
    let gateway = children.iter().copied().min().unwrap();
    kill_process(Pid::from_raw(gateway).unwrap(), Signal::STOP).unwrap();
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    while children.iter().any(|&pid| runs(pid)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_demo_that_is_killed_takes_the_processes_with_it_that_came_later() {
    let directory = tempfile::tempdir().unwrap();
    let flags = ["--kills", "2", "--seconds", "4", "--timeout-ms", "5000"];
    let mut demo = Demo::start(&flags, directory.path());
    demo.says("protected again");
    let children = demo.children();
    assert!(children.len() >= 3, "gateway and both halves: {children:?}");
    demo.child.kill().unwrap();
    demo.child.wait().unwrap();
    while children.iter().any(|&pid| runs(pid)) {
        std::thread::yield_now();
    }
}

#[test]
fn a_demo_that_is_stopped_leaves_nothing_behind_unless_it_is_told_to() {
    for (keep, left) in [(&[][..], 0), (&["--keep"][..], 1)] {
        let directory = tempfile::tempdir().unwrap();
        let mut demo = Demo::start(keep, directory.path());
        demo.says("the guest boots");
        let children = demo.children();
        kill_process(Pid::from_child(&demo.child), Signal::INT).unwrap();
        demo.says("stopped");
        assert_eq!(demo.child.wait().unwrap().code(), Some(130));
        assert!(!children.iter().any(|&pid| runs(pid)));
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), left);
    }
}

#[test]
fn what_the_demo_keeps_is_for_its_owner_alone() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Demo::start(&["--keep"], directory.path());
    demo.says("the guest boots");
    let kept = std::fs::read_dir(directory.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&kept.path()), 0o700);
    assert_eq!(mode(&kept.path().join("key")), 0o600);
    kill_process(Pid::from_child(&demo.child), Signal::INT).unwrap();
    demo.child.wait().unwrap();
    let mut rest = String::new();
    demo.errors.read_to_string(&mut rest).unwrap();
    let said = demo.said.clone() + &rest;
    assert!(
        !said.contains("warning"),
        "its own processes find nothing wrong: {said}"
    );
}

#[test]
fn a_killed_demo_is_cleaned_up_after_by_the_next_one() {
    let directory = tempfile::tempdir().unwrap();
    let mut killed = Demo::start(&[], directory.path());
    killed.says("the guest boots");
    killed.child.kill().unwrap();
    killed.child.wait().unwrap();
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    let mut next = Demo::start(&[], directory.path());
    next.says("the guest boots");
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
}

#[test]
fn what_a_demo_has_kept_the_next_one_keeps_too() {
    let directory = tempfile::tempdir().unwrap();
    for kept in [1, 2] {
        let mut demo = Demo::start(&["--keep"], directory.path());
        demo.says("the guest boots");
        kill_process(Pid::from_child(&demo.child), Signal::INT).unwrap();
        demo.says("stopped");
        demo.child.wait().unwrap();
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), kept);
    }
}

#[test]
fn the_report_fits_a_narrow_terminal_without_utf_8_and_begins_with_the_verdict() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["demo", "--seconds", "3", "--timeout-ms", "5000"])
        .env("TMPDIR", directory.path())
        .envs([("COLUMNS", "60"), ("LC_ALL", "C")])
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.is_ascii(), "{report}");
    assert!(report.lines().all(|line| line.len() <= 60), "{report}");
    assert!(report.starts_with("  PASSED: Nothing was lost"), "{report}");
    // With the prompt behind it, the verdict is still on a terminal of 24 lines.
    assert!(report.lines().count() <= 23, "{report}");
    for part in [
        "SIGKILL to the primary",
        "found out after",
        "told of its death after",
        "claimed and live",
        "protected again after",
    ] {
        assert!(report.contains(part), "{part} in {report}");
    }
}

#[test]
fn the_report_of_two_kills_shows_each_and_each_time_the_vm_was_protected_again() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["demo", "--kills", "2", "--seconds", "4", "--timeout-ms", "5000"])
        .env("TMPDIR", directory.path())
        .envs([("COLUMNS", "60"), ("LC_ALL", "C.UTF-8")])
        .output()
        .unwrap();
    let report = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{report}{errors}");
    assert!(
        report.starts_with("  PASSED: Nothing was lost in 2 failovers."),
        "{report}"
    );
    assert!(report.lines().count() <= 23, "{report}");
    assert!(report.lines().all(|line| line.chars().count() < 60), "{report}");
    let ground = report.lines().find(|line| line.starts_with("  └")).unwrap();
    let marks: String = ground.chars().filter(|sign| "✗●".contains(*sign)).collect();
    assert_eq!(marks, "✗●✗●", "{report}");
    assert_eq!(errors.matches("protected again after").count(), 2, "{errors}");
}

#[test]
fn a_demo_that_kills_nobody_cannot_do_so_twice() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["demo", "--kill", "none", "--kills", "2"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("leave `--kills` out"), "{said}");
}

#[test]
fn a_process_that_has_lost_its_parent_before_it_could_say_so_ends_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args([
            "gateway",
            "--insecure",
            "--listen",
            "127.0.0.1:0",
            "--ends-with",
            "1",
        ])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("not its parent any more"), "{said}");
}
