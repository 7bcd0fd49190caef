//! From the plan of a superblock to its code: all ops in a row, and then what was put off.
//!
//! All steps of a superblock are counted when it is entered, and those of a loop when each turn begins. Where
//! control leaves earlier, the steps that are not done are given back.

use super::{
    block::{Block, Link, Source},
    branch::condition,
    cold::{At, Back, Cold, Lookup},
    host::{LEFT, SHARED, held},
    known::Known,
    stubs::go_far,
};
use crate::{
    jit::{
        emit::*,
        plan::{Course, Plan, Set, adds, ends, native},
    },
    op::{Code, Op},
};

/// The code of a superblock, to be put where its [`Source`] says.
pub struct Translated {
    /// The hot code, and after it the cold code.
    pub bytes: Vec<u8>,
    /// The number of bytes of hot code.
    pub split: usize,
    /// The jumps that may be linked. They lead to [`Link::otherwise`] so far.
    pub links: Vec<Link>,
}

/// Translates a superblock. The code will be in the vector `room`, which has room from an earlier superblock.
pub fn translate(source: &Source<'_>, room: Vec<u8>) -> Translated {
    let plan = Plan::new(source.ops, source.sp);
    let mut block = Block::new(source, &plan, room);
    block.hot();
    let split = block.e.here();
    block.cold();
    block.finish(split)
}

/// How a pass over the ops of a superblock ends.
enum End {
    /// Control goes elsewhere, as the superblock is no loop.
    Onward,
    /// Control goes back to the beginning of the pass.
    Back {
        /// What was known at the end of the turn.
        known: Known,
    },
    /// A jump leads to further turns, which are not there yet.
    Further {
        /// What is known when it is taken.
        known: Known,
        /// The jump, which has to land where those turns begin.
        jump: Jump,
    },
}

/// The order of things.
impl Block<'_> {
    /// Makes the hot code.
    fn hot(&mut self) {
        self.swap_in();
        self.begin_streams();
        let mut end = self.make_pass(false, Known::default());
        if let End::Further { known, jump } = end {
            self.e.land(jump);
            end = self.make_pass(false, known);
        }
        if let End::Back { known } = end
            && !self.plan.streams().is_empty()
        {
            // Control comes from where turns of the pass before begin.
            let entry = self.pass().entry;
            self.make_pass(
                true,
                Known {
                    words: known.words,
                    ..entry
                },
            );
        }
    }

    /// Makes the cold code. A piece may put off further pieces.
    fn cold(&mut self) {
        let mut look_up = None;
        while let Some(cold) = self.next_cold() {
            match cold {
                Cold::Streams => self.go_to_streams(&mut look_up),
                Cold::Short => {
                    self.give_back(0..self.plan.ops.len());
                    self.swap_out();
                    self.leave(self.plan.head());
                }
                Cold::Go { completed, slot } => {
                    self.give_back(completed..self.plan.ops.len());
                    self.go(slot);
                }
                Cold::Leave { slot } => self.leave(slot),
                Cold::Indirect => self.e.jump_far(self.source.stubs.far),
                Cold::Return => go_far(&mut self.e, self.source.stubs),
                Cold::Far { offset, others } => self.far(offset, others),
                Cold::Skip { completed, to } => self.skip(completed, to),
                Cold::Interpret { at, back } => self.interpret_and_return(at, back),
                Cold::InterpretAndLeave { at } => {
                    self.interpret(at);
                    self.go_after(at);
                }
                Cold::Compute { at, back } => {
                    let impossible = self.begin_to_compute(back);
                    self.e.land(impossible);
                    self.interpret(at);
                    self.go_after(at);
                }
                Cold::Canonical { vector, single, back } => {
                    self.load_canonical(vector, single);
                    self.e.jump_back(back);
                }
                Cold::Elsewhere { lookup, back } => {
                    self.e.mov(Size::Quad, SHARED, lookup.distance());
                    self.e.jump_back(back);
                }
                Cold::Second { at, back, lookup } => {
                    self.look_again(&lookup);
                    self.interpret_and_return(at, back);
                }
                Cold::Alone { at, lookup } => self.alone(at, &lookup),
            }
        }
    }

    /// The code is complete: its parts go where they will be executed, and each link learns where it leads
    /// until it is linked.
    fn finish(self, split: usize) -> Translated {
        let Block {
            mut e, source, links, ..
        } = self;
        let address = |place: usize| match place.checked_sub(split) {
            Some(offset) => source.cold + offset as u64,
            None => source.hot + place as u64,
        };
        let links = links.into_iter().map(|(jump, target)| Link {
            target,
            at: address(jump.distance()),
            otherwise: address(e.target(jump)),
        });
        let links = links.collect();
        e.put_rest(split, source.cold);
        Translated {
            bytes: e.bytes,
            split,
            links,
        }
    }
}

/// The hot code.
impl Block<'_> {
    /// Makes a pass over all ops, which knows this where a turn begins.
    fn make_pass(&mut self, fast: bool, entry: Known) -> End {
        self.begin_pass(fast, entry);
        self.count_steps();
        let last = self.plan.ops.len().saturating_sub(1);
        let mut end = End::Onward;
        for (index, &(slot, op)) in self.plan.ops.iter().enumerate() {
            self.join(index);
            if index == last && self.plan.course != Course::Onward {
                end = self.lead_back(op);
            } else {
                let shares = true;
                self.op(At { index, slot, shares }, op);
            }
        }
        if let Some(slot) = self.plan.after() {
            self.go(slot);
        }
        end
    }

    /// A turn begins: counts its steps. Leaves if there are not enough, and looks streams up when it is time
    /// to.
    fn count_steps(&mut self) {
        let steps = self.plan.ops.len() as i32;
        self.e
            .alu_immediate(Alu::Sub, Size::Quad, Operand::Register(LEFT), steps);
        // The number of fast turns is such that there are steps enough for them.
        if !self.pass().fast {
            let short = self.e.jump_if(Condition::Below);
            self.put_off(short, Cold::Short);
        }
        if !self.plan.streams().is_empty() && !self.is_first_turn() {
            self.e.alu(Alu::Cmp, Size::Quad, LEFT, held!(floor));
            // Signed, as the floor may be below zero when the superblock is entered; then there are no fast
            // turns.
            let over = self.e.jump_if(Condition::Less);
            self.put_off(over, Cold::Streams);
        }
    }

    /// Is the pass in hand the first turn of a loop that carries floating-point registers from turn to turn?
    fn is_first_turn(&self) -> bool {
        let is_loop = self.plan.course != Course::Onward;
        self.current == 0 && is_loop && !self.plan.vectors.are_none()
    }

    /// Translates the last op of a loop: a jump or a branch to the first one.
    fn lead_back(&mut self, o: Op) -> End {
        self.before(o);
        let entry = self.pass().entry;
        let carries = self.current == 0 && self.plan.is_worth_carrying(self.known.words);
        let further = carries || self.is_first_turn();
        let conforms = further || self.conform(entry.held);
        let condition = condition(o);
        if condition.is_some() {
            self.compare(o);
        }
        let words = self.known.words;
        if !carries {
            self.settle(!entry.words.lazy);
        }
        let known = match self.is_first_turn() && !carries {
            true => self.known,
            // A turn that begins with lazy registers is as right as one that begins without.
            false => Known { words, ..self.known },
        };
        let jump = match condition {
            Some(condition) => self.e.jump_if(condition),
            None => self.e.jump(),
        };
        if further {
            return End::Further { known, jump };
        }
        if conforms {
            self.e.land_back(jump, self.pass().start);
        } else {
            let (completed, slot) = (self.plan.ops.len(), self.plan.head());
            self.put_off(jump, Cold::Go { completed, slot });
        }
        End::Back { known }
    }

    /// Translates an op.
    fn op(&mut self, at: At, o: Op) {
        if !native(o) {
            self.interpret(at);
            self.known = Known::default();
            return;
        }
        let words = self.before(o);
        let moved = adds(o).map(|_| self.known.shared.after(o));
        self.native_op(at, o);
        if let Some(moved) = moved {
            // Lookups through the register go on serving what lies where it was before.
            self.known.shared = moved;
        }
        self.after(o, words);
    }

    /// Translates an op for which there is machine code.
    fn native_op(&mut self, at: At, o: Op) {
        use Code::*;
        if let Some(condition) = condition(o) {
            return self.branch(condition, at, o);
        }
        match o.code {
            Jal => self.jump_and_link(at, o),
            // A jump forward leads to the next op, unless it is the last.
            J if at.index + 1 < self.plan.ops.len() => {}
            J => self.go(at.slot as i64 + i64::from(o.imm)),
            Jr => self.jump_register(o),
            Jalr => self.jump_and_link_register(at, o),
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

/// The cold code.
impl Block<'_> {
    /// Goes on at a later op of the superblock, the one with the number `to`, after so many ops.
    fn skip(&mut self, completed: usize, to: usize) {
        let Back { place, held } = self.pass().begins[to];
        if self.conform(held) {
            self.settle(Set::MAX);
            self.give_back(completed..to);
            self.lift_floor(to - completed);
            self.e.jump_back(place);
        } else {
            self.give_back(completed..self.plan.ops.len());
            self.go(self.plan.ops[to].0 as i64);
        }
    }

    /// Leaves the superblock after an op.
    fn go_after(&mut self, at: At) {
        self.give_back(at.index + 1..self.plan.ops.len());
        self.go((at.slot + self.plan.ops[at.index].1.halves()) as i64);
    }

    /// Goes on at an offset in the page whose address is in rax, of which the code knows nothing.
    fn far(&mut self, offset: i32, others: Vec<Jump>) {
        for jump in others {
            self.e.land(jump);
        }
        self.e
            .alu_immediate(Alu::Add, Size::Quad, Operand::Register(RAX), offset);
        self.e.jump_far(self.source.stubs.far);
    }

    /// Looks the streams up. The code that does so is made where the first pass needs it; the second pass
    /// jumps to that place, which `look_up` keeps.
    fn go_to_streams(&mut self, look_up: &mut Option<usize>) {
        self.give_back(0..self.plan.ops.len());
        self.settle(Set::MAX);
        match *look_up {
            Some(place) => self.e.jump_back(place),
            None => {
                *look_up = Some(self.e.here());
                self.look_streams_up();
            }
        }
    }

    /// Does the first access of a group alone, after a lookup for the group that has failed, and leaves the
    /// superblock after it.
    fn alone(&mut self, at: At, lookup: &Lookup) {
        self.look_again(lookup);
        let shares = false;
        self.op(At { shares, ..at }, self.plan.ops[at.index].1);
        self.go_after(at);
    }

    /// Has the interpreter do an op and goes on in the hot code.
    fn interpret_and_return(&mut self, at: At, back: Back) {
        self.interpret(at);
        self.reload(back.held);
        self.e.jump_back(back.place);
    }

    /// Has the interpreter do an op. Control comes back here if the next op follows.
    fn interpret(&mut self, at: At) {
        let rest = self.plan.ops.len() - at.index - 1;
        self.swap_out();
        self.e.load_immediate(RCX, (rest << 16 | at.slot) as i64);
        self.e.load_immediate(RDX, self.source.place as i64);
        if ends(self.plan.ops[at.index].1) {
            // Control does not come back, and the host's processor shall not expect it to.
            self.e.jump_far(self.source.stubs.depart);
            return;
        }
        self.e.call(self.source.stubs.interpret);
        self.swap_in();
    }
}
