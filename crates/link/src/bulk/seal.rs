//! How the records of a bulk link stand on the wire: each with its length in front, and sealed if there is a
//! key.
//!
//! ```text
//! record   length of the body (4 bytes, little-endian), body
//! sealed   the body in pieces of at most 65519 bytes, each a Noise message: its bytes and a tag of 16 bytes
//! ```
//! Unlike on the main link, the number of a Noise message (its nonce) is not counted but reckoned from the
//! number of its record, so that several threads can seal records at once: 16 numbers for each record, of
//! which a piece takes twice its place, plus 1 if it is the last. The last piece is thereby known to be the
//! last, and a record whose length in front was changed on the way cannot be opened. Records count from 1;
//! the numbers below 16 belong to the handshake.
//!
//! Nothing here reads a socket, and no length is believed before it is compared with its bound.

use std::sync::Arc;

use snow::StatelessTransportState;

use super::refusal::Refusal;
use crate::limits::BULK_RECORD_LEN_MAX;

/// Bytes of a Noise message that are not content.
const TAG_LEN: usize = 16;
/// Most bytes of content in one Noise message.
const PIECE_LEN_MAX: usize = 65_535 - TAG_LEN;
/// Bytes of a record's length in front of it.
pub const LENGTH_LEN: usize = 4;
/// Nonces for each record.
const NONCES_PER_RECORD: u64 = 16;
/// Number of the first record.
pub const FIRST_RECORD: u64 = 1;
/// Longest sealed record on the wire.
pub const WIRE_RECORD_LEN_MAX: usize = wire_len(BULK_RECORD_LEN_MAX, true);

const _: () = assert!(2 * BULK_RECORD_LEN_MAX.div_ceil(PIECE_LEN_MAX) as u64 <= NONCES_PER_RECORD);

/// The keys of a bulk link's session; `None`: the link is neither encrypted nor authenticated. All threads of
/// one end share them.
pub type Keys = Option<Arc<StatelessTransportState>>;

/// Bytes on the wire of a record whose body is so long.
const fn wire_len(body_len: usize, sealed: bool) -> usize {
    let pieces = if sealed { pieces(body_len) } else { 0 };
    LENGTH_LEN + body_len + pieces * TAG_LEN
}

/// Pieces of a sealed body; an empty body is one empty piece.
const fn pieces(body_len: usize) -> usize {
    let pieces = body_len.div_ceil(PIECE_LEN_MAX);
    if pieces == 0 { 1 } else { pieces }
}

fn nonce(record: u64, piece: usize, last: bool) -> Option<u64> {
    let first = record.checked_mul(NONCES_PER_RECORD)?;
    first.checked_add(2 * piece as u64 + u64::from(last))
}

/// Appends record number `number`, whose body is `body`, to `out`, as it goes on the wire.
///
/// # Errors
/// The numbers are used up, which takes 2^60 records.
///
/// # Panics
/// The body is longer than [`BULK_RECORD_LEN_MAX`].
pub fn seal(keys: &Keys, number: u64, body: &[u8], out: &mut Vec<u8>) -> Result<(), Refusal> {
    assert!(
        body.len() <= BULK_RECORD_LEN_MAX,
        "a record of {} bytes",
        body.len()
    );
    out.reserve(wire_len(body.len(), keys.is_some()));
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    let Some(keys) = keys else {
        out.extend_from_slice(body);
        return Ok(());
    };
    for place in 0..pieces(body.len()) {
        let (piece, last) = piece(body, place);
        let start = out.len();
        out.resize(start + piece.len() + TAG_LEN, 0);
        let sealed = nonce(number, place, last)
            .and_then(|nonce| keys.write_message(nonce, piece, &mut out[start..]).ok());
        if sealed.is_none() {
            return Err(Refusal::NumbersUsedUp);
        }
    }
    Ok(())
}

/// The piece at this place of a body, and whether it is the last.
fn piece(body: &[u8], place: usize) -> (&[u8], bool) {
    let rest = body.get(place * PIECE_LEN_MAX..).unwrap_or_default();
    match rest.split_at_checked(PIECE_LEN_MAX) {
        Some((piece, rest)) => (piece, rest.is_empty()),
        None => (rest, true),
    }
}

/// Appends a word of the handshake, which has the first nonce of its direction: as it is without a key, else
/// with its length (2 bytes) in front. Each end says one word at most.
pub fn seal_word(keys: &Keys, word: &[u8], out: &mut Vec<u8>) {
    let Some(keys) = keys else {
        return out.extend_from_slice(word);
    };
    let mut sealed = vec![0; word.len() + TAG_LEN];
    // Nonce 0 exists, and there is room for the tag: nothing can fail.
    let length = keys.write_message(0, word, &mut sealed).unwrap_or(0);
    out.extend_from_slice(&(length as u16).to_le_bytes());
    out.extend_from_slice(sealed.get(..length).unwrap_or_default());
}

/// The word of the handshake that the other end has sealed, without its length. `None`: it is not sealed with
/// these keys.
#[must_use]
pub fn open_word(keys: &Keys, sealed: &[u8]) -> Option<Vec<u8>> {
    let Some(keys) = keys else {
        return Some(sealed.to_vec());
    };
    let mut word = vec![0; sealed.len()];
    let length = keys.read_message(0, sealed, &mut word).ok()?;
    word.truncate(length);
    Some(word)
}

/// Opens the records of a stream, one after the other.
#[derive(Debug)]
pub struct Opener {
    keys: Keys,
    /// Number of the next record.
    number: u64,
}

impl Opener {
    /// Opens from the first record on.
    pub fn new(keys: Keys) -> Opener {
        Opener {
            keys,
            number: FIRST_RECORD,
        }
    }

    /// Puts the body of the record at the beginning of `wire` into `body`, and gives the record's length on
    /// the wire. `None`: the record is not whole yet.
    ///
    /// # Errors
    /// The record is longer than any, or is not sealed with the keys of this link, or not at its place.
    pub fn open(&mut self, wire: &[u8], body: &mut Vec<u8>) -> Result<Option<usize>, Refusal> {
        let Some((length, _)) = wire.split_first_chunk::<LENGTH_LEN>() else {
            return Ok(None);
        };
        let body_len = u32::from_le_bytes(*length) as usize;
        if body_len > BULK_RECORD_LEN_MAX {
            return Err(Refusal::Damaged("it claims to be longer than any record"));
        }
        let wire_len = wire_len(body_len, self.keys.is_some());
        let Some(sealed) = wire.get(LENGTH_LEN..wire_len) else {
            return Ok(None);
        };
        body.clear();
        match &self.keys {
            None => body.extend_from_slice(sealed),
            Some(keys) => {
                body.resize(body_len, 0);
                let mut start = 0;
                for (place, message) in sealed.chunks(PIECE_LEN_MAX + TAG_LEN).enumerate() {
                    let last = place + 1 == pieces(body_len);
                    let content = body.get_mut(start..).unwrap_or_default();
                    let opened = nonce(self.number, place, last)
                        .and_then(|nonce| keys.read_message(nonce, message, content).ok())
                        .ok_or(Refusal::Damaged("it is not encrypted with the key of this link"))?;
                    start += opened;
                }
            }
        }
        self.number = self.number.checked_add(1).ok_or(Refusal::NumbersUsedUp)?;
        Ok(Some(wire_len))
    }
}

#[cfg(test)]
mod tests {
    use snow::Builder;

    use super::*;

    /// Keys of both ends of a session: initiator, responder.
    fn keys() -> (Keys, Keys) {
        let builder = || Builder::new("Noise_NN_25519_ChaChaPoly_BLAKE2s".parse().unwrap());
        let mut initiator = builder().build_initiator().unwrap();
        let mut responder = builder().build_responder().unwrap();
        let (mut message, mut content) = ([0; 128], [0; 128]);
        let length = initiator.write_message(&[], &mut message).unwrap();
        responder.read_message(&message[..length], &mut content).unwrap();
        let length = responder.write_message(&[], &mut message).unwrap();
        initiator.read_message(&message[..length], &mut content).unwrap();
        let keys =
            |state: snow::HandshakeState| Some(Arc::new(state.into_stateless_transport_mode().unwrap()));
        (keys(initiator), keys(responder))
    }

    fn body(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index * 7 + length) as u8).collect()
    }

    const LENGTHS: [usize; 9] = [
        0,
        1,
        PIECE_LEN_MAX - 1,
        PIECE_LEN_MAX,
        PIECE_LEN_MAX + 1,
        2 * PIECE_LEN_MAX,
        3 * PIECE_LEN_MAX + 5,
        BULK_RECORD_LEN_MAX - 1,
        BULK_RECORD_LEN_MAX,
    ];

    #[test]
    fn records_of_every_length_are_opened_as_they_were_sealed_byte_by_byte() {
        let (left, right) = keys();
        for (sealer, opener) in [(left, right), (None, None)] {
            let mut wire = Vec::new();
            for (number, length) in (FIRST_RECORD..).zip(LENGTHS) {
                seal(&sealer, number, &body(length), &mut wire).unwrap();
            }
            let mut opener = Opener::new(opener);
            let (mut rest, mut found) = (&wire[..], Vec::new());
            for length in LENGTHS {
                // One byte too few is no record yet.
                let whole = wire_len(length, sealer.is_some());
                assert_eq!(opener.open(&rest[..whole - 1], &mut found), Ok(None));
                assert_eq!(opener.open(rest, &mut found), Ok(Some(whole)));
                assert!(found == body(length), "{length}");
                rest = &rest[whole..];
            }
            assert_eq!(opener.open(rest, &mut found), Ok(None));
        }
    }

    #[test]
    fn records_that_were_changed_moved_repeated_or_cut_cannot_be_opened() {
        let damaged = Err(Refusal::Damaged("it is not encrypted with the key of this link"));
        let (sealer, keys) = keys();
        let sealed = |number, length| {
            let mut wire = Vec::new();
            seal(&sealer, number, &body(length), &mut wire).unwrap();
            wire
        };
        let mut found = Vec::new();
        let mut open = |wire: &[u8]| Opener::new(keys.clone()).open(wire, &mut found);
        // One bit, the second record as the first, and a record that was sealed by this end.
        let mut wire = sealed(1, 100);
        wire[50] ^= 1;
        assert_eq!(open(&wire), damaged);
        assert_eq!(open(&sealed(2, 100)), damaged);
        let mut own = Vec::new();
        seal(&keys, 1, &body(100), &mut own).unwrap();
        assert_eq!(open(&own), damaged);
        // A length that was changed, also to where a piece ends.
        for (length, claimed) in [
            (100, 99),
            (2 * PIECE_LEN_MAX, PIECE_LEN_MAX),
            (PIECE_LEN_MAX + 9, PIECE_LEN_MAX),
        ] {
            let mut wire = sealed(1, length);
            wire[..LENGTH_LEN].copy_from_slice(&(claimed as u32).to_le_bytes());
            assert_eq!(open(&wire), damaged, "{claimed} of {length}");
        }
        // A repetition.
        let wire = sealed(1, 100);
        let mut opener = Opener::new(keys.clone());
        assert!(opener.open(&wire, &mut found).is_ok());
        assert_eq!(opener.open(&wire, &mut found), damaged);
    }

    #[test]
    fn a_record_longer_than_any_is_refused_before_it_has_come() {
        let length = (BULK_RECORD_LEN_MAX as u32 + 1).to_le_bytes();
        let opened = Opener::new(None).open(&length, &mut Vec::new());
        assert_eq!(
            opened,
            Err(Refusal::Damaged("it claims to be longer than any record"))
        );
        let length = (BULK_RECORD_LEN_MAX as u32).to_le_bytes();
        assert_eq!(Opener::new(None).open(&length, &mut Vec::new()), Ok(None));
    }

    #[test]
    fn no_two_pieces_have_the_same_number() {
        let mut seen = std::collections::BTreeSet::new();
        for record in FIRST_RECORD..FIRST_RECORD + 3 {
            for place in 0..pieces(BULK_RECORD_LEN_MAX) {
                for last in [false, true] {
                    let nonce = nonce(record, place, last).unwrap();
                    assert!(nonce >= NONCES_PER_RECORD && seen.insert(nonce));
                }
            }
        }
        assert_eq!(nonce(u64::MAX / 8, 0, false), None);
    }
}
