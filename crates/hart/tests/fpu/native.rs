//! What generated code computes, against the interpreter, which asks the functions that the other tests
//! compare with Berkeley SoftFloat: every floating-point instruction, for all pairs and triples of telling
//! operands and for random ones, results and flags.
//!
//! The operands of a batch lie in memory, and a loop does one instruction for all of them. Its turns are the
//! first one, those with a lookup and those without; its operands come as doubles, as singles or from memory;
//! and the flags are looked at after each instruction or at the end.

use hart::{Interpreter, InterpreterOptions, Translate, ram::BASE};

use crate::operands::{Random, corners, few_corners};
use crate::support::{Computer, State};

/// Random batches for each instruction.
const RANDOM_BATCHES: u64 = if cfg!(debug_assertions) { 2 } else { 40 };

/// Of all pairs of many operands, each so-manieth is tried.
const PAIRS_STEP: usize = if cfg!(debug_assertions) { 7 } else { 1 };

/// Where the operands are, and how many cases a batch has.
const TABLE: u64 = 0x10000;
const CASES: usize = 4096;
/// Bytes of a case: three operands, an integer, the result and the flags.
const CASE: usize = 48;

/// The integer registers of the loop: its place in the table, the end of the table, an operand, a result,
/// saved flags.
const AT: u32 = 10;
const END: u32 = 11;
const INTEGER: u32 = 12;
const RESULT: u32 = 13;
const SAVED: u32 = 14;

/// How a loop does its instruction.
#[derive(Clone, Copy, Debug)]
struct Shape {
    /// The destination: 4, or one of the operands, which are 1 to 3.
    to: u32,
    /// The operands are loaded by `flw`, else by `fld`.
    loads_singles: bool,
    /// The flags are stored and cleared after each instruction.
    looks: bool,
    /// The flags are saved before the instruction, a comparison, and restored after it.
    quiet: bool,
    /// An addition that raises no flag comes first, so that the host gathers flags when the instruction is
    /// done.
    gathers: bool,
    /// So many other registers are used that operands and result have no vector registers.
    crowded: bool,
}

/// An instruction of OP-FP or a fused one, without its registers.
#[derive(Clone, Copy, Debug)]
struct Instruction {
    word: u32,
    operands: u32,
    from_integer: bool,
    to_integer: bool,
}

impl Instruction {
    /// Is it `feq`, `flt` or `fle`?
    fn compares(self) -> bool {
        self.word >> 27 == 0x14
    }
}

const ROUNDS: [u32; 6] = [7, 0, 1, 2, 3, 4];

/// All instructions of a format, those with a rounding mode in each.
fn instructions(format: u32) -> Vec<Instruction> {
    let mut all = Vec::new();
    let mut add = |funct5: u32, rs2: u32, funct3: u32, operands: u32| {
        all.push(Instruction {
            word: funct5 << 27 | format << 25 | rs2 << 20 | funct3 << 12 | 0x53,
            operands,
            from_integer: matches!(funct5, 0x1a | 0x1e),
            to_integer: matches!(funct5, 0x14 | 0x18 | 0x1c),
        });
    };
    for rounding in ROUNDS {
        for funct5 in [0x00, 0x01, 0x02, 0x03] {
            add(funct5, 0, rounding, 2);
        }
        add(0x0b, 0, rounding, 1);
        add(0x08, 1 - format, rounding, 1);
        for which in 0..4 {
            add(0x18, which, rounding, 1);
            add(0x1a, which, rounding, 1);
        }
    }
    for (funct5, selects, operands) in [
        (0x04, 3, 2),
        (0x05, 2, 2),
        (0x14, 3, 2),
        (0x1c, 2, 1),
        (0x1e, 1, 1),
    ] {
        for select in 0..selects {
            add(funct5, 0, select, operands);
        }
    }
    for kind in [0x43, 0x47, 0x4b, 0x4f] {
        for rounding in [7, 0, 1] {
            all.push(Instruction {
                word: format << 25 | rounding << 12 | kind,
                operands: 3,
                from_integer: false,
                to_integer: false,
            });
        }
    }
    all
}

fn load(width: u32, opcode: u32, offset: u32, to: u32) -> u32 {
    offset << 20 | AT << 15 | width << 12 | to << 7 | opcode
}

fn store(opcode: u32, offset: u32, from: u32) -> u32 {
    (offset >> 5) << 25 | from << 20 | AT << 15 | 3 << 12 | (offset & 31) << 7 | opcode
}

/// The loop, in which `instruction` has the registers that its shape says.
fn code(instruction: Instruction, shape: Shape) -> Vec<u32> {
    let width = if shape.loads_singles { 2 } else { 3 };
    // `fadd.d` of a register that is zero.
    let addition = 1 << 25 | 15 << 20 | 15 << 15 | 15 << 7 | 0x53;
    let mut words: Vec<u32> = shape.gathers.then_some(addition).into_iter().collect();
    words.extend((0..3).map(|n| load(width, 0x07, 8 * n, n + 1)));
    words.push(load(3, 0x03, 24, INTEGER));
    if shape.crowded {
        let copies = (0..2)
            .flat_map(|_| 16..32)
            .map(|f| 0x22 << 24 | f << 20 | f << 15 | f << 7 | 0x53);
        words.extend(copies);
    }
    let to = if instruction.to_integer { RESULT } else { shape.to };
    let first = if instruction.from_integer { INTEGER } else { 1 };
    let second = if instruction.operands > 1 { 2 << 20 } else { 0 };
    let third = if instruction.operands > 2 { 3 << 27 } else { 0 };
    let word = instruction.word | third | second | first << 15 | to << 7;
    if shape.quiet {
        // `frflags` and `fsflags`.
        let save = 1 << 20 | 2 << 12 | SAVED << 7 | 0x73;
        let restore = 1 << 20 | SAVED << 15 | 1 << 12 | 0x73;
        words.extend([save, word, restore]);
    } else {
        words.push(word);
    }
    words.push(match instruction.to_integer {
        true => store(0x23, 32, RESULT),
        false => store(0x27, 32, shape.to),
    });
    if shape.looks {
        words.push(1 << 20 | 5 << 12 | RESULT << 7 | 0x73);
        words.push(store(0x23, 40, RESULT));
    }
    words.push((CASE as u32) << 20 | AT << 15 | AT << 7 | 0x13);
    let back = (words.len() as u32 * 4).wrapping_neg();
    words.push(
        (back >> 12 & 1) << 31
            | (back >> 5 & 63) << 25
            | END << 20
            | AT << 15
            | 1 << 12
            | (back >> 1 & 15) << 8
            | (back >> 11 & 1) << 7
            | 0x63,
    );
    words
}

/// Runs the loop for all cases.
fn run(computer: &mut Computer, translate: Translate, words: &[u32], cases: &[[u64; 4]], frm: u64) -> State {
    computer.engine = Interpreter::new(InterpreterOptions {
        translate,
        ..InterpreterOptions::default()
    });
    let prologue = [0x3003_9073, 0x0034_1073];
    let code: Vec<u8> = prologue
        .iter()
        .chain(words)
        .flat_map(|word| word.to_le_bytes())
        .collect();
    computer.ram.write(BASE, &code).unwrap();
    let mut table = vec![0; cases.len() * CASE];
    for (place, case) in table.chunks_mut(CASE).zip(cases) {
        for (place, value) in place.chunks_mut(8).zip(case) {
            place.copy_from_slice(&value.to_le_bytes());
        }
    }
    computer.ram.write(BASE + TABLE, &table).unwrap();
    computer.hart.pc = BASE;
    computer.hart.f = [0; 32];
    computer.hart.x = [0; 32];
    // `mstatus` becomes x7, with FS Dirty, and `fcsr` x8.
    computer.hart.x[7] = 3 << 13 | 3 << 11;
    computer.hart.x[8] = frm << 5;
    computer.hart.x[AT as usize] = BASE + TABLE;
    computer.hart.x[END as usize] = BASE + TABLE + table.len() as u64;
    let steps = 2 + (words.len() * cases.len()) as u64;
    let until = computer.now.0 + steps;
    computer.run_to(until);
    assert_eq!(computer.hart.pc, BASE + code.len() as u64, "the loop has ended");
    computer.now = hart::Step(0);
    computer.state()
}

/// Does an instruction for all cases in both ways.
struct Bench {
    interpreted: Computer,
    translated: Computer,
}

impl Bench {
    fn new() -> Bench {
        let computer = || Computer::new(&[], InterpreterOptions::default());
        Bench {
            interpreted: computer(),
            translated: computer(),
        }
    }

    fn compare(&mut self, instruction: Instruction, shape: Shape, cases: &[[u64; 4]], frm: u64) {
        let words = code(instruction, shape);
        let expected = run(&mut self.interpreted, Translate::Never, &words, cases, frm);
        let found = run(&mut self.translated, Translate::Always, &words, cases, frm);
        let what = format!("{:08x} {shape:?} frm {frm}", instruction.word);
        for (index, case) in cases.iter().enumerate() {
            let at = TABLE as usize + index * CASE + 32;
            let [expected, found] = [&expected, &found].map(|state| {
                [at, at + 8].map(|at| u64::from_le_bytes(state.memory[at..at + 8].try_into().unwrap()))
            });
            assert_eq!(
                expected, found,
                "{what}: {case:x?}: {expected:x?}, but generated code says {found:x?}"
            );
        }
        // Steps differ from run to run.
        let without_steps = |state: &State| -> Vec<(String, u64)> {
            state
                .hart
                .iter()
                .filter(|(name, _)| name != "steps")
                .cloned()
                .collect()
        };
        assert_eq!(without_steps(&expected), without_steps(&found), "{what}");
    }

    /// All batches of these operands, in shapes that change from batch to batch.
    fn all(&mut self, format: u32, instruction: Instruction, cases: impl Iterator<Item = [u64; 4]>) {
        let cases: Vec<[u64; 4]> = cases.collect();
        for (number, batch) in cases.chunks(CASES).enumerate() {
            let number = number as u32 + instruction.word / 0x1000;
            let shape = Shape {
                to: 4 - number % 4,
                loads_singles: format == 0 && number.is_multiple_of(3),
                looks: number.is_multiple_of(2),
                quiet: instruction.compares() && number % 4 > 1,
                gathers: number % 6 < 3,
                crowded: number.is_multiple_of(5),
            };
            self.compare(instruction, shape, batch, 0);
            if instruction.operands == 1 {
                let (gathers, looks) = (true, true);
                self.compare(
                    instruction,
                    Shape {
                        gathers,
                        looks,
                        ..shape
                    },
                    batch,
                    0,
                );
            }
        }
    }
}

/// The bits of registers that hold the operands; of singles, some that are not boxed.
fn registers(format: u32, few: bool) -> Vec<u64> {
    let boxed = |bits: u32| u64::from(bits) | 0xffff_ffff << 32;
    if format == 0 {
        let singles = if few {
            few_corners::<u32>()
        } else {
            corners::<u32>()
        };
        let unboxed = [
            0x3f80_0000,
            0xffff_fffe_3f80_0000,
            0x7fff_ffff_3f80_0000,
            0x3ff0_0000_0000_0000,
        ];
        singles.into_iter().map(boxed).chain(unboxed).collect()
    } else {
        let doubles = if few {
            few_corners::<u64>()
        } else {
            corners::<u64>()
        };
        doubles
            .into_iter()
            .chain([boxed(0x3f80_0000), boxed(0x7fc0_0000), boxed(0x8000_0000)])
            .collect()
    }
}

/// Integers at which a conversion may change.
fn integers(random: &mut Random) -> Vec<u64> {
    let powers = (0..64).flat_map(|bit| {
        let power = 1u64 << bit;
        [power.wrapping_sub(1), power, power.wrapping_add(1)]
            .into_iter()
            .flat_map(|value| [value, value.wrapping_neg()])
    });
    let mut all: Vec<u64> = powers.collect();
    for _ in 0..600 {
        let integer = random.integer();
        all.extend([integer, integer.wrapping_neg()]);
    }
    all
}

/// The register of a convert instruction's operand has the other format.
fn operand_format(format: u32, instruction: Instruction) -> u32 {
    if instruction.word >> 27 == 0x08 {
        1 - format
    } else {
        format
    }
}

fn one_operand(format: u32) {
    let mut bench = Bench::new();
    let mut random = Random(u64::from(format) + 77);
    for instruction in instructions(format).into_iter().filter(|of| of.operands == 1) {
        if instruction.from_integer {
            let integers = integers(&mut random);
            bench.all(
                format,
                instruction,
                integers.into_iter().map(|integer| [0, 0, 0, integer]),
            );
            continue;
        }
        let from = operand_format(format, instruction);
        bench.all(
            from,
            instruction,
            registers(from, false).into_iter().map(|value| [value, 0, 0, 0]),
        );
        let mut random_value = || match from {
            0 => u64::from(random.operand::<u32>()) | 0xffff_ffff << 32,
            _ => random.operand::<u64>(),
        };
        let cases: Vec<_> = (0..RANDOM_BATCHES * CASES as u64)
            .map(|_| [random_value(), 0, 0, 0])
            .collect();
        bench.all(from, instruction, cases.into_iter());
    }
}

fn two_operands(format: u32) {
    let mut bench = Bench::new();
    let (few, many) = (registers(format, true), registers(format, false));
    for instruction in instructions(format).into_iter().filter(|of| of.operands == 2) {
        // Those that round in another way are the interpreter's.
        let native = instruction.word >> 27 > 3 || matches!(instruction.word >> 12 & 7, 0 | 7);
        let pairs = |values: &[u64]| -> Vec<[u64; 4]> {
            let of = |&a: &u64| values.iter().map(move |&b| [a, b, 0, 0]).collect::<Vec<_>>();
            values.iter().flat_map(of).collect()
        };
        bench.all(format, instruction, pairs(&few).into_iter());
        if native {
            bench.all(format, instruction, pairs(&many).into_iter().step_by(PAIRS_STEP));
            bench.all(format, instruction, random_cases(format, 2).into_iter());
        }
    }
}

fn three_operands(format: u32) {
    let mut bench = Bench::new();
    let values = registers(format, true);
    for instruction in instructions(format).into_iter().filter(|of| of.operands == 3) {
        let triples = values.iter().flat_map(|&a| {
            let values = &values;
            values
                .iter()
                .flat_map(move |&b| values.iter().map(move |&c| [a, b, c, 0]))
        });
        let native = matches!(instruction.word >> 12 & 7, 0 | 7);
        bench.all(format, instruction, triples.step_by(if native { 1 } else { 7 }));
        bench.all(format, instruction, random_cases(format, 3).into_iter());
    }
}

/// Random operands, many of which cancel each other or lie at the edge of each other's last bits.
fn random_cases(format: u32, seed: u64) -> Vec<[u64; 4]> {
    let mut random = Random(seed + 10 * u64::from(format));
    let mut cases = Vec::new();
    for number in 0..RANDOM_BATCHES * CASES as u64 {
        let case = match format {
            0 => {
                let (a, b): (u32, u32) = (random.operand(), random.operand());
                let third = match number % 3 {
                    0 => random.operand(),
                    1 => random.nearly_opposite(a),
                    _ => random.at_the_edge_of(a),
                };
                [a, b, third].map(|value| u64::from(value) | 0xffff_ffff << 32)
            }
            _ => {
                let (a, b): (u64, u64) = (random.operand(), random.operand());
                let third = match number % 3 {
                    0 => random.operand(),
                    1 => random.nearly_opposite(a),
                    _ => random.at_the_edge_of(a),
                };
                [a, b, third]
            }
        };
        let [a, b, third] = case;
        cases.push(if number % 2 == 0 {
            [a, third, b, 0]
        } else {
            [a, b, third, 0]
        });
    }
    cases
}

/// A rounding mode of `fcsr` that is not the host's is obeyed, also where the instruction says `dynamic`.
#[test]
fn the_dynamic_rounding_mode_is_obeyed() {
    let mut bench = Bench::new();
    for format in [0, 1] {
        let values = registers(format, true);
        let cases: Vec<_> = values
            .iter()
            .map(|&a| [a, values[9], values[17], a << 3])
            .collect();
        for instruction in instructions(format) {
            for frm in 1..5 {
                let shape = Shape {
                    to: 4,
                    loads_singles: false,
                    looks: frm % 2 == 0,
                    quiet: instruction.compares() && frm > 2,
                    gathers: false,
                    crowded: false,
                };
                bench.compare(instruction, shape, &cases, frm);
            }
        }
    }
}

#[test]
fn instructions_with_one_operand_agree_in_single_precision() {
    one_operand(0);
}

#[test]
fn instructions_with_one_operand_agree_in_double_precision() {
    one_operand(1);
}

#[test]
fn pairs_agree_in_single_precision() {
    two_operands(0);
}

#[test]
fn pairs_agree_in_double_precision() {
    two_operands(1);
}

#[test]
fn triples_agree_in_single_precision() {
    three_operands(0);
}

#[test]
fn triples_agree_in_double_precision() {
    three_operands(1);
}
