//! How a site behaves, and what goes wrong in it. The world draws both from its seed before it begins.
//!
//! An agent's bounds are seconds and minutes (`plan::limits`), and a world lives for seconds: so the clocks
//! of agents run some hundred times faster than those of the replicas. The planner cannot know.

use std::fmt;

use messages::time::{Span, Time};
use toy::random::Random;

/// One thing that the agents of a broken site do wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// They forget at once what a host has done.
    NoBackoff,
    /// They want the backup on the owner's host.
    OwnersHost,
    /// They take whatever they were told last for new.
    OldIsNew,
    /// They do not wait until a host has granted a reservation.
    NoReservation,
    /// They protect a VM of which somebody wants that it has no backup.
    Unwanted,
    /// They take a drained host for one as any other.
    DrainIgnored,
    /// They do nothing for a VM that has lost its backup.
    Idle,
    /// They hand the VM over though nobody wants that.
    HandsOver,
    /// They dismiss a backup that is wanted.
    Dismisses,
}

/// How a site behaves.
#[derive(Clone, Debug)]
pub struct SiteOptions {
    /// How much faster than the world's the clocks of agents run.
    pub pace: u64,
    /// Time between two looks of an agent, by its clock.
    pub every: Span,
    /// Shortest and longest time from the making of a report to its arrival at another agent, by an agent's
    /// clock.
    pub lag: (Span, Span),
    /// Longest time from a change of the store until an agent sees it, by the agent's clock.
    pub store_lag: Span,
    /// Measured speed of each host.
    pub speeds: Vec<u64>,
    /// Most steps of a request that another host's agent takes, by its clock: the start of a process.
    pub start: Span,
    /// What the agents do wrong; `None`: nothing.
    pub flaw: Option<Flaw>,
}

/// Something that goes wrong in a site, or that somebody wants of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The agent of this host dies, and another one is started after a while.
    AgentDies(usize, Span),
    /// The agent of this host hears no other one for a while, and none hears it.
    AgentCut(usize, Span),
    /// The agent of this host cannot reach the store for a while.
    StoreAway(usize, Span),
    /// Somebody wants this host to be emptied.
    Drain(usize),
    /// Somebody wants the VM to have no backup for a while.
    Unprotect(Span),
    /// Somebody wants the VM's sides to change their roles.
    Failover,
    /// Somebody wants the VM on this host.
    Move(usize),
    /// Somebody wants the VM to have another backup.
    MoveBackup,
}

impl SiteOptions {
    /// A site in which nothing goes wrong, of hosts with these speeds.
    #[must_use]
    pub fn calm(speeds: Vec<u64>) -> SiteOptions {
        SiteOptions {
            pace: 200,
            every: Span::from_ms(200),
            lag: (Span::from_ms(100), Span::from_ms(600)),
            store_lag: Span::from_ms(400),
            speeds,
            start: Span::from_ms(500),
            flaw: None,
        }
    }

    /// Draws how a site behaves whose hosts have these speeds.
    pub fn draw(random: &mut Random, speeds: Vec<u64>) -> SiteOptions {
        let ms = Span::from_ms;
        SiteOptions {
            pace: random.between(100, 400),
            every: random.span(ms(200), ms(1_000)),
            lag: (random.span(ms(1), ms(100)), random.span(ms(100), ms(1_500))),
            store_lag: random.span(ms(1), ms(3_000)),
            start: random.span(ms(100), ms(4_000)),
            ..SiteOptions::calm(speeds)
        }
    }

    /// Draws what goes wrong, and when, before `end`.
    pub fn mishaps(&self, random: &mut Random, end: u64) -> Vec<(Time, Mishap)> {
        let hosts = self.speeds.len() as u64;
        let mut mishaps = Vec::new();
        let kinds = [(600, 6), (400, 3), (300, 3), (250, 2), (300, 2)];
        for (kind, (chance, most)) in kinds.into_iter().enumerate() {
            if !random.permille(chance) {
                continue;
            }
            for _ in 0..random.between(1, most) {
                let host = random.below(hosts) as usize;
                // From a look to the time after which an agent counts as silent, and more.
                let span = Span(random.span(Span::from_ms(200), Span::from_ms(30_000)).0 / self.pace);
                let mishap = match kind {
                    0 => Mishap::AgentDies(host, span),
                    1 => Mishap::AgentCut(host, span),
                    2 => Mishap::StoreAway(host, span),
                    3 => Mishap::Drain(host),
                    _ => Mishap::Move(host),
                };
                mishaps.push((Time(random.below(end)), mishap));
            }
        }
        mishaps
    }

    /// A span of an agent's clock, in the world's time.
    #[must_use]
    pub fn true_span(&self, span: Span) -> Span {
        Span(span.0 / self.pace.max(1))
    }
}

impl fmt::Display for SiteOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: Span| span.0 / 1_000_000;
        write!(
            f,
            "  agents' clocks run {} times as fast; by these they look every {} ms, reports take {} to {} \
             ms, the store up to {} ms, a start up to {} ms",
            self.pace,
            ms(self.every),
            ms(self.lag.0),
            ms(self.lag.1),
            ms(self.store_lag),
            ms(self.start)
        )?;
        match self.flaw {
            Some(flaw) => write!(f, "; they are broken: {flaw:?}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Mishap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |span: &Span| format!("{}.{:03} ms", span.0 / 1_000_000, span.0 / 1_000 % 1_000);
        match self {
            Mishap::AgentDies(host, span) => write!(f, "the agent of host {host} dies, for {}", ms(span)),
            Mishap::AgentCut(host, span) => write!(f, "the agent of host {host} is cut off for {}", ms(span)),
            Mishap::StoreAway(host, span) => {
                write!(
                    f,
                    "the agent of host {host} cannot reach the store for {}",
                    ms(span)
                )
            }
            Mishap::Drain(host) => write!(f, "somebody drains host {host}"),
            Mishap::Unprotect(span) => write!(f, "somebody wants no backup for {}", ms(span)),
            Mishap::Failover => write!(f, "somebody wants a failover"),
            Mishap::Move(host) => write!(f, "somebody wants the VM on host {host}"),
            Mishap::MoveBackup => write!(f, "somebody wants another backup"),
        }
    }
}
