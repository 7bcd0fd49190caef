//! The guest that computes cases: a hart without devices, whose loop does one instruction for all cases of a
//! table in RAM.
//!
//! `main` gives cases to each of the [`ways`] of a function: interpreted and translated, with the rounding
//! mode in the instruction and in `frm`, in loops of several shapes.

use hart::{InterpreterOptions, Step, Translate, can_translate, ram::BASE};

use crate::{
    functions::{Case, Function},
    support::{Computer, asm::assemble},
};

/// Where the table of cases is, from the start of RAM.
const TABLE: u64 = 0x10000;
/// How many cases a table has at most, and how many bytes a case has.
pub const CASES_MAX: usize = 4096;
const CASE: usize = size_of::<Case>();
/// What is in the table where the guest shall store, so that a store that is missing is seen.
const NOTHING: u64 = 0x0bad_0bad_0bad_0bad;
/// The names of the rounding modes, in the order of their numbers.
const ROUNDINGS: [&str; 5] = ["rne", "rtz", "rdn", "rup", "rmm"];

/// How many turns the inner loop of [`Shape::Nested`] has.
const GROUP: usize = 4;

/// How the guest's loop looks.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    /// A turn does a case, and stores and clears the flags.
    Plain,
    /// As plain, but singles are loaded as singles, and the result is where an operand was.
    Tight,
    /// An inner loop, which the translator unrolls, does [`GROUP`] cases. The flags are stored and cleared
    /// behind it, in the last of these cases.
    Nested,
}

/// One of the ways in which the hart computes a function.
pub struct Way {
    /// The engine, the rounding mode in `frm`, and the guest's code, for people.
    pub name: String,
    computer: Computer,
    shape: Shape,
    frm: usize,
    /// How many instructions stand before the loop.
    before: usize,
    /// How many steps the loop takes for a group of cases.
    steps: usize,
    /// Where the guest is when it has done all cases.
    end: u64,
}

/// All ways of a function in a rounding mode.
pub fn ways(function: &Function, rounding: usize) -> Vec<Way> {
    // To the interpreter all shapes are alike.
    let mut engines = vec![(Translate::Never, Shape::Plain)];
    if can_translate().is_ok() {
        engines.extend([Shape::Plain, Shape::Tight, Shape::Nested].map(|shape| (Translate::Always, shape)));
    }
    // An instruction with its own mode must not ask `frm`. The translator has machine code for it only while
    // `frm` says to nearest even, so there are a way with that mode and one with yet another.
    let own = ROUNDINGS[rounding];
    let modes = [("dyn", rounding), (own, 0), (own, rounding % 4 + 1)];
    let mut ways = Vec::new();
    for (translate, shape) in engines {
        for mnemonic in &function.mnemonics {
            for (mode, frm) in modes {
                let text = code(function, mnemonic, mode, shape);
                let code = assemble(&text.replace("; ", "\n"), BASE);
                let options = InterpreterOptions {
                    translate,
                    ..InterpreterOptions::default()
                };
                let labels = ["loop", "turn", "turned", "end"].map(|label| code.value(label));
                let [start, turn, turned, end] = labels.map(|address| (address - BASE) as usize / 4);
                ways.push(Way {
                    name: format!("translate {translate:?}, frm {frm}, {text}"),
                    computer: Computer::new(&code.bytes, options),
                    shape,
                    frm,
                    before: start,
                    steps: end - start + (GROUP - 1) * (turned - turn),
                    end: code.value("end"),
                });
            }
        }
    }
    ways
}

/// The guest: does an instruction for all cases from a0 to a1.
fn code(function: &Function, mnemonic: &str, rounding: &str, shape: Shape) -> String {
    let (mut turn, mut operands) = (String::new(), Vec::new());
    for (index, kind) in function.operands.iter().enumerate() {
        let (load, register) = match (kind.is_float, kind.bits) {
            (true, 32) if shape == Shape::Tight => ("flw", format!("f{index}")),
            (true, _) => ("fld", format!("f{index}")),
            (false, _) => ("ld", String::from("a2")),
        };
        turn += &format!("{load} {register}, {}(a0); ", 8 * index);
        operands.push(register);
    }
    // `mulAdd` is what these compute of operands that are negated.
    let (name, letter) = mnemonic.split_at(mnemonic.len() - 1);
    let negated = match name {
        "fmsub." => &[2][..],
        "fnmsub." => &[0],
        "fnmadd." => &[0, 2],
        _ => &[],
    };
    for f in negated {
        turn += &format!("fsgnjn.{letter} f{f}, f{f}, f{f}; ");
    }
    let (store, to) = match (function.result.is_float, shape) {
        (true, Shape::Tight) => ("fsd", "f0"),
        (true, _) => ("fsd", "f5"),
        (false, Shape::Tight) => ("sd", "a2"),
        (false, _) => ("sd", "a3"),
    };
    operands.extend(function.rounds.then(|| String::from(rounding)));
    let operands = operands.join(", ");
    turn += &format!("{mnemonic} {to}, {operands}; {store} {to}, 24(a0); addi a0, a0, {CASE}; ");
    let look = "csrrwi a3, fflags, 0; sd a3, -8(a0); bne a0, a1, loop; ";
    let text = match shape {
        Shape::Nested => {
            let group = GROUP * CASE;
            format!("loop: addi a4, a0, {group}; turn: {turn}bne a0, a4, turn; turned: {look}end:")
        }
        _ => format!("loop: turn: {turn}{look}turned: end:"),
    };
    format!("csrw mstatus, t2; csrw fcsr, s0; {text}")
}

impl Way {
    /// Lets the guest compute cases; returns the register of the result and `fflags` of each, and errs if the
    /// guest does not come to the end of its loop.
    pub fn compute(&mut self, cases: &[Case]) -> Result<Vec<[u64; 2]>, String> {
        // The last group is filled up with the last case.
        let groups = cases.len().div_ceil(GROUP);
        let filling = cases.last().into_iter().cycle();
        let mut table = Vec::new();
        for &[a, b, c, ..] in cases.iter().chain(filling).take(groups * GROUP) {
            table.extend_from_slice([a, b, c, NOTHING, NOTHING].map(u64::to_le_bytes).as_flattened());
        }
        let computer = &mut self.computer;
        let wrong = |_| String::from("the table does not fit into RAM");
        computer.ram.write(BASE + TABLE, &table).map_err(wrong)?;
        computer.hart.pc = BASE;
        computer.hart.f = [0; 32];
        computer.hart.x = [0; 32];
        // `mstatus` becomes t2, with FS dirty, and `fcsr` s0.
        computer.hart.x[7] = 3 << 13 | 3 << 11;
        computer.hart.x[8] = (self.frm as u64) << 5;
        computer.hart.x[10] = BASE + TABLE;
        computer.hart.x[11] = BASE + TABLE + table.len() as u64;
        computer.now = Step(0);
        computer.run_to((self.before + self.steps * groups) as u64);
        if computer.hart.pc != self.end {
            let (name, pc, end) = (&self.name, computer.hart.pc, self.end);
            return Err(format!("{name}: the guest is at {pc:#x}, not at {end:#x}"));
        }
        computer.ram.read(BASE + TABLE, &mut table).map_err(wrong)?;
        let words = table.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word));
        let words: Vec<u64> = words.collect();
        let computed = |&[_, _, _, result, flags]: &Case| [result, flags];
        let mut found: Vec<_> = words.as_chunks().0.iter().map(computed).collect();
        if self.shape == Shape::Nested {
            share_flags(&mut found, cases);
        }
        found.truncate(cases.len());
        Ok(found)
    }
}

/// The flags of a group are known together only: a case gets those of them that are demanded of it, and those
/// that are demanded of no case of the group.
fn share_flags(found: &mut [[u64; 2]], cases: &[Case]) {
    for (found, cases) in found.chunks_mut(GROUP).zip(cases.chunks(GROUP)) {
        let demanded = cases.iter().fold(0, |all, case| all | case[4]);
        let together = found[GROUP - 1][1];
        for (found, case) in found.iter_mut().zip(cases) {
            found[1] = together & (case[4] | !demanded);
        }
    }
}
