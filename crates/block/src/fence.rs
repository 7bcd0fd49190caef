//! `Fence`: which connections may change the disks of one VM, and what must be over before a newer owner
//! hears that the disks are its own.
//!
//! A replica that stood still may wake up with a write in its hand after the other side has gone live, and a
//! write may hang in the server itself. So it is not enough to refuse old epochs from now on: a newer one is
//! admitted only when no change of an older one is under way (S1), and never again does an older one change
//! anything. SCSI's PREEMPT AND ABORT is the same idea.
//!
//! The server asks [`Fence::check`], makes what is to be remembered durable, then calls [`Fence::admit`] or
//! [`Fence::raise`], and waits until [`Fence::is_drained`] before it answers. Each change of a disk stands
//! between [`Fence::begin`] and [`Fence::end`].
//!
//! Invariant: at most one owner has lanes that may write and are not severed.

use std::collections::BTreeMap;
use std::fmt;

use crate::ask::{Mode, Token};
use crate::limits::{RETURN_GRACE_MS, STOCK_GRACE_MS};

/// A time of the server: milliseconds since any moment, as long as it is the same one for all calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub u64);

/// Names a connection to the server for as long as the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane(pub u64);

/// What a fence has to remember over the server's end: which owner may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The latest epoch that the server has heard of; 0: of none.
    pub epoch: u64,
    /// The process that has that epoch; `None`: nobody has written yet.
    pub owner: Option<u128>,
    /// Has the owner said that it is done? Then anybody may take its place at once.
    pub idle: bool,
}

/// What has to be done before a client is admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing is new: the client may be admitted.
    Nothing,
    /// This standing is to be made durable first.
    Remember(Standing),
}

/// Why a client is not admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// A later epoch has the disks: this client must never write again.
    Superseded {
        /// That epoch.
        by: u64,
    },
    /// Another process has the same epoch, or has taken the place of this one: it must never write again.
    OtherOwner {
        /// The epoch.
        epoch: u64,
    },
    /// A later connection of the same process is there.
    OldSession,
    /// Another process uses the disks, or did until a moment ago, and this client has no epoch that says that
    /// the other one is over.
    InUse {
        /// The epoch of the other process.
        epoch: u64,
        /// Is the other process connected at this moment?
        connected: bool,
    },
}

impl Refusal {
    /// Can the client never be admitted, whatever happens?
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Refusal::Superseded { .. } | Refusal::OtherOwner { .. })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Superseded { by } => write!(f, "epoch {by} has the disks now"),
            Refusal::OtherOwner { epoch } => write!(f, "another process has epoch {epoch}"),
            Refusal::OldSession => f.write_str("a later connection of the same process is there"),
            Refusal::InUse { epoch, connected } => {
                let when = if *connected {
                    ""
                } else {
                    " until a moment ago, and may come back; try again in ten seconds"
                };
                write!(f, "another process uses the disks in epoch {epoch}{when}")
            }
        }
    }
}

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Right {
    /// Change the disks, as this process.
    Write(Token),
    /// Change the disks, as a program that knows of no epochs.
    Stock,
    /// Nothing but read.
    Read,
}

/// A connection.
#[derive(Debug)]
struct Connection {
    right: Right,
    /// Changes between [`Fence::begin`] and [`Fence::end`].
    changing: usize,
    /// Is it cut off from all changes, because somebody newer is there?
    severed: bool,
}

impl Connection {
    fn writes(&self) -> bool {
        !self.severed && self.right != Right::Read
    }
}

/// The fence around the disks of one VM.
#[derive(Debug)]
pub struct Fence {
    standing: Standing,
    /// The latest session of the owner; 0: it has not connected since the server began.
    session: u64,
    connections: BTreeMap<Lane, Connection>,
    /// Until when the owner may be expected to come back, and until when programs without epochs may not
    /// write; `None`: nobody is expected.
    expected: Option<Expected>,
}

#[derive(Clone, Copy, Debug)]
struct Expected {
    owner_until: Time,
    stock_from: Time,
}

impl Expected {
    fn since(now: Time) -> Expected {
        Expected {
            owner_until: Time(now.0.saturating_add(RETURN_GRACE_MS)),
            stock_from: Time(now.0.saturating_add(STOCK_GRACE_MS)),
        }
    }
}

impl Fence {
    /// A fence as it was remembered, at the beginning of a server: the owner may come back.
    #[must_use]
    pub fn new(standing: Standing, now: Time) -> Fence {
        let expects = standing.owner.is_some() && !standing.idle;
        Fence {
            standing,
            session: 0,
            connections: BTreeMap::new(),
            expected: expects.then(|| Expected::since(now)),
        }
    }

    /// Who may write, as it is to be remembered.
    #[must_use]
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// May a client be admitted, and what is to be remembered before?
    ///
    /// # Errors
    /// It may not.
    pub fn check(&self, token: &Token, mode: Mode, now: Time) -> Result<Need, Refusal> {
        let Standing { epoch, owner, .. } = self.standing;
        match mode {
            // A backup and whoever looks only want to see what is there.
            Mode::Read | Mode::Probe => return Ok(Need::Nothing),
            Mode::Start => {
                let ours = owner == Some(token.owner);
                let connected = self.owner_is_there();
                let expected = self.expected.is_some_and(|expected| now < expected.owner_until);
                if !ours && (connected || expected) {
                    return Err(Refusal::InUse { epoch, connected });
                }
            }
            Mode::Write => {
                if token.epoch < epoch {
                    return Err(Refusal::Superseded { by: epoch });
                }
                if token.epoch == epoch && owner.is_some_and(|owner| owner != token.owner) {
                    return Err(Refusal::OtherOwner { epoch });
                }
            }
        }
        if owner == Some(token.owner) && token.session < self.session {
            return Err(Refusal::OldSession);
        }
        let standing = self.standing_of(token, mode);
        Ok(if standing == self.standing {
            Need::Nothing
        } else {
            Need::Remember(standing)
        })
    }

    /// Admits a client that was checked, with nothing in between but that its standing was made durable.
    /// Gives the connections that are cut off by that, which the server should close.
    pub fn admit(&mut self, lane: Lane, token: Token, mode: Mode) -> Vec<Lane> {
        let right = match mode {
            Mode::Read | Mode::Probe => Right::Read,
            Mode::Write | Mode::Start => Right::Write(token),
        };
        let severed = match mode {
            Mode::Read | Mode::Probe => Vec::new(),
            Mode::Write | Mode::Start => {
                let is_same = self.standing.owner == Some(token.owner);
                self.standing = self.standing_of(&token, mode);
                self.session = if is_same {
                    self.session.max(token.session)
                } else {
                    token.session
                };
                self.expected = None;
                self.sever()
            }
        };
        self.connect(lane, right);
        severed
    }

    /// Could a program that knows of no epochs write? Only where nobody else may, and no owner is expected.
    #[must_use]
    pub fn allows_stock(&self, now: Time) -> bool {
        let expected = self.expected.is_some_and(|expected| now < expected.stock_from);
        !expected && !self.connections.values().any(Connection::writes)
    }

    /// Admits a program that knows of no epochs; whether it may write.
    pub fn admit_stock(&mut self, lane: Lane, now: Time) -> bool {
        let right = match self.allows_stock(now) {
            true => Right::Stock,
            false => Right::Read,
        };
        self.connect(lane, right);
        right == Right::Stock
    }

    /// What is to be remembered before [`Fence::raise`]; `None`: the claim is of no later epoch than is
    /// known.
    #[must_use]
    pub fn raised(&self, epoch: u64, owner: u128) -> Option<Standing> {
        (epoch > self.standing.epoch).then_some(Standing {
            epoch,
            owner: Some(owner),
            idle: false,
        })
    }

    /// Notes that a process has claimed an epoch, so that nobody of an earlier one may change anything. Its
    /// own connections of earlier epochs stay. Gives the connections that are cut off by that.
    pub fn raise(&mut self, epoch: u64, owner: u128, now: Time) -> Vec<Lane> {
        let Some(standing) = self.raised(epoch, owner) else {
            return Vec::new();
        };
        if self.standing.owner != Some(owner) {
            self.session = 0;
            self.expected = Some(Expected::since(now));
        }
        self.standing = standing;
        self.sever()
    }

    /// Is no change under way of anybody who is cut off? Only then may a newer owner be told that it is one.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.connections
            .values()
            .all(|one| !one.severed || one.changing == 0)
    }

    /// Begins a change of a disk. `false`: this connection may change nothing, and the change must not be
    /// made.
    #[must_use]
    pub fn begin(&mut self, lane: Lane) -> bool {
        match self.connections.get_mut(&lane) {
            Some(connection) if connection.writes() => {
                connection.changing += 1;
                true
            }
            _ => false,
        }
    }

    /// Ends a change that was begun, whatever came of it. Whether somebody may wait for that.
    pub fn end(&mut self, lane: Lane) -> bool {
        let Some(connection) = self.connections.get_mut(&lane) else {
            return false;
        };
        connection.changing -= 1;
        connection.severed && connection.changing == 0
    }

    /// May this connection change disks at this moment?
    #[must_use]
    pub fn may_write(&self, lane: Lane) -> bool {
        self.connections.get(&lane).is_some_and(Connection::writes)
    }

    /// Removes a connection that has ended and has no change under way. `goodbye`: the client has said that
    /// it is done. Gives what is to be remembered, if that has changed.
    pub fn leave(&mut self, lane: Lane, goodbye: bool, now: Time) -> Option<Standing> {
        let connection = self.connections.remove(&lane)?;
        let wrote = connection.writes() && matches!(connection.right, Right::Write(_));
        if !wrote || self.owner_is_there() {
            return None;
        }
        if goodbye {
            self.standing.idle = true;
            return Some(self.standing);
        }
        self.expected = Some(Expected::since(now));
        None
    }

    fn owner_is_there(&self) -> bool {
        let mut connections = self.connections.values();
        connections.any(|one| one.writes() && matches!(one.right, Right::Write(_)))
    }

    fn standing_of(&self, token: &Token, mode: Mode) -> Standing {
        Standing {
            // Whoever starts a VM without an arbiter does not know which epochs there have been.
            epoch: match mode {
                Mode::Start => self.standing.epoch.max(token.epoch),
                _ => token.epoch,
            },
            owner: Some(token.owner),
            idle: false,
        }
    }

    fn connect(&mut self, lane: Lane, right: Right) {
        let connection = Connection {
            right,
            changing: 0,
            severed: false,
        };
        let before = self.connections.insert(lane, connection);
        assert!(before.is_none(), "two connections of one name");
    }

    /// Cuts off whoever may write and is not of the owner's latest session.
    fn sever(&mut self) -> Vec<Lane> {
        let (owner, session) = (self.standing.owner, self.session);
        let is_old = |one: &Connection| match one.right {
            Right::Write(token) => Some(token.owner) != owner || token.session < session,
            Right::Stock => true,
            Right::Read => false,
        };
        let old = self
            .connections
            .iter_mut()
            .filter(|(_, one)| !one.severed && is_old(one));
        old.map(|(lane, one)| {
            one.severed = true;
            *lane
        })
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Time {
        Time(seconds * 1000)
    }

    fn fence() -> Fence {
        let nobody = Standing {
            epoch: 0,
            owner: None,
            idle: false,
        };
        Fence::new(nobody, at(0))
    }

    fn token(epoch: u64, owner: u128, session: u64) -> Token {
        Token {
            epoch,
            owner,
            session,
        }
    }

    /// Admits a client as a server does, and gives what that cuts off.
    fn enter(fence: &mut Fence, lane: u64, token: Token, mode: Mode) -> Result<Vec<Lane>, Refusal> {
        fence.check(&token, mode, at(1))?;
        Ok(fence.admit(Lane(lane), token, mode))
    }

    #[test]
    fn a_newer_epoch_has_the_disks_only_when_no_older_write_is_under_way() {
        // FT 2.3-e, S1.
        let mut fence = fence();
        enter(&mut fence, 1, token(6, 60, 1), Mode::Write).unwrap();
        assert!(fence.begin(Lane(1)));
        assert_eq!(fence.raise(7, 70, at(1)), [Lane(1)]);
        assert!(!fence.is_drained(), "a write of epoch 6 is still in the server");
        assert!(!fence.begin(Lane(1)), "and no further one begins");
        assert!(fence.end(Lane(1)));
        assert!(fence.is_drained());
        enter(&mut fence, 2, token(7, 70, 1), Mode::Write).unwrap();
        assert!(fence.begin(Lane(2)));
        let late = enter(&mut fence, 3, token(6, 60, 2), Mode::Write);
        assert_eq!(late, Err(Refusal::Superseded { by: 7 }));
        assert!(late.unwrap_err().is_final());
    }

    #[test]
    fn one_epoch_has_one_owner_and_others_may_only_look() {
        // S2.
        let mut fence = fence();
        enter(&mut fence, 1, token(7, 70, 1), Mode::Write).unwrap();
        let other = enter(&mut fence, 2, token(7, 71, 1), Mode::Write);
        assert_eq!(other, Err(Refusal::OtherOwner { epoch: 7 }));
        enter(&mut fence, 3, token(7, 71, 1), Mode::Read).unwrap();
        enter(&mut fence, 4, token(6, 60, 1), Mode::Probe).unwrap();
        assert!(!fence.begin(Lane(3)) && !fence.begin(Lane(4)) && fence.begin(Lane(1)));
    }

    #[test]
    fn a_later_session_of_a_process_cuts_off_its_earlier_ones_and_lanes_of_one_session_stand_together() {
        let mut fence = fence();
        enter(&mut fence, 1, token(7, 70, 1), Mode::Write).unwrap();
        assert_eq!(enter(&mut fence, 2, token(7, 70, 1), Mode::Write), Ok(vec![]));
        assert!(fence.begin(Lane(1)) && fence.begin(Lane(2)));
        let severed = enter(&mut fence, 3, token(7, 70, 2), Mode::Write);
        assert_eq!(severed, Ok(vec![Lane(1), Lane(2)]));
        assert!(!fence.is_drained());
        assert!(fence.end(Lane(1)) && fence.end(Lane(2)) && fence.is_drained());
        let old = enter(&mut fence, 4, token(7, 70, 1), Mode::Write);
        assert_eq!(old, Err(Refusal::OldSession));
    }

    #[test]
    fn an_owner_that_claims_a_later_epoch_keeps_its_connections() {
        let mut fence = fence();
        enter(&mut fence, 1, token(7, 70, 1), Mode::Write).unwrap();
        assert_eq!(fence.raise(8, 70, at(1)), []);
        assert!(fence.begin(Lane(1)));
        assert_eq!(fence.raise(8, 71, at(1)), [], "the epoch is taken");
        assert_eq!(fence.raise(9, 71, at(1)), [Lane(1)]);
    }

    #[test]
    fn a_vm_without_epochs_starts_only_where_nobody_is_or_may_come_back() {
        let mut fence = fence();
        enter(&mut fence, 1, token(0, 1, 1), Mode::Start).unwrap();
        let (other, late) = (token(0, 2, 1), at(20));
        let refused = |connected| Err(Refusal::InUse { epoch: 0, connected });
        assert_eq!(fence.check(&other, Mode::Start, late), refused(true));
        assert_eq!(fence.leave(Lane(1), false, late), None);
        assert_eq!(fence.check(&other, Mode::Start, at(29)), refused(false));
        assert!(
            fence.check(&token(0, 1, 2), Mode::Start, at(29)).is_ok(),
            "itself"
        );
        assert!(fence.check(&other, Mode::Start, at(30)).is_ok());
        fence.admit(Lane(2), other, Mode::Start);
        let back = fence.check(&token(0, 1, 2), Mode::Write, at(31));
        assert_eq!(back, Err(Refusal::OtherOwner { epoch: 0 }));
        let idle = fence.leave(Lane(2), true, at(32)).unwrap();
        assert!(idle.idle);
        assert!(fence.check(&token(0, 3, 1), Mode::Start, at(32)).is_ok());
        // A server that begins again does not know whether the owner is alive.
        let again = Fence::new(Standing { idle: false, ..idle }, at(0));
        assert_eq!(again.check(&token(0, 3, 1), Mode::Start, at(9)), refused(false));
        let again = Fence::new(idle, at(0));
        assert!(again.check(&token(0, 3, 1), Mode::Start, at(0)).is_ok());
    }

    #[test]
    fn a_vm_that_had_epochs_starts_without_one_and_goes_on_with_a_later_one() {
        let mut fence = fence();
        enter(&mut fence, 1, token(7, 70, 1), Mode::Write).unwrap();
        fence.leave(Lane(1), true, at(1));
        enter(&mut fence, 2, token(0, 80, 1), Mode::Start).unwrap();
        assert_eq!(fence.standing().epoch, 7);
        let old = enter(&mut fence, 3, token(7, 70, 2), Mode::Write);
        assert_eq!(old, Err(Refusal::OtherOwner { epoch: 7 }));
        assert_eq!(
            enter(&mut fence, 4, token(8, 90, 1), Mode::Write),
            Ok(vec![Lane(2)])
        );
    }

    #[test]
    fn a_program_without_epochs_writes_only_to_disks_that_nobody_uses() {
        let mut fence = fence();
        assert!(fence.admit_stock(Lane(1), at(0)));
        assert!(!fence.admit_stock(Lane(2), at(0)), "one at a time");
        assert_eq!(
            enter(&mut fence, 3, token(1, 1, 1), Mode::Write),
            Ok(vec![Lane(1)])
        );
        assert!(!fence.admit_stock(Lane(4), at(0)));
        fence.leave(Lane(3), false, at(5));
        assert!(!fence.admit_stock(Lane(5), at(64)));
        assert!(fence.admit_stock(Lane(6), at(65)));
    }

    /// What a server may be asked to do.
    #[derive(Clone, Copy, Debug)]
    enum Step {
        Enter(Token),
        Raise(u64, u128),
        Begin(usize),
        End(usize),
    }

    fn step() -> impl proptest::strategy::Strategy<Value = Step> {
        use proptest::prelude::*;
        prop_oneof![
            (0..6_u64, 1..4_u128, 1..4_u64).prop_map(|(e, o, s)| Step::Enter(token(e, o, s))),
            (1..6_u64, 1..4_u128).prop_map(|(e, o)| Step::Raise(e, o)),
            (0..8_usize).prop_map(Step::Begin),
            (0..8_usize).prop_map(Step::End),
        ]
    }

    proptest::proptest! {
        /// Once an owner was told that it has the disks, no change of another one begins or is under way,
        /// until a later one was told so.
        #[test]
        fn no_change_of_anybody_else_is_under_way_behind_an_answer(
            steps in proptest::collection::vec(step(), 1..60)
        ) {
            let mut fence = fence();
            let mut lanes: Vec<(Token, usize)> = Vec::new();
            for step in steps {
                let was = fence.standing();
                match step {
                    Step::Enter(token) => {
                        if fence.check(&token, Mode::Write, at(0)).is_ok() {
                            fence.admit(Lane(lanes.len() as u64), token, Mode::Write);
                            lanes.push((token, 0));
                        }
                    }
                    Step::Raise(epoch, owner) => drop(fence.raise(epoch, owner, at(0))),
                    Step::Begin(lane) => {
                        if let Some((_, changes)) = lanes.get_mut(lane) && fence.begin(Lane(lane as u64)) {
                            *changes += 1;
                        }
                    }
                    Step::End(lane) => {
                        if let Some((_, changes)) = lanes.get_mut(lane) && *changes > 0 {
                            *changes -= 1;
                            fence.end(Lane(lane as u64));
                        }
                    }
                }
                let now = fence.standing();
                assert!(now.epoch >= was.epoch);
                assert!(now.epoch > was.epoch || was.owner.is_none() || now.owner == was.owner);
                let others = lanes.iter().any(|(token, changes)| {
                    Some(token.owner) != now.owner && *changes > 0
                });
                assert!(!(fence.is_drained() && others), "a change of somebody else is under way");
            }
        }
    }
}
