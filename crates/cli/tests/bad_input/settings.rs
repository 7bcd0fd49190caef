//! Flags and settings of `VM.toml` that are wrong, and commands that there are not.

use super::*;

#[test]
fn a_machine_that_switches_itself_off_ends_run_with_0() {
    let directory = tempfile::tempdir().unwrap();
    let output = lockstep(&[
        "run",
        "--firmware",
        &power_off(directory.path()),
        "--serial",
        "none",
    ]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn a_bad_vm_file_is_answered_with_line_and_key() {
    let directory = tempfile::tempdir().unwrap();
    let unknown = file(
        directory.path(),
        "unknown.toml",
        "name = \"a\"\n\nmemry = \"1G\"\n",
    );
    assert_contains(
        &usage(&["run", &unknown]),
        &["unknown.toml line 3", "`memry`", "`memory`"],
    );
    let broken = file(directory.path(), "broken.toml", "name = \"a\"\nharts = = 2\n");
    assert_contains(&usage(&["run", &broken]), &["broken.toml line 2"]);
    let wrong = file(directory.path(), "wrong.toml", "harts = \"two\"\n");
    let sentence = usage(&["run", &wrong]);
    assert_contains(&sentence, &["wrong.toml line 1: `harts` is a number, such as 2"]);
    let range = file(
        directory.path(),
        "range.toml",
        "name = \"a\"\nmemory = \"100G\"\n",
    );
    for command in ["run", "primary", "backup"] {
        let sentence = usage(&[command, &range]);
        assert_contains(
            &sentence,
            &["range.toml line 2: `memory`: 100 GiB", "up to 16 GiB"],
        );
    }
    // What only the whole file shows to be wrong is wrong usage, too.
    let keyless = file(
        directory.path(),
        "keyless.toml",
        "net = \"gateway=127.0.0.1:7700\"\n",
    );
    assert_contains(&usage(&["run", &keyless]), &["no key for the gateway"]);
}

#[test]
fn values_out_of_range_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let start: [&str; 5] = ["run", "--firmware", &firmware, "--serial", "none"];
    let run = |more: &[&'static str]| [&start[..], more].concat();
    let refused = |arguments: &[&str]| {
        let output = lockstep(arguments);
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{text}");
        text
    };
    assert_contains(
        &refused(&run(&["--harts", "9"])),
        &["--harts", "9 harts", "1 to 8"],
    );
    assert_contains(&refused(&run(&["--cpus", "0"])), &["0 harts", "1 to 8"]);
    assert_contains(&refused(&run(&["--memory", "1Q"])), &["unknown unit `Q`"]);
    assert_contains(&refused(&run(&["--memory", "100G"])), &["100 GiB", "16 GiB"]);
    assert_contains(
        &refused(&run(&["--mac", "01:00:00:00:00:00"])),
        &["group address"],
    );
    assert_contains(&refused(&run(&["--name", "a/b"])), &["a/b"]);
    assert_contains(&refused(&run(&["--net", "bridge"])), &["unknown net `bridge`"]);
    assert_contains(&refused(&run(&["--net", "tap="])), &["names no tap", "tap=tap0"]);
    assert_contains(
        &refused(&run(&["--disk", "x,ro"])),
        &["unknown disk option `ro`", "readonly"],
    );
    assert_contains(
        &refused(&run(&["--disk", "x,format=vmdk"])),
        &["vmdk", "qemu-img convert"],
    );
    assert_contains(
        &refused(&run(&["--disk", "x.qcow2,overlay=y"])),
        &["overlay `y`", "must end in `.qcow2`"],
    );
    assert_contains(
        &refused(&run(&["--disk", "x.qcow2,overlay=y.qcow2,readonly"])),
        &["leave out `readonly`"],
    );
    assert_contains(
        &refused(&run(&["--cloud-init", "user-data,"])),
        &["names no files for cloud-init", "USER-DATA,META-DATA"],
    );
    assert_contains(&refused(&run(&["--zeal", "x"])), &["`x` is not a whole number"]);
    for (flag, value, part) in [
        ("--forward", "80", "is not a port forward"),
        ("--allow", "everything", "is not a destination"),
        ("--deny", "10.0.0.0/33", "is not a destination"),
        ("--subnet", "10.0.2.0", "is no subnet"),
        ("--guest-away-s", "0", "`0` is not from 1 to 86,400 s"),
        ("--dns", "nohost", "`nohost` is no address; give a number"),
    ] {
        assert_contains(&refused(&["gateway", flag, value]), &[flag, part]);
    }
    assert_contains(
        &refused(&["image", "debian", "--size", "3X"]),
        &["--size", "unknown unit `X`"],
    );
    // Without a command there would be a guest that runs nothing.
    assert_contains(&refused(&["image", "appliance", "--run", ""]), &["--run"]);
    // The demo's flags are checked before it starts anything.
    for (flag, value, range) in [
        ("--timeout-ms", "50", "100 to 60,000"),
        ("--harts", "12", "1 to 8"),
        ("--seconds", "1", "2 to 86,400"),
        ("--clients", "0", "1 to 1,000"),
    ] {
        assert_contains(&refused(&["demo", flag, value]), &[flag, value, range]);
    }
    let pair = ["primary", "--timeout-ms", "99", "--backup", "10.0.0.2:7800"];
    assert_contains(&refused(&pair), &["--timeout-ms", "100 to 60,000"]);
    let figures = ["backup", "--events", "x", "--figures-every", "1"];
    assert_contains(&refused(&figures), &["--figures-every", "10 to"]);
    for (address, parts) in [
        (
            "127.0.0.1",
            "`127.0.0.1` has no port; give for example `127.0.0.1:7800`",
        ),
        ("host:port", "`port` in `host:port` is no port"),
        ("::1", "`[::1]:7800`"),
    ] {
        assert_contains(&refused(&["backup", "--backup", address]), &["--backup", parts]);
    }
}

#[test]
fn commands_of_other_systems_are_answered_with_what_there_is_instead() {
    let output = lockstep(&["ps"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_contains(&text, &["lockstep: there is no `ps`", "`lockstep status`"]);
    let text = String::from_utf8(lockstep(&["rum"]).stderr).unwrap();
    assert_contains(&text, &["unrecognized subcommand", "'run'"]);
}

#[test]
fn wrong_usage_exits_with_2() {
    for arguments in [
        &["frobnicate"][..],
        &["run", "--kernel"],
        &["record"],
        &["demo", "--kill", "everybody"],
    ] {
        assert_eq!(lockstep(arguments).status.code(), Some(2), "{arguments:?}");
    }
}
