//! What the mind is told, and what it remembers of it.

use std::net::SocketAddr;
use std::time::Duration;

use control::Status;
use messages::time::{Span, Time};
use messages::vm_name::VmName;
use os::sys::clock;
use plan::{Action, HostName, Now, Wall};
use report::{Happening, Line, RoleWord, StateWord, SuspicionWord};
use store::Change;

use super::told::{Order, Owners};
use super::{Mind, Told};
use crate::facts::{ProcessReport, Report};
use crate::keeper::Watched;
use crate::limits::{ARBITER_SILENT, RESERVATION, STORE_SILENT};
use crate::scene::now;
use crate::sight::{self, Heard, host_of};

impl Mind {
    /// Takes in what is told. True: the mind looks at once.
    pub(super) fn hear(&mut self, told: Told) -> bool {
        match told {
            Told::Store(watched) => return self.hear_store(watched),
            Told::Statuses(at, statuses) => self.hear_statuses(at, statuses),
            Told::Happened(line) => return self.hear_happening(&line),
            Told::Reported(host, report, took) => self.hear_report(host, *report, took),
            Told::Speed(speed) => self.fixed.measured(speed),
            Told::Arbiter(said) => self.hear_arbiter(said),
            Told::Reserved(vm, host, answer) => {
                self.hear_reservation(&vm, &host, answer);
                return true;
            }
            Told::Ordered(vm, order, answer) => {
                self.hear_order(&vm, &order, answer);
                return true;
            }
            Told::Probed(vm, target, said) => {
                if let Some(handled) = self.handled.get_mut(&vm) {
                    handled.hang.on_probe(now(), target, said);
                }
            }
            Told::Wrote(key, result) => {
                // What was written is seen soon: until then it would be written again.
                if let Err(why) = result {
                    self.writing.remove(&key);
                    tracing::debug!("{key} is not written: {why}");
                }
            }
        }
        false
    }

    fn hear_arbiter(&mut self, said: Owners) {
        self.arbiter_heard = clock::now();
        match said.owners {
            Ok(owners) => {
                self.arbiter_away = None;
                let at = said.at;
                self.owners = owners.into_iter().map(|(vm, owner)| (vm, (at, owner))).collect();
            }
            Err(why) => {
                let since = self.arbiter_away.take().map_or(said.at, |(since, _)| since);
                self.arbiter_away = Some((since, why));
                self.owners.clear();
            }
        }
    }

    /// Notices that the store or the arbiter says nothing at all: whoever asks a file server that is silent
    /// waits, and tells nothing.
    pub(super) fn notice_silence(&mut self) {
        let now = now();
        if is_silent(now.time, self.store_heard, STORE_SILENT) && self.directory_away.is_none() {
            let why = "it says nothing, as a file server does that is cut off".to_owned();
            self.directory_away = Some((now.wall_of(self.store_heard), why));
        }
        if is_silent(now.time, self.arbiter_heard, ARBITER_SILENT) && self.arbiter_away.is_none() {
            let why = "it says nothing, as a file server does that is cut off".to_owned();
            self.arbiter_away = Some((self.arbiter_heard, why));
            self.owners.clear();
        }
    }

    fn hear_store(&mut self, watched: Watched) -> bool {
        self.store_heard = clock::now();
        match watched {
            Watched::Seen(seen) => {
                let has_news = !matches!(seen, store::Seen::Nothing);
                match &seen {
                    store::Seen::Nothing => {}
                    store::Seen::Everything(_) => self.writing.clear(),
                    store::Seen::Changes(changes) => {
                        for change in changes {
                            let (Change::Written(key, _) | Change::Removed(key)) = change;
                            self.writing.remove(key.as_str());
                        }
                    }
                }
                self.known.take(seen);
                self.directory_away = None;
                has_news
            }
            Watched::Away(why) => {
                let since = self.directory_away.take().map_or(now().wall, |(since, _)| since);
                self.directory_away = Some((since, why));
                false
            }
        }
    }

    /// What the processes here say, which is this host's own report too.
    fn hear_statuses(&mut self, at: Time, mut statuses: Vec<Status>) {
        for handled in self.handled.values_mut() {
            handled.hang.is_unknown = false;
        }
        for status in &statuses {
            if let Ok(vm) = VmName::new(&status.name)
                && let Some(handled) = self.handled.get_mut(&vm)
            {
                let process = sight::process(&self.known, &self.heard, &self.me, status);
                handled.memory.on_status(at, &process);
                handled.hang.is_unknown |= status.protection.state == StateWord::Unknown;
            }
        }
        for status in &mut statuses {
            self.flag_silence(clock::now(), status);
        }
        let processes = statuses.into_iter().map(|status| ProcessReport {
            age_ms: status.observed.age_ms,
            status,
        });
        let stuck = self.handled.iter().filter(|(_, handled)| handled.is_stuck);
        let report = Report {
            host: self.facts_of_host(),
            processes: processes.collect(),
            stuck: stuck.map(|(vm, _)| vm.to_string()).collect(),
            // Whoever asks is told what is news to them.
            happened: Vec::new(),
            last_happened: 0,
        };
        let heard = Heard {
            at,
            report,
            round_trip: None,
        };
        self.heard.insert(self.me.clone(), heard);
    }

    fn hear_report(&mut self, host: HostName, mut report: Report, took: Duration) {
        for happened in report.happened.drain(..) {
            self.happenings.heard(happened);
        }
        // What a host did before it was away says nothing of it now: whatever failed, failed with it.
        let at = clock::now();
        let before = self.heard.get(&host);
        let was_away = before.is_some_and(|heard| at.since(heard.at) > plan::limits::STALE_REMOTE);
        let is_other_boot = before.is_some_and(|heard| heard.report.host.boot != report.host.boot);
        if was_away || is_other_boot {
            let vms: Vec<VmName> = self.known.vms.keys().cloned().collect();
            for vm in vms {
                self.backoff.forgive(&vm, &host);
            }
        }
        let round_trip = Some(Span(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)));
        self.heard.insert(
            host,
            Heard {
                at,
                report,
                round_trip,
            },
        );
    }

    fn hear_reservation(&mut self, vm: &VmName, host: &HostName, answer: Result<SocketAddr, String>) {
        let handled = self.handled.entry(vm.clone()).or_default();
        if let Ok(address) = &answer {
            handled.address = Some(*address);
        }
        let now = now();
        let until = now.time.after(Span(RESERVATION.as_nanos() as u64));
        let granted = answer.as_ref().map(|_| until).map_err(String::as_str);
        handled
            .memory
            .on_reservation(now, (vm, host), granted, &mut self.backoff);
    }

    fn hear_order(&mut self, vm: &VmName, order: &Order, answer: Result<(), String>) {
        let Order { action, .. } = order;
        if let Err(why) = &answer {
            tracing::debug!("{vm} does not take {action:?}: {why}");
        }
        let is_reset = *action == Action::Reset && answer.is_ok();
        let handled = self.handled.entry(vm.clone()).or_default();
        let answer = answer.as_ref().copied().map_err(String::as_str);
        handled.memory.on_answer(clock::now(), action, answer);
        if let Some(noted) = order.noted.filter(|_| is_reset) {
            // No operation shows that it is done.
            handled.memory.on_confirmed();
            handled.hang.on_reset(now(), noted);
            let sentence = format!(
                "{vm} was reset without anybody's word, since its guest hung and its settings want that \
                 (`on_hang`); it is not reset so again within ten minutes"
            );
            self.happenings
                .happened(now().wall.0, Some(vm.as_str()), "guest-reset", sentence);
        } else if let Some(operation) = order.operation.as_deref().filter(|_| is_reset) {
            self.confirm(vm, operation);
        }
    }

    /// What a process says has happened. What happened before this agent began is remembered, and nobody is
    /// blamed for it any more.
    fn hear_happening(&mut self, line: &Line) -> bool {
        let Ok(vm) = VmName::new(&line.vm) else {
            return false;
        };
        let is_news = line.time_ns >= self.began.0;
        if is_news && let Some(sentence) = line.happening.sentence() {
            let word = serde_json::to_value(line).ok();
            let word = word
                .as_ref()
                .and_then(|line| line["event"].as_str())
                .unwrap_or("event");
            self.happenings
                .happened(line.wall_ns, Some(&line.vm), word, sentence);
        }
        let at = Now {
            time: Time(line.time_ns),
            wall: Wall(line.wall_ns),
        };
        match &line.happening {
            Happening::Alone { peer, why, .. } => self.hear_alone(at, &vm, peer, *why, is_news),
            Happening::GoLive {
                was: RoleWord::Backup,
                ..
            } => self.hear_takeover(at, &vm),
            Happening::Protected { peer, .. } => {
                let host = host_of(&self.known, &self.heard, peer);
                let handled = self.handled.entry(vm.clone()).or_default();
                handled.memory.on_protected(&vm, &host, &mut self.backoff);
            }
            Happening::CloneFailed { peer, why } if is_news => self.hear_failed_clone(&vm, peer, why),
            Happening::HandedOver { .. } | Happening::Taken { .. } => {
                self.handled.entry(vm).or_default().memory.on_handed_over();
            }
            Happening::NotHandedOver { why } if is_news => {
                let handled = self.handled.entry(vm).or_default();
                handled.memory.on_not_handed_over(clock::now(), why);
            }
            Happening::Reset { .. } => self.handled.entry(vm).or_default().hang.boots(at),
            Happening::Halt(ending) => self.handled.entry(vm).or_default().ending = Some(ending.clone()),
            _ => return false,
        }
        is_news
    }

    fn hear_alone(&mut self, at: Now, vm: &VmName, peer: &str, why: SuspicionWord, is_news: bool) {
        let host = host_of(&self.known, &self.heard, peer);
        let handled = self.handled.entry(vm.clone()).or_default();
        let blamed = is_news.then(now);
        handled
            .memory
            .on_alone(blamed, (vm, &host), (at.wall, why), &mut self.backoff);
    }

    fn hear_takeover(&mut self, at: Now, vm: &VmName) {
        let owner = self.known.vms.get(vm).and_then(|known| known.place.as_ref());
        let from = owner.map(|place| HostName::new(place.value.owner.clone()));
        let handled = self.handled.entry(vm.clone()).or_default();
        handled
            .memory
            .on_takeover(at.wall, from.filter(|from| *from != self.me));
    }

    fn hear_failed_clone(&mut self, vm: &VmName, peer: &str, why: &str) {
        let host = host_of(&self.known, &self.heard, peer);
        let status = self.heard.get(&self.me).and_then(|heard| {
            let mut processes = heard.report.processes.iter();
            processes.find(|told| told.status.name == vm.as_str() && told.status.is_live())
        });
        let phase = status.and_then(|told| told.status.clone.as_ref().map(|clone| clone.phase));
        let handled = self.handled.entry(vm.clone()).or_default();
        handled
            .memory
            .on_failed_clone(now(), (vm, &host), (phase, why), &mut self.backoff);
    }
}

/// Was nothing heard of it for longer than that?
fn is_silent(now: Time, heard: Time, patience: Span) -> bool {
    now.since(heard) > patience
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_heard_more_often_than_its_silence_is_noticed() {
        let between = crate::limits::STORE_WATCH + crate::limits::STORE_PAUSE;
        let heard = Time(7);
        let next = Time(heard.0 + u64::try_from(between.as_nanos()).unwrap());
        assert!(!is_silent(next, heard, STORE_SILENT));
        assert!(is_silent(Time(heard.0 + STORE_SILENT.0 + 1), heard, STORE_SILENT));
    }
}
