//! Any bytes as a log file, as they are and with the checksums put right: the reader neither panics nor takes
//! memory that is not there, and it reads the same whether the file comes whole or in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use machine::Step;
use replica::{
    Entry, LogError, LogReader,
    log::codec::{Decoder, Encoder, FRAME_HEAD},
};

/// All entries that a reader finds if the bytes come in pieces of this length, and why it stopped.
fn read(bytes: &[u8], piece: usize) -> (Vec<Entry>, Option<LogError>) {
    let mut reader = LogReader::default();
    let mut entries = Vec::new();
    for piece in bytes.chunks(piece) {
        reader.push(piece);
        match reader.header() {
            Ok(Some(_)) => {}
            Ok(None) => continue,
            Err(why) => return (entries, Some(why)),
        }
        loop {
            match reader.frame() {
                Ok(Some(more)) => entries.extend(more),
                Ok(None) => break,
                Err(why) => return (entries, Some(why)),
            }
        }
    }
    (entries, None)
}

/// A frame around `body` with everything right but the body.
fn frame(first: u64, body: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c(&first.to_le_bytes()), body);
    let mut frame = Vec::with_capacity(FRAME_HEAD + body.len());
    frame.extend((body.len() as u32).to_le_bytes());
    frame.extend(crc.to_le_bytes());
    frame.extend(first.to_le_bytes());
    frame.extend(body);
    frame
}

fuzz_target!(|bytes: &[u8]| {
    let Some((&piece, rest)) = bytes.split_first() else {
        return;
    };
    let (whole, why) = read(rest, rest.len().max(1));
    let (pieces, other) = read(rest, usize::from(piece).max(1));
    assert_eq!(whole, pieces);
    assert_eq!(why.map(|why| why.to_string()), other.map(|why| why.to_string()));

    // Behind the checksum: the bytes are bodies of frames, and end at each byte that equals `piece`.
    let mut decoder = Decoder::new(Step(0));
    for body in rest.split(|&byte| byte == piece).filter(|body| !body.is_empty()) {
        let mut before = decoder.clone();
        let Ok(entries) = decoder.frame(&frame(before.seq().0 + 1, body)) else {
            return;
        };
        // What is read can be written again, and reads the same.
        let mut encoder = Encoder::resume(before.base());
        for entry in &entries {
            encoder.push(entry);
        }
        if let Some(written) = encoder.finish() {
            assert_eq!(before.frame(&written.bytes).unwrap(), entries);
        }
    }
});
