//! The code that all superblocks share: how generated code is entered and left, how it has the interpreter do
//! one instruction, and how it finds the superblock at an address that is known only when it is there.
//!
//! It is made once, before any superblock, and lies at the beginning of the memory for code. The function
//! that enters has the System V ABI; what it calls back is an `extern "C"` function.

use super::{
    host::{HOSTS, LEFT, TLB, WORKSPACE, field, held, register},
    pages::{enter_page, find_code, look_up_page},
};
use crate::jit::{emit::*, plan::PINNED, workspace::Resume};

/// The registers that a function must leave as it found them (System V ABI).
const SAVED: [Register; 6] = [RBX, RBP, R12, R13, R14, R15];
/// Bytes on the host's stack that keep it aligned for calls out of generated code.
const PADDING: i32 = 8;

/// The addresses of the parts of the shared code.
#[derive(Clone, Copy)]
pub struct Stubs {
    /// Leaves generated code; the next pc is in rax.
    pub exit: u64,
    /// Goes on at the address in rax if the TLB knows its page, and leaves if not; bit 0 of the address does
    /// not count.
    pub far: u64,
    /// The same, for a page that is not in the first of the two entries that it may have.
    pub second: u64,
    /// Where the first of the frames leads, which belongs to no call; the next pc is in rax.
    pub underflow: u64,
    /// Has the interpreter do one instruction, and returns if the next one follows. ecx is the slot and, from
    /// bit 16 on, by how much fewer steps have been done than are counted; edx is the place of its page. It
    /// must be called.
    pub interpret: u64,
    /// The same for an instruction after which control never goes on with the next one. A jump must lead
    /// here, not a call.
    pub depart: u64,
}

impl Stubs {
    /// The parts by name, each with its first address and the one after its last, of shared code that lies
    /// from `base` to `end`.
    pub fn parts(self, base: u64, end: u64) -> [(&'static str, u64, u64); 4] {
        [
            ("enter", base, self.exit),
            ("exit", self.exit, self.interpret),
            ("interpret", self.interpret, self.far),
            ("look up", self.far, end),
        ]
    }
}

/// The shared code, to be put at `base`, and the addresses of its parts. It begins with the function that
/// enters generated code: `extern "C" fn(middle of the workspace, code)`.
pub fn stubs(base: u64) -> (Vec<u8>, Stubs) {
    let mut e = Emitter::new(base);
    // Enters.
    for register in SAVED {
        e.push(register);
    }
    let stack = Operand::Register(RSP);
    e.alu_immediate(Alu::Sub, Size::Quad, stack, PADDING);
    e.mov(Size::Quad, WORKSPACE, Operand::Register(RDI));
    e.mov(Size::Quad, RAX, Operand::Register(RSI));
    load_registers(&mut e);
    e.mov(Size::Quad, LEFT, held!(left));
    e.store(field!(host_stack), RSP);
    e.mov(Size::Quad, RSP, held!(frames));
    e.jump_to(Operand::Register(RAX));

    // Leaves.
    let exit = e.here();
    e.store(field!(pc), RAX);
    e.store(field!(left), LEFT);
    store_registers(&mut e);
    store_flags(&mut e);
    let leave = e.here();
    e.store(field!(frames), RSP);
    e.mov(Size::Quad, RSP, held!(host_stack));
    e.alu_immediate(Alu::Add, Size::Quad, stack, PADDING);
    for register in SAVED.into_iter().rev() {
        e.pop(register);
    }
    e.ret();

    let (interpret, depart) = interpreting(&mut e, base, leave);
    // Goes on at the address in rax, asking the first entry that its page may have and then the second.
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
    // A return has popped the first frame: pushes it again, and goes on at the address in rax.
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

/// The parts that have the interpreter do one instruction, [`Stubs::interpret`] and [`Stubs::depart`].
/// `leave` is where control leaves when everything is stored already. The part that goes on at the address in
/// rax must follow.
fn interpreting(e: &mut Emitter, base: u64, leave: usize) -> (usize, usize) {
    let interpret = e.here();
    e.pop_to(field!(return_to));
    let [leaves, jumps] = call_interpreter(e);
    e.push_operand(held!(return_to));
    e.ret();
    e.land(leaves);
    e.jump_back(leave);
    e.land(jumps);
    // The host's processor expects a return for the call that led here, so there is one: to what follows.
    let after = e.here() as u64 + RETURN_BYTES;
    e.load_wide(RCX, (base + after) as i64);
    e.push(RCX);
    e.ret();
    assert_eq!(e.here() as u64, after, "where it returns to");
    let goes = e.jump();

    let depart = e.here();
    let [leaves, jumps] = call_interpreter(e);
    e.land(leaves);
    e.jump_back(leave);
    e.land(jumps);
    e.land(goes);
    e.mov(Size::Quad, LEFT, held!(left));
    e.mov(Size::Quad, RAX, held!(pc));
    (interpret, depart)
}

/// Bytes of the three instructions that return to the instruction after them.
const RETURN_BYTES: u64 = 12;

/// Has the interpreter do the instruction in ecx and edx, and goes on here if the next one follows. The first
/// jump is taken if control leaves generated code, the second if it goes on at another address.
fn call_interpreter(e: &mut Emitter) -> [Jump; 2] {
    store_registers(e);
    store_flags(e);
    e.store(field!(left), LEFT);
    e.store(field!(frames), RSP);
    e.mov(Size::Quad, RSP, held!(host_stack));
    e.mov(Size::Quad, RDI, held!(engine));
    e.mov(Size::Double, RSI, Operand::Register(RCX));
    e.call_to(field!(interpret));
    e.mov(Size::Quad, RSP, held!(frames));
    // The answer is a `Resume`: below the next one it leaves, above it goes on elsewhere.
    let next = Resume::Next as i32;
    e.alu_immediate(Alu::Cmp, Size::Double, Operand::Register(RAX), next);
    let leaves = e.jump_if(Condition::Below);
    load_registers(e);
    let jumps = e.jump_if(Condition::Above);
    clear_flags(e);
    [leaves, jumps]
}

/// If the guest's floating-point flags stand in the host's register, they go to the workspace.
fn store_flags(e: &mut Emitter) {
    e.alu_immediate(Alu::Cmp, Size::Quad, held!(float_live), 0);
    let live = e.skip_unless(Condition::NotEqual);
    e.store_status(field!(float_status));
    e.land_near(live);
}

/// If the host gathers the guest's floating-point flags, it begins with none: those that it has were the
/// interpreter's own.
fn clear_flags(e: &mut Emitter) {
    e.alu_immediate(Alu::Cmp, Size::Quad, held!(float_live), 0);
    let live = e.skip_unless(Condition::NotEqual);
    e.load_status(field!(float_status));
    e.land_near(live);
}

/// Loads everything that lives in host registers. The flags stay as they are.
fn load_registers(e: &mut Emitter) {
    e.mov(Size::Quad, TLB, held!(data));
    for (guest, host) in PINNED.into_iter().zip(HOSTS) {
        e.mov(Size::Quad, host, Operand::Memory(register(guest)));
    }
}

/// Stores the guest registers that live in host registers.
fn store_registers(e: &mut Emitter) {
    for (guest, host) in PINNED.into_iter().zip(HOSTS) {
        e.store(register(guest), host);
    }
}

/// Goes on at the address in rax, whose bit 0 does not count; the common case is made in place, the rest is
/// shared.
pub fn go_far(e: &mut Emitter, stubs: Stubs) {
    let unknown = look_up_page(e, false);
    enter_page(e);
    e.land(unknown);
    e.jump_far(stubs.second);
}

/// Calls what is at the address in rax, with a frame for the guest's return address, which `frame` holds. The
/// jump is taken if the TLB does not know the page.
pub fn call_far(e: &mut Emitter, frame: Operand) -> Jump {
    let unknown = look_up_page(e, false);
    let code = find_code(e);
    e.push_operand(frame);
    e.call_to(code);
    unknown
}

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
