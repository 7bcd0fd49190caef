//! `Mind`: the thread that looks at everything a few times a second, has the planner decide, and acts. It is
//! the only place where the agent's own state changes; everything else tells it what has happened.
//!
//! It never waits: what takes time is an errand on a thread or a task of its own, and comes back as something
//! told (`told`). `hearing` takes in what is told, `looking` makes of it what the planner looks at, `acting`
//! carries out what was decided, `testing` what is decided of a test, `recording` writes down what the next
//! controller must know, `telling` tells of it, and `ownership` asks the arbiter. `hanging` remembers what is
//! told of guests that may hang, and `probing` asks them.

mod acting;
mod hanging;
mod hearing;
mod looking;
mod ownership;
mod probing;
mod recording;
mod telling;
mod testing;
mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use messages::time::Time;
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{Backoff, HostName, Memory, Wall};
use report::Ending;
use tokio::sync::watch;

use crate::facts::Fixed;
use crate::happenings::Happenings;
use crate::keeper::{Keeper, Write};
use crate::known::Known;
use crate::limits::LOOK_EVERY;
use crate::processes::Processes;
use crate::scene::{self, Scene};
use crate::sight::AllHeard;
use crate::{Program, VmFacts};
use membership::client::Where;
use membership::config::Config;
use membership::identity::Identity;

pub use ownership::watch as watch_ownership;
use told::Owner;
pub use told::{AskedOwners, Told};

/// What the agent remembers of a VM from one look to the next. Nothing of it is needed to go on: an agent
/// that has just started has none of it.
#[derive(Debug, Default)]
struct Handled {
    /// What the planner is shown of it.
    memory: Memory,
    /// Where a process waits that another host has granted.
    address: Option<SocketAddr>,
    /// How its process on this host has ended, as that has said.
    ending: Option<Ending>,
    /// Was its live process on this host at the last look?
    was_here: bool,
    /// That it cannot be taken away from this host.
    is_stuck: bool,
    /// When its process on this host was to be killed last.
    killing: Option<Time>,
    /// Number of the operation that was seen last.
    operation: Option<String>,
    /// Whether its guest hangs.
    hang: hanging::Hanging,
}

/// What the mind thinks with.
#[derive(Debug)]
pub struct Mind {
    me: HostName,
    config: Config,
    program: Program,
    identity: Identity,
    fixed: Fixed,
    sockets: PathBuf,
    keeper: Keeper,
    processes: Arc<Mutex<Processes>>,
    wanted_owners: Arc<Mutex<AskedOwners>>,
    runtime: tokio::runtime::Handle,
    tell: Sender<Told>,
    scene: watch::Sender<Arc<Scene>>,
    asked: watch::Receiver<u64>,
    happenings: Arc<Happenings>,

    known: Known,
    directory_away: Option<(Wall, String)>,
    arbiter_away: Option<(Time, String)>,
    owners: BTreeMap<VmName, (Time, Owner)>,
    /// When the store's watch has said something last.
    store_heard: Time,
    /// When the arbiter has answered last.
    arbiter_heard: Time,
    heard: AllHeard,
    handled: BTreeMap<VmName, Handled>,
    backoff: Backoff,
    /// Settings that were read, by their text.
    facts: BTreeMap<VmName, (String, Result<VmFacts, String>)>,
    /// Keys of which a change is under way, and since when.
    writing: BTreeMap<String, Time>,
    /// Other agents that are asked again and again.
    polled: BTreeSet<HostName>,
    /// What was told last.
    said: told::Said,
    began: Time,
}

/// What a mind is made with.
#[derive(Debug)]
pub struct Parts {
    /// What `agent.toml` says.
    pub config: Config,
    /// The program that it is part of.
    pub program: Program,
    /// How it is known to others.
    pub identity: Identity,
    /// The site's store.
    pub keeper: Keeper,
    /// The processes of this host.
    pub processes: Arc<Mutex<Processes>>,
    /// Runs what other hosts are asked.
    pub runtime: tokio::runtime::Handle,
    /// Where the mind is told something.
    pub tell: Sender<Told>,
    /// Where it shows what it has seen.
    pub scene: watch::Sender<Arc<Scene>>,
    /// Counts how many times somebody wanted to know at once how things are on other hosts.
    pub asked: watch::Receiver<u64>,
    /// Where it tells what has happened.
    pub happenings: Arc<Happenings>,
}

impl Mind {
    /// A mind that has seen nothing yet.
    #[must_use]
    pub fn new(parts: Parts) -> Mind {
        let sockets = parts.config.sockets(&parts.program.sockets);
        let seed = os::entropy::random_u128() as u64;
        Mind {
            me: HostName::new(parts.config.host.clone()),
            fixed: Fixed::new(&parts.config, &parts.program),
            sockets,
            wanted_owners: Arc::default(),
            known: Known::default(),
            directory_away: Some((scene::now().wall, "it was not read yet".into())),
            arbiter_away: None,
            owners: BTreeMap::new(),
            store_heard: clock::now(),
            arbiter_heard: clock::now(),
            heard: AllHeard::new(),
            handled: BTreeMap::new(),
            backoff: Backoff::new(seed),
            facts: BTreeMap::new(),
            writing: BTreeMap::new(),
            polled: BTreeSet::new(),
            said: told::Said::default(),
            began: clock::now(),
            config: parts.config,
            program: parts.program,
            identity: parts.identity,
            keeper: parts.keeper,
            processes: parts.processes,
            runtime: parts.runtime,
            tell: parts.tell,
            scene: parts.scene,
            asked: parts.asked,
            happenings: parts.happenings,
        }
    }

    /// The VMs of which the arbiter is asked who owns them.
    #[must_use]
    pub fn wanted_owners(&self) -> Arc<Mutex<AskedOwners>> {
        self.wanted_owners.clone()
    }

    /// Thinks until nobody tells it anything any more, or `ends` says so.
    pub fn think(mut self, told: &Receiver<Told>, ends: &dyn Fn() -> bool) {
        let mut next = Instant::now();
        while !ends() {
            match told.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(news) => {
                    let is_urgent = self.hear(news);
                    if !is_urgent && Instant::now() < next {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            // What was told in the meantime belongs to the same look.
            while let Ok(news) = told.try_recv() {
                self.hear(news);
            }
            self.look();
            next = Instant::now() + LOOK_EVERY;
        }
    }

    /// Where the agent of this host is called; `None`: the host is not known, or is this one.
    fn agent_of(&self, host: &HostName) -> Option<Where> {
        if *host == self.me {
            return None;
        }
        self.known.agent_of(host, &self.identity.client)
    }

    /// Has a change made on a thread of its own, unless one of the same key is under way.
    fn write(&mut self, write: Write) {
        let key = write.key.as_str().to_owned();
        if self.writing.contains_key(&key) {
            return;
        }
        let (keeper, tell, name) = (self.keeper.clone(), self.tell.clone(), key.clone());
        let thread = std::thread::Builder::new()
            .name("store write".into())
            .spawn(move || {
                let result = keeper.make(&write).map(drop).map_err(|error| error.to_string());
                // Nobody listens any more when the agent ends.
                let _ = tell.send(Told::Wrote(name, result));
            });
        if thread.is_ok() {
            self.writing.insert(key, clock::now());
        }
    }
}
