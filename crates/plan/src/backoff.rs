//! `Backoff`: what an agent remembers of hosts that failed a VM, so that it neither asks them all the time
//! nor for ever leaves them alone. A failure puts a host off for seconds to minutes; a host that has proven
//! unfit is shunned for minutes to hours.
//!
//! It holds no clock and draws nothing: the jitter is a function of a seed, the names and the count. An agent
//! that starts anew may start with an empty one; the process it finds is not harmed by one try too many.

use std::collections::BTreeMap;

use messages::time::{Span, Time};
use messages::vm_name::VmName;

use crate::host::HostName;
use crate::limits::{BACKOFF_FIRST, BACKOFF_MAX, FORGET_AFTER, REMEMBERED_MAX, SHUN_FIRST, SHUN_MAX};
use crate::moment::Now;
use crate::why::Why;

/// Failures of hosts, for each VM.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    /// What the jitter is a function of.
    seed: u64,
    records: BTreeMap<(VmName, HostName), Record>,
}

/// What one host did to one VM.
#[derive(Clone, Debug)]
struct Record {
    /// Failures since the last success.
    failures: u32,
    /// How many times it was shunned.
    shuns: u32,
    /// When it failed last.
    at: Time,
    /// When it may be tried again.
    until: Time,
    /// When it may be tried again by somebody's word, whatever it is shunned for: it has only just failed.
    rests_until: Time,
    /// Was the last failure one for which it is shunned?
    is_shunned: bool,
    /// What it did, as a clause or a sentence.
    why: String,
}

impl Backoff {
    /// Nothing is remembered; `seed` is drawn by the agent, so that agents do not try in step.
    #[must_use]
    pub fn new(seed: u64) -> Backoff {
        Backoff {
            seed,
            records: BTreeMap::new(),
        }
    }

    /// The host has refused, or has not answered: it is left alone for 1 s, and twice as long after each
    /// further failure, up to 5 min.
    pub fn fail(&mut self, now: Now, vm: &VmName, host: &HostName, why: &str) {
        let seed = self.seed;
        let record = self.record(now, vm, host);
        record.failures = record.failures.saturating_add(1);
        let wait = doubled(BACKOFF_FIRST, BACKOFF_MAX, record.failures);
        let wait = with_jitter(seed, vm, host, record.failures, wait);
        let until = now.time.after(wait);
        record.rests_until = until;
        // A host that is shunned stays so, whatever else it does meanwhile.
        if !(record.is_shunned && record.until > until) {
            (record.until, record.is_shunned) = (until, false);
            record.why = why.to_owned();
        }
        self.bound();
    }

    /// The host has proven unfit, since it was too slow or a clone to it failed: it is shunned for 5 min, and
    /// twice as long each further time, up to 6 h. `why` is a clause that goes on after its name.
    pub fn shun(&mut self, now: Now, vm: &VmName, host: &HostName, why: &str) {
        let seed = self.seed;
        let record = self.record(now, vm, host);
        record.failures = record.failures.saturating_add(1);
        let wait = doubled(BACKOFF_FIRST, BACKOFF_MAX, record.failures);
        record.rests_until = now.time.after(with_jitter(seed, vm, host, record.failures, wait));
        record.shuns = record.shuns.saturating_add(1);
        record.until = now.time.after(doubled(SHUN_FIRST, SHUN_MAX, record.shuns));
        record.is_shunned = true;
        record.why = why.to_owned();
        self.bound();
    }

    /// The host is the VM's backup: its failures are no longer counted. For how long it would be shunned the
    /// next time is still remembered.
    pub fn succeed(&mut self, vm: &VmName, host: &HostName) {
        if let Some(record) = self.records.get_mut(&(vm.clone(), host.clone())) {
            record.failures = 0;
            (record.until, record.rests_until) = (record.at, record.at);
        }
    }

    /// Nothing is held against the host any more, since somebody wants it for the VM.
    pub fn forgive(&mut self, vm: &VmName, host: &HostName) {
        self.records.remove(&(vm.clone(), host.clone()));
    }

    /// Why the VM leaves the host alone at present; `None`: it does not.
    #[must_use]
    pub fn bars(&self, now: Now, vm: &VmName, host: &HostName) -> Option<Why> {
        let record = self.live(now, vm, host)?;
        if record.until <= now.time {
            return None;
        }
        let (host, why, until) = (host.clone(), record.why.clone(), now.wall_of(record.until));
        Some(if record.is_shunned {
            Why::HostShunned {
                host,
                vm: vm.clone(),
                why,
                at: now.wall_of(record.at),
                until,
            }
        } else {
            Why::HostRefused {
                host,
                sentence: why,
                until,
            }
        })
    }

    /// Why the VM leaves the host alone at present though somebody has named it, and so has read that it is
    /// shunned: it has only just failed. `None`: it does not.
    #[must_use]
    pub fn bars_named(&self, now: Now, vm: &VmName, host: &HostName) -> Option<Why> {
        let until = self.named_until(now, vm, host)?;
        Some(Why::HostRefused {
            host: host.clone(),
            sentence: self.live(now, vm, host)?.why.clone(),
            until: now.wall_of(until),
        })
    }

    /// When the VM tries the host again if somebody has named it; `None`: it may at once.
    #[must_use]
    pub fn named_until(&self, now: Now, vm: &VmName, host: &HostName) -> Option<Time> {
        let until = self.live(now, vm, host)?.rests_until;
        (until > now.time).then_some(until)
    }

    /// When the VM tries the host again; `None`: nothing is held against it at present.
    #[must_use]
    pub fn until(&self, now: Now, vm: &VmName, host: &HostName) -> Option<Time> {
        let until = self.live(now, vm, host)?.until;
        (until > now.time).then_some(until)
    }

    /// How many times in a row hosts have failed the VM, what the last one did, and when one of them is tried
    /// again; `None`: none failed.
    #[must_use]
    pub fn tries(&self, now: Now, vm: &VmName) -> Option<(u32, String, Time)> {
        let failed = self.records.iter().filter(|((of, host), record)| {
            of == vm && record.failures > 0 && self.live(now, of, host).is_some()
        });
        let failed: Vec<_> = failed.collect();
        let ((_, host), last) = failed.iter().max_by_key(|(_, record)| record.at)?;
        let count = failed
            .iter()
            .fold(0_u32, |sum, (_, record)| sum.saturating_add(record.failures));
        let next = failed.iter().map(|(_, record)| record.until).min()?;
        Some((count, format!("{host} {}", last.why), next))
    }

    /// How many times in a row the host has failed the VM.
    #[must_use]
    pub fn failures(&self, now: Now, vm: &VmName, host: &HostName) -> u32 {
        self.live(now, vm, host).map_or(0, |record| record.failures)
    }

    /// What is remembered of the host, unless that is long ago.
    fn live(&self, now: Now, vm: &VmName, host: &HostName) -> Option<&Record> {
        let record = self.records.get(&(vm.clone(), host.clone()))?;
        (now.time.since(record.at) < FORGET_AFTER).then_some(record)
    }

    /// The record of a host that fails now.
    fn record(&mut self, now: Now, vm: &VmName, host: &HostName) -> &mut Record {
        let fresh = Record {
            failures: 0,
            shuns: 0,
            at: now.time,
            until: now.time,
            rests_until: now.time,
            is_shunned: false,
            why: String::new(),
        };
        let record = self
            .records
            .entry((vm.clone(), host.clone()))
            .or_insert_with(|| fresh.clone());
        if now.time.since(record.at) >= FORGET_AFTER {
            *record = fresh;
        }
        record.at = now.time;
        record
    }

    /// Keeps the bound on what is remembered.
    fn bound(&mut self) {
        while self.records.len() > REMEMBERED_MAX {
            let oldest = self.records.iter().min_by_key(|(_, record)| record.at);
            let Some(key) = oldest.map(|(key, _)| key.clone()) else {
                return;
            };
            self.records.remove(&key);
        }
    }
}

/// `first`, doubled with each of `times` after the first one, and at most `most`.
pub(crate) fn doubled(first: Span, most: Span, times: u32) -> Span {
    let factor = 1_u64.checked_shl(times.saturating_sub(1)).unwrap_or(u64::MAX);
    Span(first.0.saturating_mul(factor).min(most.0))
}

/// Up to a quarter less than `wait`, but no less than the first wait.
fn with_jitter(seed: u64, vm: &VmName, host: &HostName, count: u32, wait: Span) -> Span {
    let names = [vm.as_str(), "/", host.as_str()];
    let bytes = names.iter().flat_map(|name| name.bytes());
    // FNV-1a, with the seed as the first of what is hashed.
    let hash = seed
        .to_le_bytes()
        .into_iter()
        .chain(count.to_le_bytes())
        .chain(bytes)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let quarter = (wait.0 / 4).max(1);
    Span((wait.0 - (hash >> 8) % quarter).max(BACKOFF_FIRST.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (VmName, HostName) {
        (VmName::new("shop").unwrap(), HostName::new("b"))
    }

    fn at(seconds: u64) -> Now {
        Now {
            time: Time(seconds * 1_000_000_000),
            wall: crate::moment::Wall((1_000_000 + seconds) * 1_000_000_000),
        }
    }

    fn waits_s(seed: u64) -> Vec<f64> {
        let (vm, host) = names();
        let mut backoff = Backoff::new(seed);
        let mut waits = Vec::new();
        for _ in 0..12 {
            backoff.fail(at(10), &vm, &host, "is busy");
            let until = backoff.until(at(10), &vm, &host).unwrap();
            waits.push(until.since(at(10).time).0 as f64 / 1e9);
        }
        waits
    }

    #[test]
    fn a_host_that_fails_is_left_alone_for_one_second_to_five_minutes() {
        let waits = waits_s(1);
        assert_eq!(waits[0], 1.0);
        for (wait, most) in waits[1..]
            .iter()
            .zip([2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300])
        {
            let most = f64::from(most);
            assert!(*wait <= most && *wait > most * 0.74, "{waits:?}");
        }
        assert_eq!(waits, waits_s(1), "the same seed gives the same waits");
        assert_ne!(waits, waits_s(2), "another seed gives others");
    }

    #[test]
    fn a_host_is_tried_again_when_its_time_is_over_and_clean_after_a_success() {
        let (vm, host) = names();
        let mut backoff = Backoff::new(7);
        backoff.fail(at(10), &vm, &host, "is busy");
        let Some(Why::HostRefused { sentence, .. }) = backoff.bars(at(10), &vm, &host) else {
            panic!("it is barred");
        };
        assert_eq!(sentence, "is busy");
        assert_eq!(backoff.bars(at(11), &vm, &host), None);
        assert_eq!(backoff.failures(at(11), &vm, &host), 1);
        backoff.succeed(&vm, &host);
        assert_eq!(backoff.failures(at(11), &vm, &host), 0);
        assert_eq!(backoff.tries(at(11), &vm), None);
    }

    #[test]
    fn an_unfit_host_is_shunned_for_twice_as_long_each_time_and_forgotten_after_a_day() {
        let (vm, host) = names();
        let mut backoff = Backoff::new(7);
        let mut now = 10;
        for minutes in [5, 10, 20, 40, 80, 160, 320, 360, 360] {
            backoff.shun(at(now), &vm, &host, "was too slow");
            // What else it does meanwhile does not let it in earlier.
            backoff.fail(at(now), &vm, &host, "is busy");
            let end = now + minutes * 60;
            assert!(matches!(
                backoff.bars(at(end - 1), &vm, &host),
                Some(Why::HostShunned { .. })
            ));
            assert_eq!(backoff.bars(at(end), &vm, &host), None);
            // Being the backup in between does not make its next failure the first one.
            backoff.succeed(&vm, &host);
            now = end;
        }
        let day = now + 86_400;
        backoff.shun(at(day), &vm, &host, "was too slow");
        assert_eq!(backoff.bars(at(day + 300), &vm, &host), None);
        backoff.shun(at(day + 300), &vm, &host, "was too slow");
        backoff.forgive(&vm, &host);
        assert_eq!(backoff.bars(at(day + 300), &vm, &host), None);
    }

    #[test]
    fn no_more_hosts_are_remembered_than_the_bound_says() {
        let (vm, _) = names();
        let mut backoff = Backoff::new(7);
        for number in 0..REMEMBERED_MAX + 10 {
            let host = HostName::new(format!("h{number}"));
            backoff.fail(at(10 + number as u64), &vm, &host, "is busy");
        }
        assert_eq!(backoff.records.len(), REMEMBERED_MAX);
        let now = at(10 + REMEMBERED_MAX as u64);
        assert_eq!(backoff.failures(now, &vm, &HostName::new("h9")), 0);
        assert_eq!(backoff.failures(now, &vm, &HostName::new("h10")), 1);
    }
}
