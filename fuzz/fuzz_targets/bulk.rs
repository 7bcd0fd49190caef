//! Any bytes as the stream of a bulk link without a key: they are opened, decoded and put in order, or
//! refused, never with a panic, nor with more memory than the limits say; what is understood can be said
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use link::bulk::{Record, Shape};
use link::limits::{BULK_CONTENTS_MAX, BULK_PAGES_MAX, BULK_PIECE_LEN_MAX};
use link::parts::{Encoder, Opener, Order, decode};

const SHAPE: Shape = Shape {
    page_len: 64,
    pages: 4096,
};

fn check(record: &Record) {
    match record {
        Record::Pages(pages) => {
            assert!(pages.len() <= BULK_PAGES_MAX && pages.contents() <= BULK_CONTENTS_MAX);
            assert!(pages.iter().all(|(page, _)| page < SHAPE.pages));
        }
        Record::Image { piece, .. } | Record::State(piece) => {
            assert!(piece.bytes.len() <= BULK_PIECE_LEN_MAX);
            assert!(piece.offset + piece.bytes.len() as u64 <= piece.length);
        }
        Record::Sealed => {}
    }
    for compress in [false, true] {
        let mut body = Vec::new();
        Encoder::default().encode(record, compress, &mut body);
        assert_eq!(decode(&body, SHAPE, Vec::new()).as_ref(), Ok(record));
    }
}

fuzz_target!(|bytes: &[u8]| {
    // As one record, which gets further than a stream whose lengths must be right.
    if let Ok(record) = decode(bytes, SHAPE, Vec::new()) {
        check(&record);
    }
    let (mut opener, mut order) = (Opener::new(None), Order::default());
    let (mut rest, mut body) = (bytes, Vec::new());
    while let Ok(Some(length)) = opener.open(rest, &mut body) {
        rest = &rest[length..];
        let Ok(record) = decode(&body, SHAPE, Vec::new()) else {
            return;
        };
        check(&record);
        if order.check(&record).is_err() {
            return;
        }
    }
});
