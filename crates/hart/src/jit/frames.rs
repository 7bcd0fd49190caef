//! The stacks that rsp points to in generated code, so that returns of the guest are returns of the host's,
//! whose processor foresees them.
//!
//! A call pushes its return address and calls the host's code, so that a *frame* is the guest's return
//! address and the host address behind the call. A return that finds its address in the last frame is a
//! return of the host's; any other leaves the frames alone and looks its address up. Frames that nobody
//! returns to do no harm.
//!
//! Each set of the TLB has a stack, so that a frame is only found by the address space that made it; it is
//! emptied when a translation for fetches may have become wrong, so that a page whose code is returned to is
//! where it was. What code it has now is another matter: the jump behind the call is linked.

use crate::tlb::SETS;

/// Calls in one run of generated code at most: each is a step.
pub const CALLS_MAX: usize = 1 << 15;
/// Words of a stack: for twice as many calls, so that it is not emptied at each run.
const WORDS: usize = 2 * 2 * CALLS_MAX;
/// Words below, for handlers of signals.
const SLACK: usize = 8192;
const STACK: usize = SLACK + WORDS + 2;

/// The stacks of all sets.
pub struct Frames {
    memory: Vec<u64>,
    /// The last frame of each and the stamp that it was made under; 0: there is none.
    tops: [(u64, u64); SETS],
    /// Where the first frame leads, that of no call.
    underflow: u64,
}

impl Frames {
    /// No frames; `underflow` is the address of shared code.
    pub fn new(underflow: u64) -> Frames {
        Frames {
            memory: vec![0; SETS * STACK],
            tops: [(0, 0); SETS],
            underflow,
        }
    }

    /// The last frame of a set, whose stamp this is, with room for a run's calls.
    pub fn last(&mut self, set: usize, stamp: u64) -> u64 {
        let words = &mut self.memory[set * STACK..][..STACK];
        let lowest = &raw const words[SLACK + 2 * CALLS_MAX] as u64;
        let (top, known) = self.tops[set];
        if known == stamp && top >= lowest {
            return top;
        }
        // No return address that is looked for is this one, and if it were the code there would do.
        let first = &mut words[SLACK + WORDS..];
        first.copy_from_slice(&[self.underflow, 1]);
        let top = first.as_ptr() as u64;
        self.tops[set] = (top, stamp);
        top
    }

    /// Generated code has left a set's stack with this frame as the last.
    pub fn leave(&mut self, set: usize, top: u64) {
        if self.tops[set].0 != 0 {
            self.tops[set].0 = top;
        }
    }

    /// Forgets all frames: the code that they lead to is gone.
    pub fn clear(&mut self) {
        self.tops = [(0, 0); SETS];
    }
}
