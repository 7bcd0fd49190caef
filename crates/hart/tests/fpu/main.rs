//! The floating-point unit against Berkeley SoftFloat and against the rules RISC-V adds to IEEE 754.
//!
//! `cargo test --release -p hart --test fpu` runs the same tests with many more random operands.

mod fast;
mod operands;
mod rules;

#[path = "../support/mod.rs"]
mod support;

// The oracle is C code whose build script supports x86-64 only.
#[cfg(target_arch = "x86_64")]
mod berkeley;
#[cfg(target_arch = "x86_64")]
mod equal;
// Generated code is x86-64 too.
#[cfg(target_arch = "x86_64")]
mod native;
