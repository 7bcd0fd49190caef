//! The real machine as the simulator's subject: `machine::Machine` with a server on bare metal.
//!
//! The server (tests/guests/server.s, assembled beside it) uses the UART, the timer, the PLIC, a virtio disk
//! and a virtio network, so a world with it checks the protocol and the machine's determinism together.
//! `toy_server.rs` does the same for the toy. This file only translates and must never change what the
//! machine does.

use std::sync::Arc;

use hart::{Interpreter, InterpreterOptions, Translate};
use machine::{Boot, Config, DiskConfig, Effect, Input, Machine, NetConfig};

use toy::{hash::mix, server::PAYLOAD_OFF};

use crate::subject::Subject;

/// The server's code, for the start of RAM.
const SERVER: &[u8] = include_bytes!("../../../tests/guests/server.bin");
/// Place of the request's number in an answer; eight bytes of content follow it.
const NUMBER_AT: usize = 16;
/// The console byte that asks the server to switch itself off.
const OFF: u8 = 0xfe;

fn config(seed: u64) -> Config {
    Config {
        memory: 4 << 20,
        harts: 1,
        disks: vec![DiskConfig {
            sectors: Machine::SECTORS,
            read_only: false,
            serial: "sim".to_owned(),
        }],
        nets: vec![NetConfig {
            mac: [2, 0, 0, 0, 0, 1],
        }],
        virtio: machine::Transport::default(),
        rng_seed: [seed as u8; 32],
        wall_clock_ns: 1_700_000_000_000_000_000,
        boot: Boot {
            firmware: Arc::from(SERVER),
            ..Boot::default()
        },
    }
}

impl Subject for Machine {
    type Config = u64;
    const REMEMBERS: bool = false;
    const SECTORS: u64 = 8;

    fn boot(seed: &u64) -> Machine {
        // Some machines drop their caches at random, which nobody may notice. Only some, because that is
        // slow.
        let zeal = seed.is_multiple_of(16).then_some(*seed);
        let engine = Box::new(Interpreter::new(InterpreterOptions {
            zeal,
            translate: Translate::Hot,
            ..InterpreterOptions::default()
        }));
        match Machine::new(config(*seed), engine) {
            Ok(machine) => machine,
            Err(why) => panic!("the server's machine cannot be built: {why}"),
        }
    }

    fn fingerprint(&self) -> u64 {
        // The registers alone, because that is cheap. The log's digests cover the rest.
        let hart = &self.harts()[0];
        let sum = mix(mix(self.now().0, self.mtime()), hart.pc);
        hart.x.iter().fold(sum, |sum, register| mix(sum, *register))
    }

    fn request(seq: u64, payload: u64) -> Input {
        let byte = if payload == PAYLOAD_OFF {
            OFF
        } else {
            0x80 + (seq % 100) as u8
        };
        Input::Console {
            port: 0,
            bytes: vec![byte],
        }
    }

    fn reply(effect: &Effect) -> Option<(u64, Vec<u8>)> {
        let Effect::NetTransmit { frame, .. } = effect else {
            return None;
        };
        let number = frame.get(NUMBER_AT..NUMBER_AT + 8)?;
        let content = frame.get(NUMBER_AT + 8..NUMBER_AT + 16)?;
        Some((u64::from_le_bytes(number.try_into().ok()?), content.to_vec()))
    }
}
