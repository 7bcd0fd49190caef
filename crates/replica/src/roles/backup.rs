//! `Backup`: the role that replays the primary's log, and is ready to go on where it ends (FT 2-a).
//!
//! `Node` gives it the primary's messages. It acknowledges each frame of the log as soon as it has come (FT
//! 3.2-b), has the replayer run the guest by it, and keeps those outputs of the replay that may not have left
//! the primary. When it suspects the primary it becomes `Claiming`. What the primary says is taken in here;
//! `backup/slices` has what is done in each slice of the guest, `backup/birth`
//! how a backup begins.
//!
//! A backup never shows an output, takes no input but those in the log, and asks no disk (FT 2-c, FT 2-e). It
//! never breaks the promise in an acknowledgement: not to claim before the primary's lease is over.

use std::collections::VecDeque;

use machine::{DiskOperation, Step};

use crate::event::{Action, Epoch, Event, News, PeerId, Shown, SnapshotEvent, Suspicion};
use crate::guest::Guest;
use crate::guest::clock::Speed;
use crate::guest::replay::Replayer;
use crate::mutation;
use crate::mutation::Mutation;
use crate::peer::detect::Detector;
use crate::peer::lag::Lag;
use crate::peer::pulse::Pulse;
use crate::roles::call::{Call, send};
use crate::roles::gate;
use crate::roles::table::Change;
use crate::snapshot::Snapshot;
use messages::heartbeat::{Beat, Heartbeat};
use messages::message::{Ack, Log, Message};
use messages::time::{Span, Time};
use vmlog::codec;
use vmlog::codec::Decoder;
use vmlog::entry::{EntryKind, Mark, Seq};
use vmlog::parcel::Parcel;

mod birth;
mod slices;

/// The half of a pair that replays and waits.
#[derive(Debug)]
pub struct Backup {
    /// The link to the primary.
    primary: PeerId,
    /// This process, as the log names a member.
    process: u128,
    /// The epoch of the pair, and the process that has it.
    epoch: (Epoch, u128),
    /// The last entry before this replica's part of the log, and how many outputs the guest had produced by
    /// then; `None`: an apprentice that has not heard of the cut.
    start: Option<(Seq, u64)>,
    /// Most log that waits here to be replayed, in bytes and [`crate::limits::ENTRY_COST`]s.
    buffer_max: u64,
    /// Has the log said that this process is a member? A pair that boots begins with one.
    guarded: bool,
    /// Has the log said that the guest stands, as its operator wants?
    paused: bool,
    /// The failure-detection timeout of the pair; each acknowledgement promises not to claim for so long.
    timeout: Span,
    /// Is the log also written to a file as it comes?
    file: bool,
    /// Turns frames into entries. It stands behind the last entry received.
    decoder: Decoder,
    replayer: Replayer,
    /// The snapshot of this side's guest that is under way; `None`: there is none.
    snapshot: Option<Snapshot>,
    /// The guest's measured speed, which sets the length of a slice.
    speed: Speed,
    detector: Detector,
    /// FT 2.2-e: outputs of the replay that are not known to have left the primary, oldest first, each with
    /// its number in the guest's life (from 1). Disk requests are not among them: the guest itself knows
    /// which of its requests have no answer.
    kept: VecDeque<(u64, Shown)>,
    /// What `kept` counts by [`gate::cost`]. From [`crate::limits::KEPT_BYTES_MAX`] on the replay stands.
    kept_bytes: usize,
    /// How many outputs of the guest's life have left, as the primary said last. Never falls.
    released: u64,
    /// When the newest message was sent, on the primary's clock; `None` before the first. Never falls.
    sent: Option<Time>,
    /// The newest time of the primary's clock that has come, in any way: acknowledgements echo it.
    echo: Option<Time>,
    lag: Lag,
    /// Before this time this replica must not claim: its last acknowledgement, or answer to a heartbeat, gave
    /// the primary a lease that ends before it. `None`: there is no such lease.
    promised: Option<Time>,
    /// The last acknowledgement, and when it was sent.
    told: Option<(Ack, Time)>,
    /// When the last `Clock` entry came, and its `mtime`.
    clock: Option<(Time, u64)>,
    /// Has the primary said `Ended`: the guest is off and its outputs have left? Then it may be silent.
    ended: bool,
    /// Has the primary said `Dismiss`: this side has promised never to claim?
    dismissed: bool,
    /// Has the primary said `HandOver`: it has stopped and leaves the VM to this side? Then this says whether
    /// it wants to be the backup of this side.
    left: Option<bool>,
    /// This side's heartbeats: answers to the primary's, and signs of life while it says nothing.
    pulse: Pulse,
    /// The primary's process, of whose end a death notice must speak; `None`: no notice is believed.
    watched: Option<u128>,
    /// Has a death notice come that this side believes? Then this says whether it is certain that no write of
    /// the dead process is under way at a disk any more. `None`: no notice has come.
    settled: Option<bool>,
}

impl Backup {
    /// Has the log said that this process is a member?
    pub fn is_guarded(&self) -> bool {
        self.guarded
    }

    /// The epoch of which this side is a member, or would be.
    pub fn epoch(&self) -> Epoch {
        self.epoch.0
    }

    /// Does the guest stand, as its operator wants?
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Has the primary said that the guest is off?
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// Has the primary handed the VM over to this side, and wants to be its backup?
    pub fn is_heir_wanted(&self) -> bool {
        self.left == Some(true)
    }

    /// Outputs of the guest's life that were equal to those of the log.
    pub fn outputs(&self) -> u64 {
        self.replayer.outputs()
    }

    /// Digests that were equal to those of the log.
    pub fn digests(&self) -> u64 {
        self.replayer.digests()
    }

    /// Takes an event from the world, and gives the change of role that follows from it.
    pub fn handle<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, event: Event) -> Option<Change> {
        self.detector.look(call.now);
        match event {
            Event::Peer(peer, bytes) if peer == self.primary => {
                if let Err(broken) = self.on_peer(call, guest, &bytes) {
                    return Some(Change::Broken(broken));
                }
                if self.dismissed && !mutation::is(Mutation::DismissedClaims) {
                    return Some(Change::Dismissed);
                }
                if self.left.is_some() {
                    return Some(Change::Suspect(Suspicion::Left));
                }
            }
            Event::LinkLost(peer) if peer == self.primary && !self.ended => {
                return Some(Change::Suspect(Suspicion::LinkLost));
            }
            Event::Heartbeat(peer, bytes) if peer == self.primary => {
                if let Some(Beat::Sent(sent)) = self.pulse.hear(&bytes) {
                    self.on_beat(call, sent);
                } else if self.hear_death(call, &bytes) && !self.ended {
                    return Some(Change::Suspect(Suspicion::Ended));
                }
            }
            Event::Snapshot(SnapshotEvent::Begin(order)) => {
                self.snapshot
                    .get_or_insert_with(|| Snapshot::new(call.now, order));
            }
            Event::Snapshot(event) => {
                if let Some(snapshot) = &mut self.snapshot {
                    snapshot.handle(&event);
                }
            }
            // FT 2-c: inputs enter at the primary.
            Event::Peer(..)
            | Event::LinkLost(_)
            | Event::Heartbeat(..)
            | Event::Input(_)
            | Event::DiskDone(_)
            | Event::Verdict(..)
            | Event::Ports(_)
            | Event::Leave
            | Event::HandOver
            | Event::Joined(_)
            | Event::Bulk(..)
            | Event::BulkRoom { .. }
            | Event::Checked(..)
            | Event::Unprotect
            | Event::Pause(_) => {}
        }
        self.suspect(call.now)
    }

    /// The suspicion, if the primary has been silent for too long and has not said `Ended`.
    fn suspect(&self, now: Time) -> Option<Change> {
        if self.ended {
            return None;
        }
        self.detector.suspects(now).map(Change::Suspect)
    }

    fn on_peer<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, bytes: &[u8]) -> Result<(), String> {
        let message = Message::decode(bytes).map_err(|why| format!("a message is damaged: {why}"))?;
        self.on_message(call, guest, message)
    }

    /// Takes a message of the primary.
    ///
    /// # Errors
    /// No correct primary would send it; the sentence says why.
    pub fn on_message<G: Guest>(
        &mut self,
        call: &mut Call<'_>,
        guest: &G,
        message: Message,
    ) -> Result<(), String> {
        if self.ended {
            return Err("it goes on after the end".to_owned());
        }
        match message {
            Message::Log(log) => self.on_log(call, guest, log),
            Message::Ended { released } => {
                self.on_released(released)?;
                self.ended = true;
                self.detector.on_message(call.now);
                Ok(())
            }
            Message::Dismiss => {
                // From here on this side never claims, whatever it hears or does not hear.
                self.dismissed = true;
                send(call, self.primary, Message::Dismissed);
                Ok(())
            }
            Message::HandOver { released, rejoin } => {
                self.on_released(released)?;
                // The primary shows nothing any more, whatever lease it had: no lease is to be waited for.
                self.promised = None;
                self.left = Some(rejoin);
                Ok(())
            }
            _ => Err("it sent a message that only a backup sends".to_owned()),
        }
    }

    fn on_log<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, log: Log) -> Result<(), String> {
        if self.sent.is_some_and(|sent| log.sent < sent) {
            return Err("its clock goes back".to_owned());
        }
        if !log.frame.is_empty() {
            self.on_frame(call, log.frame)?;
        }
        if self.start.is_some() {
            self.on_released(log.released)?;
        }
        self.sent = Some(log.sent);
        self.echo = self.echo.max(self.sent);
        self.detector.on_message(call.now);
        // FT 3.2-b, 2-f: the acknowledgement means received, not executed. It also renews the primary's lease
        // (peer/channel.rs), so it is a promise not to claim for a timeout.
        self.promised = Some(call.now.after(self.timeout));
        self.acknowledge(call, guest.now());
        self.expect(call.now);
        Ok(())
    }

    /// Answers a heartbeat at once. That renews the primary's lease, and promises what an acknowledgement
    /// does.
    fn on_beat(&mut self, call: &mut Call<'_>, sent: Time) {
        if self.ended || self.left.is_some() || self.echo.is_some_and(|echo| sent <= echo) {
            return;
        }
        self.echo = Some(sent);
        self.detector.on_heartbeat(call.now);
        if !mutation::is(Mutation::BeatWithoutPromise) {
            self.promised = Some(call.now.after(self.timeout));
        }
        self.beat(call);
        self.expect(call.now);
    }

    /// Takes a death notice, here and while a claim is under way. True: the primary's host says, to be
    /// believed, that the process which is this pair's primary has ended.
    pub fn hear_death(&mut self, call: &mut Call<'_>, bytes: &[u8]) -> bool {
        let Some(watched) = self.watched else {
            return false;
        };
        let said = if mutation::is(Mutation::NoticeOfAnyone) {
            Heartbeat::decode(bytes).ok()
        } else {
            // A notice of an earlier epoch, or of another process, says nothing about this primary.
            self.pulse.hear_from(bytes, watched)
        };
        let Some(Beat::Ended { settled }) = said.map(|heartbeat| heartbeat.beat) else {
            return false;
        };
        self.settled = Some(settled);
        call.metrics.peer_ended_at.get_or_insert(call.now);
        true
    }

    /// Is the primary known to be dead, and nothing of it on its way to a disk? Then its lease is worth
    /// nothing, and the claim need not wait for the lease to end. All log must have been replayed: only then
    /// the guest knows each write that the primary may have sent.
    pub fn is_lease_void<G: Guest>(&self, guest: &G) -> bool {
        let reads = |operation: &DiskOperation| matches!(operation, DiskOperation::Read { .. });
        self.settled.is_some_and(|settled| {
            settled
                || mutation::is(Mutation::NoticeIsLeaseEnd)
                || guest
                    .pending_disk()
                    .iter()
                    .all(|request| reads(&request.operation))
        })
    }

    /// Puts this side's own heartbeat off: the answer to the primary's next one is sign of life enough.
    fn expect(&mut self, now: Time) {
        self.pulse.skip(now, 2);
    }

    fn beat(&mut self, call: &mut Call<'_>) {
        call.out
            .push_back(self.pulse.send(call.now, Beat::Echo(self.echo)));
    }

    /// Takes a frame: its entries go to the replayer, and its bytes to the file if there is one.
    fn on_frame(&mut self, call: &mut Call<'_>, frame: Parcel) -> Result<(), String> {
        match codec::extent(&frame) {
            Ok(codec::Extent::Bytes(bytes)) if bytes == frame.len() => {}
            Ok(_) => return Err("a frame has another length than it says".to_owned()),
            Err(why) => return Err(why.to_string()),
        }
        if self.start.is_none() {
            return Err("it sends log before the cut".to_owned());
        }
        let mtime = self.decoder.mtime();
        let entries = self.decoder.frame(&frame).map_err(|why| why.to_string())?;
        let count = entries.len() as u64;
        let cost = codec::cost(frame.len(), count);
        if self.replayer.buffered() + cost > self.buffer_max {
            return Err("it sends more than this side has room for".to_owned());
        }
        if self.decoder.mtime() != mtime {
            self.clock = Some((call.now, self.decoder.mtime()));
        }
        for entry in &entries {
            self.on_mark(call, &entry.kind)?;
        }
        call.metrics.entries += count;
        call.metrics.log_bytes += frame.len() as u64;
        self.replayer.push(entries, cost);
        self.lag.on_received(call.now, self.decoder.step());
        if self.file {
            call.out.push_back(Action::Append(frame));
        }
        Ok(())
    }

    /// Takes what an entry that has just come says of the pair. It counts from its receipt: the primary shows
    /// nothing after it that this side has not acknowledged.
    fn on_mark(&mut self, call: &mut Call<'_>, kind: &EntryKind) -> Result<(), String> {
        if let EntryKind::Mark(Mark::Paused(paused)) = *kind
            && !mutation::is(Mutation::PauseForgotten)
        {
            self.paused = paused;
            call.out.push_back(Action::Tell(News::Paused(paused)));
        }
        let EntryKind::Mark(Mark::Guarded { epoch, owner, member }) = kind else {
            return Ok(());
        };
        if *member != self.process {
            return Ok(());
        }
        // The owner may have won another epoch since, with this side for its heir or for its apprentice.
        let is_news = *epoch > self.epoch.0 || (*epoch == self.epoch.0 && !self.guarded);
        if *owner != self.epoch.1 || !is_news {
            return Err("its log makes this side a member of another pair".to_owned());
        }
        (self.epoch.0, call.metrics.epoch) = (*epoch, *epoch);
        self.guarded = true;
        Ok(())
    }

    /// The first `released` outputs of the guest's life have left: none of them need be kept any more.
    fn on_released(&mut self, released: u64) -> Result<(), String> {
        if released < self.released {
            return Err("it takes outputs back".to_owned());
        }
        // Each output has an entry, and a primary sends that entry before the output leaves. The owner of an
        // apprentice waits for nobody, so the apprentice may hear of an output before its entry comes.
        let (first, outputs) = self.start.unwrap_or_default();
        if self.guarded && released.saturating_sub(outputs) > self.decoder.seq().0 - first.0 {
            return Err("it has shown outputs without entries".to_owned());
        }
        self.released = released;
        while let Some((index, shown)) = self.kept.front()
            && *index <= released
        {
            self.kept_bytes -= gate::cost(shown.bytes());
            self.kept.pop_front();
        }
        Ok(())
    }

    /// Sends an acknowledgement, unless nothing has come from the primary yet.
    pub fn acknowledge(&mut self, call: &mut Call<'_>, executed: Step) {
        let Some(echo) = self.echo else {
            return;
        };
        let behind = self.lag.on_executed(call.now, executed);
        let ack = Ack {
            received: self.decoder.seq(),
            executed,
            echo,
            buffered: self.replayer.buffered(),
            behind,
        };
        self.told = Some((ack, call.now));
        call.metrics.acks += 1;
        send(call, self.primary, Message::Ack(ack));
    }

    /// Acknowledges though a claim is under way, which a correct backup never does: only for
    /// [`crate::mutation::Mutation::AckWhileClaiming`].
    pub fn acknowledge_while_claiming(&mut self, call: &mut Call<'_>, event: Event) {
        if let Event::Peer(_, bytes) = event
            && let Ok(Message::Log(log)) = Message::decode(&bytes)
            && (log.frame.is_empty() || self.on_frame(call, log.frame).is_ok())
        {
            self.echo = self.echo.max(Some(log.sent));
            self.acknowledge(call, Step(0));
        }
    }

    /// Drops the log from its last output on, which a correct backup never does: only for
    /// [`crate::mutation::Mutation::DrainShort`].
    pub fn forget_last_output(&mut self) {
        self.replayer.forget_last_output();
    }

    /// Time since the primary's last sign of life.
    pub fn silence(&self, now: Time) -> Span {
        self.detector.silence(now)
    }

    /// When this replica may claim at the earliest: then the primary's lease is over. `None`: at once.
    pub fn claim_not_before(&self) -> Option<Time> {
        self.promised
    }

    /// What the guest did at its last step without an entry in the log, see [`Replayer::take_loose_ends`].
    pub fn take_loose_ends(&mut self) -> (Vec<machine::Effect>, Vec<u32>) {
        self.replayer.take_loose_ends()
    }

    /// The decoder, which stands where the received log ends: a survivor's encoder goes on from there.
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }
}
