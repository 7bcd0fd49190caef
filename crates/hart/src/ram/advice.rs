//! What the host is told about memory: which it should back with large pages, and which it may have back.
//! Unsafe code may stand here, as in `ram.rs` (docs/style.md, U1).
//!
//! # Safety argument
//! Advice is given for whole pages inside a range that its caller owns: a mapping of his, or a slice that is
//! borrowed mutably. Large pages change nothing of what is in there. Memory that is given back reads as zero
//! afterwards, so only memory that nobody can read before it is written is taken for that.

use std::mem::MaybeUninit;

use super::page::PAGE;

/// Asks the host for large pages, which spare it most of its page faults and TLB misses. Without them
/// everything works as well.
///
/// # Safety
/// The range of whole pages is mapped.
pub unsafe fn large(base: *mut libc::c_void, length: usize) {
    // SAFETY: the caller's promise; advice changes nothing of what is in there.
    unsafe { libc::madvise(base, length, libc::MADV_HUGEPAGE) };
}

/// A table that is all zero, allocated by the host as it is touched, in large pages.
pub fn large_table<T: Clone>(zero: T, length: usize) -> Vec<T> {
    let mut table = vec![zero; length];
    let (begin, length) = whole_pages(&mut table);
    // SAFETY: these pages are inside the table, which is borrowed mutably.
    unsafe { large(begin, length) };
    table
}

/// Gives the whole pages in there back to the host: what is written there next comes to fresh ones.
pub fn give_back(memory: &mut [MaybeUninit<u8>]) {
    let (begin, length) = whole_pages(memory);
    // SAFETY: these pages are inside the slice, which is borrowed mutably; nothing in there can be read.
    unsafe { libc::madvise(begin, length, libc::MADV_DONTNEED) };
}

/// The whole pages in there: where they begin, and how many bytes they have.
fn whole_pages<T>(memory: &mut [T]) -> (*mut libc::c_void, usize) {
    let range = memory.as_mut_ptr_range();
    let begin = (range.start as usize).next_multiple_of(PAGE);
    let end = range.end as usize / PAGE * PAGE;
    (begin as *mut libc::c_void, end.saturating_sub(begin))
}

/// How many of the whole pages in there the host has in memory.
#[cfg(test)]
pub fn resident(memory: &mut [MaybeUninit<u8>]) -> usize {
    let (begin, length) = whole_pages(memory);
    let mut pages = vec![0; length / PAGE];
    // SAFETY: the range is inside the slice, and there is a byte for each of its pages.
    let result = unsafe { libc::mincore(begin, length, pages.as_mut_ptr()) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    pages.iter().filter(|&&page| page & 1 != 0).count()
}
