//! Deliberately broken variants: each breaks one rule of the protocol or of the world, and must be caught.
//!
//! A simulator that finds nothing proves something only if it finds what is there to be found. `sim broken`
//! and `tests/broken.rs` hunt each variant with drawn worlds. A variant must break one rule and leave all
//! else as it is.

use std::collections::BTreeMap;

use replica::{
    Notice,
    mutation::{self, Mutation},
};

use toy_site::Flaw;

use toy_outside::cache::Access;

use crate::{
    checker::{Check, Violation},
    options::Options,
    run::run,
    toy_server::Toy,
};

/// A variant with one rule broken.
#[derive(Clone, Copy, Debug)]
pub struct Broken {
    /// What is broken.
    pub name: &'static str,
    /// Where the rule is written: a requirement (docs/requirements.md) or a decision.
    pub rule: &'static str,
    /// What is broken in the protocol; `None`: the world is what is broken.
    pub mutation: Option<Mutation>,
    /// The worlds in which the variant is hunted.
    pub draw: fn(u64) -> Options,
    /// Changes what is different in the world.
    pub change: fn(&mut Options),
    /// What the agents do wrong that look after the guest; `None`: there are none, and the keeper does.
    pub flaw: Option<Flaw>,
    /// The check that is meant to catch it; `None`: any may.
    pub expected: Option<Check>,
    /// Is the check off that listens to the talk between the processes, so that only what the outside sees
    /// counts?
    pub deaf: bool,
}

const fn variant(name: &'static str, rule: &'static str, mutation: Mutation) -> Broken {
    Broken {
        name,
        rule,
        mutation: Some(mutation),
        draw: Options::draw,
        change: |_| {},
        flaw: None,
        expected: None,
        deaf: false,
    }
}

/// A variant that only shows where processes join a guest that runs.
const fn clone(name: &'static str, rule: &'static str, mutation: Mutation) -> Broken {
    Broken {
        draw: Options::draw_life,
        ..variant(name, rule, mutation)
    }
}

const fn world(name: &'static str, rule: &'static str, change: fn(&mut Options)) -> Broken {
    Broken {
        name,
        rule,
        mutation: None,
        draw: Options::draw,
        change,
        flaw: None,
        expected: None,
        deaf: false,
    }
}

/// A variant that only shows while a pair is formed.
const fn forming(name: &'static str, mutation: Mutation) -> Broken {
    Broken {
        draw: Options::draw_formed,
        ..variant(name, "0105", mutation)
    }
}

/// A calm world with several lives, in which copying the guest takes a while.
fn slowly_copied(seed: u64) -> Options {
    let mut options = Options::calm_life(seed);
    if let Some(keeper) = &mut options.keeper {
        keeper.bulk.bytes_per_ms = 100;
        keeper.room = 64;
    }
    options
}

/// A variant that takes log in while it claims panics, instead of a violation, when it is told that its
/// primary is dead: its own log would begin before what it has taken in.
fn without_notices(options: &mut Options) {
    options.notice = Notice::TimeoutOnly;
}

/// A variant in which the agents that look after the guest do something wrong.
const fn agents(name: &'static str, expected: Check, flaw: Flaw) -> Broken {
    Broken {
        draw: Options::draw_kept_by_agents,
        flaw: Some(flaw),
        expected: Some(expected),
        ..world(name, "0122", |_| {})
    }
}

/// All variants.
pub const VARIANTS: [Broken; 58] = [
    variant(
        "output released before the ack",
        "FT 2.2-c",
        Mutation::ReleaseBeforeAck,
    ),
    variant("go-live without a claim", "FT 2.3-e", Mutation::LiveWithoutClaim),
    Broken {
        change: without_notices,
        ..variant("claim before stopping acks", "FT 2-h", Mutation::AckWhileClaiming)
    },
    Broken {
        deaf: true,
        change: without_notices,
        ..variant(
            "the same, seen from outside only",
            "FT 2.2-a",
            Mutation::AckWhileClaiming,
        )
    },
    variant("arbiter not proven", "0057", Mutation::ArbiterNotProven),
    variant(
        "draining short of the last output",
        "FT 2.3-b",
        Mutation::DrainShort,
    ),
    variant(
        "pending disk request not reissued",
        "FT 3.4-c",
        Mutation::NoReissue,
    ),
    variant(
        "output released after the lease",
        "FT 2-h",
        Mutation::ReleaseWithoutLease,
    ),
    variant(
        "claim before the lease is over",
        "FT 2-h",
        Mutation::ClaimTooEarly,
    ),
    variant(
        "heartbeat answered without a promise",
        "FT 2-h",
        Mutation::BeatWithoutPromise,
    ),
    variant("primary that leaves and stays", "FT 2-h", Mutation::LeaveAndStay),
    variant(
        "death notice of any process believed",
        "0088",
        Mutation::NoticeOfAnyone,
    ),
    variant(
        "death notice of another epoch believed",
        "0088",
        Mutation::NoticeOfAnyEpoch,
    ),
    variant(
        "lease void though a write is under way",
        "0088",
        Mutation::NoticeIsLeaseEnd,
    ),
    variant("kept outputs not shown again", "FT 2.2-a", Mutation::KeptNotShown),
    variant(
        "overlapping disk requests together",
        "FT 3.4-a",
        Mutation::DiskOverlap,
    ),
    variant("page overwritten and not hashed", "0099", Mutation::PageNotHashed),
    variant(
        "pause forgotten at a takeover",
        "FT 3.3-a",
        Mutation::PauseForgotten,
    ),
    clone("page overwritten and not kept", "FT 3.1-a", Mutation::PageNotKept),
    clone("page of a round forgotten", "FT 3.1-a", Mutation::PageForgotten),
    clone(
        "member as soon as it has the state",
        "FT 3.1-b",
        Mutation::GuardAtSealed,
    ),
    clone("dismissed backup claims", "FT 2.3-e", Mutation::DismissedClaims),
    clone("apprentice claims", "FT 2.3-e", Mutation::ApprenticeClaims),
    clone(
        "pending entropy not taken over",
        "FT 3.1-a",
        Mutation::EntropyNotTaken,
    ),
    clone(
        "pending disk request not taken over",
        "FT 3.4-c",
        Mutation::DiskNotTaken,
    ),
    clone(
        "clock of the cut not taken over",
        "FT 3.1-a",
        Mutation::ClockNotTaken,
    ),
    clone("numbers of outputs restart", "FT 2.2-e", Mutation::OutputsRestart),
    clone(
        "outputs not held for a new member",
        "FT 2.2-c",
        Mutation::GuardedNotHeld,
    ),
    clone(
        "outputs held from the first ack only",
        "FT 2.2-c",
        Mutation::HeldFromAck,
    ),
    clone(
        "handed over with a request at a disk",
        "FT 3.3-d",
        Mutation::HandedOverUnquiet,
    ),
    variant(
        "snapshot with a request at a disk",
        "FT 3.3-d",
        Mutation::SnapshotUnquiet,
    ),
    clone(
        "handed over without the outputs that have not left",
        "FT 3.3-c",
        Mutation::HeldNotKept,
    ),
    clone(
        "pause from before the cut not taken over",
        "FT 3.3-a",
        Mutation::PauseNotTakenOver,
    ),
    clone("heir that gives up", "FT 3.3-c", Mutation::HeirGivesUp),
    clone("everybody is an heir", "FT 2.3-e", Mutation::EverybodyIsHeir),
    clone(
        "member while outputs of before the cut are held",
        "FT 2.2-a",
        Mutation::GuardedWithHeldOutputs,
    ),
    clone(
        "replaced before the other one knows",
        "FT 3.3-b",
        Mutation::DismissedTooEarly,
    ),
    clone("heir that does not know", "FT 3.3-b", Mutation::HeirsUnproven),
    clone(
        "output acknowledged by one of two",
        "FT 2.2-c",
        Mutation::GateOfOne,
    ),
    Broken {
        draw: slowly_copied,
        ..variant(
            "guest stands while it is copied",
            "FT 3.1-a",
            Mutation::StandsWhileCopied,
        )
    },
    forming("epoch of an earlier call used again", Mutation::EpochAgain),
    forming("epoch won without an answer kept", Mutation::DoubtForgotten),
    forming("backup built without the proof", Mutation::BuiltUnproven),
    forming("begun before the backup is ready", Mutation::BegunBeforeReady),
    agents(
        "agents forget what a host has done",
        Check::Agents,
        Flaw::NoBackoff,
    ),
    agents(
        "agents want both halves on one host",
        Check::Agents,
        Flaw::OwnersHost,
    ),
    agents(
        "agents take an old report for a new one",
        Check::Agents,
        Flaw::OldIsNew,
    ),
    agents(
        "agents do not wait for the reservation",
        Check::Agents,
        Flaw::NoReservation,
    ),
    agents(
        "agents protect what nobody wants protected",
        Check::Agents,
        Flaw::Unwanted,
    ),
    agents(
        "agents choose a host that is drained",
        Check::Agents,
        Flaw::DrainIgnored,
    ),
    agents("agents do not protect again", Check::Liveness, Flaw::Idle),
    agents(
        "agents hand over what nobody wants moved",
        Check::Agents,
        Flaw::HandsOver,
    ),
    agents(
        "agents dismiss a backup that is wanted",
        Check::Agents,
        Flaw::Dismisses,
    ),
    world("disk does not refuse old epochs", "FT 4.1-a", |options| {
        options.storage.fenced = false;
    }),
    world("disk of a pair buffered by its host", "0050", |options| {
        options.storage.caches.access = Access::Buffered;
    }),
    world("disk not opened again at go-live", "0050", |options| {
        options.storage.caches.access = Access::Synchronous;
        options.storage.caches.reopens = false;
    }),
    world("flush not passed on to the drive", "0050", |options| {
        options.storage.caches.access = Access::Direct;
        options.storage.caches.passes_flushes = false;
    }),
    world("flush repeated without writing again", "0051", |options| {
        options.storage.caches.access = Access::Direct;
        options.storage.caches.drive_forgets = true;
    }),
];

/// How a variant was caught.
#[derive(Clone, Debug)]
pub struct Caught {
    /// How many seeds it took, the one that caught it included.
    pub seeds: u64,
    /// The check that caught it, and what that saw.
    pub violation: Violation,
}

impl Broken {
    /// The world of a seed with the rule broken.
    #[must_use]
    pub fn world(&self, seed: u64) -> Options {
        let mut options = (self.draw)(seed);
        (self.change)(&mut options);
        options.deaf = self.deaf;
        match (self.flaw, &mut options.site) {
            (Some(flaw), Some(site)) => site.flaw = Some(flaw),
            _ => options.site = None,
        }
        // A log file that goes on where it cannot is a panic, not a violation.
        options.record = false;
        options
    }

    /// Runs seeds from 0 until one catches the variant, by the check that is meant to, at most so many;
    /// `None`: none did.
    #[must_use]
    pub fn hunt(&self, seeds_max: u64) -> Option<Caught> {
        mutation::set(self.mutation);
        let caught = (0..seeds_max).find_map(|seed| {
            let violation = run::<Toy>(self.world(seed), seed, None).violation?;
            let is_meant = self.expected.is_none_or(|check| check == violation.check);
            is_meant.then_some(Caught {
                seeds: seed + 1,
                violation,
            })
        });
        mutation::set(None);
        caught
    }

    /// Runs so many seeds from 0; the answer is how many of them each check caught.
    #[must_use]
    pub fn count(&self, seeds: u64) -> BTreeMap<Check, u64> {
        mutation::set(self.mutation);
        let mut counts = BTreeMap::new();
        for seed in 0..seeds {
            if let Some(violation) = run::<Toy>(self.world(seed), seed, None).violation {
                *counts.entry(violation.check).or_default() += 1;
            }
        }
        mutation::set(None);
        counts
    }
}
