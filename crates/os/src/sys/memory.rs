//! Locking the guest's RAM in memory.
//!
//! # Safety argument
//! `mlock2` changes neither the content nor the permissions of the pages it is given, only that they stay in
//! memory. The range is the guest's RAM: mapped, and borrowed for the call.
#![allow(unsafe_code, reason = "docs/style.md, U1: see the safety argument")]

use std::io;

use hart::Ram;
use rustix::mm::{MlockFlags, mlock_with};

/// Keeps pages of `ram` in memory once they have been used, until it is dropped.
///
/// # Errors
/// As the kernel gives them: ENOMEM or EPERM where the limit of locked memory is lower.
pub fn lock(ram: &Ram) -> io::Result<()> {
    // SAFETY: the whole range is mapped while `ram` lives (see above).
    Ok(unsafe { mlock_with(ram.base().cast(), ram.size(), MlockFlags::ONFAULT) }?)
}
