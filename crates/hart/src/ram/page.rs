//! How large a page of RAM is.
//!
//! It stands apart from `ram` for the files below it: those know pages, and nothing of the memory that they
//! are in.

/// How many bits of an address choose a byte in a page.
pub const PAGE_BITS: u32 = 12;
/// How many bytes a page has.
pub const PAGE: usize = 1 << PAGE_BITS;
