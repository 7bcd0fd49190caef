//! `Node`: the VMM without the world. Events go in with the time, actions come out, `slice` runs the guest.
//!
//! `host::drive` and `sim::world` are thin loops around it: handle what came, `slice`, carry out every
//! action of `poll`, sleep until `deadline` if `slice` is not busy. Nothing here reads a clock or a socket.

use std::collections::VecDeque;

use machine::{Cut, DiskRequest, DiskStatus, Effect, Input};

use crate::{
    Guest, Header, Metrics, Span, Suspicion, Time,
    backup::Backup,
    claim::{Claiming, Was},
    limits,
    live::Context,
    mutation::{self, Mutation},
    primary::Primary,
    replay::Divergence,
    role::{self, Change, Role},
    solo::Solo,
};

/// How a node runs its guest, in every role.
#[derive(Clone, Debug)]
pub struct Options {
    /// Steps between two digests in the log; `None`: none.
    pub digest_every: Option<u64>,
    /// Write a log file that begins with this header; its bytes come as [`Action::Append`].
    pub record: Option<Header>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            digest_every: Some(crate::limits::DIGEST_EVERY_DEFAULT),
            record: None,
        }
    }
}

/// How one half of a pair runs.
#[derive(Clone, Debug)]
pub struct PairOptions {
    /// The epoch of this pair, granted by the arbiter at the handshake. A side that suspects the other
    /// claims the one after it.
    pub epoch: Epoch,
    /// This process: a random number drawn at its start.
    pub owner: u128,
    /// The process that has `epoch` at the arbiter: the primary of this pair, on both sides.
    pub primary: u128,
    /// Silence for this long is suspicion. At least 100 ms, default 500 ms; equal on both sides.
    pub timeout: Span,
    /// As for a guest that runs alone.
    pub run: Options,
}

/// Number of a pairing, or of the claim that ended it; counts up per VM and is decided by the arbiter (D6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A test-and-set at the arbiter: "I, `owner`, am the one for (vm, `epoch`)" (FT 2.3-e). Asking again with
/// the same owner gives the same answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Which epoch.
    pub epoch: Epoch,
    /// Who asks: a random number drawn by each replica process at its start.
    pub owner: u128,
    /// Who has the epoch before this one. An arbiter that does not know the same is not the arbiter of this pair: it must
    /// answer [`Verdict::Unreachable`], whatever it knows of `epoch`. `None`: there is no pair yet that could be split.
    pub after: Option<u128>,
}

/// The arbiter's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nobody was first; the epoch is ours.
    Won,
    /// Somebody else has it.
    Lost,
    /// No answer could be had, or only that of another arbiter; nothing is known.
    Unreachable,
}

/// A finished disk request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskAnswer {
    /// Which disk.
    pub disk: u8,
    /// Which request.
    pub id: u64,
    /// How it went.
    pub status: DiskStatus,
    /// What was read.
    pub data: Vec<u8>,
}

/// What the world tells a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Bytes of one message from the peer, whole and in order, decrypted.
    Peer(Vec<u8>),
    /// The link to the peer is gone; nothing more will arrive on it.
    LinkLost,
    /// A heartbeat datagram from the peer (unauthenticated until decoded by the node).
    Heartbeat(Vec<u8>),
    /// Something for the guest: console bytes, a frame, entropy, the operator.
    Input(Input),
    /// A disk request is finished.
    DiskDone(DiskAnswer),
    /// The arbiter's answer to [`Action::Ask`].
    Verdict(Claim, Verdict),
    /// The replica's network ports were just seen to lead somewhere (`true`), or are known to lead nowhere
    /// (`false`: the gateway is gone, the tap has no carrier). `true` is to be said again at least every
    /// quarter of the timeout: older news counts as `false`. A world that never says it has no ports to ask.
    Ports(bool),
    /// The operator wants this primary to leave the VM to its backup. In any other role it means nothing.
    Leave,
}

/// What a node tells the world to do. Carried out in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send this message to the peer, over the link, now.
    Send(Vec<u8>),
    /// Send this heartbeat datagram to the peer.
    Heartbeat(Vec<u8>),
    /// Show this effect to the outside. Never a disk request.
    Release(Effect),
    /// Do this disk request and answer with [`Event::DiskDone`].
    Disk(DiskRequest),
    /// Append these bytes to the log file.
    Append(Vec<u8>),
    /// Ask the arbiter; answer with [`Event::Verdict`].
    Ask(Claim),
    /// This replica is alone and live from here on: become the writer of the disks under this epoch, then
    /// announce the guest's addresses (FT 2.3-c). Disk requests follow.
    GoLive(Epoch),
    /// Stop for good: run nothing, release nothing, send nothing. The process ends.
    Halt(Halt),
}

/// Why a replica stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The guest is off.
    Off(machine::PowerState),
    /// The arbiter gave the epoch to the other side (FT 2.3-e).
    Lost(Epoch),
    /// This replica's execution parted from the log: at this step, first in this component.
    Diverged {
        /// Where.
        at: machine::Step,
        /// What.
        part: String,
    },
    /// The peer broke the protocol; the sentence says how.
    Peer(String),
    /// This primary has left the VM to its backup, as the operator wanted.
    Left,
}

/// When a node wants to be called again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At once: the guest has more to run.
    Busy,
    /// When an event comes, or at this time.
    At(Option<Time>),
    /// Never.
    Ended,
}

/// One replica: a guest, its role and its log.
#[derive(Debug)]
pub struct Node<G: Guest> {
    guest: G,
    role: Role,
    out: VecDeque<Action>,
    metrics: Metrics,
    options: PairOptions,
    /// What [`Event::Ports`] said last, and when.
    ports: Option<(bool, Time)>,
}

impl<G: Guest> Node<G> {
    /// A guest that runs alone, from the step where it stands.
    pub fn solo(guest: G, now: Time, options: Options) -> Node<G> {
        let pair = PairOptions {
            epoch: Epoch(0),
            owner: 0,
            primary: 0,
            timeout: limits::TIMEOUT_DEFAULT,
            run: options,
        };
        Node::new(guest, now, pair, |cx, guest, options| {
            Role::Solo(Box::new(Solo::new(cx, guest, &options.run)))
        })
    }

    /// The first half of a pair, after the handshake: runs the guest and sends the log.
    pub fn primary(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |cx, guest, options| {
            Role::Primary(Box::new(Primary::new(cx, guest, options)))
        })
    }

    /// The second half of a pair, after the handshake: replays the log.
    pub fn backup(guest: G, now: Time, options: PairOptions) -> Node<G> {
        Node::new(guest, now, options, |cx, guest, options| {
            Role::Backup(Box::new(Backup::new(cx, guest, options)))
        })
    }

    fn new(
        guest: G,
        now: Time,
        mut options: PairOptions,
        role: impl FnOnce(&mut Context<'_>, &G, &PairOptions) -> Role,
    ) -> Node<G> {
        // The handshake has agreed on it; a caller without one gets the nearest that is sound.
        options.timeout = options.timeout.clamp(limits::TIMEOUT_MIN, limits::TIMEOUT_MAX);
        let mut out = VecDeque::new();
        let mut metrics = Metrics {
            epoch: options.epoch,
            step: guest.now(),
            speed_permille: 1000,
            ..Metrics::default()
        };
        let mut cx = Context {
            now,
            out: &mut out,
            metrics: &mut metrics,
        };
        let role = role(&mut cx, &guest, &options);
        metrics.role = role.name();
        Node {
            guest,
            role,
            out,
            metrics,
            options,
            ports: None,
        }
    }

    /// Takes what the world tells. Never runs the guest. `now`: read after the event had come.
    pub fn handle(&mut self, now: Time, event: Event) {
        if let Event::Ports(well) = event {
            self.ports = Some((well, now));
        }
        let mut cx = Context {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        let change = match &mut self.role {
            Role::Solo(solo) => {
                solo.handle(&mut cx, event);
                None
            }
            Role::Primary(primary) => primary.handle(&mut cx, event),
            Role::Backup(backup) => backup.handle(&mut cx, &self.guest, event),
            Role::Claiming(claiming) => claiming.handle(&mut cx, event),
            Role::Halted => None,
        };
        self.change(now, change);
    }

    /// Runs the guest for a bounded while (about a millisecond). Another thread may set `cut` to have it
    /// end soon; the caller clears it before.
    pub fn slice(&mut self, now: Time, cut: &dyn Cut) -> Next {
        let guest = &mut self.guest;
        let mut cx = Context {
            now,
            out: &mut self.out,
            metrics: &mut self.metrics,
        };
        let change = match &mut self.role {
            Role::Solo(solo) => solo.slice(&mut cx, cut, guest),
            Role::Primary(primary) => primary.slice(&mut cx, cut, guest),
            Role::Backup(backup) => backup.slice(&mut cx, cut, guest),
            Role::Claiming(claiming) => claiming.slice(&mut cx, cut, guest),
            Role::Halted => None,
        };
        self.change(now, change);
        match &self.role {
            Role::Solo(solo) => solo.next(now),
            Role::Primary(primary) => primary.next(now),
            Role::Backup(backup) => backup.next(now),
            Role::Claiming(claiming) => claiming.next(now),
            Role::Halted => Next::Ended,
        }
    }

    /// The next thing to do. Call after every `handle` and `slice` until `None`, with the time *of this
    /// call*: an output whose lease is over does not leave. Carry each action out before asking for the next:
    /// what a later message says about released outputs must be true by then.
    pub fn poll(&mut self, now: Time) -> Option<Action> {
        if let Role::Primary(primary) = &mut self.role {
            primary.look(now);
        }
        if let Some(action) = self.out.pop_front() {
            return Some(action);
        }
        if let Role::Primary(primary) = &mut self.role {
            let mut cx = Context {
                now,
                out: &mut self.out,
                metrics: &mut self.metrics,
            };
            let change = primary.release(&mut cx);
            self.change(now, change);
        }
        self.out.pop_front()
    }

    /// When `slice` must be called again at the latest, if no event comes before.
    pub fn deadline(&self) -> Option<Time> {
        match &self.role {
            Role::Solo(solo) => solo.deadline(),
            Role::Primary(primary) => primary.deadline(),
            Role::Backup(backup) => backup.deadline(),
            Role::Claiming(claiming) => claiming.deadline(),
            Role::Halted => None,
        }
    }

    /// What the guest's clock shows, in nanoseconds after its step 0.
    pub fn wall(&self) -> u64 {
        self.guest.mtime().saturating_mul(100)
    }

    /// The guest, to look at.
    pub fn guest(&self) -> &G {
        &self.guest
    }

    /// The guest, to keep: the node ends.
    pub fn into_guest(self) -> G {
        self.guest
    }

    /// What has been counted and measured so far.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The only place where a role changes.
    fn change(&mut self, now: Time, change: Option<Change>) {
        let Some(change) = change else {
            return;
        };
        let from = self.role.name();
        let to = role::next(from, change.cause());
        assert!(to.is_some(), "{from:?} has no way to go for {change:?}");
        let role = std::mem::replace(&mut self.role, Role::Halted);
        self.role = self.changed(now, role, change);
        assert_eq!(Some(self.role.name()), to, "the table of roles is kept");
        self.metrics.role = self.role.name();
    }

    fn changed(&mut self, now: Time, role: Role, change: Change) -> Role {
        match (role, change) {
            (Role::Primary(primary), Change::Suspect(why)) => {
                let silence = primary.silence(now);
                self.suspect(now, why, silence, Was::Primary(primary))
            }
            (Role::Backup(backup), Change::Suspect(why)) => {
                let silence = backup.silence(now);
                self.suspect(now, why, silence, Was::Backup(backup))
            }
            (Role::Claiming(claiming), Change::Won) => {
                let epoch = claiming.claim().epoch;
                self.metrics.epoch = epoch;
                self.metrics.live_at = Some(now);
                self.metrics.go_live = now.since(self.metrics.suspected_at.unwrap_or(now));
                self.out.push_back(Action::GoLive(epoch));
                let mut cx = Context {
                    now,
                    out: &mut self.out,
                    metrics: &mut self.metrics,
                };
                Role::Solo(Box::new(Solo::from_claim(
                    &mut cx,
                    &self.guest,
                    &self.options.run,
                    *claiming,
                )))
            }
            (role, change) => {
                self.halt(&role, change);
                Role::Halted
            }
        }
    }

    /// From here on this side neither sends nor acknowledges, for good (D6).
    fn suspect(&mut self, now: Time, why: Suspicion, silence: Span, was: Was) -> Role {
        self.metrics.suspicion = Some(why);
        self.metrics.suspected_at = Some(now);
        self.metrics.detection = silence;
        // What is queued for the peer stays unsaid, an acknowledgement above all.
        self.out
            .retain(|action| !matches!(action, Action::Send(_) | Action::Heartbeat(_)));
        let claim = Claim {
            epoch: Epoch(self.options.epoch.0.saturating_add(1)),
            owner: self.options.owner,
            after: (!mutation::is(Mutation::ArbiterNotProven)).then_some(self.options.primary),
        };
        // Who was told to go on is expected by nobody else.
        self.metrics.isolated = why != Suspicion::Left && self.is_isolated(now);
        // Who wanted to leave still does, if the other is there.
        let leaving = matches!(&was, Was::Primary(primary) if primary.is_leaving());
        let patience = if self.metrics.isolated || leaving {
            Span(self.options.timeout.0 * limits::ISOLATED_TIMEOUTS)
        } else {
            Span(0)
        };
        Role::Claiming(Box::new(Claiming::new(now, claim, was, patience)))
    }

    /// Do this side's network ports lead nowhere, as far as is known? What was said before most of the peer's
    /// silence says nothing about the time since.
    fn is_isolated(&self, now: Time) -> bool {
        let old = Span(self.options.timeout.0 / 4 * 3);
        self.ports
            .is_some_and(|(well, said)| !well || now.since(said) >= old)
    }

    fn halt(&mut self, role: &Role, change: Change) {
        let halt = match change {
            Change::Off(state) => Halt::Off(state),
            Change::Diverged(Divergence { at, part }) => Halt::Diverged { at, part },
            Change::Broken(how) => Halt::Peer(how),
            Change::Left => Halt::Left,
            Change::Lost | Change::Won | Change::Suspect(_) => match role {
                Role::Claiming(claiming) => Halt::Lost(claiming.claim().epoch),
                _ => Halt::Lost(self.options.epoch),
            },
        };
        self.out.push_back(Action::Halt(halt));
    }
}
