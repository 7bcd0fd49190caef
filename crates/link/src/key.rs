//! `Key`: the secret that both replicas share, and what is derived from it.
//!
//! The link and the gateway's connections take their keys from here. The secret is never printed; a derived
//! key serves one purpose in one session.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use blake2::Blake2sMac;
use blake2::digest::{FixedOutput, KeyInit, Update, consts::U16, consts::U32};

/// Bytes of a key.
pub const KEY_LEN: usize = 32;
/// Bits of a file's mode that let others than the file's owner read or change it.
const OPEN_TO_OTHERS: u32 = 0o066;
/// Bytes that are read of a key file at most: more than any key file holds.
const FILE_LEN_MAX: u64 = 4096;
/// Bytes of the code that authenticates a heartbeat.
pub const MAC_LEN: usize = 16;

/// A pre-shared key. The key is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; KEY_LEN]);

/// How a link is protected. Both sides must have the same protection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// Authenticated and encrypted with this key.
    Key(Key),
    /// Neither authenticated nor encrypted. Only for networks where nobody else can speak.
    Insecure,
}

/// A key file that is of no use.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read.
    #[error(
        "cannot read the key file {path}; make one with `(umask 077; openssl rand -hex 32 > {path})` and \
         copy it to both hosts"
    )]
    Read {
        /// Path of the key file.
        path: PathBuf,
        /// Error that the operating system gave.
        source: std::io::Error,
    },
    /// Others than the file's owner can read or change it.
    #[error(
        "other users can read or change the key file {path} (mode {mode:03o}); run `chmod 600 {path}`, or \
         insist with `--allow-open-key`"
    )]
    Open {
        /// Path of the key file.
        path: PathBuf,
        /// Permissions of the file.
        mode: u32,
    },
    /// The file does not hold 64 hexadecimal digits.
    #[error(
        "the key file {path} does not hold 64 hexadecimal digits; make a new one and copy it to both hosts"
    )]
    Format {
        /// Path of the key file.
        path: PathBuf,
    },
    /// The operating system gives no random numbers.
    #[error("this host gives no random numbers to make a key from")]
    Entropy(#[source] std::io::Error),
}

/// Which file the key is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyFile {
    /// Path of a file with 64 hexadecimal digits.
    pub path: PathBuf,
    /// Whether the key is used though other users may read or change the file: the operator insists.
    pub though_open: bool,
}

impl KeyFile {
    /// As [`Key::load`], except where the operator insists on using a file that is open to others.
    ///
    /// # Errors
    /// The file cannot be read, is open to other users against the operator's will, or holds something else.
    pub fn load(&self) -> Result<Key, KeyError> {
        Key::read(&self.path, self.though_open)
    }
}

impl Key {
    /// A key of bytes that nobody else knows.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_LEN]) -> Key {
        Key(bytes)
    }

    /// Draws a new key.
    ///
    /// # Errors
    /// The host gives no random numbers.
    pub fn generate() -> Result<Key, KeyError> {
        let mut bytes = [0; KEY_LEN];
        getrandom::fill(&mut bytes).map_err(|e| KeyError::Entropy(e.into()))?;
        Ok(Key(bytes))
    }

    /// Reads a file of 64 hexadecimal digits; white space around them is ignored.
    ///
    /// # Errors
    /// The file cannot be read, is open to other users, or holds something else.
    pub fn load(path: &Path) -> Result<Key, KeyError> {
        Key::read(path, false)
    }

    fn read(path: &Path, though_open: bool) -> Result<Key, KeyError> {
        let read = || {
            // The permissions are those of the very file that is read, not of what its name leads to later.
            let file = File::open(path)?;
            let mode = file.metadata()?.permissions().mode() & 0o777;
            let mut text = Vec::new();
            file.take(FILE_LEN_MAX).read_to_end(&mut text)?;
            Ok((mode, text))
        };
        let (mode, text) = read().map_err(|source| KeyError::Read {
            path: path.into(),
            source,
        })?;
        if mode & OPEN_TO_OTHERS != 0 && !though_open {
            return Err(KeyError::Open {
                path: path.into(),
                mode,
            });
        }
        let key = std::str::from_utf8(&text)
            .ok()
            .and_then(|text| Key::from_hex(text.trim()));
        key.ok_or_else(|| KeyError::Format { path: path.into() })
    }

    /// A key from 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Key> {
        if text.len() != 2 * KEY_LEN || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut bytes = [0; KEY_LEN];
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Key(bytes))
    }

    /// The key's 64 hexadecimal digits, for a new key file.
    #[must_use]
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The secret itself. For ciphers only: never shown, never sent.
    pub fn bytes(&self) -> &[u8; KEY_LEN] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// A key for one purpose in one session: `label` names the purpose, `session` is different for each link.
#[must_use]
pub(super) fn derive(security: &Security, label: &[u8], session: &[u8]) -> [u8; KEY_LEN] {
    let root = match security {
        Security::Key(key) => *key.bytes(),
        // A constant keeps datagrams of other sessions out, and keeps out nobody who listens.
        Security::Insecure => [0; KEY_LEN],
    };
    let mut mac = <Blake2sMac<U32> as KeyInit>::new((&root).into());
    mac.update(b"lockstep 1 ");
    mac.update(label);
    mac.update(session);
    mac.finalize_fixed().into()
}

/// The authentication code of `parts`, one after the other.
#[must_use]
pub(super) fn authenticate(key: &[u8; KEY_LEN], parts: &[&[u8]]) -> [u8; MAC_LEN] {
    // The key lengths are equal, so this cannot fail; a wrong type would not compile.
    let mut mac = <Blake2sMac<U16> as KeyInit>::new(blake2::digest::Key::<Blake2sMac<U16>>::from_slice(key));
    for part in parts {
        mac.update(part);
    }
    mac.finalize_fixed().into()
}

/// Whether two codes are equal; takes the same time whatever differs.
#[must_use]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |bits, (a, b)| bits | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_mode(path: &Path, mode: u32) {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_key_that_others_can_read_or_change_is_refused_unless_the_operator_insists() {
        let key = Key::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, key.to_hex()).unwrap();
        for mode in [0o600, 0o400, 0o700, 0o711] {
            set_mode(&path, mode);
            assert!(Key::load(&path).unwrap() == key, "{mode:o}");
        }
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644, 0o666] {
            set_mode(&path, mode);
            let error = Key::load(&path).unwrap_err().to_string();
            assert!(error.contains("chmod 600"), "{error}");
            let mut file = KeyFile {
                path: path.clone(),
                though_open: false,
            };
            let error = file.load().unwrap_err().to_string();
            assert!(error.contains("--allow-open-key"), "{error}");
            file.though_open = true;
            assert!(file.load().unwrap() == key);
        }
    }

    #[test]
    fn a_key_survives_its_file() {
        let key = Key::generate().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::fs::write(&path, format!("  {}\n", key.to_hex())).unwrap();
        set_mode(&path, 0o600);
        assert!(Key::load(&path).unwrap() == key);
        std::fs::write(&path, "0123").unwrap();
        assert!(matches!(Key::load(&path), Err(KeyError::Format { .. })));
        assert!(matches!(
            Key::load(dir.path().join("none").as_path()),
            Err(KeyError::Read { .. })
        ));
    }

    #[test]
    fn derived_keys_differ_by_label_and_session() {
        let security = Security::Key(Key::new([1; 32]));
        let a = derive(&security, b"a", b"s");
        assert_ne!(a, derive(&security, b"b", b"s"));
        assert_ne!(a, derive(&security, b"a", b"t"));
        assert_ne!(a, derive(&Security::Insecure, b"a", b"s"));
    }
}
