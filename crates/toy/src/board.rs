//! The toy's hardware, and the toy itself: a board with a program on it.
//!
//! [`Board`] holds what every computer has: the step, the clock, effects that wait to be taken, disk requests
//! that wait for their answers, and the power switch. [`Program`] is what runs on it. [`Toy`] joins the two
//! into a `replica::Guest`. The board must never decide anything: what happens at which step is up to the
//! program.

use std::collections::VecDeque;

use machine::Stop;
use machine::{
    Batch, Clock, Copied, Cut, DiskOperation, DiskRequest, Effect, Input, PageContent, PowerState, Step,
};
use replica::log::bytes::{Malformed, Reader, Writer};
use replica::mutation::{self, Mutation};
use replica::{Digest, Guest};

use crate::hash::mix;
use crate::memory::{self, Memory};
use crate::state;

/// What runs on a board.
pub trait Program {
    /// Takes in an input, which the clock has not seen yet, at the board's present step.
    fn on_input(&mut self, board: &mut Board, input: &Input);
    /// Runs on for at least one step and at most up to `until`, or says why it does not: it waits for an
    /// input or for its timer, or a cut is wanted. The board is on, stands before `until` and has no effects
    /// when this is called.
    fn run(&mut self, board: &mut Board, until: Step, cut: &dyn Cut) -> Option<Stop>;
    /// The digest of program and board.
    fn digest(&self, board: &Board) -> Digest;
    /// Pages of memory that the last digest is said to have hashed.
    fn pages_hashed(&self) -> u64 {
        0
    }
    /// Writes the program's state, for a clone.
    fn save(&self, w: &mut Writer);
    /// Takes over the state that [`Program::save`] wrote.
    ///
    /// # Errors
    /// The bytes are no state of this program.
    fn load(&mut self, r: &mut Reader<'_>) -> Result<(), Malformed>;
    /// Wishes for entropy that have no answer, in order.
    fn pending_entropy(&self) -> Vec<u32>;
}

/// The hardware of a toy.
#[derive(Clone, Debug, Default)]
pub struct Board {
    /// The present step.
    pub now: Step,
    /// `mtime` as a function of the step.
    pub clock: Clock,
    /// Pages into which a little is written whenever something happens.
    pub memory: Memory,
    effects: VecDeque<Effect>,
    /// Disk requests without an answer, in order of submission.
    pending: Vec<DiskRequest>,
    /// The number of the next disk request, which is also how many were ever submitted.
    next_id: u64,
    /// Set for good when the toy is switched off.
    off: Option<PowerState>,
}

impl Board {
    /// `mtime` at the present step, in ticks of 100 ns.
    #[must_use]
    pub fn mtime(&self) -> u64 {
        self.clock.at(self.now)
    }

    /// Disk requests without an answer, in order of submission.
    #[must_use]
    pub fn pending(&self) -> &[DiskRequest] {
        &self.pending
    }

    /// How many disk requests were ever submitted.
    #[must_use]
    pub fn submitted(&self) -> u64 {
        self.next_id
    }

    /// Is the toy switched off?
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.off.is_some()
    }

    /// Takes over what a clone brings beside clock and memory.
    pub fn take_over(&mut self, submitted: u64, off: Option<PowerState>, pending: Vec<DiskRequest>) {
        self.next_id = submitted;
        self.off = off;
        self.pending = pending;
        self.effects.clear();
    }

    /// Has something happen on the outside.
    pub fn show(&mut self, effect: Effect) {
        self.memory.stir(mix(self.now.0, self.next_id));
        self.effects.push_back(effect);
    }

    /// Submits a disk request; the answer is its number.
    pub fn submit(&mut self, operation: DiskOperation) -> u64 {
        let id = self.next_id;
        let disk = 0;
        let request = DiskRequest { disk, id, operation };
        self.next_id += 1;
        self.pending.push(request.clone());
        self.show(Effect::Disk(request));
        id
    }

    /// The disk has answered request `id`: the request, unless there is none of that number.
    pub fn complete(&mut self, id: u64) -> Option<DiskRequest> {
        let index = self.pending.iter().position(|request| request.id == id)?;
        Some(self.pending.remove(index))
    }

    /// Switches the toy off.
    pub fn power_off(&mut self) {
        self.off = Some(PowerState::Off);
        self.show(Effect::PoweredOff(PowerState::Off));
    }
}

/// A guest without a processor: a board with a program on it.
#[derive(Clone, Debug, Default)]
pub struct Toy<P> {
    /// The hardware.
    pub board: Board,
    /// What runs on the board.
    pub program: P,
    /// The digest of program and board when a digest began; `None`: none has begun.
    begun: Option<Digest>,
}

impl<P> Toy<P> {
    /// A toy at step 0 on which this program runs.
    pub fn that_runs(program: P) -> Toy<P> {
        Toy {
            board: Board::default(),
            program,
            begun: None,
        }
    }
}

impl<P: Program> Guest for Toy<P> {
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop {
        loop {
            if !self.board.effects.is_empty() {
                return Stop::Effects;
            }
            if let Some(state) = self.board.off {
                return Stop::Off(state);
            }
            if self.board.now >= until {
                return Stop::Reached;
            }
            if let Some(pause) = self.program.run(&mut self.board, until, cut) {
                return pause;
            }
        }
    }

    fn inject(&mut self, input: &Input) {
        if !self.board.is_off() {
            self.board.memory.stir(mix(self.board.now.0, self.board.mtime()));
            self.program.on_input(&mut self.board, input);
            if let Input::Clock { mtime, rate } = input {
                self.board.clock.set(self.board.now, *mtime, *rate);
            }
        }
    }

    fn take_effect(&mut self) -> Option<Effect> {
        self.board.effects.pop_front()
    }

    fn now(&self) -> Step {
        self.board.now
    }

    fn mtime(&self) -> u64 {
        self.board.mtime()
    }

    fn timer_late(&self) -> u64 {
        0
    }

    fn digest(&mut self) -> Digest {
        let memory = self.board.memory.hash();
        with_memory(self.program.digest(&self.board), memory)
    }

    fn pages_to_hash(&self) -> u32 {
        self.board.memory.pages_to_hash()
    }

    fn begin_digest(&mut self) {
        self.begun = Some(self.program.digest(&self.board));
        self.board.memory.begin_digest();
    }

    fn hash_some(&mut self, budget: u32) -> Option<Digest> {
        let memory = self.board.memory.hash_some(budget)?;
        Some(with_memory(self.begun.take()?, memory))
    }

    fn console_room(&self, _: u8) -> usize {
        usize::MAX
    }

    fn pages_hashed(&self) -> u64 {
        self.program.pages_hashed()
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.board.pending.clone()
    }

    const PAGE: usize = memory::PAGE;

    fn pages(&self) -> u32 {
        memory::PAGES
    }

    fn begin_round(&mut self) -> u32 {
        self.board.memory.begin_round()
    }

    fn owed(&self) -> u32 {
        self.board.memory.owed()
    }

    fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        self.board.memory.copy_owed(batch, max)
    }

    fn freeze(&mut self, room: u32) -> Result<Vec<u8>, String> {
        let mut w = Writer::default();
        write_board(&mut w, &self.board);
        self.program.save(&mut w);
        self.board.memory.freeze(room);
        Ok(w.into_parcel().to_vec())
    }

    fn frozen_room(&self) -> u32 {
        self.board.memory.room()
    }

    fn thaw(&mut self) {
        self.board.memory.thaw();
    }

    fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String> {
        self.board.memory.place(page, content)
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        let mut r = Reader::new(state);
        let read = read_board(&mut r, &mut self.board)
            .and_then(|()| self.program.load(&mut r))
            .and_then(|()| r.end());
        read.map_err(|why| why.to_string())
    }

    fn pending_entropy(&self) -> Vec<u32> {
        self.program.pending_entropy()
    }
}

/// The digest of a toy from that of its program and board, and the hash of its memory.
fn with_memory(mut digest: Digest, memory: u64) -> Digest {
    if let Some((_, value)) = digest.parts.first_mut() {
        *value = mix(*value, memory);
    }
    digest
}

/// Writes everything of a board but its memory, and effects, of which there are none at a cut.
fn write_board(w: &mut Writer, board: &Board) {
    w.varint(board.now.0);
    let (step, mtime, rate) = board.clock.base();
    w.varint(step.0);
    w.varint(mtime);
    w.varint(u64::from(rate));
    w.varint(board.submitted());
    w.raw(&[u8::from(board.is_off())]);
    w.varint(board.pending().len() as u64);
    for request in board.pending() {
        state::write_request(w, request);
    }
}

/// Reads what [`write_board`] wrote into a board, whose memory stays.
///
/// # Errors
/// The bytes are no board.
fn read_board(r: &mut Reader<'_>, board: &mut Board) -> Result<(), Malformed> {
    board.now = Step(r.varint()?);
    let step = Step(r.varint()?);
    let mtime = r.varint()?;
    board.clock = Clock::from_base(step, mtime, state::read_small(r)?);
    let submitted = r.varint()?;
    let off = r.truth()?.then_some(PowerState::Off);
    let mut pending = Vec::new();
    for _ in 0..r.varint_at_most(state::ITEMS_MAX)? {
        pending.push(state::read_request(r)?);
    }
    if mutation::is(Mutation::DiskNotTaken) {
        pending.clear();
    }
    board.take_over(submitted, off, pending);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;

    use machine::DiskStatus;

    use super::*;
    use crate::{Commands, Server};

    /// Step, digest and effects of a toy that gets each input, and the answers of its disk, at the input's
    /// step, or earlier if it waits, and runs `slice` steps at a time.
    fn live<P: Program>(
        mut toy: Toy<P>,
        inputs: &[(Step, Input)],
        slice: u64,
    ) -> (Step, Digest, Vec<Effect>) {
        let (cut, mut effects) = (AtomicBool::new(false), Vec::new());
        for (at, input) in inputs {
            loop {
                let pause = toy.run((*at).min(toy.now().after(slice)), &cut);
                effects.extend(std::iter::from_fn(|| toy.take_effect()));
                if toy.now() == *at || matches!(pause, Stop::Waiting { .. }) {
                    break;
                }
            }
            toy.inject(input);
            for DiskRequest { disk, id, .. } in toy.pending_disk() {
                let (status, data) = (DiskStatus::Ok, Vec::new());
                let done = Input::DiskDone {
                    disk,
                    id,
                    status,
                    data,
                };
                toy.inject(&done);
            }
        }
        (toy.now(), toy.digest(), effects)
    }

    fn is_invisible<P: Program + Clone>(toy: &Toy<P>, inputs: &[(Step, Input)]) {
        let whole = live(toy.clone(), inputs, u64::MAX);
        assert!(whole.2.len() > 10, "{} effects", whole.2.len());
        for slice in [7, 997, 1 << 16] {
            assert!(
                live(toy.clone(), inputs, slice) == whole,
                "slices of {slice} steps"
            );
        }
    }

    /// A frame and the time, every 100,000 steps. A step is a tick of `mtime` long, or longer where the toy
    /// waits.
    fn frames(frame: impl Fn(u64) -> Vec<u8>) -> Vec<(Step, Input)> {
        let inputs = |n: u64| {
            let (port, frame) = (0, frame(n));
            let (mtime, rate) = (n * 300_000, u32::MAX);
            [Input::Clock { mtime, rate }, Input::NetFrame { port, frame }]
                .map(|input| (Step(n * 100_000), input))
        };
        (1..=60).flat_map(inputs).collect()
    }

    #[test]
    fn where_a_toy_is_stopped_makes_no_difference() {
        let commands = frames(|n| vec![b"ecns"[n as usize % 4], n as u8]);
        is_invisible(&Toy::<Commands>::new().that_answers(), &commands);
        is_invisible(&Toy::<Commands>::new().that_spins(true), &commands);
        // A client asks again: the server takes no request before it has answered the one before it.
        let requests = frames(|n| Toy::<Server>::request(n.div_ceil(10), n.div_ceil(10)));
        is_invisible(&Toy::<Server>::boot(7), &requests);
    }
}
