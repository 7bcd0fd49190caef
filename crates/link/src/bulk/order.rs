//! `Order`: whether the pieces that come over a bulk link make up whole things.
//!
//! The codec looks at single records; here is what only a sequence of them can show. Which records a clone
//! needs, and when, is the protocol's business.

use super::record::{IMAGE_NAME_LEN, Piece, Record};
use super::refusal::Refusal;

/// What has come of an image and of a state that are not whole yet.
#[derive(Debug, Default)]
pub struct Order {
    image: Option<([u8; IMAGE_NAME_LEN], Rest)>,
    state: Option<Rest>,
}

/// What is still to come of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rest {
    /// Length in bytes of the whole.
    length: u64,
    /// Bytes that have come: where the next piece begins.
    offset: u64,
}

impl Order {
    /// Looks at the next record.
    ///
    /// # Errors
    /// A piece is not the next one of what is not whole yet, or the clone ends before it is whole.
    pub fn check(&mut self, record: &Record) -> Result<(), Refusal> {
        match record {
            Record::Image { image, piece } => {
                if self.image.is_some_and(|(unfinished, _)| unfinished != *image) {
                    return Err(Refusal::Damaged("an image begins before the one before is whole"));
                }
                let rest = next(self.image.map(|(_, rest)| rest), piece)?;
                self.image = rest.map(|rest| (*image, rest));
            }
            Record::State(piece) => self.state = next(self.state, piece)?,
            Record::Sealed if self.image.is_some() || self.state.is_some() => {
                return Err(Refusal::Damaged(
                    "the clone's end comes before an image or its state is whole",
                ));
            }
            Record::Sealed | Record::Pages(_) => {}
        }
        Ok(())
    }
}

/// What is still to come after this piece; `None`: nothing is.
fn next(rest: Option<Rest>, piece: &Piece) -> Result<Option<Rest>, Refusal> {
    let expected = rest.unwrap_or(Rest {
        length: piece.length,
        offset: 0,
    });
    let found = Rest {
        length: piece.length,
        offset: piece.offset,
    };
    if found != expected {
        return Err(Refusal::Damaged(
            "a piece does not begin where the one before has ended",
        ));
    }
    let offset = piece.offset + piece.bytes.len() as u64;
    Ok((offset < piece.length).then_some(Rest {
        length: piece.length,
        offset,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(length: u64, offset: u64, bytes: usize) -> Piece {
        Piece {
            length,
            offset,
            bytes: vec![1; bytes],
        }
    }

    fn image(name: u8, piece: Piece) -> Record {
        Record::Image {
            image: [name; IMAGE_NAME_LEN],
            piece,
        }
    }

    fn check(records: &[Record]) -> Result<(), Refusal> {
        let mut order = Order::default();
        records.iter().try_for_each(|record| order.check(record))
    }

    #[test]
    fn whole_images_and_states_pass_also_between_each_other() {
        let records = [
            image(1, piece(5, 0, 3)),
            Record::State(piece(2, 0, 1)),
            image(1, piece(5, 3, 2)),
            image(2, piece(0, 0, 0)),
            Record::State(piece(2, 1, 1)),
            image(2, piece(1, 0, 1)),
            Record::Sealed,
            Record::State(piece(9, 0, 9)),
        ];
        assert_eq!(check(&records), Ok(()));
    }

    #[test]
    fn a_piece_out_of_place_is_refused() {
        let gap = Err(Refusal::Damaged(
            "a piece does not begin where the one before has ended",
        ));
        assert_eq!(check(&[Record::State(piece(5, 1, 1))]), gap);
        assert_eq!(
            check(&[Record::State(piece(5, 0, 2)), Record::State(piece(5, 3, 1))]),
            gap
        );
        assert_eq!(
            check(&[Record::State(piece(5, 0, 2)), Record::State(piece(5, 0, 2))]),
            gap
        );
        assert_eq!(
            check(&[Record::State(piece(5, 0, 2)), Record::State(piece(6, 2, 2))]),
            gap
        );
        assert_eq!(
            check(&[image(1, piece(5, 0, 2)), image(2, piece(5, 2, 2))]),
            Err(Refusal::Damaged("an image begins before the one before is whole"))
        );
    }

    #[test]
    fn a_clone_does_not_end_with_half_an_image_or_state() {
        let early = Err(Refusal::Damaged(
            "the clone's end comes before an image or its state is whole",
        ));
        assert_eq!(check(&[image(1, piece(5, 0, 2)), Record::Sealed]), early);
        assert_eq!(check(&[Record::State(piece(5, 0, 2)), Record::Sealed]), early);
    }
}
