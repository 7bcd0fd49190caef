//! The main job from outside: real processes, a real Debian kernel, a real Redis, real signals.

use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// A pair needs both cores of a small machine: with several at once their timeouts measure the neighbours.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn lockstep() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lockstep"));
    command.stdin(Stdio::null());
    command
}

/// Runs the demo and returns its figures; it must not have lost anything.
fn demo(arguments: &[&str]) -> serde_json::Value {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let base = ["demo", "--json", "--seconds", "6", "--timeout-ms", "1000"];
    let output = lockstep().args(base).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    let object: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (&object["api"], &object["asked"]["seconds"]),
        (&"v1".into(), &6.into())
    );
    let figures = object["seen"].clone();
    for zero in ["writes_lost", "reads_wrong", "connections_reset", "divergences"] {
        assert_eq!(figures[zero], 0, "{zero} in {figures}");
    }
    assert!(figures["writes_acked"].as_u64().unwrap() > 0, "{figures}");
    assert!(figures["digests_compared"].as_u64().unwrap() > 0, "{figures}");
    figures
}

#[test]
fn clients_survive_sigkill_of_the_primary() {
    // FT 2.3-b, 2.2-a
    let told = demo(&[]);
    assert_eq!(told["death_told"], true, "{told}");
    // What the survivor waits for before its claim is the word of the dead process' host, or the lease.
    let waited = |figures: &serde_json::Value| figures["lease_ms"].as_f64().unwrap();
    let timeout_only = demo(&["--timeout-only"]);
    assert_eq!(timeout_only["death_told"], false, "{timeout_only}");
    assert!(waited(&timeout_only) > waited(&told), "{told} {timeout_only}");
}

#[test]
fn clients_survive_sigkill_of_the_backup() {
    // FT 2.3-a
    demo(&["--kill", "backup"]);
}

#[test]
fn clients_survive_the_kill_of_one_survivor_after_the_other() {
    // FT 3.1-c
    for what in ["primary", "backup"] {
        let figures = demo(&["--kills", "2", "--clients", "2", "--kill", what]);
        assert_eq!(figures["failovers"], 2, "{what}: {figures}");
        assert_eq!(figures["connections_opened"], 2, "{what}: {figures}");
        for list in [
            "client_pauses_ms",
            "unprotected_ms",
            "clone_cut_us",
            "clone_bytes",
        ] {
            let list = figures[list].as_array().unwrap();
            assert_eq!(list.len(), 2, "{what}: {figures}");
            assert!(
                list.iter().all(|value| value.as_f64().unwrap() > 0.0),
                "{what}: {figures}"
            );
        }
        let longest = figures["client_pauses_ms"].as_array().unwrap().iter();
        let longest = longest.map(|value| value.as_f64().unwrap()).fold(0.0, f64::max);
        assert_eq!(figures["client_pause_ms"], longest, "{what}: {figures}");
    }
}

#[test]
fn a_stalled_primary_halts_when_it_wakes() {
    // FT 2.3-e
    demo(&["--kill", "stall"]);
}

#[test]
fn two_harts_and_eight_clients_survive_sigkill_of_the_primary() {
    demo(&["--harts", "2", "--clients", "8"]);
}

#[test]
fn nobody_needs_to_read_what_the_demo_says() {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = lockstep()
        .args(["demo", "--seconds", "2"])
        .stderr(writer)
        .output()
        .unwrap();
    let report = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert!(report.contains("Nothing was lost"), "{report}");
}

#[test]
fn a_pair_that_nobody_disturbs_ends_together() {
    // FT 3.3-a
    demo(&["--kill", "none"]);
}

/// The files of the appliance, built now if they are missing.
fn appliance() -> Vec<String> {
    let output = lockstep()
        .args(["image", "appliance", "--json"])
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |key: &str| files[key].as_str().unwrap().to_owned();
    vec![
        "--kernel".into(),
        text("kernel"),
        "--initrd".into(),
        text("initrd"),
        "--firmware".into(),
        text("firmware"),
        "--append".into(),
        format!("{} lockstep.run=poweroff", text("append")),
        "--memory".into(),
        "256M".into(),
    ]
}

fn json(command: &mut Command) -> serde_json::Value {
    let output = command.output().unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Records a boot to power-off and replays it in every way that must make no difference.
fn a_boot_replays(harts: &str) {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    let (log, snapshot) = (path("log"), path("snapshot"));
    let image = appliance();
    let recorded = json(
        lockstep()
            .args([
                "record", "--json", "--serial", "none", "--harts", harts, "-o", &log,
            ])
            .args(&image),
    );
    let replay = |more: &[&str]| {
        json(
            lockstep()
                .args(["replay", &log, "--json"])
                .args(&image)
                .args(more),
        )
    };
    let plain = replay(&[]);
    assert_eq!(plain["step"], recorded["step"]);
    assert_eq!(plain["digests_compared"], recorded["digests"]);
    let due = plain["step"].as_u64().unwrap() / replica::limits::DIGEST_EVERY_DEFAULT;
    assert!(due > 0, "the boot is too short for a digest");
    let compared = plain["digests_compared"].as_u64().unwrap();
    assert!(
        (2..=due + 1).contains(&compared),
        "{compared}: one at each multiple unless much was written, one at the end"
    );
    let half = (plain["step"].as_u64().unwrap() / 2).to_string();
    let zealous = replay(&["--zeal", "7", "--slice", "1234567"]);
    assert_eq!(zealous["digest"], plain["digest"]);
    replay(&["--until", &half, "--save", &snapshot]);
    let from_the_middle = replay(&["--from", &snapshot]);
    assert_eq!(from_the_middle["digest"], plain["digest"]);
    assert_eq!(from_the_middle["step"], plain["step"]);
}

#[test]
fn a_boot_of_one_hart_replays_exactly() {
    a_boot_replays("1");
}

#[test]
fn a_boot_of_four_harts_replays_exactly() {
    a_boot_replays("4");
}
