//! `RequestId`: the number by which a caller names a request, and a person a session at a console.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The number by which a caller names a request, drawn at random: a request that comes again with the same
/// number is answered as before and not done twice. In JSON it is text of up to 32 hexadecimal digits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestId(pub u128);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl std::str::FromStr for RequestId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<RequestId, &'static str> {
        let is_hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u128::from_str_radix(text, 16) {
            Ok(id) if is_hex && text.len() <= 32 => Ok(RequestId(id)),
            _ => Err("`id` is not text of 1 to 32 hexadecimal digits"),
        }
    }
}

impl Serialize for RequestId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<RequestId, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
