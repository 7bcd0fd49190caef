//! Death notices: a process's watcher tells its backup that the process has ended (docs/protocol.md, "Death
//! notices"), and notices come that mean nobody here.
//!
//! A watcher tells the truth and may be late: after the lease, after the claim, twice, or never. Where the
//! process's disk requests are certain to end with it (`Notice::Settled`) the watcher waits for them. A real
//! link carries no notice of another link; here such notices come all the same, of earlier and later epochs
//! and of any other process, and a node must believe none of them. What a notice does is the node's affair.

use replica::peer::heartbeat::{Beat, Heartbeat};
use replica::{Epoch, Event, Notice, PeerId, Span};

use toy::random::Random;
use toy_outside::{names::ProcessId, network::Left};

use crate::{
    options::{ms, us},
    process::owner,
    schedule::What,
    subject::Subject,
    world::World,
};

/// How long after the end of a process its watcher's notice comes, each time that it comes.
fn fate(random: &mut Random, timeout: Span) -> Vec<Span> {
    let soon = random.span(us(20), ms(2));
    let late = random.span(ms(1), timeout);
    let after_the_lease = Span(timeout.0 + random.below(timeout.0));
    let after_the_claim = Span(timeout.0 * random.between(2, 10));
    let any = random.pick(&[soon, late, after_the_lease, after_the_claim]);
    match random.below(8) {
        0..=2 => vec![soon],
        3 => vec![late],
        4 => vec![after_the_lease],
        5 => vec![after_the_claim],
        6 => vec![soon, any],
        _ => vec![],
    }
}

impl<G: Subject> World<G> {
    /// A process leaves a notice with its watcher.
    pub(crate) fn leave_notice(&mut self, who: ProcessId, peer: PeerId, bytes: Vec<u8>) {
        if let Some((link, _)) = self.peer(who, peer) {
            self.processes[who].notices.push(Left { link, bytes });
        }
    }

    /// A process has ended, and its host has not: its watcher tells.
    pub(crate) fn on_end(&mut self, who: ProcessId) {
        for left in std::mem::take(&mut self.processes[who].notices) {
            for after in fate(&mut self.omens, self.options.timeout) {
                self.schedule(self.now.after(after), What::Notice(who, left.clone()));
            }
        }
    }

    /// The watcher of a process that has ended sends a notice.
    pub(crate) fn on_notice(&mut self, who: ProcessId, left: Left) {
        if self.options.notice == Notice::Settled
            && let Some(last) = self.storage.last_change_of(who)
        {
            // A process has not ended before its requests have.
            self.schedule(last.after(us(1)), What::Notice(who, left));
            return;
        }
        let to = self.network.other_end(left.link, who);
        let process = &mut self.processes[to];
        // Without the link there is no key by which the notice could be read.
        let peer = process.peer_on(left.link);
        if let Some(peer) = peer.filter(|_| process.no_heartbeats <= self.now) {
            process.told_of_end.insert(who);
            self.trace(Some(to), || format!("= is told that {who} has ended"));
            self.deliver(to, Event::Heartbeat(peer, left.bytes));
        }
    }

    /// A notice comes that does not mean the process whose log somebody follows. Then the next one will.
    pub(crate) fn on_stray_notice(&mut self) {
        self.stray_notice_appointment();
        let follows = |who: &ProcessId| {
            let process = self.process(*who);
            process.is_alive() && process.node.is_some() && process.follows.is_some()
        };
        let followers: Vec<ProcessId> = self.processes.names().filter(follows).collect();
        if followers.is_empty() {
            return;
        }
        let to = self.omens.pick(&followers);
        let (epoch, primary) = (self.process(to).epoch, self.process(to).primary);
        let all: Vec<ProcessId> = self.processes.names().collect();
        let of = owner(self.options.seed, self.omens.pick(&all));
        let notice = Heartbeat {
            epoch: Epoch(epoch.0 - 1 + self.omens.below(3)),
            // The process itself in another epoch is as likely as another process.
            owner: self.omens.pick(&[primary, of]),
            beat: Beat::Ended {
                settled: self.omens.permille(500),
            },
        };
        // A link's notices name the epoch in which the link's pair was formed.
        if (notice.epoch, notice.owner) == (self.checks.single.paired(to), primary) {
            return;
        }
        self.trace(Some(to), || {
            format!("= a notice comes of another epoch or process: {notice:?}")
        });
        self.tell(to, notice.encode().to_vec());
    }

    /// A datagram comes for a process that follows another one, as if it came from there.
    pub fn tell(&mut self, who: ProcessId, datagram: Vec<u8>) {
        let peer = self.process(who).peer;
        self.deliver(who, Event::Heartbeat(peer, datagram));
    }

    /// Has the next notice come that means nobody here, where processes have watchers.
    pub(crate) fn stray_notice_appointment(&mut self) {
        if self.options.notice != Notice::TimeoutOnly && self.is_anybody_alive() {
            let after = self.omens.span(ms(1), ms(300));
            self.schedule(self.now.after(after), What::StrayNotice);
        }
    }

    /// Was a process told that the one which it follows has ended, and is no write of that on its way to the
    /// disk? Then it need not wait for the end of the lease.
    pub(crate) fn is_lease_void(&self, who: ProcessId) -> bool {
        let process = self.process(who);
        let is_over = |primary: ProcessId| {
            let is_settled = self.storage.last_change_of(primary).is_none();
            // A primary that has won the next epoch writes what the process which asks knows nothing of, and
            // that process loses.
            let has_gone_on = self.process(primary).epoch > process.epoch;
            !self.process(primary).is_alive() && (is_settled || has_gone_on)
        };
        let ended = process
            .follows
            .filter(|primary| process.told_of_end.contains(primary));
        ended.is_some_and(is_over)
    }
}
