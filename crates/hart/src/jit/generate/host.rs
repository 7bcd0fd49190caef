//! What the host's registers hold while generated code runs.
//!
//! rbp points into the [`Workspace`](crate::jit::workspace); rbx to the TLB's entries for loads; r14 holds
//! what a lookup found, r15 the number of steps left. Eight registers hold guest registers, all others of
//! which live in the workspace. rax, rcx and rdx are scratch; rsp points to the last of the frames
//! (`Frames`).

use crate::jit::{
    emit::*,
    plan::SEATS,
    workspace::{Field, MIDDLE},
};

/// Holds the address of the workspace's middle.
pub const STATE: Register = RBP;
/// Holds the address of the TLB's entries for loads.
pub const TLB: Register = RBX;
/// Holds what to add to a guest address to get its host address, as an earlier lookup has found it.
pub const SHARED: Register = R14;
/// Holds the number of steps left.
pub const LEFT: Register = R15;
/// The host registers in which guest registers have their seats.
pub const HOSTS: [Register; SEATS] = [R12, R13, RSI, RDI, R8, R9, R10, R11];

/// The place of a field of the workspace.
pub const fn field(field: Field) -> Memory {
    Memory::at(STATE, (field as i32 - MIDDLE as i32) * 8)
}

/// The value of a field of the workspace.
pub const fn held(from: Field) -> Operand {
    Operand::Memory(field(from))
}

/// The place of a guest register that lives in memory.
pub fn register(guest: u8) -> Memory {
    Memory::at(STATE, (i32::from(guest) - MIDDLE as i32) * 8)
}

/// The bits of an address, shifted right by 8, that are the distance of its entry from the beginning of a
/// table of the TLB.
pub const TLB_MASK: i32 = (crate::tlb::SLOTS as i32 - 1) << 4;
/// The bit in which the distances of a page's two entries differ.
pub const TLB_SECOND: i32 = (crate::tlb::SECOND as i32) << 4;
