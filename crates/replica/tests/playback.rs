//! Recording to a file and playing it back, in slices of any length, from files that are whole, cut or
//! damaged.
//!
//! A recording must give the same state at the same step however it is read, and must say where it is
//! damaged.

mod world;

use std::sync::atomic::{AtomicBool, Ordering};

use machine::{Control, Input, Step};
use replica::{
    Divergence, End, Event, Guest, LogError, LogReader, Options, Playback, PlaybackError, Playing, Span,
    log::codec,
};
use world::{A, B, Toy, World, header, options};

/// A recorded life that ends with the power off, or open.
fn recording(off: bool) -> (World, Vec<u8>) {
    let record = Options {
        digest_every: Some(2_000),
        record: Some(header()),
        ..Options::default()
    };
    let mut world = World::solo(record);
    for round in 0..30 {
        for kind in b"ewrcn" {
            world.frame(A, &[*kind, round]);
        }
        world.frame(A, &[b's', round % 3]);
        world.deliver(
            A,
            Event::Input(Input::Entropy {
                bytes: vec![round; 8],
            }),
        );
        world.run_for(Span::from_ms(3));
    }
    if off {
        world.deliver(A, Event::Input(Input::Control(Control::PowerOff)));
    }
    world.run_for(Span::from_ms(100));
    let file = world.process(A).file.clone();
    (world, file)
}

fn play(
    file: &[u8],
    until: Step,
    slice: u64,
    chunk: usize,
    cuts: bool,
) -> Result<(Toy, End, u64), PlaybackError> {
    let mut reader = LogReader::default();
    let mut chunks = file.chunks(chunk);
    while reader.header()?.is_none() {
        match chunks.next() {
            Some(bytes) => reader.push(bytes),
            None => break,
        }
    }
    let cut = AtomicBool::new(false);
    let mut playback = Playback::new(Toy::new(), reader, until);
    let mut turn = 0u64;
    loop {
        turn += 1;
        cut.store(cuts && turn.is_multiple_of(2), Ordering::Relaxed);
        match playback.slice(&cut, slice)? {
            Playing::Busy => {}
            Playing::Hungry => playback.push(chunks.next().unwrap_or_default()),
            Playing::Reached => {
                return Ok((
                    playback.guest().clone(),
                    End::Open { at: until },
                    playback.digests(),
                ));
            }
            Playing::Ended(end) => return Ok((playback.guest().clone(), end, playback.digests())),
        }
    }
}

#[test]
fn a_recording_plays_back_to_the_same_state_in_slices_of_any_length() {
    // FT 2.1-a, 2.1-b, 2.1-d, 2-d.
    let (world, file) = recording(true);
    let mut recorded = world.process(A).node.guest().clone();
    for (slice, chunk, cuts) in [
        (u64::MAX, 1 << 20, false),
        (7, 100, false),
        (1_000, 1, true),
        (1, 4096, false),
    ] {
        let (mut played, end, digests) = play(&file, Step::NEVER, slice, chunk, cuts).unwrap();
        assert_eq!(end, End::Off);
        assert_eq!(played.now(), recorded.now());
        assert_eq!(played.digest(), recorded.digest());
        assert!(digests >= 5, "{digests}");
    }
}

#[test]
fn a_playback_stops_where_it_is_told() {
    let (_, file) = recording(true);
    for until in [0, 1, 1234, 20_000] {
        let (toy, ..) = play(&file, Step(until), 100, 4096, false).unwrap();
        assert_eq!(toy.now(), Step(until));
    }
}

#[test]
fn a_cut_file_ends_cleanly_wherever_it_is_cut() {
    let (_, file) = recording(false);
    let mut kinds = [0; 3];
    for length in (0..file.len()).step_by(37).chain([file.len()]) {
        let (toy, end, _) = play(&file[..length], Step::NEVER, u64::MAX, 1 << 20, false).unwrap();
        match end {
            End::Cut { at, offset, bytes } => {
                kinds[0] += 1;
                assert_eq!(offset + bytes, length as u64);
                assert!(toy.now() >= at);
            }
            End::Open { at } => {
                kinds[1] += 1;
                assert_eq!(toy.now(), at);
            }
            End::Off => kinds[2] += 1,
        }
    }
    assert!(kinds[0] > 10 && kinds[1] >= 1 && kinds[2] == 0, "{kinds:?}");
}

#[test]
fn a_damaged_file_is_reported_with_its_offset() {
    let (_, file) = recording(true);
    let start = header().to_file().len();
    let mut damaged = file.clone();
    let at = start + (file.len() - start) / 2;
    damaged[at] ^= 0x10;
    match play(&damaged, Step::NEVER, u64::MAX, 1 << 20, false) {
        Err(PlaybackError::Log(LogError::Frame { offset, .. })) => {
            assert!(offset <= at as u64 && offset > start as u64);
        }
        Ok((_, End::Cut { offset, .. }, _)) => assert!(offset <= at as u64, "a length was hit"),
        other => panic!("{other:?}"),
    }
    let wrong = |at: usize, value: u8| {
        let mut file = file.clone();
        file[at] = value;
        let mut reader = LogReader::default();
        reader.push(&file);
        reader.header().map(|_| ()).unwrap_err()
    };
    assert_eq!(wrong(0, b'X'), LogError::Magic);
    assert_eq!(
        wrong(8, 9),
        LogError::Version {
            found: 9,
            oldest: codec::VERSION_OLDEST_REPLAYED
        }
    );
    assert_eq!(wrong(40, 0xee), LogError::HeaderChecksum);
}

#[test]
fn a_playback_of_another_machine_diverges() {
    let (_, file) = recording(true);
    let mut reader = LogReader::default();
    reader.push(&file);
    let broken = Toy::new().that_breaks_at(3_000);
    let mut playback = Playback::new(broken, reader, Step::NEVER);
    playback.push(&[]);
    let cut = AtomicBool::new(false);
    let error = loop {
        match playback.slice(&cut, u64::MAX) {
            Ok(Playing::Busy) => {}
            Ok(other) => panic!("{other:?}"),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(error, PlaybackError::Diverged(Divergence { at, .. }) if at >= Step(3_000)),
        "{error}"
    );
}

#[test]
fn both_halves_of_a_pair_write_the_same_file_and_the_survivor_goes_on_with_it() {
    let record = |owner| {
        let mut options = options(owner);
        options.run.record = Some(header());
        options
    };
    let mut world = World::pair_of(Toy::new(), Toy::new(), record(1), record(2));
    for round in 0..10 {
        world.frame(A, &[b'e', round]);
        world.frame(A, &[b'w', round]);
        world.run_for(Span::from_ms(3));
    }
    world.run_for(Span::from_ms(30));
    world.crash(A);
    let (one, two) = (world.process(A).file.clone(), world.process(B).file.clone());
    let common = one.len().min(two.len());
    assert!(common > 500);
    assert_eq!(one[..common], two[..common]);
    world.until("live", |world| world.process(B).live.is_some());
    for round in 0..10 {
        world.frame(B, &[b'e', round]);
        world.run_for(Span::from_ms(3));
    }
    world.deliver(B, Event::Input(Input::Control(Control::PowerOff)));
    world.until("off", |world| world.process(B).halted.is_some());
    let (mut played, end, _) = play(&world.process(B).file, Step::NEVER, u64::MAX, 1 << 20, false).unwrap();
    assert_eq!(end, End::Off);
    let mut live = world.process(B).node.guest().clone();
    assert_eq!(played.digest(), live.digest());
}
