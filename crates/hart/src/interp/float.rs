//! Floating-point loads, stores and arithmetic (chapters "F" and "D").

use super::{Core, Flow};
use crate::op::{Code, Op};

/// The upper half of a register that holds a single-precision value.
const BOX: u64 = 0xffff_ffff_0000_0000;

impl Core<'_> {
    #[inline(never)]
    pub(super) fn float_load(&mut self, op: Op, base: usize, slot: usize) -> Flow {
        if self.hart.csr.float_off() {
            return self.illegal(base, slot);
        }
        let address = self.hart.x[op.rs1()].wrapping_add(op.immediate());
        let size = if op.code == Code::Fld { 8 } else { 4 };
        let (value, flow) = match self.caches.mmu.tlb.load(self.caches.mmu.data_set, address, size) {
            Some(offset) if size == 8 => (self.ram.load_u64(offset), Flow::Next),
            Some(offset) => (u64::from(self.ram.load_u32(offset)), Flow::Next),
            None => match self.load_any(address, size) {
                Ok(value) => (value, self.flow(base)),
                Err(trap) => return self.raise(trap),
            },
        };
        self.hart.f[op.rd()] = if size == 8 { value } else { BOX | value };
        self.hart.csr.float_dirty();
        flow
    }

    #[inline(never)]
    pub(super) fn float_store(&mut self, op: Op, base: usize, slot: usize) -> Flow {
        if self.hart.csr.float_off() {
            return self.illegal(base, slot);
        }
        let address = self.hart.x[op.rs1()].wrapping_add(op.immediate());
        let value = self.hart.f[op.rs2()];
        let size = if op.code == Code::Fsd { 8 } else { 4 };
        match self.caches.mmu.tlb.store(self.caches.mmu.data_set, address, size) {
            Some(offset) if size == 8 => self.ram.store_u64(offset, value),
            Some(offset) => self.ram.store_u32(offset, value as u32),
            None => return self.store_slow(address, size, value, base),
        }
        Flow::Next
    }

    pub(super) fn float(&mut self, _op: Op, base: usize, slot: usize) -> Flow {
        self.illegal(base, slot)
    }
}
