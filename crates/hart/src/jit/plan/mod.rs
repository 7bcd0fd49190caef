//! The plan of a superblock: everything that the translator decides before it makes any code.
//!
//! Decoded ops go in and a [`Plan`] comes out. The plan is pure: it knows no emitter, no host register and no
//! address of the host, so its tests need none. Whatever is in it is a fact about the guest's ops, or a
//! decision that follows from them.
//!
//! Map, from the bottom up: `csr` and `float` take those instructions apart; `instruction` says what single
//! ops read, write and do to control; `course` says where a superblock ends and whether it is a loop;
//! `simplify` replaces ops by shorter ones; `words` tells which values are sign-extended words; `seats`
//! chooses the guest registers that live in host registers; `extent`, `sharing` and `streams` say which
//! accesses share lookups in the TLB; `superblock` has the [`Plan`].

mod course;
pub mod csr;
mod extent;
mod float;
mod instruction;
mod seats;
mod sharing;
mod simplify;
mod streams;
mod superblock;
mod words;

pub use course::{OPS_MAX, SLOTS, is_loop, next_slot};
pub use extent::Extent;
pub use instruction::{ends, follows, native};
pub use seats::{PINNED, SEATS, Seats};
pub use sharing::Group;
#[cfg(test)]
pub use streams::OPS_PER_STREAM;
pub use streams::{STREAMS_MAX, Stream};
pub use superblock::{Course, Plan};
pub use words::{Set, Words, bit, makes_word};
