//! What a pair needs, and halves that do not go together.

use super::*;

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
fn halves_whose_cloud_init_is_told_different_things_are_no_pair() {
    let directory = tempfile::tempdir().unwrap();
    let firmware = power_off(directory.path());
    let ours = pair_flags(directory.path());
    let here = file(directory.path(), "here", "#cloud-config\nhostname: here\n");
    let there = file(directory.path(), "there", "#cloud-config\nhostname: there\n");
    let backup = Backup::start(&flags(&["--firmware", &firmware, "--cloud-init", &here], &ours));
    let first = [
        "primary",
        "--firmware",
        &firmware,
        "--serial",
        "none",
        "--cloud-init",
        &there,
        "--backup",
        &backup.address,
    ];
    assert_contains(
        &complaint(&flags(&first, &ours)),
        &["a disk's serial differs", "cloud-init-"],
    );
    backup.says(&["a disk's serial differs"]);
}
