//! The address space of a program: page tables, windows of memory that it is meant to use, and PMP.
//!
//! Everything of a program lies in one region of 2 MiB: the code at 0x10000, once more for U-mode at 0x20000,
//! windows behind each, so that the same code finds its windows in both. Other windows lie elsewhere: behind
//! superpages, at addresses that are not canonical, where nothing is mapped.
//!
//! A [`Program`](crate::program::Program) draws one [`Space`], and the runtime writes its page tables. No
//! mapping may give S- or U-mode a way to the runtime that PMP does not close.

use std::collections::BTreeMap;

use crate::{
    layout::{CODE, CODE_BYTES, DATA, DATA_PAGES, NOWHERE, PAGE, RAM, STUB, TABLE_PAGES, TABLES},
    random::Random,
};

/// Bits of a page-table entry, by the manual's names (Sv39, "Virtual Memory Control").
pub mod pte {
    pub const V: u64 = 1;
    pub const R: u64 = 2;
    pub const W: u64 = 4;
    pub const X: u64 = 8;
    pub const U: u64 = 16;
    pub const G: u64 = 32;
    pub const A: u64 = 64;
    pub const D: u64 = 128;
    /// One of 16 that map 64 KiB (Svnapot).
    pub const N: u64 = 1 << 63;
}

use pte::{A, D, G, N, R, U, V, W, X};

/// Privilege modes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// U-mode.
    User = 0,
    /// S-mode.
    Supervisor = 1,
    /// M-mode.
    Machine = 3,
}

/// An address space.
pub struct Space {
    /// How many levels the page tables have: 3 for Sv39, 4 for Sv48; 0: there are none (Bare).
    pub levels: u32,
    /// The value of `satp`.
    pub satp: u64,
    /// Virtual address of [`CODE`] in the program's own mode.
    pub code_base: u64,
    /// Virtual address of [`CODE`] in U-mode.
    pub user_base: u64,
    /// Virtual address of the stub, for `stvec`.
    pub stub: u64,
    /// Pages of addresses to load from and store to.
    pub windows: Vec<u64>,
    /// Those of the windows that lead to what PMP lets S- and U-mode at least read, that are not mapped, or,
    /// without page tables, where nothing answers.
    pub managed: Vec<u64>,
    /// Leaf entries that the program may change: virtual address, and physical address of the entry.
    pub leaves: Vec<(u64, u64)>,
    /// Where the program sees the page-table page with these leaves, if it does.
    pub tables_at: Option<u64>,
    /// All page-table entries: (physical address, value).
    pub pokes: Vec<(u64, u64)>,
}

/// Bytes from what the home mode sees to its copy for U-mode.
pub const USER_COPY: u64 = 0x1_0000;
/// How many windows lie in the program's region.
const NEAR_WINDOWS: u64 = 8;

/// Page tables under construction.
struct Tables {
    levels: u32,
    /// How many of the pages for tables are in use.
    used: u64,
    /// The values of entries that point to the next level.
    pointers: Vec<u64>,
    /// The value of each entry that is set, by its physical address.
    entries: BTreeMap<u64, u64>,
}

impl Tables {
    /// Puts a leaf at `level` for `address`; returns where the entry is, `None` if the pages are used up.
    fn map(&mut self, random: &mut Random, address: u64, level: u32, leaf: u64) -> Option<u64> {
        let mut table = TABLES;
        for at in (level..self.levels).rev() {
            let entry = table + (address >> (12 + 9 * at) & 511) * 8;
            if at == level {
                let free = !self.entries.contains_key(&entry);
                self.entries.entry(entry).or_insert(leaf);
                return free.then_some(entry);
            }
            table = match self.entries.get(&entry) {
                // A leaf, or something that is to be a fault.
                Some(known) if !self.pointers.contains(known) => return None,
                Some(&known) => known >> 10 << 12,
                None => {
                    if self.used == TABLE_PAGES {
                        return None;
                    }
                    let page = TABLES + self.used * PAGE;
                    self.used += 1;
                    // G and the two bits for software mean nothing here.
                    let spice = if random.percent(20) {
                        random.next() & (G | 3 << 8)
                    } else {
                        0
                    };
                    let pointer = page >> 12 << 10 | V | spice;
                    self.entries.insert(entry, pointer);
                    self.pointers.push(pointer);
                    page
                }
            };
        }
        None
    }
}

/// A leaf for `physical`, mostly with these rights.
fn leaf(random: &mut Random, physical: u64, rights: u64) -> u64 {
    let mut entry = physical >> 12 << 10 | rights | V;
    if random.percent(25) {
        entry ^= 1 << random.below(8);
    }
    if random.percent(8) {
        entry = entry & !0xff | random.next() & 0xff;
    }
    if random.percent(10) {
        entry |= random.next() & 3 << 8;
    }
    if random.percent(4) {
        entry |= 1 << (54 + random.below(10));
    }
    // QEMU sets A and D first and then finds that there is no such size.
    if entry & N != 0 && entry >> 10 & 15 != 8 {
        entry |= A | D;
    }
    entry
}

/// Physical pages for a window: mostly data, sometimes what should not be reached.
fn physical(random: &mut Random) -> u64 {
    match random.below(24) {
        0 => CODE + random.below(4) * PAGE,
        1 => RAM,
        2 => random.next() >> 8 & !0xfff,
        _ => DATA + random.below(DATA_PAGES) * PAGE,
    }
}

impl Space {
    /// A space without translation: addresses are physical.
    pub fn bare(random: &mut Random) -> Space {
        let mut windows: Vec<u64> = (0..DATA_PAGES).map(|page| DATA + page * PAGE).collect();
        windows.push(DATA);
        if random.percent(30) {
            windows.push(NOWHERE);
        }
        let managed = windows.clone();
        Space {
            levels: 0,
            // PPN and ASID mean nothing.
            satp: if random.percent(30) { random.next() >> 4 } else { 0 },
            code_base: CODE,
            user_base: CODE,
            stub: STUB,
            windows,
            managed,
            leaves: Vec::new(),
            tables_at: None,
            pokes: Vec::new(),
        }
    }

    /// A space with page tables, Sv39 or Sv48. A program whose own mode is M has its code where its physical
    /// address is.
    pub fn paged(random: &mut Random, home: Mode) -> Space {
        let levels = random.pick(&[3, 4]);
        let region = if home == Mode::Machine {
            RAM
        } else {
            region(random, levels)
        };
        let code_base = region + 0x1_0000;
        let split = home != Mode::User;
        let mut space = Space {
            levels,
            satp: (u64::from(levels) + 5) << 60 | random.below(1 << 16) << 44 | TABLES >> 12,
            code_base,
            user_base: if split { code_base + USER_COPY } else { code_base },
            stub: code_base + (STUB - CODE),
            windows: Vec::new(),
            managed: Vec::new(),
            leaves: Vec::new(),
            tables_at: None,
            pokes: Vec::new(),
        };
        let mut tables = Tables {
            levels,
            used: 1,
            pointers: Vec::new(),
            entries: BTreeMap::new(),
        };
        space.map_code(random, &mut tables, home);
        space.map_near(random, &mut tables, home);
        space.map_far(random, &mut tables, home, region);
        space.map_many(random, &mut tables, home, region);
        space.pokes = tables.entries.into_iter().collect();
        space
    }

    /// The code, for the home mode and once more for U-mode, and the stub.
    fn map_code(&mut self, random: &mut Random, tables: &mut Tables, home: Mode) {
        for page in 0..CODE_BYTES / PAGE {
            let offset = page * PAGE;
            for (base, user) in [(self.code_base, home == Mode::User), (self.user_base, true)] {
                let mut entry = (CODE + offset) >> 12 << 10 | V | X | A | if user { U } else { 0 };
                if random.percent(50) {
                    entry |= R;
                }
                if random.percent(15) {
                    entry |= R | W | D;
                }
                // A page of code that traps costs all the units in it: rarely.
                if random.percent(5) {
                    entry ^= 1 << random.below(8);
                }
                tables.map(random, base + offset, 0, entry);
            }
        }
        tables.map(random, self.stub, 0, STUB >> 12 << 10 | V | X | A | D);
    }

    /// Windows in the region, and their U-mode twins; one of them may show the page table itself.
    fn map_near(&mut self, random: &mut Random, tables: &mut Tables, home: Mode) {
        let first = self.code_base + 2 * USER_COPY;
        for page in 0..NEAR_WINDOWS {
            let address = first + page * PAGE;
            let mut readable = true;
            for (base, user) in [(address, home == Mode::User), (address + USER_COPY, true)] {
                let rights =
                    R | W | A | D | if user { U } else { 0 } | if random.percent(30) { X } else { 0 };
                let to = physical(random);
                readable &= (CODE..DATA + DATA_PAGES * PAGE).contains(&to);
                let entry = leaf(random, to, rights);
                if let Some(at) = tables.map(random, base, 0, entry) {
                    self.leaves.push((base, at));
                }
            }
            self.windows.push(address);
            if readable {
                self.managed.push(address);
            }
        }
        // Three pages of nothing for a window of one: an access that crosses from something to nothing may
        // have written its first part, or not, when it faults.
        for page in 0..3 {
            for base in [first, first + USER_COPY] {
                let rights = R | W | A | D | if base != first || home == Mode::User { U } else { 0 };
                let entry = (NOWHERE + page * PAGE) >> 12 << 10 | rights | V;
                tables.map(random, base + (NEAR_WINDOWS + 2 + page) * PAGE, 0, entry);
            }
        }
        self.windows.push(first + (NEAR_WINDOWS + 3) * PAGE);
        if home == Mode::Supervisor && random.percent(40) {
            // No access from a window may reach it by chance: it would change entries without a fence.
            let address = first + (NEAR_WINDOWS + 6) * PAGE;
            let page = self.leaves.first().map(|&(_, at)| at & !(PAGE - 1));
            if let Some(page) = page {
                tables.map(random, address, 0, page >> 12 << 10 | V | R | W | A | D);
                self.tables_at = Some(address);
            }
        }
    }

    /// Superpages, and addresses with nothing behind them.
    fn map_far(&mut self, random: &mut Random, tables: &mut Tables, home: Mode, region: u64) {
        let user = if home == Mode::User { U } else { 0 };
        for _ in 0..3 {
            let level = 1 + random.field(self.levels - 1);
            let span = 1u64 << (12 + 9 * level);
            let spread = random.below(6).wrapping_sub(3).wrapping_mul(span);
            let address = canonical((region & !(span - 1)).wrapping_add(spread), self.levels);
            // The whole span around RAM; misaligned, if the low bits of the page number are not zero.
            let mut to = RAM & !(span - 1);
            if random.percent(10) {
                to |= random.next() & (span - 1) & !0xfff;
            }
            let entry = leaf(random, to, R | W | X | A | D | user);
            if tables.map(random, address, level, entry).is_some() {
                let inside = DATA - (RAM & !(span - 1)) + random.below(DATA_PAGES) * PAGE;
                self.windows.push(address.wrapping_add(inside));
                self.managed.push(address.wrapping_add(inside));
            }
        }
        // A pointer to the next level that has bits of a leaf.
        if random.percent(20) {
            let address = canonical(region.wrapping_add(0x60_0000), self.levels);
            let entry = TABLES >> 12 << 10 | V | 1 << random.pick(&[4, 6, 7]);
            if tables.map(random, address, 1, entry).is_some() {
                self.windows.push(address);
            }
        }
        self.windows.push(region ^ 1 << (12 + 9 * self.levels));
        self.managed.push(region ^ 1 << (12 + 9 * self.levels));
        self.windows.push(canonical(random.next() & !0xfff, self.levels));
    }
}

/// How many pages an entry of 64 KiB maps (Svnapot).
const MANY: u64 = 16;

impl Space {
    /// All of the data by one entry, many times (Svnapot); or by one that says so and is none.
    fn map_many(&mut self, random: &mut Random, tables: &mut Tables, home: Mode, region: u64) {
        if random.percent(50) {
            return;
        }
        let user = if home == Mode::User { U } else { 0 };
        let first = canonical(region.wrapping_add(0x40_0000), self.levels);
        let to = if random.percent(15) {
            DATA + random.below(DATA_PAGES) * PAGE
        } else {
            DATA
        };
        let entry = leaf(random, to, N | R | W | A | D | user);
        // A superpage may lie there already.
        let mut free = true;
        for page in 0..MANY {
            free &= tables.map(random, first + page * PAGE, 0, entry).is_some();
        }
        for _ in 0..3 {
            let window = first + (MANY / 2 + random.below(MANY / 2)) * PAGE;
            self.windows.push(window);
            if free {
                self.managed.push(window);
            }
        }
    }
}

/// The 2 MiB for a program: anywhere, or at an edge.
fn region(random: &mut Random, levels: u32) -> u64 {
    let half = 1u64 << (11 + 9 * levels);
    let size = 2 << 20;
    let address = match random.below(8) {
        0 => 0,
        1 => 0u64.wrapping_sub(size),
        2 => half - size,
        3 => 0u64.wrapping_sub(half),
        4 => RAM,
        _ => random.next(),
    };
    canonical(address & !(size - 1), levels)
}

/// Sign-extends an address.
fn canonical(address: u64, levels: u32) -> u64 {
    let unused = 64 - 12 - 9 * levels;
    ((address << unused) as i64 >> unused) as u64
}
