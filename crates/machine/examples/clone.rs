//! What a clone costs the guest that is cloned, at several sizes of memory.
//!
//! `clone [--memory GIB,GIB..] [--hot MIB] [--cuts N]`: the guest touches all of its memory, then writes to
//! so many MiB of it for ever. Printed are the first round, the copying of a page, N cuts, what the guest
//! does while pages are kept, and what digests take. What is done at once is told in time of the clock, as
//! the guest stands meanwhile; pages and steps are told in processor time, which other load on the host
//! disturbs less. Nothing is sent.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "a measurement has a clock"
)]

#[path = "../tests/rig/asm.rs"]
mod asm;

use std::{
    error::Error,
    sync::{Arc, atomic::AtomicBool},
    time::Instant,
};

use asm::{A1, Asm, S0, T0, T1, ZERO};
use hart::{Interpreter, InterpreterOptions, Translate};
use machine::{Batch, Boot, Config, Copied, Machine, PAGE, Step, Stop};

/// Pages that are copied at a time, while the guest waits.
const COPIED: u32 = 180;
/// Pages of the pool: 256 MiB.
const ROOM: u32 = 65_536;
/// Steps of the guest between two pieces of work: about a millisecond.
const SLICE: u64 = 300_000;

/// The guest: it stores to each page once, and then for ever to every 512th byte of the hot ones.
fn guest(pages: u32, hot: u32) -> Vec<u8> {
    let mut asm = Asm::default();
    let start = |asm: &mut Asm, count: u32| {
        asm.addi(S0, ZERO, 0x201); // 0x80400000, behind this program
        asm.slli(S0, S0, 22);
        asm.li(T1, count);
    };
    asm.li(A1, 0x1000);
    start(&mut asm, pages - 1024);
    asm.label("touch");
    asm.sd(S0, S0, 0);
    asm.add(S0, S0, A1);
    asm.addi(T1, T1, -1);
    asm.bnez(T1, "touch");
    asm.label("hot");
    start(&mut asm, hot * 8);
    asm.label("store");
    asm.addi(T0, T0, 1);
    asm.sd(T0, S0, 0);
    asm.addi(S0, S0, 512);
    asm.addi(T1, T1, -1);
    asm.bnez(T1, "store");
    asm.j("hot");
    asm.finish()
}

fn machine(gib: u64, hot: u32) -> Result<Machine, Box<dyn Error>> {
    let pages = gib << 18;
    let config = Config {
        memory: gib << 30,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0; 32],
        wall_clock_ns: 0,
        boot: Boot {
            firmware: Arc::from(guest(u32::try_from(pages)?, hot)),
            ..Boot::default()
        },
    };
    let engine = Interpreter::new(InterpreterOptions {
        translate: Translate::Hot,
        ..InterpreterOptions::default()
    });
    let mut machine = Machine::new(config, Box::new(engine))?;
    run(&mut machine, 4 * pages + SLICE);
    Ok(machine)
}

/// Runs the guest for so many steps, or until the pool is full.
fn run(machine: &mut Machine, steps: u64) -> Stop {
    let until = Step(machine.now().0 + steps);
    machine.run(until, &AtomicBool::new(false))
}

/// The result, and how many microseconds it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begin = Instant::now();
    let result = work();
    (result, begin.elapsed().as_secs_f64() * 1e6)
}

/// How many microseconds this thread has run. Only exact to some milliseconds.
fn processor_time() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|word| word.parse::<f64>().ok());
    nanoseconds.unwrap_or(0.0) / 1e3
}

/// Copies all that is owed, without a run in between. How many pages there were, and how many microseconds
/// of processor time each took.
fn copy_all(machine: &mut Machine, batch: &mut Batch) -> (usize, f64) {
    let mut pages = 0;
    let begin = processor_time();
    loop {
        batch.clear();
        let copied = machine.copy_owed(batch, COPIED);
        pages += batch.len();
        if copied != Copied::More {
            break;
        }
    }
    (pages, (processor_time() - begin) / pages as f64)
}

fn print(what: &str, mut times: Vec<f64>, of: &str) {
    times.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (times.first(), times.last()) else {
        return;
    };
    let middle = times[times.len() / 2];
    println!("  {what:34} {least:10.1} {middle:10.1} {most:10.1} us{of}");
}

/// Million steps a second of processor time.
fn speed(machine: &mut Machine, slices: u64) -> f64 {
    let (before, begin) = (machine.now(), processor_time());
    (0..slices).for_each(|_| assert_eq!(run(machine, SLICE), Stop::Reached, "the pool is large enough"));
    machine.now().since(before) as f64 / (processor_time() - begin)
}

fn measure(gib: u64, hot_mib: u32, cuts: usize) -> Result<(), Box<dyn Error>> {
    println!("{gib} GiB, {hot_mib} MiB hot                   least     middle       most");
    let mut machine = machine(gib, hot_mib << 8)?;
    let mut batch = Batch::new(PAGE);
    speed(&mut machine, 200);
    let alone = speed(&mut machine, 1000);
    let (owed, time) = timed(|| machine.begin_round());
    print("first round", vec![time], &format!(", {owed} pages"));
    let (pages, time) = copy_all(&mut machine, &mut batch);
    print(
        "a page, copied and hashed",
        vec![time],
        &format!(", {pages} pages"),
    );
    machine.thaw();
    machine.begin_round();
    let (_, time) = copy_all(&mut machine, &mut batch);
    print("a page, copied, its hash known", vec![time], "");
    let (mut rounds, mut freezes, mut thaws, mut owed) = (Vec::new(), Vec::new(), Vec::new(), 0);
    let (mut kept, mut taken, mut slow, mut noticed) = (0, Vec::new(), Vec::new(), Vec::new());
    for _ in 0..cuts {
        speed(&mut machine, 20);
        rounds.push(timed(|| machine.begin_round()).1);
        noticed.push(speed(&mut machine, 20));
        copy_all(&mut machine, &mut batch);
        speed(&mut machine, 20);
        let (state, time) = timed(|| machine.freeze(ROOM));
        state?;
        owed = machine.owed();
        freezes.push(time);
        slow.push(speed(&mut machine, 20));
        kept = ROOM - machine.frozen_room();
        taken.push(copy_all(&mut machine, &mut batch).1);
        machine.freeze(ROOM)?;
        run(&mut machine, 20 * SLICE);
        thaws.push(timed(|| machine.thaw()).1);
    }
    print("a later round", rounds, "");
    print(
        "cut",
        freezes,
        &format!(", {owed} pages owed, {kept} kept after 20 slices"),
    );
    print("a page of the cut, copied", taken, "");
    print("end of a clone", thaws, "");
    let mean = |speeds: Vec<f64>| speeds.iter().sum::<f64>() / speeds.len() as f64;
    let (slow, noticed) = (mean(slow), mean(noticed));
    let again = speed(&mut machine, 1000);
    println!("  million steps a second: {alone:.0} alone, {again:.0} again");
    println!("  in the 20 slices after a round {noticed:.0}, after a cut {slow:.0}");
    measure_digests(&mut machine);
    Ok(())
}

/// A digest at once, and one that ends later than it begins, each after the guest has written its hot pages.
fn measure_digests(machine: &mut Machine) {
    let (_, time) = timed(|| machine.digest());
    let pages = machine.pages_hashed();
    print("a digest at once", vec![time], &format!(", {pages} pages"));
    speed(machine, 200);
    let (_, time) = timed(|| machine.begin_digest());
    print("the begin of a digest", vec![time], "");
    let (mut portions, mut slices, mut left) = (Vec::new(), Vec::new(), u32::MAX);
    while left > 0 {
        slices.push(timed(|| run(machine, SLICE)).1);
        let (now, time) = timed(|| machine.hash_some(COPIED));
        (left, _) = (now, portions.push(time));
    }
    let count = portions.len();
    print("a portion of it", portions, &format!(", {count} portions"));
    print("a slice of the guest before each", slices, "");
    let (_, time) = timed(|| machine.end_digest());
    let pages = machine.pages_hashed();
    print("its end", vec![time], &format!(", {pages} pages"));
    let slices = (0..100).map(|_| timed(|| run(machine, SLICE)).1);
    print("a slice of the guest without it", slices.collect(), "");
}

fn main() -> Result<(), Box<dyn Error>> {
    let (mut sizes, mut hot, mut cuts) = (vec![1, 4, 16], 64, 20);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
        match word.as_str() {
            "--memory" => sizes = value.split(',').map(str::parse).collect::<Result<_, _>>()?,
            "--hot" => hot = value.parse()?,
            "--cuts" => cuts = value.parse()?,
            _ => return Err(format!("{word}: unknown; see the head of examples/clone.rs").into()),
        }
    }
    for gib in sizes {
        measure(gib, hot, cuts)?;
    }
    Ok(())
}
