//! What a person at a terminal reads and types.

use super::*;
use crate::terminal::pseudo_terminal;

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
fn a_gateway_tells_people_in_sentences_and_programs_in_json_where_it_listens() {
    let gateway = |forms: &[&str]| {
        let mut gateway = Command::new(env!("CARGO_BIN_EXE_lockstep"));
        gateway.args(["gateway", "--insecure", "--listen", "127.0.0.1:0"]);
        gateway.args(["--forward", "tcp:127.0.0.1:0-:80"]).args(forms);
        gateway.stdin(Stdio::null()).stderr(Stdio::piped());
        gateway
    };
    for (forms, is_terminal) in [(&[][..], true), (&["--json"][..], true), (&[][..], false)] {
        let (terminal, end) = pseudo_terminal();
        let mut command = gateway(forms);
        let stdout: Stdio = if is_terminal { end.into() } else { Stdio::piped() };
        let mut replica = Replica::start(command.stdout(stdout));
        drop(command);
        let mut lines: Box<dyn BufRead> = match replica.child.stdout.take() {
            Some(pipe) => Box::new(BufReader::new(pipe)),
            None => Box::new(BufReader::new(terminal)),
        };
        let mut next = || {
            let mut line = String::new();
            lines.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let first = next();
        if is_terminal && forms.is_empty() {
            let address = first.strip_prefix("lockstep: VMs connect to 127.0.0.1:");
            assert!(address.is_some_and(|port| port.parse::<u16>().is_ok()), "{first}");
            assert!(next().ends_with(" leads to port 80 of the first guest, 10.0.2.15"));
        } else {
            let object: serde_json::Value = serde_json::from_str(&first).expect(&first);
            assert_eq!(object["forwards"].as_array().unwrap().len(), 1);
        }
    }
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
