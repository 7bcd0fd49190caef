//! `Record`: what a bulk link carries, and `Pages`, the record that a clone is mostly made of.
//!
//! The guest thread of the sender makes records, the guest thread of the receiver gets them; `codec` knows
//! their bytes. Nothing here knows a guest: the size of a page is an argument.

use crate::limits::{BULK_CONTENTS_MAX, BULK_PAGE_LEN_MAX, BULK_PAGES_MAX, BULK_PIECE_LEN_MAX};

/// Bytes of the SHA-256 that names an image.
pub const IMAGE_NAME_LEN: usize = 32;
/// What [`Pages`] cost in the queues for each page number, in bytes.
const NUMBER_COST: usize = std::mem::size_of::<Entry>();
/// What a record costs in the queues beside its content, in bytes.
const RECORD_COST: usize = 256;

static ZEROS: [u8; BULK_PAGE_LEN_MAX] = [0; BULK_PAGE_LEN_MAX];

/// A record of a bulk link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A piece of an image that the receiver lacks: firmware, kernel, initrd.
    Image {
        /// SHA-256 of the whole image. Nobody has compared it with the pieces; the receiver of them must.
        image: [u8; IMAGE_NAME_LEN],
        /// The image's length and the piece.
        piece: Piece,
    },
    /// Pages of the guest's memory.
    Pages(Pages),
    /// A piece of the machine's state at the cut.
    State(Piece),
    /// The word that every page that was owed has been sent, and the whole state.
    Sealed,
}

/// A piece of something longer. Pieces come in order and without gaps, each of 1 to
/// [`BULK_PIECE_LEN_MAX`] bytes; something empty is one empty piece.
#[derive(Clone, PartialEq, Eq)]
pub struct Piece {
    /// Length in bytes of the whole.
    pub length: u64,
    /// Bytes before this piece.
    pub offset: u64,
    /// The piece's bytes.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Piece({} at {} of {})",
            self.bytes.len(),
            self.offset,
            self.length
        )
    }
}

impl Piece {
    /// Cuts something whole into pieces, for what is in memory anyway.
    pub fn cut(whole: &[u8]) -> impl Iterator<Item = Piece> {
        // Nothing is one empty piece.
        let starts = (0..whole.len().max(1)).step_by(BULK_PIECE_LEN_MAX);
        starts.map(|start| Piece::at(whole, start))
    }

    /// The piece of something whole that begins behind so many bytes.
    ///
    /// # Panics
    /// It has not so many.
    #[must_use]
    pub fn at(whole: &[u8], start: usize) -> Piece {
        let rest = &whole[start..];
        Piece {
            length: whole.len() as u64,
            offset: start as u64,
            bytes: rest[..rest.len().min(BULK_PIECE_LEN_MAX)].to_vec(),
        }
    }
}

impl Record {
    /// What the record counts for in the queues of a bulk link: about the bytes of memory that it takes.
    #[must_use]
    pub fn cost(&self) -> usize {
        match self {
            Record::Image { piece, .. } | Record::State(piece) => RECORD_COST + piece.bytes.len(),
            Record::Pages(pages) => RECORD_COST + NUMBER_COST * pages.entries.len() + pages.content.len(),
            Record::Sealed => RECORD_COST,
        }
    }

    /// Bytes of content before they are compressed.
    #[must_use]
    pub fn content_len(&self) -> usize {
        match self {
            Record::Image { piece, .. } | Record::State(piece) => piece.bytes.len(),
            Record::Pages(pages) => pages.content.len(),
            Record::Sealed => 0,
        }
    }
}

/// A page in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Number of the page.
    pub page: u32,
    /// Whether the page has other bytes than zeros, which are then in the content.
    pub has_content: bool,
}

/// Pages of one round, in any order; the same page may come twice, and the later content holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Pages {
    pub(super) round: u32,
    pub(super) page_len: usize,
    pub(super) entries: Vec<Entry>,
    /// Contents of those pages that have one, in the order of `entries`, each `page_len` bytes.
    pub(super) content: Vec<u8>,
}

impl std::fmt::Debug for Pages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pages, bytes) = (self.entries.len(), self.content.len());
        write!(f, "Pages({pages} of round {}, {bytes} bytes)", self.round)
    }
}

impl Pages {
    /// No pages yet, of a guest whose pages have `page_len` bytes. Contents are collected in `buffer`, whose
    /// own bytes are dropped; one that was used before saves the kernel from giving memory anew.
    ///
    /// # Panics
    /// The page size is 0 or above [`BULK_PAGE_LEN_MAX`].
    #[must_use]
    pub fn new(round: u32, page_len: usize, mut buffer: Vec<u8>) -> Pages {
        assert!(
            (1..=BULK_PAGE_LEN_MAX).contains(&page_len),
            "pages of {page_len} bytes"
        );
        buffer.clear();
        Pages {
            round,
            page_len,
            entries: Vec::new(),
            content: buffer,
        }
    }

    /// Adds a page. A page of zeros is noticed, and its content is not kept.
    ///
    /// # Panics
    /// The pages are full, or the content has not the size of a page.
    pub fn push(&mut self, page: u32, content: &[u8]) {
        assert!(!self.is_full(), "more pages than a record holds");
        assert_eq!(content.len(), self.page_len, "the size of a page");
        let has_content = Some(content) != ZEROS.get(..content.len());
        if has_content {
            if self.content.capacity() == 0 {
                // All at once, since growing copies what is there.
                self.content.reserve_exact(BULK_CONTENTS_MAX * self.page_len);
            }
            self.content.extend_from_slice(content);
        }
        self.entries.push(Entry { page, has_content });
    }

    /// Whether the record holds as many pages as it may: [`BULK_CONTENTS_MAX`] with content, or
    /// [`BULK_PAGES_MAX`] of any kind.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.entries.len() >= BULK_PAGES_MAX || self.contents() >= BULK_CONTENTS_MAX
    }

    /// Number of pages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no page.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Number of pages that are not all zeros.
    #[must_use]
    pub fn contents(&self) -> usize {
        self.content.len() / self.page_len
    }

    /// Number of the round in which the pages were copied.
    #[must_use]
    pub fn round(&self) -> u32 {
        self.round
    }

    /// Each page's number with its content, in the order in which they were added. `None`: the page is all
    /// zeros.
    pub fn iter(&self) -> impl Iterator<Item = (u32, Option<&[u8]>)> {
        let mut contents = self.content.chunks_exact(self.page_len);
        self.entries.iter().map(move |entry| {
            let content = if entry.has_content { contents.next() } else { None };
            (entry.page, content)
        })
    }

    /// The buffer of the contents, to be used again.
    #[must_use]
    pub fn into_buffer(self) -> Vec<u8> {
        self.content
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_given_out_as_they_were_added_and_zeros_without_content() {
        let mut pages = Pages::new(3, 4, vec![9; 10]);
        for (page, content) in [(7, [0; 4]), (2, [1, 0, 0, 0]), (7, [0, 0, 0, 2]), (0, [0; 4])] {
            pages.push(page, &content);
        }
        let expected: [(u32, Option<&[u8]>); 4] = [
            (7, None),
            (2, Some(&[1, 0, 0, 0])),
            (7, Some(&[0, 0, 0, 2])),
            (0, None),
        ];
        assert_eq!(pages.iter().collect::<Vec<_>>(), expected);
        assert_eq!((pages.len(), pages.contents(), pages.round()), (4, 2, 3));
        assert_eq!(pages.into_buffer(), [1, 0, 0, 0, 0, 0, 0, 2]);
    }

    #[test]
    fn pages_are_full_with_so_many_contents_or_so_many_numbers() {
        let mut pages = Pages::new(1, 64, Vec::new());
        for page in 0..BULK_CONTENTS_MAX as u32 {
            assert!(!pages.is_full());
            pages.push(page, &[1; 64]);
        }
        assert!(pages.is_full());
        let mut pages = Pages::new(1, 64, Vec::new());
        for page in 0..BULK_PAGES_MAX as u32 {
            assert!(!pages.is_full());
            pages.push(page, &[0; 64]);
        }
        assert!(pages.is_full());
    }

    #[test]
    fn pieces_make_up_the_whole() {
        for length in [
            0,
            1,
            BULK_PIECE_LEN_MAX,
            BULK_PIECE_LEN_MAX + 1,
            3 * BULK_PIECE_LEN_MAX,
        ] {
            let whole: Vec<u8> = (0..length).map(|index| index as u8).collect();
            let pieces: Vec<Piece> = Piece::cut(&whole).collect();
            assert_eq!(pieces.len(), length.div_ceil(BULK_PIECE_LEN_MAX).max(1));
            let mut joined = Vec::new();
            for piece in pieces {
                assert_eq!((piece.offset, piece.length), (joined.len() as u64, length as u64));
                joined.extend(piece.bytes);
            }
            assert!(joined == whole);
        }
    }
}
