//! Compares floating point with the vectors of Berkeley TestFloat:
//! `cargo run --release -p hart --example testfloat -- PATH/TO/testfloat_gen [--level 1|2] [--function F]...`
//!
//! TestFloat's `testfloat_gen` prints vectors: operands, and the result and the flags that IEEE 754 demands.
//! `functions` says what RISC-V demands, and which instructions compute it; `guest` has the hart compute it
//! in several ways. This file stands between: it reads vectors, has them computed, and compares.
//!
//! Exits with 1 if anything differs, and with 2 if vectors could not be compared.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a comparison with another program starts that program, and prints"
)]

mod functions;
mod guest;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
};

use functions::{Case, Function, functions};
use guest::{CASES_MAX, Way, ways};
use hart::can_translate;

/// How many vectors that differ are shown of a function.
const SHOWN_MAX: usize = 5;
/// TestFloat's options for the rounding modes, in the order of RISC-V's numbers for them.
const ROUNDINGS: [&str; 5] = ["-rnear_even", "-rminMag", "-rmin", "-rmax", "-rnear_maxMag"];
/// How the program is called.
const USAGE: &str = "testfloat PATH/TO/testfloat_gen [--level 1|2] [--function f32_add]...";
/// What to do when TestFloat's program is not there, or is another one.
const HELP: &str = "build Berkeley TestFloat, release 3e, and give the path of its program testfloat_gen";

/// What the command line asks for.
struct Options {
    /// The path of TestFloat's program.
    generator: String,
    /// TestFloat's level: how many vectors there are of a function.
    level: String,
    /// The names of the functions to compare; none: all.
    names: Vec<String>,
}

fn options() -> Result<Options, String> {
    let (mut generator, mut level, mut names) = (None, String::from("1"), Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match (word.as_str(), word.strip_prefix("--")) {
            ("--level", _) => level = words.next().unwrap_or_default(),
            ("--function", _) => names.push(words.next().unwrap_or_default()),
            (_, None) if generator.is_none() => generator = Some(word),
            _ => return Err(format!("{word} is unknown: {USAGE}")),
        }
    }
    if !["1", "2"].contains(&level.as_str()) {
        return Err(format!("TestFloat has no level {level:?}, only 1 and 2"));
    }
    let missing = "the path of Berkeley TestFloat's program testfloat_gen (release 3e) is missing";
    let generator = generator.ok_or_else(|| format!("{missing}: {USAGE}"))?;
    Ok(Options {
        generator,
        level,
        names,
    })
}

fn main() -> ExitCode {
    match options().and_then(|options| work(&options)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("testfloat: {error}");
            ExitCode::from(2)
        }
    }
}

/// Compares all functions that are asked for; returns whether nothing differs.
fn work(options: &Options) -> Result<bool, String> {
    let all = functions();
    for name in &options.names {
        if all.iter().all(|function| function.name != *name) {
            let known: Vec<_> = all.iter().map(|function| function.name.as_str()).collect();
            return Err(format!("{name} is none of the functions: {}", known.join(", ")));
        }
    }
    if let Err(why) = can_translate() {
        eprintln!("testfloat: only the interpreter is compared: {why}");
    }
    let wanted = |of: &&Function| options.names.is_empty() || options.names.contains(&of.name);
    let mut total = Tally::default();
    for function in all.iter().filter(wanted) {
        let mut tally = Tally::default();
        let roundings = if function.rounds { ROUNDINGS.len() } else { 1 };
        for rounding in 0..roundings {
            compare(options, function, rounding, &mut tally)?;
        }
        tally.print(&function.name);
        total.equal += tally.equal;
        total.vectors += tally.vectors;
    }
    total.print("all");
    Ok(total.equal == total.vectors)
}

/// What came of a function.
#[derive(Default)]
struct Tally {
    /// How many vectors there were.
    vectors: usize,
    /// How many of the vectors were computed as RISC-V demands, in all ways.
    equal: usize,
}

impl Tally {
    fn print(&self, name: &str) {
        let (equal, vectors) = (self.equal, self.vectors);
        println!(
            "{name:12} {equal:9} of {vectors:9} vectors equal, {} differ",
            vectors - equal
        );
    }
}

/// Compares a function in a rounding mode.
fn compare(options: &Options, function: &Function, rounding: usize, tally: &mut Tally) -> Result<(), String> {
    let generator = &options.generator;
    let mut child = Command::new(generator)
        .args(["-level", &options.level, "-tininessafter", "-exact"])
        .args([ROUNDINGS[rounding], &function.name])
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{generator} cannot be started ({error}); {HELP}"))?;
    let mut ways = ways(function, rounding);
    let mut lines = BufReader::new(child.stdout.take().ok_or(HELP)?).lines();
    let before = tally.vectors;
    loop {
        let mut batch = Vec::new();
        for line in lines.by_ref().take(CASES_MAX) {
            let line = line.map_err(|error| error.to_string())?;
            let wrong = || format!("{generator} prints {line:?} for {}; {HELP}", function.name);
            batch.push(function.case(&line).ok_or_else(wrong)?);
        }
        if batch.is_empty() {
            break;
        }
        check(function, &mut ways, &batch, tally)?;
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if !status.success() || tally.vectors == before {
        let name = &function.name;
        return Err(format!(
            "{generator} prints no vectors of {name} ({status}); {HELP}"
        ));
    }
    Ok(())
}

/// Has all ways of a function compute a batch, and prints the first vectors that are not computed as RISC-V
/// demands.
fn check(function: &Function, ways: &mut [Way], batch: &[Case], tally: &mut Tally) -> Result<(), String> {
    let found = ways.iter_mut().map(|way| way.compute(batch));
    let found = found.collect::<Result<Vec<_>, _>>()?;
    for (index, case) in batch.iter().enumerate() {
        let (operands, demanded) = case.split_at(3);
        let all = ways.iter().zip(&found);
        let mut wrong = all.filter(|(_, found)| found[index] != demanded);
        tally.vectors += 1;
        let Some((way, found)) = wrong.next() else {
            tally.equal += 1;
            continue;
        };
        if tally.vectors - tally.equal <= SHOWN_MAX {
            let (count, all) = (1 + wrong.count(), ways.len());
            println!("{} of {:x?}", function.name, &operands[..function.operands.len()]);
            println!("    RISC-V demands result and flags {demanded:x?}, {count} of {all} ways differ:");
            println!("    {:x?} from {}", found[index], way.name);
        }
    }
    Ok(())
}
