//! Logs that are damaged, and what `log` and `replay` make of them.

use super::*;

#[test]
fn damaged_logs_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let log = directory.path().join("log").display().to_string();
    let record = lockstep(&["record", "--firmware", &firmware, "--serial", "none", "-o", &log]);
    assert_eq!(
        record.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&record.stderr)
    );
    let replay = |log: &str| {
        [
            "replay".to_owned(),
            log.to_owned(),
            "--firmware".into(),
            firmware.clone(),
        ]
    };
    let whole = lockstep(&replay(&log).each_ref().map(String::as_str));
    assert_eq!(
        whole.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&whole.stderr)
    );

    let bytes = std::fs::read(&log).unwrap();
    let mut damaged = bytes.clone();
    let last = damaged.len() - 3;
    damaged[last] ^= 0x40;
    let path = file(directory.path(), "damaged", &damaged);
    assert_contains(
        &complaint(&replay(&path).each_ref().map(String::as_str)),
        &["damaged at byte"],
    );

    // A log that was cut off is replayed as far as it goes.
    let path = file(directory.path(), "cut", &bytes[..bytes.len() - 3]);
    let cut = lockstep(&replay(&path).each_ref().map(String::as_str));
    assert_eq!(cut.status.code(), Some(0));
    assert_contains(&String::from_utf8_lossy(&cut.stderr), &["was cut off at byte"]);

    let path = file(
        directory.path(),
        "text",
        "this is no log at all, but long enough to have a header",
    );
    assert_contains(
        &complaint(&replay(&path).each_ref().map(String::as_str)),
        &["not a Lockstep log"],
    );
    // A file without a whole header is no log, to any command.
    for (name, content) in [("empty", &bytes[..0]), ("begun", &bytes[..20])] {
        let path = file(directory.path(), name, content);
        let replay = replay(&path);
        for arguments in [
            &replay.each_ref().map(String::as_str)[..],
            &["log", "dump", &path],
            &["log", "dump", "--json", &path],
            &["log", "stat", &path],
            &["log", "stat", "--json", &path],
            &["log", "diff", &path, &log],
            &["log", "diff", &log, &path],
        ] {
            assert_contains(&complaint(arguments), &[name, "nothing was recorded"]);
        }
    }

    // The machine is that of the log; what is given of it must be the same.
    let with = |more: &[&str]| {
        let arguments = replay(&log);
        let arguments: Vec<&str> = arguments
            .iter()
            .map(String::as_str)
            .chain(more.iter().copied())
            .collect();
        lockstep(&arguments)
    };
    for (flag, value, sentence) in [
        (
            "--memory",
            "256M",
            "512 MiB of memory, not 256 MiB; leave `--memory` out",
        ),
        ("--harts", "2", "1 harts, not 2; leave `--harts` out"),
        ("--append", "quiet", "leave `--append` out"),
        ("--disk", "/nowhere", "0 disks, not 1; leave `--disk` out"),
    ] {
        let output = with(&[flag, value]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_contains(&said, &[sentence]);
    }
    assert_eq!(with(&["--memory", "512M", "--harts", "1"]).status.code(), Some(0));
    // A firmware that is in no cache must be given; it is named by what the log knows of it.
    let sentence = complaint(&["replay", &log]);
    assert_contains(
        &sentence,
        &[
            "the firmware of 20 bytes with SHA-256 7b13b5e3",
            "give `--firmware FILE`",
        ],
    );

    let other = file(directory.path(), "other.bin", [0x13, 0, 0, 0, 0x6f, 0, 0, 0]);
    assert_contains(&complaint(&["replay", &log, "--firmware", &other]), &["firmware"]);
}

#[test]
fn a_replay_finds_the_images_of_its_log_by_what_they_hold() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let log = directory.path().join("log").display().to_string();
    let record = lockstep(&["record", "--firmware", &firmware, "--serial", "none", "-o", &log]);
    assert_eq!(record.status.code(), Some(0), "{record:?}");
    // Its name says nothing, and another file has the same length.
    let images = directory.path().join("lockstep/some-image");
    std::fs::create_dir_all(&images).unwrap();
    let length = std::fs::metadata(&firmware).unwrap().len() as usize;
    std::fs::write(images.join("a"), vec![0; length]).unwrap();
    std::fs::rename(&firmware, images.join("b")).unwrap();
    let replay = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["replay", &log])
        .env("XDG_CACHE_HOME", directory.path())
        .output()
        .unwrap();
    assert_eq!(replay.status.code(), Some(0), "{replay:?}");
}

#[test]
fn the_log_commands_read_what_record_wrote() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let log = |name: &str| -> PathBuf { directory.path().join(name) };
    let (a, b) = (log("a").display().to_string(), log("b").display().to_string());
    for path in [&a, &b] {
        let record = lockstep(&["record", "--firmware", &firmware, "--serial", "none", "-o", path]);
        assert_eq!(record.status.code(), Some(0));
    }
    assert_contains(
        &String::from_utf8(lockstep(&["log", "dump", &a]).stdout).unwrap(),
        &["off      Off"],
    );
    let stat: serde_json::Value =
        serde_json::from_slice(&lockstep(&["log", "stat", &a, "--json"]).stdout).unwrap();
    assert_eq!(stat["kinds"]["off"], 1);
    let dump = String::from_utf8(lockstep(&["log", "dump", &a, "--json"]).stdout).unwrap();
    let lines: Vec<serde_json::Value> = dump
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(
        (kinds[0], kinds[1], kinds[kinds.len() - 1]),
        ("header", "clock", "end")
    );
    assert_eq!(lines[0]["memory"], 512 << 20);
    assert_eq!(lines[lines.len() - 2]["state"], "off");
    let differ = lockstep(&["log", "diff", &a, &b, "--json"]);
    assert_eq!(differ.status.code(), Some(1), "their seeds and clocks differ");
    let differ: serde_json::Value = serde_json::from_slice(&differ.stdout).unwrap();
    assert_eq!(
        (&differ["equal"], &differ["left"]["entry"]),
        (&false.into(), &1.into())
    );
    let equal = lockstep(&["log", "diff", &a, &a]);
    assert_eq!(equal.status.code(), Some(0));
    assert_contains(&String::from_utf8(equal.stdout).unwrap(), &["equal"]);
}
