//! The words of etcd's API as JSON: keys and values in Base64, 64-bit numbers as text, fields that are zero
//! left out. Answers are read with care, since whatever listens on a port may have written them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

/// A revision of the cluster: every change of any key makes a new one, from 2 on. A key's revision is that of
/// its last change; 0 is that of a key which is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// A lease that a server has granted. Keys with it go when it runs out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease(pub(crate) i64);

/// Which keys are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// This key alone.
    One(Vec<u8>),
    /// All keys that begin with these bytes; an empty beginning means all keys.
    Prefix(Vec<u8>),
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyValue {
    /// Name of the key, which may be any bytes.
    pub key: Vec<u8>,
    /// What the key holds.
    pub value: Vec<u8>,
    /// Revision of the key's last change.
    pub revision: Revision,
    /// The lease with which the key goes; `None`: it stays.
    pub lease: Option<Lease>,
}

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    /// Revision of the cluster at which the keys were read.
    pub revision: Revision,
    /// The keys in their order.
    pub found: Vec<KeyValue>,
    /// There are more keys than were asked for.
    pub more: bool,
}

/// A condition of a transaction: the key's last change is this revision, 0: the key is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Name of the key.
    pub key: Vec<u8>,
    /// Revision that the key must have.
    pub revision: Revision,
}

/// What a transaction does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes a key.
    Put {
        /// Name of the key.
        key: Vec<u8>,
        /// What the key shall hold.
        value: Vec<u8>,
        /// The lease with which the key shall go; `None`: it stays.
        lease: Option<Lease>,
    },
    /// Removes a key, if it is there.
    Delete {
        /// Name of the key.
        key: Vec<u8>,
    },
    /// Reads a key.
    Get {
        /// Name of the key.
        key: Vec<u8>,
    },
}

/// What has become of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// All conditions held.
    pub succeeded: bool,
    /// Revision of the cluster after the transaction; of keys that it wrote, their new revision.
    pub revision: Revision,
    /// The keys that its reads found.
    pub found: Vec<KeyValue>,
}

/// One change that a watch has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A key was written.
    Put(KeyValue),
    /// A key was removed, or went with its lease.
    Delete {
        /// Name of the key.
        key: Vec<u8>,
        /// Revision of the removal.
        revision: Revision,
    },
}

impl Keys {
    /// The fields that say which keys are meant.
    pub(crate) fn json(&self) -> Value {
        match self {
            Keys::One(key) => json!({"key": base64(key)}),
            Keys::Prefix(prefix) if prefix.is_empty() => {
                json!({"key": base64(&[0]), "range_end": base64(&[0])})
            }
            Keys::Prefix(prefix) => json!({"key": base64(prefix), "range_end": base64(&after(prefix))}),
        }
    }
}

impl Compare {
    pub(crate) fn json(&self) -> Value {
        json!({
            "key": base64(&self.key),
            "target": "MOD",
            "result": "EQUAL",
            "mod_revision": self.revision.0.to_string(),
        })
    }
}

impl Operation {
    pub(crate) fn json(&self) -> Value {
        match self {
            Operation::Put { key, value, lease } => {
                let lease = lease.map_or(0, |lease| lease.0).to_string();
                json!({"request_put": {"key": base64(key), "value": base64(value), "lease": lease}})
            }
            Operation::Delete { key } => json!({"request_delete_range": {"key": base64(key)}}),
            Operation::Get { key } => json!({"request_range": {"key": base64(key)}}),
        }
    }
}

/// The first bytes that come after everything which begins with `prefix`; a zero byte: nothing does.
fn after(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![0]
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A number, which etcd writes as text, or leaves out if it is 0.
pub(crate) fn number(value: &Value, field: &str) -> Option<i64> {
    match value.get(field) {
        None => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(other) => other.as_i64(),
    }
}

/// Bytes, which etcd writes in Base64, or leaves out if there are none.
fn bytes(value: &Value, field: &str) -> Option<Vec<u8>> {
    match value.get(field) {
        None => Some(Vec::new()),
        Some(text) => STANDARD.decode(text.as_str()?).ok(),
    }
}

/// The items of a list, which etcd leaves out if it is empty.
pub(crate) fn items<'a>(value: &'a Value, field: &str) -> Option<&'a [Value]> {
    match value.get(field) {
        None => Some(&[]),
        Some(list) => list.as_array().map(Vec::as_slice),
    }
}

/// A truth, which etcd leaves out if it is none.
pub(crate) fn flag(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or(false)
}

fn revision(value: &Value, field: &str) -> Option<Revision> {
    number(value, field)?.try_into().ok().map(Revision)
}

/// The revision of the cluster in an answer's header.
pub(crate) fn header(value: &Value) -> Option<Revision> {
    let revision = revision(value.get("header")?, "revision")?;
    (revision != Revision(0)).then_some(revision)
}

/// A lease in an answer; `Some(None)`: there is none.
pub(crate) fn lease(value: &Value, field: &str) -> Option<Option<Lease>> {
    let id = number(value, field)?;
    Some((id != 0).then_some(Lease(id)))
}

fn key_value(value: &Value) -> Option<KeyValue> {
    Some(KeyValue {
        key: bytes(value, "key")?,
        value: bytes(value, "value")?,
        revision: revision(value, "mod_revision")?,
        lease: lease(value, "lease")?,
    })
}

pub(crate) fn range(value: &Value) -> Option<Range> {
    let found = items(value, "kvs")?.iter().map(key_value);
    Some(Range {
        revision: header(value)?,
        found: found.collect::<Option<_>>()?,
        more: flag(value, "more"),
    })
}

pub(crate) fn outcome(value: &Value) -> Option<Outcome> {
    let mut found = Vec::new();
    for response in items(value, "responses")? {
        if let Some(range) = response.get("response_range") {
            for item in items(range, "kvs")? {
                found.push(key_value(item)?);
            }
        }
    }
    Some(Outcome {
        succeeded: flag(value, "succeeded"),
        revision: header(value)?,
        found,
    })
}

/// The oldest revision that is known, in the last message of a watch that asked for an older one.
pub(crate) fn compacted(result: &Value) -> Option<Revision> {
    revision(result, "compact_revision").filter(|revision| *revision != Revision(0))
}

pub(crate) fn change(event: &Value) -> Option<Change> {
    let found = key_value(event.get("kv")?)?;
    match event.get("type").map(|kind| kind.as_str()) {
        None | Some(Some("PUT")) => Some(Change::Put(found)),
        Some(Some("DELETE")) => Some(Change::Delete {
            key: found.key,
            revision: found.revision,
        }),
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_before_the_first_key_that_does_not_begin_with_it() {
        assert_eq!(after(b"a/"), b"a0");
        assert_eq!(after(b"a\xff"), b"b");
        assert_eq!(after(b"\xff\xff"), [0]);
        assert_eq!(
            Keys::Prefix(Vec::new()).json(),
            json!({"key": "AA==", "range_end": "AA=="})
        );
    }

    #[test]
    fn answers_are_read_with_their_zeros_left_out() {
        let answer = json!({"header": {"revision": "7"}, "kvs": [
            {"key": "YQ==", "mod_revision": "5", "value": "Yg=="}, {"key": "Yw==", "mod_revision": 6}]});
        let range = range(&answer).unwrap();
        assert_eq!((range.revision, range.more), (Revision(7), false));
        assert_eq!(range.found[0].value, b"b");
        assert_eq!(
            (&range.found[1].value[..], range.found[1].revision),
            (&b""[..], Revision(6))
        );
        let answer = json!({"header": {"revision": "7"}, "responses": [{"response_range": {"kvs": []}}]});
        let outcome = outcome(&answer).unwrap();
        assert!(!outcome.succeeded && outcome.found.is_empty());
    }

    #[test]
    fn answers_that_are_not_etcds_are_none() {
        for answer in [
            json!(null),
            json!([]),
            json!({}),
            json!({"header": {}}),
            json!({"header": {"revision": "-1"}}),
            json!({"header": {"revision": "x"}}),
            json!({"header": {"revision": "1"}, "kvs": 1}),
            json!({"header": {"revision": "1"}, "kvs": [{"key": "*"}]}),
            json!({"header": {"revision": "1"}, "kvs": [{"key": 5}]}),
        ] {
            assert_eq!(range(&answer), None, "{answer}");
        }
        assert_eq!(
            outcome(&json!({"header": {"revision": "1"}, "responses": {}})),
            None
        );
        assert_eq!(change(&json!({"type": "OTHER", "kv": {}})), None);
        assert_eq!(change(&json!({"type": 1, "kv": {}})), None);
        assert_eq!(change(&json!({})), None);
    }
}
