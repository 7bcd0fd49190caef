//! Loads and stores that the TLB does not know: translation, device accesses, misalignment, and stores to
//! pages that something was derived from.
//!
//! The dispatch loop, the floating-point and the atomic instructions come here with what they could not do at
//! once.
//!
//! Misaligned accesses are done in RAM, byte-wise atomic at best (manual, "Load and Store Instructions");
//! those that cross pages have both parts translated before anything is written. To the bus misaligned
//! accesses fault.

use super::{Core, Flow, arithmetic::word};
use crate::{
    Width,
    mmu::Target,
    op::{Code, Op},
    pmp::Intent,
    ram::PAGE,
    trap::{Exception, Trap},
};

/// The width of an access of so many bytes: 1, 2, 4 or 8.
fn width(size: u64) -> Width {
    match size {
        1 => Width::Byte,
        2 => Width::Half,
        4 => Width::Word,
        _ => Width::Double,
    }
}

impl Core<'_> {
    /// Does an integer load from an address that the TLB does not know.
    #[cold]
    #[inline(never)]
    pub(super) fn load_slow(&mut self, op: Op) -> Flow {
        let address = self.x[op.rs1()].wrapping_add(op.immediate());
        let size = match op.code {
            Code::Lb | Code::Lbu => 1,
            Code::Lh | Code::Lhu => 2,
            Code::Lw | Code::Lwu => 4,
            _ => 8,
        };
        let value = match self.load_any(address, size) {
            Ok(value) => value,
            Err(trap) => return self.raise(trap),
        };
        let value = match op.code {
            Code::Lb => value as i8 as i64 as u64,
            Code::Lh => value as i16 as i64 as u64,
            Code::Lw => word(value),
            _ => value,
        };
        self.set_x(op.rd(), value);
        self.flow()
    }

    /// Loads `size` bytes, zero-extended.
    pub(super) fn load_any(&mut self, address: u64, size: u64) -> Result<u64, Trap> {
        let in_page = PAGE as u64 - address % PAGE as u64;
        if size > in_page {
            let low = self.load_part(address, in_page)?;
            let high = self.load_part(address.wrapping_add(in_page), size - in_page)?;
            return Ok(low | high << (8 * in_page));
        }
        // The TLB has refused a misaligned access, but inside a page that it knows every access may be done.
        if let Some(offset) = self.caches.mmu.known_load(address, 1) {
            return Ok(self.ram.load(offset, size as usize));
        }
        let mmu = &mut self.caches.mmu;
        match mmu.reach_and_remember(self.ram, address, size, Intent::Load)? {
            Target::Ram { offset, .. } => Ok(self.ram.load(offset, size as usize)),
            Target::Bus(physical) => {
                let fault = Trap::new(Exception::LoadAccessFault, address);
                if !address.is_multiple_of(size) {
                    return Err(fault);
                }
                let width = width(size);
                let access = self.access(physical, width);
                let value = self.bus.load(self.ram, access);
                self.after_bus();
                value.map(|value| value & width.mask()).map_err(|_| fault)
            }
        }
    }

    /// Loads the part of a load across pages that lies in one of the pages: `size` bytes.
    fn load_part(&mut self, address: u64, size: u64) -> Result<u64, Trap> {
        match self.caches.mmu.reach(self.ram, address, size, Intent::Load)? {
            Target::Ram { offset, .. } => Ok(self.ram.load(offset, size as usize)),
            Target::Bus(_) => Err(Trap::new(Exception::LoadAccessFault, address)),
        }
    }

    /// Does an integer store to an address whose page the TLB does not know as plain.
    #[cold]
    #[inline(never)]
    pub(super) fn store_slow(&mut self, op: Op) -> Flow {
        let address = self.x[op.rs1()].wrapping_add(op.immediate());
        let size = match op.code {
            Code::Sb => 1,
            Code::Sh => 2,
            Code::Sw => 4,
            _ => 8,
        };
        match self.store_any(address, size, self.x[op.rs2()]) {
            Ok(()) => self.flow(),
            Err(trap) => self.raise(trap),
        }
    }

    /// Stores the low `size` bytes of `value`.
    pub(super) fn store_any(&mut self, address: u64, size: u64, value: u64) -> Result<(), Trap> {
        let in_page = PAGE as u64 - address % PAGE as u64;
        if size > in_page {
            let next = address.wrapping_add(in_page);
            let low = self.store_part(address, in_page)?;
            let high = self.store_part(next, size - in_page)?;
            self.caches
                .mmu
                .store_marked(self.ram, low, in_page as usize, value);
            let rest = value >> (8 * in_page);
            self.caches
                .mmu
                .store_marked(self.ram, high, (size - in_page) as usize, rest);
            return Ok(());
        }
        if let Some(offset) = self.caches.mmu.known_store(address, 1) {
            self.caches
                .mmu
                .store_marked(self.ram, offset, size as usize, value);
            return Ok(());
        }
        let mmu = &mut self.caches.mmu;
        match mmu.reach_and_remember(self.ram, address, size, Intent::Store)? {
            Target::Ram { offset, .. } => {
                mmu.store_marked(self.ram, offset, size as usize, value);
                Ok(())
            }
            Target::Bus(physical) => {
                let fault = Trap::new(Exception::StoreAccessFault, address);
                if !address.is_multiple_of(size) {
                    return Err(fault);
                }
                let width = width(size);
                let access = self.access(physical, width);
                let done = self.bus.store(self.ram, access, value & width.mask());
                self.after_bus();
                done.map_err(|_| fault)
            }
        }
    }

    /// Where the part of a store across pages goes that lies in one of the pages, as an offset into RAM.
    fn store_part(&mut self, address: u64, size: u64) -> Result<usize, Trap> {
        match self.caches.mmu.reach(self.ram, address, size, Intent::Store)? {
            Target::Ram { offset, .. } => Ok(offset),
            Target::Bus(_) => Err(Trap::new(Exception::StoreAccessFault, address)),
        }
    }

    /// Where an atomic access goes, as an offset into RAM. It must be aligned, and devices have no atomics.
    pub(super) fn reach_atomic(&mut self, address: u64, size: u64, intent: Intent) -> Result<usize, Trap> {
        let mmu = &mut self.caches.mmu;
        let stores = intent == Intent::Store;
        let known = if stores {
            mmu.known_store(address, size)
        } else {
            mmu.known_load(address, size)
        };
        if let Some(offset) = known {
            return Ok(offset);
        }
        let (misaligned, fault) = if stores {
            (Exception::StoreAddressMisaligned, Exception::StoreAccessFault)
        } else {
            (Exception::LoadAddressMisaligned, Exception::LoadAccessFault)
        };
        if !address.is_multiple_of(size) {
            return Err(Trap::new(misaligned, address));
        }
        match mmu.reach_and_remember(self.ram, address, size, intent)? {
            Target::Ram { offset, .. } => Ok(offset),
            Target::Bus(_) => Err(Trap::new(fault, address)),
        }
    }
}
