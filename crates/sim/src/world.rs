//! The world as data: processes on hosts, what lies between and around them, and the schedule of what will
//! happen.
//!
//! `run.rs` makes a world of options and has it live; `course.rs` has the things on the schedule happen. A
//! process takes turns as the host's loop does (`turns.rs`): it looks at its events, runs its guest for a
//! slice that takes virtual time, and then carries out what its node wants (`carry.rs`). Each action is
//! judged by the checkers. Everything that takes time or can go wrong is drawn from one stream of random
//! numbers, and nothing else may enter a world: no clock, no thread, no container with random order.

use replica::{Epoch, Guest, PeerId, RoleName, Span, Time};
use toy::hash::mix;

use toy::random::Random;
use toy_outside::{
    arbiter::Arbiter,
    names::{FIRST, HostId, ProcessId},
    network::{LinkId, Network},
    storage::Storage,
};

use crate::{
    checker::{
        Violation, clock::GuestTime, disk::Disk, durability::Durability, guard::Guard, lockstep::Lockstep,
        output::Outputs, paused::Paused, single_primary::SinglePrimary, still::Still,
    },
    client::Client,
    faults::Armed,
    host::{Drift, Host},
    keeper::Keeper,
    options::Options,
    process::{self, Birth, Process, Processes},
    schedule::{Schedule, What},
    snapshots::Snapshots,
    subject::Subject,
};
use toy_site::Site;

/// What takes the lines of a trace, one for each thing that happens.
pub type Tracer = Box<dyn FnMut(&str)>;

/// The checkers that watch a world while it lives.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// What the outside sees is one uninterrupted run.
    pub outputs: Outputs,
    /// At most one process is live.
    pub single: SinglePrimary,
    /// Who may claim, and which outputs wait for whom.
    pub guard: Guard,
    /// A clone does not stop the guest.
    pub still: Still,
    /// A paused guest stands.
    pub paused: Paused,
    /// All guests live the same life.
    pub lockstep: Lockstep,
    /// Disk requests go out once, and never two together that overlap.
    pub disk: Disk,
    /// Guest time goes forward, and not too far.
    pub time: GuestTime,
    /// What the guest was told is on the disk stays there.
    pub durability: Durability,
}

/// A simulated world.
pub struct World<G: Subject> {
    /// How the world behaves and what goes wrong in it. Healing the world changes them.
    pub options: Options,
    /// What all guests are booted from.
    pub(crate) config: G::Config,
    /// Where all draws come from, those of the caches apart.
    pub(crate) random: Random,
    /// Where the draws of death notices come from, so that a world without them is what it was.
    pub(crate) omens: Random,
    /// The true time; the clocks of the processes differ from it.
    pub(crate) now: Time,
    /// What will happen.
    pub(crate) schedule: Schedule,
    /// The hosts on which processes run, dead ones too.
    pub(crate) hosts: Vec<Host>,
    /// The processes that were ever started.
    pub(crate) processes: Processes<G>,
    /// The links between processes, which carry logs and their acknowledgements.
    pub(crate) network: Network,
    /// When the schedule looks for requests that take effect at the disk.
    pub(crate) storage_due: Option<Time>,
    /// The disk that all processes share, with the caches of their hosts.
    pub(crate) storage: Storage,
    /// Who decides which process may go live.
    pub(crate) arbiter: Arbiter,
    /// The user of the guest.
    pub(crate) client: Client,
    /// The process that has the guest's address on the network: it gets the client's frames.
    pub(crate) attached: ProcessId,
    /// How many processes the founder has started, beside the first two.
    pub(crate) founded: u64,
    /// Who looks after the guest's protection.
    pub(crate) keeper: Keeper,
    /// The agents that look after the guest; `None`: the keeper does, or nobody.
    pub(crate) site: Option<Site>,
    /// Where the draws come from that are about agents.
    pub(crate) agents_random: Random,
    /// The snapshots that are under way.
    pub(crate) snapshots: Snapshots<G>,
    /// Faults that wait for what a process does.
    pub(crate) armed: Vec<Armed>,
    /// Is the time over in which anything may go wrong?
    pub(crate) healed: bool,
    /// The checkers.
    pub(crate) checks: Checks,
    /// The first rule that was broken; the world ends with it.
    pub(crate) violation: Option<Violation>,
    tracer: Option<Tracer>,
    /// A time, and the number of turns that were taken since then without a pause: a process that spins is
    /// found by it.
    pub(crate) turns: (Time, u64),
    /// How many things have happened.
    pub(crate) events: u64,
}

/// The agents of a world, if it has any.
fn site(options: &Options) -> Option<Site> {
    let seed = mix(options.seed, 0x517e);
    Site::new(options.site.clone()?, options.homes[0].0, seed)
}

impl<G: Subject> World<G> {
    /// The world of these options, right after the handshake of its first pair, or before that if there is a
    /// founder.
    pub fn new(options: Options, config: G::Config, tracer: Option<Tracer>) -> World<G> {
        let hosts = vec![Host::default(); options.hosts.len()];
        let is_formed = options.founder.is_none();
        let granted = is_formed.then(|| (FIRST, process::owner(options.seed, ProcessId::A)));
        let writer = granted.map_or(Epoch(0), |(epoch, _)| epoch);
        let mut world = World {
            config,
            random: Random::new(options.seed ^ 0x5eed),
            omens: Random::new(mix(options.seed, 0x0_3e5)),
            now: Time(0),
            schedule: Schedule::default(),
            network: Network::default(),
            storage_due: None,
            storage: Storage::new(
                options.storage.clone(),
                G::SECTORS,
                hosts.len(),
                writer,
                options.seed,
            ),
            arbiter: Arbiter::new(options.arbiter.clone(), granted),
            client: Client::new(options.patience, options.think),
            hosts,
            processes: Processes::default(),
            attached: ProcessId::A,
            founded: 0,
            keeper: Keeper::default(),
            site: site(&options),
            agents_random: Random::new(mix(options.seed, 0xa6_e70d)),
            snapshots: Snapshots::new(options.seed),
            armed: options.armed.clone(),
            healed: false,
            checks: Checks::default(),
            violation: None,
            tracer,
            turns: (Time(0), 0),
            events: 0,
            options,
        };
        let [one, other] = world.options.homes;
        if is_formed {
            let primary = world.start(one, FIRST, None);
            world.start(other, FIRST, Some(primary));
        } else {
            world.checks.single = SinglePrimary::unformed();
            world.found([one, other]);
        }
        for (at, fault) in world.options.timed.clone() {
            world.schedule(at, What::Fault(fault));
        }
        world.client_appointment();
        world.stray_notice_appointment();
        if let Some(every) = world.options.typing {
            world.schedule(Time(0).after(every), What::Typing);
        }
        if let Some(keeper) = &world.options.keeper {
            let first = Time(0).after(keeper.every);
            world.schedule(first, What::Keeper);
        }
        let looks = world.site.as_mut().map(Site::begin);
        world.errands(looks.unwrap_or_default());
        world
    }

    /// Starts a process of the first pair on a host, right after the handshake. `follows` is the process that
    /// has the epoch, and whose log the new one replays; `None`: the new process has the epoch.
    fn start(&mut self, host: HostId, epoch: Epoch, follows: Option<ProcessId>) -> ProcessId {
        let who = self.add(host, epoch, follows, false);
        let (options, config, now) = (&self.options, &self.config, self.now);
        self.processes[who].boot(options, config, now);
        if let Some(primary) = follows {
            self.connect(primary, who);
            self.checks.guard.on_boot(who, primary, false);
        }
        self.turn_at(who, self.now);
        self.schedule(self.now, What::Ports(who));
        who
    }

    /// Adds a process without a node.
    ///
    /// # Panics
    /// If the host is dead.
    pub(crate) fn add(
        &mut self,
        host: HostId,
        epoch: Epoch,
        follows: Option<ProcessId>,
        joins: bool,
    ) -> ProcessId {
        assert!(self.hosts[host.0].is_up, "{host} is dead");
        let who = self.processes.next();
        let birth = Birth {
            who,
            host,
            epoch,
            follows,
            joins,
        };
        self.processes.push(Process::new(&self.options, birth));
        self.storage.caches().open(host);
        self.checks.single.on_join(who, epoch);
        who
    }

    /// Joins two processes with a link; the answer is the first one's name for the other.
    pub(crate) fn connect(&mut self, one: ProcessId, other: ProcessId) -> PeerId {
        let link = self.network.connect(self.options.link.clone(), [one, other]);
        let peer = self.processes[one].connect(link);
        self.processes[other].connect(link);
        peer
    }

    /// The main link of a process to a peer of its node, and the process at its other end; `None`: there is
    /// no such peer any more.
    pub(crate) fn peer(&self, who: ProcessId, peer: PeerId) -> Option<(LinkId, ProcessId)> {
        let link = self.process(who).wire(peer)?.link;
        Some((link, self.network.other_end(link, who)))
    }

    /// What the fastest of all clocks shows now, if it began with 0.
    pub(crate) fn fastest_clock(&self) -> Time {
        let clocks = self.options.hosts.iter().map(|host| Drift {
            offset: Span(0),
            ppm: host.clock.ppm.max(0),
        });
        clocks
            .map(|clock| clock.shows(self.now))
            .max()
            .unwrap_or(self.now)
    }

    /// The host that a process runs on.
    pub(crate) fn host_of(&self, who: ProcessId) -> &Host {
        &self.hosts[self.process(who).host.0]
    }

    /// The true time.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// A process, by its name.
    #[must_use]
    pub fn process(&self, who: ProcessId) -> &Process<G> {
        &self.processes[who]
    }

    /// The user of the guest.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What the node of a process says that it is; `None`: its process has died.
    #[must_use]
    pub fn role(&self, who: ProcessId) -> Option<RoleName> {
        Some(self.process(who).node.as_ref()?.metrics().role)
    }

    /// The first rule that was broken.
    #[must_use]
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Has something happen at a time, or now if that time is over.
    pub(crate) fn schedule(&mut self, at: Time, what: What) {
        self.schedule.put(at.max(self.now), what);
    }

    /// Takes note of what a checker says; only the first violation counts.
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

    /// Does anybody read the trace?
    pub(crate) fn is_traced(&self) -> bool {
        self.tracer.is_some()
    }

    /// Adds a line to the trace. `who` is whose line it is; `None`: the world's.
    pub(crate) fn trace(&mut self, who: Option<ProcessId>, what: impl FnOnce() -> String) {
        if self.tracer.is_none() {
            return;
        }
        let ms = format!("{}.{:06}", self.now.0 / 1_000_000, self.now.0 % 1_000_000);
        let name = who.map_or("-".to_owned(), |who| who.to_string());
        let node = who.and_then(|who| self.process(who).node.as_ref());
        let role = node.map_or(String::new(), |node| format!("{:?}", node.metrics().role));
        let step = node.map_or(String::new(), |node| node.guest().now().to_string());
        let line = format!("{ms:>13}  {name:<4}  {role:<9} {step:>11}  {}", what());
        if let Some(tracer) = &mut self.tracer {
            tracer(&line);
        }
    }
}
