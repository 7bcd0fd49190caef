//! How a process joins a guest that runs: its handshake before it has a node, and the bulk link.
//!
//! The owner's side of a clone is in its node. What its actions for a clone mean in the world stands here,
//! and what the newcomer's host does: it looks whether it can be the backup, proves that it sees the same
//! arbiter, and builds a machine, each of which takes some time. Nothing here may decide how a clone goes on.

use replica::{
    Action, Bulk, Epoch, Event, Halt, HandshakeAction, HandshakeEvent, Joined, PeerId, Side, Span, Start,
};

use toy_outside::{
    names::{HostId, ProcessId},
    network::{Arrival, LinkId, bulk_bytes},
};

use crate::{
    checker::{Check, Violation, ensure},
    process::{self, Life, Process},
    schedule::What,
    subject::Subject,
    trace,
    world::World,
};

impl<G: Subject> World<G> {
    /// A process is started on a host, and connected with the owner of the guest, whose backup it shall
    /// become.
    pub fn join(&mut self, host: HostId, owner: ProcessId) -> ProcessId {
        let epoch = self.process(owner).epoch;
        let who = self.add(host, epoch, Some(owner), true);
        self.trace(Some(who), || format!("= starts on {host}, called by {owner}"));
        self.checks.single.on_join(owner, epoch);
        self.checks.guard.on_join(who, owner);
        let (options, now) = (&self.options, self.now);
        self.processes[who].greet(options, now);
        let peer = self.connect(owner, who);
        let Process { owner: number, .. } = self.processes[owner];
        let me = replica::Hello {
            vm: "sim".to_owned(),
            side: Side::Primary,
            owner: number,
            timeout: self.options.timeout,
            header: Some(process::header()),
            settings: String::new(),
        };
        let token = self.random.draw().to_le_bytes();
        let token = [token, token].concat().try_into().unwrap_or_default();
        self.deliver(owner, Event::Joined(Box::new(Joined { peer, me, token })));
        self.turn_at(who, self.now);
        self.schedule(self.now, What::Ports(who));
        who
    }

    /// A process that has no node yet looks at what has come for its handshake.
    pub(crate) fn greeting_turn(&mut self, who: ProcessId) {
        self.processes[who].turn_at = None;
        self.carry_greeting(who);
        while self.looks_at_words(who)
            && let Some(event) = self.processes[who].inbox.pop_front()
        {
            self.trace(Some(who), || trace::event(&event));
            if !self.concerns_greeting(who, &event) {
                continue;
            }
            match event {
                Event::Peer(_, bytes) => {
                    self.read_for_guard(who, &bytes);
                    self.greet(who, HandshakeEvent::Peer(bytes));
                }
                Event::LinkLost(_) => self.greet(who, HandshakeEvent::LinkLost),
                Event::Leave => self.end_candidate(who, "its operator has stopped it"),
                _ => {}
            }
        }
        let process = &mut self.processes[who];
        let local = process.clock.shows(self.now);
        if let Some(handshake) = &mut process.greeting {
            handshake.wake(local);
            self.carry_greeting(who);
        }
        let process = self.process(who);
        let at = match &process.greeting {
            Some(handshake) => handshake.deadline().map(|deadline| process.clock.when(deadline)),
            None => (process.is_running() && process.node.is_some()).then_some(self.now),
        };
        if let Some(at) = at {
            self.turn_at(who, at);
        }
    }

    /// Something that a process waits for in its handshake is done on its host.
    pub(crate) fn on_handshake(&mut self, who: ProcessId, event: HandshakeEvent) {
        match self.process(who).life {
            Life::Stalled { until } => self.schedule(until, What::Handshake(who, event)),
            Life::Running => {
                if let Some(candidate) = &mut self.processes[who].candidate {
                    candidate.is_busy = false;
                }
                self.greet(who, event);
                self.turn_at(who, self.now);
            }
            Life::Crashed | Life::Halted(_) => {}
        }
    }

    fn greet(&mut self, who: ProcessId, event: HandshakeEvent) {
        let process = &mut self.processes[who];
        let local = process.clock.shows(self.now);
        if let Some(handshake) = &mut process.greeting {
            handshake.handle(local, event);
            self.carry_greeting(who);
        }
    }

    /// Carries out what the handshake of a process wants.
    fn carry_greeting(&mut self, who: ProcessId) {
        if self.process(who).candidate.is_some() {
            self.carry_words(who);
            return;
        }
        while let Some(action) = self.processes[who]
            .greeting
            .as_mut()
            .and_then(replica::Handshake::poll)
        {
            match action {
                HandshakeAction::Send(bytes) => {
                    self.trace(Some(who), || {
                        trace::action(&Action::Send(PeerId(0), bytes.clone()))
                    });
                    self.send(who, PeerId(0), bytes.to_vec());
                }
                HandshakeAction::Consider(_) => self.is_done(who, HandshakeEvent::Fits { lacks: Vec::new() }),
                HandshakeAction::Prove { epoch, owner } => {
                    let event = if self.arbiter.owner(who, epoch) == Some(owner) {
                        HandshakeEvent::Proven
                    } else {
                        HandshakeEvent::NotShared("the arbiter knows another owner".to_owned())
                    };
                    self.is_done(who, event);
                }
                HandshakeAction::Build(_) => self.is_done(who, HandshakeEvent::Built),
                HandshakeAction::Done { start, .. } => self.become_apprentice(who, &start),
                HandshakeAction::Failed(failure) => self.end_greeting(who, failure.to_string()),
                // Only the side that has the guest claims and supplies.
                HandshakeAction::AskNext | HandshakeAction::Supply { .. } => {}
            }
        }
    }

    /// What the handshake of a process asked for takes a while on its host.
    pub(crate) fn is_done(&mut self, who: ProcessId, event: HandshakeEvent) {
        let takes = self.random.span(Span::from_us(50), Span::from_ms(20));
        self.schedule(self.now.after(takes), What::Handshake(who, event));
    }

    fn become_apprentice(&mut self, who: ProcessId, start: &Start) {
        let Some(owner) = self.process(who).follows else {
            return;
        };
        let tape = std::rc::Rc::clone(&self.process(owner).tape);
        // The owner has one clone at a time, so its next cut is the one of this.
        let cut = tape.borrow().cuts.len();
        let (options, config, now) = (&self.options, &self.config, self.now);
        self.processes[who].become_apprentice(options, config, now, start, (tape, cut));
    }

    /// The handshake of a process comes to nothing, and the process ends.
    fn end_greeting(&mut self, who: ProcessId, why: String) {
        self.trace(Some(who), || format!("= ends: {why}"));
        self.hang_up(who, PeerId(0));
        let process = &mut self.processes[who];
        process.greeting = None;
        process.inbox.clear();
        process.life = Life::Halted(Halt::Abandoned(why));
        self.storage.caches().close(process.host);
    }

    /// A process asks the arbiter whether the epoch is still its own.
    pub(crate) fn check(&mut self, who: ProcessId, epoch: Epoch) {
        let fate = self.arbiter.ask(&mut self.random, self.now);
        if let Some(at) = fate.takes {
            let question = What::Check {
                who,
                epoch,
                answers: fate.answers,
                unreachable: fate.unreachable,
            };
            self.schedule(at, question);
        } else if let Some(at) = fate.answers {
            let answer = Event::Checked(epoch, replica::Checked::Unreachable);
            self.schedule(at, What::Deliver(who, answer));
        }
    }

    /// The bulk link of a process to a peer is opened.
    pub(crate) fn open_bulk(&mut self, who: ProcessId, peer: PeerId) {
        let Some((link, to)) = self.peer(who, peer) else {
            return;
        };
        let Some(keeper) = &self.options.keeper else {
            return;
        };
        let bulk = self.network.connect(keeper.bulk.clone(), [who, to]);
        self.wire_on(who, link, |wire| wire.bulk = Some(bulk));
        self.wire_on(to, link, |wire| wire.bulk = Some(bulk));
        self.tell_room(who, peer);
    }

    fn wire_on(&mut self, who: ProcessId, link: LinkId, change: impl FnOnce(&mut process::Wire)) {
        let mut wires = self.processes[who].wires.iter_mut();
        if let Some(wire) = wires.find(|wire| wire.link == link || wire.bulk == Some(link)) {
            change(wire);
        }
    }

    /// A process is told how much its bulk link to a peer takes now.
    fn tell_room(&mut self, who: ProcessId, peer: PeerId) {
        let Some(keeper) = &self.options.keeper else {
            return;
        };
        let (low, high) = keeper.bulk.latency;
        // A bulk link that never has room for a page is none.
        let room = keeper.room.max(G::PAGE as u64);
        let rate = keeper.bulk.bytes_per_ms.saturating_mul(1000);
        let at = self.now.after(self.random.span(low, high));
        let Some(wire) = self.process(who).wire(peer) else {
            return;
        };
        let event = Event::BulkRoom {
            peer,
            bytes: room.saturating_sub(wire.in_flight),
            rate: Some(rate),
            spare: false,
        };
        self.schedule(at, What::Deliver(who, event));
    }

    /// May a process hand this to a bulk link?
    pub(crate) fn judge_bulk(&self, who: ProcessId, peer: PeerId, bulk: &Bulk) -> Result<(), Violation> {
        let (Some(wire), Some(keeper)) = (self.process(who).wire(peer), &self.options.keeper) else {
            return Ok(());
        };
        // The state at the cut goes at once, whatever the room. What was on its way when the process was told
        // of room may come on top of it.
        let pages = matches!(bulk, Bulk::Pages(_));
        let bytes = wire.in_flight + bulk_bytes(bulk);
        let limit = 2 * keeper.room.max(G::PAGE as u64);
        ensure(
            !pages || bytes <= limit + process::STATE_MAX,
            Check::Memory,
            || format!("{who} has {bytes} bytes on a bulk link, at most {limit} and a state are allowed"),
        )
    }

    /// A piece of a clone goes on its way to a peer.
    pub(crate) fn send_bulk(&mut self, who: ProcessId, peer: PeerId, bulk: Bulk) {
        let Some(link) = self.process(who).wire(peer).and_then(|wire| wire.bulk) else {
            return;
        };
        let to = self.network.other_end(link, who);
        let (bytes, is_last) = (bulk_bytes(&bulk), bulk == Bulk::Sealed);
        self.wire_on(who, link, |wire| {
            wire.in_flight += bytes;
            wire.is_sealed |= is_last;
        });
        if let Some(at) = self
            .network
            .send(&mut self.random, self.now, (link, to), Arrival::Bulk(bulk))
        {
            self.link_appointment(link, to, at);
        }
    }

    /// A piece of a clone arrives, and its sender has room for as much.
    pub(crate) fn on_bulk(&mut self, link: LinkId, (to, peer): (ProcessId, PeerId), bulk: Bulk) {
        let bytes = bulk_bytes(&bulk);
        let from = self.network.other_end(link, to);
        if bulk == Bulk::Sealed {
            self.wire_on(to, link, |wire| wire.is_sealed = true);
        }
        self.wire_on(from, link, |wire| wire.in_flight -= bytes);
        self.deliver(to, Event::Bulk(peer, bulk));
        if let Some(name) = self.process(from).peer_on(link) {
            self.tell_room(from, name);
        }
    }

    /// Is this the bulk link of a clone that has gone over it?
    pub(crate) fn is_sealed(&self, who: ProcessId, peer: PeerId, link: LinkId) -> bool {
        let wire = self.process(who).wire(peer);
        wire.is_some_and(|wire| wire.bulk == Some(link) && wire.is_sealed)
    }

    /// A process closes its links to a peer, once what it sent has left.
    pub(crate) fn hang_up(&mut self, who: ProcessId, peer: PeerId) {
        self.close_links(who, peer, |_, under_way| under_way);
    }

    /// A process closes its links to a peer at once: what is under way may be lost.
    pub(crate) fn drop_links(&mut self, who: ProcessId, peer: PeerId) {
        self.close_links(who, peer, |world, under_way| world.random.below(under_way + 1));
    }

    /// A process closes its links to a peer. `kept`: how many of the messages under way arrive.
    fn close_links(&mut self, who: ProcessId, peer: PeerId, kept: fn(&mut World<G>, u64) -> u64) {
        let Some(wire) = self.processes[who].wires.get_mut(peer.0 as usize) else {
            return;
        };
        wire.is_over = true;
        for link in [Some(wire.link), wire.bulk].into_iter().flatten() {
            let other = self.network.other_end(link, who);
            let under_way = self.network.under_way(link, other);
            let kept = kept(self, under_way);
            self.close_link(link, other, kept, Some(Span::from_us(100)));
            self.close_link(link, who, 0, None);
        }
    }
}
