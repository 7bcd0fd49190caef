//! From decoded ops to machine code: a *superblock*, which is entered at its first op and left at many places.
//!
//! The common case of an op is translated; for whatever else there is to do (a page that the TLB does not know, a device,
//! a CSR, a division by zero) the code has the interpreter do that one instruction and goes on behind it.
//!
//! All steps of a superblock are counted when it is entered; where it is left earlier, those not done are given back.

use std::{collections::VecDeque, ops::Range};

use super::{
    Page,
    access::{Lookup, Shared},
    emit::*,
    float,
    flow::Link,
    plan::{OPS_MAX, Plan, Set, Words, ends, native},
    stubs::{Field, LEFT, SHARED, Stubs, go_far, held},
};
use crate::op::{Code, Op};

/// Jumps that most superblocks have at most.
const LINKS: usize = 16;

/// Which op: its number in the superblock and its slot.
#[derive(Clone, Copy)]
pub struct At {
    pub index: usize,
    pub slot: usize,
}

/// What a superblock is made of and for.
pub struct Source<'a> {
    /// Where it will be: what is executed often, and the rest.
    pub hot: u64,
    pub cold: u64,
    pub stubs: Stubs,
    pub place: usize,
    pub page: &'a Page,
    /// Where the code is kept of the page that lies so many bytes behind this one, if that is known.
    pub known: &'a dyn Fn(i64) -> Option<usize>,
    /// The stack pointer when it is made.
    pub sp: u64,
    /// The page's entry points.
    pub entries: &'a [u64],
    /// Its ops, each with its slot, in the order of execution. Only the last may end, or lead to the first.
    pub ops: &'a [(usize, Op)],
}

/// What happens off the straight line.
pub enum Cold {
    /// Leaves at the head: there are not steps enough.
    Short,
    /// Goes on elsewhere.
    Go { completed: usize, slot: i64 },
    /// No turn may begin before streams are looked up.
    Over,
    /// Leaves for a slot that has no code yet.
    Leave { slot: i64 },
    /// Goes on at the address in rax.
    Look,
    /// A return that no frame is for: goes on at the address in rax.
    Return,
    /// Goes on at this offset in the page whose address is in rax, of which nothing is known; so do other jumps.
    Far { offset: i32, others: Vec<Jump> },
    /// Goes on at a later op of this superblock.
    Skip { completed: usize, to: usize },
    /// Has the interpreter do an op; then back to where its code ends, or else out of here.
    Interpret { at: At, back: Option<usize> },
    /// Takes the place from the entry at rdx; then back.
    Elsewhere { lookup: Lookup, back: usize },
    /// Looks in the TLB's second slot before that.
    Second { at: At, back: usize, lookup: Lookup },
    /// Looks in the TLB's second slot; then, as neighbours may be in another page, does the access alone and leaves.
    Alone { at: At, lookup: Lookup },
}

/// A superblock under construction.
pub struct Block<'a> {
    pub(super) e: Emitter,
    pub(super) source: &'a Source<'a>,
    pub(super) plan: &'a Plan<'a>,
    /// The turns behind the first ones of a loop that is there twice are in hand.
    pub(super) fast: bool,
    /// From the first turn of a loop without streams to the others, if it is there twice.
    pub(super) onward: Option<Jump>,
    /// Where a turn begins, of the slow ones and of the fast ones: behind what is done on the way in.
    pub(super) starts: [usize; 2],
    /// Where streams are looked up.
    pub(super) prepare: Option<usize>,
    /// What is put off, whether it is of the fast turns, and what is lazy there.
    cold: VecDeque<(Jump, bool, Set, Cold)>,
    pub(super) links: Vec<Link>,
    /// Where the code of each op begins, of the slow turns and of the fast ones.
    pub(super) begins: [Vec<usize>; 2],
    /// Branches to later ops.
    pub(super) skips: Vec<Skip>,
    /// The lookup that may be shared now.
    pub(super) shared: Option<Shared>,
    /// The access in hand is done without its neighbours.
    pub(super) alone: bool,
    /// What is known to be allowed with the floating-point registers.
    pub(super) float_known: Option<float::Use>,
    /// What is known of the integer registers now.
    pub(super) words: Words,
    /// What was lazy before the op in hand.
    pub(super) exposed: Set,
    /// What is known at the end of each turn, and so before each but the first.
    pub(super) carried: Words,
}

/// A branch to a later op, and what is known there.
pub struct Skip {
    pub to: usize,
    /// Where the lookup was made that is shared.
    pub shared: Option<usize>,
    pub words: Set,
}

/// A superblock that is to be put where its [`Source`] says.
pub struct Translated {
    pub bytes: Vec<u8>,
    /// Where what is rarely executed begins.
    pub split: usize,
    pub links: Vec<Link>,
}

/// Translates a superblock. The code will be in the vector `room`, which has room from an earlier one.
pub fn translate(source: &Source<'_>, room: Vec<u8>) -> Translated {
    let plan = &Plan::new(source.ops, source.sp);
    let mut block = Block {
        e: Emitter::with_room(source.hot, room),
        source,
        plan,
        fast: false,
        onward: None,
        starts: [0; 2],
        prepare: None,
        cold: VecDeque::with_capacity(OPS_MAX),
        links: Vec::with_capacity(LINKS),
        begins: [Vec::with_capacity(plan.ops.len()), Vec::new()],
        skips: Vec::new(),
        shared: None,
        alone: false,
        float_known: None,
        words: Words::default(),
        exposed: 0,
        carried: Words::default(),
    };
    block.swap_in();
    block.begin_streams();
    block.straight();
    if !block.plan.streams().is_empty() || block.onward.is_some() {
        block.fast = true;
        block.straight();
    }
    let split = block.e.here();
    while let Some((jump, fast, lazy, cold)) = block.cold.pop_front() {
        block.e.land(jump);
        block.fast = fast;
        (block.words, block.exposed) = (Words::only(lazy), lazy);
        block.cold(cold);
    }
    for link in &mut block.links {
        link.otherwise = source.hot + block.e.target(link.at - source.hot);
    }
    block.e.put_rest(split, source.cold);
    for link in &mut block.links {
        for address in [&mut link.at, &mut link.otherwise] {
            let offset = *address - source.hot;
            if offset >= split as u64 {
                *address = source.cold + (offset - split as u64);
            }
        }
    }
    Translated {
        bytes: block.e.bytes,
        split,
        links: block.links,
    }
}

impl Block<'_> {
    /// All ops, one behind the other.
    fn straight(&mut self) {
        (self.shared, self.float_known) = (None, None);
        if let Some(jump) = self.onward.take() {
            self.e.land(jump);
        }
        // Before the first fast turn there were slow ones.
        self.words = if self.fast { self.carried } else { Words::default() };
        self.exposed = self.words.lazy;
        self.skips.clear();
        self.starts[usize::from(self.fast)] = self.e.here();
        let steps = self.source.ops.len() as i32;
        self.e
            .alu_immediate(Alu::Sub, Size::Quad, Operand::Register(LEFT), steps);
        if !self.fast || self.plan.streams().is_empty() {
            let short = self.e.jump_if(Condition::Below);
            self.put_off(short, Cold::Short);
        }
        if !self.plan.streams().is_empty() {
            self.e.alu(Alu::Cmp, Size::Quad, LEFT, held(Field::Floor));
            // Signed: on the way in it may be below zero, and then no turns are fast.
            let over = self.e.jump_if(Condition::Less);
            self.put_off(over, Cold::Over);
        }
        for (index, &(slot, op)) in self.plan.ops.iter().enumerate() {
            self.join(index);
            self.op(At { index, slot }, op);
        }
        if let Some(slot) = self.plan.behind() {
            self.go(slot);
        }
    }

    /// What happens if the jump is taken.
    pub(super) fn put_off(&mut self, jump: Jump, cold: Cold) {
        self.cold.push_back((jump, self.fast, self.exposed, cold));
    }

    pub(super) fn cold(&mut self, cold: Cold) {
        match cold {
            Cold::Short => {
                self.give_back(0..self.plan.ops.len());
                self.swap_out();
                self.leave(self.plan.head());
            }
            Cold::Over => self.over(),
            Cold::Go { completed, slot } => {
                self.give_back(completed..self.plan.ops.len());
                self.go(slot);
            }
            Cold::Leave { slot } => self.leave(slot),
            Cold::Look => self.e.jump_far(self.source.stubs.far),
            Cold::Return => go_far(&mut self.e, self.source.stubs),
            Cold::Far { offset, others } => {
                for jump in others {
                    self.e.land(jump);
                }
                self.e
                    .alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), offset);
                self.e.jump_far(self.source.stubs.far);
            }
            Cold::Skip { completed, to } => {
                self.settle(Set::MAX);
                self.give_back(completed..to);
                self.lift_floor(to - completed);
                self.e.jump_back(self.begins[usize::from(self.fast)][to]);
            }
            Cold::Elsewhere { lookup, back } => {
                self.e.mov(Size::Quad, SHARED, lookup.place());
                self.e.jump_back(back);
            }
            Cold::Second { at, back, lookup } => {
                self.look_again(&lookup);
                self.cold(Cold::Interpret { at, back: Some(back) });
            }
            Cold::Alone { at, lookup } => {
                self.look_again(&lookup);
                (self.shared, self.float_known, self.alone) = (None, None, true);
                self.op(at, self.plan.ops[at.index].1);
                self.alone = false;
                self.go_behind(at);
            }
            Cold::Interpret { at, back: Some(back) } => {
                self.interpret(at);
                self.e.jump_back(back);
            }
            Cold::Interpret { at, back: None } => {
                self.interpret(at);
                self.go_behind(at);
            }
        }
    }

    /// Out of here, behind an op.
    fn go_behind(&mut self, at: At) {
        self.give_back(at.index + 1..self.plan.ops.len());
        self.go((at.slot + self.plan.ops[at.index].1.halves()) as i64);
    }

    /// These ops were counted and are not done.
    pub(super) fn give_back(&mut self, ops: Range<usize>) {
        if !ops.is_empty() {
            let steps = ops.len() as i32;
            self.e
                .alu_immediate(Alu::Add, Size::Quad, Operand::Register(LEFT), steps);
        }
    }

    /// Has the interpreter do an op and comes back, if the next one follows.
    fn interpret(&mut self, at: At) {
        let rest = self.plan.ops.len() - at.index - 1;
        self.swap_out();
        self.e.load_immediate(RCX, (rest << 16 | at.slot) as i64);
        self.e.load_immediate(RDX, self.source.place as i64);
        if ends(self.plan.ops[at.index].1) {
            // It does not come back, and the host's processor shall not expect it to.
            self.e.jump_far(self.source.stubs.depart);
            return;
        }
        self.e.call(self.source.stubs.interpret);
        self.swap_in();
    }

    /// If the jump is taken, the interpreter does the op whose code ends here; then control comes back here or leaves.
    pub(super) fn interpret_at(&mut self, jump: Jump, at: At, comes_back: bool) {
        let back = comes_back.then_some(self.e.here());
        self.put_off(jump, Cold::Interpret { at, back });
    }

    /// What to do if a lookup fails for an op whose code ends here.
    pub(super) fn looked_up(&mut self, lookup: Lookup, at: At, shared: bool) {
        let back = self.e.here();
        let cold = match shared {
            true => Cold::Alone { at, lookup },
            false => Cold::Second { at, back, lookup },
        };
        self.put_off(lookup.miss, cold);
    }

    /// Translates an op.
    pub(super) fn op(&mut self, at: At, o: Op) {
        if !native(o) {
            self.interpret(at);
            (self.shared, self.float_known) = (None, None);
            self.words = Words::default();
            return;
        }
        let words = self.before(o);
        self.native_op(at, o);
        self.behind(o, words);
    }

    fn native_op(&mut self, at: At, o: Op) {
        use Code::*;
        match o.code {
            Jal => self.jump_and_link(at, o),
            // The next op, unless it is the last.
            J if at.index + 1 < self.plan.ops.len() => {}
            J => self.go(at.slot as i64 + i64::from(o.imm)),
            Jr => self.jump_register(o),
            Jalr => self.jump_and_link_register(at, o),
            Beq => self.branch(Condition::Equal, at, o),
            Bne => self.branch(Condition::NotEqual, at, o),
            Blt => self.branch(Condition::Less, at, o),
            Bge => self.branch(Condition::GreaterEqual, at, o),
            Bltu => self.branch(Condition::Below, at, o),
            Bgeu => self.branch(Condition::AboveEqual, at, o),
            Auipc => self.define_address(i64::from(o.imm) + at.slot as i64 * 2, o),
            Flw | Fld | Fsw | Fsd | Float => self.float_op(at, o),
            Lb | Lh | Lw | Ld | Lbu | Lhu | Lwu | Sb | Sh | Sw | Sd | AmoW | AmoD | LrW | LrD | ScW | ScD => {
                self.access(at, o);
            }
            Csr => self.csr(at, o),
            SfenceVma | SinvalVma => self.fence(at),
            Cbo => self.zero_block(at, o),
            _ => self.compute(at, o),
        }
    }
}
