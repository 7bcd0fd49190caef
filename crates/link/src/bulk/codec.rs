//! The bytes of records, both ways side by side.
//!
//! ```text
//! image    1, SHA-256 (32 bytes), length (8), offset (8), content
//! pages    2, round, count, for each page: its number; content of those pages that have one
//! state    3, length (8), offset (8), content
//! sealed   4
//! content  0, bytes as they are; or 1, length of the bytes, and the bytes as one LZ4 block
//! ```
//! Numbers with a size are little-endian; the others are varints (7 bits a byte, the lowest first, and as few
//! bytes as possible). A page's number is its difference from the number after the last page's, folded
//! (0, -1, 1, -2 become 0, 1, 2, 3), doubled, and 1 more if the page has content: so of a run of zero pages
//! each costs one byte, and a zero page anywhere near two.
//!
//! Decoding is strict: every record has one form that is accepted, but for what LZ4 does inside. A peer's
//! bytes are never believed: what they claim is compared with the limits and with the guest's size before
//! memory is given to it.

use lz4_flex::block::{self, CompressTable};

use super::record::{Entry, IMAGE_NAME_LEN, Pages, Piece, Record};
use super::refusal::Refusal;
use crate::limits::{
    BULK_CONTENTS_MAX, BULK_IMAGE_LEN_MAX, BULK_PAGES_MAX, BULK_PIECE_LEN_MAX, BULK_STATE_LEN_MAX,
};

const IMAGE: u8 = 1;
const PAGES: u8 = 2;
const STATE: u8 = 3;
const SEALED: u8 = 4;
const RAW: u8 = 0;
const LZ4: u8 = 1;
/// Longest varint in bytes.
const VARINT_LEN_MAX: usize = 10;

/// The size of the guest whose pages come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Bytes of a page: 1 to [`BULK_PAGE_LEN_MAX`](crate::limits::BULK_PAGE_LEN_MAX).
    pub page_len: usize,
    /// Number of pages. A page of this number or above ends the link.
    pub pages: u32,
}

/// What encodes records: the compressor's table, which is used again and again.
pub struct Encoder {
    table: CompressTable,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder {
            table: CompressTable::large(),
        }
    }
}

impl Encoder {
    /// Appends the bytes of a record to `body`; with `compress`, its content as LZ4 if that is shorter.
    /// `true`: it was.
    pub fn encode(&mut self, record: &Record, compress: bool, body: &mut Vec<u8>) -> bool {
        match record {
            Record::Image { image, piece } => {
                body.push(IMAGE);
                body.extend_from_slice(image);
                put_place(piece, body);
                self.put_content(&piece.bytes, compress, body)
            }
            Record::Pages(pages) => {
                body.push(PAGES);
                put_varint(u64::from(pages.round), body);
                put_varint(pages.entries.len() as u64, body);
                let mut expected = 0;
                for entry in &pages.entries {
                    let difference = i64::from(entry.page) - expected;
                    put_varint(fold(difference) << 1 | u64::from(entry.has_content), body);
                    expected = i64::from(entry.page) + 1;
                }
                self.put_content(&pages.content, compress, body)
            }
            Record::State(piece) => {
                body.push(STATE);
                put_place(piece, body);
                self.put_content(&piece.bytes, compress, body)
            }
            Record::Sealed => {
                body.push(SEALED);
                false
            }
        }
    }

    fn put_content(&mut self, content: &[u8], compress: bool, body: &mut Vec<u8>) -> bool {
        let start = body.len();
        if compress && !content.is_empty() {
            body.push(LZ4);
            put_varint(content.len() as u64, body);
            let head = body.len();
            body.resize(head + block::get_maximum_output_size(content.len()), 0);
            let packed = body.get_mut(head..).unwrap_or_default();
            // There is room for the worst case, so this cannot fail.
            let length = block::compress_into_with_table(content, packed, &mut self.table);
            if let Ok(length) = length
                && length < content.len()
            {
                body.truncate(head + length);
                return true;
            }
            body.truncate(start);
        }
        body.push(RAW);
        body.extend_from_slice(content);
        false
    }
}

/// The record whose bytes are `body`. Its content comes into `buffer`, whose own bytes are dropped.
///
/// # Errors
/// No correct peer sends these bytes, or they are of a kind that this release does not know.
pub fn decode(body: &[u8], shape: Shape, buffer: Vec<u8>) -> Result<Record, Refusal> {
    let (&kind, rest) = body
        .split_first()
        .ok_or(Refusal::Damaged("a record without a kind"))?;
    match kind {
        IMAGE => {
            let (image, rest) = rest
                .split_first_chunk::<IMAGE_NAME_LEN>()
                .ok_or(Refusal::Damaged("an image's record ends too soon"))?;
            Ok(Record::Image {
                image: *image,
                piece: piece(rest, BULK_IMAGE_LEN_MAX, buffer)?,
            })
        }
        PAGES => pages(rest, shape, buffer).map(Record::Pages),
        STATE => piece(rest, BULK_STATE_LEN_MAX, buffer).map(Record::State),
        SEALED if rest.is_empty() => Ok(Record::Sealed),
        SEALED => Err(Refusal::Damaged("something follows the end of the clone's pages")),
        kind => Err(Refusal::UnknownKind(kind)),
    }
}

fn pages(mut rest: &[u8], shape: Shape, buffer: Vec<u8>) -> Result<Pages, Refusal> {
    let round = u32::try_from(varint(&mut rest)?).map_err(|_| Refusal::Damaged("the number of a round"))?;
    let count = usize::try_from(varint(&mut rest)?).unwrap_or(usize::MAX);
    if count == 0 || count > BULK_PAGES_MAX {
        return Err(Refusal::Damaged("a record has no pages, or too many"));
    }
    let mut entries = Vec::with_capacity(count);
    let mut expected = 0_i64;
    let mut contents = 0;
    for _ in 0..count {
        let word = varint(&mut rest)?;
        let page = expected
            .checked_add(unfold(word >> 1))
            .and_then(|page| u32::try_from(page).ok())
            .filter(|page| *page < shape.pages)
            .ok_or(Refusal::Damaged("a page that the guest has not"))?;
        let has_content = word & 1 == 1;
        contents += usize::from(has_content);
        entries.push(Entry { page, has_content });
        expected = i64::from(page) + 1;
    }
    if contents > BULK_CONTENTS_MAX {
        return Err(Refusal::Damaged("a record has too many pages with content"));
    }
    let content = content(rest, contents * shape.page_len, buffer)?;
    if content.len() != contents * shape.page_len {
        return Err(Refusal::Damaged(
            "the content of pages has another length than they",
        ));
    }
    Ok(Pages {
        round,
        page_len: shape.page_len,
        entries,
        content,
    })
}

fn piece(rest: &[u8], length_max: u64, buffer: Vec<u8>) -> Result<Piece, Refusal> {
    let ends = Refusal::Damaged("a piece's record ends too soon");
    let (length, rest) = rest.split_first_chunk().ok_or(ends)?;
    let (offset, rest) = rest.split_first_chunk().ok_or(ends)?;
    let (length, offset) = (u64::from_le_bytes(*length), u64::from_le_bytes(*offset));
    if length > length_max {
        return Err(Refusal::Damaged("an image or a state is longer than any"));
    }
    let bytes = content(rest, BULK_PIECE_LEN_MAX, buffer)?;
    let end = offset.checked_add(bytes.len() as u64);
    if end.is_none_or(|end| end > length) || bytes.is_empty() && length > 0 {
        return Err(Refusal::Damaged(
            "a piece is outside of what it is a piece of, or empty",
        ));
    }
    Ok(Piece {
        length,
        offset,
        bytes,
    })
}

/// The content that `rest` holds, not longer than `length_max`.
fn content(rest: &[u8], length_max: usize, mut buffer: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let too_long = Refusal::Damaged("the content of a record is longer than any");
    buffer.clear();
    match rest.split_first() {
        Some((&RAW, bytes)) => {
            if bytes.len() > length_max {
                return Err(too_long);
            }
            buffer.extend_from_slice(bytes);
            Ok(buffer)
        }
        Some((&LZ4, mut packed)) => {
            let length = usize::try_from(varint(&mut packed)?).unwrap_or(usize::MAX);
            if length > length_max {
                return Err(too_long);
            }
            if packed.len() >= length {
                return Err(Refusal::Damaged("its content is longer for being compressed"));
            }
            buffer.resize(length, 0);
            match block::decompress_into(packed, &mut buffer) {
                Ok(unpacked) if unpacked == length => Ok(buffer),
                _ => Err(Refusal::Damaged("its content cannot be decompressed")),
            }
        }
        _ => Err(Refusal::Damaged("its content has no form that is known")),
    }
}

fn put_place(piece: &Piece, body: &mut Vec<u8>) {
    body.extend_from_slice(&piece.length.to_le_bytes());
    body.extend_from_slice(&piece.offset.to_le_bytes());
}

/// 0, -1, 1, -2 and so on become 0, 1, 2, 3 and so on.
fn fold(difference: i64) -> u64 {
    ((difference << 1) ^ (difference >> 63)) as u64
}

fn unfold(folded: u64) -> i64 {
    (folded >> 1) as i64 ^ -((folded & 1) as i64)
}

fn put_varint(mut value: u64, body: &mut Vec<u8>) {
    while value >= 0x80 {
        body.push(value as u8 | 0x80);
        value >>= 7;
    }
    body.push(value as u8);
}

fn varint(rest: &mut &[u8]) -> Result<u64, Refusal> {
    let mut value = 0_u64;
    for place in 0..VARINT_LEN_MAX {
        let (&byte, tail) = rest
            .split_first()
            .ok_or(Refusal::Damaged("a number ends too soon"))?;
        *rest = tail;
        // The tenth byte has room for one bit; a last byte of 0 would be another form of the same number.
        if place + 1 == VARINT_LEN_MAX && byte > 1 || place > 0 && byte == 0 {
            break;
        }
        value |= u64::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Refusal::Damaged("a number is not in its shortest form"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::BULK_PAGE_LEN_MAX;

    const SHAPE: Shape = Shape {
        page_len: 64,
        pages: 1 << 20,
    };

    fn encode(record: &Record, compress: bool) -> Vec<u8> {
        let mut body = Vec::new();
        Encoder::default().encode(record, compress, &mut body);
        body
    }

    fn pages(list: &[(u32, u8)]) -> Record {
        let mut pages = Pages::new(2, SHAPE.page_len, Vec::new());
        for &(page, byte) in list {
            pages.push(page, &[byte; 64]);
        }
        Record::Pages(pages)
    }

    /// The words with which these bytes are refused.
    fn refused(body: &[u8]) -> &'static str {
        match decode(body, SHAPE, Vec::new()) {
            Err(Refusal::Damaged(what)) => what,
            other => panic!("{other:?}"),
        }
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let piece = (any::<Vec<u8>>(), 0..1000_u64, 0..1000_u64).prop_map(|(bytes, offset, rest)| Piece {
            length: if bytes.is_empty() {
                0
            } else {
                offset + bytes.len() as u64 + rest
            },
            offset: if bytes.is_empty() { 0 } else { offset },
            bytes,
        });
        let list = prop::collection::vec((0..SHAPE.pages, 0..3_u8), 1..BULK_CONTENTS_MAX);
        prop_oneof![
            (any::<[u8; 32]>(), piece.clone()).prop_map(|(image, piece)| Record::Image { image, piece }),
            piece.prop_map(Record::State),
            list.prop_map(|list| pages(&list)),
            Just(Record::Sealed),
        ]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(record in any_record(), compress: bool) {
            let body = encode(&record, compress);
            prop_assert_eq!(decode(&body, SHAPE, vec![1; 5]), Ok(record));
        }

        #[test]
        fn a_record_that_ends_too_soon_or_goes_on_is_refused_or_another_whole_one(
            record in any_record(), compress: bool, cut in 0..100_usize,
        ) {
            let mut body = encode(&record, compress);
            body.truncate(body.len().saturating_sub(cut + 1));
            if let Ok(other) = decode(&body, SHAPE, Vec::new()) {
                prop_assert_ne!(other, record);
            }
        }

        #[test]
        fn any_bytes_are_a_record_or_refused(kind in 0..6_u8, bytes: Vec<u8>) {
            let body = [&[kind][..], &bytes].concat();
            if let Ok(record) = decode(&body, SHAPE, Vec::new()) {
                let again = encode(&record, false);
                prop_assert_eq!(decode(&again, SHAPE, Vec::new()), Ok(record));
            }
        }
    }

    #[test]
    fn zero_pages_of_a_run_cost_a_byte_each_and_others_two() {
        let head = encode(&pages(&[(7, 0)]), true).len() - 1;
        let run: Vec<(u32, u8)> = (7..507).map(|page| (page, 0)).collect();
        // The count of 500 pages takes a byte more.
        assert_eq!(encode(&pages(&run), true).len(), head + 1 + 500);
        let apart: Vec<(u32, u8)> = (0..100).map(|index| (index * 4000 + 40, 0)).collect();
        assert!(encode(&pages(&apart), true).len() <= head + 200);
    }

    #[test]
    fn content_is_compressed_as_one_block_and_sent_as_it_is_when_that_is_shorter() {
        let alike: Vec<(u32, u8)> = (0..64).map(|page| (page, 7)).collect();
        let (packed, raw) = (encode(&pages(&alike), true), encode(&pages(&alike), false));
        assert!(packed.len() < 150 && raw.len() > 64 * 64);
        let mut random = 1_u32;
        let bytes: Vec<u8> = (0..4096)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        let record = Record::State(Piece {
            length: 4096,
            offset: 0,
            bytes,
        });
        assert!(!Encoder::default().encode(&record, true, &mut Vec::new()));
        assert_eq!(encode(&record, true), encode(&record, false));
    }

    #[test]
    fn the_longest_record_is_not_longer_than_the_limit() {
        let shape = Shape {
            page_len: BULK_PAGE_LEN_MAX,
            pages: u32::MAX,
        };
        let mut pages = Pages::new(u32::MAX, shape.page_len, Vec::new());
        // Numbers as far apart as they can be; the zeros first, since contents fill the record.
        for index in 0..BULK_PAGES_MAX as u32 {
            let page = if index % 2 == 0 { 0 } else { u32::MAX - 1 };
            let is_zero = (index as usize) < BULK_PAGES_MAX - BULK_CONTENTS_MAX;
            pages.push(page, &vec![u8::from(!is_zero); shape.page_len]);
        }
        assert!(pages.is_full() && pages.contents() == BULK_CONTENTS_MAX);
        let record = Record::Pages(pages);
        let body = encode(&record, false);
        assert!(body.len() <= crate::limits::BULK_RECORD_LEN_MAX);
        assert_eq!(decode(&body, shape, Vec::new()), Ok(record));
    }

    #[test]
    fn what_no_correct_peer_sends_is_refused_with_words() {
        assert_eq!(
            decode(&[9, 1, 2], SHAPE, Vec::new()),
            Err(Refusal::UnknownKind(9))
        );
        assert_eq!(refused(&[]), "a record without a kind");
        assert_eq!(
            refused(&[SEALED, 0]),
            "something follows the end of the clone's pages"
        );
        // No page; 1025 pages; a number in a longer form than it needs.
        assert_eq!(refused(&[PAGES, 1, 0, RAW]), "a record has no pages, or too many");
        assert_eq!(
            refused(&[PAGES, 1, 0x81, 8]),
            "a record has no pages, or too many"
        );
        assert_eq!(refused(&[PAGES, 0x81, 0]), "a number is not in its shortest form");
        assert_eq!(
            refused(&[&[PAGES][..], &[0xff; 12]].concat()),
            "a number is not in its shortest form"
        );
        assert_eq!(refused(&[PAGES, 1, 1]), "a number ends too soon");
        // The page before page 0, and the first that the guest has not.
        assert_eq!(
            refused(&[PAGES, 1, 1, 1 << 1, RAW]),
            "a page that the guest has not"
        );
        let mut body = encode(&pages(&[(SHAPE.pages - 1, 0)]), false);
        decode(&body, SHAPE, Vec::new()).unwrap();
        body = encode(&pages(&[(SHAPE.pages, 0)]), false);
        assert_eq!(refused(&body), "a page that the guest has not");
        // 65 pages with content.
        let mut body = vec![PAGES, 1, 65];
        body.extend([1; 65]);
        assert_eq!(refused(&body), "a record has too many pages with content");
        let wrong_length = "the content of pages has another length than they";
        assert_eq!(refused(&[PAGES, 1, 1, 1, RAW, 5]), wrong_length);
        assert_eq!(
            refused(&[PAGES, 1, 1, 0, RAW, 5]),
            "the content of a record is longer than any"
        );
        assert_eq!(
            refused(&[PAGES, 1, 1, 0]),
            "its content has no form that is known"
        );
        assert_eq!(
            refused(&[PAGES, 1, 1, 0, 2]),
            "its content has no form that is known"
        );
        // LZ4: longer than it is allowed to become, not shorter than what it stands for, and broken.
        assert_eq!(
            refused(&[PAGES, 1, 1, 1, LZ4, 65, 0]),
            "the content of a record is longer than any"
        );
        let longer = "its content is longer for being compressed";
        assert_eq!(refused(&[PAGES, 1, 1, 1, LZ4, 2, 0, 0]), longer);
        assert_eq!(
            refused(&[PAGES, 1, 1, 1, LZ4, 64, 0xff, 0xff]),
            "its content cannot be decompressed"
        );
    }

    #[test]
    fn images_and_states_have_bounds_and_pieces_stay_inside_of_them() {
        let state = |length: u64, offset: u64, content: &[u8]| {
            [
                &[STATE][..],
                &length.to_le_bytes(),
                &offset.to_le_bytes(),
                content,
            ]
            .concat()
        };
        let too_long = "an image or a state is longer than any";
        decode(&state(BULK_STATE_LEN_MAX, 0, &[RAW, 1]), SHAPE, Vec::new()).unwrap();
        assert_eq!(refused(&state(BULK_STATE_LEN_MAX + 1, 0, &[RAW, 1])), too_long);
        let image = |length: u64| {
            [
                &[IMAGE; 33][..],
                &length.to_le_bytes(),
                &0_u64.to_le_bytes(),
                &[RAW, 1],
            ]
            .concat()
        };
        decode(&image(BULK_IMAGE_LEN_MAX), SHAPE, Vec::new()).unwrap();
        assert_eq!(refused(&image(BULK_IMAGE_LEN_MAX + 1)), too_long);
        let outside = "a piece is outside of what it is a piece of, or empty";
        decode(&state(3, 2, &[RAW, 1]), SHAPE, Vec::new()).unwrap();
        assert_eq!(refused(&state(3, 3, &[RAW, 1])), outside);
        assert_eq!(refused(&state(3, u64::MAX, &[RAW, 1])), outside);
        assert_eq!(refused(&state(3, 0, &[RAW])), outside);
        decode(&state(0, 0, &[RAW]), SHAPE, Vec::new()).unwrap();
        assert_eq!(refused(&[STATE, 1, 2]), "a piece's record ends too soon");
        assert_eq!(refused(&[IMAGE; 20]), "an image's record ends too soon");
        let piece = |length: usize| {
            let content = [&[RAW][..], &vec![1; length]].concat();
            state(1 << 20, 0, &content)
        };
        decode(&piece(BULK_PIECE_LEN_MAX), SHAPE, Vec::new()).unwrap();
        assert_eq!(
            refused(&piece(BULK_PIECE_LEN_MAX + 1)),
            "the content of a record is longer than any"
        );
    }
}
