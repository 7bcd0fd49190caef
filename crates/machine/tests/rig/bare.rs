//! Runs a flat image on a machine without disks and networks until it switches itself off.

use std::sync::{Arc, atomic::AtomicBool};

use hart::{Engine, Interpreter, InterpreterOptions, Translate};
use machine::{Boot, Config, Effect, Machine, Step, Stop};

use super::cloner::Cloner;

/// Steps without a line on the console after which the guest counts as hung.
const PATIENCE: u64 = 4_000_000;

/// How to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Drop caches at random.
    pub zeal: Option<u64>,
    /// Stop after random numbers of steps, drawn from this seed.
    pub slices: Option<u64>,
    /// Clone the machine all the time, as is drawn from this seed.
    pub clones: Option<u64>,
    /// What to translate.
    pub translate: Translate,
}

/// What came of it.
pub struct Run {
    /// Lines on the console.
    pub lines: Vec<String>,
    /// It stopped printing, or waits for ever.
    pub hung: bool,
}

/// A machine that starts with the image at the start of RAM.
pub fn machine(image: &[u8], memory: u64, how: How) -> Machine {
    let config = Config {
        memory,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: machine::Transport::default(),
        rng_seed: [0; 32],
        wall_clock_ns: 0,
        boot: Boot {
            firmware: Arc::from(image),
            ..Boot::default()
        },
    };
    match Machine::new(config, engine(how)) {
        Ok(machine) => machine,
        Err(error) => panic!("no machine for this image: {error}"),
    }
}

fn engine(how: How) -> Box<dyn Engine> {
    Box::new(Interpreter::new(InterpreterOptions {
        zeal: how.zeal,
        translate: how.translate,
        ..InterpreterOptions::default()
    }))
}

/// Runs the image to its end.
pub fn run(image: &[u8], memory: u64, how: How) -> Run {
    let mut machine = machine(image, memory, how);
    let mut random = how.slices.unwrap_or(0);
    let mut cloner = how.clones.map(|seed| Cloner::new(seed, false));
    let mut console = Vec::new();
    let mut limit = Step(PATIENCE);
    let hung = loop {
        let mut until = limit;
        if let Some(cloner) = &mut cloner {
            let clone = cloner.disturb(&mut machine, 40, &|| engine(how));
            // One that the guest has not run on since takes its place.
            machine = clone
                .filter(|clone| clone.now() == machine.now())
                .unwrap_or(machine);
        }
        if how.slices.is_some() {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            until = until.min(machine.now().after(1 + (random >> 40) % 10_000));
        }
        match machine.run(until, &AtomicBool::new(false)) {
            Stop::Effects => {
                while let Some(effect) = machine.take_effect() {
                    if let Effect::ConsoleWrite { bytes, .. } = effect {
                        console.extend(bytes);
                    }
                }
                limit = machine.now().after(PATIENCE);
            }
            Stop::Off(_) => break false,
            Stop::Waiting { .. } => break true,
            _ if machine.now() >= limit => break true,
            _ => {}
        }
    };
    let text = String::from_utf8_lossy(&console);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    if hung && !text.ends_with('\n') {
        lines.pop();
    }
    Run { lines, hung }
}
