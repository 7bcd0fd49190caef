//! Physical memory protection of a program: what keeps it from the runtime, and random entries before that.
//!
//! A [`Program`](crate::program::Program) draws one [`Protection`] and the runtime loads it; a program in
//! M-mode may change some entries later. No entry may open the runtime's own memory to S- or U-mode.

use crate::{
    layout::{CODE, CODE_BYTES, DATA, DATA_PAGES, NOWHERE, PAGE, STUB, TABLE_PAGES, TABLES},
    random::Random,
};

// Fields of an entry's `pmpcfg` byte, by the manual's names: rights, then address matching.
const R: u8 = 1;
const W: u8 = 2;
const X: u8 = 4;
const TOR: u8 = 1 << 3;
const NA4: u8 = 2 << 3;
const NAPOT: u8 = 3 << 3;
/// The entry holds for M-mode too, until the next reset.
pub const LOCKED: u8 = 1 << 7;

/// Entries that a program may change, all of them about data.
pub const CHANGEABLE: usize = 8;
/// Entries that are random, with two about page tables; the others let S- and U-mode reach what they need,
/// and nothing else.
const FREE: usize = 10;

/// Registers of sixteen entries.
#[derive(Clone, Debug, Default)]
pub struct Protection {
    /// `pmpcfg`: one byte for each entry.
    pub configuration: [u8; 16],
    /// `pmpaddr`: one address for each entry.
    pub address: [u64; 16],
}

impl Protection {
    /// A protection with the fixed entries and a few random ones.
    pub fn new(random: &mut Random) -> Protection {
        let mut protection = Protection::default();
        let fixed = [
            (CODE, CODE_BYTES, R | X),
            (STUB, PAGE, R | X),
            (DATA, DATA_PAGES * PAGE, R | W),
            (TABLES, TABLE_PAGES * PAGE, R | W),
            (NOWHERE, 1 << 20, R | W | X),
        ];
        for (entry, (from, bytes, rights)) in (FREE..).zip(fixed) {
            protection.configuration[entry] = NAPOT | rights;
            protection.address[entry] = napot(from, bytes);
        }
        if random.percent(20) {
            // Data that may be executed and not written: what code that overwrites itself does without
            // `fence.i` is not the same everywhere.
            protection.configuration[FREE + 2] ^= W | X;
        }
        let holes = random.percent(40);
        for entry in 0..FREE {
            let (configuration, address) = hole(random, &protection, entry);
            // The address is set in any case: a program may turn the entry on, and QEMU takes a TOR entry
            // whose address is 0 to reach to the end of memory.
            protection.address[entry] = address;
            if holes && random.percent(35) {
                protection.configuration[entry] = configuration;
            }
        }
        protection
    }

    /// Is any of the free entries on?
    pub fn has_holes(&self) -> bool {
        self.configuration[..FREE].iter().any(|&byte| byte & NAPOT != 0)
    }

    /// May an entry cover four bytes, which a misaligned access can have in its middle?
    pub fn has_words(&self) -> bool {
        self.configuration[..FREE]
            .iter()
            .any(|&byte| matches!(byte & NAPOT, NA4 | TOR))
    }

    /// May an entry lie in the middle of a cache block? Those of four bytes apart.
    pub fn has_parts(&self) -> bool {
        let entries = self.configuration.iter().zip(&self.address).take(FREE);
        let mut naturals = entries.filter(|(configuration, _)| *configuration & NAPOT == NAPOT);
        naturals.any(|(_, address)| 8u64 << address.trailing_ones() < 64)
    }

    /// May data be written, where there is no hole?
    pub fn data_is_writable(&self) -> bool {
        self.configuration[FREE + 2] & W != 0
    }

    /// Eight configuration bytes as `pmpcfg0` or `pmpcfg2`.
    pub fn register(&self, first: usize) -> u64 {
        let bytes = &self.configuration[first..first + 8];
        bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u64::from(byte))
    }
}

/// The `pmpaddr` of a naturally aligned range.
fn napot(from: u64, bytes: u64) -> u64 {
    from >> 2 | (bytes / 8 - 1)
}

/// Random rights over some bytes of data or page tables. Whatever mode is put to the address, it reaches no
/// further than those.
fn hole(random: &mut Random, so_far: &Protection, entry: usize) -> (u8, u64) {
    let within = random.below(DATA_PAGES * PAGE);
    let below = entry.checked_sub(1).map_or(0, |before| so_far.address[before]);
    let (place, rights) = if entry < CHANGEABLE {
        (DATA, random.pick(&[0, R, R | W, R | X, X, 0, R]))
    } else {
        // Readable is writable: QEMU does not ask whether it may set A and D.
        (TABLES, random.pick(&[0, X, R | W, R | W | X]))
    };
    let (configuration, address) = match random.below(5) {
        0 => (NA4 | rights, (place + within) >> 2),
        1 if below >= place >> 2 => (TOR | rights, below + random.below(PAGE / 2)),
        2 => (rights, (place + within) >> 2), // Off, but the base of a TOR entry behind it.
        _ => {
            let bytes = 8u64 << random.below(11);
            (NAPOT | rights, napot((place + within) & !(bytes - 1), bytes))
        }
    };
    let address = address.min((place + DATA_PAGES * PAGE) >> 2);
    // As NAPOT with all these ones it would be more than all the data.
    (
        configuration,
        if address & 0x1fff == 0x1fff {
            address - 1
        } else {
            address
        },
    )
}

const _: () = assert!(DATA_PAGES == TABLE_PAGES);
