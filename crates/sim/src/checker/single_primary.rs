//! At most one process is live (FT 2-h): who may show effects, and who may not.
//!
//! An action is judged at the moment at which the node hands it out. An action that a stalled process carries
//! out later is a matter of the other checks: a late frame is a duplicate, a late write meets the disk's
//! epoch. This check must never ask a node for its role: it knows the processes by what they do.

use std::collections::BTreeMap;

use replica::{
    Action, ClaimKind, Epoch, Time,
    peer::{
        heartbeat::{Beat, Heartbeat},
        message::Message,
    },
};

use toy_outside::names::{FIRST, ProcessId};

use crate::checker::{Check, Violation, ensure};

/// A process's part in the epochs, by what it did.
#[derive(Debug, Default)]
struct Part {
    /// The epoch of the pair of which it is one half, or was the last time.
    paired: Epoch,
    /// The epoch in which it is: that of its pair, or a later one in which it is live.
    epoch: Epoch,
    /// The newest epoch that it has asked the arbiter for, and so given up its part in the one before;
    /// `None`: it has asked for none.
    asked: Option<Epoch>,
    /// The newest time of its primary's clock that it has echoed: that primary's lease counts from it.
    echoed: Option<Time>,
}

/// What the processes are, by what they did.
#[derive(Debug)]
pub struct SinglePrimary {
    /// Who has been live in each epoch: the primary of a pair that was formed in it, or the process that went
    /// live after a claim. Nobody, in a world whose first pair is to be formed yet.
    owners: BTreeMap<Epoch, ProcessId>,
    /// The part of each process that has joined an epoch.
    parts: BTreeMap<ProcessId, Part>,
    /// How often a process went live after a claim.
    failovers: u64,
}

impl Default for SinglePrimary {
    fn default() -> SinglePrimary {
        SinglePrimary {
            owners: BTreeMap::from([(FIRST, ProcessId::A)]),
            parts: BTreeMap::new(),
            failovers: 0,
        }
    }
}

impl SinglePrimary {
    /// What the processes are before a pair was formed.
    #[must_use]
    pub fn unformed() -> SinglePrimary {
        SinglePrimary {
            owners: BTreeMap::new(),
            ..SinglePrimary::default()
        }
    }

    /// Has no process been live yet?
    #[must_use]
    pub fn is_unformed(&self) -> bool {
        self.owners.is_empty()
    }

    /// `who` is the primary of a pair that was formed in `epoch`, as it has learned now. True if the guest
    /// lives there: its backup may have been faster, and gone on in a later epoch.
    pub fn on_form(&mut self, who: ProcessId, epoch: Epoch) -> bool {
        self.on_join(who, epoch);
        let is_newest = self.owners.range(epoch..).next().is_none();
        if is_newest {
            self.owners.insert(epoch, who);
        }
        is_newest
    }

    /// `who` is one half of a pair in `epoch` from now on: the backup, or the process that has the epoch.
    pub fn on_join(&mut self, who: ProcessId, epoch: Epoch) {
        let part = self.parts.entry(who).or_default();
        part.paired = epoch;
        part.epoch = epoch;
        part.echoed = None;
    }

    /// The epoch in which the pair was formed of which `who` is one half, or was the last time.
    #[must_use]
    pub fn paired(&self, who: ProcessId) -> Epoch {
        self.parts.get(&who).map_or(FIRST, |part| part.paired)
    }

    /// `who`, which has `epoch`, has a backup there from now on.
    pub fn on_member(&mut self, who: ProcessId, epoch: Epoch) {
        let part = self.parts.entry(who).or_default();
        part.paired = part.paired.max(epoch);
    }

    /// `who` is a member of `epoch` by the record of whoever has won it, or by the log, as it has learned
    /// now.
    pub fn on_heir(&mut self, who: ProcessId, epoch: Epoch) {
        let part = self.parts.entry(who).or_default();
        part.epoch = part.epoch.max(epoch);
    }

    /// `who` goes live in `epoch`; `owned` says if that epoch is its own at the arbiter.
    ///
    /// # Errors
    /// If the process has no right to go live.
    pub fn on_go_live(&mut self, who: ProcessId, epoch: Epoch, owned: bool) -> Result<(), Violation> {
        ensure(owned, Check::SinglePrimary, || {
            format!(
                "{who} goes live in epoch {} that the arbiter did not give to it",
                epoch.0
            )
        })?;
        let (newest, owner) = self.newest();
        ensure(epoch > newest, Check::SinglePrimary, || {
            format!(
                "{who} goes live in epoch {}, {owner} did in {}",
                epoch.0, newest.0
            )
        })?;
        let part = self.parts.entry(who).or_default();
        let before = std::mem::replace(&mut part.epoch, epoch);
        // A process that took the guest over from one that is a member still has joined its epoch already.
        let follows = epoch.0 == before.0 + 1 || (epoch == before && part.paired == epoch);
        ensure(follows, Check::SinglePrimary, || {
            format!(
                "{who} goes live in epoch {} though it was part of epoch {}",
                epoch.0, before.0
            )
        })?;
        self.owners.insert(epoch, who);
        self.failovers += 1;
        Ok(())
    }

    /// `who` asks the arbiter for `epoch`. A primary that wants a silent backup excluded (`Resolve`) stays
    /// what it is, under the rules of a pair, until the arbiter has answered.
    ///
    /// # Errors
    /// If that is not the epoch after the one that it is part of.
    pub fn on_ask(&mut self, who: ProcessId, epoch: Epoch, kind: ClaimKind) -> Result<(), Violation> {
        let part = self.parts.entry(who).or_default();
        if kind != ClaimKind::Resolve {
            part.asked = part.asked.max(Some(epoch));
        }
        ensure(epoch.0 == part.epoch.0 + 1, Check::SinglePrimary, || {
            format!(
                "{who} asks for epoch {} as a part of epoch {}",
                epoch.0, part.epoch.0
            )
        })
    }

    /// `who` says this to its peer. With an acknowledgement or an answer to a heartbeat a backup renews
    /// the lease of the process that has the epoch.
    pub fn on_say(&mut self, who: ProcessId, action: &Action) {
        let echo = match action {
            Action::Send(_, bytes) => match Message::decode(bytes) {
                Ok(Message::Ack(ack)) => Some(ack.echo),
                _ => None,
            },
            Action::Heartbeat(_, bytes) => match Heartbeat::decode(bytes).map(|heartbeat| heartbeat.beat) {
                Ok(Beat::Echo(echo)) => echo,
                _ => None,
            },
            _ => None,
        };
        let part = self.parts.entry(who).or_default();
        part.echoed = part.echoed.max(echo);
    }

    /// `who`, a backup, asks the arbiter. `over` tells when a lease that counts from a time of its primary's
    /// clock is over.
    ///
    /// # Errors
    /// If its primary may still show something.
    pub fn may_ask(
        &self,
        who: ProcessId,
        now: Time,
        over: impl FnOnce(Time) -> Time,
    ) -> Result<(), Violation> {
        let lease = self.parts.get(&who).and_then(|part| part.echoed).map(over);
        ensure(lease.is_none_or(|over| over <= now), Check::SinglePrimary, || {
            format!(
                "{who} asks {} us before the primary's lease is over",
                lease.map_or(0, |over| over.since(now).0 / 1000)
            )
        })
    }

    /// `who` hands out something that the world can see. `superseded` says if the arbiter has given the epoch
    /// after its own to another process.
    ///
    /// # Errors
    /// If this process is not the one that may show effects: the one that has the newest epoch in which
    /// anybody has been live, as long as it has not asked for the next one and nobody else has that. Nobody
    /// is given the next epoch before the lease in this one is over.
    pub fn may_show(&self, who: ProcessId, superseded: bool, what: &str) -> Result<(), Violation> {
        let (newest, owner) = self.newest();
        let asked = self.parts.get(&who).and_then(|part| part.asked);
        let entitled = owner == who && asked.is_none_or(|asked| asked <= newest);
        ensure(!entitled || !superseded, Check::SinglePrimary, || {
            format!("{who} {what} though another process has the next epoch")
        })?;
        ensure(entitled, Check::SinglePrimary, || {
            if owner == who || newest == FIRST {
                format!("{who} {what} though it is not live")
            } else {
                format!("{who} {what} though {owner} is live")
            }
        })
    }

    /// `who` says something to its peer.
    ///
    /// # Errors
    /// If this process has asked the arbiter for the epoch after the one of the pair: from then on whatever
    /// it says there, an acknowledgement above all, is a lie. An acknowledgement would renew the lease of the
    /// primary that the claim declares dead (FT 2-h).
    pub fn may_say(&self, who: ProcessId) -> Result<(), Violation> {
        let silent = self
            .parts
            .get(&who)
            .is_some_and(|part| part.asked > Some(part.paired));
        ensure(!silent, Check::SinglePrimary, || {
            format!("{who} speaks to its peer after it asked the arbiter")
        })
    }

    /// The newest epoch in which anybody has been live, and who that was.
    fn newest(&self) -> (Epoch, ProcessId) {
        let newest = self.owners.last_key_value();
        newest.map_or((FIRST, ProcessId::A), |(epoch, who)| (*epoch, *who))
    }

    /// The process that has the newest epoch in which anybody has been live: the guest lives there.
    #[must_use]
    pub fn owner(&self) -> ProcessId {
        self.newest().1
    }

    /// The process that went live last after a claim; `None`: nobody ever did.
    #[must_use]
    pub fn live(&self) -> Option<ProcessId> {
        (self.failovers > 0).then_some(self.newest().1)
    }

    /// How often a process went live after a claim.
    #[must_use]
    pub fn failovers(&self) -> u64 {
        self.failovers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: ProcessId = ProcessId::A;
    const B: ProcessId = ProcessId::B;
    const C: ProcessId = ProcessId::nth(2);

    /// A died, B went live in epoch 2 and has C as its backup there.
    fn second_life() -> SinglePrimary {
        let mut single = SinglePrimary::default();
        single.on_join(A, FIRST);
        single.on_join(B, FIRST);
        assert_eq!(single.on_ask(B, Epoch(2), ClaimKind::Failover), Ok(()));
        assert_eq!(single.on_go_live(B, Epoch(2), true), Ok(()));
        single.on_join(B, Epoch(2));
        single.on_join(C, Epoch(2));
        single
    }

    #[test]
    fn in_each_life_one_process_shows_what_there_is() {
        let mut single = second_life();
        assert_eq!(
            (single.owner(), single.live(), single.failovers()),
            (B, Some(B), 1)
        );
        assert_eq!(single.may_show(B, false, "shows"), Ok(()));
        for other in [A, C] {
            assert!(single.may_show(other, false, "shows").is_err(), "{other}");
        }
        assert_eq!(single.on_ask(C, Epoch(3), ClaimKind::Failover), Ok(()));
        assert_eq!(single.on_go_live(C, Epoch(3), true), Ok(()));
        assert_eq!(single.may_show(C, false, "shows"), Ok(()));
        assert!(single.may_show(B, false, "shows").is_err());
        assert_eq!((single.owner(), single.failovers()), (C, 2));
    }

    #[test]
    fn a_process_shows_nothing_once_it_asks_or_the_next_epoch_is_taken() {
        let mut single = second_life();
        assert!(single.may_show(B, true, "shows").is_err());
        assert_eq!(single.on_ask(B, Epoch(3), ClaimKind::Failover), Ok(()));
        assert!(single.may_show(B, false, "shows").is_err());
    }

    #[test]
    fn a_process_speaks_again_to_the_backup_that_it_has_in_its_new_epoch() {
        let mut single = SinglePrimary::default();
        single.on_join(B, FIRST);
        assert_eq!(single.on_ask(B, Epoch(2), ClaimKind::Failover), Ok(()));
        assert!(single.may_say(B).is_err());
        let mut single = second_life();
        assert_eq!(single.may_say(B), Ok(()));
        assert_eq!(single.on_ask(C, Epoch(3), ClaimKind::Failover), Ok(()));
        assert!(single.may_say(C).is_err());
    }

    #[test]
    fn nobody_takes_an_epoch_that_is_not_the_next_one() {
        let mut single = second_life();
        assert!(single.on_ask(C, Epoch(4), ClaimKind::Failover).is_err());
        assert!(single.on_go_live(C, Epoch(4), true).is_err());
        let mut single = second_life();
        let late = single.on_go_live(A, Epoch(2), true).unwrap_err();
        assert!(late.what.contains("B did in 2"), "{late:?}");
        assert!(single.on_go_live(C, Epoch(3), false).is_err());
    }

    #[test]
    fn a_lease_is_that_of_the_pair_that_a_process_is_in() {
        let mut single = second_life();
        let over = |echo: Time| echo;
        single.parts.entry(C).or_default().echoed = Some(Time(100));
        assert!(single.may_ask(C, Time(99), over).is_err());
        assert_eq!(single.may_ask(C, Time(100), over), Ok(()));
        single.on_join(C, Epoch(2));
        assert_eq!(single.may_ask(C, Time(0), over), Ok(()));
    }
}
