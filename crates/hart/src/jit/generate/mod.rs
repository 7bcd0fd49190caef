//! Generation: from the plan of a superblock to its machine code.
//!
//! [`translate()`] takes the plan of a superblock and gives its code, which [`Source`] says where to put. The
//! *hot* code is one straight line, the common case of each op after that of the one before. Where something
//! else is to be done, the hot code jumps away; what happens there is *put off* and made afterwards, as
//! *cold* code, which is kept elsewhere. Where there is no code for a case at all, the cold code has the
//! interpreter do that one instruction.
//!
//! Map, from the bottom up; each file uses the ones before it only:
//!
//! - `host` says which of the host's registers hold what, and `pages` finds the code of a page of the guest;
//! - `stubs` is the code that all superblocks share: how they are entered and left;
//! - `known` is what is certain at one place in the code, `cold` lists what may be put off, `block` has the
//!   superblock in hand;
//! - `vectors` and `registers` read and write guest registers, `lookup` finds guest memory,
//!   `streams` finds it for many turns of a loop, `flow` leads from one superblock to the next;
//! - `bits`, `integer`, `access`, `convert`, `float`, `csr` and `branch` make the code of ops;
//! - `translate` puts everything together.
//!
//! Generation must never look at the guest's state: what it makes is right whatever the state is when it is
//! executed.

mod access;
mod bits;
mod block;
mod branch;
mod cold;
mod convert;
mod csr;
mod float;
mod flow;
mod host;
mod integer;
mod known;
mod lookup;
mod pages;
mod registers;
mod streams;
mod stubs;
mod translate;
mod vectors;

pub use block::{Link, Source};
pub use stubs::{Stubs, stubs};
pub use translate::translate;
