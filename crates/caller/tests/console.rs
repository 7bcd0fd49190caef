//! Callers at a guest's console: a real control socket, with the test in the place of the guest's thread.

use std::time::{Duration, Instant};

use caller::{CallError, Found, Heard, PATIENCE, VerbError, Watching, find};
use control::limits::{TAIL_LEN_MAX, TYPED_LEN_MAX, TYPED_MAX, WATCHERS_MAX};
use control::{Answer, ConsoleWish, Control, Place, RequestId, Verb};
use os::wake::Waker;
use report::Reason;

/// A process of a VM, without its guest.
struct Process {
    control: Control,
    directory: tempfile::TempDir,
}

impl Process {
    fn new() -> Process {
        let directory = tempfile::tempdir().unwrap();
        let vm = replica::VmName::new("web").unwrap();
        let place = Place::make(directory.path(), &vm).unwrap();
        let reason = Reason::new("connecting", "it begins");
        let control = Control::start(place, Waker::new().unwrap(), reason).unwrap();
        control.begins();
        Process { control, directory }
    }

    /// Somebody asks for the console, and the guest's thread has nothing against it.
    fn sits(&mut self, wish: ConsoleWish) -> Result<Watching, VerbError> {
        let found: Found = find(self.directory.path(), None).remove(0);
        let asking = std::thread::spawn(move || Watching::begin(found.call(PATIENCE)?, wish));
        loop {
            if let Some(asked) = self.control.request() {
                assert!(matches!(asked.verb, Verb::Console(_)));
                self.control.answer(asked, Answer::Begun { events: 0 });
                return asking.join().unwrap();
            }
            std::thread::yield_now();
        }
    }

    /// The next piece that was typed.
    fn typed(&self, room: usize) -> Vec<u8> {
        loop {
            if let Some(typed) = self.control.typed(room) {
                return typed;
            }
            std::thread::yield_now();
        }
    }
}

fn wish(by: &str, session: u128) -> ConsoleWish {
    ConsoleWish {
        by: by.into(),
        session: RequestId(session),
        last: 1_000,
        ..ConsoleWish::default()
    }
}

fn refusal(answer: Result<Watching, VerbError>) -> String {
    match answer {
        Err(VerbError::Refused(sentence)) => sentence,
        other => panic!("it is not refused: {other:?}"),
    }
}

/// The next that is heard beside that the process lives.
fn hears(watching: &mut Watching) -> Result<Heard, CallError> {
    let until = Instant::now() + Duration::from_secs(600);
    while Instant::now() < until {
        match watching.hear()? {
            None => std::thread::yield_now(),
            Some(Heard::Alive) => {}
            Some(other) => return Ok(other),
        }
    }
    panic!("nothing is heard");
}

/// The next so many bytes of the guest.
fn reads(watching: &mut Watching, length: usize) -> Vec<u8> {
    let mut all = Vec::new();
    while all.len() < length {
        match hears(watching).unwrap() {
            Heard::Bytes(bytes) => all.extend(bytes),
            other => panic!("{other:?} in place of bytes"),
        }
    }
    all
}

#[test]
fn one_types_others_watch_and_whoever_takes_it_is_named() {
    let mut process = Process::new();
    process.control.shows(b"login: ");
    let mut ada = process.sits(wish("ada", 1)).unwrap();
    assert_eq!(reads(&mut ada, 7), b"login: ");
    let sentence = refusal(process.sits(wish("bob", 2)));
    assert!(
        sentence.starts_with("ada has had the console of web for "),
        "{sentence}"
    );
    let mut bob = process
        .sits(ConsoleWish {
            view: true,
            ..wish("bob", 2)
        })
        .unwrap();
    bob.types(b"nobody hears this").unwrap();
    ada.types(b"root\n").unwrap();
    assert_eq!(process.typed(16), b"root\n");
    let mut eve = process
        .sits(ConsoleWish {
            force: true,
            ..wish("eve", 3)
        })
        .unwrap();
    assert_eq!(hears(&mut ada).unwrap(), Heard::Taken("eve".into()));
    ada.types(b"nor this").unwrap();
    eve.types(b"id\n").unwrap();
    assert_eq!(process.typed(16), b"id\n");
    process.control.shows(b"uid=0");
    assert_eq!(reads(&mut ada, 5), b"uid=0");
    for watching in [&mut bob, &mut eve] {
        assert_eq!(reads(watching, 12), b"login: uid=0");
    }
}

#[test]
fn a_person_who_comes_back_takes_the_place_of_the_earlier_connection() {
    let mut process = Process::new();
    process.control.shows(b"one ");
    let mut before = process.sits(wish("ada", 1)).unwrap();
    assert_eq!(reads(&mut before, 4), b"one ");
    let known = (before.process, before.position);
    process.control.shows(b"two ");
    let mut after = process.sits(wish("ada", 1)).unwrap();
    assert_eq!(after.resume(known.0, known.1), 0);
    assert_eq!(reads(&mut after, 4), b"two ", "and nothing is shown twice");
    after.types(b"x").unwrap();
    assert_eq!(process.typed(1), b"x");
    while !matches!(before.hear(), Err(CallError::Ended(_))) {}
}

#[test]
fn what_is_typed_waits_for_the_guest_and_costs_no_more_than_it_may() {
    let mut process = Process::new();
    let mut ada = process.sits(wish("ada", 1)).unwrap();
    let paste: Vec<u8> = (0..2 * TYPED_MAX * TYPED_LEN_MAX)
        .map(|number| number as u8)
        .collect();
    ada.types(&paste).unwrap();
    assert!(
        !process.control.has_typed(TYPED_LEN_MAX - 1),
        "it is taken whole or not at all"
    );
    let mut taken = Vec::new();
    while taken.len() < paste.len() {
        if let Some(typed) = process.control.typed(TYPED_LEN_MAX) {
            taken.extend(typed);
        }
        ada.types(b"").unwrap();
    }
    assert!(taken == paste);
}

#[test]
fn whoever_is_too_slow_hears_what_is_missing() {
    let mut process = Process::new();
    let mut ada = process.sits(wish("ada", 1)).unwrap();
    // More than what is kept, and the socket's own room: nobody reads meanwhile.
    let written = 64 * TAIL_LEN_MAX as u64;
    for _ in 0..64 {
        process.control.shows(&vec![b'x'; TAIL_LEN_MAX]);
    }
    let (mut heard, mut missed) = (0, 0);
    while heard + missed < written {
        match hears(&mut ada).unwrap() {
            Heard::Bytes(bytes) => heard += bytes.len() as u64,
            Heard::Missed(count) => missed += count,
            other => panic!("{other:?}"),
        }
    }
    assert!(missed > 0 && heard + missed == written, "{heard} and {missed}");
}

#[test]
fn only_so_many_are_at_a_console_and_all_are_sent_on_when_the_guest_goes_elsewhere() {
    let mut process = Process::new();
    let mut all: Vec<Watching> = (1..=WATCHERS_MAX as u128)
        .map(|session| {
            let wish = ConsoleWish {
                view: true,
                ..wish("ada", session)
            };
            process.sits(wish).unwrap()
        })
        .collect();
    let sentence = refusal(process.sits(wish("bob", 100)));
    assert!(
        sentence.contains("callers are at the console of web already"),
        "{sentence}"
    );
    process.control.shows(b"bye");
    process.control.is_live(false);
    for watching in &mut all {
        assert_eq!(reads(watching, 3), b"bye");
        assert_eq!(hears(watching).unwrap(), Heard::Left);
    }
}
