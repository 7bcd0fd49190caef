//! Random guests for the equality tests: nonsense that keeps going, with traps, faults, self-modification and
//! page tables under its own feet.

use hart::ram::BASE;

use super::{Computer, asm};

/// SplitMix64.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.below(list.len() as u64) as usize]
    }
}

/// Where things are, as offsets into RAM.
const HANDLER: u64 = 0x0;
const S_HANDLER: u64 = 0x200;
pub const CODE: u64 = 0x1000;
pub const CODE_END: u64 = 0x4000;
const ROOT: u64 = 0x10000;
const MIDDLE: u64 = 0x11000;
pub const LEAVES: u64 = 0x12000;
pub const DATA: u64 = 0x20000;

/// Registers that keep addresses; no arithmetic writes to them.
const BASES: [u32; 6] = [8, 9, 18, 19, 20, 21];
const OTHERS: [u32; 12] = [10, 11, 12, 13, 14, 15, 5, 6, 7, 28, 29, 1];

/// Fills memory and registers of a new computer.
pub fn prepare(computer: &mut Computer, random: &mut Random) {
    // In supervisor mode, in user mode, or bare in machine mode.
    let mode = random.pick(&[3, 1, 1, 0]);
    let entry = if mode == 3 { BASE + CODE } else { 0x4001_0000 };
    let mut put = |offset: u64, bytes: &[u8]| computer.ram.write(BASE + offset, bytes).unwrap();
    put(HANDLER, &handler("m", "mstatus", mode << 11, entry));
    put(S_HANDLER, &handler("s", "sstatus", mode << 8, entry));
    let code: Vec<u8> = (0..(CODE_END - CODE) / 4)
        .flat_map(|_| instruction(random).to_le_bytes())
        .collect();
    put(CODE, &code);
    // Sv39: 0x40000000 on is 4 KiB pages; 0x80000000 is the gigapage of RAM.
    let pointer = |offset: u64| ((BASE + offset) >> 2 | 1).to_le_bytes();
    put(ROOT + 8, &pointer(MIDDLE));
    put(ROOT + 16, &(BASE >> 2 | 0xcf).to_le_bytes());
    put(MIDDLE, &pointer(LEAVES));
    for page in 0..64 {
        put(LEAVES + page * 8, &leaf(page, mode, random).to_le_bytes());
    }
    // Data pages that serve as tables as well; a store to data may become a mapping.
    for table in 0..4 {
        put(MIDDLE + 8 + table * 8, &pointer(DATA + table * 0x1000));
        for entry in 0..4 {
            put(
                DATA + table * 0x1000 + entry * 8,
                &leaf(random.below(64), mode, random).to_le_bytes(),
            );
        }
    }
    let addresses = if mode == 3 {
        [DATA, DATA + 0xffc, CODE + 0x800, LEAVES, DATA, CODE].map(|offset| BASE + offset)
    } else {
        // Data through the pages and through the gigapage, code, tables.
        [
            0x4000_0000,
            0x4000_0ffc,
            0x4001_0800,
            0x4002_0000 + random.below(3) * 0x1000,
            BASE + DATA + random.below(4) * 0x1000,
            0x4001_0000,
        ]
    };
    for (base, address) in BASES.into_iter().zip(addresses) {
        computer.hart.x[base as usize] = address;
    }
    if random.below(2) == 0 {
        let device = random.below(3) * 0x1000;
        computer.hart.x[20] = device + if mode == 3 { 0x1000_0000 } else { 0x4003_2000 };
    }
    if random.below(2) == 0 {
        computer.hart.x[19] = 0x4020_0000 + random.below(4) * 0x20_0000 + random.below(4) * 0x1000;
    }
    for register in OTHERS {
        computer.hart.x[register as usize] = value(random);
    }
    start(computer, mode, entry, random);
}

/// A trap handler: behind the instruction; after a fetch fault somewhere else; after an interrupt, without
/// it.
fn handler(level: &str, status: &str, previous: u64, entry: u64) -> Vec<u8> {
    let source = format!(
        "   csrr t6, {level}cause
            blt  t6, zero, interrupt
            addi t6, t6, -12
            beqz t6, elsewhere
            addi t6, t6, 10
            beqz t6, elsewhere
            addi t6, t6, 1
            beqz t6, elsewhere
            csrr t6, {level}epc
            addi t6, t6, 4
            csrw {level}epc, t6
            j    out
        interrupt:
            andi t6, t6, 63
            li   t5, 1
            sll  t5, t5, t6
            csrc {level}ie, t5
            j    out
        elsewhere:
            csrr t6, cycle
            li   t5, 0x2545f491
            mul  t6, t6, t5
            srli t6, t6, 20
            andi t6, t6, 0x7fc
            li   t5, {entry}
            add  t6, t6, t5
            csrw {level}epc, t6
            li   t5, 0x1900
            csrc {status}, t5
            li   t5, {previous}
            csrs {status}, t5
        out:
            {level}ret",
    );
    asm::assemble(&source, BASE).bytes
}

/// Sets the CSRs by a few instructions, so that everything is as a guest could have it.
fn start(computer: &mut Computer, mode: u64, entry: u64, random: &mut Random) {
    let settings = [
        (0x305, BASE + HANDLER),
        (0x105, 0x8000_0000 + S_HANDLER),
        (0x180, (BASE + ROOT) >> 12 | 8 << 60),
        (0x3b0, u64::MAX),
        (0x3a0, 0x1f),
        (0x302, random.pick(&[0, 0xb3ff, random.0 & 0xb3ff])),
        (0x303, random.pick(&[0, 0x222])),
        (0x304, random.pick(&[0xaaa, 0xaaa, random.0 & 0xaaa])),
        (0x306, 7),
        (0x106, 7),
        (0x30a, random.0 & (5 << 61 | 0xf0)),
        (0x10a, random.0 >> 8 & 0xf0),
        (0x14d, random.below(500)),
        (0x300, mode << 11 | 0x2000 | random.0 & 0xc_00aa),
        (0x341, entry),
    ];
    for (at, (csr, value)) in settings.into_iter().enumerate() {
        let word = csr << 20 | 31 << 15 | 1 << 12 | 0x73;
        let place = 0x400 + 4 * at as u64;
        computer.ram.write(BASE + place, &u32::to_le_bytes(word)).unwrap();
        computer.hart.pc = BASE + place;
        computer.hart.x[31] = value;
        computer.run(1);
    }
    computer
        .ram
        .write(BASE + 0x500, &0x3020_0073u32.to_le_bytes())
        .unwrap();
    computer.hart.pc = BASE + 0x500;
    computer.run(1);
}

fn leaf(page: u64, mode: u64, random: &mut Random) -> u64 {
    let user = if mode == 0 { 0x10 } else { 0 };
    let (offset, flags) = match page {
        // Code, through which stores modify it.
        16..19 => (CODE + (page - 16) * 0x1000, 0xcf | user),
        // The tables themselves.
        32 => (LEAVES, 0xc7 | user),
        33 => (MIDDLE, 0xc7 | user),
        34 => (ROOT, 0xc7 | user),
        40..48 => (CODE + random.below(3) * 0x1000, random.next() & 0xff),
        50..53 => (
            0x1000_0000u64.wrapping_sub(BASE) + (page - 50) * 0x1000,
            0xc7 | user,
        ),
        // Data: with and without A, D, rights.
        _ => (
            DATA + page * 0x1000,
            random.pick(&[0xc7, 0xc7, 0x07, 0xcf, 0x47, 0xc3, 0xd7, 0xce]) ^ user,
        ),
    };
    BASE.wrapping_add(offset) >> 2 | flags
}

fn value(random: &mut Random) -> u64 {
    match random.below(7) {
        0 => random.below(64),
        1 => u64::MAX - random.below(64),
        2 => 0x4000_0000 + random.below(0x4_0000),
        3 => BASE + random.below(0x4_0000),
        // A page-table entry.
        4 => (BASE + DATA + random.below(16) * 0x1000) >> 2 | random.pick(&[0xd7, 0xcf, 0x17, 1, 1, 0]),
        5 => (BASE + LEAVES) >> 2 | 1,
        _ => random.next(),
    }
}

fn instruction(random: &mut Random) -> u32 {
    let rd = random.pick(&OTHERS);
    let base = random.pick(&BASES);
    let source = random.pick(&OTHERS);
    let funct3 = random.below(8) as u32;
    let near = (random.below(32) * 8) as u32;
    let offset = if random.below(4) == 0 {
        random.below(256) as u32
    } else {
        near & random.pick(&[0, 0x3f, 0xff])
    };
    match random.below(37) {
        0..4 => {
            random.pick(&[0, 0x20, 1]) << 25
                | source << 20
                | random.pick(&[base, source, rd]) << 15
                | funct3 << 12
                | rd << 7
                | 0x33
        }
        4..7 => (random.next() as u32) << 20 | source << 15 | funct3 << 12 | rd << 7 | 0x13,
        7 => (random.next() as u32) & 0xffff_f000 | rd << 7 | random.pick(&[0x17, 0x37]),
        8..11 => offset << 20 | base << 15 | funct3 << 12 | rd << 7 | 0x03,
        11..14 => {
            let funct3 = random.below(4) as u32;
            (offset >> 5) << 25 | source << 20 | base << 15 | funct3 << 12 | (offset & 31) << 7 | 0x23
        }
        14 => {
            let funct5 = random.pick(&[0, 1, 2, 3, 3, 4, 8, 12, 16, 20, 24, 28]);
            let operand = if funct5 == 2 { 0 } else { source };
            let width = random.pick(&[2, 3]);
            funct5 << 27 | operand << 20 | base << 15 | width << 12 | rd << 7 | 0x2f
        }
        15..17 => {
            // A branch, a little forward or back.
            let target = random.pick(&[8, 12, 16, 40, 6, 10, 8, 8, 12, 20, 24, 28, 8, 8, -16, -6]);
            branch(random.pick(&[0, 1, 4, 5, 6, 7]), base, source, target)
        }
        17 => match random.below(3) {
            0 => ((random.below(512) * 4) as u32) << 20 | 21 << 15 | rd << 7 | 0x67,
            _ => (random.pick(&[8, 16, 64, 512]) as u32) << 20 | rd << 7 | 0x6f,
        },
        18..20 => {
            let csr = random.pick(&[
                0x300, 0x100, 0x144, 0x344, 0x304, 0x104, 0x342, 0x340, 0xc00, 0xc01, 0xc02, 0xb00, 0xb02,
                0x14d, 0x320, 0x003, 0x001, 0x303, 0x302, 0x30a, 0x10a, 0x3b1, 0x3a0, 0x180, 0x140,
            ]);
            let by = random.pick(&[0, 0, source]);
            csr << 20 | by << 15 | random.pick(&[1, 2, 3, 2, 3, 6, 7]) << 12 | rd << 7 | 0x73
        }
        20 => {
            let wfi = random.below(8) == 0;
            let known = [
                0x0000_0073,
                0x0010_0073,
                0x3020_0073,
                0x1020_0073,
                0x1200_0073,
                0x1600_0073,
                0x1800_0073,
                0x1810_0073,
                0x100f,
                0x0ff0_000f,
            ];
            if wfi { 0x1050_0073 } else { random.pick(&known) }
        }
        21 => {
            let funct7 = random.next() as u32 & 0x7d;
            funct7 << 25
                | source << 20
                | base << 15
                | funct3 << 12
                | rd << 7
                | random.pick(&[0x53, 0x43, 0x07])
        }
        22 => {
            // Two halves, most of them compressed.
            let half = |random: &mut Random| random.next() as u32 & 0xfffc | random.pick(&[0, 1, 1, 2]);
            half(random) << 16 | half(random)
        }
        23 => random.next() as u32,
        28..32 => bits(random, rd, base, source),
        32 => {
            let kind = random.pick(&[4, 4, 4, 0, 1, 2, 3]);
            kind << 20 | random.pick(&[base, base, source]) << 15 | 2 << 12 | 0x0f
        }
        33 | 34 => word(random, &OTHERS),
        35.. => keep(source),
        // More of what touches memory.
        24..26 => offset << 20 | base << 15 | 3 << 12 | rd << 7 | 0x03,
        _ => (offset >> 5) << 25 | source << 20 | base << 15 | 3 << 12 | (offset & 31) << 7 | 0x23,
    }
}

/// Zba, Zbb, Zbs and Zicond, with their neighbours. The addresses among the operands are as good as any
/// others.
fn bits(random: &mut Random, rd: u32, base: u32, source: u32) -> u32 {
    let funct3 = random.below(8) as u32;
    let first = random.pick(&[base, source, rd]);
    let second = random.pick(&[base, source, source, rd, 0]);
    let registers = |funct7: u32, funct3: u32| funct7 << 25 | second << 20 | funct3 << 12;
    let operation = match random.below(8) {
        0 => registers(random.pick(&[0x04, 0x10, 0x30, 0x20]), funct3) | 0x3b,
        1 => registers(0x10, random.pick(&[2, 4, 6])) | random.pick(&[0x33, 0x3b]),
        2 => registers(random.pick(&[0x05, 0x07]), 4 | funct3) | 0x33,
        3 => registers(random.pick(&[0x14, 0x24, 0x34, 0x30]), random.pick(&[1, 5])) | 0x33,
        4 => registers(0x20, random.pick(&[4, 6, 7])) | 0x33,
        5 => {
            let high = random.pick(&[0x600, 0x601, 0x602, 0x604, 0x605, 0x600, 0x601]);
            high << 20 | 1 << 12 | random.pick(&[0x13, 0x13, 0x1b])
        }
        6 => random.pick(&[0x6b80_5013, 0x2870_5013, 0x0800_403b]),
        _ => {
            let high = random.pick(&[0x480, 0x680, 0x280, 0x600, 0x080]);
            let amount = random.below(64) as u32;
            (high | amount) << 20 | random.pick(&[1, 5]) << 12 | random.pick(&[0x13, 0x13, 0x1b])
        }
    };
    operation | first << 15 | rd << 7
}

/// Adds a register to one that nothing else writes, so that what was wrong once stays wrong.
pub fn keep(register: u32) -> u32 {
    register << 20 | 27 << 15 | 27 << 7 | 0x33
}

/// Something with words in these registers, which may or may not be what the registers hold.
pub fn word(random: &mut Random, registers: &[u32]) -> u32 {
    let [rd, rs1, rs2] = [0; 3].map(|_| random.pick(registers));
    let registers = rs1 << 15 | rd << 7;
    match random.below(12) {
        // ADDW, SUBW, MULW, SLLW.
        0..4 => random.pick(&[0, 0x20 << 25, 1 << 25, 1 << 12]) | rs2 << 20 | registers | 0x3b,
        // ADDIW, of 0 too; SLLIW, SRLIW, SRAIW.
        4 | 5 => random.pick(&[0, 1, 0xfff]) << 20 | registers | 0x1b,
        6 => {
            random.pick(&[1 << 12, 5 << 12, 0x20 << 25 | 5 << 12])
                | (random.below(32) as u32) << 20
                | registers
                | 0x1b
        }
        // XOR, OR, AND, SLT, SLTU; ANDI, XORI.
        7 | 8 => random.pick(&[4, 6, 7, 2, 3]) << 12 | rs2 << 20 | registers | 0x33,
        9 => random.pick(&[7, 4]) << 12 | random.pick(&[0xfff, 0xf, 0x7ff]) << 20 | registers | 0x13,
        // Over the next instruction.
        10 => branch(random.pick(&[0, 1, 4, 5, 6, 7]), rs1, random.pick(&[rs2, 0]), 8),
        // SLLI by 32, as before a shift to the right, or SRLI.
        _ => random.pick(&[1, 5]) << 12 | random.pick(&[32, 31, 33]) << 20 | registers | 0x13,
    }
}

pub fn branch(condition: u32, one: u32, other: u32, distance: i32) -> u32 {
    let to = distance as u32;
    let imm = (to >> 12 & 1) << 31 | (to >> 5 & 63) << 25 | (to >> 1 & 15) << 8 | (to >> 11 & 1) << 7;
    imm | other << 20 | one << 15 | condition << 12 | 0x63
}
