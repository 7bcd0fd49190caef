//! The real guest: `machine::Machine` behind the trait [`Guest`], by which recorder and replayer know it.
//!
//! Everything here only passes calls on, and must not change what the machine computes.

use machine::{Cut, DiskRequest, Effect, Input, Machine, Step, Stop};

use crate::guest::Guest;
use crate::log::entry::Digest;

impl Guest for Machine {
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop {
        Machine::run(self, until, cut)
    }

    fn inject(&mut self, input: &Input) {
        Machine::inject(self, input.clone());
    }

    fn take_effect(&mut self) -> Option<Effect> {
        Machine::take_effect(self)
    }

    fn now(&self) -> Step {
        Machine::now(self)
    }

    fn mtime(&self) -> u64 {
        Machine::mtime(self)
    }

    fn digest(&mut self) -> Digest {
        let parts = self.parts();
        // Half of each digest is enough to notice a difference, and makes the entry half as long.
        Digest {
            parts: parts
                .into_iter()
                .map(|part| (part.name.to_owned(), low_half(part.digest.0)))
                .collect(),
        }
    }

    fn console_room(&self, port: u8) -> usize {
        Machine::console_room(self, port)
    }

    fn pages_hashed(&self) -> u64 {
        Machine::pages_hashed(self)
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        Machine::pending_disk(self)
    }
}

fn low_half(digest: u128) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
