//! `--profile` and `--perf-map`: what they tell, that the guest does not notice, and what is said if they
//! cannot be had.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lockstep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs a command, checks that it succeeded, and reads the JSON that it printed.
fn figures(arguments: &[&str]) -> serde_json::Value {
    let output = lockstep(arguments);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A firmware that counts down from ten million, three instructions a turn, and switches the machine off.
fn firmware(directory: &Path) -> String {
    let words: [u32; 9] = [
        0x0098_92b7, // lui t0, 0x989
        0xfff2_8293, // addi t0, t0, -1
        0x0053_0333, // add t1, t1, t0
        0xfe02_9ce3, // bnez t0, -8
        0x0010_02b7, // lui t0, 0x100
        0x0000_5337, // lui t1, 5
        0x5553_0313, // addi t1, t1, 0x555
        0x0062_a023, // sw t1, 0(t0)
        0x0000_006f, // j .
    ];
    let path = directory.join("firmware.bin");
    std::fs::write(&path, words.map(u32::to_le_bytes).concat()).unwrap();
    path.display().to_string()
}

const LOOP: [&str; 3] = ["M 0x80000004", "M 0x80000008", "M 0x8000000c"];

/// Names of a list in a profile.
fn names(profile: &serde_json::Value, list: &str) -> Vec<String> {
    let list = profile[list].as_array().unwrap().iter();
    list.map(|share| share["name"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn a_profiled_run_is_replayed_without_and_with_a_profile_that_is_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = firmware(directory.path());
    let log = directory.path().join("log").display().to_string();
    let machine = ["--firmware", &firmware, "--serial", "none", "--json"];
    let profiled = ["--profile", "--profile-every", "1009"];
    let with = |first: &[&str], more: &[&str]| figures(&[first, &machine[..], more].concat());
    let recorded = with(&["record", "-o", &log], &profiled);
    let plain = with(&["replay", &log], &[]);
    let again = with(&["replay", &log], &profiled);
    assert!(plain["digests_compared"].as_u64().unwrap() >= 1, "{plain}");
    assert_eq!(plain["digest"], again["digest"]);
    assert!(plain["profile"].is_null());
    for list in ["samples", "modes", "functions", "instructions", "address_spaces"] {
        assert_eq!(recorded["profile"][list], again["profile"][list], "{list}");
    }
    let profile = &recorded["profile"];
    assert_eq!(profile["steps"], recorded["step"]);
    let steps = recorded["step"].as_u64().unwrap();
    assert_eq!(profile["samples"].as_u64().unwrap(), steps / 1009);
    assert_eq!(names(profile, "modes"), ["machine"]);
    let mut hottest = names(profile, "instructions");
    hottest.sort();
    assert_eq!(hottest, LOOP);
}

#[test]
fn a_report_for_people_uses_the_names_it_is_given() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = firmware(directory.path());
    let symbols = directory.path().join("System.map");
    std::fs::write(
        &symbols,
        "0000000080000000 T _start\n0000000080000004 t count_down\n",
    )
    .unwrap();
    let file = directory.path().join("profile.txt");
    let output = lockstep(&[
        "run",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--symbols",
        &symbols.display().to_string(),
        &format!("--profile={}", file.display()),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let report = std::fs::read_to_string(file).unwrap();
    for part in [
        "samples by mode",
        "100.00 %",
        "M count_down\n",
        "M count_down+0x4\n",
        "superblocks made",
    ] {
        assert!(report.contains(part), "`{part}` is not in: {report}");
    }
}

#[test]
fn perf_is_told_where_generated_code_is() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = firmware(directory.path());
    let output = lockstep(&["run", "--firmware", &firmware, "--serial", "none", "--perf-map"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    let line = said.lines().find(|line| line.contains(".map")).unwrap();
    let path = PathBuf::from(line.rsplit(' ').next().unwrap());
    let map = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(path).unwrap();
    if said.contains("is interpreted") {
        return; // There is no generated code on this host.
    }
    for name in ["lockstep: enter", "M 0x80000004\n", "M 0x80000004 (rare)\n"] {
        assert!(map.contains(name), "`{name}` is not in: {map}");
    }
}

#[test]
fn symbols_that_are_none_and_periods_of_nothing_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = firmware(directory.path());
    let run =
        |more: &[&str]| lockstep(&[&["run", "--firmware", &firmware, "--serial", "none"], more].concat());
    let none = run(&["--profile", "--symbols", &firmware]);
    assert_eq!(none.status.code(), Some(1));
    assert!(
        text(&none.stderr).contains("no symbols in"),
        "{}",
        text(&none.stderr)
    );
    let zero = run(&["--profile", "--profile-every", "0"]);
    assert_eq!(zero.status.code(), Some(2));
    assert!(
        text(&zero.stderr).contains("`0` steps cannot be had; give 1 or more"),
        "{}",
        text(&zero.stderr)
    );
    assert_eq!(run(&["--profile-every", "7"]).status.code(), Some(2));
}

#[test]
fn without_memory_for_code_it_says_so_and_interprets() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = firmware(directory.path());
    // The limit leaves room for all addresses but those of the memory that generated code takes.
    let command =
        "ulimit -v 240000 && exec \"$0\" run --memory 16M --serial none --profile --firmware \"$1\"";
    let output = Command::new("sh")
        .args(["-c", command, env!("CARGO_BIN_EXE_lockstep"), &firmware])
        .output()
        .unwrap();
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    if said.contains("this processor cannot") {
        return; // Nobody asked for memory.
    }
    let sentence = said.lines().next().unwrap();
    assert!(
        sentence.contains("the kernel gives no memory for translated code"),
        "{said}"
    );
    assert!(sentence.contains("every instruction is interpreted"), "{said}");
    assert!(said.contains("as there is no translator"), "{said}");
}
