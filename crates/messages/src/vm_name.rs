//! `VmName`: a VM's name in claims, in the lock files of its disks and in the greetings of its replicas.
//!
//! Whoever has a [`VmName`] may use it as a part of a path: it holds nothing that would lead elsewhere.

use std::fmt;

/// Longest name of a VM, in bytes.
pub const VM_NAME_LEN_MAX: usize = 64;

/// A text that cannot be the name of a VM.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{name}' is no name for a VM: use 1 to {VM_NAME_LEN_MAX} letters, digits, '-', '_' or '.', \
         beginning with a letter or digit"
)]
pub struct BadName {
    /// The text that was to be the name.
    pub name: String,
}

/// The name of a VM, fit for a part of a file's name and for a line of a lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct VmName(String);

impl VmName {
    /// Checks a name.
    ///
    /// # Errors
    /// It is empty, too long, or holds other characters than letters, digits, `-`, `_`, `.`.
    pub fn new(name: &str) -> Result<VmName, BadName> {
        let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let starts_well = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
        if starts_well && name.len() <= VM_NAME_LEN_MAX && name.bytes().all(good) {
            Ok(VmName(name.to_owned()))
        } else {
            Err(BadName {
                name: name.to_owned(),
            })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VmName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_could_leave_the_directory_are_refused() {
        for name in ["a", "web-1", "My_VM.2", "9lives"] {
            assert_eq!(VmName::new(name).unwrap().as_str(), name);
        }
        for name in [
            "",
            ".",
            "..",
            "../a",
            "a/b",
            "a b",
            "a\n",
            "-a",
            ".a",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(VmName::new(name).is_err(), "{name}");
        }
    }
}
