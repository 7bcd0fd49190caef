//! Every bad input gets one clear sentence and exit code 1, or 2 if a flag or a setting of `VM.toml` is
//! wrong, and loses nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn lockstep(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(arguments)
        .output()
        .unwrap()
}

/// Runs a command that must fail, and returns its sentence.
fn complaint(arguments: &[&str]) -> String {
    complaint_with(1, arguments)
}

/// Runs a command whose flags or whose `VM.toml` are wrong, and returns its sentence.
fn usage(arguments: &[&str]) -> String {
    complaint_with(2, arguments)
}

fn complaint_with(code: i32, arguments: &[&str]) -> String {
    let output = lockstep(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{text}");
    let last = text.lines().last().unwrap_or_default();
    let is_error = |line: &&str| line.starts_with("lockstep: ") && !line.starts_with("lockstep: warning: ");
    assert_eq!(text.lines().filter(is_error).count(), 1, "one sentence: {text}");
    last.strip_prefix("lockstep: ").unwrap().to_owned()
}

fn file(directory: &Path, name: &str, content: impl AsRef<[u8]>) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

fn assert_contains(sentence: &str, parts: &[&str]) {
    for part in parts {
        assert!(sentence.contains(part), "`{part}` is not in: {sentence}");
    }
}

/// A firmware that switches the machine off at once:
/// `li t0, 0x100000; lui t1, 5; addi t1, 0x555; sw t1, 0(t0)`.
fn power_off(directory: &Path) -> String {
    let words: [u32; 5] = [0x0010_02b7, 0x0000_5337, 0x5553_0313, 0x0062_a023, 0x0000_006f];
    file(directory, "power-off.bin", words.map(u32::to_le_bytes).concat())
}

/// A key file, which nobody else may read.
fn key(directory: &Path, name: &str, byte: &str) -> String {
    let path = file(directory, name, byte.repeat(32));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    path
}

/// A key, an arbiter directory and the flags that name them.
fn pair_flags(directory: &Path) -> Vec<String> {
    std::fs::create_dir_all(directory.join("arbiter")).unwrap();
    let key = key(directory, "key", "11");
    let arbiter = directory.join("arbiter").display().to_string();
    ["--key", &key, "--arbiter", &arbiter].map(str::to_owned).into()
}

fn flags<'a>(first: &[&'a str], rest: &'a [String]) -> Vec<&'a str> {
    first
        .iter()
        .copied()
        .chain(rest.iter().map(String::as_str))
        .collect()
}

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
fn a_missing_file_is_named() {
    let sentence = complaint(&["run", "--kernel", "/nowhere/Image", "--firmware", "/nowhere/fw"]);
    assert_contains(&sentence, &["/nowhere/fw", "No such file"]);
    let sentence = complaint(&["run", "/nowhere/VM.toml"]);
    assert_contains(&sentence, &["/nowhere/VM.toml", "No such file"]);
    let sentence = complaint(&["replay", "/nowhere/log", "--firmware", "x"]);
    assert_contains(&sentence, &["/nowhere/log", "No such file"]);
}

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
fn a_snapshot_that_is_none_is_refused_without_saying_it_twice() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let log = directory.path().join("log").display().to_string();
    let record = ["record", "--firmware", &firmware, "--serial", "none", "-o", &log];
    assert_eq!(lockstep(&record).status.code(), Some(0));
    let empty = file(directory.path(), "empty", "");
    let sentence = complaint(&["replay", &log, "--firmware", &firmware, "--from", &empty]);
    assert_contains(
        &sentence,
        &["cannot use the snapshot", "cannot be read to its end"],
    );
    let (_, cause) = sentence.split_once("to its end: ").unwrap();
    assert!(!cause.contains(": "), "{sentence}");
}

#[test]
fn nothing_to_boot_says_what_to_give() {
    assert_contains(&usage(&["run"]), &["nothing to boot", "--kernel"]);
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
        &refused(&run(&["--disk", "x,format=qcow2"])),
        &["qcow2", "qemu-img convert"],
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
fn all_settings_that_a_pair_lacks_are_told_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let sentence = usage(&["primary", "--firmware", &firmware]);
    let all = [
        "a pair needs three more settings",
        "backup (HOST:PORT",
        "arbiter (",
        "openssl rand -hex 32",
    ];
    assert_contains(&sentence, &all);
    let sentence = usage(&["backup", "--backup", "127.0.0.1:0", "--insecure"]);
    assert_contains(&sentence, &["two more settings", "kernel", "firmware", "arbiter"]);
}

#[test]
fn a_kernel_without_a_root_file_system_is_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let (firmware, kernel) = (
        power_off(directory.path()),
        file(directory.path(), "Image", [0; 64]),
    );
    let warned = |more: &[&str]| {
        let run = [
            "run",
            "--serial",
            "none",
            "--firmware",
            &firmware,
            "--kernel",
            &kernel,
        ];
        let output = lockstep(&[&run[..], more].concat());
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("warning: there is neither an initrd nor a disk")
    };
    assert!(warned(&[]));
    assert!(!warned(&["--initrd", &kernel]));
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
fn commands_of_other_systems_are_answered_with_what_there_is_instead() {
    let output = lockstep(&["status"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert_contains(&text, &["lockstep: this version has no `status`", "--events"]);
    let text = String::from_utf8(lockstep(&["rum"]).stderr).unwrap();
    assert_contains(&text, &["unrecognized subcommand", "'run'"]);
}

#[test]
fn the_help_tells_defaults_under_headings_with_examples() {
    let help = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args(arguments)
            .env("COLUMNS", "80")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = String::from_utf8(output.stdout).unwrap();
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= 80, "{arguments:?} is {widest} wide");
        text
    };
    // Words that are told apart by any white space, since lines end anywhere.
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let long = words(&help(&["primary", "--help"]));
    for (flag, default) in [
        ("--name", "vm"),
        ("--memory", "512M"),
        ("--harts", "1"),
        ("--net", "none"),
        ("--serial", "stdio"),
        ("--timeout-ms", "500"),
        ("--on-panic", "keep"),
        ("--firmware", "the OpenSBI of this host's distribution"),
        ("--mac", "made from the VM's name"),
        ("--append", "empty"),
        ("--engine", "translator"),
    ] {
        let (_, rest) = long.split_once(&format!("{flag} <")).expect(flag);
        let (_, rest) = rest.split_once("[default: ").expect(flag);
        assert!(rest.starts_with(&format!("{default}]")), "{flag}: {rest:.30}");
    }
    for part in [
        "Machine:",
        "Devices:",
        "Pair:",
        "Output:",
        "Rights:",
        "Diagnosis:",
        "Examples:",
        "--zeal",
    ] {
        assert!(long.contains(part), "{part}");
    }
    let short = help(&["primary", "-h"]);
    assert!(
        !short.contains("--zeal") && !short.contains("Diagnosis:"),
        "{short}"
    );
    assert!(short.contains("[aliases: --cpus, --smp]") || words(&short).contains("[aliases: --cpus, --smp]"));
    for command in [
        "demo", "run", "record", "replay", "primary", "backup", "gateway", "log",
    ] {
        assert!(help(&[command, "--help"]).contains("Examples:"), "{command}");
    }
}

#[test]
fn a_kernel_that_is_none_is_refused_with_what_to_give() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let boot = |name: &str, content: &[u8]| {
        let kernel = file(directory.path(), name, content);
        let run = ["run", "--bios", &firmware, "--kernel", &kernel];
        let sentence = complaint(&[&run[..], &["--serial", "none"]].concat());
        assert_contains(&sentence, &[&kernel]);
        sentence
    };
    let begun = |start: &[u8]| [start, &[0; 4096]].concat();
    assert_contains(
        &boot("elf", &begun(b"\x7fELF")),
        &["another machine", "64-bit RISC-V"],
    );
    assert_contains(&boot("vmlinuz", &begun(b"\x1f\x8b\x08")), &["gzip", "damaged"]);
    assert_contains(&boot("kernel.xz", &begun(b"\xfd7zXZ\0")), &["xz", "unxz"]);
    assert_contains(&boot("initrd", &begun(b"070701")), &["initramfs", "initrd"]);
    assert_contains(&boot("notes", b"the kernel is elsewhere"), &["a text"]);
    assert_contains(&boot("nothing", b""), &["is empty", "nothing"]);
}

#[test]
fn every_image_that_is_of_no_use_is_named_by_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let text = file(directory.path(), "notes.txt", "the firmware is elsewhere");
    let sentence = complaint(&["run", "--serial", "none", "--firmware", &text]);
    assert_contains(&sentence, &["the firmware", &text, "is a text"]);
    let initrd = file(directory.path(), "initrd.img", vec![1; 8 << 20]);
    let run = [
        "run",
        "--serial",
        "none",
        "--firmware",
        &firmware,
        "--memory",
        "4M",
    ];
    let sentence = complaint(&[&run[..], &["--kernel", &firmware, "--initrd", &initrd]].concat());
    assert_contains(&sentence, &["the initrd", &initrd, "give the guest more memory"]);
}

#[test]
fn without_firmware_flat_code_is_entered_also_when_compressed() {
    let directory = tempfile::tempdir().unwrap();
    let kernel = power_off(directory.path());
    assert!(
        Command::new("gzip")
            .args(["--keep", &kernel])
            .status()
            .unwrap()
            .success()
    );
    let vm = file(
        directory.path(),
        "VM.toml",
        "firmware = \"none\"\nserial = \"none\"\n",
    );
    for kernel in [kernel.clone(), format!("{kernel}.gz")] {
        for words in [
            &["run", "--firmware", "none", "--serial", "none"][..],
            &["run", &vm],
        ] {
            let output = lockstep(&[words, &["--kernel", &kernel]].concat());
            assert_eq!(output.status.code(), Some(0), "{kernel}: {output:?}");
        }
    }
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

#[test]
fn a_missing_or_malformed_key_says_how_to_make_one() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let arbiter = directory.path().display().to_string();
    let first = [
        "primary",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--backup",
        "127.0.0.1:1",
        "--arbiter",
    ];
    let with = |more: &[&'static str]| [&first[..], &[arbiter.as_str()], more].concat();
    let sentence = usage(&with(&[]));
    assert_contains(&sentence, &["one more setting", "key (", "openssl rand -hex 32"]);
    let short = file(directory.path(), "short", "1234");
    let short_key = [with(&["--key"]), vec![&short]].concat();
    assert_contains(&complaint(&short_key), &["short"]);
    assert_contains(&complaint(&with(&["--key", "/nowhere/key"])), &["/nowhere/key"]);
    assert_contains(&usage(&[&short_key[..], &["--insecure"]].concat()), &["exclude"]);
}

#[test]
fn a_key_that_others_can_read_is_refused_unless_the_operator_insists() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let ours = pair_flags(directory.path());
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(&ours[1], mode(0o640)).unwrap();
    let first = [
        "backup",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--backup",
        "127.0.0.1:0",
    ];
    let sentence = complaint(&flags(&first, &ours));
    assert_contains(
        &sentence,
        &["mode 640", "chmod 600", &ours[1], "--allow-open-key"],
    );

    let insisting = flags(&["--firmware", &firmware, "--allow-open-key"], &ours);
    Backup::start(&insisting).ends();
    let file = file(directory.path(), "vm.toml", "allow_open_key = true\n");
    Backup::start(&flags(&[&file, "--firmware", &firmware], &ours)).ends();
}

/// A backup that waits for its primary.
struct Backup {
    process: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStderr>>,
    address: String,
}

impl Backup {
    fn start(flags: &[&str]) -> Backup {
        let mut process = Command::new(env!("CARGO_BIN_EXE_lockstep"))
            .args(["backup", "--serial", "none", "--backup", "127.0.0.1:0"])
            .args(flags)
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(process.stderr.take().unwrap()));
        let listening = lines.next().unwrap().unwrap();
        let address = listening.rsplit(' ').next().unwrap().to_owned();
        Backup {
            process,
            lines,
            address,
        }
    }

    /// Checks that the backup still waits, and ends it.
    fn ends(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Checks the backup's next sentence, and that it still waits for the right primary.
    fn says(mut self, parts: &[&str]) {
        assert_contains(&self.lines.next().unwrap().unwrap(), parts);
        assert_eq!(self.process.try_wait().unwrap(), None, "it has ended");
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn a_wrong_key_is_told_to_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let ours = pair_flags(directory.path());
    let other = key(directory.path(), "other-key", "22");
    let backup = Backup::start(&flags(&["--firmware", &firmware], &ours));
    let sentence = complaint(&[
        "primary",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--backup",
        &backup.address,
        "--key",
        &other,
        "--arbiter",
        &ours[3],
    ]);
    assert_contains(&sentence, &["key"]);
    backup.says(&["key"]);
}

#[test]
fn a_backup_with_a_smaller_disk_is_refused_on_both_sides() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let ours = pair_flags(directory.path());
    let large = file(directory.path(), "large.raw", [1; 8192]);
    let small = file(directory.path(), "small.raw", [2; 4096]);
    let backup = Backup::start(&flags(&["--firmware", &firmware, "--disk", &small], &ours));
    let first = [
        "primary",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--disk",
        &large,
        "--backup",
        &backup.address,
    ];
    assert_contains(&complaint(&flags(&first, &ours)), &["disk", "8 KiB", "4 KiB"]);
    backup.says(&["a disk's size differs: 8 KiB there, 4 KiB here"]);
    assert_eq!(std::fs::read(&large).unwrap(), [1; 8192]);
    assert_eq!(std::fs::read(&small).unwrap(), [2; 4096]);
}

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
fn a_disk_that_is_missing_odd_or_in_use_is_refused_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let run = |disk: &str| complaint(&["run", "--firmware", &firmware, "--serial", "none", "--disk", disk]);
    assert_contains(&run("/nowhere/disk.raw"), &["/nowhere/disk.raw"]);
    let odd = file(directory.path(), "odd.raw", [7; 1000]);
    assert_contains(&run(&odd), &["odd.raw", "512", "truncate -s 1024"]);
    let empty = file(directory.path(), "empty.raw", "");
    assert_contains(&run(&empty), &["empty.raw is empty", "truncate -s 4G"]);
    // A device cannot be resized with `truncate`.
    let sentence = run("/dev/null");
    assert_contains(&sentence, &["/dev/null is a device without sectors", "attach"]);
    assert!(!sentence.contains("truncate"), "{sentence}");
    assert_eq!(std::fs::read(&odd).unwrap(), [7; 1000]);

    let spin = file(directory.path(), "spin.bin", 0x0000_006f_u32.to_le_bytes());
    let disk = file(directory.path(), "disk.raw", [7; 4096]);
    let mut owner = Command::new(env!("CARGO_BIN_EXE_lockstep"))
        .args(["run", "--firmware", &spin, "--serial", "none", "--disk", &disk])
        .spawn()
        .unwrap();
    // The process writes who it is once it has the lock.
    let lock = directory.path().join("disk.raw.lock");
    while std::fs::read(&lock).is_ok_and(|text| text.is_empty()) || !lock.exists() {
        assert_eq!(owner.try_wait().unwrap(), None, "it has ended");
        std::thread::yield_now();
    }
    assert_contains(&run(&disk), &["disk.raw", "in use", &owner.id().to_string()]);
    owner.kill().unwrap();
    owner.wait().unwrap();
    // The lock of a dead owner keeps nobody out.
    assert_eq!(
        lockstep(&[
            "run",
            "--firmware",
            &firmware,
            "--serial",
            "none",
            "--disk",
            &disk
        ])
        .status
        .code(),
        Some(0)
    );
    assert_eq!(std::fs::read(&disk).unwrap(), [7; 4096]);
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

#[test]
fn completions_and_the_manual_page_are_printed() {
    assert_contains(
        &String::from_utf8(lockstep(&["completions", "bash"]).stdout).unwrap(),
        &["lockstep"],
    );
    let page = String::from_utf8(lockstep(&["man"]).stdout).unwrap();
    assert_contains(&page, &[".TH", ".SH LOCKSTEP BACKUP", "arbiter"]);
    assert_eq!(pages_named_in(&page), Vec::<String>::new());
}

/// The pages of this program that a page refers to, such as `lockstep-run` for `lockstep\-run(1)`.
fn pages_named_in(page: &str) -> Vec<String> {
    let page = page.replace("\\-", "-").replace("\\fB", "").replace("\\fR", "");
    let words = page.split_whitespace().filter_map(|word| word.split_once("(1)"));
    let names = words.map(|(name, _)| name.to_owned());
    names.filter(|name| name.starts_with("lockstep")).collect()
}

#[test]
fn every_command_has_a_manual_page_and_no_page_refers_to_one_that_does_not_exist() {
    let directory = tempfile::tempdir().unwrap();
    let man = directory.path().join("man1");
    let output = lockstep(&["man", &man.display().to_string()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut referred = 0;
    for entry in std::fs::read_dir(&man).unwrap() {
        let path = entry.unwrap().path();
        let page = std::fs::read_to_string(&path).unwrap();
        assert!(page.contains(".SH NAME"));
        // A flag that only `--help` shows has its text here, too.
        if path.ends_with("lockstep-primary.1") {
            assert_contains(
                &page,
                &["No encryption, no authentication", "Drop caches at random"],
            );
        }
        for name in pages_named_in(&page) {
            assert!(man.join(format!("{name}.1")).exists(), "{name}(1)");
            referred += 1;
        }
    }
    for command in [
        "",
        "-demo",
        "-run",
        "-primary",
        "-image-appliance",
        "-log-dump",
        "-version",
    ] {
        assert!(man.join(format!("lockstep{command}.1")).exists(), "{command}");
    }
    assert!(referred > 10);
}

#[test]
fn the_version_names_commit_protocol_log_format_and_machine_model() {
    let version: serde_json::Value =
        serde_json::from_slice(&lockstep(&["version", "--json"]).stdout).unwrap();
    assert_eq!(version["protocol"], replica::peer::message::PROTOCOL);
    assert_eq!(version["log_format"], replica::log::codec::VERSION);
    assert_contains(version["machine_model"].as_str().unwrap(), &["virt rv64imafdc"]);
    let commit = version["commit"].as_str().unwrap();
    let lines = String::from_utf8(lockstep(&["version"]).stdout).unwrap();
    assert_contains(&lines, &[commit, "protocol", "format of logs", "machine model"]);
    assert_contains(
        &String::from_utf8(lockstep(&["--version"]).stdout).unwrap(),
        &[commit],
    );
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
