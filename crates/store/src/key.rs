//! `Key`: the name of something in a store, and `Prefix`, the beginning of some names.
//!
//! Whoever has a [`Key`] may make a file's name or a key of etcd of it: it holds nothing that would lead
//! elsewhere. Each part is fit to be a VM's name, since that is what most parts are.

use std::fmt;

use replica::VmName;

use crate::limits::{KEY_LEN_MAX, PART_LEN_MAX, PARTS_MAX};

/// A text that cannot be a key, or the beginning of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no key of the store: use 1 to {PARTS_MAX} parts with '/' between them, each of 1 to \
     {PART_LEN_MAX} letters, digits, '-', '_' or '.', beginning with a letter or digit, together at most \
     {KEY_LEN_MAX} bytes; \"owner/\" is the arbiter's"
)]
pub struct BadKey {
    /// The beginning of the text that was to be the key.
    pub text: String,
}

/// The name of something in a store, such as `vms/web/spec`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(String);

/// The beginning of keys: whole parts, each with its '/', such as `vms/`; or nothing, for all keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix(String);

impl Key {
    /// Checks a key.
    ///
    /// # Errors
    /// It has no part, too many, or one that is no VM's name; it is too long; it is the arbiter's.
    pub fn new(text: &str) -> Result<Key, BadKey> {
        let parts: Vec<&str> = text.split('/').take(PARTS_MAX + 1).collect();
        let good = text.len() <= KEY_LEN_MAX
            && parts.len() <= PARTS_MAX
            && parts[0] != "owner"
            && parts.iter().all(|part| is_part(part));
        if good {
            Ok(Key(text.to_owned()))
        } else {
            Err(bad(text))
        }
    }

    /// `hosts/HOST`: that the host is there, and what it can do.
    ///
    /// # Errors
    /// The host's name cannot be part of a key.
    pub fn host(host: &str) -> Result<Key, BadKey> {
        Key::of(&["hosts", host])
    }

    /// `drain/HOST`: that the host is to be emptied.
    ///
    /// # Errors
    /// The host's name cannot be part of a key.
    pub fn drain(host: &str) -> Result<Key, BadKey> {
        Key::of(&["drain", host])
    }

    /// `vms/NAME/spec`: what the VM is, and what its user wants of it.
    #[must_use]
    pub fn spec(vm: &VmName) -> Key {
        Key(format!("vms/{vm}/spec"))
    }

    /// `vms/NAME/place`: where the VM's replicas are.
    #[must_use]
    pub fn place(vm: &VmName) -> Key {
        Key(format!("vms/{vm}/place"))
    }

    /// `vms/NAME/operation`: what somebody has begun with the VM.
    #[must_use]
    pub fn operation(vm: &VmName) -> Key {
        Key(format!("vms/{vm}/operation"))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The parts of the key, which have no '/'.
    pub fn parts(&self) -> impl Iterator<Item = &str> {
        self.0.split('/')
    }

    fn of(parts: &[&str]) -> Result<Key, BadKey> {
        // A part with a '/' would be two.
        match parts.iter().find(|part| !is_part(part)) {
            Some(part) => Err(bad(part)),
            None => Key::new(&parts.join("/")),
        }
    }
}

impl Prefix {
    /// The beginning of all keys.
    #[must_use]
    pub fn all() -> Prefix {
        Prefix(String::new())
    }

    /// Checks a beginning of keys.
    ///
    /// # Errors
    /// It is not empty, and is not some parts of a key, each followed by '/'.
    pub fn new(text: &str) -> Result<Prefix, BadKey> {
        match text.strip_suffix('/') {
            None if text.is_empty() => Ok(Prefix::all()),
            Some(parts) if Key::new(parts).is_ok() => Ok(Prefix(text.to_owned())),
            _ => Err(bad(text)),
        }
    }

    /// The beginning as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Does the key begin so?
    #[must_use]
    pub fn holds(&self, key: &Key) -> bool {
        key.0.starts_with(&self.0)
    }
}

fn is_part(part: &str) -> bool {
    part.len() <= PART_LEN_MAX && VmName::new(part).is_ok()
}

fn bad(text: &str) -> BadKey {
    BadKey {
        text: text.chars().take(KEY_LEN_MAX).collect(),
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_could_lead_elsewhere_are_refused() {
        for key in [
            "a",
            "hosts/a.example.org",
            "vms/web-1/spec",
            "a/b/c/d",
            "ownership/a",
        ] {
            assert_eq!(Key::new(key).unwrap().as_str(), key);
        }
        let long = "x".repeat(65);
        let longest = ["y".repeat(64), "y".repeat(64), "y".repeat(64), "y".repeat(64)].join("/");
        for key in [
            "",
            "/",
            "a/",
            "/a",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/./b",
            "a\0b",
            "\0",
            "a b",
            "a\n",
            "ä",
            "a,b",
            "a\\b",
            "-a",
            "a/b/c/d/e",
            "owner/web",
            "owner",
            &long,
            &longest,
        ] {
            let error = Key::new(key).unwrap_err();
            assert!(error.to_string().contains("is no key of the store"), "{key:?}");
        }
        assert!(Key::new(&"a/".repeat(1 << 20)).unwrap_err().text.len() <= KEY_LEN_MAX);
    }

    #[test]
    fn a_host_is_one_part() {
        assert_eq!(
            Key::host("a.example.org").unwrap().as_str(),
            "hosts/a.example.org"
        );
        assert_eq!(Key::drain("b").unwrap().parts().last(), Some("b"));
        for host in ["", "a/b", "..", "a\0"] {
            assert!(Key::host(host).is_err() && Key::drain(host).is_err(), "{host:?}");
        }
    }

    #[test]
    fn a_prefix_is_whole_parts() {
        let vms = Prefix::new("vms/").unwrap();
        assert!(vms.holds(&Key::new("vms/a").unwrap()) && !vms.holds(&Key::new("vmsx/a").unwrap()));
        assert!(Prefix::new("").unwrap().holds(&Key::new("a").unwrap()));
        for bad in ["/", "vms", "../", "vms//", "\0/", "owner/"] {
            assert!(Prefix::new(bad).is_err(), "{bad:?}");
        }
    }
}
