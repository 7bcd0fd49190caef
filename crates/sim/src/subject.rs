//! `Subject`, a guest that the simulator can run, and `Watched`, a guest under observation.
//!
//! The watcher stands between the node and the guest and must be invisible to both. It writes down what the
//! guest was given and what it did (`Tape`), numbers the guest's outputs by appending a stamp to their bytes,
//! and stops the guest after a drawn number of steps, as an interrupted host would. The tape outlives the
//! node: the checkers compare the tapes of processes, and the oracle replays one.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
};

use machine::Stop;
use machine::{Ahead, Batch, Copied, Cut, DiskRequest, Effect, Input, PageContent, PowerState, Step};
use replica::{Digest, Guest, guest::outputs::Outputs};

use toy::hash::{mix, mix_bytes};

/// A guest that the simulator can run.
pub trait Subject: Guest + Sized {
    /// What the guest is made from; equal for all processes.
    type Config: Clone;
    /// The guest at step 0.
    fn boot(config: &Self::Config) -> Self;
    /// A number that stands for the guest's state, cheap enough to be taken at every input.
    fn fingerprint(&self) -> u64;
    /// The client's request number `seq`, as an input.
    fn request(seq: u64, payload: u64) -> Input;
    /// The reply to the client that an output is: the number of the request, and the content. `None`: it is
    /// none.
    fn reply(effect: &Effect) -> Option<(u64, Vec<u8>)>;
    /// Does the guest still know after a reset which requests it has answered?
    const REMEMBERS: bool;
    /// How many sectors the guest's disk 0 has.
    const SECTORS: u64;
}

/// Something that went into a guest or came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At<T> {
    /// The step at which that was.
    pub step: Step,
    /// The guest's fingerprint afterwards.
    pub fingerprint: u64,
    /// The input or the effect.
    pub what: T,
}

/// All that ever went into a guest and came out of it. A copy of a guest goes on with a copy of its tape, so
/// a tape always tells a whole life, whichever processes lived it.
#[derive(Clone, Debug, Default)]
pub struct Tape {
    /// The inputs, in their order.
    pub inputs: Vec<At<Input>>,
    /// The effects, in their order, without stamps.
    pub effects: Vec<At<Effect>>,
    /// A hash of each output that leaves through [`replica::Action::Release`]; output number n is at place n
    /// - 1.
    pub shown: Vec<u64>,
    /// The guest's time, in ticks of 100 ns, at which it produced each of these outputs.
    pub shown_at: Vec<u64>,
}

impl Tape {
    /// How many inputs and effects there were.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inputs.len() + self.effects.len()
    }

    /// Was there no input and no effect?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Is this effect an output that leaves through [`replica::Action::Release`]?
#[must_use]
pub fn is_shown(effect: &Effect) -> bool {
    Outputs.is_output(effect) && !matches!(effect, Effect::Disk(_))
}

/// A number that stands for an output.
#[must_use]
pub fn hash_of(effect: &Effect) -> u64 {
    match effect {
        Effect::ConsoleWrite { port, bytes } => mix_bytes(u64::from(*port) + 1000, bytes),
        Effect::NetTransmit { port, frame } => mix_bytes(u64::from(*port) + 2000, frame),
        Effect::PoweredOff(PowerState::Off) => 1,
        Effect::PoweredOff(PowerState::Failed(code)) => 2 + u64::from(*code),
        Effect::Disk(request) => mix(3, request.id),
        Effect::EntropyWanted { bytes } => mix(4, u64::from(*bytes)),
    }
}

/// Bytes of a stamp.
const STAMP: usize = 8;

/// Writes the number of an output into its bytes. A power-off has no bytes and needs no number: it is the
/// last output.
fn stamp(effect: &mut Effect, number: u64) {
    if let Effect::ConsoleWrite { bytes, .. } | Effect::NetTransmit { frame: bytes, .. } = effect {
        bytes.extend(number.to_le_bytes());
    }
}

/// Takes the number out of a released output again.
pub fn unstamp(effect: &mut Effect) -> Option<u64> {
    let (Effect::ConsoleWrite { bytes, .. } | Effect::NetTransmit { frame: bytes, .. }) = effect else {
        return None;
    };
    let at = bytes.len().checked_sub(STAMP)?;
    let number = u64::from_le_bytes(bytes.split_off(at).try_into().ok()?);
    Some(number)
}

/// A guest under observation.
#[derive(Debug)]
pub struct Watched<G> {
    inner: G,
    tape: Rc<RefCell<Tape>>,
    /// Steps until the host interrupts the guest; the process sets them.
    fuel: Rc<Cell<u64>>,
}

impl<G: Subject> Watched<G> {
    /// Puts a guest under observation. `tape` is its life so far: nothing, for a guest at step 0.
    pub fn new(inner: G, fuel: Rc<Cell<u64>>, tape: Tape) -> Watched<G> {
        Watched {
            inner,
            tape: Rc::new(RefCell::new(tape)),
            fuel,
        }
    }

    /// The guest itself.
    pub fn inner(&self) -> &G {
        &self.inner
    }

    /// What is written down.
    pub fn tape(&self) -> Rc<RefCell<Tape>> {
        Rc::clone(&self.tape)
    }
}

impl<G: Subject> Guest for Watched<G> {
    fn run(&mut self, until: Step, cut: &dyn Cut) -> Stop {
        let begin = self.inner.now();
        let stop = until.min(begin.after(self.fuel.get()));
        let pause = self.inner.run(stop, cut);
        let here = self.inner.now();
        self.fuel.set(self.fuel.get() - here.since(begin));
        match pause {
            Stop::Reached if here < until => Stop::Cut,
            pause => pause,
        }
    }

    fn inject(&mut self, input: &Input) {
        self.inner.inject(input);
        let (step, fingerprint) = (self.inner.now(), self.inner.fingerprint());
        self.tape.borrow_mut().inputs.push(At {
            step,
            fingerprint,
            what: input.clone(),
        });
    }

    fn take_effect(&mut self) -> Option<Effect> {
        let mut effect = self.inner.take_effect()?;
        let (step, fingerprint) = (self.inner.now(), self.inner.fingerprint());
        let mut tape = self.tape.borrow_mut();
        tape.effects.push(At {
            step,
            fingerprint,
            what: effect.clone(),
        });
        if is_shown(&effect) {
            tape.shown.push(hash_of(&effect));
            tape.shown_at.push(self.inner.mtime());
            stamp(&mut effect, tape.shown.len() as u64);
        }
        drop(tape);
        Some(effect)
    }

    fn now(&self) -> Step {
        self.inner.now()
    }

    fn mtime(&self) -> u64 {
        self.inner.mtime()
    }

    fn digest(&mut self) -> Digest {
        self.inner.digest()
    }

    fn console_room(&self, port: u8) -> usize {
        self.inner.console_room(port)
    }

    fn pages_hashed(&self) -> u64 {
        self.inner.pages_hashed()
    }

    fn pending_disk(&self) -> Vec<DiskRequest> {
        self.inner.pending_disk()
    }

    const PAGE: usize = G::PAGE;

    fn pages(&self) -> u32 {
        self.inner.pages()
    }

    fn begin_round(&mut self) -> u32 {
        self.inner.begin_round()
    }

    fn owed(&self) -> u32 {
        self.inner.owed()
    }

    fn copy_owed(&mut self, batch: &mut Batch, max: u32) -> Copied {
        self.inner.copy_owed(batch, max)
    }

    fn freeze(&mut self, room: u32) -> Result<Vec<u8>, String> {
        self.inner.freeze(room)
    }

    fn frozen_room(&self) -> u32 {
        self.inner.frozen_room()
    }

    fn thaw(&mut self) {
        self.inner.thaw();
    }

    fn place(&mut self, page: u32, content: PageContent<'_>) -> Result<(), String> {
        self.inner.place(page, content)
    }

    fn adopt(&mut self, state: &[u8]) -> Result<(), String> {
        self.inner.adopt(state)
    }

    fn pending_entropy(&self) -> Vec<u32> {
        self.inner.pending_entropy()
    }

    fn hash_some(&mut self, budget: u32) -> Ahead {
        self.inner.hash_some(budget)
    }
}
