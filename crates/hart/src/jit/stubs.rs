//! Where guest state lives while generated code runs, and the code that all superblocks share: how it is entered and
//! left, and how it has the interpreter do one instruction.
//!
//! Registers: rbp points into the integer registers and, behind them, the [`Field`]s; rbx to the TLB's entries for
//! loads and stores; r15 is the number of steps left; r14 is `access`'s. Eight guest registers live in host registers,
//! the others in memory. rax, rcx and rdx are scratch.

use super::{
    emit::*,
    plan::{PINNED, SEATS},
};

/// What generated code shares with the engine: indices behind the registers.
#[derive(Clone, Copy)]
#[repr(usize)]
pub enum Field {
    /// Virtual address of the page, which is not known at translation, as code is kept by physical page.
    Page = 33,
    /// Host address of the TLB's entries for loads.
    Data,
    /// Host address of the TLB's entries for fetches.
    Fetch,
    /// Host address of the entry points of all places.
    Entries,
    /// Steps left.
    Left,
    /// Virtual address of the next instruction.
    Pc,
    /// Host address of the floating-point registers.
    Float,
    /// Not 0 if `mstatus.FS` is not Off, so that they may be read.
    FloatOn,
    /// SD of `sstatus`: not 0 if `mstatus.FS` is Dirty, so that they may be written and need no notice of it.
    FloatDirty,
    /// Likewise, if besides NX is accrued already and the rounding mode is RNE, so that a normal result changes no flag.
    FloatPlain,
    /// All ones if NX is accrued already and the rounding mode is RNE, or 0.
    FloatMode,
    /// Host address of the CSRs.
    Csrs,
    /// Not 0 outside user mode.
    Supervisor,
    /// The bits of `sstatus` that cannot be written, without SD.
    StatusConstants,
    /// Not 0 if no enabled interrupt is pending, so that none comes if `sstatus.SIE` is set.
    Calm,
    /// Not 0 where SFENCE.VMA is allowed.
    Fences,
    /// Host address of RAM.
    Ram,
    /// Where in RAM the doubleword is that LR reserved; [`NOTHING`]: none.
    Reserved,
    /// Not 0 if `cbo.zero` may be executed in this mode.
    Zeroes,
    /// Where the host's stack is, while rsp points into the frames.
    HostStack,
    /// The last frame, while rsp does not point there.
    Frames,
    /// Where generated code goes on when the interpreter has done an instruction for it.
    Return,
    /// First argument of the function that interprets.
    Engine,
    /// Host address of the function that interprets.
    Interpret,
    /// Of a loop with streams: the steps left when it is time to look them up.
    Floor,
    /// For how many turns streams stay in their pages.
    Turns,
    /// Where streams are; and in the words behind it.
    Places,
}

/// No offset in RAM.
pub const NOTHING: u64 = u64::MAX;

pub const STATE: Register = RBP;
pub const TLB: Register = RBX;
/// What to add to a guest address, where an earlier access has found it; see `access`.
pub const SHARED: Register = R14;
pub const LEFT: Register = R15;

/// The host registers in which guest registers have their seats.
pub const HOSTS: [Register; SEATS] = [R12, R13, RSI, RDI, R8, R9, R10, R11];
/// What the caller wants to find again.
const SAVED: [Register; 6] = [RBX, RBP, R12, R13, R14, R15];
/// Keeps the stack aligned for calls out of a superblock.
const PADDING: i32 = 8;

/// The word that rbp points to: from there, all registers are within the reach of a one-byte displacement.
pub const MIDDLE: usize = 16;

pub const fn field(field: Field) -> Memory {
    Memory::at(STATE, (field as i32 - MIDDLE as i32) * 8)
}

pub const fn held(from: Field) -> Operand {
    Operand::Memory(field(from))
}

pub fn register(guest: u8) -> Memory {
    Memory::at(STATE, (i32::from(guest) - MIDDLE as i32) * 8)
}

/// Where in the shared code its parts begin.
#[derive(Clone, Copy)]
pub struct Stubs {
    /// Leaves; the next pc is in rax.
    pub exit: u64,
    /// Goes on at the address in rax, if the TLB knows its page.
    pub far: u64,
    /// Likewise, if it has it in the second slot; bit 0 of the address does not count.
    pub second: u64,
    /// Where the frame leads that belongs to no call, with the next pc in rax.
    pub underflow: u64,
    /// Interprets one instruction and returns if the next one follows: ecx is the slot and, from bit 16 on, by how much
    /// fewer steps have been done than are counted; edx is the place.
    pub interpret: u64,
    /// Likewise one behind which nothing follows: a jump leads here, no call.
    pub depart: u64,
}

impl Stubs {
    /// The parts by name, with their first address and the one behind them, of shared code that lies from `base` to `end`.
    pub fn parts(self, base: u64, end: u64) -> [(&'static str, u64, u64); 4] {
        [
            ("enter", base, self.exit),
            ("exit", self.exit, self.interpret),
            ("interpret", self.interpret, self.far),
            ("look up", self.far, end),
        ]
    }
}

/// The shared code, to be put at `base`, where the function that enters begins: `extern "C" fn(state, code)`.
pub fn stubs(base: u64) -> (Vec<u8>, Stubs) {
    let mut e = Emitter::new(base);
    for register in SAVED {
        e.push(register);
    }
    let stack = Operand::Register(RSP);
    e.alu_immediate(Alu::Sub, Size::Quad, stack, PADDING);
    e.mov(Size::Quad, STATE, Operand::Register(RDI));
    e.mov(Size::Quad, RAX, Operand::Register(RSI));
    load_registers(&mut e);
    e.mov(Size::Quad, LEFT, held(Field::Left));
    e.store(field(Field::HostStack), RSP);
    e.mov(Size::Quad, RSP, held(Field::Frames));
    e.jump_to(Operand::Register(RAX));

    let exit = e.here();
    e.store(field(Field::Pc), RAX);
    e.store(field(Field::Left), LEFT);
    store_registers(&mut e);
    let leave = e.here();
    e.store(field(Field::Frames), RSP);
    e.mov(Size::Quad, RSP, held(Field::HostStack));
    e.alu_immediate(Alu::Add, Size::Quad, stack, PADDING);
    for register in SAVED.into_iter().rev() {
        e.pop(register);
    }
    e.ret();

    let (interpret, depart) = interpreting(&mut e, base, leave);
    let far = e.here();
    let unknown = look_up_page(&mut e, false);
    enter_page(&mut e);
    e.land(unknown);
    let second = e.here();
    e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RAX), -2);
    let unknown = look_up_page(&mut e, true);
    enter_page(&mut e);
    e.land(unknown);
    e.jump_back(exit);
    let underflow = e.here();
    e.alu_immediate(Alu::Sub, Size::Quad, stack, 8);
    e.jump_back(far);
    let stubs = Stubs {
        exit: base + exit as u64,
        far: base + far as u64,
        second: base + second as u64,
        underflow: base + underflow as u64,
        interpret: base + interpret as u64,
        depart: base + depart as u64,
    };
    (e.bytes, stubs)
}

/// The parts that have the interpreter do one instruction; the next part follows where it goes on with the address in rax.
fn interpreting(e: &mut Emitter, base: u64, leave: usize) -> (usize, usize) {
    let interpret = e.here();
    e.pop_to(field(Field::Return));
    let [leaves, jumps] = call_interpreter(e);
    e.push_operand(held(Field::Return));
    e.ret();
    e.land(leaves);
    e.jump_back(leave);
    e.land(jumps);
    // The host's processor expects a return here too.
    let behind = e.here() as u64 + RETURN_BYTES;
    e.load_wide(RCX, (base + behind) as i64);
    e.push(RCX);
    e.ret();
    assert_eq!(e.here() as u64, behind, "where it returns to");
    let goes = e.jump();

    let depart = e.here();
    let [leaves, jumps] = call_interpreter(e);
    e.land(leaves);
    e.jump_back(leave);
    e.land(jumps);
    e.land(goes);
    e.mov(Size::Quad, LEFT, held(Field::Left));
    e.mov(Size::Quad, RAX, held(Field::Pc));
    (interpret, depart)
}

/// Bytes of a return to behind it.
const RETURN_BYTES: u64 = 12;

/// Has the interpreter do the instruction in ecx and edx. One jump leaves, the other goes on at the pc.
fn call_interpreter(e: &mut Emitter) -> [Jump; 2] {
    store_registers(e);
    e.store(field(Field::Left), LEFT);
    e.store(field(Field::Frames), RSP);
    e.mov(Size::Quad, RSP, held(Field::HostStack));
    e.mov(Size::Quad, RDI, held(Field::Engine));
    e.mov(Size::Double, RSI, Operand::Register(RCX));
    e.call_to(field(Field::Interpret));
    e.mov(Size::Quad, RSP, held(Field::Frames));
    e.alu_immediate(Alu::Cmp, Size::Double, Operand::Register(RAX), 1);
    let leaves = e.jump_if(Condition::Below);
    load_registers(e);
    [leaves, e.jump_if(Condition::Above)]
}

/// Flags stay as they are.
fn load_registers(e: &mut Emitter) {
    e.mov(Size::Quad, TLB, held(Field::Data));
    for (guest, host) in PINNED.into_iter().zip(HOSTS) {
        e.mov(Size::Quad, host, Operand::Memory(register(guest)));
    }
}

fn store_registers(e: &mut Emitter) {
    for (guest, host) in PINNED.into_iter().zip(HOSTS) {
        e.store(register(guest), host);
    }
}

/// Goes on at the address in rax, whose bit 0 does not count, if the TLB knows its page.
pub fn go_far(e: &mut Emitter, stubs: Stubs) {
    let unknown = look_up_page(e, false);
    enter_page(e);
    e.land(unknown);
    e.jump_far(stubs.second);
}

/// Likewise, as a call; if it is not known, the jump is taken.
pub fn call_far(e: &mut Emitter, frame: Operand) -> Jump {
    let unknown = look_up_page(e, false);
    let code = find_code(e);
    e.push_operand(frame);
    e.call_to(code);
    unknown
}

/// Looks the page of the address in rax up; rdx becomes the address of its entry, rcx the page.
pub fn look_up_page(e: &mut Emitter, second: bool) -> Jump {
    find_entry(e, second);
    e.mov(Size::Quad, RCX, Operand::Register(RAX));
    e.alu_immediate(Alu::And, Size::Quad, Operand::Register(RCX), -4096);
    e.alu(Alu::Cmp, Size::Quad, RCX, Operand::Memory(Memory::at(RDX, 0)));
    e.jump_if(Condition::NotEqual)
}

/// rdx becomes the address of the entry for fetches from the page of the address in rax.
pub fn find_entry(e: &mut Emitter, second: bool) {
    e.rotate(RDX, RAX, 8);
    e.alu_immediate(Alu::And, Size::Double, Operand::Register(RDX), TLB_MASK);
    if second {
        e.alu_immediate(Alu::Xor, Size::Double, Operand::Register(RDX), TLB_SECOND);
    }
    e.alu(Alu::Add, Size::Quad, RDX, held(Field::Fetch));
}

/// What follows when it is known.
fn enter_page(e: &mut Emitter) {
    let code = find_code(e);
    e.jump_to(Operand::Memory(code));
}

/// Where the code's address is.
fn find_code(e: &mut Emitter) -> Memory {
    e.store(field(Field::Page), RCX);
    find_entries(e);
    e.mov(Size::Double, RCX, Operand::Register(RAX));
    e.alu_immediate(Alu::And, Size::Double, Operand::Register(RCX), 0xffe);
    Memory::indexed(RDX, RCX, 2, 0)
}

/// rdx, the address of an entry for fetches, becomes that of the page's entry points.
pub fn find_entries(e: &mut Emitter) {
    e.mov(Size::Quad, RDX, Operand::Memory(Memory::at(RDX, 8)));
    e.alu(Alu::Add, Size::Quad, RDX, held(Field::Entries));
}

/// What of an address, shifted right by 8 bits, is the distance of its TLB entry.
pub const TLB_MASK: i32 = (crate::tlb::SLOTS as i32 - 1) << 4;
/// In what the distance of the second entry differs.
pub const TLB_SECOND: i32 = (crate::tlb::SECOND as i32) << 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_code_may_lie_at_any_address() {
        let (high, _) = stubs(0x7f00_0000_0000);
        // Below 4 GiB and below 2 GiB an address as an operand can be shorter.
        for base in [0xf000_0000, 0x7000_0000, 0x10000] {
            let (low, parts) = stubs(base);
            assert_eq!(low.len(), high.len(), "at {base:#x}");
            assert!(parts.exit > base && parts.underflow < base + low.len() as u64);
        }
    }
}
