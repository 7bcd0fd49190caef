//! Every bad input gets one clear sentence and exit code 1, or 2 if a flag or a setting of `VM.toml` is
//! wrong, or 4 if a disk is in use, and loses nothing.
//!
//! Here is what all of them use; the tests are in the other files, by subject.

mod images;
mod logs;
mod pages;
mod pairs;
mod places;
mod settings;

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
