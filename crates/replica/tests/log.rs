//! The log: its bytes, and what is refused.
//!
//! The golden files show that the format has not changed; random entries that it loses nothing, and random
//! bytes that nothing in it can make a reader panic.

mod world;

use machine::{Control, DiskStatus, Input, PowerState, Step};
use proptest::prelude::*;
use replica::{
    Digest, Entry, EntryKind, Epoch, LogError, LogReader, Mark, Seq,
    log::codec::{self, Decoder, Encoder, Extent, FrameError},
};
use world::header;

fn entry(at: u64, kind: EntryKind) -> Entry {
    Entry { at: Step(at), kind }
}

/// One of each.
fn one_of_each() -> Vec<Entry> {
    let input = |at, input| entry(at, EntryKind::Input(input));
    let mark = |mark| entry(500_001, EntryKind::Mark(mark));
    vec![
        input(
            0,
            Input::Clock {
                mtime: 0,
                rate: 42_949_672,
            },
        ),
        entry(1_000, EntryKind::Progress),
        input(
            1_000,
            Input::Console {
                port: 1,
                bytes: b"ls\n".to_vec(),
            },
        ),
        input(
            1_001,
            Input::NetFrame {
                port: 0,
                frame: vec![0xab; 20],
            },
        ),
        entry(250_000, EntryKind::Output { check: 0xdead_beef }),
        input(
            250_000,
            Input::Clock {
                mtime: 10_000,
                rate: 42_949_672,
            },
        ),
        input(
            300_000,
            Input::DiskDone {
                disk: 2,
                id: 300,
                status: DiskStatus::Ok,
                data: vec![1, 2, 3],
            },
        ),
        input(
            300_000,
            Input::DiskDone {
                disk: 2,
                id: 301,
                status: DiskStatus::Failed,
                data: vec![],
            },
        ),
        input(300_500, Input::Entropy { bytes: vec![9; 4] }),
        input(400_000, Input::Control(Control::Reset)),
        entry(
            400_000,
            EntryKind::Digest(Digest {
                parts: vec![("hart 0".to_owned(), 1), ("ram".to_owned(), 2)],
            }),
        ),
        input(
            500_000,
            Input::Clock {
                mtime: 25_000,
                rate: 40_000_000,
            },
        ),
        input(500_000, Input::Break { port: 1 }),
        input(
            500_001,
            Input::DiskSize {
                disk: 2,
                sectors: 8_388_608,
            },
        ),
        mark(Mark::Guarded {
            epoch: Epoch(300),
            owner: 0x0123_4567_89ab_cdef,
            member: u128::MAX,
        }),
        mark(Mark::HandedOver { epoch: Epoch(300) }),
        mark(Mark::Quiesce),
        mark(Mark::Quiet),
        mark(Mark::Snapshot(77)),
        mark(Mark::Resume),
        mark(Mark::Dismissed { member: u128::MAX }),
        entry(500_001, EntryKind::DigestBegins),
        entry(
            500_001,
            EntryKind::DigestEnds(Digest {
                parts: vec![("hart 0".to_owned(), 3), ("ram".to_owned(), 4)],
            }),
        ),
        input(500_001, Input::Control(Control::PowerOff)),
        entry(500_001, EntryKind::Off(PowerState::Failed(3))),
        entry(500_001, EntryKind::Off(PowerState::Off)),
    ]
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .chunks(32)
        .map(|line| line.iter().map(|byte| format!("{byte:02x}")).collect::<String>() + "\n")
        .collect()
}

fn encode(entries: &[Entry]) -> Vec<u8> {
    let mut encoder = Encoder::new(Step(0));
    for entry in entries {
        encoder.push(entry);
    }
    encoder.finish().unwrap().bytes.to_vec()
}

#[test]
fn the_marks_of_pauses_have_these_bytes() {
    // They came into version 5 after its golden file was made.
    let entries = [true, false].map(|paused| entry(500_000, EntryKind::Mark(Mark::Paused(paused))));
    let bytes = encode(&entries);
    assert_eq!(bytes[16..], [29, 0xa0, 0xc2, 0x1e, 1, 29, 0, 0]);
    let mut decoder = Decoder::new(Step(0));
    assert_eq!(decoder.frame(&bytes).unwrap(), entries);
}

#[test]
fn version_5_is_these_bytes() {
    // docs/log-format.md: this file never changes; a new version gets a new one.
    let mut bytes = header().to_file().to_vec();
    bytes.extend(encode(&one_of_each()));
    let golden = include_str!("log-v5.hex");
    assert_eq!(
        hex(&bytes),
        golden,
        "the format has changed: that needs a new version"
    );
    let mut reader = LogReader::default();
    reader.push(&bytes);
    assert_eq!(reader.header().unwrap(), Some(&header()));
    // The first Off ends the log, so the sample has one too many: read up to it.
    assert!(matches!(reader.frame(), Err(LogError::AfterOff { .. })));
    let whole = codec::extent(&encode(&one_of_each())).unwrap();
    assert!(matches!(whole, Extent::Bytes(_)));
    assert_eq!(
        Decoder::new(Step(0)).frame(&encode(&one_of_each())).unwrap(),
        one_of_each()
    );
}

/// The golden files of older versions.
const OLDER: [(u32, &str); 4] = [
    (1, include_str!("log-v1.hex")),
    (2, include_str!("log-v2.hex")),
    (3, include_str!("log-v3.hex")),
    (4, include_str!("log-v4.hex")),
];

fn unhex(golden: &str) -> Vec<u8> {
    let digits: String = golden.split_whitespace().collect();
    let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    (0..digits.len()).step_by(2).map(digit).collect()
}

#[test]
fn an_older_log_can_still_be_looked_at() {
    for (version, golden) in OLDER {
        let mut reader = LogReader::to_look_at();
        reader.push(&unhex(golden));
        let header = reader.header().unwrap().cloned().unwrap();
        // Before version 4 no header said of which model its machine was.
        let model = u32::from(version >= 4);
        assert_eq!(
            (header.model, header.memory),
            (model, 64 << 20),
            "version {version}"
        );
        let known = one_of_each();
        // The sample has both ends of a log behind each other, so its frame is decoded by itself.
        let bytes = unhex(golden);
        let body = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
        let entries = Decoder::new(Step(0)).frame(&bytes[20 + body..]).unwrap();
        assert!(
            entries
                .iter()
                .all(|entry| known.iter().any(|one| one.kind == entry.kind))
        );
        assert!(
            entries.len() >= 15,
            "version {version} has {} entries",
            entries.len()
        );
    }
}

#[test]
fn an_older_log_is_refused_with_what_to_do_before_anything_is_replayed() {
    // Version 1 marks flushes as outputs: a replay would part from it at the first one. Version 2 does not
    // say by which registers virtio devices are driven, and was written by other devices. Version 3 does not
    // say of which model its machine was.
    for (version, golden) in OLDER {
        let mut reader = LogReader::default();
        reader.push(&unhex(golden));
        let header = reader.header();
        if version == 4 {
            // It has nothing that means something else today.
            assert!(header.unwrap().is_some());
            continue;
        }
        assert_eq!(
            header.unwrap_err().to_string(),
            format!(
                "the log has format version {version} and this program reads versions 4 to 5; \
                 use the release that recorded it"
            )
        );
    }
}

#[test]
fn a_clock_entry_costs_a_few_bytes() {
    let mut encoder = Encoder::new(Step(0));
    let clock = |n: u64| {
        entry(
            n * 100_000,
            EntryKind::Input(Input::Clock {
                mtime: n * 10_000,
                rate: 429_496_729,
            }),
        )
    };
    encoder.push(&clock(1));
    let first = encoder.bytes();
    encoder.push(&clock(2));
    assert!(encoder.bytes() - first <= 7, "{}", encoder.bytes() - first);
}

fn any_input() -> impl Strategy<Value = Input> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        (0..1u64 << 56, any::<u32>()).prop_map(|(mtime, rate)| Input::Clock { mtime, rate }),
        (any::<u8>(), bytes()).prop_map(|(port, bytes)| Input::Console { port, bytes }),
        (any::<u8>(), bytes()).prop_map(|(port, frame)| Input::NetFrame { port, frame }),
        (any::<u8>(), any::<u64>(), any::<bool>(), bytes()).prop_map(|(disk, id, ok, data)| {
            let status = if ok { DiskStatus::Ok } else { DiskStatus::Failed };
            Input::DiskDone {
                disk,
                id,
                status,
                data,
            }
        }),
        bytes().prop_map(|bytes| Input::Entropy { bytes }),
        any::<u8>().prop_map(|port| Input::Break { port }),
        (any::<u8>(), any::<u64>()).prop_map(|(disk, sectors)| Input::DiskSize { disk, sectors }),
        Just(Input::Control(Control::PowerOff)),
        Just(Input::Control(Control::Reset)),
    ]
}

fn any_kind() -> impl Strategy<Value = EntryKind> {
    let part = ("[a-z ]{0,12}", any::<u64>());
    prop_oneof![
        6 => any_input().prop_map(EntryKind::Input),
        2 => any::<u32>().prop_map(|check| EntryKind::Output { check }),
        2 => Just(EntryKind::Progress),
        1 => (any::<bool>(), prop::collection::vec(part, 0..5)).prop_map(|(ends, parts)| {
            let digest = Digest { parts };
            if ends { EntryKind::DigestEnds(digest) } else { EntryKind::Digest(digest) }
        }),
        1 => Just(EntryKind::DigestBegins),
        1 => Just(EntryKind::Off(PowerState::Off)),
        1 => any::<u16>().prop_map(|code| EntryKind::Off(PowerState::Failed(code))),
    ]
}

fn any_entries() -> impl Strategy<Value = Vec<Entry>> {
    let one = (0..1u64 << 30, any_kind());
    prop::collection::vec(one, 1..40).prop_map(|list| {
        let mut at = 0;
        let step = |(delta, kind): (u64, EntryKind)| {
            at += delta;
            entry(at, kind)
        };
        list.into_iter().map(step).collect()
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(entries in any_entries(), split in 1usize..10) {
        let mut encoder = Encoder::new(Step(0));
        let mut decoder = Decoder::new(Step(0));
        let mut back = Vec::new();
        for chunk in entries.chunks(split) {
            for entry in chunk {
                encoder.push(entry);
            }
            let frame = encoder.finish().unwrap();
            prop_assert_eq!(frame.entries, chunk.len() as u64);
            back.extend(decoder.frame(&frame.bytes).unwrap());
            prop_assert_eq!(decoder.seq(), frame.last);
        }
        prop_assert_eq!(&back, &entries);
        prop_assert_eq!(decoder.seq(), Seq(entries.len() as u64));
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        flip in any::<(usize, u8)>(),
    ) {
        let _ = Decoder::new(Step(0)).frame(&bytes);
        let _ = replica::peer::message::Message::decode(&bytes);
        let _ = replica::peer::heartbeat::Heartbeat::decode(&bytes);
        let mut reader = LogReader::default();
        reader.push(&bytes);
        let _ = reader.frame();
        // A frame with the right checksum and wrong content gets further.
        let mut frame = encode(&one_of_each());
        let body = frame.len() - codec::FRAME_HEAD;
        frame[codec::FRAME_HEAD + flip.0 % body] = flip.1;
        let crc = crc32c::crc32c(&frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        let _ = Decoder::new(Step(0)).frame(&frame);
    }

    #[test]
    fn a_flipped_bit_is_found(at in any::<usize>(), bit in 0..8u8) {
        let mut frame = encode(&one_of_each());
        let length = frame.len();
        frame[at % length] ^= 1 << bit;
        let decoded = Decoder::new(Step(0)).frame(&frame);
        prop_assert!(!matches!(decoded, Ok(entries) if entries.len() == one_of_each().len()));
    }
}

/// A frame with this body and a right checksum, as a peer of bad will would send it.
fn forged(body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32).to_le_bytes().to_vec();
    let rest = [&1u64.to_le_bytes(), body].concat();
    frame.extend(crc32c::crc32c(&rest).to_le_bytes());
    frame.extend(rest);
    frame
}

#[test]
fn absurd_claims_are_refused() {
    // E2: steps, lengths and counts that no log has.
    let absurd: [&[u8]; 7] = [
        // Progress by 2^60 steps.
        &[0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
        // A frame of 2^40 bytes.
        &[5, 0, 0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20],
        // A digest of a million parts.
        &[11, 0, 0xc0, 0x84, 0x3d],
        &[28, 0, 0xc0, 0x84, 0x3d],
        // mtime before 0.
        &[2, 0, 1],
        // An unknown kind.
        &[99, 0],
        // A number written longer than it need be.
        &[0, 0x80, 0x00],
    ];
    for body in absurd {
        let result = Decoder::new(Step(0)).frame(&forged(body));
        assert!(
            matches!(result, Err(FrameError::Entry(1, _))),
            "{body:?}: {result:?}"
        );
    }
    assert!(matches!(codec::extent(&[0xff; 16]), Err(FrameError::Length(_))));
}

#[test]
fn a_missing_or_doubled_frame_is_refused() {
    let mut encoder = Encoder::new(Step(0));
    encoder.push(&entry(1, EntryKind::Progress));
    let first = encoder.finish().unwrap();
    encoder.push(&entry(2, EntryKind::Progress));
    let second = encoder.finish().unwrap();
    let order = |found, wanted| Err(FrameError::Order { found, wanted });
    assert_eq!(Decoder::new(Step(0)).frame(&second.bytes), order(2, 1));
    let mut decoder = Decoder::new(Step(0));
    decoder.frame(&first.bytes).unwrap();
    assert_eq!(decoder.frame(&first.bytes), order(1, 2));
}
