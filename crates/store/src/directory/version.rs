//! `Version`: one state of a key, as the bytes of a file that is written once.
//!
//! Every version names the one that it was written over, and has a number of its own that nobody else draws:
//! so it can be told from any other version of the same number. What is not exactly as it was written, down
//! to the last byte, is none.

use std::time::Duration;

use crate::Key;
use crate::limits::HEAD_LEN_MAX;

/// One state of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// Name of the key.
    pub key: Key,
    /// The version's place in the key's life, from 1 on.
    pub number: u64,
    /// Random number of the write that made it.
    pub id: u128,
    /// The `id` of the version that it was written over; 0: of none.
    pub after: u128,
    /// What this state is.
    pub kind: Kind,
    /// What the key holds in this state.
    pub value: Vec<u8>,
}

/// What a state of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The key is there.
    Value,
    /// The key was removed.
    Removed,
    /// The key is there while its owner gives signs of life, at least one in `ttl`.
    Presence {
        /// How long a reader waits for a sign of life; whole milliseconds.
        ttl: Duration,
    },
}

impl Version {
    /// The bytes of the version's file.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.kind {
            Kind::Value => "value".to_owned(),
            Kind::Removed => "removed".to_owned(),
            Kind::Presence { ttl } => format!("presence {}", ttl.as_millis()),
        };
        let head = format!(
            "lockstep store 1\nkey {}\nnumber {}\nid {:032x}\nafter {:032x}\nkind {kind}\nbytes {}\n",
            self.key,
            self.number,
            self.id,
            self.after,
            self.value.len()
        );
        let checksum = crc32c::crc32c_append(crc32c::crc32c(head.as_bytes()), &self.value);
        let mut bytes = format!("{head}checksum {checksum:08x}\n\n").into_bytes();
        bytes.extend_from_slice(&self.value);
        bytes
    }

    /// The version in a file; `None`: the file holds none, or another one.
    pub fn parse(bytes: &[u8], key: &Key, number: u64) -> Option<Version> {
        let reach = &bytes[..bytes.len().min(HEAD_LEN_MAX)];
        let end = reach.windows(2).position(|pair| pair == b"\n\n")?;
        let head = str::from_utf8(&bytes[..end]).ok()?;
        let field = |name: &str| {
            let mut values = head
                .lines()
                .filter_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            values.next()
        };
        let hex = |name| u128::from_str_radix(field(name)?, 16).ok();
        let kind = match field("kind")?.split_once(' ') {
            Some(("presence", ttl)) => Kind::Presence {
                ttl: Duration::from_millis(ttl.parse().ok()?),
            },
            Some(_) => return None,
            None if field("kind") == Some("value") => Kind::Value,
            None => Kind::Removed,
        };
        let version = Version {
            key: key.clone(),
            number,
            id: hex("id")?,
            after: hex("after")?,
            kind,
            value: bytes[end + 2..].to_vec(),
        };
        // So nothing else can be in the file, in whatever other form.
        (version.encode() == bytes).then_some(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_was_written_and_nothing_else_is() {
        let key = Key::new("vms/web/spec").unwrap();
        let ttl = Duration::from_millis(15_000);
        for kind in [Kind::Value, Kind::Removed, Kind::Presence { ttl }] {
            let version = Version {
                key: key.clone(),
                number: 7,
                id: 1 << 100,
                after: 5,
                kind,
                value: b"a\n\nb\0\xff".to_vec(),
            };
            let bytes = version.encode();
            assert_eq!(Version::parse(&bytes, &key, 7), Some(version));
            assert_eq!(Version::parse(&bytes, &key, 8), None);
            assert_eq!(
                Version::parse(&bytes, &Key::new("vms/web/place").unwrap(), 7),
                None
            );
            for end in 0..bytes.len() {
                assert_eq!(Version::parse(&bytes[..end], &key, 7), None, "{end} bytes");
            }
            for place in 0..bytes.len() {
                for bit in 0..8 {
                    let mut torn = bytes.clone();
                    torn[place] ^= 1 << bit;
                    assert_eq!(Version::parse(&torn, &key, 7), None, "bit {bit} of byte {place}");
                }
            }
            let longer = [&bytes[..], b"x"].concat();
            assert_eq!(Version::parse(&longer, &key, 7), None);
        }
        assert_eq!(Version::parse(&[b'\n'; 5000], &key, 7), None);
    }
}
