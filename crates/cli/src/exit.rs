//! Exit codes that several commands have, beside 0 (done) and 1 (failed); README has the table of all.

/// Not all is as it is wanted.
pub const NOT_AS_WANTED: u8 = 3;
/// The time is over, and what was begun goes on.
pub const TIME_IS_OVER: u8 = 124;
/// The user has ended the waiting, and what was begun goes on.
pub const STOPPED: u8 = 130;
