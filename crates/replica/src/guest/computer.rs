//! The real guest: `machine::Machine` behind the trait [`Guest`], by which recorder and replayer know it.
//!
//! Everything here only passes calls on, and must not change what the machine computes.

use machine::{Batch, Copied, Cut, DiskRequest, Effect, Input, Machine, PageContent, Part, Step, Stop};

use crate::guest::Guest;
use vmlog::entry::Digest;

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

    fn timer_late(&self) -> u64 {
        Machine::timer_late(self)
    }

    fn digest(&mut self) -> Digest {
        halves(self.parts())
    }

    fn pages_to_hash(&self) -> u32 {
        Machine::pages_to_hash(self)
    }

    fn begin_digest(&mut self) {
        Machine::begin_digest(self);
    }

    fn hash_some(&mut self, budget: u32) -> Option<Digest> {
        let is_over = Machine::hash_some(self, budget) == 0;
        is_over.then(|| self.end_digest()).flatten().map(halves)
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

    const PAGE: usize = machine::PAGE;

    fn pages(&self) -> u32 {
        Machine::pages(self)
    }

    fn begin_round(&mut self) -> u32 {
        Machine::begin_round(self)
    }

    fn owed(&self) -> u32 {
        Machine::owed(self)
    }

    fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        Machine::copy_owed(self, batch, max)
    }

    fn freeze(&mut self, room: u32) -> Result<Vec<u8>, String> {
        Machine::freeze(self, room).map_err(|_| {
            "this host has no memory for the pages that the guest overwrites meanwhile".to_owned()
        })
    }

    fn frozen_room(&self) -> u32 {
        Machine::frozen_room(self)
    }

    fn thaw(&mut self) {
        Machine::thaw(self);
    }

    fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String> {
        Machine::place(self, page, content)
            .map_err(|_| format!("it sent page {page}, which the guest has not"))
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        Machine::restore_state(self, state).map_err(|why| why.to_string())
    }

    fn pending_entropy(&self) -> Vec<u32> {
        Machine::pending_entropy(self)
    }
}

/// Half of each digest is enough to notice a difference, and makes the entry half as long.
fn halves(parts: Vec<Part>) -> Digest {
    let half = |part: Part| {
        let [a, b, c, d, e, f, g, h, ..] = part.digest.0.to_le_bytes();
        (part.name.to_owned(), u64::from_le_bytes([a, b, c, d, e, f, g, h]))
    };
    Digest {
        parts: parts.into_iter().map(half).collect(),
    }
}
