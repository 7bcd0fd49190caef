//! `Apprentice`: the role of a process that gets the state of a guest which runs elsewhere, and then replays
//! its log, until an entry of that log makes it a member of the pair (FT 3.1-b).
//!
//! It holds what will be a backup. Pages and state come over the bulk link; from the cut on the log comes
//! over the main link, is acknowledged and waits. Once the state is whole it is adopted, and the log is
//! replayed.
//!
//! An apprentice never claims: its owner shows outputs that this side may not have. Whatever goes wrong, it
//! ends, and the VM is none the worse.

use machine::Cut;

use crate::event::{Bulk, Event, PeerId, Suspicion};
use crate::guest::Guest;
use crate::mutation;
use crate::mutation::Mutation;
use crate::options::PairOptions;
use crate::roles::backup::Backup;
use crate::roles::call::{Call, earliest, send};
use crate::roles::table::Change;
use messages::joining::CutAt;
use messages::message::Message;
use messages::time::Time;

/// How much of the guest's state is here.
#[derive(Debug)]
enum Stage {
    /// Some of it. The parts come in any order; `None` and `false`: that part has not come.
    Gathering {
        cut: Option<CutAt>,
        state: Option<Vec<u8>>,
        sealed: bool,
    },
    /// All of it. The log is replayed, and the owner was told of so many equal digests.
    Following { told: u64 },
}

/// A process on its way to be the backup.
#[derive(Debug)]
pub struct Apprentice {
    /// The link to the owner.
    owner: PeerId,
    /// What becomes the backup.
    backup: Backup,
    stage: Stage,
}

impl Apprentice {
    /// An apprentice right after the handshake, whose guest has no state yet.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Apprentice {
        Apprentice {
            owner: options.peer,
            backup: Backup::unborn(call, guest, options),
            stage: Stage::Gathering {
                cut: None,
                state: None,
                sealed: false,
            },
        }
    }

    /// The backup that it has become.
    #[must_use]
    pub fn into_backup(self) -> Box<Backup> {
        Box::new(self.backup)
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, event: Event) -> Option<Change> {
        match event {
            Event::Bulk(peer, bulk) if peer == self.owner => self.on_bulk(call, guest, bulk),
            Event::Peer(peer, bytes) if peer == self.owner => match Message::decode(&bytes) {
                Ok(message) => self.on_message(call, guest, message),
                Err(why) => Some(Change::Broken(format!("a message is damaged: {why}"))),
            },
            event => self.backup.handle(call, guest, event).map(as_apprentice),
        }
    }

    fn on_message<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &mut G,
        message: Message,
    ) -> Option<Change> {
        match message {
            Message::Abandon(why) => return Some(Change::Abandoned(why)),
            Message::Cut(new) => match &mut self.stage {
                Stage::Gathering { cut: cut @ None, .. } => {
                    self.backup.begin(&new);
                    *cut = Some(new);
                    return self.adopt(call, guest);
                }
                _ => return Some(Change::Broken("it cuts twice".to_owned())),
            },
            message => {
                if let Err(broken) = self.backup.on_message(call, guest, message) {
                    return Some(Change::Broken(broken));
                }
            }
        }
        if self.backup.is_ended() {
            return Some(Change::Abandoned("its guest is off".to_owned()));
        }
        if !self.backup.is_guarded() {
            return None;
        }
        Some(match self.stage {
            Stage::Following { .. } => Change::Guarded,
            Stage::Gathering { .. } => Change::Broken("its log counts on a side without a state".to_owned()),
        })
    }

    fn on_bulk<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G, bulk: Bulk) -> Option<Change> {
        let Stage::Gathering { state, sealed, .. } = &mut self.stage else {
            return Some(Change::Broken("it sends state after the end of it".to_owned()));
        };
        match bulk {
            Bulk::Pages(batch) => {
                for (page, content) in batch.pages() {
                    if let Err(why) = guest.place(page, content) {
                        return Some(Change::Broken(why));
                    }
                }
                call.metrics.pages_placed += batch.len() as u64;
                None
            }
            Bulk::State(bytes) => {
                *state = Some(bytes);
                None
            }
            Bulk::Sealed => {
                *sealed = true;
                self.adopt(call, guest)
            }
        }
    }

    /// Takes the guest's state over, once every part of it has come, and says so.
    fn adopt<G: Guest>(&mut self, call: &mut Call<'_>, guest: &mut G) -> Option<Change> {
        let Stage::Gathering {
            cut: Some(cut),
            state: Some(state),
            sealed: true,
        } = &self.stage
        else {
            return None;
        };
        if let Err(why) = guest.adopt(state) {
            return Some(Change::Broken(format!("its state is of no use here: {why}")));
        }
        if guest.now() != cut.base.step {
            return Some(Change::Broken(
                "its state is of another step than its log".to_owned(),
            ));
        }
        self.stage = Stage::Following { told: 0 };
        self.tell(call, guest);
        None
    }

    /// Tells the owner how far this side has come.
    fn tell<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) {
        let digests = self.backup.digests();
        self.stage = Stage::Following { told: digests };
        self.backup.acknowledge(call, guest.now());
        send(call, self.owner, Message::Following { digests });
    }

    /// Runs the guest by the log for one slice, once it has its state.
    pub fn slice<G: Guest>(&mut self, call: &mut Call<'_>, cut: &dyn Cut, guest: &mut G) -> Option<Change> {
        let Stage::Following { told } = self.stage else {
            return self.backup.wait(call).map(as_apprentice);
        };
        if let Some(change) = self.backup.slice(call, cut, guest) {
            return Some(as_apprentice(change));
        }
        if self.backup.digests() > told {
            self.tell(call, guest);
        }
        None
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
    pub fn deadline(&self) -> Option<Time> {
        match self.stage {
            Stage::Gathering { .. } => earliest([Some(self.backup.watch())]),
            Stage::Following { .. } => self.backup.deadline(),
        }
    }
}

/// What a change of a backup is for one that may not claim.
fn as_apprentice(change: Change) -> Change {
    match change {
        Change::Suspect(why) if !mutation::is(Mutation::ApprenticeClaims) => {
            Change::Abandoned(clause(why).to_owned())
        }
        change => change,
    }
}

/// Why an apprentice gives up, for its operator.
fn clause(why: Suspicion) -> &'static str {
    match why {
        Suspicion::LinkLost => "the link to its primary is closed",
        Suspicion::Silence => "nothing comes from its primary, nor a heartbeat",
        Suspicion::LinkSilence => "nothing comes over the link to its primary, though heartbeats do",
        Suspicion::Ended => "its primary's host says that the process has ended",
        Suspicion::Left => "its primary leaves the VM",
        Suspicion::Diverged | Suspicion::Slow | Suspicion::Garbage => "its primary cannot be relied on",
    }
}
