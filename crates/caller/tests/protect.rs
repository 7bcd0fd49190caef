//! `protect` against a VM's end of a real control socket, whose guest is played: what a caller sees of a
//! clone that succeeds, fails, lasts too long, is not waited for, or is refused. A clone by real processes is
//! tested where there are hosts for it.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use caller::{Found, Protecting, VerbError};
use control::{Answer, Cloning, Control, Place, Status, Verb};
use os::wake::Waker;
use replica::VmName;
use report::{Happening, Line, PhaseWord, Protection, Reason, RoleWord, StateWord};
use rustix::event::{PollFd, PollFlags, poll};

const DAY: Duration = Duration::from_secs(86_400);

/// A VM with a control socket, and a played guest.
struct Vm {
    directory: tempfile::TempDir,
    /// Where it was to get a backup.
    asked: Receiver<SocketAddr>,
}

/// How the played guest answers `protect`, and what happens then.
#[derive(Clone)]
enum Play {
    Refuses,
    Tells(Vec<Happening>),
}

fn status(state: StateWord, copied: u64) -> Status {
    let mut status = Status::only("shop", 1, state, Reason::new("copying", ""));
    status.role = Some(match state {
        StateWord::Protected => RoleWord::Primary,
        _ => RoleWord::Solo,
    });
    status.peer = Some("10.0.0.3:7800".into());
    status.protection = Protection {
        phase: Some(PhaseWord::Copying),
        ..Protection::only(state, Reason::new("copying", ""))
    };
    status.clone = Some(Cloning {
        peer: "10.0.0.3:7800".into(),
        phase: PhaseWord::Copying,
        copied_bytes: copied << 20,
        total_bytes: 1 << 30,
    });
    status
}

impl Vm {
    fn new(state: StateWord, play: Play) -> Vm {
        let directory = tempfile::tempdir().unwrap();
        let place = Place::make(directory.path(), &VmName::new("shop").unwrap()).unwrap();
        let waker = Waker::new().unwrap();
        let mut control =
            Control::start(place, waker.clone(), Reason::new("connecting", "it begins")).unwrap();
        control.begins();
        let (tells, asked) = channel();
        std::thread::spawn(move || {
            let tap = control.tap();
            let mut copied = 0;
            loop {
                poll(&mut [PollFd::new(&waker, PollFlags::IN)], None).unwrap();
                waker.clear();
                while let Some(request) = control.request() {
                    let events = control.next_line();
                    let mut happens = Vec::new();
                    let answer = match (&request.verb, &play) {
                        (Verb::Protect { .. }, Play::Refuses) => {
                            Answer::refused("no-arbiter", "there is no arbiter")
                        }
                        (Verb::Protect { to }, Play::Tells(happenings)) => {
                            tells.send(*to).unwrap();
                            happens.clone_from(happenings);
                            Answer::Begun { events }
                        }
                        _ => {
                            copied += 100;
                            let status = Box::new(status(state, copied));
                            Answer::Status { status }
                        }
                    };
                    control.answer(request, answer);
                    for happening in happens {
                        let line = Line {
                            time_ns: 0,
                            wall_ns: 0,
                            vm: "shop".into(),
                            pid: 1,
                            happening,
                        };
                        tap((serde_json::to_string(&line).unwrap() + "\n").as_bytes());
                    }
                }
            }
        });
        Vm { directory, asked }
    }

    fn process(&self) -> Found {
        caller::process(self.directory.path(), &VmName::new("shop").unwrap()).unwrap()
    }

    /// `protect`, with what it drew.
    fn protect(
        &self,
        patience: Option<Duration>,
        draws_max: usize,
    ) -> (Result<Protecting, VerbError>, Vec<String>) {
        let mut drawn = Vec::new();
        let mut watch = |line: &str| {
            if !line.is_empty() {
                drawn.push(line.to_owned());
            }
            drawn.len() < draws_max
        };
        let to = "10.0.0.3:7800".parse().unwrap();
        let protecting = caller::protect(&self.process(), &Verb::Protect { to }, patience, &mut watch);
        (protecting, drawn)
    }
}

fn cloning() -> Happening {
    Happening::Cloning {
        peer: "10.0.0.3:7800".into(),
        phase: PhaseWord::Copying,
    }
}

fn failed() -> Happening {
    Happening::CloneFailed {
        peer: "10.0.0.3:7800".into(),
        why: "the link to it broke".into(),
    }
}

fn protected() -> Happening {
    Happening::Protected {
        peer: "10.0.0.3:7800".into(),
        epoch: 2,
        took_ms: 4200.0,
        cut_us: 1800.0,
        stood_ms: 0.0,
        rounds: 1,
        touched_pages: 1,
        owed_pages: 1,
        pages: 1,
        bytes: 1 << 20,
    }
}

#[test]
fn a_clone_is_waited_for_and_its_end_is_told() {
    let vm = Vm::new(StateWord::Starting, Play::Tells(vec![cloning(), protected()]));
    let Ok(Protecting::Done(sentence)) = vm.protect(Some(DAY), usize::MAX).0 else {
        panic!("it is not done");
    };
    assert!(sentence.starts_with("the VM has a backup at 10.0.0.3:7800, epoch 2, after 4.2 s"));
    assert_eq!(vm.asked.recv().unwrap(), "10.0.0.3:7800".parse().unwrap());
    // What happened before the order means nothing.
    assert!(matches!(
        vm.protect(Some(DAY), usize::MAX).0,
        Ok(Protecting::Done(_))
    ));
}

#[test]
fn a_clone_that_fails_is_an_error_with_its_reason() {
    let vm = Vm::new(StateWord::Starting, Play::Tells(vec![cloning(), failed()]));
    let error = vm.protect(Some(DAY), usize::MAX).0.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert_eq!(
        error.to_string(),
        "10.0.0.3:7800 has not become the backup: the link to it broke; the guest has not noticed"
    );
}

#[test]
fn a_clone_is_drawn_until_nobody_wants_to_wait_or_the_time_is_over() {
    let vm = Vm::new(StateWord::Starting, Play::Tells(vec![cloning()]));
    let (protecting, drawn) = vm.protect(Some(DAY), 3);
    assert_eq!(protecting.unwrap(), Protecting::Stopped);
    assert_eq!(drawn.len(), 3);
    assert!(
        drawn[0].starts_with("copying [###.................] "),
        "{drawn:?}"
    );
    assert!(
        drawn[2].contains(" of 1,024 MiB, ") && drawn[2].contains(" s left"),
        "{drawn:?}"
    );
    let (protecting, _) = vm.protect(Some(Duration::from_millis(1)), usize::MAX);
    assert_eq!(protecting.unwrap(), Protecting::TimeIsOver);
    assert_eq!(vm.protect(None, 0).0.unwrap(), Protecting::Begun);
}

#[test]
fn what_is_protected_already_or_refused_is_told_and_nothing_begins() {
    let vm = Vm::new(StateWord::Protected, Play::Refuses);
    let already = Protecting::Already("10.0.0.3:7800".into());
    assert_eq!(vm.protect(Some(DAY), 0).0.unwrap(), already);
    let vm = Vm::new(StateWord::Unprotected, Play::Refuses);
    let error = vm.protect(Some(DAY), 0).0.unwrap_err();
    assert_eq!(
        (error.exit_code(), error.to_string()),
        (4, "there is no arbiter".into())
    );
}

#[test]
fn times_are_written_with_their_unit() {
    let read = |text: &str| caller::patience(text).map(|time| time.as_secs());
    assert_eq!(
        ["90s", "10m", "1h", "7"].map(|text| read(text).unwrap()),
        [90, 600, 3600, 7]
    );
    for wrong in ["", "0s", "s", "25h", "10x", "-1", "99999999999999999999h"] {
        assert!(
            read(wrong).unwrap_err().contains("use for example 90s or 10m"),
            "{wrong}"
        );
    }
}
