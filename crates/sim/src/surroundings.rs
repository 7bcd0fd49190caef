//! What lies around the processes, as it acts: links, disk, arbiter, client, keyboard, network ports.
//!
//! Each of them has its next appointment on the schedule; `course.rs` comes here when that is due, and what
//! they have for a process is delivered to it as an event. Nothing here may call a node: a process looks at
//! events when it takes a turn.

use machine::Input;
use replica::{Checked, Claim, Epoch, Event, Span, Time, Verdict};

use toy_outside::{
    names::ProcessId,
    network::{Arrival, LinkId},
};

use crate::{schedule::What, subject::Subject, world::World};

impl<G: Subject> World<G> {
    /// The link is to be looked at for what arrives at `to`, at `at` the latest.
    pub(crate) fn link_appointment(&mut self, link: LinkId, to: ProcessId, at: Time) {
        if self.network.appoint(link, to, at) {
            self.schedule(at, What::Link(link, to));
        }
    }

    /// Delivers what has arrived at a process over a link.
    pub(crate) fn on_link(&mut self, link: LinkId, to: ProcessId) {
        let (arrived, next) = self.network.arrive(self.now, link, to);
        for arrival in arrived {
            // A process that has hung up hears nothing more.
            let Some(peer) = self.process(to).peer_on(link) else {
                continue;
            };
            match arrival {
                Arrival::Message(bytes) => self.deliver(to, Event::Peer(peer, bytes)),
                Arrival::Bulk(bulk) => self.on_bulk(link, (to, peer), bulk),
                Arrival::Lost if self.is_sealed(to, peer, link) => {}
                Arrival::Lost => self.deliver(to, Event::LinkLost(peer)),
            }
        }
        if let Some(next) = next {
            self.link_appointment(link, to, next);
        }
    }

    /// The disk is to be looked at, at `at` the latest.
    pub(crate) fn storage_appointment(&mut self, at: Time) {
        if self.storage_due.is_none_or(|due| due > at) {
            self.storage_due = Some(at);
            self.schedule(at, What::Storage);
        }
    }

    /// Requests that are due take effect at the disk, and their answers go on their way.
    pub(crate) fn on_storage(&mut self) {
        if self.storage_due.is_none_or(|due| due > self.now) {
            return;
        }
        self.storage_due = None;
        for taken in self.storage.take(&mut self.random, self.now) {
            let (who, id) = (taken.request.from, taken.answer.id);
            if taken.refused {
                self.trace(None, || {
                    format!("= the disk refuses {who}'s request {id}: its epoch is over")
                });
            }
            self.schedule(taken.answers, What::Deliver(who, Event::DiskDone(taken.answer)));
        }
        if let Some(next) = self.storage.next() {
            self.storage_appointment(next);
        }
    }

    /// The question of a process takes effect at the arbiter. It is answered at `answers`, with the news that
    /// nobody could be reached if `unreachable`.
    pub(crate) fn on_arbiter(
        &mut self,
        who: ProcessId,
        claim: Claim,
        answers: Option<Time>,
        unreachable: bool,
    ) {
        let verdict = self.arbiter.take(who, &claim);
        self.trace(None, || {
            format!(
                "= the arbiter hears {who} about epoch {}: {verdict:?}",
                claim.epoch.0
            )
        });
        let verdict = if unreachable {
            Verdict::Unreachable
        } else {
            verdict
        };
        if let Some(at) = answers {
            self.schedule(at, What::Deliver(who, Event::Verdict(claim, verdict)));
        }
    }

    /// The question of a process, whether the epoch is still its own, reaches the arbiter, and the answer
    /// goes on its way.
    pub(crate) fn on_check(
        &mut self,
        who: ProcessId,
        epoch: Epoch,
        answers: Option<Time>,
        unreachable: bool,
    ) {
        let checked = self.arbiter.check(who, epoch, self.process(who).owner);
        self.trace(None, || {
            format!(
                "= the arbiter is asked by {who} about epoch {}: {checked:?}",
                epoch.0
            )
        });
        let checked = if unreachable {
            Checked::Unreachable
        } else {
            checked
        };
        if let Some(at) = answers {
            self.schedule(at, What::Deliver(who, Event::Checked(epoch, checked)));
        }
    }

    /// The client is to act when it wants to.
    pub(crate) fn client_appointment(&mut self) {
        if let Some(due) = self.client.due() {
            self.schedule(due, What::Client);
        }
    }

    /// The client makes its request, for the first time or again.
    pub(crate) fn on_client(&mut self) {
        if self.client.due().is_none_or(|due| due > self.now) {
            return;
        }
        if let Some((seq, payload)) = self.client.wake(&mut self.random, self.now) {
            let input = G::request(seq, payload);
            for at in self.options.frames.arrivals(&mut self.random, self.now) {
                self.schedule(at, What::ToGuest(input.clone()));
            }
        }
        self.client_appointment();
    }

    /// Tells a process, five times in a timeout, that its network ports lead somewhere. Of ports that lead
    /// nowhere a process is told now and then; otherwise it only hears nothing.
    pub(crate) fn on_ports(&mut self, who: ProcessId) {
        if !self.process(who).is_alive() {
            return;
        }
        let every = Span(self.options.timeout.0 / 5);
        if self.host_of(who).ports_lost <= self.now {
            self.deliver(who, Event::Ports(true));
        } else if self.random.permille(300) {
            self.deliver(who, Event::Ports(false));
        }
        self.schedule(self.now.after(every), What::Ports(who));
    }

    /// A frame, or something typed, reaches the process that has the guest's address, and now and then all
    /// others too.
    pub(crate) fn on_frame_to_guest(&mut self, input: Input) {
        let ports_lost = self.host_of(self.attached).ports_lost;
        if ports_lost > self.now && !matches!(input, Input::Console { .. }) {
            return;
        }
        if self.random.permille(self.options.stray_permille) {
            let attached = self.attached;
            for other in self.processes.names().filter(|who| *who != attached) {
                self.deliver(other, Event::Input(input.clone()));
            }
        }
        self.deliver(self.attached, Event::Input(input));
    }

    /// Somebody types a few bytes.
    pub(crate) fn on_typing(&mut self) {
        let Some(every) = self.options.typing else {
            return;
        };
        let bytes = vec![self.random.below(128) as u8; 1 + self.random.below(5) as usize];
        self.on_frame_to_guest(Input::Console { port: 0, bytes });
        if !self.client.is_leaving() {
            self.schedule(self.now.after(every), What::Typing);
        }
    }
}
