//! Closing file descriptors that somebody else has opened.
//!
//! # Safety argument
//! Closing a descriptor that a value in this process owns would make that value close, or use, somebody
//! else's file later. [`close_from`] is for the first moments of a program that was started for one purpose:
//! the caller owns nothing but descriptors below the number that it gives, and no other thread runs.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

use std::ffi::{c_int, c_uint};

/// Descriptors that are closed one by one where the kernel cannot close them together (before Linux 5.9).
const ONE_BY_ONE_MAX: c_int = 4096;

/// Closes all descriptors from this number on: what the programs that started this one have left open. Only
/// for a program that has opened nothing yet.
pub fn close_from(first: u16) {
    // SAFETY: the call closes descriptors and reads no memory; nobody owns them (see above).
    let closed = unsafe { libc::syscall(libc::SYS_close_range, c_uint::from(first), c_uint::MAX, 0) };
    if closed == 0 {
        return;
    }
    for descriptor in c_int::from(first)..ONE_BY_ONE_MAX {
        // SAFETY: as above; a number that is not open is an error that means nothing.
        let _ = unsafe { libc::close(descriptor) };
    }
}
