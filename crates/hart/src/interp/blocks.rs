//! The cache-block instructions (manual, chapter "CMO").
//!
//! There is no cache: of these only `cbo.zero` does anything, and it is a store of 64 aligned bytes. The
//! others check that they may load, with a store's exceptions, and that something is there that could be
//! loaded. Whether they are allowed at all, `menvcfg` and `senvcfg` say.

use super::{Core, Flow};
use crate::{
    isa::BLOCK,
    mmu::Target,
    op::{BlockKind, Op},
    pmp::Intent,
    trap::{Exception, Trap},
};

impl Core<'_> {
    /// Does one of the cache-block instructions.
    #[inline(never)]
    pub(super) fn cache_block(&mut self, op: Op) -> Flow {
        if !self.hart.csr.permits(self.hart.privilege, op.block()) {
            return self.raise(Trap::new(Exception::IllegalInstruction, u64::from(op.imm as u32)));
        }
        let address = self.x[op.rs1()];
        let done = match op.block() {
            BlockKind::Zero => self.zero_block(address & !(BLOCK - 1)),
            _ => self.manage_block(address & !(BLOCK - 1)),
        };
        match done {
            Ok(()) => self.flow(),
            // Whichever byte of the block faulted, the trap reports the address in rs1.
            Err(exception) => self.raise(Trap::new(exception, address)),
        }
    }

    /// Zeroes the block at an aligned address, in RAM: a device has no blocks.
    fn zero_block(&mut self, address: u64) -> Result<(), Exception> {
        let mmu = &mut self.caches.mmu;
        let offset = match mmu.known_store(address, 1) {
            Some(offset) => offset,
            None => {
                let reached = mmu.reach_and_remember(self.ram, address, BLOCK, Intent::Store);
                let Target::Ram { offset, .. } = reached.map_err(|trap| trap.exception)? else {
                    return Err(Exception::StoreAccessFault);
                };
                offset
            }
        };
        for part in (offset..offset + BLOCK as usize).step_by(8) {
            self.caches.mmu.store_marked(self.ram, part, 8, 0);
        }
        Ok(())
    }

    /// Where the hart may store it may load: page tables and PMP see to it. A device's block may be managed
    /// as its registers may be accessed; where nothing answers neither is permitted (manual, "Cache-Block
    /// Management Instructions", on access faults).
    fn manage_block(&mut self, address: u64) -> Result<(), Exception> {
        let mmu = &mut self.caches.mmu;
        if mmu.known_load(address, 1).is_some() {
            return Ok(());
        }
        match mmu.reach(self.ram, address, BLOCK, Intent::Load) {
            Ok(Target::Bus(physical)) if !self.bus.answers(physical) => Err(Exception::StoreAccessFault),
            Ok(_) => Ok(()),
            Err(trap) if trap.exception == Exception::LoadPageFault => Err(Exception::StorePageFault),
            Err(_) => Err(Exception::StoreAccessFault),
        }
    }
}
