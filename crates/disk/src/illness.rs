//! `Illness`: what is wrong with a disk at present, and what people have been told of it. And `UnderWay`:
//! what the disk's threads do, each thing since when, so that storage that hangs is noticed though no error
//! comes.
//!
//! The lane keeps both beside its queue, under one lock. Nothing here knows what a job is, nor touches
//! storage.

use replica::Time;

use super::policy::Ailment;
use crate::limits::{DISK_AWAY_AFTER, DISK_TROUBLES_MAX};

/// What is wrong with a disk, as far as people have been told.
#[derive(Debug, Default)]
pub(super) struct Illness {
    /// Jobs that have met trouble and are not done.
    jobs: usize,
    since: Time,
    told: Vec<String>,
    /// Whether people were told of something for which a job waits.
    waits_told: bool,
}

impl Illness {
    /// Notes that a job has met trouble. `first`: the job waits from now on, and did not before; `since`:
    /// when its trouble began. Gives since when the disk is ill, if people are to be told of this ailment.
    pub fn note(&mut self, ailment: &Ailment, first: bool, since: Time) -> Option<Time> {
        if self.jobs == 0 {
            self.since = since;
        }
        self.jobs += usize::from(first);
        let is_new = !self.told.contains(&ailment.what) && self.told.len() < DISK_TROUBLES_MAX;
        if !is_new && (self.jobs == 0 || self.waits_told) {
            return None;
        }
        if is_new {
            self.told.push(ailment.what.clone());
        }
        self.waits_told |= self.jobs > 0;
        Some(self.since)
    }

    /// Whether a job waits for the disk to get well.
    pub fn waits(&self) -> bool {
        self.jobs > 0
    }

    /// Notes that a job that had met trouble is done. Gives since when the disk was ill, if it was the last.
    pub fn relieve(&mut self) -> Option<Time> {
        self.jobs -= 1;
        (self.jobs == 0).then(|| std::mem::take(self).since)
    }
}

/// A job in the hands of a thread.
#[derive(Debug)]
struct Begun {
    number: u64,
    since: Time,
    /// Whether the job is counted by [`Illness`].
    counted: bool,
    /// Whether the job was found to hang.
    hangs: bool,
}

/// The jobs in the hands of a lane's threads, at most one for each thread.
#[derive(Debug, Default)]
pub(super) struct UnderWay {
    jobs: Vec<Begun>,
    /// The number of the next job.
    next: u64,
}

impl UnderWay {
    /// Notes that a job begins, and gives it a number. `counted`: it met trouble before.
    pub fn begin(&mut self, now: Time, counted: bool) -> u64 {
        let number = self.next;
        self.next += 1;
        self.jobs.push(Begun {
            number,
            since: now,
            counted,
            hangs: false,
        });
        number
    }

    /// Notes that a job has met trouble and is not done yet; whether that is news.
    pub fn count(&mut self, number: u64) -> bool {
        let mut jobs = self.jobs.iter_mut();
        let job = jobs.find(|job| job.number == number);
        job.is_some_and(|job| !std::mem::replace(&mut job.counted, true))
    }

    /// Notes that the storage has answered a job; whether the job is counted by [`Illness`].
    pub fn end(&mut self, number: u64) -> bool {
        let Some(index) = self.jobs.iter().position(|job| job.number == number) else {
            return false;
        };
        self.jobs.swap_remove(index).counted
    }

    /// The jobs that are found to hang from now on: since when each was under way, and whether it is one more
    /// that waits.
    pub fn hanging(&mut self, now: Time) -> Vec<(Time, bool)> {
        let late = |job: &&mut Begun| !job.hangs && now.since(job.since) >= DISK_AWAY_AFTER;
        let found = self.jobs.iter_mut().filter(late).map(|job| {
            job.hangs = true;
            (job.since, !std::mem::replace(&mut job.counted, true))
        });
        found.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use replica::Span;

    fn ailment(what: &str) -> Ailment {
        Ailment {
            what: what.into(),
            sentence: String::new(),
        }
    }

    #[test]
    fn people_are_told_once_of_each_trouble_and_of_the_first_for_which_a_job_waits() {
        let mut illness = Illness::default();
        assert_eq!(illness.note(&ailment("fails"), false, Time(1)), Some(Time(1)));
        assert!(!illness.waits());
        assert_eq!(illness.note(&ailment("fails"), false, Time(2)), None);
        assert_eq!(illness.note(&ailment("fails"), true, Time(3)), Some(Time(3)));
        assert_eq!(illness.note(&ailment("fails"), true, Time(4)), None);
        assert!(illness.waits());
        assert_eq!(illness.relieve(), None);
        assert_eq!(illness.relieve(), Some(Time(3)));
        assert!(!illness.waits());
    }

    #[test]
    fn no_more_than_so_many_troubles_are_told_but_that_a_job_waits_always_is() {
        let mut illness = Illness::default();
        for number in 0..DISK_TROUBLES_MAX {
            assert!(
                illness
                    .note(&ailment(&number.to_string()), false, Time(1))
                    .is_some()
            );
        }
        assert_eq!(illness.note(&ailment("one more"), false, Time(1)), None);
        assert!(illness.note(&ailment("one more"), true, Time(2)).is_some());
    }

    #[test]
    fn a_job_hangs_when_the_storage_has_not_answered_it_in_time_and_that_is_found_once() {
        let mut under_way = UnderWay::default();
        let first = under_way.begin(Time(0), false);
        let second = under_way.begin(Time(5), true);
        let late = Time(DISK_AWAY_AFTER.0);
        assert_eq!(under_way.hanging(Time(late.0 - 1)), []);
        assert_eq!(under_way.hanging(late), [(Time(0), true)]);
        assert_eq!(under_way.hanging(late.after(Span(5))), [(Time(5), false)]);
        assert_eq!(under_way.hanging(late.after(Span(9))), []);
        assert!(!under_way.count(first), "it is counted already");
        assert!(under_way.end(first) && under_way.end(second));
        let third = under_way.begin(Time(7), false);
        assert!(!under_way.end(third), "it was never in trouble");
        assert!(!under_way.end(third), "it has ended");
    }
}
