//! What an operator and a watching program read: sentences, events and figures, also where nobody reads them.

use super::*;

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
