//! Physical memory protection: sixteen entries, granularity four bytes (privileged manual, "Physical Memory
//! Protection").
//!
//! [`Pmp`] is the registers and belongs to a hart. [`Rules`] is what the MMU works with: the entries as
//! address ranges, so that a whole page can be judged at once. Rules are made of the registers whenever these
//! have changed, and are never changed themselves.
//!
//! CSR instructions write the registers (`csr/access.rs`). The MMU compares them with the settings that it
//! has met each time that it selects a hart's address spaces, and asks the rules about each address of a walk
//! (`mmu.rs`). Nothing here knows the TLB: a permission that was remembered belongs to a setting, as the
//! number of the setting is part of an address space, and must never be used under another one.

use crate::{Visit, Visitor, privilege::Privilege};

/// How many entries there are.
pub const ENTRIES: usize = 16;

// Bits of an entry's configuration byte.
const READ: u8 = 1;
const WRITE: u8 = 2;
const EXECUTE: u8 = 4;
const LOCKED: u8 = 0x80;
/// The field that says how an entry's address is to be read: TOR, NA4, NAPOT, or off.
const MODE: u8 = 0x18;
const TOR: u8 = 0x08;
const NA4: u8 = 0x10;
const NAPOT: u8 = 0x18;
/// The bits that `pmpaddr` holds: physical addresses have 56 bits, of which it leaves out the lowest two.
const ADDRESS_MASK: u64 = (1 << 54) - 1;

/// What an access wants to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// Load, or a page-table read.
    Load,
    /// Store, AMO, SC, or a page-table update.
    Store,
    /// Instruction fetch.
    Fetch,
}

/// The PMP registers of one hart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pmp {
    /// The configuration byte of each entry.
    configuration: [u8; ENTRIES],
    /// `pmpaddr` of each entry: an address shifted right by two. Invariant: within [`ADDRESS_MASK`].
    address: [u64; ENTRIES],
}

impl Pmp {
    /// The value of `pmpcfg0` (`first` = 0) or of `pmpcfg2` (`first` = 8).
    #[must_use]
    pub fn read_configuration(&self, first: usize) -> u64 {
        let bytes = self.configuration.iter().skip(first).take(8);
        bytes.rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
    }

    /// Writes eight configuration bytes; locked entries keep theirs.
    pub fn write_configuration(&mut self, first: usize, value: u64) {
        for (entry, byte) in self.configuration.iter_mut().skip(first).zip(value.to_le_bytes()) {
            if *entry & LOCKED == 0 {
                let byte = byte & (LOCKED | MODE | EXECUTE | WRITE | READ);
                // W without R is reserved. The field is WARL, so it may become what we like: no access to
                // data.
                *entry = if byte & (READ | WRITE) == WRITE {
                    byte & !WRITE
                } else {
                    byte
                };
            }
        }
    }

    /// The value of `pmpaddr<entry>`.
    #[must_use]
    pub fn read_address(&self, entry: usize) -> u64 {
        self.address.get(entry).copied().unwrap_or(0)
    }

    /// Writes `pmpaddr<entry>`, unless it is locked or the base of a locked TOR range.
    pub fn write_address(&mut self, entry: usize, value: u64) {
        let locked = |c: u8| c & LOCKED != 0;
        let next = self.configuration.get(entry + 1).copied().unwrap_or(0);
        let own = self.configuration.get(entry).copied().unwrap_or(LOCKED);
        let bounds_locked = locked(next) && next & MODE == TOR;
        if !(locked(own) || bounds_locked)
            && let Some(address) = self.address.get_mut(entry)
        {
            *address = value & ADDRESS_MASK;
        }
    }

    /// The entries that are on, as ranges.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let mut rules = Vec::new();
        let mut below = 0;
        for (&configuration, &address) in self.configuration.iter().zip(&self.address) {
            let (low, high) = match configuration & MODE {
                TOR => (below << 2, address << 2),
                NA4 => (address << 2, (address << 2) + 4),
                NAPOT => {
                    let bytes = 8u64 << address.trailing_ones();
                    let low = (address & !(bytes / 4 - 1)) << 2 & !(bytes - 1);
                    (low, low.saturating_add(bytes))
                }
                _ => (0, 0),
            };
            if low < high {
                rules.push(Rule {
                    low,
                    high,
                    configuration,
                });
            }
            below = address;
        }
        Rules(rules)
    }
}

impl Visit for Pmp {
    fn visit(&mut self, v: &mut dyn Visitor) {
        let Self {
            configuration,
            address,
        } = self;
        for value in configuration {
            v.u8("configuration", value);
        }
        for value in address {
            v.u64("address", value);
            *value &= ADDRESS_MASK;
        }
    }
}

/// An entry that is on.
#[derive(Clone, Copy, Debug)]
struct Rule {
    /// The first physical address that the entry matches.
    low: u64,
    /// The first physical address after those that it matches, greater than `low`.
    high: u64,
    /// The configuration byte of the entry.
    configuration: u8,
}

impl Rule {
    fn allows(self, privilege: Privilege, intent: Intent) -> bool {
        if privilege == Privilege::Machine && self.configuration & LOCKED == 0 {
            return true;
        }
        let bit = match intent {
            Intent::Load => READ,
            Intent::Store => WRITE,
            Intent::Fetch => EXECUTE,
        };
        self.configuration & bit != 0
    }
}

/// The active entries in priority order.
#[derive(Clone, Debug)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// May `privilege` access all of `address..address + length`?
    ///
    /// The lowest-numbered entry that matches any byte decides, and must match all bytes.
    #[must_use]
    pub fn allow(&self, address: u64, length: u64, privilege: Privilege, intent: Intent) -> bool {
        let end = address.saturating_add(length);
        for rule in &self.0 {
            if rule.low < end && address < rule.high {
                let whole = rule.low <= address && end <= rule.high;
                return whole && rule.allows(privilege, intent);
            }
        }
        privilege == Privilege::Machine
    }

    /// Is every access inside `address..address + length` decided by the same rule?
    #[must_use]
    pub fn uniform(&self, address: u64, length: u64) -> bool {
        let end = address.saturating_add(length);
        for rule in &self.0 {
            if rule.low < end && address < rule.high {
                return rule.low <= address && end <= rule.high;
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Privilege::{Machine, Supervisor};

    #[test]
    fn napot_of_all_ones_covers_everything() {
        let mut pmp = Pmp::default();
        pmp.write_address(0, u64::MAX);
        pmp.write_configuration(0, 0x1f);
        let rules = pmp.rules();
        assert!(rules.allow(0, 8, Supervisor, Intent::Store));
        assert!(rules.allow((1 << 56) - 8, 8, Supervisor, Intent::Fetch));
        assert!(rules.uniform(0x8000_0000, 4096));
    }

    #[test]
    fn without_entries_only_machine_mode_has_access() {
        let rules = Pmp::default().rules();
        assert!(rules.allow(0x8000_0000, 8, Machine, Intent::Store));
        assert!(!rules.allow(0x8000_0000, 8, Supervisor, Intent::Load));
    }

    #[test]
    fn lowest_entry_decides_and_must_match_all_bytes() {
        let mut pmp = Pmp::default();
        pmp.write_address(0, 0x8000_0000 >> 2);
        pmp.write_address(1, u64::MAX);
        pmp.write_configuration(0, 0x1f10); // 0: NA4, no rights; 1: NAPOT, all rights.
        let rules = pmp.rules();
        assert!(!rules.allow(0x8000_0000, 4, Supervisor, Intent::Load));
        assert!(!rules.allow(0x8000_0000, 8, Machine, Intent::Load)); // Partly matched.
        assert!(rules.allow(0x8000_0000, 4, Machine, Intent::Load)); // Not locked.
        assert!(rules.allow(0x8000_0004, 4, Supervisor, Intent::Load));
        assert!(!rules.uniform(0x8000_0000, 4096));
    }

    #[test]
    fn locked_entries_bind_machine_mode_and_stay() {
        let mut pmp = Pmp::default();
        pmp.write_address(0, 0x1000 >> 2);
        pmp.write_address(1, 0x2000 >> 2);
        pmp.write_configuration(0, 0x8900); // 1: TOR, R, locked.
        pmp.write_address(0, 0);
        pmp.write_address(1, 0);
        pmp.write_configuration(0, 0);
        let rules = pmp.rules();
        assert!(rules.allow(0x1000, 8, Machine, Intent::Load));
        assert!(!rules.allow(0x1000, 8, Machine, Intent::Store));
        assert!(rules.allow(0xff8, 8, Machine, Intent::Store));
    }
}
