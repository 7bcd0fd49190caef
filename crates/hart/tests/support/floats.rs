//! Random floating-point instructions and values: every kind in both precisions, few registers, so that
//! results meet each other, and values at which something changes.

use super::random::Random;

/// The registers that most instructions use. Some take any other, of which there are more than the host has.
const FEW: [u32; 5] = [1, 2, 3, 10, 15];

/// The operations of OP-FP by funct5: what funct3 may be (`None`: a rounding mode), and how many values rs2
/// has (32: a register).
const OPERATIONS: [(u32, Option<&[u32]>, u32); 18] = [
    (0x00, None, 32),
    (0x00, None, 32),
    (0x01, None, 32),
    (0x02, None, 32),
    (0x02, None, 32),
    (0x03, None, 32),
    (0x0b, None, 1),
    (0x04, Some(&[0, 1, 2]), 32),
    (0x04, Some(&[0, 1, 2]), 32),
    (0x05, Some(&[0, 1]), 32),
    (0x14, Some(&[0, 1, 2]), 32),
    (0x18, None, 4),
    (0x1a, None, 4),
    (0x1c, Some(&[0, 1]), 1),
    (0x1e, Some(&[0]), 1),
    (0x08, None, 2),
    (0x1a, None, 4),
    (0x1e, Some(&[0]), 1),
];

fn register(random: &mut Random) -> u32 {
    match random.below(12) {
        0 => random.below(32) as u32,
        _ => random.pick(&FEW),
    }
}

/// An instruction that computes with floating-point registers, or looks at the flags now and then; its
/// integer registers are some of `integers`.
pub fn float_word(random: &mut Random, integers: &[u32]) -> u32 {
    let format = random.pick(&[0, 1]);
    let rounding = random.pick(&[7, 7, 7, 7, 0, 0, 1, 2, 3, 4, 7, 0, 5]);
    let [rd, rs1, rs2, rs3] = [(); 4].map(|()| register(random));
    match random.below(40) {
        0 => {
            // fflags read, written and cleared; frm, which goes back to 0 mostly; FS in mstatus and sstatus.
            let csr = random.pick(&[1, 1, 1, 3, 2, 0x300, 0x100]);
            let value = if csr == 2 {
                random.pick(&[0, 0, 0, 1, 3])
            } else {
                random.below(32) as u32
            };
            let changes = random.pick(&[1, 2, 3]);
            let rd = random.pick(integers);
            match csr {
                // Clears or sets FS by a register.
                0x300 | 0x100 => csr << 20 | random.pick(integers) << 15 | 2 << 12 | rd << 7 | 0x73,
                _ => csr << 20 | value << 15 | (changes | 4) << 12 | rd << 7 | 0x73,
            }
        }
        1..10 => {
            // Fused; x * y - x * y and the like cancel.
            let kind = random.pick(&[0x43, 0x47, 0x4b, 0x4f]);
            rs3 << 27 | format << 25 | rs2 << 20 | rs1 << 15 | rounding << 12 | rd << 7 | kind
        }
        _ => {
            let (funct5, selects, values) = random.pick(&OPERATIONS);
            let funct3 = selects.map_or(rounding, |selects| random.pick(selects));
            let rs2 = match funct5 {
                0x08 => 1 - format,
                _ if values == 32 && random.below(6) == 0 => rs1,
                _ if values == 32 => rs2,
                _ => random.below(u64::from(values)) as u32,
            };
            let rd = if matches!(funct5, 0x14 | 0x18 | 0x1c) {
                random.pick(integers)
            } else {
                rd
            };
            let rs1 = if matches!(funct5, 0x1a | 0x1e) {
                random.pick(integers)
            } else {
                rs1
            };
            funct5 << 27 | format << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | 0x53
        }
    }
}

/// A comparison between a read of `fflags` and a write of what was read, as compilers make it quiet; now and
/// then of another register, or with arithmetic in place of the comparison.
pub fn quiet_comparison(random: &mut Random, integers: &[u32]) -> [u32; 3] {
    let [saved, other] = [(); 2].map(|()| random.pick(integers));
    let written = random.pick(&[saved, saved, saved, other]);
    let [rs1, rs2] = [(); 2].map(|()| register(random));
    let format = random.pick(&[0, 1]);
    let compare = 0x14 << 27 | random.pick(&[0, 1, 2]) << 12 | random.pick(integers) << 7;
    let add = random.pick(&[3, 7, 11]) << 7;
    let operation = random.pick(&[compare, compare, compare, add]);
    [
        1 << 20 | 2 << 12 | saved << 7 | 0x73,
        operation | format << 25 | rs2 << 20 | rs1 << 15 | 0x53,
        1 << 20 | written << 15 | 1 << 12 | 0x73,
    ]
}

/// The bits of a floating-point register: a double, or a single that is mostly boxed.
pub fn float_value(random: &mut Random) -> u64 {
    let exponents = [
        0, 1, 2, 0x380, 0x381, 0x3fe, 0x3ff, 0x400, 0x41e, 0x43d, 0x47f, 0x7fe, 0x7ff,
    ];
    let fractions = [0, 1, 1 << 51, (1 << 52) - 1, 0x1_0000_0000, random.next() >> 12];
    let sign = random.below(2) << 63;
    if random.below(2) == 0 {
        return sign | random.pick(&exponents) << 52 | random.pick(&fractions);
    }
    let exponents = [0, 1, 0x70, 0x7e, 0x7f, 0x80, 0x9d, 0x9e, 0xbe, 0xfe, 0xff];
    let fractions = [0, 1, 1 << 22, (1 << 23) - 1, random.next() >> 41];
    let upper = if random.below(16) == 0 {
        random.next() << 32
    } else {
        0xffff_ffff << 32
    };
    upper | sign >> 32 | random.pick(&exponents) << 23 | random.pick(&fractions)
}
