//! The superblock in hand: its plan, the code so far, and what is certain at the end of that code.
//!
//! Everything that makes code works on a [`Block`]. There are no modes in it: what belongs to one copy of the
//! ops is in its [`Pass`], and what belongs to one op comes with the op ([`At`]).

use std::collections::VecDeque;

use super::{
    cold::{At, Back, Cold, Exposed, PutOff},
    known::{Held, Known, Lookups, Use},
    stubs::Stubs,
};
use crate::{
    jit::{
        emit::{Emitter, Jump},
        plan::{OPS_MAX, Plan, Set, Words},
    },
    op::Op,
};

/// Most superblocks have no more jumps than this that may be linked.
const LINKS: usize = 16;

/// A superblock to be translated: its ops, where its code will be, and what is known of the page that it
/// belongs to.
pub struct Source<'a> {
    /// The address where the hot code will be executed.
    pub hot: u64,
    /// The address where the cold code will be executed.
    pub cold: u64,
    /// The shared code.
    pub stubs: Stubs,
    /// The place where the code of the page is kept.
    pub place: usize,
    /// The entry points of the page, one for each slot: [`Stubs::exit`] where there is no code.
    pub entries: &'a [u64],
    /// Was a slot, which may be outside the page, come upon about as often as what is translated now?
    pub is_likely: &'a dyn Fn(i64) -> bool,
    /// The place where the code of the page is kept that begins so many bytes after this one (before it, if
    /// the number is negative), if that is known.
    pub known: &'a dyn Fn(i64) -> Option<usize>,
    /// The stack pointer when the superblock is made.
    pub sp: u64,
    /// The ops, each with its slot, in the order of execution. Only the last may end the superblock or lead
    /// to the first.
    pub ops: &'a [(usize, Op)],
}

/// A jump of a superblock that leads directly to the code of a slot as long as there is some.
pub struct Link {
    /// Which slot that is.
    pub target: Target,
    /// The address of the jump's last four bytes.
    pub at: u64,
    /// The address where the jump leads as long as the slot has no code.
    pub otherwise: u64,
}

/// The slot that a jump may lead to.
#[derive(Clone, Copy)]
pub struct Target {
    /// Is the jump gone, at the latest, when the code of the slot's page is dropped?
    pub inside: bool,
    /// The place where the code of that page is kept.
    pub place: usize,
    /// The slot in that page.
    pub slot: usize,
}

/// One copy of the ops in the code. Most superblocks have one pass; a loop that walks through memory, or that
/// carries words or floating-point registers from turn to turn, has further ones, whose turns are faster.
pub(super) struct Pass {
    /// Does this pass do without lookups for the streams, because their pages are known as long as its turns
    /// last?
    pub fast: bool,
    /// What is known whenever a turn begins, but for shared lookups. The end of a turn must see to it that
    /// it is true again.
    pub entry: Known,
    /// The place in the code where a turn begins.
    pub start: usize,
    /// The place in the code where each op begins, of those that are there, and what vector registers hold
    /// there.
    pub begins: Vec<Back>,
    /// The branches to later ops so far.
    pub skips: Vec<Skip>,
}

/// A branch to a later op of the superblock, and what is certain when it is taken.
pub(super) struct Skip {
    /// The number of the later op.
    pub to: usize,
    /// The lookups that serve several accesses.
    pub shared: Lookups,
    /// The registers that hold sign-extended words. None is lazy: the cold code extends them.
    pub words: Set,
    /// What may be done with the floating-point registers.
    pub float: Option<Use>,
    /// What vector registers hold.
    pub held: Held,
}

/// A superblock under construction.
pub(super) struct Block<'a> {
    /// The emitter, which has the code so far.
    pub e: Emitter,
    /// What the superblock is made of, and where its code will be.
    pub source: &'a Source<'a>,
    /// What was decided before there was any code.
    pub plan: &'a Plan<'a>,
    /// The passes that are in the code, the last of which may be unfinished: one to three.
    pub passes: Vec<Pass>,
    /// The number of the pass that the code in hand belongs to. Cold code belongs to the pass that jumps to
    /// it.
    pub current: usize,
    /// What is certain at the end of the code so far.
    pub known: Known,
    /// What the host's registers hold where the op in hand would be left in its middle: what they held before
    /// it.
    pub exposed: Exposed,
    /// The jumps of the op in hand that lead to the interpreter and come back.
    pub declined: Vec<Jump>,
    /// The jumps of the op in hand that are taken if an operand is no properly boxed single. What the code
    /// after the op relies on is wrong then, so they do not come back.
    pub unboxed: Vec<Jump>,
    /// The cold code that is still to be made, in the order in which it will be.
    pub put_off: VecDeque<PutOff>,
    /// The jumps so far that will be [`Link`]s, each with the slot that it may lead to.
    pub links: Vec<(Jump, Target)>,
}

impl<'a> Block<'a> {
    /// Begins a superblock, without any code. The code will be in the vector `room`, which has room from an
    /// earlier superblock.
    pub fn new(source: &'a Source<'a>, plan: &'a Plan<'a>, room: Vec<u8>) -> Block<'a> {
        Block {
            e: Emitter::with_room(source.hot, room),
            source,
            plan,
            passes: Vec::with_capacity(1),
            current: 0,
            known: Known::default(),
            exposed: Exposed::default(),
            declined: Vec::new(),
            unboxed: Vec::new(),
            put_off: VecDeque::with_capacity(OPS_MAX),
            links: Vec::with_capacity(LINKS),
        }
    }

    /// Begins a pass: a turn begins here, with this known but for shared lookups.
    pub fn begin_pass(&mut self, fast: bool, entry: Known) {
        let entry = Known {
            shared: Lookups::default(),
            ..entry
        };
        self.current = self.passes.len();
        self.known = entry;
        self.expose();
        self.passes.push(Pass {
            fast,
            entry,
            start: self.e.here(),
            begins: Vec::with_capacity(self.plan.ops.len()),
            skips: Vec::new(),
        });
    }

    /// The pass that the code in hand belongs to.
    pub fn pass(&self) -> &Pass {
        &self.passes[self.current]
    }

    /// The pass that the code in hand belongs to, to be changed.
    pub fn pass_mut(&mut self) -> &mut Pass {
        &mut self.passes[self.current]
    }

    /// An op begins: if it is left in its middle, what is known now of the host's registers is what counts.
    pub fn expose(&mut self) {
        self.exposed = Exposed {
            lazy: self.known.words.lazy,
            held: self.known.held,
        };
    }

    /// The place where the code ends so far, to come back to.
    pub fn back(&self) -> Back {
        Back {
            place: self.e.here(),
            held: self.known.held,
        }
    }

    /// Puts off what happens if the jump is taken, which is in the middle of the op in hand.
    pub fn put_off(&mut self, jump: Jump, cold: Cold) {
        self.put_off.push_back(PutOff {
            jump,
            pass: self.current,
            exposed: self.exposed,
            cold,
        });
    }

    /// Puts off that the interpreter does the op whose code ends here if the jump is taken; control comes
    /// back here.
    pub fn interpret_at(&mut self, jump: Jump, at: At) {
        let back = self.back();
        self.put_off(jump, Cold::Interpret { at, back });
    }

    /// Begins the next piece of cold code; `None` when all of it is there.
    pub fn next_cold(&mut self) -> Option<Cold> {
        let next = self.put_off.pop_front()?;
        self.e.land(next.jump);
        self.current = next.pass;
        self.exposed = next.exposed;
        self.known = Known {
            words: Words::only(next.exposed.lazy),
            held: next.exposed.held,
            ..Known::default()
        };
        Some(next.cold)
    }
}
