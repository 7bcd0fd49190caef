//! Enters generated code, and is called back by it.

use super::{
    translations::{Code, Translations},
    workspace::{Field, MIDDLE, WORDS},
};

/// How generated code goes on when the interpreter has done an instruction for it, as the number that the
/// code is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// It does not go on; [`Field::Pc`] and [`Field::Left`] are set.
    Leave = 0,
    /// It goes on with the next instruction. Not behind an instruction that [`ends`](super::ends) a
    /// superblock.
    Next = 1,
    /// It goes on at [`Field::Pc`]; [`Field::Left`] is set.
    Jump = 2,
}

/// The engine that generated code works for.
pub trait Engine {
    /// The integer registers and behind them the fields, all of which are set.
    fn words(&mut self) -> &mut [u64; WORDS];

    /// The directory of all superblocks; `None`: nothing is translated.
    fn translations(&mut self) -> Option<&mut Translations>;

    /// Does the instruction at a slot of a place, with `left` steps left behind it. It may say
    /// [`Resume::Next`] only if the TLB and the translations have lost nothing since.
    fn interpret(&mut self, place: usize, slot: usize, left: u64) -> Resume;
}

/// The function that generated code calls to have an instruction interpreted. `at` is the slot and, from bit
/// 16 on, how many steps behind this instruction are counted already.
///
/// # Safety
/// `engine` must be the one that [`run`] was called with, and nothing else may use it.
unsafe extern "C" fn interpret<E: Engine>(engine: *mut E, at: u32, place: u32) -> u32 {
    // SAFETY: the caller's promise.
    let engine = unsafe { &mut *engine };
    let left = engine.words()[Field::Left as usize] + u64::from(at >> 16);
    engine.interpret(place as usize, (at & 0xffff) as usize, left) as u32
}

/// Runs the code of a superblock that has just been found. The engine has set [`Field::Left`], to at most
/// [`CALLS_MAX`](super::CALLS_MAX), [`Field::Page`], [`Field::Frames`], and the fields of the TLB, the CSRs
/// and floating point. When the call returns, [`Field::Left`] and [`Field::Pc`] say how far the guest came,
/// and all of its state is exact.
pub fn run<E: Engine>(engine: &mut E, code: Code) {
    let engine: *mut E = engine;
    // SAFETY: it was a reference a moment ago.
    let Some(translations) = (unsafe { &mut *engine }).translations() else {
        return;
    };
    let (enter, entries) = (translations.enter(code), translations.entry_points());
    // SAFETY: as above; the borrow of the translations has ended.
    let words = unsafe { &mut *engine }.words();
    words[Field::Entries as usize] = entries as u64;
    words[Field::Engine as usize] = engine as u64;
    words[Field::Interpret as usize] = interpret::<E> as *const () as u64;
    // SAFETY: see the head of `mod.rs`; `Translations::enter` has asserted that the code is there.
    unsafe { enter(words.as_mut_ptr().wrapping_add(MIDDLE), code.address()) };
}
