//! Compares our hart with QEMU's: random programs of everything that it implements, run by both.
//!
//! `isa_diff [--instructions N] [--seed S] [--qemu PROGRAM] [--zeal S] [--clone S]`: N instructions, then a
//! summary. With `--clone` our machine is cloned all the time, as S draws it (rounds, cuts, thaws), and often
//! replaced by its clone, which changes nothing.
//! `isa_diff --only SEED [--locks]`: explains one program.
//! `isa_diff --linux KERNEL INITRD FIRMWARE`: boots Linux, and compares what its programs print (guest.sh).
//! `isa_diff --golden N`: prints QEMU's hashes of the N programs of tests/isa.rs.
//!
//! Exits with 1 after a difference, which is narrowed down to an instruction.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a comparison with another program needs files, threads and time"
)]

#[path = "../../tests/rig/bare.rs"]
mod bare;
mod both;
#[path = "../../tests/rig/cloner.rs"]
mod cloner;
mod guest;
mod qemu;
mod report;

use std::{error::Error, path::PathBuf, process::ExitCode, time::Instant};

use isa_programs::Program;
use report::Culprit;

/// How many programs one image has: few, so that a program that hangs costs little.
const BATCH: u64 = 250;
/// The number of differences after which it is pointless to go on.
const DIFFERENCES_MAX: usize = 5;

/// What the command line asks for.
pub struct Options {
    /// How many instructions to compare.
    instructions: u64,
    /// From which the seeds of the programs are made.
    seed: u64,
    /// QEMU's program.
    qemu: String,
    /// The seed with which our hart drops caches at random and is stopped at random.
    zeal: Option<u64>,
    /// The seed with which our machine is cloned at random.
    clones: Option<u64>,
    /// The seed of the one program to explain.
    only: Option<u64>,
    /// Whether that program may lock PMP entries.
    locks: bool,
    /// How many hashes to print for the golden file; 0: none.
    golden: u64,
    /// The guest to boot on both machines.
    guest: Option<guest::Images>,
    /// Where files for QEMU go.
    directory: PathBuf,
}

fn options() -> Result<Options, Box<dyn Error>> {
    let mut options = Options {
        instructions: 10_000_000,
        seed: 1,
        qemu: String::from("qemu-system-riscv64"),
        zeal: None,
        clones: None,
        only: None,
        locks: false,
        golden: 0,
        guest: None,
        directory: std::env::temp_dir(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} wants a value"));
        match word.as_str() {
            "--instructions" => options.instructions = number(&value()?)?,
            "--seed" => options.seed = number(&value()?)?,
            "--qemu" => options.qemu = value()?,
            "--zeal" => options.zeal = Some(number(&value()?)?),
            "--clone" => options.clones = Some(number(&value()?)?),
            "--only" => options.only = Some(number(&value()?)?),
            "--locks" => options.locks = true,
            "--linux" => {
                options.guest = Some(guest::Images {
                    kernel: value()?.into(),
                    initrd: value()?.into(),
                    firmware: value()?.into(),
                });
            }
            "--golden" => options.golden = number(&value()?)?,
            _ => return Err(format!("{word}: unknown; see the head of examples/isa_diff/main.rs").into()),
        }
    }
    Ok(options)
}

fn number(text: &str) -> Result<u64, Box<dyn Error>> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.replace('_', "").parse(),
    };
    parsed.map_err(|_| format!("{text} is no number").into())
}

fn main() -> ExitCode {
    match options().and_then(|options| work(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("isa_diff: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns the number of programs that differ.
fn work(options: &Options) -> Result<usize, Box<dyn Error>> {
    if let Some(seed) = options.only {
        let text = report::explain(
            options,
            Culprit {
                seed,
                locks: options.locks,
            },
        )?;
        print!("{text}");
        return Ok(0);
    }
    if let Some(images) = &options.guest {
        return guest::compare(options, images);
    }
    if options.golden > 0 {
        return print_golden(options);
    }
    compare(options)
}

/// Prints QEMU's hashes of the first programs, each behind its seed, as tests/isa/golden.txt has them.
fn print_golden(options: &Options) -> Result<usize, Box<dyn Error>> {
    let programs = (0..options.golden)
        .map(|seed| Program::new(seed, false))
        .collect();
    let both = both::run(options, programs)?;
    for (program, line) in both.programs.iter().zip(&both.theirs) {
        println!("{} {}", program.seed, line.get(..16).unwrap_or(line));
    }
    Ok(0)
}

/// Compares programs until there were enough instructions; returns the number of programs that differ.
fn compare(options: &Options) -> Result<usize, Box<dyn Error>> {
    let start = Instant::now();
    let (mut instructions, mut programs, mut hung) = (0u64, 0usize, 0usize);
    let mut culprits = Vec::new();
    let mut batch = 0;
    while instructions < options.instructions && culprits.len() < DIFFERENCES_MAX {
        let first = (options.seed << 32) | (batch * BATCH);
        batch += 1;
        let outcome = compare_batch(options, first)?;
        instructions += outcome.instructions;
        programs += outcome.programs;
        hung += outcome.hung;
        for &culprit in outcome.culprits.iter().take(DIFFERENCES_MAX - culprits.len()) {
            print!("{}", report::explain(options, culprit)?);
        }
        culprits.extend(outcome.culprits);
        let seconds = start.elapsed().as_secs();
        eprint!(
            "\r{instructions} instructions, {programs} programs, {} differ, {seconds} s ",
            culprits.len()
        );
    }
    eprintln!();
    println!(
        "{instructions} instructions in {programs} programs, seed {}: {} differ \
         ({hung} without end left out)",
        options.seed,
        culprits.len()
    );
    Ok(culprits.len())
}

/// What came of one image.
struct Outcome {
    /// How many instructions the programs executed, where that can be counted.
    instructions: u64,
    /// How many programs were compared.
    programs: usize,
    /// How many programs do not end, and were left out.
    hung: usize,
    /// The programs that differ.
    culprits: Vec<Culprit>,
}

/// Compares one image of programs with consecutive seeds, of which the last may lock PMP entries.
fn compare_batch(options: &Options, first: u64) -> Result<Outcome, Box<dyn Error>> {
    let program = |seed| Program::new(seed, seed == first + BATCH - 1);
    let both = both::run(options, (first..first + BATCH).map(program).collect())?;
    let mut outcome = Outcome {
        instructions: 0,
        programs: both.programs.len(),
        hung: both.hung,
        culprits: Vec::new(),
    };
    for (index, program) in both.programs.iter().enumerate() {
        let (a, b) = (both.ours.get(index), both.theirs.get(index));
        let (a_hash, count) = a.and_then(|line| line.split_once(' ')).unwrap_or_default();
        if program.counts() {
            outcome.instructions += u64::from_str_radix(count, 16).unwrap_or(0);
        }
        if b.and_then(|line| line.split_once(' '))
            .is_none_or(|(hash, _)| hash != a_hash)
        {
            let locks = program.seed == first + BATCH - 1;
            outcome.culprits.push(Culprit {
                seed: program.seed,
                locks,
            });
            if b.is_none() {
                break; // QEMU's guest hangs in this program, and those behind it have not run.
            }
        }
    }
    Ok(outcome)
}
