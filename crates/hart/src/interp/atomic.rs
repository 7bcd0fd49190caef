//! LR, SC and the atomic memory operations (manual, chapter "A"). Harts take turns on one thread, so each of
//! them is a plain load and store.
//!
//! What LR reserves is the aligned doubleword, by physical address. SC succeeds if that is still reserved,
//! and ends the reservation in either case. An SC without any reservation does not touch memory at all and so
//! cannot fault, but a misaligned one always does. The hart's own stores do not end a reservation; traps and
//! returns from them do ([`crate::trap`]), and so do another hart's turn and a device's input
//! ([`crate::Hart::drop_reservation`]).
//!
//! To the bus all of them raise access faults: a virtio device or a UART has no atomics.

use super::{Core, Flow, arithmetic::word};
use crate::{
    op::Op,
    pmp::Intent,
    trap::{Exception, Trap},
};

impl Core<'_> {
    /// Does LR, of `size` bytes: 4 or 8.
    pub(super) fn load_reserved(&mut self, op: Op, size: u64) -> Flow {
        let address = self.x[op.rs1()];
        let offset = match self.reach_atomic(address, size, Intent::Load) {
            Ok(offset) => offset,
            Err(trap) => return self.raise(trap),
        };
        let value = if size == 8 {
            self.ram.load_u64(offset)
        } else {
            word(u64::from(self.ram.load_u32(offset)))
        };
        self.set_x(op.rd(), value);
        self.hart.reservation = Some(offset as u64 & !7);
        self.flow()
    }

    /// Does SC, of `size` bytes: 4 or 8.
    pub(super) fn store_conditional(&mut self, op: Op, size: u64) -> Flow {
        let address = self.x[op.rs1()];
        let Some(reserved) = self.hart.reservation else {
            if !address.is_multiple_of(size) {
                return self.raise(Trap::new(Exception::StoreAddressMisaligned, address));
            }
            self.set_x(op.rd(), 1);
            return Flow::Next;
        };
        let offset = match self.reach_atomic(address, size, Intent::Store) {
            Ok(offset) => offset,
            Err(trap) => return self.raise(trap),
        };
        self.hart.reservation = None;
        let succeeds = offset as u64 & !7 == reserved;
        if succeeds {
            self.caches
                .mmu
                .store_marked(self.ram, offset, size as usize, self.x[op.rs2()]);
        }
        self.set_x(op.rd(), u64::from(!succeeds));
        self.flow()
    }

    /// Does an AMO, of `size` bytes: 4 or 8.
    pub(super) fn amo(&mut self, op: Op, size: u64) -> Flow {
        let address = self.x[op.rs1()];
        let operand = self.x[op.rs2()];
        // Where a hart may store it may load: both page tables and PMP see to it.
        let offset = match self.reach_atomic(address, size, Intent::Store) {
            Ok(offset) => offset,
            Err(trap) => return self.raise(trap),
        };
        let old = if size == 8 {
            self.ram.load_u64(offset)
        } else {
            word(u64::from(self.ram.load_u32(offset)))
        };
        let new = combine(op.field(), old, if size == 8 { operand } else { word(operand) });
        self.caches.mmu.store_marked(self.ram, offset, size as usize, new);
        self.set_x(op.rd(), old);
        self.flow()
    }
}

/// What an AMO writes, by its funct5 field. Words come sign-extended, which keeps both orders of comparison.
fn combine(funct5: i32, old: u64, operand: u64) -> u64 {
    match funct5 {
        0x00 => old.wrapping_add(operand),
        0x01 => operand,
        0x04 => old ^ operand,
        0x08 => old | operand,
        0x0c => old & operand,
        0x10 => (old as i64).min(operand as i64) as u64,
        0x14 => (old as i64).max(operand as i64) as u64,
        0x18 => old.min(operand),
        _ => old.max(operand),
    }
}
