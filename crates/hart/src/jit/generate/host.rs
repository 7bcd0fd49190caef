//! What the host's registers hold while generated code runs.
//!
//! rbp points into the [`Workspace`](crate::jit::workspace); rbx to the TLB's entries for loads; r14 holds
//! what a lookup found, r15 the number of steps left. Eight registers hold guest registers, all others of
//! which live in the workspace. rax, rcx and rdx are scratch; rsp points to the last of the frames
//! (`jit/frames.rs`).

use std::mem::offset_of;

use crate::jit::{
    emit::*,
    plan::SEATS,
    workspace::{MIDDLE, Workspace},
};

/// Holds the address of the workspace's middle.
pub const WORKSPACE: Register = RBP;
/// Holds the address of the TLB's entries for loads.
pub const TLB: Register = RBX;
/// Holds what to add to a guest address to get its host address, as an earlier lookup has found it.
pub const SHARED: Register = R14;
/// Holds the number of steps left.
pub const LEFT: Register = R15;
/// The host registers in which guest registers have their seats.
pub const HOSTS: [Register; SEATS] = [R12, R13, RSI, RDI, R8, R9, R10, R11];

/// What is so many bytes from the beginning of the workspace.
pub const fn in_workspace(offset: usize) -> Memory {
    Memory::at(WORKSPACE, offset as i32 - MIDDLE as i32)
}

/// The place of a field of the workspace, by its name.
macro_rules! field {
    ($name:ident) => {
        $crate::jit::generate::host::in_workspace(std::mem::offset_of!(
            $crate::jit::workspace::Workspace,
            $name
        ))
    };
}

/// The value of a field of the workspace, by its name, as an operand.
macro_rules! held {
    ($name:ident) => {
        $crate::jit::emit::Operand::Memory($crate::jit::generate::host::field!($name))
    };
}

pub(super) use {field, held};

/// The place of a guest register that lives in memory.
pub const fn register(guest: u8) -> Memory {
    in_workspace(offset_of!(Workspace, registers) + guest as usize * size_of::<u64>())
}

// Instructions with a guest register in memory are short: its displacement is one byte.
const _: () = assert!(register(0).displacement >= i8::MIN as i32);
const _: () = assert!(register(31).displacement <= i8::MAX as i32);

/// The bits of an address, shifted right by 8, that are the distance of its entry from the beginning of a
/// table of the TLB.
pub const TLB_MASK: i32 = (crate::tlb::SLOTS as i32 - 1) << 4;
/// The bit in which the distances of a page's two entries differ.
pub const TLB_SECOND: i32 = (crate::tlb::SECOND as i32) << 4;
