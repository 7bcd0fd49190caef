//! The arbiter: an atomic test-and-set per VM and epoch, outside both replicas, that decides who may go live
//! (FT 2.3-e).
//!
//! It is asked only when a pair is made and when one side suspects the other. Asking may block for long (a
//! dead file server), so an [`Asker`] asks on a thread of its own and the guest thread reads the answers.
//! What a verdict means is `replica`'s business: nothing here knows a role, and no answer may ever be
//! guessed, since two winners of one epoch would be two live copies of one VM.
#![forbid(unsafe_code)]

mod directory;

use std::sync::mpsc::{Receiver, Sender, channel};

use replica::{Claim, Epoch, Verdict, VmName};

pub use directory::DirectoryArbiter;

use os::sandbox::{self, Kind};
use os::wake::Waker;

/// What an arbiter says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Whether the claim is won, lost, or not known to be either.
    pub verdict: Verdict,
    /// Why the arbiter could not be reached, or who was first; for people.
    pub reason: Option<String>,
}

/// Decides claims: an atomic test-and-set that outlives both replicas.
pub trait Arbiter: Send {
    /// "I am the one for (`vm`, `claim.epoch`)." Asking again with the same owner gives the same answer. If
    /// `claim.after` names an owner of the epoch before, and this arbiter does not hold that owner's claim,
    /// the answer is [`Verdict::Unreachable`]: this is another arbiter than that of the pair.
    fn claim(&mut self, vm: &VmName, claim: &Claim) -> Answer;

    /// The highest epoch of `vm` that anybody has claimed; `None`: nobody has claimed one.
    ///
    /// # Errors
    /// The arbiter could not be reached.
    fn last(&mut self, vm: &VmName) -> Result<Option<Epoch>, ArbiterError>;

    /// Is this the arbiter at which `owner` has claimed `epoch`?
    ///
    /// # Errors
    /// This is another arbiter, or it could not be reached.
    fn check(&mut self, vm: &VmName, epoch: Epoch, owner: u128) -> Result<(), ArbiterError>;
}

/// Why an arbiter is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ArbiterError {
    /// The directory cannot be written.
    #[error(
        "the arbiter directory {path} cannot be written; it must exist on storage that both hosts share, \
         and be writable for this user"
    )]
    Directory {
        /// Path of the arbiter's directory.
        path: std::path::PathBuf,
        /// What the operating system said of the directory.
        source: std::io::Error,
    },
    /// This is not the arbiter of the other side.
    #[error(
        "the arbiter directory {path} on host {host} {finding} epoch {epoch} of '{vm}' \
         that the primary has claimed; both sides must see the same directory"
    )]
    NotShared {
        /// Path of the arbiter's directory, as this side sees it.
        path: std::path::PathBuf,
        /// Name of this host, from which the directory looks so.
        host: String,
        /// "does not know", or "knows another owner of".
        finding: &'static str,
        /// Name of the VM whose claim was looked for.
        vm: String,
        /// Epoch of the pair, which the primary has claimed.
        epoch: u64,
    },
    /// The epoch after this process's own went to somebody else.
    #[error(
        "epoch {epoch} of '{vm}' is taken: the backup of an earlier call has gone live, \
         or the VM was started elsewhere; look for it before you start it again"
    )]
    Overtaken {
        /// Name of the VM whose epoch it is.
        vm: String,
        /// Epoch that went to somebody else.
        epoch: u64,
    },
    /// A file with the name of a claim is of another program, or damaged.
    #[error("{path} is no claim of Lockstep; look at it and remove it if the VM runs nowhere")]
    Damaged {
        /// Path of the claim's file.
        path: std::path::PathBuf,
    },
}

/// Asks an arbiter on a thread of its own, one question at a time.
#[derive(Debug)]
pub struct Asker {
    questions: Sender<Claim>,
    answers: Receiver<(Claim, Answer)>,
    /// The questions that were asked and are not answered yet.
    open: Vec<Claim>,
}

impl Asker {
    /// Starts the thread. It ends when the asker is dropped and its last question is answered.
    #[must_use]
    pub fn new(mut arbiter: Box<dyn Arbiter>, vm: VmName, waker: Waker) -> Asker {
        let (questions, to_ask) = channel::<Claim>();
        let (answered, answers) = channel();
        sandbox::spawn(Kind::Arbiter, "arbiter", move || {
            for claim in to_ask {
                let answer = arbiter.claim(&vm, &claim);
                if answered.send((claim, answer)).is_err() {
                    break;
                }
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
            let _ = self.questions.send(claim);
        }
    }

    /// Takes out the next answer and the question that it is for; `None`: there is none at present.
    pub fn answer(&mut self) -> Option<(Claim, Answer)> {
        let (claim, answer) = self.answers.try_recv().ok()?;
        self.open.retain(|open| *open != claim);
        Some((claim, answer))
    }
}
