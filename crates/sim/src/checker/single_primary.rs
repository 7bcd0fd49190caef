//! At most one side is live (FT 2-h): who may show effects, and who may not.
//!
//! An action is judged at the moment at which the node hands it out. An action that a stalled process carries
//! out later is a matter of the other checks: a late frame is a duplicate, a late write meets the disk's
//! epoch. This check must never ask a node for its role: it knows the sides by what they do.

use replica::{
    Action, Epoch, Time,
    peer::message::{Beat, Heartbeat, Message},
};

use crate::{
    checker::{Check, Violation, ensure},
    pair::SideName,
};

/// What the sides are, by what they did.
#[derive(Debug, Default)]
pub struct SinglePrimary {
    /// The side that went live after a claim, and its epoch.
    live: Option<(SideName, Epoch)>,
    /// By side: has it asked the arbiter, and so given up its part in the pair?
    asked: [bool; 2],
    /// The newest time of the primary's clock that the backup has echoed: the primary's lease counts from it.
    echoed: Option<Time>,
}

impl SinglePrimary {
    /// `side` goes live in `epoch`; `owned` says if that epoch is its own at the arbiter, `pair` is the epoch
    /// of the pair.
    ///
    /// # Errors
    /// If the side has no right to go live.
    pub fn on_go_live(
        &mut self,
        side: SideName,
        epoch: Epoch,
        pair: Epoch,
        owned: bool,
    ) -> Result<(), Violation> {
        ensure(owned, Check::SinglePrimary, || {
            format!(
                "{side} goes live in epoch {} that the arbiter did not give to it",
                epoch.0
            )
        })?;
        ensure(epoch > pair, Check::SinglePrimary, || {
            format!("{side} goes live in epoch {}, that of the pair", epoch.0)
        })?;
        if let Some((other, theirs)) = self.live {
            let what = format!(
                "{side} goes live in epoch {}, {other} did in {}",
                epoch.0, theirs.0
            );
            return Err(Violation::new(Check::SinglePrimary, what));
        }
        self.live = Some((side, epoch));
        Ok(())
    }

    /// `side` asks the arbiter.
    pub fn on_ask(&mut self, side: SideName) {
        self.asked[side.index()] = true;
    }

    /// `side` says this to its peer. With an acknowledgement or an answer to a heartbeat the backup renews
    /// the lease.
    pub fn on_say(&mut self, side: SideName, action: &Action) {
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
        if side == SideName::B {
            self.echoed = self.echoed.max(echo);
        }
    }

    /// The backup asks the arbiter. `over` tells when a lease that counts from a time of the primary's clock
    /// is over.
    ///
    /// # Errors
    /// If the primary may still show something.
    pub fn may_ask(&self, now: Time, over: impl FnOnce(Time) -> Time) -> Result<(), Violation> {
        let lease = self.echoed.map(over);
        ensure(lease.is_none_or(|over| over <= now), Check::SinglePrimary, || {
            format!(
                "B asks {} us before the primary's lease is over",
                lease.map_or(0, |over| over.since(now).0 / 1000)
            )
        })
    }

    /// `side` hands out something that the world can see.
    ///
    /// # Errors
    /// If this side is not the one that may show effects.
    pub fn may_show(&self, side: SideName, what: &str) -> Result<(), Violation> {
        let entitled = match self.live {
            Some((live, _)) => live == side,
            None => side == SideName::A && !self.asked[side.index()],
        };
        ensure(entitled, Check::SinglePrimary, || match self.live {
            Some((live, _)) => format!("{side} {what} though {live} is live"),
            None => format!("{side} {what} though it is not live"),
        })
    }

    /// `side` says something to its peer.
    ///
    /// # Errors
    /// If this side has asked the arbiter: from then on whatever it says, an acknowledgement above all, is a
    /// lie. An acknowledgement would renew the lease of the primary that the claim declares dead (FT 2-h).
    pub fn may_say(&self, side: SideName) -> Result<(), Violation> {
        ensure(!self.asked[side.index()], Check::SinglePrimary, || {
            format!("{side} speaks to its peer after it asked the arbiter")
        })
    }

    /// The side that went live after a claim.
    #[must_use]
    pub fn live(&self) -> Option<SideName> {
        self.live.map(|(side, _)| side)
    }
}
