//! `Asker`: asks an arbiter on a thread of its own, since a dead file server may block for long and the guest
//! must not stand for it. The guest thread reads the answers.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use os::error::chain;
use os::sandbox::{self, Kind};
use os::wake::Waker;
use replica::{Checked, Claim, Epoch, VmName};

use crate::record::Closing;
use crate::{Answer, Arbiter, ArbiterError};

/// What the thread is to do.
enum Question {
    Claim(Claim),
    /// Does `owner` still have this epoch, and nobody a later one?
    Check(Epoch, u128),
    /// Is the arbiter there, and does it know that `owner` has claimed this epoch?
    Look(Epoch, u128),
    /// The owner of an epoch has ended.
    Close(Epoch, u128, Closing, Sender<Result<(), ArbiterError>>),
}

/// What the arbiter has said.
#[derive(Debug)]
pub enum Heard {
    /// The answer to a claim.
    Answer(Claim, Answer),
    /// Whether an epoch is still the owner's.
    Checked(Epoch, Checked),
    /// Whether the arbiter is there and knows an epoch; the sentence of an error says what is wrong.
    Looked(Result<(), String>),
}

/// Asks an arbiter on a thread of its own, one question at a time.
#[derive(Debug)]
pub struct Asker {
    questions: Sender<Question>,
    answers: Receiver<Heard>,
    /// The questions that were asked and are not answered yet.
    open: Vec<Claim>,
}

impl Asker {
    /// Starts the thread. It ends when the asker is dropped and its last question is answered.
    #[must_use]
    pub fn new(mut arbiter: Box<dyn Arbiter>, vm: VmName, waker: Waker) -> Asker {
        let (questions, to_ask) = channel::<Question>();
        let (answered, answers) = channel();
        sandbox::spawn(Kind::Arbiter, "arbiter", move || {
            for question in to_ask {
                let heard = match question {
                    Question::Claim(claim) => Heard::Answer(claim.clone(), arbiter.claim(&vm, &claim)),
                    Question::Check(epoch, owner) => {
                        Heard::Checked(epoch, check(&mut *arbiter, &vm, epoch, owner))
                    }
                    Question::Look(epoch, owner) => {
                        let found = arbiter.check(&vm, epoch, owner);
                        Heard::Looked(found.map_err(|error| chain(&error)))
                    }
                    Question::Close(epoch, owner, why, done) => {
                        // Whoever asked may have gone without the answer.
                        let _ = done.send(arbiter.close(&vm, epoch, owner, &why));
                        continue;
                    }
                };
                // Whoever asked may be gone.
                let _ = answered.send(heard);
                waker.wake();
            }
        });
        Asker {
            questions,
            answers,
            open: Vec::new(),
        }
    }

    /// Asks, unless the same question is open already: a retry must not pile up behind a dead server.
    pub fn ask(&mut self, claim: Claim) {
        if !self.open.contains(&claim) {
            self.open.push(claim.clone());
            // The thread lives as long as this end of the queue.
            let _ = self.questions.send(Question::Claim(claim));
        }
    }

    /// Takes out the next thing that the arbiter has said; `None`: there is nothing at present.
    pub fn heard(&mut self) -> Option<Heard> {
        let heard = self.answers.try_recv().ok()?;
        if let Heard::Answer(claim, _) = &heard {
            self.open.retain(|open| open != claim);
        }
        Some(heard)
    }

    /// Asks whether `owner` still has this epoch, and nobody a later one.
    pub fn check(&self, epoch: Epoch, owner: u128) {
        // The thread lives as long as this end of the queue.
        let _ = self.questions.send(Question::Check(epoch, owner));
    }

    /// Looks whether the arbiter is there and knows that `owner` has claimed this epoch. Nothing is changed
    /// and nothing decided by it. Look again only when the answer has come.
    pub fn look(&self, epoch: Epoch, owner: u128) {
        // The thread lives as long as this end of the queue.
        let _ = self.questions.send(Question::Look(epoch, owner));
    }

    /// Has the end of the epoch that `owner` has written down, and waits for that at most for `patience`.
    ///
    /// # Errors
    /// It is not written down, or not yet.
    pub fn close(
        self,
        epoch: Epoch,
        owner: u128,
        why: Closing,
        patience: Duration,
    ) -> Result<(), ArbiterError> {
        let (done, closed) = channel();
        // The thread lives as long as this end of the queue.
        let _ = self.questions.send(Question::Close(epoch, owner, why, done));
        closed
            .recv_timeout(patience)
            .unwrap_or(Err(ArbiterError::Silent { epoch: epoch.0 }))
    }
}

/// What the arbiter says of an epoch that `owner` has claimed.
fn check(arbiter: &mut dyn Arbiter, vm: &VmName, epoch: Epoch, owner: u128) -> Checked {
    let last = arbiter.last(vm);
    match last.inspect_err(|error| tracing::warn!("{}", chain(error))) {
        Ok(Some(last)) if (last.epoch, last.owner) == (epoch, owner) => Checked::Yours,
        Ok(Some(last)) if last.epoch > epoch => Checked::Superseded,
        // An arbiter that does not know the owner's own claim is another one, or has lost it.
        _ => Checked::Unreachable,
    }
}
