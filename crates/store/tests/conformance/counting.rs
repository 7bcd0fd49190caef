//! Writers that add to one count at the same time. The count says of each writer how often it has added, so
//! that none can be lost or doubled without being noticed.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use store::{Expected, Key, Store, StoreError};

use crate::writer::Writer;
use crate::{LONG, Place, key};

/// Adds to the count under one name, again if the answer was lost and it was not counted.
pub struct Counter {
    name: String,
    /// How often this counter has added surely.
    added: u64,
    patience: Duration,
}

fn count() -> Key {
    key("vms/count/spec")
}

/// The count, by the name of who has added; it ends with its own sum, so that a torn one is noticed.
fn parse(value: &[u8]) -> BTreeMap<String, u64> {
    let text = str::from_utf8(value).unwrap();
    let text = text.strip_suffix(&filler()).expect("the count is whole");
    let (body, sum) = text.rsplit_once("sum ").expect("the count is whole");
    let pairs = body.lines().map(|line| line.split_once(' ').unwrap());
    let count: BTreeMap<String, u64> = pairs
        .map(|(name, number)| (name.into(), number.parse().unwrap()))
        .collect();
    assert_eq!(count.values().sum::<u64>(), sum.parse::<u64>().unwrap(), "{text}");
    count
}

fn format(count: &BTreeMap<String, u64>) -> String {
    let mut text: String = count
        .iter()
        .map(|(name, number)| format!("{name} {number}\n"))
        .collect();
    text += &format!("sum {}", count.values().sum::<u64>());
    text + &filler()
}

/// What makes a count long, so that writing it takes time.
fn filler() -> String {
    ".".repeat(50_000)
}

/// The sum of all that a count says.
pub fn sum(value: &[u8]) -> u64 {
    parse(value).into_values().sum()
}

pub fn read(store: &dyn Store) -> Option<BTreeMap<String, u64>> {
    store.read(&count()).unwrap().map(|stored| parse(&stored.value))
}

impl Counter {
    /// A counter that bears a store which is away for so long.
    pub fn new(name: &str, patience: Duration) -> Counter {
        Counter {
            name: name.into(),
            added: 0,
            patience,
        }
    }

    /// Adds one; how often this counter has added now.
    pub fn add(&mut self, store: &dyn Store) -> u64 {
        let begin = Instant::now();
        loop {
            match self.try_add(store) {
                Ok(true) => return self.added,
                Ok(false) | Err(StoreError::Changed { .. }) => {}
                Err(StoreError::Away { .. }) if begin.elapsed() < self.patience => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// Has the count say one more of this counter, if it does not already.
    fn try_add(&mut self, store: &dyn Store) -> Result<bool, StoreError> {
        let found = store.read(&count())?;
        let expected = found
            .as_ref()
            .map_or(Expected::Absent, |found| Expected::Revision(found.revision));
        let mut count = found.map(|found| parse(&found.value)).unwrap_or_default();
        let own = count.entry(self.name.clone()).or_default();
        if *own == self.added + 1 {
            // The attempt whose answer was lost has succeeded.
            self.added += 1;
            return Ok(true);
        }
        assert_eq!(*own, self.added, "{} was counted wrongly", self.name);
        *own += 1;
        store.write(&self::count(), format(&count).as_bytes(), expected)?;
        self.added += 1;
        Ok(true)
    }
}

/// Has so many threads add so many times, each with a store of its own, while `meanwhile` runs.
pub fn count_by_threads<P: Place>(place: &P, threads: u64, times: u64, meanwhile: impl FnOnce()) {
    thread::scope(|scope| {
        for thread in 0..threads {
            let store = place.host();
            scope.spawn(move || {
                let mut counter = Counter::new(&format!("t{thread}"), LONG);
                for done in 1..=times {
                    assert_eq!(counter.add(&*store), done);
                }
            });
        }
        meanwhile();
    });
}

pub fn threads_that_count_lose_nothing<P: Place>() {
    let place = P::new();
    count_by_threads(&place, 4, 15, || {});
    let count = read(&*place.host()).unwrap();
    assert_eq!(count.into_values().collect::<Vec<_>>(), [15; 4]);
}

pub fn processes_that_count_lose_nothing<P: Place>() {
    let place = P::new();
    let start = |number: u64| Writer::start(&place.address(), &format!("p{number}"), 15);
    let writers: Vec<Writer> = (0..3).map(start).collect();
    writers.into_iter().for_each(Writer::end);
    let count = read(&*place.host()).unwrap();
    assert_eq!(count.into_values().collect::<Vec<_>>(), [15; 3]);
}

pub fn processes_that_are_killed_leave_whole_values<P: Place>() {
    let place = P::new();
    let store = place.host();
    for round in 0..40 {
        let name = format!("k{round}");
        let mut writer = Writer::start(&place.address(), &name, u64::MAX);
        // Each is killed at another point: after so many numbers, somewhere in the next one.
        let mut said = 0;
        for _ in 0..=round % 5 {
            said = writer.next("wrote").unwrap().parse().unwrap();
        }
        (0..round * 20).for_each(|_| thread::yield_now());
        let said = writer.kill().unwrap_or(said);
        // Reading checks that the value is whole. What was said is there, and perhaps one more.
        let written = read(&*store).unwrap()[&name];
        assert!(
            written == said || written == said + 1,
            "{name}: {written}, said {said}"
        );
    }
    let mut counter = Counter::new("last", LONG);
    assert_eq!(counter.add(&*store), 1);
}
