//! The translator: machine code for the superblocks that run often. Unsafe code may stand here, as in two
//! other places of the repository (docs/style.md, U1).
//!
//! A *superblock* is up to [`OPS_MAX`](plan::OPS_MAX) *ops*, decoded instructions of one page, in the order
//! in which they are mostly executed. The interpreter gathers them when their first op was reached [`HOT`]
//! times.
//!
//! The translator holds no guest state: between two calls of [`run()`] everything is in the registers' array,
//! RAM and the TLB, exactly as the interpreter has it, and to drop any translation at any moment is
//! unobservable. Generated code is entered from the interpreter's loop, and has the interpreter do every
//! instruction that there is no code for. docs/translator.md tells the story.
//!
//! Map, from the bottom up. No file uses one of a room above its own, and no two files use each other:
//!
//! - `emit` writes x86-64 instructions and knows nothing else;
//! - `plan` finds out what the ops of a superblock say by themselves, before there is code, and decides what
//!   follows from that; it knows of the host only how many registers hold guest registers;
//! - `workspace` has the fields that generated code and the engine share;
//! - `generate` makes the code that a plan asks for;
//! - `memory` keeps the code, `frames` the stacks of its calls, and `support` asks whether this host can run
//!   it at all;
//! - `translations` is the directory: which superblocks there are, and which jumps lead to them;
//! - `run` enters generated code and is called back by it.
//!
//! # Safety argument
//! Generated code touches the following and nothing else. The workspace: [`run()`] has the engine exclusively
//! for the call. The floating-point registers and the CSRs: likewise. The TLB's entries: at indices masked to
//! the set that the engine named. RAM: only at addresses that an entry of the TLB gives for an access that
//! lies wholly in its page, and the TLB's invariant is that those are in RAM; stores only through entries for
//! stores, whose pages are plain. The tables of entry points and the [`Frames`](frames::Frames): they live as
//! long as [`Translations`], as does the code that they point to, which is overwritten only between two runs,
//! when neither a table that the TLB leads to nor a frame points to it any more. What a superblock found in
//! the TLB it uses only until the interpreter has dropped anything, which makes it leave. Generated code
//! calls the one function that [`run()`] gives it, and keeps the host's stack as it found it.
//!
//! JUSTIFICATION: speed; see docs/performance.md.

mod emit;
mod frames;
mod generate;
mod memory;
mod plan;
mod run;
mod support;
mod translations;
mod workspace;

pub use frames::CALLS_MAX;
pub use memory::CODE_MAX;
pub use plan::{ends, gather};
pub use run::{Engine, run};
pub use support::{NoTranslation, can_translate};
pub use translations::{Code, Found, HOT, Present, Translations};
pub use workspace::{NOTHING, Resume, STATUS_CLEAN, Workspace};
