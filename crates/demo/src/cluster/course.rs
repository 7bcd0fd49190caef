//! What is done to the site, step after step, while the client writes: two hosts die, one comes back, and the
//! VM is handed over. What is waited for is what the agents say.

use std::time::{Duration, Instant};

use agent::types::{ReplicaObject, VmObject};
use anyhow::{Context, Result, bail};
use report::{Figures, StateWord};
use serde_json::json;

use super::site::{NAMES, Site};
use crate::figures::Loaded;
use crate::kills::Survived;
use crate::live::{Live, TICK};
use crate::load::Load;
use crate::options::Options;
use crate::pair::BOOT_PATIENCE;
use crate::process::END_PATIENCE;

/// Time that may pass until the VM is protected again.
const PROTECT_PATIENCE: Duration = Duration::from_secs(300);
/// Time that may pass until a VM that was killed with its host runs on another one, and until it is handed
/// over.
const TAKEOVER_PATIENCE: Duration = Duration::from_secs(60);
/// Stretches into which the time of the load is cut: before each step, and after the last one.
const STRETCHES: u32 = 5;
/// How the planner's reason is called that a host gives no answer.
const SILENT: &str = "host-silent";

/// Where the VM is: indices of hosts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub primary: usize,
    /// `None`: it has no backup.
    pub backup: Option<usize>,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The VM is protected, and the client begins.
    Begun,
    /// A host was killed with the primary; the number of the kill counts from 0.
    Killed { host: usize, kill: usize },
    /// The VM is protected again.
    Protected,
    /// The host that is left says why it is alone.
    Alone,
    /// A host that has died is started again.
    Revived { host: usize },
    /// Somebody has the VM handed over.
    HandedOver,
}

/// A step of the demo.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Time since the load began.
    pub at: Duration,
    pub what: What,
    /// Where the VM is from then on.
    pub place: Place,
}

/// The life of the VM, as the agents told it and as the client saw it.
pub struct Lived {
    pub loaded: Loaded,
    pub steps: Vec<Step>,
    /// How long it took after each death until the VM was protected again: from the death, or from when
    /// there was another host again.
    pub protected_again: Vec<Duration>,
    /// How long there was no other host.
    pub alone: Duration,
    /// What the host that was left said then.
    pub reasons: Vec<String>,
    /// How long the hand-over took, from the wish until the other host had the VM and was protected.
    pub handed_over: Duration,
}

/// What is needed for it.
pub struct Course<'a> {
    args: &'a Options,
    site: &'a mut Site,
    live: &'a mut Live,
    /// `None`: the client does not write yet.
    load: Option<Load>,
    /// The newest of the side that is live.
    figures: Option<Figures>,
    steps: Vec<Step>,
}

/// A VM that is protected.
struct Paired {
    place: Place,
    /// Number of the process that is the backup.
    backup: u32,
}

impl Course<'_> {
    /// What can be done with a site that has begun.
    pub fn new<'a>(args: &'a Options, site: &'a mut Site, live: &'a mut Live) -> Course<'a> {
        Course {
            args,
            site,
            live,
            load: None,
            figures: None,
            steps: Vec::new(),
        }
    }

    /// All of it. The VM is off in the end.
    pub fn run(mut self) -> Result<Lived> {
        let first = self.begin()?;
        let began_ns = os::sys::clock::now().0;
        self.load = Some(Load::begin(self.site.gateway.redis, self.args));
        self.note(What::Begun, first.place);
        self.rest()?;

        let (mut kill, killed) = self.kill(first.place, 0)?;
        let first_dead = kill.host;
        let second = self.await_protected(kill.place.primary)?;
        let again = killed.elapsed();
        kill.survived.backup = second.backup;
        let mut survived = vec![kill.survived];
        let mut protected_again = vec![again];
        self.rest()?;

        let (mut kill, killed) = self.kill(second.place, 1)?;
        let reasons = self.await_reasons(kill.place)?;
        self.rest()?;
        let alone = killed.elapsed();
        let revived = Instant::now();
        self.site.revive(first_dead)?;
        self.note(What::Revived { host: first_dead }, kill.place);
        let third = self.await_protected(kill.place.primary)?;
        protected_again.push(revived.elapsed());
        kill.survived.backup = third.backup;
        survived.push(kill.survived);
        self.rest()?;

        let handed_over = self.hand_over(third.place)?;
        self.rest()?;
        let loaded = self.end(began_ns, survived)?;
        Ok(Lived {
            loaded,
            steps: self.steps,
            protected_again,
            alone,
            reasons,
            handed_over,
        })
    }

    /// Creates the VM, and waits until it is protected and Redis answers.
    fn begin(&mut self) -> Result<Paired> {
        self.site.create()?;
        self.live
            .say("three agents know each other; the guest boots on host a");
        let began = Instant::now();
        while !self.site.host(0)?.has_booted() {
            if began.elapsed() > BOOT_PATIENCE {
                bail!("the guest did not boot within {} s", BOOT_PATIENCE.as_secs());
            }
            self.pass(&format!("the guest boots, {} s", began.elapsed().as_secs()))?;
        }
        self.until("the VM is protected", 0, PROTECT_PATIENCE, &paired)
    }

    /// Ends the host where the VM runs, and waits until it runs where its backup was.
    fn kill(&mut self, place: Place, kill: usize) -> Result<(Killed, Instant)> {
        let host = place.primary;
        let Some(heir) = place.backup else {
            bail!(
                "host {} has no backup, and nobody is killed without one",
                name(host)
            );
        };
        let killed_ns = os::sys::clock::now().0;
        let (killed, at) = (Instant::now(), self.time());
        self.site.kill(host)?;
        let place = Place {
            primary: heir,
            backup: None,
        };
        self.note_at(at, What::Killed { host, kill }, place);
        let what = format!(
            "the VM runs on host {} after host {} has died",
            name(heir),
            name(host)
        );
        let survivor = self.until(&what, heir, TAKEOVER_PATIENCE, &|vm: &VmObject| {
            let primary = vm.primary.as_ref()?;
            (primary.host == name(heir)).then_some(primary.pid)
        })?;
        let survived = Survived {
            killed: at,
            killed_ns,
            survivor,
            backup: 0,
            clones_failed: 0,
        };
        let killed_one = Killed {
            survived,
            host,
            place,
        };
        Ok((killed_one, killed))
    }

    /// The hosts of the VM's primary and of its backup: a host that has no time for its processes may have
    /// lost them since somebody looked.
    fn sides(&mut self, place: Place) -> Result<(usize, usize)> {
        let now = self.until("the VM is protected", place.primary, PROTECT_PATIENCE, &paired)?;
        match now.place.backup {
            Some(backup) => Ok((now.place.primary, backup)),
            None => bail!("host {} has no backup of the VM", name(now.place.primary)),
        }
    }

    /// Waits until the VM, which runs on this host, has a backup.
    fn await_protected(&mut self, host: usize) -> Result<Paired> {
        let what = format!("the VM is protected again on host {}", name(host));
        let paired = self.until(&what, host, PROTECT_PATIENCE, &move |vm: &VmObject| {
            paired(vm).filter(|paired| paired.place.primary == host)
        })?;
        self.note(What::Protected, paired.place);
        Ok(paired)
    }

    /// Waits until the host that is left says of each other one that it is silent, and gives what it says.
    fn await_reasons(&mut self, place: Place) -> Result<Vec<String>> {
        let what = format!("host {} says why it is alone", name(place.primary));
        let silent = self.site.hosts.iter().filter(|host| !host.is_alive()).count();
        let reasons = self.until(&what, place.primary, TAKEOVER_PATIENCE, &move |vm: &VmObject| {
            let told = &vm.protection;
            let of_hosts = told.reasons.iter().filter(|reason| reason.code == SILENT);
            let is_told = told.state == StateWord::NeedsBackup && of_hosts.count() >= silent;
            let sentences = told.reasons.iter().map(|reason| reason.sentence.clone());
            is_told.then(|| sentences.collect::<Vec<String>>())
        })?;
        self.note(What::Alone, place);
        Ok(reasons)
    }

    /// Has the VM handed over to its backup, as for work on its host.
    fn hand_over(&mut self, place: Place) -> Result<Duration> {
        let (owner, heir) = self.sides(place)?;
        let (asked, at) = (Instant::now(), self.time());
        let comment = json!({ "comment": format!("host {} is to be looked after", name(owner)) });
        let host = self.site.host(owner)?;
        let asked_for = host.agent.change("POST", "/failover", &comment);
        asked_for.context("the VM cannot be handed over")?;
        let what = format!("the VM is handed over to host {}", name(heir));
        let after = self.until(&what, heir, TAKEOVER_PATIENCE, &move |vm: &VmObject| {
            paired(vm).filter(|paired| paired.place.primary == heir)
        })?;
        let took = asked.elapsed();
        self.note_at(at, What::HandedOver, after.place);
        Ok(took)
    }

    /// Has the client verify, and the VM switched off.
    fn end(&mut self, began_ns: u64, survived: Vec<Survived>) -> Result<Loaded> {
        let Some(load) = self.load.take() else {
            bail!("no client has written");
        };
        let lasted = load.time();
        // The connection stays open until the VM is off.
        let (seen, _client) = load.end(1, self.live)?;
        self.live.say("reading back done; the VM is switched off");
        let last = self.steps.last().map_or(0, |step| step.place.primary);
        let off = json!({ "wanted": "off", "hard": true });
        let asked_for = self.site.host(last)?.agent.change("PUT", "/power", &off);
        asked_for.context("the VM cannot be switched off")?;
        self.until("the VM is off", last, END_PATIENCE, &|vm: &VmObject| {
            let is_off = vm.protection.state == StateWord::Off;
            (is_off && vm.primary.is_none() && vm.backup.is_none()).then_some(())
        })?;
        Ok(Loaded {
            began_ns,
            lasted,
            seen,
            survived,
        })
    }

    /// Waits until the agent of a host says so; `what` is that as a sentence.
    fn until<T>(
        &mut self,
        what: &str,
        host: usize,
        patience: Duration,
        is_so: &dyn Fn(&VmObject) -> Option<T>,
    ) -> Result<T> {
        let began = Instant::now();
        loop {
            let said = match self.site.host(host)?.agent.vm() {
                Ok(vm) => {
                    if let Some(so) = is_so(&vm) {
                        return Ok(so);
                    }
                    let live = vm.primary.as_ref().and_then(|primary| primary.figures.as_deref());
                    self.figures = live.cloned().or(self.figures.take());
                    let reasons = vm
                        .protection
                        .reasons
                        .iter()
                        .map(|reason| reason.sentence.as_str());
                    let reasons: Vec<&str> = reasons.collect();
                    format!("{}: {}", vm.protection.state.as_str(), reasons.join("; "))
                }
                Err(error) => format!("{error:#}"),
            };
            if began.elapsed() > patience {
                let waited = patience.as_secs();
                bail!("it did not come to be within {waited} s that {what}; its agent says: {said}");
            }
            self.pass(&said)?;
        }
    }

    /// Lets a moment pass; `what` is what is waited for, where no client writes.
    fn pass(&mut self, what: &str) -> Result<()> {
        for host in &mut self.site.hosts {
            host.check(self.live)?;
        }
        match &self.load {
            Some(load) => {
                load.go_on(TICK)?;
                self.live.tick(|| load.line(self.figures.clone()))
            }
            None => {
                std::thread::sleep(TICK);
                self.live.tick(|| what.to_owned())
            }
        }
    }

    /// Lets one stretch of the load's time pass.
    fn rest(&mut self) -> Result<()> {
        let Some(load) = &self.load else {
            return Ok(());
        };
        let until = load.time() + Duration::from_secs(self.args.seconds) / STRETCHES;
        load.wait(until, &mut || self.figures.clone(), self.live)
    }

    fn time(&self) -> Duration {
        self.load.as_ref().map(Load::time).unwrap_or_default()
    }

    fn note(&mut self, what: What, place: Place) {
        self.note_at(self.time(), what, place);
    }

    fn note_at(&mut self, at: Duration, what: What, place: Place) {
        let step = Step { at, what, place };
        self.live
            .say(&format!("{:.1} s: {}", at.as_secs_f64(), sentence(&step)));
        self.steps.push(step);
    }
}

/// A kill, and where the VM lives then.
struct Killed {
    survived: Survived,
    /// The host that is dead.
    host: usize,
    place: Place,
}

/// What happened in a step, in a sentence without its figures.
pub fn sentence(step: &Step) -> String {
    let on = name(step.place.primary);
    match step.what {
        What::Begun => "protected; the client begins to write".into(),
        What::Killed { host, .. } => format!("host {} killed", name(host)),
        What::Protected => "protected again by itself".into(),
        What::Alone => format!("host {on} is alone, and says why"),
        What::Revived { host } => format!("host {} is started again", name(host)),
        What::HandedOver => "handed over, as was asked".into(),
    }
}

/// Name of a host.
pub fn name(host: usize) -> &'static str {
    NAMES.get(host).copied().unwrap_or("?")
}

/// The two sides of a VM that is protected; `None`: it is not.
fn paired(vm: &VmObject) -> Option<Paired> {
    let (primary, backup) = (vm.primary.as_ref()?, vm.backup.as_ref()?);
    let index = |replica: &ReplicaObject| NAMES.iter().position(|name| *name == replica.host);
    (vm.protection.state == StateWord::Protected).then_some(())?;
    Some(Paired {
        place: Place {
            primary: index(primary)?,
            backup: Some(index(backup)?),
        },
        backup: backup.pid,
    })
}
