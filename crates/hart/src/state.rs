//! `Visit` and `Visitor`: one field list per component for save, restore, digest and diff.
//!
//! A component names each field of its state exactly once, in `visit`. What happens to the fields is the
//! visitor's business: a saver appends them, a restorer overwrites them, a digester hashes them, a differ
//! compares two machines. A body starts with an exhaustive `let Self { a, b } = self;`, so that a new field
//! that nobody visits does not compile. Caches are named with [`Visitor::skipped`].

/// A component with state that belongs to the guest.
pub trait Visit {
    /// Shows every field to `v`, in a fixed order that depends on the state only through
    /// [`Visitor::length`].
    fn visit(&mut self, v: &mut dyn Visitor);
}

/// What is done to every field: saving, restoring, digesting, comparing.
///
/// A restoring visitor writes through the reference; every other one only reads. Values that a restorer
/// reads from bytes are only claimed to be sound: a component that cannot take any value of a field's type
/// checks it in `visit` and calls [`Visitor::reject`].
pub trait Visitor {
    /// Enters the component `name`; names nest. Paired with [`Visitor::leave`].
    fn enter(&mut self, name: &'static str);
    /// Leaves the component entered last.
    fn leave(&mut self);
    /// One number.
    fn u64(&mut self, name: &'static str, value: &mut u64);
    /// A run of bytes of any length up to `max`.
    fn bytes(&mut self, name: &'static str, value: &mut Vec<u8>, max: usize);
    /// The length of a list that follows element by element. Returns the length the list shall have: the
    /// same one, except when restoring. Never more than `max`.
    fn length(&mut self, name: &'static str, length: usize, max: usize) -> usize;
    /// A field that is not guest state, and why (a cache, a host resource).
    fn skipped(&mut self, _name: &'static str, _reason: &'static str) {}
    /// A restored value is impossible; the restore fails with this reason. Others ignore it.
    fn reject(&mut self, _reason: &'static str) {}

    /// A number that fits 8 bits.
    fn u8(&mut self, name: &'static str, value: &mut u8) {
        let mut wide = u64::from(*value);
        self.u64(name, &mut wide);
        match u8::try_from(wide) {
            Ok(narrow) => *value = narrow,
            Err(_) => self.reject("a number does not fit 8 bits"),
        }
    }

    /// A number that fits 16 bits.
    fn u16(&mut self, name: &'static str, value: &mut u16) {
        let mut wide = u64::from(*value);
        self.u64(name, &mut wide);
        match u16::try_from(wide) {
            Ok(narrow) => *value = narrow,
            Err(_) => self.reject("a number does not fit 16 bits"),
        }
    }

    /// A number that fits 32 bits.
    fn u32(&mut self, name: &'static str, value: &mut u32) {
        let mut wide = u64::from(*value);
        self.u64(name, &mut wide);
        match u32::try_from(wide) {
            Ok(narrow) => *value = narrow,
            Err(_) => self.reject("a number does not fit 32 bits"),
        }
    }

    /// A truth value.
    fn bool(&mut self, name: &'static str, value: &mut bool) {
        let mut wide = u64::from(*value);
        self.u64(name, &mut wide);
        match wide {
            0 => *value = false,
            1 => *value = true,
            _ => self.reject("a truth value is neither 0 nor 1"),
        }
    }
}

/// Visits a component under a name.
pub fn component(v: &mut dyn Visitor, name: &'static str, part: &mut dyn Visit) {
    v.enter(name);
    part.visit(v);
    v.leave();
}

/// Visits an optional number: presence, then the value.
pub fn option_u64(v: &mut dyn Visitor, name: &'static str, value: &mut Option<u64>) {
    v.enter(name);
    let mut present = value.is_some();
    v.bool("present", &mut present);
    let mut number = value.unwrap_or(0);
    v.u64("value", &mut number);
    *value = present.then_some(number);
    v.leave();
}

/// Visits a list of components, growing or shrinking it when restoring.
pub fn list<T: Visit + Default>(v: &mut dyn Visitor, name: &'static str, items: &mut Vec<T>, max: usize) {
    v.enter(name);
    let length = v.length("length", items.len(), max);
    items.resize_with(length, T::default);
    for item in items {
        item.visit(v);
    }
    v.leave();
}
