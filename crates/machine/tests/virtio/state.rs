//! A saver and a restorer, as small as they can be: the state as a list of named fields.

use hart::{Visit, Visitor};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Field {
    Number(&'static str, u64),
    Bytes(&'static str, Vec<u8>),
    Length(&'static str, usize),
}

#[derive(Default)]
struct Saver(Vec<Field>);

impl Visitor for Saver {
    fn enter(&mut self, _: &'static str) {}
    fn leave(&mut self) {}
    fn u64(&mut self, name: &'static str, value: &mut u64) {
        self.0.push(Field::Number(name, *value));
    }
    fn bytes(&mut self, name: &'static str, value: &mut Vec<u8>, max: usize) {
        assert!(value.len() <= max, "{name} is beyond its limit");
        self.0.push(Field::Bytes(name, value.clone()));
    }
    fn length(&mut self, name: &'static str, length: usize, max: usize) -> usize {
        assert!(length <= max, "{name} is beyond its limit");
        self.0.push(Field::Length(name, length));
        length
    }
}

struct Restorer {
    fields: std::vec::IntoIter<Field>,
    rejected: Option<&'static str>,
}

impl Visitor for Restorer {
    fn enter(&mut self, _: &'static str) {}
    fn leave(&mut self) {}
    fn u64(&mut self, name: &'static str, value: &mut u64) {
        match self.fields.next() {
            Some(Field::Number(saved, number)) if saved == name => *value = number,
            other => panic!("{name} meets {other:?}"),
        }
    }
    fn bytes(&mut self, name: &'static str, value: &mut Vec<u8>, _: usize) {
        match self.fields.next() {
            Some(Field::Bytes(saved, bytes)) if saved == name => *value = bytes,
            other => panic!("{name} meets {other:?}"),
        }
    }
    fn length(&mut self, name: &'static str, _: usize, _: usize) -> usize {
        match self.fields.next() {
            Some(Field::Length(saved, length)) if saved == name => length,
            other => panic!("{name} meets {other:?}"),
        }
    }
    fn reject(&mut self, reason: &'static str) {
        self.rejected.get_or_insert(reason);
    }
}

/// The state as a list.
pub fn save(part: &mut dyn Visit) -> Vec<Field> {
    let mut saver = Saver::default();
    part.visit(&mut saver);
    saver.0
}

/// How many runs of bytes of that name the state has.
pub fn count(part: &mut dyn Visit, wanted: &str) -> usize {
    let is_wanted = |field: &&Field| matches!(field, Field::Bytes(name, _) if *name == wanted);
    save(part).iter().filter(is_wanted).count()
}

/// The first number of that name.
pub fn number(part: &mut dyn Visit, wanted: &str) -> u64 {
    let is_wanted = |field: &Field| match field {
        Field::Number(name, value) if *name == wanted => Some(*value),
        _ => None,
    };
    save(part)
        .iter()
        .find_map(is_wanted)
        .expect("the state has no such number")
}

/// Puts a saved state into an equally built part.
pub fn restore(part: &mut dyn Visit, fields: Vec<Field>) -> Result<(), &'static str> {
    let mut restorer = Restorer {
        fields: fields.into_iter(),
        rejected: None,
    };
    part.visit(&mut restorer);
    assert!(restorer.fields.next().is_none(), "fields are left over");
    restorer.rejected.map_or(Ok(()), Err)
}

/// Overwrites every number of that name.
pub fn forge(fields: &mut [Field], wanted: &str, number: u64) {
    for field in fields {
        match field {
            Field::Number(name, value) if *name == wanted => *value = number,
            _ => {}
        }
    }
}
