//! How fast this host computes guests: a short loop of a guest's, the same on every host, by which agents
//! compare hosts (docs/site.md). The agent starts the program once more for that, with a word that is no
//! command, and so holds no machine itself.
//!
//! It prints one number, steps a second, and reads nothing.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::{Result, anyhow};
use machine::{Boot, Config, Machine, Step, Transport};
use os::sys::clock;

/// The guest: arithmetic on 64 KiB of its memory, with a branch that depends on it, for ever.
const LOOP: [u32; 20] = [
    0x0010_0417, //     auipc s0, 0x100
    0x13c6_f3b7, //     lui   t2, 0x13c6f
    0x0033_9393, //     slli  t2, t2, 3
    0x9b93_8393, //     addi  t2, t2, -1607
    0x0000_2e37, //     lui   t3, 2
    0xfffe_0e1b, //     addiw t3, t3, -1
    0x01c2_f333, // 1:  and   t1, t0, t3
    0x0033_1313, //     slli  t1, t1, 3
    0x0083_0333, //     add   t1, t1, s0
    0x0003_3e83, //     ld    t4, 0(t1)
    0x005e_8eb3, //     add   t4, t4, t0
    0x027e_8eb3, //     mul   t4, t4, t2
    0x011e_df13, //     srli  t5, t4, 17
    0x01ee_ceb3, //     xor   t4, t4, t5
    0x01d3_3023, //     sd    t4, 0(t1)
    0x040e_ff13, //     andi  t5, t4, 64
    0x000f_0463, //     beqz  t5, 2f
    0x001f_8f93, //     addi  t6, t6, 1
    0x01d2_82b3, // 2:  add   t0, t0, t4
    0xfcdf_f06f, //     j     1b
];

/// Memory of the guest, in bytes.
const MEMORY: u64 = 4 << 20;
/// Steps between two looks at the clock.
const CHUNK: u64 = 100_000;
/// One run takes so much processor time at least, in nanoseconds.
const RUN_NS: u64 = 60_000_000;
/// Runs, of which the fastest counts: what else the host does only ever slows one down. The first one is
/// among them, though code is translated in it.
const RUNS: usize = 5;

/// Measures, and prints the steps a second.
pub fn run() -> ExitCode {
    match measure() {
        Ok(steps_per_second) => {
            say!("{steps_per_second}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            tell!("lockstep: cannot measure this host's speed: {error:#}");
            os::stderr::finish();
            ExitCode::FAILURE
        }
    }
}

/// Steps a second of processor time, the best of a few runs.
fn measure() -> Result<u64> {
    let firmware: Vec<u8> = LOOP.iter().flat_map(|word| word.to_le_bytes()).collect();
    let config = Config {
        memory: MEMORY,
        harts: 1,
        disks: Vec::new(),
        nets: Vec::new(),
        virtio: Transport::default(),
        rng_seed: [0; 32],
        wall_clock_ns: 0,
        boot: Boot {
            firmware: Arc::from(firmware),
            ..Boot::default()
        },
    };
    let options = hart::InterpreterOptions {
        translate: hart::Translate::Hot,
        ..hart::InterpreterOptions::default()
    };
    let engine = Box::new(hart::Interpreter::new(options));
    let machine = Machine::new(config, engine);
    let mut machine = machine.map_err(|error| anyhow!(error.sentence(&|image| format!("the {image}"))))?;
    let mut best = 0;
    for _ in 0..RUNS {
        let (begin, from) = (clock::thread_ns(), machine.now());
        let mut took = 0;
        while took < RUN_NS {
            let until = Step(machine.now().0 + CHUNK);
            // The guest has no output and no end.
            machine.run(until, &AtomicBool::new(false));
            took = clock::thread_ns().saturating_sub(begin);
        }
        let steps = u128::from(machine.now().0 - from.0);
        let speed = steps * 1_000_000_000 / u128::from(took.max(1));
        best = best.max(u64::try_from(speed).unwrap_or(u64::MAX));
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_of_the_measurement_runs_and_does_not_trap() {
        // A guest that traps would stay at its trap vector, address 0, and only take exceptions from there.
        let speed = measure().unwrap();
        assert!(speed > 1_000_000, "{speed} steps a second");
    }
}
