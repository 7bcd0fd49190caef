//! `Primary`: the role that runs the guest, sends its log, and lets out what its backup cannot contradict.
//!
//! `Node` gives it inputs, answers and the backup's messages. Its recorder runs the guest and writes the log,
//! `peer/channel` sends the log, and the gate holds each output until the backup has the output's entry
//! (FT 2.2-c). When it suspects the backup it becomes `Claiming`.
//!
//! It can have two backups for a while, the second of which is to replace the first (`primary/replacing`):
//! all rules hold for both.
//!
//! An output leaves only through `Primary::release`, and only while the lease holds. Nothing that the peer
//! sends makes a primary halt: it suspects such a peer.

use machine::{Cut, PowerState};

use crate::event::{Action, Epoch, Event, PeerId, Suspicion};
use crate::guest::Guest;
use crate::guest::disks::HeldBy;
use crate::guest::outputs::Outward;
use crate::guest::record::Produced;
use crate::mutation::Mutation;
use crate::options::{Notice, PairOptions};
use crate::peer::follower::Follower;
use crate::roles::call::{Call, earliest, send};
use crate::roles::dismissal::Dismissal;
use crate::roles::gate::{Gate, Output};
use crate::roles::live::Live;
use crate::roles::table::Change;
use crate::{limits, mutation};
use messages::message::Message;
use messages::time::{Span, Time};
use vmlog::entry::Seq;

mod giving;
mod judging;
mod replacing;
mod taking;

/// How far a primary is on its way to give the VM to its backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Giving {
    /// It leaves: since then the guest stands and nothing more is shown.
    Leaving(Time),
    /// It will hand over. The guest runs; its requests are held back once nothing else stands in the way.
    Quieting(Quieting),
    /// It hands over: the guest stands, and the rest of the log is on its way.
    Stopped,
}

/// A hand-over for which something is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Quieting {
    since: Time,
    /// Up to which lag the backup is close enough.
    near: Span,
    /// Has the arbiter said that the epoch is still this process's? If it is away the guest would stand.
    is_checked: bool,
}

/// The half of a pair that the world sees.
#[derive(Debug)]
pub struct Primary {
    live: Live,
    /// Outputs that wait for the backup to have their entries.
    gate: Gate,
    /// The backups that may claim: an output leaves once all of them have its entry, while all leases run.
    members: Vec<Follower>,
    /// Bytes of outputs that have left since the last message that told the backup.
    untold: usize,
    /// Since when the guest stands because a buffer is full or the backup too far behind; `None`: it runs.
    stands: Option<Time>,
    /// The dismissal of backups that is under way; `None`: none is.
    dismissal: Option<Dismissal>,
    /// The epoch in which it goes live once it has a lease; `None`: it is live.
    going_live: Option<Epoch>,
    /// How far it is on its way to give the VM to the backup; `None`: nobody wants that.
    giving: Option<Giving>,
}

impl Primary {
    /// A primary whose guest stands at the step where the log begins, and whose backup stands there too.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Primary {
        let live = Live::from_start(call, guest, &options.run, true);
        let member = Follower::new(call.now, options.peer, options);
        Primary::with_member(call, live, member, options)
    }

    /// A primary whose guest runs on, and whose apprentice has just become a member: every output that the
    /// guest has produced so far has left, and each one from here on is held (FT 2.2-c).
    pub fn with_member(call: &mut Call<'_>, live: Live, member: Follower, options: &PairOptions) -> Primary {
        let mut primary = Primary {
            live,
            gate: Gate::default(),
            members: vec![member],
            untold: 0,
            stands: None,
            dismissal: None,
            going_live: None,
            giving: None,
        };
        for member in &primary.members {
            leave_notice(call, member, options.notice);
        }
        // A sign of life, so that the first acknowledgement brings the first lease.
        primary.send_keepalives(call);
        primary
    }

    /// What goes on alone after a claim is won: the live guest's keeper, and the outputs that were held.
    pub fn into_parts(mut self) -> (Live, Gate) {
        self.live.disks.hold_back(HeldBy::Role, false);
        (self.live, self.gate)
    }

    /// Queues inputs and answers while the arbiter is asked. The guest stands; the backup is not heard. A
    /// clone under way goes on when the guest does.
    pub fn handle_while_claiming(&mut self, call: &mut Call<'_>, event: Event) {
        self.live.handle(call, event);
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle(&mut self, call: &mut Call<'_>, event: Event, options: &PairOptions) -> Option<Change> {
        self.look_at_members(call.now);
        match event {
            Event::Peer(peer, bytes) if self.is_member(peer) => {
                if let Some(change) = self.on_peer(call, peer, &bytes) {
                    return Some(change);
                }
            }
            Event::LinkLost(peer) if self.is_member(peer) => {
                return self.doubt(call, peer, Suspicion::LinkLost);
            }
            Event::Heartbeat(peer, bytes) if self.is_member(peer) => {
                for member in self.members.iter_mut().filter(|member| member.id == peer) {
                    member.on_heartbeat(call.now, &bytes);
                }
            }
            Event::Input(_) | Event::DiskDone(_) | Event::Pause(_) | Event::Snapshot(_) => {
                self.live.handle(call, event);
            }
            Event::Leave => self.begin_to_leave(call),
            Event::HandOver => self.begin_to_hand_over(call, options),
            Event::Checked(epoch, answer) => {
                // An answer about an earlier epoch belongs to an earlier question.
                if epoch == options.epoch
                    && let Some(change) = self.on_checked(call, answer)
                {
                    return Some(change);
                }
                self.live.handle(call, event);
            }
            Event::Unprotect => {
                self.live.handle(call, event);
                self.dismiss(call);
            }
            Event::Verdict(claim, verdict) => {
                if let Some(dismissal) = &mut self.dismissal
                    && let Some(change) = dismissal.on_verdict(call.now, &claim, &verdict)
                {
                    return Some(change);
                }
            }
            Event::Joined(joined) => self.join(call, *joined, options),
            Event::Peer(..)
            | Event::LinkLost(_)
            | Event::Heartbeat(..)
            | Event::Ports(_)
            | Event::Bulk(..)
            | Event::BulkRoom { .. } => self.live.handle(call, event),
        }
        self.judge(call)
    }

    fn on_peer(&mut self, call: &mut Call<'_>, peer: PeerId, bytes: &[u8]) -> Option<Change> {
        let step = self.live.recorder.log.step();
        let member = self.members.iter_mut().find(|member| member.id == peer)?;
        match Message::decode(bytes) {
            Ok(Message::Ack(ack)) => {
                if member.on_ack(call.now, &ack, step, call.metrics).is_err() {
                    return self.doubt(call, peer, Suspicion::Garbage);
                }
                member.measure(call.metrics);
                self.note_received();
                // The acknowledgement may have made room for frames that wait.
                self.send_frames(call);
                None
            }
            Ok(Message::Dismissed) => self.on_promise(call, peer),
            // It was sent before the entry came that made this backup a member.
            Ok(Message::Following { .. }) => None,
            Ok(Message::Diverged { .. }) => self.doubt(call, peer, Suspicion::Diverged),
            _ => self.doubt(call, peer, Suspicion::Garbage),
        }
    }

    /// Tells the gate up to which entry all backups have the log.
    fn note_received(&mut self) {
        self.gate.acknowledge(self.acknowledged());
    }

    /// The last entry that every backup has.
    fn acknowledged(&self) -> Seq {
        let received = self.members.iter().map(|member| member.sender.acknowledged());
        let received = if mutation::is(Mutation::GateOfOne) {
            received.max()
        } else {
            received.min()
        };
        received.unwrap_or_default()
    }

    /// See [`crate::Node::console_room`]. A primary that gives the VM away takes nothing that it would not
    /// log any more.
    pub fn console_room(&self) -> usize {
        if self.giving.is_some() {
            0
        } else {
            self.live.recorder.console_room()
        }
    }

    /// The link to the backup; of two, to the one that was there first.
    #[must_use]
    pub fn peer(&self) -> PeerId {
        self.members.first().map(|member| member.id).unwrap_or_default()
    }

    /// The links to all backups.
    pub fn peers(&self) -> impl Iterator<Item = PeerId> {
        self.members.iter().map(|member| member.id)
    }

    /// Is there a backup at the other end of this link?
    fn is_member(&self, peer: PeerId) -> bool {
        self.peers().any(|member| member == peer)
    }

    /// Has it taken the VM over from its backup and no lease yet, so that it has not gone live?
    #[must_use]
    pub fn is_going_live(&self) -> bool {
        self.going_live.is_some()
    }

    /// The backup's process.
    #[must_use]
    pub fn backup(&self) -> u128 {
        self.members
            .first()
            .map(|member| member.process)
            .unwrap_or_default()
    }

    /// Runs the guest for a slice, if it may run.
    pub fn slice<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        cut: &dyn Cut,
        guest: &mut G,
        options: &PairOptions,
    ) -> Option<Change> {
        self.look_at_members(call.now);
        if let Some(change) = self.judge(call) {
            return Some(change);
        }
        self.look_at_dismissal(call, options);
        self.live.recorder.look(call.now, call.metrics);
        if !self.has_stopped() {
            self.live.obey(call, guest, self.acknowledged());
        }
        self.live.serve_snapshot(call, guest);
        if self.live.is_log_due_for_cut() {
            // The log is covered up to the cut, so that the apprentice's can go on behind it.
            self.hand_out(call, guest);
        }
        let held = || self.gate.outputs();
        if let Some(change) = self.live.serve_clone(call, guest, options, held, true) {
            return Some(change);
        }
        let is_full = self.gate.is_full();
        for member in &mut self.members {
            member.look(call.now, is_full);
        }
        self.notice_standing(call);
        let stands = self.has_stopped() || self.stands.is_some() || self.live.stands_for_copy(guest);
        if !stands && self.rest().is_none() {
            self.live.begin_slice(call.now);
            for member in &mut self.members {
                member.pace.on_slice(call.now);
            }
            for produced in self.live.slice(call, cut, guest) {
                self.hold(call, produced);
            }
        }
        // What had come for the guest until now is in it, and so in the log.
        if let Some(change) = self.hand_over(call, guest, options) {
            return Some(change);
        }
        self.flush(call, guest);
        self.beat(call);
        self.live.after_slice(call, guest, true);
        self.guard(call, guest, options);
        self.go_on_replacing(call);
        None
    }

    /// Until when the guest must rest, so that the slowest backup can follow; `None`: it may run.
    fn rest(&self) -> Option<Time> {
        self.members.iter().filter_map(|member| member.pace.rest()).max()
    }

    /// FT 3.2-c: notes since when a full buffer makes the guest stand, or that it stands no more.
    fn notice_standing(&mut self, call: &mut Call<'_>) {
        let full = self.gate.is_full() || self.members.iter().any(Follower::is_full);
        match self.stands {
            None if full => self.stands = Some(call.now),
            Some(since) if !full => {
                call.metrics.stalled.0 += call.now.since(since).0;
                self.stands = None;
            }
            _ => {}
        }
        call.metrics.stalled_now = full;
    }

    /// Holds what the guest has produced, if it is an output; anything else goes at once. The output waits
    /// (FT 2.2-c), the guest does not (FT 2.2-d).
    fn hold(&mut self, call: &mut Call<'_>, produced: Produced) {
        let Produced { outward, entry } = produced;
        let shows_at_once = mutation::is(Mutation::GuardedNotHeld)
            || (mutation::is(Mutation::HeldFromAck) && self.gate.knows_nothing());
        let is_output = entry != Seq(0) && !shows_at_once;
        let bytes = outward.bytes();
        let output = match outward {
            Outward::Shown(shown) if is_output => Output::Shown(shown),
            Outward::Disk(request) if is_output => Output::Change(self.live.disks.hold(request)),
            outward => return self.live.emit(call, outward),
        };
        self.gate.hold(entry, output, bytes);
        self.count_held(call);
    }

    fn count_held(&self, call: &mut Call<'_>) {
        call.metrics.outputs_held = self.gate.len() as u64;
        call.metrics.held_bytes = self.gate.bytes() as u64;
    }

    /// When the log must be flushed. An output's entry goes at once (FT 3.5-c) if no other frame is under
    /// way. If one is, the next acknowledgement is near, and all outputs up to then share a message: messages
    /// are what a pair with a busy guest costs most (docs/decisions/0011-outputs-in-company.md).
    fn flush_due(&self) -> Option<Time> {
        let hurry = if self.members.iter().all(|member| member.sender.is_quiet()) {
            Span(0)
        } else {
            limits::FLUSH_COMPANY
        };
        self.live.recorder.flush_due(hurry)
    }

    /// Queues the frames that are due, sends what the backup has room for, and a sign of life if it is time.
    fn flush<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) {
        let stopped = self.has_stopped();
        if self.flush_due().is_some_and(|due| stopped || due <= call.now) {
            self.hand_out(call, guest);
        }
        self.send_frames(call);
        let due = self.members.iter().any(|member| member.wants_keepalive(call.now));
        if due || self.untold >= limits::RELEASED_BYTES_TELL {
            self.send_keepalives(call);
        }
    }

    /// Queues the log for its file, for the backups, and for the process that is on its way to be one.
    fn hand_out<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G) {
        for frame in self.live.hand_out(call, guest) {
            for member in &mut self.members {
                member.push(frame.clone());
            }
        }
    }

    fn send_frames(&mut self, call: &mut Call<'_>) {
        for member in &mut self.members {
            if member.send_frames(call, self.live.released) {
                self.untold = 0;
            }
        }
        let buffered = self.members.iter().map(|member| member.sender.buffered());
        call.metrics.buffered_bytes = buffered.max().unwrap_or_default();
    }

    fn send_keepalives(&mut self, call: &mut Call<'_>) {
        self.untold = 0;
        for member in &mut self.members {
            member.send_keepalive(call, self.live.released);
        }
    }

    /// Sends the heartbeats that are due.
    fn beat(&mut self, call: &mut Call<'_>) {
        for member in &mut self.members {
            member.beat(call);
        }
    }

    /// May this replica release outputs now? Only while no backup can be live.
    fn has_lease(&self, now: Time) -> bool {
        self.members.iter().all(|member| member.sender.has_lease(now))
    }

    /// Tells the gate the time, so that it knows since when new outputs are held. Call at every poll.
    pub fn look(&mut self, now: Time) {
        self.gate.look(now);
    }

    /// Lets the next output go, if it is acknowledged and the lease holds at this very moment; else the next
    /// disk request that may go. Gives the change of role of a primary that has left, or whose guest is off
    /// and has nothing more to let go.
    pub fn release(&mut self, call: &mut Call<'_>) -> Option<Change> {
        if let Some(Giving::Leaving(since)) = self.giving {
            return self.leave(call, since);
        }
        if let Some(epoch) = self.going_live {
            if self.has_lease(call.now) {
                self.going_live = None;
                self.live.disks.hold_back(HeldBy::Role, false);
                call.out.push_back(Action::GoLive(epoch));
            }
            return None;
        }
        while self.has_lease(call.now) {
            let Some(released) = self.gate.release(call.now) else {
                break;
            };
            self.live.released += released.count;
            self.untold += released.bytes;
            call.metrics.outputs_released = self.live.released;
            call.metrics.output_delay.add(released.delay);
            self.count_held(call);
            match released.output {
                // It counts as released though no disk has it yet: the guest's state has it as pending until
                // it is completed, so a backup that goes live does it again (FT 3.4-c).
                Output::Change(id) => self.live.disks.release(id),
                Output::Shown(shown) => {
                    // One such output a call: before the next one the caller reads the clock again.
                    call.out.push_back(Action::Release(shown));
                    return None;
                }
            }
        }
        if self.live.issue_one(call, self.has_lease(call.now)) {
            return None;
        }
        let state = self.is_over()?;
        // FT 3.3-a: the backup must not go live from a guest that was switched off.
        let released = self.live.released;
        for member in &self.members {
            send(call, member.id, Message::Ended { released });
        }
        Some(Change::Off(state))
    }

    /// The guest's power state, if it is off, the backup has that entry, and every output has left.
    fn is_over(&self) -> Option<PowerState> {
        let state = self.live.is_over()?;
        let end = self.live.recorder.log.seq();
        let known = |member: &Follower| member.sender.acknowledged() >= end;
        (self.members.iter().all(known) && self.gate.is_empty()).then_some(state)
    }

    /// The earliest time at which there is something to do; `None`: only when an event comes.
    pub fn deadline(&self, timeout: Span) -> Option<Time> {
        let wake = if self.stands.is_some() || self.has_stopped() {
            None
        } else {
            self.live.wake()
        };
        let wake = match self.rest() {
            Some(rest) => wake.map(|wake| wake.max(rest)),
            None => wake,
        };
        earliest([
            wake,
            self.flush_due(),
            self.dismissal_deadline(timeout),
            self.giving_deadline(),
            self.members.iter().map(Follower::deadline).min(),
            self.live.clone_deadline(),
            self.live.snapshot_deadline(),
        ])
    }
}

/// Leaves a death notice for a backup with whoever watches this process, if anybody does.
fn leave_notice(call: &mut Call<'_>, member: &Follower, notice: Notice) {
    let settled = match notice {
        Notice::TimeoutOnly => return,
        Notice::Settled => true,
        Notice::Unsettled => false,
    };
    call.out.push_back(member.last_word(settled));
}
