//! `Feed`: what has changed lately, for whoever watches. It compares each scene with what it has told, gives
//! each change a number, and keeps the last of them; a `Listener` has nothing but the number up to which it
//! has heard. So all listeners together need no more memory than the changes that are kept, and one that is
//! slow holds nobody up: what it has missed is replaced by a snapshot.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};

use messages::time::Time;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, watch};

use super::changes::{
    RemovedObject, SnapshotObject, Topic, is_host_changed, is_operation_changed, is_site_changed,
    is_vm_changed,
};
use super::types::{HostObject, OperationObject, SiteObject, VmObject};
use crate::limits::{FIGURES_EVERY, WATCH_BEHIND_MAX, WATCH_LISTENERS_MAX};
use controller::happenings::Happened;
use controller::lock;
use controller::scene::Scene;
use membership::problem::Problem;

/// The first number is below this: a program may read numbers into floating point, and they only grow.
const FIRST_BELOW: u64 = 1 << 48;

/// The topics that a listener wants.
pub type Topics = BTreeSet<Topic>;

/// What has changed lately.
#[derive(Debug)]
pub struct Feed {
    host: String,
    kept: Mutex<Kept>,
    /// That there is something new.
    news: watch::Sender<()>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Kept {
    /// Number of the last message.
    last: u64,
    /// The last messages in their order, each with the number after the one before.
    messages: VecDeque<Message>,
    told: Told,
    /// All objects at the last look; `None`: there was none yet.
    seen: Option<Arc<SnapshotObject>>,
    figures: Option<Figures>,
    figures_at: Time,
}

/// Objects as they were told last.
#[derive(Debug, Default)]
struct Told {
    site: Option<SiteObject>,
    hosts: BTreeMap<String, HostObject>,
    vms: BTreeMap<String, VmObject>,
    operations: BTreeMap<String, OperationObject>,
}

/// A change.
#[derive(Clone, Debug)]
struct Message {
    topic: Topic,
    /// Name of the event.
    event: &'static str,
    data: Arc<str>,
}

/// All objects with their figures. Only the newest is worth anything, so figures are not numbered.
#[derive(Clone, Debug)]
struct Figures {
    /// Counts them.
    count: u64,
    /// Number of the last message of before.
    after: u64,
    data: Arc<str>,
}

/// One thing that is said to a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// Where a listener that comes back goes on; `None`: this changes nothing about that.
    pub id: Option<String>,
    /// Name of the event.
    pub event: &'static str,
    /// Its data, JSON.
    pub data: Arc<str>,
}

/// What a listener is told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// That all it knows is void.
    Reset,
    /// All objects.
    Snapshot,
    /// What changes.
    Changes,
}

/// Somebody who watches.
#[derive(Debug)]
pub struct Listener {
    feed: Arc<Feed>,
    topics: Topics,
    step: Step,
    /// Number of the last message that was looked at.
    cursor: u64,
    /// Number of the last message that was said.
    said: u64,
    /// Count of the last figures.
    figures: u64,
    news: watch::Receiver<()>,
    _place: OwnedSemaphorePermit,
}

fn json(object: &impl Serialize) -> Arc<str> {
    // Objects are texts, numbers and words, which JSON can always say.
    serde_json::to_string(object).unwrap_or_default().into()
}

impl Feed {
    /// A feed of this host's agent that has told nothing yet. `random`: any number; the first message's is
    /// made of it, so that no number of an agent before is taken for one of this agent.
    #[must_use]
    pub fn new(host: &str, random: u64) -> Arc<Feed> {
        Arc::new(Feed {
            host: host.to_owned(),
            kept: Mutex::new(Kept {
                last: random % FIRST_BELOW,
                messages: VecDeque::new(),
                told: Told::default(),
                seen: None,
                figures: None,
                figures_at: Time(0),
            }),
            news: watch::channel(()).0,
            places: Arc::new(Semaphore::new(WATCH_LISTENERS_MAX)),
        })
    }

    /// Tells of what the mind sees and of what happens, until the agent ends.
    pub async fn follow(
        self: Arc<Feed>,
        mut scene: watch::Receiver<Arc<Scene>>,
        mut happened: broadcast::Receiver<Happened>,
    ) {
        loop {
            tokio::select! {
                changed = scene.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let scene = scene.borrow_and_update().clone();
                    self.see(scene.now.time, SnapshotObject::of(&scene));
                }
                happened = happened.recv() => match happened {
                    Ok(happened) => self.happened(&happened),
                    Err(broadcast::error::RecvError::Lagged(_)) => self.forget(),
                    Err(broadcast::error::RecvError::Closed) => return,
                }
            }
        }
    }

    /// Tells of what has changed by `at`.
    pub fn see(&self, at: Time, now: SnapshotObject) {
        let mut kept = lock(&self.kept);
        kept.see(&now);
        let now = Arc::new(now);
        let is_heard = self.places.available_permits() < WATCH_LISTENERS_MAX;
        if is_heard && at.since(kept.figures_at) >= FIGURES_EVERY {
            kept.figures_at = at;
            kept.figures = Some(Figures {
                count: kept.figures.as_ref().map_or(0, |figures| figures.count) + 1,
                after: kept.last,
                data: json(&*now),
            });
        }
        kept.seen = Some(now);
        drop(kept);
        self.news.send_replace(());
    }

    /// Tells of something that has happened.
    pub fn happened(&self, happened: &Happened) {
        lock(&self.kept).push(Topic::Event, "event", happened);
        self.news.send_replace(());
    }

    /// Something was missed: whoever listens begins anew.
    fn forget(&self) {
        let mut kept = lock(&self.kept);
        kept.messages.clear();
        kept.last += 1;
        drop(kept);
        self.news.send_replace(());
    }

    /// Somebody begins to listen. `last`: the `id` of the last message that was heard before.
    ///
    /// # Errors
    /// So many listen already as may.
    pub fn listen(self: &Arc<Feed>, topics: Topics, last: Option<&str>) -> Result<Listener, Problem> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            let detail = format!("{WATCH_LISTENERS_MAX} listen already, and no more may");
            return Err(Problem::new("too-many", detail));
        };
        let kept = lock(&self.kept);
        let goes_on_after = last.and_then(|last| kept.number(&self.host, last));
        let (step, cursor) = match (last, goes_on_after) {
            (None, _) => (Step::Snapshot, kept.last),
            (Some(_), None) => (Step::Reset, kept.last),
            (Some(_), Some(number)) => (Step::Changes, number),
        };
        drop(kept);
        Ok(Listener {
            feed: self.clone(),
            topics,
            step,
            cursor,
            said: cursor,
            figures: 0,
            news: self.news.subscribe(),
            _place: place,
        })
    }

    fn id(&self, number: u64) -> Option<String> {
        Some(format!("{}:{number}", self.host))
    }
}

impl Kept {
    /// Number of the oldest message that is kept; the next one's if there is none.
    fn oldest(&self) -> u64 {
        (self.last + 1).saturating_sub(self.messages.len() as u64)
    }

    /// The number of an `id`, if a listener can go on after it.
    fn number(&self, host: &str, id: &str) -> Option<u64> {
        let (of, number) = id.rsplit_once(':')?;
        let number: u64 = number.parse().ok()?;
        let is_here = (self.oldest()..=self.last + 1).contains(&number.checked_add(1)?);
        (of == host && is_here).then_some(number)
    }

    fn push(&mut self, topic: Topic, event: &'static str, object: &impl Serialize) {
        if self.messages.len() >= WATCH_BEHIND_MAX {
            self.messages.pop_front();
        }
        self.last += 1;
        self.messages.push_back(Message {
            topic,
            event,
            data: json(object),
        });
    }

    fn see(&mut self, now: &SnapshotObject) {
        let mut told = std::mem::take(&mut self.told);
        if told
            .site
            .as_ref()
            .is_none_or(|site| is_site_changed(site, &now.site))
        {
            self.push(Topic::Site, "site", &now.site);
            told.site = Some(now.site.clone());
        }
        let name = |host: &HostObject| host.name.clone();
        self.compare(Topic::Host, &mut told.hosts, &now.hosts, name, is_host_changed);
        let name = |vm: &VmObject| vm.name.clone();
        self.compare(Topic::Vm, &mut told.vms, &now.vms, name, is_vm_changed);
        let (topic, name) = (Topic::Operation, |operation: &OperationObject| {
            operation.vm.clone()
        });
        let all = &now.operations;
        self.compare(topic, &mut told.operations, all, name, is_operation_changed);
        self.told = told;
    }

    /// Tells of the objects of a topic that are new or have changed, and of those that are gone.
    fn compare<T: Clone + Serialize>(
        &mut self,
        topic: Topic,
        told: &mut BTreeMap<String, T>,
        now: &[T],
        name: impl Fn(&T) -> String,
        is_changed: impl Fn(&T, &T) -> bool,
    ) {
        let mut gone: BTreeSet<String> = told.keys().cloned().collect();
        for object in now {
            let name = name(object);
            gone.remove(&name);
            if told.get(&name).is_none_or(|told| is_changed(told, object)) {
                self.push(topic, topic.as_str(), object);
                told.insert(name, object.clone());
            }
        }
        for name in gone {
            told.remove(&name);
            // An operation goes with its VM.
            if topic != Topic::Operation {
                self.push(topic, "removed", &RemovedObject { topic, name });
            }
        }
    }
}

impl Listener {
    /// What is said next; `None`: the agent ends.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.ready() {
                return Some(said);
            }
            self.news.changed().await.ok()?;
        }
    }

    /// What can be said at once; `None`: nothing.
    fn ready(&mut self) -> Option<Said> {
        let feed = self.feed.clone();
        let kept = lock(&feed.kept);
        if self.step == Step::Changes && self.cursor + 1 < kept.oldest() {
            self.step = Step::Reset;
        }
        match self.step {
            Step::Reset => {
                self.step = Step::Snapshot;
                let data = "{\"sentence\":\"what was missed is not kept any more; a snapshot follows\"}";
                Some(Said {
                    id: None,
                    event: "reset",
                    data: data.into(),
                })
            }
            Step::Snapshot => {
                let seen = kept.seen.clone()?;
                (self.step, self.cursor, self.said) = (Step::Changes, kept.last, kept.last);
                drop(kept);
                Some(Said {
                    id: feed.id(self.cursor),
                    event: "snapshot",
                    data: json(&*seen),
                })
            }
            Step::Changes => self.change(&feed, &kept),
        }
    }

    /// The next change, or the newest figures, whichever was first.
    fn change(&mut self, feed: &Feed, kept: &Kept) -> Option<Said> {
        let skipped = usize::try_from(self.cursor + 1 - kept.oldest()).unwrap_or(usize::MAX);
        let waiting = (self.cursor + 1..).zip(kept.messages.iter().skip(skipped));
        let mut wanted = waiting.filter(|(_, message)| self.topics.contains(&message.topic));
        let next = wanted.next();
        let number = next.map_or(u64::MAX, |(number, _)| number);
        let is_wanted = self.topics.contains(&Topic::Figures);
        let figures = kept
            .figures
            .as_ref()
            .filter(|figures| is_wanted && figures.count > self.figures);
        if let Some(figures) = figures
            && number > figures.after
        {
            self.figures = figures.count;
            // Older figures would take back what was said since.
            if figures.after >= self.said {
                return Some(Said {
                    id: None,
                    event: Topic::Figures.as_str(),
                    data: figures.data.clone(),
                });
            }
        }
        let Some((number, message)) = next else {
            self.cursor = kept.last;
            return None;
        };
        (self.cursor, self.said) = (number, number);
        Some(Said {
            id: feed.id(number),
            event: message.event,
            data: message.data.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::changes::samples::{host, operation, site, vm};
    use crate::api::types::OperationState;

    fn feed() -> Arc<Feed> {
        let feed = Feed::new("a", 100);
        feed.see(Time(0), site(vec![vm("shop", 1)]));
        feed
    }

    fn all() -> Topics {
        Topic::ALL.into_iter().collect()
    }

    /// Everything that can be said at once: the events, each with its data.
    fn hear(listener: &mut Listener) -> Vec<Said> {
        std::iter::from_fn(|| listener.ready()).collect()
    }

    fn events(said: &[Said]) -> Vec<&str> {
        said.iter().map(|said| said.event).collect()
    }

    fn happened(number: u64) -> Happened {
        Happened {
            number,
            at_wall_ns: 0,
            host: "b".into(),
            vm: None,
            kind: "host-back".into(),
            sentence: String::new(),
        }
    }

    #[test]
    fn a_snapshot_comes_first_and_then_whole_objects_when_they_change() {
        let feed = feed();
        let mut listener = feed.listen(all(), None).unwrap();
        let said = hear(&mut listener);
        assert_eq!(events(&said), ["snapshot"]);
        let mut mirror: SnapshotObject = serde_json::from_str(&said[0].data).unwrap();
        let mut now = site(vec![vm("ldap", 1), vm("shop", 2)]);
        now.operations = vec![operation("shop", OperationState::Running)];
        now.hosts.push(host("b"));
        feed.see(Time(1), now.clone());
        feed.happened(&happened(1));
        let said = hear(&mut listener);
        assert_eq!(events(&said), ["host", "vm", "vm", "operation", "event"]);
        for said in &said {
            mirror.take(said.event, &said.data).unwrap();
        }
        assert_eq!(mirror, now);
        // Ages and figures alone are no change.
        now.hosts[0].age_ms = Some(500);
        feed.see(Time(2), now.clone());
        assert_eq!(hear(&mut listener), []);
        now.vms.pop();
        now.operations.clear();
        now.hosts.pop();
        feed.see(Time(3), now.clone());
        let said = hear(&mut listener);
        assert_eq!(events(&said), ["removed", "removed"]);
        for said in &said {
            mirror.take(said.event, &said.data).unwrap();
        }
        assert_eq!(
            (mirror.vms.len(), mirror.hosts.len(), mirror.operations.len()),
            (1, 1, 0)
        );
    }

    #[test]
    fn a_listener_that_comes_back_after_any_message_misses_and_repeats_nothing() {
        let feed = feed();
        let mut whole = feed.listen(all(), None).unwrap();
        for generation in 2..20 {
            feed.see(Time(0), site(vec![vm("shop", generation)]));
            feed.happened(&happened(generation));
        }
        let begin = whole.ready().unwrap();
        assert_eq!(begin.event, "snapshot");
        // It was made at its first look, so it has everything.
        assert_eq!(hear(&mut whole), []);
        let mut whole = feed.listen(all(), Some("a:100")).unwrap();
        let said = hear(&mut whole);
        assert_eq!(said.len(), 39, "{said:?}");
        for (index, last) in said.iter().enumerate() {
            let mut again = feed.listen(all(), last.id.as_deref()).unwrap();
            assert_eq!(hear(&mut again), said[index + 1..]);
        }
    }

    #[test]
    fn a_listener_hears_of_its_topics_alone() {
        let feed = feed();
        let mut listener = feed.listen(Topics::from([Topic::Event]), None).unwrap();
        hear(&mut listener);
        feed.see(Time(u64::MAX), site(vec![vm("shop", 2)]));
        feed.happened(&happened(1));
        let said = hear(&mut listener);
        assert_eq!(events(&said), ["event"]);
        feed.see(Time(u64::MAX), site(vec![vm("shop", 3)]));
        assert_eq!(hear(&mut listener), []);
        // The number of what was not wanted was passed over, too.
        feed.happened(&happened(2));
        assert_eq!(events(&hear(&mut listener)), ["event"]);
    }

    #[test]
    fn a_listener_that_is_too_far_behind_is_reset_and_nothing_more_is_kept() {
        let feed = feed();
        let mut listener = feed.listen(all(), None).unwrap();
        let begin = hear(&mut listener);
        for number in 0..WATCH_BEHIND_MAX as u64 {
            feed.happened(&happened(number));
        }
        let mut other = feed.listen(all(), begin[0].id.as_deref()).unwrap();
        assert_eq!(hear(&mut other).len(), WATCH_BEHIND_MAX, "so many are kept");
        feed.happened(&happened(0));
        assert_eq!(lock(&feed.kept).messages.len(), WATCH_BEHIND_MAX);
        let said = hear(&mut listener);
        assert_eq!(events(&said), ["reset", "snapshot"]);
        feed.happened(&happened(0));
        assert_eq!(events(&hear(&mut listener)), ["event"]);
        assert_eq!(events(&hear(&mut other)), ["event", "event"]);
    }

    #[test]
    fn an_id_that_is_too_old_or_of_another_agent_resets() {
        let feed = feed();
        for id in [
            "a:3",
            "b:101",
            "a:5000",
            "a:x",
            "nonsense",
            "",
            "a:18446744073709551615",
        ] {
            let mut listener = feed.listen(all(), Some(id)).unwrap();
            assert_eq!(events(&hear(&mut listener)), ["reset", "snapshot"], "{id}");
        }
        feed.forget();
        let mut listener = feed.listen(all(), Some("a:103")).unwrap();
        assert_eq!(events(&hear(&mut listener)), ["reset", "snapshot"]);
    }

    #[test]
    fn figures_come_once_a_second_at_most_and_never_take_anything_back() {
        let feed = feed();
        let mut listener = feed.listen(all(), None).unwrap();
        hear(&mut listener);
        let second = FIGURES_EVERY.0;
        for part in 0..30 {
            feed.see(Time(second + part * second / 10), site(vec![vm("shop", 1)]));
        }
        assert_eq!(
            events(&hear(&mut listener)),
            ["figures"],
            "only the newest is worth anything"
        );
        let mut count = 0;
        for part in 40..70 {
            feed.see(Time(second + part * second / 10), site(vec![vm("shop", 1)]));
            count += hear(&mut listener).len();
        }
        assert_eq!(count, 3);
        // Figures, then a change: in that order. A change, then older figures: never.
        feed.see(Time(second * 20), site(vec![vm("shop", 1)]));
        feed.see(Time(second * 20 + 1), site(vec![vm("shop", 2)]));
        assert_eq!(events(&hear(&mut listener)), ["figures", "vm"]);
        feed.see(Time(second * 30), site(vec![vm("shop", 2)]));
        let mut late = feed.listen(all(), None).unwrap();
        feed.see(Time(second * 30 + 1), site(vec![vm("shop", 3)]));
        assert_eq!(events(&hear(&mut late)), ["snapshot"]);
    }

    #[test]
    fn nobody_makes_figures_that_nobody_hears() {
        let feed = feed();
        feed.see(Time(FIGURES_EVERY.0 * 9), site(Vec::new()));
        assert!(lock(&feed.kept).figures.is_none());
    }

    #[test]
    fn so_many_may_listen_and_no_more() {
        let feed = feed();
        let mut all_of_them: Vec<Listener> = Vec::new();
        for _ in 0..WATCH_LISTENERS_MAX {
            all_of_them.push(feed.listen(all(), None).unwrap());
        }
        let refused = feed.listen(all(), None).unwrap_err();
        assert_eq!((refused.code.as_str(), refused.status), ("too-many", 429));
        all_of_them.pop();
        assert!(feed.listen(all(), None).is_ok());
    }
}
