//! `Desk`: what the routes answer with. Questions are answered from the mind's last scene; a wish becomes
//! changes of the site's store, and is answered when the mind has seen them.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arbiter::Place;
use messages::vm_name::VmName;
use os::sys::clock;
use plan::HostName;
use plan::limits::STALE_REMOTE;
use rustls::ClientConfig;
use store::{Doubt, Revision, StoreError};
use tokio::sync::{Semaphore, watch};

use crate::limits::{CONSOLES_MAX, PASSAGES_MAX};
use controller::happenings::{Happened, Happenings};
use controller::keeper::{Keeper, Write};
use controller::limits::AGENT_PATIENCE;
use controller::processes::Processes;
use controller::scene::Scene;
use controller::wishes::Change;
use controller::{Program, VmFacts};
use membership::client::{self, Question, Where};
use membership::config::Config;

use super::feed::Feed;
use membership::problem::Problem;

/// A wish is looked at anew so many times if somebody else changes something meanwhile.
const ATTEMPTS: usize = 5;
/// Other hosts have this long to say how things are before a wish is judged.
const LOOK_PATIENCE: Duration = Duration::from_millis(1_200);
/// The mind has this long to see what was written.
const SEEN_PATIENCE: Duration = Duration::from_secs(3);

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Name of the person, or `another agent`.
    pub name: String,
    /// Is it another agent? Only agents may ask for reservations; beside that they may look, and lead people
    /// to consoles, and change nothing.
    pub is_agent: bool,
}

/// What the routes answer with.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The mind's last scene.
    pub scene: watch::Receiver<Arc<Scene>>,
    /// Counts how many times somebody wanted to know at once how things are on other hosts.
    pub ask: Arc<watch::Sender<u64>>,
    /// The site's store.
    pub keeper: Keeper,
    /// The processes of this host.
    pub processes: Arc<Mutex<Processes>>,
    /// How this agent is known to others.
    pub tls: Arc<ClientConfig>,
    /// What has happened on this host.
    pub happenings: Arc<Happenings>,
    /// What has changed lately.
    pub feed: Arc<Feed>,
    /// Reads the settings of a VM.
    pub read_vm: fn(&str) -> Result<VmFacts, String>,
    /// Version of the program.
    pub version: &'static str,
    /// Where the site's arbiter is.
    pub arbiter: Place,
    /// The directory with the control sockets of this host's processes.
    pub sockets: PathBuf,
    /// Places for connections that lead through this agent to VMs' processes.
    pub passages: Arc<Semaphore>,
    /// Places for people at the consoles of VMs, whom this agent connects.
    pub consoles: Arc<Semaphore>,
}

impl Desk {
    /// A desk for this program, by this file.
    #[must_use]
    pub fn new(
        scene: watch::Receiver<Arc<Scene>>,
        ask: watch::Sender<u64>,
        keeper: Keeper,
        processes: Arc<Mutex<Processes>>,
        (happenings, feed): (Arc<Happenings>, Arc<Feed>),
        tls: Arc<ClientConfig>,
        (config, program): (&Config, &Program),
    ) -> Desk {
        Desk {
            scene,
            ask: Arc::new(ask),
            keeper,
            processes,
            tls,
            happenings,
            feed,
            read_vm: program.read_vm,
            version: program.version,
            arbiter: config.arbiter.place.clone(),
            sockets: config.sockets(&program.sockets),
            passages: Arc::new(Semaphore::new(PASSAGES_MAX)),
            consoles: Arc::new(Semaphore::new(CONSOLES_MAX)),
        }
    }

    /// The mind's last scene.
    pub fn now(&self) -> Arc<Scene> {
        self.scene.borrow().clone()
    }

    /// Has the mind look how things are now, on other hosts too: what is wished is judged by that. A host
    /// that does not answer in time is judged by what was heard last.
    pub async fn look_around(&self) {
        self.look(|_, _| true).await;
    }

    /// The same for one VM: only the host is waited for on which it is seen to be live. If there is none, or
    /// only one of which nothing is heard any more, the VM may be on any other.
    pub async fn look_at(&self, vm: &VmName) {
        self.look(|scene, host| {
            let live = scene.vms.get(vm).and_then(|vm| vm.live.as_ref());
            let owner = live.map(|(owner, _)| owner).filter(|owner| {
                let heard = scene.heard.get(owner);
                heard.is_some_and(|heard| scene.now.time.since(heard.at) <= STALE_REMOTE)
            });
            owner.is_none_or(|owner| owner == host)
        })
        .await;
    }

    /// Has the mind look, and waits for the hosts that count.
    async fn look(&self, counts: impl Fn(&Scene, &HostName) -> bool) {
        let began = clock::now();
        self.ask.send_modify(|count| *count += 1);
        let is_news = |scene: &Arc<Scene>| {
            let mut heard = scene.heard.iter().filter(|(host, _)| counts(scene, host));
            heard.all(|(_, heard)| heard.at >= began || scene.now.time.since(heard.at) > STALE_REMOTE)
        };
        let _ = tokio::time::timeout(LOOK_PATIENCE, self.scene.clone().wait_for(is_news)).await;
    }

    /// Where the agent of another host is called; `None`: there is no such host.
    pub fn agent_of(&self, scene: &Scene, host: &plan::HostName) -> Option<Where> {
        scene.known.agent_of(host, &self.tls)
    }

    /// What has happened on the other hosts, to this VM or to any, as far as their agents answer.
    pub async fn happened_elsewhere(&self, vm: Option<&str>) -> Vec<Happened> {
        let scene = self.now();
        let query = vm.map_or(String::new(), |vm| format!("?vm={vm}"));
        let path = format!("/v1/events{query}");
        let others = scene.known.hosts.keys().filter(|name| **name != scene.me);
        let asked: Vec<_> = others
            .filter_map(|name| self.agent_of(&scene, name))
            .map(|to| {
                let question = Question::get(&path);
                tokio::spawn(async move {
                    match client::question(&to, &question, AGENT_PATIENCE).await {
                        Ok(answer) if answer.is_good() => serde_json::from_slice(&answer.body).ok(),
                        _ => None,
                    }
                })
            })
            .collect();
        let mut all: Vec<Happened> = Vec::new();
        for answer in asked {
            // A task that has panicked has ended the process.
            all.extend(answer.await.ok().flatten().unwrap_or_else(Vec::new));
        }
        all
    }

    /// Judges a wish as [`Desk::wish`] does, and makes nothing of what it changes.
    ///
    /// # Errors
    /// As those of [`Desk::wish`].
    pub fn judge(&self, wish: impl Fn(&Scene) -> Result<Change, Problem>) -> Result<Change, Problem> {
        consider(&self.now(), &wish)
    }

    /// Makes what a wish changes by what was seen last, and waits until the mind has seen it. Who was
    /// overtaken by somebody else wishes anew, by what is there then.
    ///
    /// # Errors
    /// The wish is refused, or the directory is away.
    pub async fn wish(&self, wish: impl Fn(&Scene) -> Result<Change, Problem>) -> Result<Change, Problem> {
        let mut scene = self.scene.clone();
        let mut overtaken = String::new();
        for _ in 0..ATTEMPTS {
            let now = scene.borrow_and_update().clone();
            let change = consider(&now, &wish)?;
            match self.make(change.writes.clone()).await? {
                Made::All(last) => {
                    if let Some((write, revision)) = last {
                        await_seen(&mut scene, &write, revision).await;
                    }
                    return Ok(change);
                }
                Made::Overtaken(sentence) => overtaken = sentence,
            }
            // The next scene may have what the other one has written.
            let _ = tokio::time::timeout(SEEN_PATIENCE, scene.changed()).await;
        }
        Err(Problem::new("changed", format!("{overtaken}; try again")))
    }

    /// Makes changes in their order.
    async fn make(&self, writes: Vec<Write>) -> Result<Made, Problem> {
        let keeper = self.keeper.clone();
        let made = tokio::task::spawn_blocking(move || {
            let mut last = None;
            for write in writes {
                match keeper.make(&write) {
                    Ok(revision) => last = Some((write, revision)),
                    Err(error @ StoreError::Changed { .. }) => return Ok(Made::Overtaken(error.to_string())),
                    Err(error) => return Err(refusal(&error)),
                }
            }
            Ok(Made::All(last))
        });
        match made.await {
            Ok(made) => made,
            Err(error) => Err(Problem::new("bug", error.to_string())),
        }
    }
}

/// What a wish changes at a scene, if it can be made.
fn consider(now: &Scene, wish: &impl Fn(&Scene) -> Result<Change, Problem>) -> Result<Change, Problem> {
    if let Some((_, why)) = &now.directory_away {
        let detail = format!("the site's directory does not answer ({why}); nothing was changed");
        return Err(Problem::new("directory-away", detail));
    }
    wish(now)
}

/// What became of changes.
enum Made {
    /// All were made; the last one with the number of its state, where it has one.
    All(Option<(Write, Option<Revision>)>),
    /// Somebody else was first.
    Overtaken(String),
}

fn refusal(error: &StoreError) -> Problem {
    let code = match error {
        StoreError::Away {
            doubt: Doubt::Unchanged | Doubt::Unknown,
            ..
        } => "directory-away",
        StoreError::Changed { .. } => "changed",
        StoreError::Refused(_) => "not-now",
    };
    Problem::new(code, error.to_string())
}

/// Waits until the mind has seen a change of the store, for a while: it makes no difference to the change.
async fn await_seen(scene: &mut watch::Receiver<Arc<Scene>>, write: &Write, revision: Option<Revision>) {
    let is_seen = |scene: &Arc<Scene>| match (revision, revision_of(scene, write.key.as_str())) {
        (Some(written), Some(seen)) => seen >= written,
        (Some(_), None) => false,
        (None, seen) => seen.is_none(),
    };
    let _ = tokio::time::timeout(SEEN_PATIENCE, scene.wait_for(is_seen)).await;
}

/// The number of a key's state in a scene.
fn revision_of(scene: &Scene, key: &str) -> Option<Revision> {
    let parts: Vec<&str> = key.split('/').collect();
    match parts.as_slice() {
        ["drain", host] => {
            let host = HostName::new(*host);
            scene.known.drains.get(&host).map(|record| record.revision)
        }
        ["vms", name, part] => {
            let name = messages::vm_name::VmName::new(name).ok()?;
            let vm = scene.known.vms.get(&name)?;
            match *part {
                "spec" => vm.spec.as_ref().map(|record| record.revision),
                "place" => vm.place.as_ref().map(|record| record.revision),
                _ => vm.operation.as_ref().map(|record| record.revision),
            }
        }
        _ => None,
    }
}
