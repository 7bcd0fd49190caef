//! How generated code is entered, and how it calls back: the top of the translator, above `translations`.
//!
//! The interpreter is the [`Engine`] (`interp/translated.rs`). When it comes to a superblock that has code,
//! it calls [`run()`], which enters the code through the shared code and comes back when control leaves it.
//! On the way, generated code has the engine do each instruction that there is no code for, by the one
//! function that it is given here.
//!
//! Nothing here may hold a reference to the engine or to its workspace while generated code runs, as the
//! callback makes one of its own; nor enter code that was dropped, which [`Translations::enter`] asserts.

use super::{
    translations::{Code, Translations},
    workspace::{MIDDLE, Resume, Workspace},
};

/// The engine that generated code works for.
pub trait Engine {
    /// The workspace, with the integer registers; all fields are set that the engine sets.
    fn workspace(&mut self) -> &mut Workspace;

    /// The directory of all superblocks; `None`: nothing is translated.
    fn translations(&mut self) -> Option<&mut Translations>;

    /// Does the instruction at a slot of a place, with `left` steps left after it. It may say
    /// [`Resume::Next`] only if the TLB and the translations have lost nothing since.
    fn interpret(&mut self, place: usize, slot: usize, left: u64) -> Resume;
}

/// The function that generated code calls to have an instruction interpreted. `at` is the slot and, from bit
/// 16 on, how many steps after this instruction are counted already.
///
/// # Safety
/// `engine` must be the one that [`run()`] was called with, and nothing else may use it.
unsafe extern "C" fn interpret<E: Engine>(engine: *mut E, at: u32, place: u32) -> u32 {
    // SAFETY: the caller's promise.
    let engine = unsafe { &mut *engine };
    let left = engine.workspace().left + u64::from(at >> 16);
    engine.interpret(place as usize, (at & 0xffff) as usize, left) as u32
}

/// Runs the code of a superblock that has just been found. The engine has set [`Workspace::left`], to at most
/// [`CALLS_MAX`](super::CALLS_MAX), [`Workspace::page`], [`Workspace::frames`], and the fields of the TLB,
/// the CSRs and floating point. When the call returns, [`Workspace::left`] and [`Workspace::pc`] say how far
/// the guest came, and all of its state is exact.
pub fn run<E: Engine>(engine: &mut E, code: Code) {
    let engine: *mut E = engine;
    // SAFETY: it was a reference a moment ago.
    let Some(translations) = (unsafe { &mut *engine }).translations() else {
        return;
    };
    let (enter, entries) = (translations.enter(code), translations.entry_points());
    // SAFETY: as above; the borrow of the translations has ended.
    let workspace = unsafe { &mut *engine }.workspace();
    workspace.entries = entries as u64;
    workspace.engine = engine as u64;
    workspace.interpret = interpret::<E> as *const () as u64;
    let middle = (&raw mut *workspace).cast::<u8>().wrapping_add(MIDDLE);
    // SAFETY: see the head of `mod.rs`; `Translations::enter` has asserted that the code is there.
    unsafe { enter(middle, code.address()) };
}
