//! `Asker`: asks an arbiter on a thread of its own, since a dead file server may block for long and the guest
//! must not stand for it. The guest thread reads the answers.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

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
    /// The owner of an epoch has ended.
    Close(Epoch, u128, Closing, Sender<Result<(), ArbiterError>>),
}

/// Asks an arbiter on a thread of its own, one question at a time.
#[derive(Debug)]
pub struct Asker {
    questions: Sender<Question>,
    answers: Receiver<(Claim, Answer)>,
    checked: Receiver<(Epoch, Checked)>,
    /// The questions that were asked and are not answered yet.
    open: Vec<Claim>,
}

impl Asker {
    /// Starts the thread. It ends when the asker is dropped and its last question is answered.
    #[must_use]
    pub fn new(mut arbiter: Box<dyn Arbiter>, vm: VmName, waker: Waker) -> Asker {
        let (questions, to_ask) = channel::<Question>();
        let (answered, answers) = channel();
        let (checks, checked) = channel();
        sandbox::spawn(Kind::Arbiter, "arbiter", move || {
            for question in to_ask {
                match question {
                    Question::Claim(claim) => {
                        let answer = arbiter.claim(&vm, &claim);
                        if answered.send((claim, answer)).is_err() {
                            break;
                        }
                        waker.wake();
                    }
                    Question::Check(epoch, owner) => {
                        let checked = check(&mut *arbiter, &vm, epoch, owner);
                        if checks.send((epoch, checked)).is_err() {
                            break;
                        }
                        waker.wake();
                    }
                    Question::Close(epoch, owner, why, done) => {
                        // Whoever asked may have gone without the answer.
                        let _ = done.send(arbiter.close(&vm, epoch, owner, &why));
                    }
                }
            }
        });
        Asker {
            questions,
            answers,
            checked,
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

    /// Takes out the next answer and the question that it is for; `None`: there is none at present.
    pub fn answer(&mut self) -> Option<(Claim, Answer)> {
        let (claim, answer) = self.answers.try_recv().ok()?;
        self.open.retain(|open| *open != claim);
        Some((claim, answer))
    }

    /// Asks whether `owner` still has this epoch, and nobody a later one.
    pub fn check(&self, epoch: Epoch, owner: u128) {
        // The thread lives as long as this end of the queue.
        let _ = self.questions.send(Question::Check(epoch, owner));
    }

    /// Takes out the next answer to such a question; `None`: there is none at present.
    #[must_use]
    pub fn checked(&self) -> Option<(Epoch, Checked)> {
        self.checked.try_recv().ok()
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
    match arbiter.last(vm) {
        Ok(Some(last)) if (last.epoch, last.owner) == (epoch, owner) => Checked::Yours,
        Ok(Some(last)) if last.epoch > epoch => Checked::Superseded,
        // An arbiter that does not know the owner's own claim is another one, or has lost it.
        Ok(_) => Checked::Unreachable,
        Err(error) => {
            tracing::warn!("{}", os::error::chain(&error));
            Checked::Unreachable
        }
    }
}
