//! The stacks of calls: generated code makes a return of the guest a return of the host, whose processor
//! foresees it.
//!
//! While generated code runs, rsp points into one of these stacks. A call of the guest pushes its return
//! address and calls the host's code, so that a *frame* is the guest's return address and the host address
//! after the call. A return that finds its address in the last frame is a return of the host; any other
//! return leaves the frames alone and looks its address up. Frames that nobody returns to do no harm.
//!
//! Each set of the TLB has a stack, so that a frame is found only in the address space that made it. A stack
//! is emptied when a translation for fetches of its set may have become wrong, so that a page that is
//! returned to is where it was. Which code that page has by then is another matter: the jump after the call
//! is linked.

use crate::tlb::SETS;

/// Calls in one run of generated code at most. Each call is a step, so that an engine keeps to this by
/// running no more steps.
pub const CALLS_MAX: usize = 1 << 15;
/// Words of a frame.
const FRAME: usize = 2;
/// Words of a stack for frames: for twice as many calls as a run makes, so that it is not emptied at each
/// run.
const WORDS: usize = 2 * FRAME * CALLS_MAX;
/// Words below the frames, for handlers of signals, which use the stack that rsp points to.
const SLACK: usize = 8192;
/// Words of a stack: the slack, the frames, and above them the first frame.
const STACK: usize = SLACK + WORDS + FRAME;

/// The stacks of all sets.
pub struct Frames {
    /// The stacks, one set after the other.
    memory: Vec<u64>,
    /// Where the last frame of each set is; `None`: the stack is empty.
    tops: [Option<Top>; SETS],
    /// The host address that the first frame of each stack leads to, which belongs to no call.
    underflow: u64,
}

/// The last frame of a set that has frames.
#[derive(Clone, Copy)]
struct Top {
    /// Its host address.
    frame: u64,
    /// The stamp of the set when the frames were made: with another stamp, they are worth nothing.
    stamp: u64,
}

impl Frames {
    /// No frames; `underflow` is the host address of the shared code for a return to none.
    pub fn new(underflow: u64) -> Frames {
        Frames {
            memory: vec![0; SETS * STACK],
            tops: [None; SETS],
            underflow,
        }
    }

    /// The host address of the last frame of a set, whose stamp this is. There is room below for the calls of
    /// a run.
    pub fn last(&mut self, set: usize, stamp: u64) -> u64 {
        let words = &mut self.memory[set * STACK..][..STACK];
        let lowest = &raw const words[SLACK + FRAME * CALLS_MAX] as u64;
        if let Some(top) = self.tops[set]
            && top.stamp == stamp
            && top.frame >= lowest
        {
            return top.frame;
        }
        // No return goes to the address 1, and if one did, the shared code would do the right thing.
        let first = &mut words[SLACK + WORDS..];
        first.copy_from_slice(&[self.underflow, 1]);
        let frame = first.as_ptr() as u64;
        self.tops[set] = Some(Top { frame, stamp });
        frame
    }

    /// Generated code has left a set's stack with this frame as the last, unless the frames were forgotten
    /// meanwhile.
    pub fn leave(&mut self, set: usize, frame: u64) {
        if let Some(top) = &mut self.tops[set] {
            top.frame = frame;
        }
    }

    /// Forgets all frames: the code that they lead to is gone.
    pub fn clear(&mut self) {
        self.tops = [None; SETS];
    }
}
