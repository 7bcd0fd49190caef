//! Digests that begin at one step and end at a later one, in a recording and in its replay.
//!
//! The toy's memory takes some slices to be hashed, so it matters at which step each page is.

mod world;

use std::sync::atomic::AtomicBool;

use machine::{Control, Input, Step};
use replica::{
    Divergence, Entry, EntryKind, Event, LogReader, Options, Playback, PlaybackError, Playing, Span,
    log::codec::Encoder,
};
use world::{A, Toy, World, header};

/// The entries of a life with much happening in memory between two digests.
fn entries() -> Vec<Entry> {
    let record = Options {
        digest_every: Some(3_000),
        record: Some(header()),
        ..Options::default()
    };
    let mut world = World::solo(record);
    for round in 0..60 {
        for kind in b"ewrcn" {
            world.frame(A, &[*kind, round]);
        }
        world.frame(A, &[b's', round % 3]);
        world.run_for(Span::from_ms(2));
    }
    world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    world.run_for(Span::from_ms(100));
    let mut reader = LogReader::default();
    reader.push(&world.process(A).file);
    assert!(reader.header().unwrap().is_some());
    std::iter::from_fn(|| reader.frame().unwrap()).flatten().collect()
}

/// Plays entries back. How many digests were compared, and how many slices that took.
fn play(entries: &[Entry], slice: u64) -> Result<(u64, u64), PlaybackError> {
    let mut encoder = Encoder::new(Step(0));
    for entry in entries {
        encoder.push(entry);
    }
    let mut reader = LogReader::default();
    reader.push(&header().to_file());
    reader.push(&encoder.finish().unwrap().bytes);
    assert!(reader.header().unwrap().is_some());
    let mut playback = Playback::new(Toy::new(), reader, Step::NEVER);
    playback.push(&[]);
    for slices in 1.. {
        match playback.slice(&AtomicBool::new(false), slice)? {
            Playing::Busy => {}
            Playing::Ended(_) => return Ok((playback.digests(), slices)),
            other => panic!("{other:?}"),
        }
    }
    unreachable!()
}

fn places(entries: &[Entry], is_kind: fn(&EntryKind) -> bool) -> Vec<usize> {
    let found = entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| is_kind(&entry.kind));
    found.map(|(place, _)| place).collect()
}

fn begins(entries: &[Entry]) -> Vec<usize> {
    places(entries, |kind| *kind == EntryKind::DigestBegins)
}

fn ends(entries: &[Entry]) -> Vec<usize> {
    places(entries, |kind| matches!(kind, EntryKind::DigestEnds(_)))
}

#[test]
fn a_digest_of_many_pages_ends_later_and_is_equal_wherever_a_replay_stops() {
    let entries = entries();
    let (begins, ends) = (begins(&entries), ends(&entries));
    assert!(
        begins.len() > 5 && begins.len() - ends.len() <= 1,
        "{begins:?} {ends:?}"
    );
    let at_once = places(&entries, |kind| matches!(kind, EntryKind::Digest(_)));
    let mut inputs = 0;
    for (begin, end) in begins.iter().zip(&ends) {
        assert!(begin < end);
        let between = begin + 1..*end;
        assert!(
            !at_once.iter().any(|place| between.contains(place)),
            "no other is due"
        );
        inputs += between
            .filter(|&place| matches!(entries[place].kind, EntryKind::Input(_)))
            .count();
    }
    assert!(inputs > 20, "the guest was disturbed {inputs} times meanwhile");
    for slice in [u64::MAX, 1_000, 7] {
        let (digests, _) = play(&entries, slice).unwrap();
        assert_eq!(digests as usize, ends.len() + at_once.len());
    }
}

#[test]
fn what_differs_is_told_with_the_step_of_the_begin() {
    let mut entries = entries();
    let (begin, end) = (begins(&entries)[2], ends(&entries)[2]);
    let at = entries[begin].at;
    assert!(at < entries[end].at);
    let EntryKind::DigestEnds(digest) = &mut entries[end].kind else {
        panic!("{:?}", entries[end]);
    };
    digest.parts[2].1 ^= 1;
    let expected = Divergence {
        at,
        part: digest.parts[2].0.clone(),
    };
    assert_eq!(play(&entries, u64::MAX), Err(PlaybackError::Diverged(expected)));
}

#[test]
fn an_end_without_a_begin_is_passed_over_and_a_later_begin_counts() {
    let entries = entries();
    let (all, _) = play(&entries, u64::MAX).unwrap();
    // As for an apprentice whose cut lies between.
    let mut without = entries.clone();
    without.remove(begins(&entries)[0]);
    assert_eq!(play(&without, 500).unwrap().0, all - 1);
    // As after a takeover: one that had begun never ends.
    let (begin, end) = (begins(&entries)[1], ends(&entries)[0]);
    let mut twice = entries.clone();
    twice.insert(
        end + 1,
        Entry {
            at: entries[end].at,
            kind: EntryKind::DigestBegins,
        },
    );
    assert!(end < begin);
    assert_eq!(play(&twice, 500).unwrap().0, all);
}

#[test]
fn a_replay_that_hashes_later_than_its_log_does_it_in_portions() {
    let mut entries = entries();
    let (begin, end) = (begins(&entries)[3], ends(&entries)[3]);
    let (_, before) = play(&entries, u64::MAX).unwrap();
    // The end follows at once.
    let mut digest = entries.remove(end);
    digest.at = entries[begin].at;
    entries.insert(begin + 1, digest);
    let (_, slices) = play(&entries, u64::MAX).unwrap();
    assert!(slices > 7 && slices >= before, "{slices} slices");
}
