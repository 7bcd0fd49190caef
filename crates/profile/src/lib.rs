//! What a profile of the guest tells: where its time went, by the names of its functions, and what executed
//! it.
//!
//! `hart` samples and counts while a guest runs; `cli` asks this crate, for `--profile`, `--symbols` and
//! `--perf-map`. [`Symbols`] names the guest's addresses, [`Summary`] tells people and programs at the end of
//! a run what was learned, and [`PerfMap`] tells Linux' `perf` what lies where in generated code while the
//! guest runs (docs/profiling.md). The guest computes the same with all this and without: nothing here may
//! reach it.
#![forbid(unsafe_code)]

mod perf_map;
mod summary;
mod symbols;

pub use perf_map::PerfMap;
pub use summary::Summary;
pub use symbols::{Symbols, SymbolsError};

/// Steps between two samples, unless somebody asks for another number. The number is a prime, and not near a
/// multiple of a hart's turn (20,000) or of a chunk of the interpreter's (8,192), so that samples do not keep
/// step with anything.
pub const EVERY_DEFAULT: u64 = 12_373;
