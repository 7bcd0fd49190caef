//! `Batch`: pages of a guest's memory on their way to another machine.
//!
//! The machine that is cloned fills batches ([`Machine::copy_owed`](crate::Machine::copy_owed)); whoever
//! sends them may hand them to another thread, since a batch owns its bytes. On the other side each page is
//! placed ([`Machine::place`](crate::Machine::place)). How a batch looks on the wire is not known here.

/// What is in a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageContent<'a> {
    /// Every byte is zero.
    Zero,
    /// These bytes, exactly as many as a page has.
    Bytes(&'a [u8]),
}

/// Pages with their numbers, in the order in which they were added. A page may be in it twice; then the later
/// one holds. Only the bytes of pages that are not zero take memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// How many bytes a page of this guest has.
    page_bytes: usize,
    /// For each page its number, and whether it is all zero.
    pages: Vec<(u32, bool)>,
    /// The pages that are not zero, one after the other.
    content: Vec<u8>,
}

impl Batch {
    /// An empty batch of pages of so many bytes each: at least one byte.
    ///
    /// # Panics
    /// If pages are to have no bytes.
    #[must_use]
    pub fn new(page_bytes: usize) -> Batch {
        assert!(page_bytes > 0, "a page has bytes");
        Batch {
            page_bytes,
            pages: Vec::new(),
            content: Vec::new(),
        }
    }

    /// Adds a page.
    ///
    /// # Panics
    /// If its content is not as long as a page.
    pub fn push(&mut self, page: u32, content: PageContent<'_>) {
        if let PageContent::Bytes(bytes) = content {
            assert_eq!(bytes.len(), self.page_bytes, "the bytes of page {page}");
            self.content.extend_from_slice(bytes);
        }
        self.pages.push((page, content == PageContent::Zero));
    }

    /// How many pages it has, those that are zero too.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Does it have no page?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// The content of the pages that are not zero, one page behind the other, for whoever compresses it.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
    }

    /// The pages with their numbers, in the order in which they were added.
    pub fn pages(&self) -> impl Iterator<Item = (u32, PageContent<'_>)> {
        let mut contents = self.content.chunks_exact(self.page_bytes);
        self.pages.iter().map(move |&(page, is_zero)| {
            let content = if is_zero { None } else { contents.next() };
            (page, content.map_or(PageContent::Zero, PageContent::Bytes))
        })
    }

    /// Takes all pages out; the memory is kept for others.
    pub fn clear(&mut self) {
        self.pages.clear();
        self.content.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_gives_back_what_was_added_and_holds_no_zeroes() {
        let mut batch = Batch::new(4);
        let pages = [
            (7, PageContent::Bytes(b"abcd")),
            (1, PageContent::Zero),
            (9, PageContent::Bytes(b"efgh")),
            (2, PageContent::Zero),
        ];
        for (page, content) in pages {
            batch.push(page, content);
        }
        assert_eq!(Vec::from_iter(batch.pages()), pages);
        assert_eq!((batch.len(), batch.content()), (4, &b"abcdefgh"[..]));
        batch.clear();
        assert!(batch.is_empty() && batch.pages().next().is_none());
    }
}
