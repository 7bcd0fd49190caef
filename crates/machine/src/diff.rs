//! Names the fields in which two machines differ, for a test or a person who wants to know more than that
//! they do.
//!
//! Fields come through the same list of each component as digests and snapshots ([`Visit`]), so what a digest
//! sees has a name here. Nothing here changes a machine.

use std::{collections::BTreeMap, fmt};

use hart::{Visit, Visitor};

use crate::{
    Digest, Machine,
    digest::page_digest,
    narrow::{low32, wide},
};

/// The value of a field, as far as it matters for a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number of any width.
    Number(u64),
    /// A run of bytes.
    Bytes(Vec<u8>),
    /// A page of RAM, by its digest.
    Page(Digest),
    /// The other machine has no such field.
    Absent,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number:#x}"),
            Value::Bytes(bytes) => write!(f, "{} bytes {}", bytes.len(), Digest::of(bytes)),
            Value::Page(digest) => write!(f, "page {digest}"),
            Value::Absent => f.write_str("absent"),
        }
    }
}

/// A field: its path, like `hart0.x[3]` or `uart.scratch`, and its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Components from the outside in, then the name; the second of several equal names has `[1]`.
    pub path: String,
    /// What the field holds.
    pub value: Value,
}

/// A field in which two machines differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The field, as in [`Field::path`]; `ram[5]` is page 5 of RAM.
    pub path: String,
    /// What the one machine has there.
    pub left: Value,
    /// What the other machine has there.
    pub right: Value,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} != {}", self.path, self.left, self.right)
    }
}

/// Every field of a component or machine, in visiting order. RAM is not among them.
pub fn fields(of: &mut dyn Visit) -> Vec<Field> {
    let mut lister = Lister {
        path: vec![Level::default()],
        fields: Vec::new(),
    };
    of.visit(&mut lister);
    lister.fields
}

/// Where two machines differ: fields in visiting order, then at most `pages_max` pages of RAM.
pub fn diff(left: &mut Machine, right: &mut Machine, pages_max: usize) -> Vec<Difference> {
    let mut differences = diff_fields(fields(left), fields(right));
    let count = left.ram().pages().max(right.ram().pages());
    let pages = (0..low32(wide(count))).filter_map(|page| {
        let digest = |of: &Machine| of.read_page(page).map_or(0, |content| page_digest(page, content));
        let (left, right) = (digest(left), digest(right));
        (left != right).then(|| Difference {
            path: format!("ram[{page}]"),
            left: Value::Page(Digest(left)),
            right: Value::Page(Digest(right)),
        })
    });
    differences.extend(pages.take(pages_max));
    differences
}

fn diff_fields(left: Vec<Field>, right: Vec<Field>) -> Vec<Difference> {
    let mut others: BTreeMap<String, Value> =
        right.into_iter().map(|field| (field.path, field.value)).collect();
    let mut differences = Vec::new();
    for Field { path, value: left } in left {
        let right = others.remove(&path).unwrap_or(Value::Absent);
        if left != right {
            differences.push(Difference { path, left, right });
        }
    }
    let rest = others.into_iter().map(|(path, right)| Difference {
        path,
        left: Value::Absent,
        right,
    });
    differences.extend(rest);
    differences
}

/// One of the components in which the visit is.
#[derive(Default)]
struct Level {
    /// The path of the component, which its fields' paths begin with.
    path: String,
    /// How often each name has come in this component.
    seen: BTreeMap<&'static str, usize>,
}

/// Writes every field down.
struct Lister {
    /// The components in which the visit is, from the outside in. The first level has an empty path and is
    /// never left.
    path: Vec<Level>,
    fields: Vec<Field>,
}

impl Lister {
    fn name(&mut self, name: &'static str) -> String {
        let Some(level) = self.path.last_mut() else {
            return String::from(name);
        };
        let count = level.seen.entry(name).or_default();
        let again = if *count == 0 {
            String::new()
        } else {
            format!("[{count}]")
        };
        *count += 1;
        let dot = if level.path.is_empty() { "" } else { "." };
        format!("{}{dot}{name}{again}", level.path)
    }

    fn push(&mut self, name: &'static str, value: Value) {
        let path = self.name(name);
        self.fields.push(Field { path, value });
    }
}

impl Visitor for Lister {
    fn enter(&mut self, name: &'static str) {
        let path = self.name(name);
        self.path.push(Level {
            path,
            seen: BTreeMap::new(),
        });
    }

    fn leave(&mut self) {
        self.path.pop();
    }

    fn u64(&mut self, name: &'static str, value: &mut u64) {
        self.push(name, Value::Number(*value));
    }

    fn bytes(&mut self, name: &'static str, value: &mut Vec<u8>, _: usize) {
        self.push(name, Value::Bytes(value.clone()));
    }

    fn length(&mut self, name: &'static str, length: usize, _: usize) -> usize {
        self.push(name, Value::Number(wide(length)));
        length
    }
}
