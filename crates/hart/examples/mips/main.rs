//! Measures the interpreter: `cargo run --release -p hart --example mips [MILLION_STEPS]`.
//!
//! Runs `kernel.c` bare in machine mode and prints steps per second of processor time, which other load on
//! the host disturbs least.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    clippy::float_arithmetic,
    reason = "a measurement is a host: it has a clock and prints"
)]

use std::{error::Error, sync::atomic::AtomicBool};

use hart::{
    Access, Bus, BusError, Engine, Environment, Hart, Interpreter, InterpreterOptions, Lines, Ram, Step,
    ram::BASE,
};

/// No devices at all.
struct Nothing;

impl Bus for Nothing {
    fn load(&mut self, _ram: &mut Ram, _access: Access) -> Result<u64, BusError> {
        Err(BusError)
    }

    fn store(&mut self, _ram: &mut Ram, _access: Access, _value: u64) -> Result<(), BusError> {
        Err(BusError)
    }

    fn answers(&self, _address: u64) -> bool {
        false
    }

    fn time(&self, _now: Step) -> u64 {
        0
    }

    fn lines(&self, _hart: usize, _now: Step) -> Lines {
        Lines(0)
    }

    fn attention(&self) -> bool {
        false
    }
}

/// Processor time of this thread, in nanoseconds.
fn processor_time() -> std::io::Result<u64> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    text.split(' ')
        .next()
        .and_then(|word| word.parse().ok())
        .ok_or(std::io::ErrorKind::InvalidData.into())
}

fn main() -> Result<(), Box<dyn Error>> {
    let million = std::env::args()
        .nth(1)
        .map_or(Ok(500), |word| word.parse::<u64>())?;
    let mut ram = Ram::new(16 << 20)?;
    ram.write(BASE, include_bytes!("kernel.bin"))
        .map_err(|_| "the kernel does not fit")?;
    let mut hart = Hart::new(0, BASE);
    let mut engine = Interpreter::new(InterpreterOptions::default());
    let cut = AtomicBool::new(false);
    let start = processor_time()?;
    let mut now = Step(0);
    while now.0 < million * 1_000_000 {
        let environment = Environment {
            ram: &mut ram,
            bus: &mut Nothing,
            now,
            cut: &cut,
        };
        now = now.after(engine.run(&mut hart, environment, 100_000).steps);
    }
    let seconds = (processor_time()? - start) as f64 / 1e9;
    println!(
        "{} million steps, {seconds:.2} s, {:.0} MIPS",
        million,
        now.0 as f64 / 1e6 / seconds
    );
    Ok(())
}
