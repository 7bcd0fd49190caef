//! The plan of a superblock: what the translator finds out from the superblock's ops before it makes code.
//!
//! An *op* is one decoded instruction ([`Op`](crate::op::Op)). A *superblock* is up to [`OPS_MAX`] ops of one
//! page, in the order in which they are mostly executed; it is entered at its first op alone. The interpreter
//! has the ops gathered ([`gather()`], which `interp/code.rs` calls). The generator (`generate`) makes a
//! [`Plan`] of them and then code.
//!
//! Some ops that one meets here are no instructions. The code of a slot is `Decode` while its bytes are not
//! decoded, `Loose` if its instruction straddles two pages or lies outside RAM and so is fetched anew each
//! time, and `NextPage` beyond the end of the page; a superblock ends before each of them. A load into x0 has
//! the destination `SINK`, a register of the workspace that no instruction reads.
//!
//! What this room says is of two kinds.
//!
//! - *Facts* must be right, as generated code relies on them without asking: a mistake makes the guest
//!   compute something else. Facts are what an op reads, writes and reaches, whether there is code for it,
//!   whether it ends a superblock, what `csr` and `float` say of its fields; which op is at a slot and
//!   whether there is a loop; which write only restores the floating-point flags; each replacement by
//!   `simplify`; each answer of `words`; the stride and the extent of a stream.
//! - *Advice* costs nothing but speed if it is bad, as generated code checks it or is right without it: which
//!   registers have the seats; which accesses form a group, and whether the stack pointer `sp` makes a group
//!   fail; whether a loop follows a chain of pointers; which streams are worth having; whether words stay
//!   lazy from turn to turn.
//!
//! The room is pure: it knows no emitter and no address of the host, so its tests need none. Of the host's
//! registers it knows that [`SEATS`] of them hold guest registers and that an exchange costs instructions,
//! but not which ones they are. Most of a plan is there before any code is; the exception is [`Words`], which
//! the generator carries from op to op while it makes code, and for which `words` only has the answers for
//! one op.
//!
//! Map, from the bottom up: `csr` and `float` take CSR and floating-point instructions apart; `instruction`
//! says what single ops read, write and do to control; `course` says where a superblock ends and whether it
//! is a loop; `ahead` foresees how many turns a short loop makes, and `gather` chooses the ops; `quiet` finds
//! comparisons around which flags are saved and restored; `simplify` replaces ops by shorter ones; `words`
//! tells which values are sign-extended words; `seats` and `vectors` choose the guest registers that live in
//! host registers; `extent`, `sharing` and `streams` say which accesses share lookups in the TLB;
//! `superblock` has the [`Plan`].

mod ahead;
mod course;
pub mod csr;
mod extent;
mod float;
mod gather;
mod instruction;
mod quiet;
mod seats;
mod sharing;
mod simplify;
mod streams;
mod superblock;
mod vectors;
mod words;

pub use course::{OPS_MAX, SLOTS};
pub use extent::Extent;
pub use float::compares;
pub use gather::gather;
pub use instruction::{adds, ends, native};
pub use seats::{PINNED, SEATS, Seats};
pub use sharing::Group;
#[cfg(test)]
pub use streams::OPS_PER_STREAM;
pub use streams::{STREAMS_MAX, Stream};
#[cfg(test)]
pub use superblock::OPS_PER_LAZY;
pub use superblock::{Course, Plan};
pub use vectors::VECTORS;
pub use words::{Set, Words, bit, makes_word};
