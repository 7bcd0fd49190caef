//! Addresses, ports, sockets, taps and directories that cannot be used.

use super::*;

#[test]
fn where_nobody_can_listen_the_way_out_is_that_of_the_cause() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let serial = |path: &str| complaint(&["run", "--firmware", &firmware, "--serial", path]);
    assert_contains(&serial("unix:/nowhere/console"), &["check the directory"]);
    let taken = file(directory.path(), "taken", "");
    assert_contains(
        &serial(&format!("unix:{taken}")),
        &["remove it if no other VM uses it"],
    );
    let sentence = complaint(&["gateway", "--listen", "/nowhere/net.sock"]);
    assert_contains(&sentence, &["make the socket's directory"]);
    let sentence = complaint(&["gateway", "--insecure", "--listen", "192.0.2.1:0"]);
    assert_contains(&sentence, &["an address of this host"]);
}

#[test]
fn a_name_that_has_no_address_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let ours = pair_flags(directory.path());
    let first = [
        "primary",
        "--firmware",
        &firmware,
        "--backup",
        "no.such.host.invalid:7999",
    ];
    let sentence = complaint(&flags(&first, &ours));
    assert_contains(
        &sentence,
        &["the name `no.such.host.invalid` cannot be resolved", "spelling"],
    );
    // What looks like an address is never taken for a socket's path.
    let net = |net| ["run", "--firmware", &firmware, "--net", net];
    let sentence = complaint(&net("gateway=no.such.host.invalid:7700,insecure"));
    assert_contains(&sentence, &["cannot be resolved"]);
    assert_contains(&usage(&net("gateway=127.0.0.1")), &["has no port"]);
    let sentence = usage(&["gateway", "--insecure", "--listen", "127.0.0.1"]);
    assert_contains(&sentence, &["`127.0.0.1` has no port"]);
}

#[test]
fn a_tap_that_leads_nowhere_is_warned_of() {
    // Where namespaces or `ip` are not to be had there is nothing to test with.
    let in_namespace = |command: &str| {
        Command::new("unshare")
            .args(["-rn", "sh", "-c", command])
            .output()
    };
    if !in_namespace("ip tuntap add lk0 mode tap").is_ok_and(|output| output.status.success()) {
        eprintln!("no network namespace: nothing tested");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let program = env!("CARGO_BIN_EXE_lockstep");
    let run = format!("exec {program} run --firmware {firmware} --serial none --net tap=tap9");
    let warned = |before: &str| {
        let output = in_namespace(&format!("{before} {run}")).unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(0), "{said}");
        let warning = said.lines().find(|line| line.contains("warning: "));
        warning.map(str::to_owned)
    };
    assert_contains(
        &warned("").unwrap(),
        &[
            "there was no tap interface tap9",
            "`ip link set tap9 up master BRIDGE`",
        ],
    );
    let down = "ip tuntap add tap9 mode tap;";
    assert_contains(&warned(down).unwrap(), &["tap9 is down", "`ip link set tap9 up`"]);
    assert_eq!(warned(&format!("{down} ip link set tap9 up;")), None);
}

#[test]
fn a_port_in_use_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let sentence = usage(&["gateway", "--listen", &address]);
    assert_contains(&sentence, &["--key FILE", "--insecure"]);
    let sentence = complaint(&["gateway", "--insecure", "--listen", &address]);
    assert_contains(&sentence, &[&address, "in use"]);
    let sentence = complaint(&[
        "gateway",
        "--insecure",
        "--listen",
        "127.0.0.1:0",
        "--forward",
        &format!("{address}-:80"),
    ]);
    assert_contains(&sentence, &[&address, "in use"]);
    let pair = pair_flags(directory.path());
    let firmware = power_off(directory.path());
    let first = [
        "backup",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--backup",
        &address,
    ];
    assert_contains(&complaint(&flags(&first, &pair)), &[&address, "in use"]);
}

#[test]
fn an_arbiter_directory_that_cannot_be_used_is_refused_before_anything_starts() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let key = file(directory.path(), "key", "11".repeat(32));
    let not_a_directory = file(directory.path(), "plain-file", "");
    let sentence = complaint(&[
        "backup",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--backup",
        "127.0.0.1:0",
        "--key",
        &key,
        "--arbiter",
        &not_a_directory,
    ]);
    assert_contains(&sentence, &["plain-file"]);
}
