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
use machine::{Batch, Copied, Cut, DiskRequest, Effect, Input, PageContent, PowerState, Step};
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
    /// A guest without a state of its own, which takes one over.
    fn blank(config: &Self::Config) -> Self {
        Self::boot(config)
    }
    /// A number that stands for as much of the guest's state as can be had without changing the guest, its
    /// memory too if that is small.
    fn whole(&self) -> u64 {
        self.fingerprint()
    }
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

/// A guest's life up to a cut, at which another replica takes the guest's state over.
#[derive(Clone, Copy, Debug)]
pub struct CutMark {
    /// How many inputs there had been.
    inputs: usize,
    /// How many effects there had been.
    effects: usize,
    /// How many outputs had been numbered.
    shown: usize,
    /// The guest's state at the cut, see [`Subject::whole`].
    whole: u64,
}

impl CutMark {
    /// The guest's state at the cut, see [`Subject::whole`].
    #[must_use]
    pub fn whole(&self) -> u64 {
        self.whole
    }
}

/// All that ever went into a guest and came out of it. The tape of a replica that took a guest's state over
/// begins with a copy of that guest's tape up to the cut: so every tape is that of a whole life.
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
    /// The cuts at which other replicas were to take the guest's state over, in their order.
    pub cuts: Vec<CutMark>,
    /// How many inputs and effects were copied from another tape.
    pub copied: usize,
    /// What is wrong with the state that the guest has taken over; `None`: nothing, or it has taken none.
    pub wrong: Option<String>,
}

impl Tape {
    /// How many inputs and effects this replica's own guest had.
    #[must_use]
    pub fn own_len(&self) -> usize {
        self.len() - self.copied
    }

    /// Begins the tape as a copy of another one, up to a cut.
    fn copy(&mut self, theirs: &Tape, cut: CutMark) {
        self.inputs = theirs.inputs[..cut.inputs].to_vec();
        self.effects = theirs.effects[..cut.effects].to_vec();
        self.shown = theirs.shown[..cut.shown].to_vec();
        self.shown_at = theirs.shown_at[..cut.shown].to_vec();
        self.copied = self.len();
    }

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
    /// The tape of the guest whose state this one is to take over, and which of the cuts on it that will be.
    origin: Option<(Rc<RefCell<Tape>>, usize)>,
}

impl<G: Subject> Watched<G> {
    /// Puts a guest under observation.
    pub fn new(inner: G, fuel: Rc<Cell<u64>>) -> Watched<G> {
        Watched {
            inner,
            tape: Rc::default(),
            fuel,
            origin: None,
        }
    }

    /// Has the guest take over the state of the one with the tape `origin`, at cut number `cut` of that tape,
    /// from 0.
    #[must_use]
    pub fn of(self, origin: Rc<RefCell<Tape>>, cut: usize) -> Watched<G> {
        Watched {
            origin: Some((origin, cut)),
            ..self
        }
    }

    /// The guest has taken a state over: its tape begins there, and the state must be that at the cut.
    fn take_over(&mut self) {
        let Some((origin, cut)) = &self.origin else {
            return;
        };
        let (theirs, mut ours) = (origin.borrow(), self.tape.borrow_mut());
        match theirs.cuts.get(*cut) {
            None => ours.wrong = Some("there was no cut".to_owned()),
            Some(cut) => {
                ours.copy(&theirs, *cut);
                let is_same = self.inner.whole() == cut.whole;
                ours.wrong = (!is_same).then(|| format!("it is not that of the cut, at step {}", self.now()));
            }
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

    fn timer_late(&self) -> u64 {
        self.inner.timer_late()
    }

    fn digest(&mut self) -> Digest {
        self.inner.digest()
    }

    fn pages_to_hash(&self) -> u32 {
        self.inner.pages_to_hash()
    }

    fn begin_digest(&mut self) {
        self.inner.begin_digest();
    }

    fn hash_some(&mut self, budget: u32) -> Option<Digest> {
        self.inner.hash_some(budget)
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
        let mut tape = self.tape.borrow_mut();
        let cut = CutMark {
            inputs: tape.inputs.len(),
            effects: tape.effects.len(),
            shown: tape.shown.len(),
            whole: self.inner.whole(),
        };
        tape.cuts.push(cut);
        drop(tape);
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
        self.inner.adopt(state)?;
        self.take_over();
        Ok(())
    }

    fn pending_entropy(&self) -> Vec<u32> {
        self.inner.pending_entropy()
    }
}
