//! The world: a heap of things to come, two processes, and what lies between them.
//!
//! A process takes turns as the host's loop does: it looks at its events, runs its guest for a slice that takes
//! virtual time, and then carries out what its node wants (`carry.rs`). Everything that takes time or can go
//! wrong is drawn; nothing else is random.

use replica::{Guest, RoleName, Time};

use crate::{
    arbiter::Arbiter,
    checker::{
        Violation, disk::Disk, durability::Durability, lockstep::Lockstep, output::Outputs,
        single_primary::SinglePrimary,
    },
    client::Client,
    faults::Armed,
    network::Link,
    options::Options,
    pair::{PAIR, SideName},
    process::Process,
    random::Random,
    schedule::{Schedule, What},
    storage::Storage,
    subject::Subject,
};

/// Where lines of a trace go.
pub type Tracer = Box<dyn FnMut(&str)>;

/// All checks that watch actions.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    pub outputs: Outputs,
    pub single: SinglePrimary,
    pub lockstep: Lockstep,
    pub disk: Disk,
    pub durability: Durability,
}

/// A simulated world.
pub struct World<G: Subject> {
    /// How it behaves.
    pub options: Options,
    pub(crate) config: G::Config,
    pub(crate) random: Random,
    pub(crate) now: Time,
    pub(crate) schedule: Schedule,
    pub(crate) processes: [Process<G>; 2],
    pub(crate) link: Link,
    /// The appointment with the link, by side, and with the disk.
    pub(crate) link_due: [Option<Time>; 2],
    pub(crate) storage_due: Option<Time>,
    pub(crate) storage: Storage,
    pub(crate) arbiter: Arbiter,
    pub(crate) client: Client,
    /// Who has the guest's address on the network.
    pub(crate) attached: SideName,
    /// Until when heartbeats towards each side get lost.
    pub(crate) no_heartbeats: [Time; 2],
    /// Until when each side's network ports lead nowhere.
    pub(crate) ports_lost: [Time; 2],
    pub(crate) armed: Vec<Armed>,
    pub(crate) healed: bool,
    pub(crate) checks: Checks,
    pub(crate) violation: Option<Violation>,
    tracer: Option<Tracer>,
    /// Turns at the present time.
    pub(crate) turns: (Time, u64),
    /// Things that came to pass.
    pub(crate) events: u64,
}

impl<G: Subject> World<G> {
    /// The world of these options, right after the handshake.
    pub fn new(options: Options, config: G::Config, tracer: Option<Tracer>) -> World<G> {
        let processes = SideName::BOTH.map(|side| Process::new(&options, &config, side, PAIR));
        let mut world = World {
            config,
            random: Random::new(options.seed ^ 0x5eed),
            now: Time(0),
            schedule: Schedule::default(),
            link: Link::new(options.link.clone()),
            link_due: [None; 2],
            storage_due: None,
            storage: Storage::new(options.storage.clone(), G::SECTORS, PAIR, options.seed),
            arbiter: Arbiter::new(options.arbiter.clone(), PAIR, processes[0].owner),
            client: Client::new(options.patience, options.think),
            processes,
            attached: SideName::A,
            no_heartbeats: [Time(0); 2],
            ports_lost: [Time(0); 2],
            armed: options.armed.clone(),
            healed: false,
            checks: Checks::default(),
            violation: None,
            tracer,
            turns: (Time(0), 0),
            events: 0,
            options,
        };
        for side in SideName::BOTH {
            world.turn_at(side, Time(0));
            world.schedule(Time(0), What::Ports(side));
        }
        for (at, fault) in world.options.timed.clone() {
            world.schedule(at, What::Fault(fault));
        }
        world.client_appointment();
        if let Some(every) = world.options.typing {
            world.schedule(Time(0).after(every), What::Typing);
        }
        world
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// A process.
    #[must_use]
    pub fn process(&self, side: SideName) -> &Process<G> {
        &self.processes[side.index()]
    }

    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What a replica says that it is.
    #[must_use]
    pub fn role(&self, side: SideName) -> Option<RoleName> {
        Some(self.process(side).node.as_ref()?.metrics().role)
    }

    /// The first rule that was broken.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    pub(crate) fn schedule(&mut self, at: Time, what: What) {
        self.schedule.put(at.max(self.now), what);
    }

    /// Notes the first violation.
    pub(crate) fn judge(&mut self, result: Result<(), Violation>) {
        if let Err(violation) = result
            && self.violation.is_none()
        {
            self.trace(None, || {
                format!("VIOLATION {:?}: {}", violation.check, violation.what)
            });
            self.violation = Some(violation);
        }
    }

    pub(crate) fn trace(&mut self, side: Option<SideName>, what: impl FnOnce() -> String) {
        if self.tracer.is_none() {
            return;
        }
        let ms = format!("{}.{:06}", self.now.0 / 1_000_000, self.now.0 % 1_000_000);
        let name = side.map_or("-".to_owned(), |side| side.to_string());
        let node = side.and_then(|side| self.process(side).node.as_ref());
        let role = node.map_or(String::new(), |node| format!("{:?}", node.metrics().role));
        let step = node.map_or(String::new(), |node| node.guest().now().to_string());
        let line = format!("{ms:>13}  {name:<4}  {role:<9} {step:>11}  {}", what());
        if let Some(tracer) = &mut self.tracer {
            tracer(&line);
        }
    }
}
