//! What an operator does and reads, with real processes: signals, keys, closed and full pipes, sentences and
//! events.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use report::{Course, Ender, HaltCode, Happening, Line, RoleWord, SuspicionWord};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};

/// Encodes instructions. Registers and immediates are as in the manual; offsets of branches are in bytes.
fn lui(rd: u32, upper: u32) -> u32 {
    upper << 12 | rd << 7 | 0x37
}
fn immediate(opcode: u32, funct: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct << 12 | rd << 7 | opcode
}
fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x13, 0, rd, rs1, imm)
}
fn andi(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x13, 7, rd, rs1, imm)
}
fn lbu(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x03, 4, rd, rs1, imm)
}
fn lw(rd: u32, rs1: u32, imm: i32) -> u32 {
    immediate(0x03, 2, rd, rs1, imm)
}
fn store(funct: u32, rs2: u32, rs1: u32, imm: u32) -> u32 {
    imm >> 5 << 25 | rs2 << 20 | rs1 << 15 | funct << 12 | (imm & 31) << 7 | 0x23
}
fn sb(rs2: u32, rs1: u32, imm: u32) -> u32 {
    store(0, rs2, rs1, imm)
}
fn sw(rs2: u32, rs1: u32, imm: u32) -> u32 {
    store(2, rs2, rs1, imm)
}
fn branch(funct: u32, rs1: u32, rs2: u32, offset: i32) -> u32 {
    let bits = offset as u32;
    (bits >> 12 & 1) << 31
        | (bits >> 5 & 63) << 25
        | rs2 << 20
        | rs1 << 15
        | funct << 12
        | (bits >> 1 & 15) << 8
        | (bits >> 11 & 1) << 7
        | 0x63
}
fn beq(rs1: u32, rs2: u32, offset: i32) -> u32 {
    branch(0, rs1, rs2, offset)
}
fn bne(rs1: u32, rs2: u32, offset: i32) -> u32 {
    branch(1, rs1, rs2, offset)
}

/// A firmware that sends back every byte it gets on its serial line, and at an `o` switches the machine off.
fn echo() -> Vec<u8> {
    let (uart, plic, claim, byte, id) = (5, 6, 7, 28, 29);
    let words = [
        // Interrupt 10, the UART's, gets a priority and is enabled for this hart; so is the UART's receiver.
        lui(uart, 0x10000),
        lui(plic, 0xc000),
        addi(byte, 0, 1),
        sw(byte, plic, 40),
        lui(claim, 0xc002),
        addi(byte, 0, 1024),
        sw(byte, claim, 0),
        addi(byte, 0, 1),
        sb(byte, uart, 1),
        // mie.MEIE, so that `wfi` ends.
        lui(byte, 1),
        addi(byte, byte, -2048),
        immediate(0x73, 2, 0, byte, 0x304),
        lui(claim, 0xc200),
        // wait: `wfi`, and claim the interrupt.
        0x1050_0073,
        lw(id, claim, 4),
        // more: a byte? If not, go to `done`; if it is no 'o', send it back and go to `more`.
        lbu(byte, uart, 5),
        andi(byte, byte, 1),
        beq(byte, 0, 36),
        lbu(byte, uart, 0),
        sb(byte, uart, 0),
        addi(byte, byte, -i32::from(b'o')),
        bne(byte, 0, -24),
        // off
        lui(plic, 0x100),
        lui(byte, 5),
        addi(byte, byte, 0x555),
        sw(byte, plic, 0),
        // done: the interrupt is over; go to `wait`.
        sw(id, claim, 4),
        beq(0, 0, -56),
    ];
    words.map(u32::to_le_bytes).concat()
}

/// A firmware that writes a text to its serial line and then waits for ever.
fn writer(text: &str) -> Vec<u8> {
    let (uart, byte) = (5, 28);
    let mut words = vec![lui(uart, 0x10000)];
    for sign in text.bytes() {
        words.extend([addi(byte, 0, i32::from(sign)), sb(byte, uart, 0)]);
    }
    // `wfi`, over and over.
    words.extend([0x1050_0073, beq(0, 0, -4)]);
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// What Linux writes when it finds no root file system.
const PANIC: &str = "[    0.5] Kernel panic - not syncing: no root\n\
                     [    0.6] ---[ end Kernel panic - not syncing: no root ]---\n";

/// A process whose standard streams the test holds.
struct Replica {
    child: Child,
    errors: Option<BufReader<std::process::ChildStderr>>,
    /// All that the process has said on its standard error until now.
    said: String,
}

impl Replica {
    fn start(command: &mut Command) -> Replica {
        let mut child = command.spawn().unwrap();
        let errors = child.stderr.take().map(BufReader::new);
        Replica {
            child,
            errors,
            said: String::new(),
        }
    }

    /// The next line of standard error that has these words in it.
    fn says(&mut self, words: &str) -> String {
        let errors = self.errors.as_mut().expect("its standard error is ours");
        loop {
            let mut line = String::new();
            let length = errors.read_line(&mut line).unwrap();
            self.said += &line;
            assert_ne!(length, 0, "it never said '{words}' but: {}", self.said);
            if line.contains(words) {
                return line.trim_end().to_owned();
            }
        }
    }

    /// Types a byte that is not an `o`, and waits until the guest has sent it back.
    fn echoes(&mut self, byte: u8) {
        let stdin = self.child.stdin.as_mut().expect("its standard input is ours");
        stdin.write_all(&[byte]).unwrap();
        self.shows(byte);
    }

    /// Waits until the guest has written this byte.
    fn shows(&mut self, byte: u8) {
        let stdout = self.child.stdout.as_mut().expect("its standard output is ours");
        let mut read = [0];
        while read != [byte] {
            stdout.read_exact(&mut read).expect("the guest lives");
        }
    }

    fn types(&mut self, text: &[u8]) {
        let stdin = self.child.stdin.as_mut().expect("its standard input is ours");
        stdin.write_all(text).unwrap();
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for the end of the process, and gives all that it said.
    fn ends(&mut self) -> (ExitStatus, String) {
        if let Some(mut errors) = self.errors.take() {
            errors.read_to_string(&mut self.said).unwrap();
        }
        (self.child.wait().unwrap(), std::mem::take(&mut self.said))
    }

    fn ends_well(&mut self) -> String {
        let (status, said) = self.ends();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A directory with all that a pair needs.
struct Site(tempfile::TempDir);

impl Site {
    fn new() -> Site {
        let site = Site(tempfile::tempdir().unwrap());
        std::fs::write(site.path("firmware"), echo()).unwrap();
        std::fs::write(site.path("key"), "11".repeat(32)).unwrap();
        std::fs::set_permissions(site.path("key"), PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::create_dir(site.path("arbiter")).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `lockstep`, with its standard streams piped to the test.
    fn lockstep(&self, command: &str) -> Command {
        let mut lockstep = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        lockstep.args([command, "--memory", "16M", "--firmware"]);
        lockstep.arg(self.path("firmware")).env_remove("RUST_LOG");
        lockstep
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        lockstep
    }

    /// The command of one half of a pair, with its events in a file of its name.
    fn half(&self, role: &str, address: &str) -> Command {
        let mut half = self.silent_half(role, address);
        half.arg("--events").arg(self.path(role));
        half
    }

    fn silent_half(&self, role: &str, address: &str) -> Command {
        let mut half = self.lockstep(role);
        // The timeout is long because the tests run beside others; a takeover after a death takes this long.
        half.args(["--timeout-ms", "3000", "--backup", address, "--key"]);
        half.arg(self.path("key"))
            .arg("--arbiter")
            .arg(self.path("arbiter"));
        half
    }

    fn backup(&self) -> (Replica, String) {
        let mut backup = Replica::start(&mut self.half("backup", "127.0.0.1:0"));
        let line = backup.says("waiting for the primary on");
        let address = line.rsplit(' ').next().unwrap().to_owned();
        (backup, address)
    }

    fn pair(&self) -> (Replica, Replica) {
        let (mut backup, address) = self.backup();
        let mut primary = Replica::start(&mut self.half("primary", &address));
        primary.says("paired with");
        backup.says("paired with");
        primary.echoes(b'a');
        (primary, backup)
    }

    fn events(&self, role: &str) -> Vec<Happening> {
        let text = std::fs::read_to_string(self.path(role)).unwrap();
        let lines = text.lines().map(serde_json::from_str::<Line>);
        lines.map(|line| line.unwrap().happening).collect()
    }

    /// How a half ended, by its last line.
    fn code(&self, role: &str) -> HaltCode {
        match self.events(role).pop() {
            Some(Happening::Halt(ending)) => ending.code,
            other => panic!("{other:?}"),
        }
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Writes until a pipe or FIFO takes not one byte more.
fn fill(pipe: &OwnedFd) {
    rustix::fs::fcntl_setfl(pipe, OFlags::NONBLOCK).unwrap();
    // Whole pages first, then the bytes that are left.
    for length in [4096, 1] {
        while rustix::io::write(pipe, &vec![b'\n'; length]).is_ok() {}
    }
    rustix::fs::fcntl_setfl(pipe, OFlags::empty()).unwrap();
}

#[test]
fn a_primary_told_to_end_leaves_the_vm_to_its_backup_and_says_so() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.signal(Signal::TERM);
    let said = primary.ends_well();
    assert!(said.contains("lockstep: leaving the VM to the backup"), "{said}");
    assert!(said.contains("lockstep: the VM goes on at 127.0.0.1:"), "{said}");
    assert_eq!(site.code("primary"), HaltCode::Left);

    let line = backup.says("this side is live, epoch 2");
    assert!(line.ends_with("; the VM has no backup now"), "{line}");
    backup.echoes(b'b');
    backup.types(b"o");
    let said = backup.ends_well();
    let last = said.lines().last().unwrap();
    assert!(
        last.starts_with("lockstep: the guest has switched itself off, "),
        "{said}"
    );
    assert_eq!(site.code("backup"), HaltCode::Off);
    let why = site.events("backup").into_iter().find_map(|it| match it {
        Happening::Suspected { whom, why, .. } => Some((whom, why)),
        _ => None,
    });
    assert_eq!(why, Some((RoleWord::Primary, SuspicionWord::Left)));
}

#[test]
fn a_backup_told_to_end_leaves_and_both_say_that_the_vm_has_none_now() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    backup.signal(Signal::INT);
    let said = backup.ends_well();
    assert!(said.contains("the VM has no backup any more"), "{said}");
    assert_eq!(site.code("backup"), HaltCode::Left);
    let line = primary.says("is gone");
    assert!(line.ends_with("; the VM goes on here without a backup"), "{line}");
    primary.echoes(b'b');
    primary.types(b"o");
    primary.ends_well();
}

#[test]
fn a_backup_that_still_waits_ends_at_a_signal_and_lives_through_a_hang_up() {
    let site = Site::new();
    let (mut backup, address) = site.backup();
    backup.signal(Signal::HUP);
    let mut primary = Replica::start(&mut site.half("primary", &address));
    backup.says("paired with");
    primary.echoes(b'a');
    let (mut second, _) = site.backup();
    second.signal(Signal::TERM);
    let said = second.ends_well();
    assert!(said.contains("no pair was made"), "{said}");
}

#[test]
fn a_guest_alone_ignores_a_hang_up_and_is_unplugged_by_the_second_signal() {
    let site = Site::new();
    let mut alone = Replica::start(&mut site.lockstep("run"));
    alone.echoes(b'a');
    alone.signal(Signal::HUP);
    alone.echoes(b'b');
    alone.signal(Signal::TERM);
    let line = alone.says("lockstep: ");
    assert!(line.contains("the guest cannot be asked to switch off"), "{line}");
    alone.echoes(b'c');
    alone.signal(Signal::TERM);
    let said = alone.ends_well();
    assert!(
        said.contains("pulling the guest's plug\nlockstep: the operator has pulled the guest's plug, "),
        "{said}"
    );
}

#[test]
fn the_end_of_a_guest_is_told_on_both_sides_with_who_ended_it_when_and_its_console() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.types(b"o");
    for half in [&mut primary, &mut backup] {
        let said = half.ends_well();
        let last = said.lines().last().unwrap();
        assert!(
            last.starts_with("lockstep: the guest has switched itself off, on both sides, "),
            "{said}"
        );
        assert!(last.contains(" s after its start, at step "), "{last}");
    }
    for role in ["primary", "backup"] {
        let Some(Happening::Halt(ending)) = site.events(role).pop() else {
            panic!("{role}")
        };
        assert_eq!((ending.code, ending.by), (HaltCode::Off, Some(Ender::Guest)));
        assert!(ending.step > 0 && ending.up_s > 0.0, "{ending:?}");
        assert_eq!(ending.console, "stdio");
    }
}

#[test]
fn a_guest_without_a_terminal_says_at_its_end_where_its_console_is() {
    let site = Site::new();
    let log = site.path("console.log").display().to_string();
    let (switch, byte) = (6, 28);
    let off = [
        lui(switch, 0x100),
        lui(byte, 5),
        addi(byte, byte, 0x555),
        sw(byte, switch, 0),
    ];
    std::fs::write(site.path("firmware"), off.map(u32::to_le_bytes).concat()).unwrap();
    let ends = |serial: &str| Replica::start(site.lockstep("run").args(["--serial", serial])).ends_well();
    for (serial, clause) in [
        (log.as_str(), format!("; its console is in {log}\n")),
        (
            "none",
            "; its console led nowhere: `--serial FILE` would have kept it\n".into(),
        ),
    ] {
        let said = ends(serial);
        assert!(said.ends_with(&clause), "{said}");
    }
}

#[test]
fn whoever_sits_at_the_console_is_told_how_to_leave_it() {
    let site = Site::new();
    let (mut terminal, end) = pseudo_terminal();
    let mut alone = Replica::start(site.lockstep("run").stdin(end));
    let line = alone.says("console");
    let expected = "lockstep: this is the console of vm; Ctrl-A x switches it off, Ctrl-A h helps";
    assert_eq!(line, expected);
    // The terminal is the guest's, Ctrl-A and all, when the guest answers.
    terminal.write_all(b"a").unwrap();
    alone.shows(b'a');
    terminal.write_all(b"\x01x").unwrap();
    assert!(alone.ends_well().contains("pulled the guest's plug"));
}

#[test]
fn a_result_for_a_program_stands_alone_on_standard_output() {
    let site = Site::new();
    let mut alone = Replica::start(site.lockstep("run").arg("--json"));
    alone.types(b"abco");
    let said = alone.ends_well();
    assert!(said.contains("abc"), "the console is on standard error: {said}");
    let mut output = String::new();
    alone
        .child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut output)
        .unwrap();
    assert_eq!(output.lines().count(), 1, "{output}");
    assert!(serde_json::from_str::<serde_json::Value>(&output).unwrap()["step"].is_u64());
}

#[test]
fn a_primary_that_calls_says_for_how_long_and_why_in_vain() {
    let site = Site::new();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let mut primary = Replica::start(&mut site.half("primary", &address));
    let line = primary.says("calling the backup");
    let expected = format!("lockstep: calling the backup {address}, 0 s of 60 s: ");
    assert!(line.starts_with(&expected) && line.contains("refused"), "{line}");
    primary.signal(Signal::TERM);
    primary.ends_well();
}

#[test]
fn a_vm_alone_tells_programs_what_happens_too() {
    let site = Site::new();
    let mut alone = Replica::start(site.lockstep("run").arg("--events").arg(site.path("alone")));
    alone.echoes(b'a');
    alone.types(b"o");
    alone.ends_well();
    let events = site.events("alone");
    assert!(
        matches!(
            events[0],
            Happening::Role {
                role: RoleWord::Solo,
                ..
            }
        ),
        "{events:?}"
    );
    assert_eq!(site.code("alone"), HaltCode::Off);
}

#[test]
fn a_panic_of_the_guests_kernel_is_told_and_answered_as_asked() {
    let site = Site::new();
    std::fs::write(site.path("firmware"), writer(PANIC)).unwrap();
    let mut kept = Replica::start(site.lockstep("run").args(["--serial", "none"]));
    let line = kept.says("has panicked");
    let expected = "lockstep: the guest's kernel has panicked: Kernel panic - not syncing: no root; \
                    the guest stays as it is";
    assert!(line.starts_with(expected), "{line}");

    let mut stopped = Replica::start(site.lockstep("run").args(["--on-panic", "stop"]));
    let (status, said) = stopped.ends();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(
        said.contains("the guest's kernel panicked, and the guest was switched off"),
        "{said}"
    );
    let mut console = String::new();
    stopped
        .child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut console)
        .unwrap();
    assert_eq!(console, PANIC, "the kernel has said all that it had to say");

    // A guest that is reset panics again, and that is told again.
    let mut reset = Replica::start(site.lockstep("run").args(["--on-panic", "reset"]));
    for _ in 0..3 {
        reset.says("the guest is reset as soon as the kernel has said why");
    }
}

#[test]
fn a_pair_whose_guest_panics_stops_on_both_sides_if_asked() {
    let site = Site::new();
    std::fs::write(site.path("firmware"), writer(PANIC)).unwrap();
    let stops = |role: &str, address: &str| {
        let mut half = site.half(role, address);
        half.args(["--on-panic", "stop"]);
        Replica::start(&mut half)
    };
    let mut backup = stops("backup", "127.0.0.1:0");
    let line = backup.says("waiting for the primary on");
    let mut primary = stops("primary", line.rsplit(' ').next().unwrap());
    for half in [&mut primary, &mut backup] {
        let (_, said) = half.ends();
        assert!(said.contains("off, on both sides"), "{said}");
    }
    assert_eq!(site.code("primary"), HaltCode::Panicked);
    let told = |role: &str| {
        let events = site.events(role);
        events
            .iter()
            .filter(|it| matches!(it, Happening::GuestPanic { .. }))
            .count()
    };
    assert_eq!((told("primary"), told("backup")), (1, 0));
}

#[test]
fn a_vm_whose_terminal_is_gone_lives_on_and_can_still_be_left_to_its_backup() {
    let site = Site::new();
    let (mut backup, address) = site.backup();
    let (terminal, end) = pseudo_terminal();
    let mut command = site.half("primary", &address);
    command.stdin(end.try_clone().unwrap());
    command.stdout(end.try_clone().unwrap()).stderr(end);
    let mut primary = Replica::start(&mut command);
    // The command holds the terminal open, too.
    drop(command);
    backup.says("paired with");
    let mut shown = BufReader::new(terminal).lines();
    assert!(shown.any(|line| line.unwrap().contains("paired with")));
    drop(shown);
    primary.signal(Signal::HUP);
    primary.signal(Signal::TERM);
    primary.ends_well();
    assert_eq!(site.code("primary"), HaltCode::Left);
    backup.says("this side is live");
    backup.echoes(b'b');
}

#[test]
fn switching_off_both_sides_from_a_terminal_needs_a_yes() {
    let site = Site::new();
    let (mut backup, address) = site.backup();
    let (mut terminal, end) = pseudo_terminal();
    let mut primary = Replica::start(site.half("primary", &address).stdin(end));
    primary.says("paired with");
    terminal.write_all(b"\x01x").unwrap();
    primary.says("switch the VM off on both sides? y/n");
    terminal.write_all(b"n").unwrap();
    primary.says("the VM goes on");
    terminal.write_all(b"c").unwrap();
    primary.shows(b'c');
    terminal.write_all(b"\x01x").unwrap();
    primary.says("switch the VM off on both sides? y/n");
    terminal.write_all(b"y").unwrap();
    primary.says("pulling the guest's plug, on both sides");
    primary.ends_well();
    backup.ends_well();
    assert_eq!(
        (site.code("primary"), site.code("backup")),
        (HaltCode::Off, HaltCode::Off)
    );
    let courses: Vec<Course> = site
        .events("primary")
        .into_iter()
        .filter_map(|it| match it {
            Happening::Stop { course, .. } => Some(course),
            _ => None,
        })
        .collect();
    assert_eq!(
        courses,
        [Course::AskBack, Course::GoOn, Course::AskBack, Course::PowerOff]
    );
}

/// A terminal: the side of its user, and the side of a program.
fn pseudo_terminal() -> (File, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let user = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&user).unwrap();
    unlockpt(&user).unwrap();
    let name = ptsname(&user, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let program = rustix::fs::open(name, flags, Mode::empty()).unwrap();
    (user.into(), program)
}

#[test]
fn nobody_needs_to_read_standard_error_or_events() {
    let site = Site::new();
    for role in ["primary", "backup"] {
        rustix::fs::mknodat(CWD, site.path(role), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    }
    let open = |role: &str| rustix::fs::open(site.path(role), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
    let fifos = ["primary", "backup"].map(|role| open(role).unwrap());
    fifos.iter().for_each(fill);
    let (reader, writer) = std::io::pipe().unwrap();
    let full = OwnedFd::from(writer);
    fill(&full);

    let (mut backup, address) = site.backup();
    // All that there is to say is said here: much more than a pipe holds.
    let mut primary = site.half("primary", &address);
    primary
        .env("RUST_LOG", "trace")
        .args(["--figures-every", "10"])
        .stderr(full);
    let mut primary = Replica::start(&mut primary);
    backup.says("paired with");
    for _ in 0..100 {
        primary.echoes(b'a');
    }
    backup.child.kill().unwrap();
    // The primary has said that it is alone, and nobody has heard it.
    for _ in 0..100 {
        primary.echoes(b'b');
    }
    primary.types(b"o");
    primary.ends_well();
    drop((fifos, reader));
}

#[test]
fn an_arbiter_that_does_not_answer_is_named_and_the_guest_goes_on_when_it_does() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    std::fs::rename(site.path("arbiter"), site.path("away")).unwrap();
    backup.child.kill().unwrap();
    primary.says("the backup 127.0.0.1:");
    let line = primary.says("does not answer");
    let expected = format!(
        "lockstep: the arbiter {} does not answer",
        site.path("arbiter").display()
    );
    assert!(line.starts_with(&expected), "{line}");
    assert!(line.contains("the guest stands (asked once in 0 s): "), "{line}");
    std::fs::rename(site.path("away"), site.path("arbiter")).unwrap();
    primary.says("the VM goes on here without a backup");
    primary.echoes(b'b');
    primary.types(b"o");
    primary.ends_well();
    let told: Vec<&str> = site
        .events("primary")
        .into_iter()
        .filter_map(|it| match it {
            Happening::Suspected { .. } => Some("suspected"),
            Happening::Waiting { .. } => Some("waiting"),
            Happening::Alone { .. } => Some("alone"),
            Happening::Halt(_) => Some("halt"),
            _ => None,
        })
        .collect();
    assert_eq!(told.first(), Some(&"suspected"));
    assert_eq!(told[told.len() - 2..], ["alone", "halt"]);
    assert!(told.contains(&"waiting"));
}

#[test]
fn figures_come_when_they_are_asked_for_and_once_at_the_end() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.types(b"o");
    primary.ends_well();
    backup.ends_well();
    let is_figures = |it: &Happening| matches!(it, Happening::Figures(_));
    for role in ["primary", "backup"] {
        let figures = site.events(role).iter().filter(|it| is_figures(it)).count();
        assert_eq!(figures, 1, "{role}");
    }

    let (_backup, address) = site.backup();
    let mut command = site.silent_half("primary", &address);
    command.args([
        "--serial",
        "none",
        "--figures-every",
        "10",
        "--events",
        "/dev/stdout",
    ]);
    let mut primary = Replica::start(&mut command);
    let lines = BufReader::new(primary.child.stdout.take().unwrap()).lines();
    let happenings = lines.map(|line| serde_json::from_str::<Line>(&line.unwrap()).unwrap().happening);
    assert_eq!(happenings.filter(is_figures).take(3).count(), 3);
}

#[test]
fn what_a_guest_and_its_replica_write_is_for_their_owner_alone() {
    let site = Site::new();
    let (mut primary, mut backup) = site.pair();
    primary.types(b"o");
    primary.ends_well();
    backup.ends_well();
    assert_eq!(mode(&site.path("primary")), 0o600);

    let console = site.path("console");
    let serial = |text: String| {
        let mut run = site.lockstep("run");
        run.args(["--serial", &text]);
        run
    };
    let alone = Replica::start(&mut serial(format!("unix:{}", console.display())));
    while UnixStream::connect(&console).is_err() {
        std::thread::yield_now();
    }
    assert_eq!(mode(&console), 0o600);
    drop(alone);
    std::fs::remove_file(&console).unwrap();

    let _alone = Replica::start(&mut serial(console.display().to_string()));
    while !console.exists() {
        std::thread::yield_now();
    }
    assert_eq!(mode(&console), 0o600);
    // An ordinary file is not a socket that was left behind, so it is not removed.
    let (status, said) = Replica::start(&mut serial(format!("unix:{}", console.display()))).ends();
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(console.is_file());
}

#[test]
fn a_warning_is_a_sentence_and_names_its_module_only_to_those_who_look_for_a_fault() {
    let site = Site::new();
    let sentence = "warning: the console's output cannot be written and is lost: Broken pipe";
    for (filter, start) in [(None, "lockstep: "), (Some("warn"), "")] {
        let mut command = site.lockstep("run");
        command.envs(filter.map(|filter| ("RUST_LOG", filter)));
        let mut alone = Replica::start(&mut command);
        drop(alone.child.stdout.take());
        alone.types(b"a");
        let line = alone.says("the console's output");
        assert_eq!(
            line.starts_with(&format!("{start}{sentence}")),
            filter.is_none(),
            "{line}"
        );
        assert_eq!(line.contains("os::outlet"), filter.is_some(), "{line}");
    }
}
