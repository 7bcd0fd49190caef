//! One program: from a seed to the record that the runtime reads.
//!
//! [`Program::new`] draws a setting, an address space and a protection, has units emitted until the code is
//! long enough, and draws initial registers and CSRs. [`image`](mod@crate::image) packs the records of many
//! programs. Every draw is part of what a seed means: one more or less would change all programs and with
//! them the golden file.

use crate::{
    encode::{C_EBREAK, number},
    layout::{CODE_BYTES, DATA_PAGES, LOADED, TEMPLATE_PAGES, record},
    protection::{LOCKED, Protection},
    random::Random,
    space::{Mode, Space},
    stream::Code,
    units::{Builder, DELEGABLE, FETCH_FAULTS, Setting, Weights},
    values,
};

/// Traps after which a program is over.
const TRAPS_MAX: u64 = 2000;

// Fields of `mstatus` and `menvcfg`, and interrupts of `mip`, by the manual's names.
const FS_SHIFT: u32 = 13;
const FS: u64 = 3 << FS_SHIFT;
const MPRV: u64 = 1 << 17;
const TVM: u64 = 1 << 20;
const TW: u64 = 1 << 21;
const STCE: u64 = 1 << 63;
const SSI: u64 = 1 << 1;
const STI: u64 = 1 << 5;
const SEI: u64 = 1 << 9;
const MPP_SHIFT: u32 = 11;
/// SIE, SPIE, MPIE, SPP, SUM, MXR, TSR.
const FREE_STATUS: u64 = 1 << 1 | 1 << 5 | 1 << 7 | 1 << 8 | 1 << 18 | 1 << 19 | 1 << 22;

/// A program and everything it starts from.
pub struct Program {
    /// The seed from which the program was drawn.
    pub seed: u64,
    /// One line on what kind of program this is.
    pub about: String,
    code: Code,
    space: Space,
    /// The privilege mode in which the program starts, and to which its `ecall`s return.
    home: Mode,
    /// The values of the CSRs in [`LOADED`].
    csrs: [u64; LOADED.len()],
    /// The value of `mstatus`.
    status: u64,
    /// Bits of `mstatus` to clear when a trap is left.
    clear: u64,
    /// Bits of `mstatus` to set when a trap is left.
    set: u64,
    /// The integer registers.
    x: [u64; 32],
    /// The floating-point registers.
    f: [u64; 32],
    /// For each data page the number of the template that it is filled from.
    pages: [u64; DATA_PAGES as usize],
    /// Bit n: M-mode may not read data page n.
    unreadable: u64,
}

/// What is drawn first, and what CSRs and units are then drawn from.
struct Draft {
    setting: Setting,
    space: Space,
    status: u64,
    medeleg: u64,
    menvcfg: u64,
    counteren: u64,
    mcountinhibit: u64,
    vectored: u64,
}

impl Program {
    /// The program of a seed. `locks`: it may lock PMP entries, which only a reset undoes.
    #[must_use]
    pub fn new(seed: u64, locks: bool) -> Program {
        let mut random = Random::new(seed, 1);
        let mut draft = draft(&mut random);
        let mut protection = Protection::new(&mut random);
        draft.setting.holes = locks || protection.has_holes() || !protection.data_is_writable();
        let unreadable = if locks {
            lock(&mut random, &mut protection)
        } else {
            0
        };
        // M-mode may bring such entries about later.
        draft.setting.aligned =
            protection.has_words() || draft.setting.holes && draft.setting.home == Mode::Machine;
        draft.setting.blocks = !draft.setting.aligned && !protection.has_parts();
        let start = random.pick(&[0, 0, 0x800, 0xc00, 0xf00, 0xfc0]) + random.below(8) * 8;
        let weights = Weights::new(&mut random);
        let mut builder = Builder::new(&mut random, &draft.space, draft.setting, start);
        let end = start + 0x400 + builder.random.below(0xc00);
        while builder.code.here() < end {
            builder.unit(&weights);
        }
        let code = builder.code.finish();
        assert!(
            code.start + code.bytes.len() as u64 <= CODE_BYTES,
            "code ends in its pages"
        );
        let (clear, set) = float_state(&mut random, draft.status & FS != 0);
        let csrs = LOADED.map(|number| csr_value(&mut random, &draft, &protection, number));
        let Draft {
            setting,
            space,
            status,
            ..
        } = draft;
        let about = format!(
            "{setting:?}, {} levels, status {status:x}, {weights:?}",
            space.levels
        );
        Program {
            seed,
            about,
            code,
            space,
            home: setting.home,
            csrs,
            status,
            clear,
            set,
            x: std::array::from_fn(|_| values::integer(&mut random)),
            f: std::array::from_fn(|_| values::register(&mut random)),
            pages: std::array::from_fn(|_| random.below(TEMPLATE_PAGES)),
            unreadable,
        }
    }

    /// Page-table entries at the start, for a closer look: (physical address, value).
    #[must_use]
    pub fn page_table(&self) -> &[(u64, u64)] {
        &self.space.pokes
    }

    /// Does the runtime's count of its instructions mean anything?
    #[must_use]
    pub fn counts(&self) -> bool {
        self.csrs[index(number::MCOUNTINHIBIT)] == 0
    }

    /// The number of units that the program is made of.
    #[must_use]
    pub fn units(&self) -> usize {
        self.code.units.len()
    }

    /// Makes the program end before its unit number `units`.
    pub fn truncate(&mut self, units: usize) {
        self.code.truncate(units);
    }

    /// The address of one unit, and its instructions as bytes.
    #[must_use]
    pub fn unit(&self, unit: usize) -> (u64, &[u8]) {
        let at = self.code.units.get(unit).copied().unwrap_or(self.code.end);
        let end = self.code.units.get(unit + 1).copied().unwrap_or(self.code.end);
        let bytes = (at - self.code.start) as usize..(end - self.code.start) as usize;
        (self.space.code_base.wrapping_add(at), &self.code.bytes[bytes])
    }

    /// The bytes of the program's record ([`record`]).
    #[must_use]
    pub fn record(&self) -> Vec<u8> {
        let mut words = vec![0u64; record::REST];
        let home = (self.home as u64) << MPP_SHIFT | self.status & MPRV;
        words[record::CODE_AT] = self.code.start;
        words[record::CODE_BYTES] = self.code.bytes.len() as u64;
        words[record::CODE_BASE] = self.space.code_base;
        words[record::USER_BASE] = self.space.user_base;
        words[record::END] = self.code.end;
        words[record::HOME] = home;
        words[record::CLEAR] = self.clear;
        words[record::SET] = self.set;
        words[record::START] = self.space.code_base.wrapping_add(self.code.start);
        words[record::TRAPS_MAX] = TRAPS_MAX;
        words[record::UNREADABLE] = self.unreadable;
        words[record::POKES] = self.space.pokes.len() as u64;
        words[record::STATUS] = self.status;
        words[record::CSRS..][..LOADED.len()].copy_from_slice(&self.csrs);
        words[record::X..][..32].copy_from_slice(&self.x);
        words[record::F..][..32].copy_from_slice(&self.f);
        words[record::PAGES..][..DATA_PAGES as usize].copy_from_slice(&self.pages);
        words.extend(
            self.space
                .pokes
                .iter()
                .flat_map(|&(address, value)| [address, value]),
        );
        let bytes = words.len() * 8 + self.code.bytes.len();
        words[record::BYTES] = bytes as u64;
        let mut record: Vec<u8> = words.into_iter().flat_map(u64::to_le_bytes).collect();
        record.extend(&self.code.bytes);
        debug_assert!(record.len().is_multiple_of(8) && C_EBREAK != 0);
        record
    }
}

/// The place of a CSR in [`LOADED`].
fn index(number: u32) -> usize {
    LOADED.iter().position(|&loaded| loaded == number).unwrap_or(0)
}

fn draft(random: &mut Random) -> Draft {
    let home = random.pick(&[
        Mode::User,
        Mode::User,
        Mode::Supervisor,
        Mode::Supervisor,
        Mode::Machine,
    ]);
    let space = if random.percent(25) {
        Space::bare(random)
    } else {
        Space::paged(random, home)
    };
    let physical = home == Mode::Machine && random.percent(50);
    let status = status(random, home, physical);
    let stvec = random.percent(50);
    let mask = if stvec {
        DELEGABLE
    } else {
        DELEGABLE | FETCH_FAULTS
    };
    let medeleg = match random.below(3) {
        0 => 0,
        1 => mask,
        _ => random.next() & mask,
    };
    let mideleg = random.next() & 0x222;
    let counters = random.percent(30);
    let menvcfg = random.next() & (1 | 1 << 61 | STCE) | blocks_allowed(random);
    let sstc = menvcfg & STCE != 0;
    let timer = sstc && random.percent(20);
    let mcountinhibit = if random.percent(20) {
        random.pick(&[1, 4, 5, 5])
    } else {
        0
    };
    let setting = Setting {
        sstc,
        timer,
        interrupt: if timer {
            STI
        } else {
            random.pick(&[SSI, SSI, STI, SEI])
        },
        holes: false,
        aligned: false,
        blocks: false,
        home,
        physical,
        tvm: status & TVM != 0,
        tw: status & TW != 0,
        counters,
        inhibited: mcountinhibit == 5,
        stvec,
        mideleg,
    };
    Draft {
        setting,
        space,
        status,
        medeleg,
        menvcfg,
        counteren: if counters { random.next() & 7 } else { 0 },
        mcountinhibit,
        vectored: random.below(2),
    }
}

/// What cache-block instructions `menvcfg` or `senvcfg` allows: mostly all.
fn blocks_allowed(random: &mut Random) -> u64 {
    if random.percent(60) {
        0xf0
    } else {
        random.pick(&[0, 0x10, 0x30]) | random.next() & 3 << 6
    }
}

/// What `mstatus` holds when the program begins.
fn status(random: &mut Random, home: Mode, physical: bool) -> u64 {
    let mut status = (home as u64) << MPP_SHIFT | random.next() & FREE_STATUS;
    status |= if random.percent(5) {
        0
    } else {
        (1 + random.below(3)) << FS_SHIFT
    };
    for bit in [TVM, TW] {
        if random.percent(20) {
            status |= bit;
        }
    }
    if home == Mode::Machine && !physical {
        status |= MPRV;
    }
    status
}

/// Locks an entry over data; returns the pages that M-mode cannot read any more.
fn lock(random: &mut Random, protection: &mut Protection) -> u64 {
    let page = random.below(DATA_PAGES);
    // Writable but not readable is reserved, and QEMU takes it.
    let rights = random.pick(&[0, 1, 3, 4, 5, 7]);
    protection.configuration[0] = LOCKED | 3 << 3 | rights;
    protection.address[0] = (crate::layout::DATA + page * crate::layout::PAGE) >> 2 | 0x1ff;
    if rights & 1 == 0 { 1 << page } else { 0 }
}

/// What happens to FS when a trap is left: nothing, or it starts anew, so that it can be seen to become
/// dirty.
fn float_state(random: &mut Random, on: bool) -> (u64, u64) {
    match random.below(3) {
        0 => (0, 0),
        1 if on => (FS, (1 + random.below(3)) << FS_SHIFT),
        _ => (FS, FS),
    }
}

fn csr_value(random: &mut Random, draft: &Draft, protection: &Protection, number: u32) -> u64 {
    match number {
        number::MEDELEG => draft.medeleg,
        number::MIDELEG => draft.setting.mideleg,
        number::MIE | number::MIP if random.percent(25) => draft.setting.interrupt,
        number::MIE | number::MIP => 0,
        number::MCOUNTEREN | number::SCOUNTEREN => draft.counteren,
        number::MENVCFG => draft.menvcfg,
        number::MCOUNTINHIBIT => draft.mcountinhibit,
        number::STVEC => draft.space.stub | draft.vectored,
        number::SENVCFG => random.below(2) | blocks_allowed(random),
        number::STIMECMP if draft.setting.timer && random.percent(60) => 0,
        number::STIMECMP => u64::MAX,
        number::SATP => draft.space.satp,
        number::FCSR => random.below(5) << 5 | random.below(32),
        number::PMPCFG0 => protection.register(0),
        number::PMPCFG2 => protection.register(8),
        number::PMPADDR0..=number::PMPADDR15 => protection.address[(number & 15) as usize],
        // QEMU keeps an odd value odd.
        number::SEPC => values::integer(random) & !1,
        // The S-mode exception registers, scratch, and M-mode's cause and value can be anything.
        _ => values::integer(random),
    }
}
