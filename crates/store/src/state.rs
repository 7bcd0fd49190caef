//! What a key holds, and how it must be that it is changed: the words that all stores and their errors share.
//! A state of a key has a number, by which whoever changes the key says what they have read.

/// A number of a key's state, for comparing. Of one key it only grows, also when the key is removed and comes
/// again; numbers of different keys or of different stores say nothing of each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Revision(pub u64);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The value, at most 256 KiB.
    pub value: Vec<u8>,
    /// The state's number, for [`Expected::Revision`].
    pub revision: Revision,
}

/// How a key must be, that a change is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It is not there.
    Absent,
    /// It is as it was read with this number.
    Revision(Revision),
    /// However it is: for what has one writer only, or is the last word of a person.
    Any,
}
