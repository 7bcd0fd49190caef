//! From a program that differs to the instruction that does it.
//!
//! The program is cut off behind its first units until the two machines agree: the next unit is the one.
//! Then both print every trap and all registers at its end.

use std::{error::Error, fmt::Write as _};

use isa_programs::{Program, layout::HASHED};

use crate::{
    Options,
    both::{self, Verbose},
};

/// A program that differs, by what it takes to make it again.
#[derive(Clone, Copy)]
pub struct Culprit {
    /// The program's seed.
    pub seed: u64,
    /// Whether the program may lock PMP entries.
    pub locks: bool,
}

impl Culprit {
    fn program(self, units: usize) -> Program {
        let mut program = Program::new(self.seed, self.locks);
        program.truncate(units);
        program
    }
}

/// Says which instruction of the program makes the difference, and what it is.
pub fn explain(options: &Options, culprit: Culprit) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    let whole = Program::new(culprit.seed, culprit.locks);
    let locks = if culprit.locks { " --locks" } else { "" };
    writeln!(text, "program --only {:#x}{locks}: {}", culprit.seed, whole.about)?;
    let run = |units| Verbose::new(options, &[culprit.program(units)]);
    let (mut equal, mut differs) = (0, whole.units());
    if run(differs)?.equal() {
        context(options, culprit, &mut text)?;
        return Ok(text);
    }
    while differs - equal > 1 {
        let middle = equal.midpoint(differs);
        if run(middle)?.equal() {
            equal = middle;
        } else {
            differs = middle;
        }
    }
    let (address, bytes) = whole.unit(equal);
    writeln!(text, "  unit {equal} of {} at {address:#x}:", whole.units())?;
    disassemble(&mut text, address, bytes)?;
    let before = run(equal)?;
    let after = run(differs)?;
    if options.only.is_some() {
        writeln!(text, "  before it, both have:")?;
        registers(&mut text, &before.ours, &before.ours, false)?;
        for &(at, entry) in whole.page_table() {
            writeln!(
                text,
                "    page table {at:#x} index {:3x}: {entry:#x}",
                at % 4096 / 8
            )?;
        }
    }
    traps(&mut text, &after)?;
    writeln!(text, "  after it, ours - theirs:")?;
    registers(&mut text, &after.ours, &after.theirs, true)?;
    Ok(text)
}

/// For a program that differs only behind others: says how many others it takes. Either the runtime has left
/// something of theirs, or QEMU is not the same at each run.
fn context(options: &Options, culprit: Culprit, text: &mut String) -> Result<(), Box<dyn Error>> {
    writeln!(text, "  alone it does not differ")?;
    for before in [0, 1, 2, 4, 8, 16, 32, 64, 128, 249] {
        let program = |seed| Program::new(seed, culprit.locks && seed == culprit.seed);
        let programs = (culprit.seed.saturating_sub(before)..=culprit.seed).map(program);
        let both = both::run(options, programs.collect())?;
        let hash = |lines: &[String]| lines.last().and_then(|line| line.get(..16)).map(str::to_owned);
        if hash(&both.ours) != hash(&both.theirs) {
            writeln!(text, "  behind the {before} programs before it, it does")?;
            return traps(text, &Verbose::new(options, &both.programs)?);
        }
    }
    writeln!(text, "  nor behind those before it")?;
    Ok(())
}

/// Writes down the instructions of one unit.
fn disassemble(text: &mut String, mut address: u64, bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    let mut rest = bytes;
    while let Some(shorter) = rest.strip_suffix(&[1, 0]) {
        rest = shorter; // Padding before a landing.
    }
    while rest.len() >= 2 {
        let mut word = [0; 4];
        let length = if rest[0] & 3 == 3 { rest.len().min(4) } else { 2 };
        word[..length].copy_from_slice(&rest[..length]);
        let bits = u32::from_le_bytes(word);
        writeln!(
            text,
            "    {address:#x}: {bits:0w$x}  {:?}",
            hart::parts::decode::decode(bits),
            w = length * 2
        )?;
        rest = &rest[length..];
        address = address.wrapping_add(length as u64);
    }
    Ok(())
}

/// Writes down the first trap that is not the same on both machines.
fn traps(text: &mut String, pair: &Verbose) -> Result<(), Box<dyn Error>> {
    let is_trap = |line: &&String| line.starts_with('t');
    let ours: Vec<&String> = pair.ours.iter().filter(is_trap).collect();
    let theirs: Vec<&String> = pair.theirs.iter().filter(is_trap).collect();
    let same = ours.iter().zip(&theirs).take_while(|(a, b)| a == b).count();
    writeln!(
        text,
        "  traps: {} and {}, the first {same} are the same",
        ours.len(),
        theirs.len()
    )?;
    writeln!(
        text,
        "    (t cause e pc v value s status, C E V of S-mode, # hash)"
    )?;
    for (name, side) in [("ours", &ours), ("theirs", &theirs)] {
        for line in side.iter().skip(same.saturating_sub(1)).take(3) {
            writeln!(text, "    {name:6} {line}")?;
        }
    }
    Ok(())
}

/// Writes down the registers at the end; if `only_different`, those that differ.
fn registers(
    text: &mut String,
    ours: &[String],
    theirs: &[String],
    only_different: bool,
) -> Result<(), Box<dyn Error>> {
    for (letter, what) in [('x', "x"), ('f', "f"), ('c', "csr")] {
        let values = |lines: &[String]| -> Vec<String> {
            let line = lines
                .iter()
                .rev()
                .find(|line| line.len() > 34 && line.starts_with(letter));
            // 'c' and 'f' are hexadecimal digits too: cut by length.
            let bytes = line.map_or(&[][..], |line| line.as_bytes());
            bytes
                .chunks(17)
                .map(|chunk| String::from_utf8_lossy(&chunk[1..]).into_owned())
                .collect()
        };
        let (ours, theirs) = (values(ours), values(theirs));
        for (index, (a, b)) in ours.iter().zip(&theirs).enumerate() {
            let name = match HASHED.get(index) {
                Some(number) if letter == 'c' => format!("{what}{number:x}"),
                _ => format!("{what}{index}"),
            };
            if a != b {
                writeln!(text, "    {name:8} {a} - {b}")?;
            } else if !only_different {
                write!(text, "    {name:8} {a}{}", if index % 4 == 3 { "\n" } else { "" })?;
            }
        }
        if !only_different {
            writeln!(text)?;
        }
    }
    Ok(())
}
