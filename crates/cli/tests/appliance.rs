//! The first service a person tries: what becomes of it in an appliance, seen by `lockstep run`.
//!
//! The tests build an appliance as `failover.rs` does, with a command in place of Redis, and boot it without
//! a network. No test may depend on how long a service takes.

use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};

/// Two boots at once would only wait for each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Fails, or goes into the background, by what stands on the kernel command line.
const COMMAND: &str = "if grep -q test=fail /proc/cmdline; then id -u www-data; ls -ld /tmp; exit 3; fi; \
                       (cat /proc/uptime; sleep 1; echo still here >/dev/stdout) & exit 0";

fn lockstep() -> Command {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
}

fn boot(parameter: &str) -> Output {
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let output = lockstep()
        .args(["image", "appliance", "--json", "--run", COMMAND])
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}");
    let files: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |key: &str| files[key].as_str().unwrap().to_owned();
    lockstep()
        .args(["run", "--memory", "256M"])
        .args(["--kernel", &text("kernel"), "--initrd", &text("initrd")])
        .args(["--firmware", &text("firmware")])
        .args(["--append", &format!("{} {parameter}", text("append"))])
        .output()
        .unwrap()
}

#[test]
fn a_service_that_fails_is_told_on_the_console_and_by_the_end_of_run() {
    let output = boot("test=fail");
    let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
    assert!(console.contains("\n33\n"), "www-data is there: {console}");
    assert!(
        console.contains("\ndrwxrwxrwt "),
        "/tmp is everybody's: {console}"
    );
    assert!(
        console.contains("service 'command' ended with status 3"),
        "{console}"
    );
    assert!(
        console.contains("lockstep image debian --package NAME"),
        "{console}"
    );
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("a failure with code 3 and is off"), "{told}");
    assert!(told.contains("the last lines of its console say why"), "{told}");
    assert_eq!(output.status.code(), Some(1), "{told}");
}

#[test]
fn a_service_that_goes_into_the_background_keeps_the_appliance_on() {
    let output = boot("test=background");
    let console = String::from_utf8_lossy(&output.stdout);
    assert!(console.contains("went into the background"), "{console}");
    assert!(console.contains("still here"), "{console}");
    assert_eq!(output.status.code(), Some(0), "{console}");
}
