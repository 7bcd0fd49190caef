//! A running VM is kept in a file by `lockstep snapshot`, dies, and goes on from there by `run --from`.
//!
//! The processes are real and in their sandbox. The guest counts in its memory and prints each number, so
//! that a number which is lost, repeated or made up is seen.

mod site;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use serde_json::Value;
use site::{Ended, Running, Site};

/// A firmware that writes to each page of 12 MiB of its memory, and then counts in its memory and prints each
/// number, as eight letters from A to P for the digits of its hexadecimal form:
///
/// ```text
///         lui t0, 0x10000
///         auipc t1, 1
///         auipc t2, 0x100
///         auipc t3, 0xd00
///         lui t4, 1
/// fill:   sw t2, (t2)
///         add t2, t2, t4
///         bltu t2, t3, fill
/// count:  lw t2, (t1)
///         addi t2, t2, 1
///         sw t2, (t1)
///         li t3, 28
/// digit:  srl t4, t2, t3
///         andi t4, t4, 15
///         addi t4, t4, 'A'
///         sb t4, (t0)
///         addi t3, t3, -4
///         bgez t3, digit
///         li t4, '\n'
///         sb t4, (t0)
///         lui t5, 0x100
/// wait:   addi t5, t5, -1
///         bnez t5, wait
///         j count
/// ```
const COUNTS: [u32; 24] = [
    0x1000_02b7,
    0x0000_1317,
    0x0010_0397,
    0x00d0_0e17,
    0x0000_1eb7,
    0x0073_a023,
    0x01d3_83b3,
    0xffc3_ece3,
    0x0003_2383,
    0x0013_8393,
    0x0073_2023,
    0x01c0_0e13,
    0x01c3_deb3,
    0x00fe_fe93,
    0x041e_8e93,
    0x01d2_8023,
    0xffce_0e13,
    0xfe0e_56e3,
    0x00a0_0e93,
    0x01d2_8023,
    0x0010_0f37,
    0xffff_0f13,
    0xfe0f_1ee3,
    0xfc5f_f06f,
];

impl Site {
    /// A process of these words that runs web, with its console in the file `console`.
    fn starts(&self, words: &str, console: &str) -> Running {
        self.begins(&format!("{words} --serial {{{console}}}"))
    }

    /// A VM that runs alone and has printed something.
    fn runs(&self, words: &str, console: &str) -> Running {
        let words = format!("run --name web --memory 16M --firmware {{counts}} {words}");
        let running = self.starts(&words, console);
        self.prints(console, 3);
        running
    }

    /// The first process of web, which goes on from a snapshot and has printed something.
    fn goes_on(&self, words: &str, console: &str) -> Running {
        let running = self.starts(&format!("run {words}"), console);
        self.prints(console, 3);
        running
    }

    /// Waits for so many numbers on a console, and gives all that are there: whole lines only.
    fn prints(&self, console: &str, count: usize) -> Vec<u32> {
        loop {
            let text = std::fs::read_to_string(self.path(console)).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let numbers: Vec<u32> = whole.lines().map(number).collect();
            if numbers.len() >= count {
                return numbers;
            }
            std::thread::yield_now();
        }
    }

    /// The names in the site's directory that begin so.
    fn names(&self, begin: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path("")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with(begin)).collect()
    }

    /// A connection to the only control socket.
    fn calls(&self) -> Caller {
        let mut files = std::fs::read_dir(self.path("run/lockstep")).unwrap();
        let path = files.find_map(|file| {
            let path = file.unwrap().path();
            path.extension()
                .is_some_and(|ending| ending == "control")
                .then_some(path)
        });
        Caller(BufReader::new(UnixStream::connect(path.unwrap()).unwrap()))
    }
}

/// The number that the guest has printed as these letters.
fn number(line: &str) -> u32 {
    line.bytes().fold(0, |number, letter| {
        assert!((b'A'..=b'P').contains(&letter), "{line}");
        number << 4 | u32::from(letter - b'A')
    })
}

/// A connection to a control socket.
struct Caller(BufReader<UnixStream>);

impl Caller {
    fn asks(&mut self, request: &str) -> Value {
        self.0
            .get_mut()
            .write_all(format!("{request}\n").as_bytes())
            .unwrap();
        self.hears()
    }

    fn hears(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_default()
    }

    /// The parts of a snapshot to its end, without their bytes, which are checked against the file's magic.
    fn hears_all(&mut self) -> Vec<Value> {
        let mut parts = Vec::new();
        loop {
            let part = self.hears();
            if let Some(length) = part["length"].as_u64() {
                let mut bytes = vec![0; usize::try_from(length).unwrap()];
                self.0.read_exact(&mut bytes).unwrap();
                let is_first = !parts.iter().any(|part: &Value| part["snapshot"] == "bytes");
                assert_eq!(bytes.starts_with(b"LOCKSNAP"), is_first);
            }
            let is_last = part["snapshot"] == "done" || part["snapshot"] == "failed" || part.is_null();
            parts.push(part);
            if is_last {
                return parts;
            }
        }
    }
}

/// Checks that a guest which printed `before` went on from a snapshot with `after`.
fn follows(before: &[u32], after: &[u32]) {
    for numbers in [before, after] {
        let counts = numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
        assert!(counts, "{numbers:?}");
    }
    assert!(
        before.contains(&(after[0] - 1)),
        "{} follows nothing that was printed",
        after[0]
    );
}

#[test]
fn a_vm_that_dies_goes_on_from_its_snapshot_and_can_be_kept_again() {
    let site = Site::new(&[("counts", &COUNTS)]);
    let mut web = site.runs("", "first");
    let text = site.ends("snapshot web {kept}").with(0);
    assert!(
        text.starts_with("web: a snapshot of step ") && !text.contains("disk"),
        "{text}"
    );
    web.says("a snapshot of the guest was taken at step");
    assert_eq!(
        site.path("kept").metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    let seen = site.prints("first", 0).len();
    site.prints("first", seen + 5);
    web.dies();
    let before = site.prints("first", 0);
    // Another kernel and another firmware in VM.toml do not count; memory and harts must be right if given.
    let second = site.goes_on("--from {kept} --memory 16M --firmware {absent}", "second");
    let after = site.prints("second", 10);
    follows(&before, &after);
    assert!(
        before.last().unwrap() > &after[0],
        "the guest ran on after its snapshot"
    );
    let status = site.ends("status web --json").with(0);
    assert!(status.contains("\"name\":\"web\""), "{status}");
    // Nothing is lost of the second life either.
    let text = site.ends("snapshot web {again} --json").with(0);
    let result: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!((&result["vm"], &result["disks"]), (&"web".into(), &0.into()));
    let bytes = site.path("again").metadata().unwrap().len();
    assert_eq!(result["bytes"].as_u64(), Some(bytes));
    second.dies();
    let third = site.goes_on("--from {again} --name other", "third");
    follows(&site.prints("second", 0), &site.prints("third", 10));
    assert!(site.ends("status other").with(0).contains("other"));
    third.dies();
}

#[test]
fn what_is_there_is_kept_and_what_makes_no_sense_is_refused() {
    let site = Site::new(&[("counts", &COUNTS)]);
    assert!(
        site.ends("snapshot web {kept}")
            .with(5)
            .contains("no process of a VM called web")
    );
    let web = site.runs("", "console");
    std::fs::write(site.path("kept"), "mine").unwrap();
    let text = site.ends("snapshot web {kept}").with(4);
    assert!(text.contains("is there already; give `--replace`"), "{text}");
    let text = site.ends("snapshot web {other} --disks-hook true").with(4);
    assert!(
        text.contains("it has no disks that could be kept along with it"),
        "{text}"
    );
    let text = site.ends("snapshot web {absent}/kept").with(1);
    assert!(
        text.contains("cannot write") && text.contains("No such file"),
        "{text}"
    );
    assert_eq!(std::fs::read(site.path("kept")).unwrap(), b"mine");
    site.ends("snapshot web {kept} --replace").with(0);
    assert!(std::fs::read(site.path("kept")).unwrap().starts_with(b"LOCKSNAP"));
    assert_eq!(
        site.names("kept").len() + site.names(".").len(),
        1,
        "nothing is left beside it"
    );
    // One at a time: the first one is not taken from its connection.
    let mut first = site.calls();
    assert_eq!(first.asks(r#"{"id":"1","do":"snapshot"}"#)["answer"], "begun");
    assert_eq!(first.hears()["snapshot"], "step");
    let refused = site.calls().asks(r#"{"id":"2","do":"snapshot"}"#);
    // The first may have been over already, since its memory is little.
    assert!(
        refused["answer"] == "begun" || refused["code"] == "no-snapshot",
        "{refused}"
    );
    let parts = first.hears_all();
    assert_eq!(parts.last().unwrap()["snapshot"], "done", "{parts:?}");
    web.dies();
}

#[test]
fn whoever_goes_or_dies_leaves_neither_a_file_nor_a_trace_in_the_guest() {
    let site = Site::new(&[("counts", &COUNTS)]);
    let mut web = site.runs("", "console");
    // A caller that hangs up in the middle.
    let mut caller = site.calls();
    caller.asks(r#"{"id":"1","do":"snapshot"}"#);
    caller.hears();
    drop(caller);
    // A program that is killed, whenever that is.
    for _ in 0..5 {
        let mut program = site.lockstep("snapshot web {kept}").spawn().unwrap();
        std::thread::yield_now();
        program.kill().unwrap();
        program.wait().unwrap();
        // It is whole, or not there.
        if let Ok(kept) = std::fs::read(site.path("kept")) {
            assert!(kept.starts_with(b"LOCKSNAP"));
            std::fs::remove_file(site.path("kept")).unwrap();
        }
    }
    // A file that takes nothing more: the limit stands for a full disk.
    let plain = site.lockstep("snapshot web {small}");
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "sh"])
        .arg(plain.get_program())
        .args(plain.get_args())
        .envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .stdin(Stdio::null());
    let text = Ended(command.output().unwrap()).with(1);
    assert!(text.contains("the file takes nothing more"), "{text}");
    assert_eq!(site.names("small").len() + site.names(".").len(), 0);
    web.says("no snapshot of the guest was taken: whoever wanted it has gone; the guest has not noticed");
    // The guest counts on, and can be kept.
    let seen = site.prints("console", 0).len();
    site.prints("console", seen + 3);
    site.ends("snapshot web {kept}").with(0);
    web.dies();
    let numbers = site.prints("console", 0);
    assert!(
        numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "{numbers:?}"
    );
    // The VM's process is killed in the middle.
    let web = site.runs("", "again");
    let mut caller = site.calls();
    caller.asks(r#"{"id":"1","do":"snapshot"}"#);
    web.dies();
    let last = caller.hears_all().pop().unwrap();
    assert!(last["snapshot"] == "done" || last.is_null(), "{last}");
}

#[test]
fn disks_are_kept_by_a_hook_while_they_are_quiet() {
    let site = Site::new(&[("counts", &COUNTS)]);
    std::fs::write(site.path("disk"), vec![7; 8192]).unwrap();
    let web = site.runs("--disk {disk}", "console");
    let text = site.ends("snapshot web {plain}").with(0);
    assert!(
        text.contains("the VM's disk is not in it, and must be kept"),
        "{text}"
    );
    let hook = |command: String| {
        let mut program = site.lockstep("snapshot web {kept} --json --disks-hook");
        Ended(program.arg(command).output().unwrap())
    };
    let disk = site.path("disk").display().to_string();
    let copy = format!("cp {disk} {disk}.copy && echo $LOCKSTEP_VM $LOCKSTEP_STEP >{disk}.told");
    let text = hook(copy).with(0);
    let result: Value = serde_json::from_str(text.trim()).unwrap();
    assert_eq!(
        (&result["disks"], &result["disks_kept"]),
        (&1.into(), &true.into())
    );
    assert_eq!(std::fs::read(site.path("disk.copy")).unwrap(), vec![7; 8192]);
    let told = std::fs::read_to_string(site.path("disk.told")).unwrap();
    assert_eq!(told.trim(), format!("web {}", result["step"]));
    std::fs::remove_file(site.path("kept")).unwrap();
    let text = hook("exit 3".into()).with(1);
    assert!(
        text.contains("`--disks-hook` has failed (exit status: 3)"),
        "{text}"
    );
    assert!(!site.path("kept").exists());
    web.dies();

    let refused = |words: &str, code, sentence: &str| {
        let text = site
            .ends(&format!("run --serial none --from {{plain}} {words}"))
            .with(code);
        assert!(text.contains(sentence), "{text}");
    };
    refused("", 2, "the number of disks differs: 1 in the snapshot, 0 here");
    refused(
        "--disk {disk} --memory 32M",
        2,
        "the snapshot's machine has 16 MiB of memory, not 32 MiB",
    );
    refused(
        "--disk {disk} --harts 2",
        2,
        "the snapshot's machine has 1 harts, not 2",
    );
    refused(
        &format!("--disk {disk},readonly"),
        1,
        "the guest's can be written, and this one can only be read",
    );
    std::fs::write(site.path("short"), vec![7; 4096]).unwrap();
    refused("--disk {short}", 1, "the guest's has 8 KiB, and this one 4 KiB");
    let second = site.goes_on("--from {plain} --disk {disk.copy}", "second");
    follows(&site.prints("console", 0), &site.prints("second", 5));
    second.dies();
}

#[test]
fn both_halves_of_a_pair_give_one_and_a_vm_with_an_arbiter_claims_an_epoch() {
    let site = Site::new(&[("counts", &COUNTS)]);
    let half = |role: &str, address: &str, console: &str| {
        site.starts(
            &format!(
                "{role} --name web --memory 16M --firmware {{counts}} --arbiter {{arbiter}} --key {{key}} \
                 --timeout-ms 2000 --backup {address}"
            ),
            console,
        )
    };
    let mut backup = half("backup", "127.0.0.1:0", "none");
    let listens = backup.says("waiting for the primary on ");
    let mut primary = half("primary", listens.rsplit(' ').next().unwrap(), "first");
    primary.says("paired with");
    backup.says("paired with");
    site.prints("first", 3);
    // The program asks the live one; a caller may ask the other one.
    site.ends("snapshot web {kept}").with(0);
    primary.says("a snapshot of the guest was taken");
    let files = std::fs::read_dir(site.path("run/lockstep")).unwrap();
    let sockets = files.map(|file| file.unwrap().path());
    let sockets = sockets.filter(|path| path.extension().is_some_and(|ending| ending == "control"));
    let mut taken = 0;
    for socket in sockets {
        let mut caller = Caller(BufReader::new(UnixStream::connect(socket).unwrap()));
        assert_eq!(caller.asks(r#"{"id":"1","do":"snapshot"}"#)["answer"], "begun");
        taken += usize::from(caller.hears_all().last().unwrap()["snapshot"] == "done");
    }
    assert_eq!(taken, 2);
    backup.says("a snapshot of the guest was taken");
    primary.dies();
    backup.dies();
    let before = site.prints("first", 0);
    let again = "--from {kept} --name again --arbiter {arbiter} --key {key}";
    let again = site.goes_on(again, "again");
    follows(&before, &site.prints("again", 5));
    let status = site.ends("status again --json").with(0);
    assert!(status.contains("\"epoch\":1"), "{status}");
    again.dies();
}

#[test]
fn a_file_that_is_no_snapshot_or_is_damaged_is_told_in_a_sentence() {
    let site = Site::new(&[("counts", &COUNTS)]);
    let web = site.runs("", "console");
    site.ends("snapshot web {kept}").with(0);
    web.dies();
    let kept = std::fs::read(site.path("kept")).unwrap();
    let tries = |bytes: &[u8], sentence: &str| {
        std::fs::write(site.path("bad"), bytes).unwrap();
        let text = site.ends("run --serial none --from {bad}").with(1);
        assert!(
            text.contains("cannot use the snapshot") && text.contains(sentence),
            "{text}"
        );
    };
    tries(b"", "this is no snapshot");
    tries(b"LOCKSTEP and more", "this is no snapshot");
    let mut other = kept.clone();
    other[8] = 9;
    tries(
        &other,
        "it has format version 9, and this program reads version 1",
    );
    for end in [10, 60, kept.len() / 2, kept.len() - 1] {
        tries(&kept[..end], "it cannot be read to its end");
    }
    for (at, sentence) in [
        (30, "its head is damaged: its checksum is wrong"),
        (kept.len() - 1, "it is damaged: its checksum is wrong"),
    ] {
        let mut bad = kept.clone();
        bad[at] ^= 1;
        tries(&bad, sentence);
    }
    let text = site.ends("run --serial none --from {absent}").with(1);
    assert!(text.contains("cannot read the snapshot"), "{text}");
}
