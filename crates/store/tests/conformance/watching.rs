//! What a watch must tell.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use store::{Change, Expected, Key, Prefix, Seen, Store, StoreError, Watch};

use crate::{LONG, Place, key};

/// A reader that keeps what a watch tells.
#[derive(Default)]
pub struct View {
    pub keys: BTreeMap<Key, Vec<u8>>,
    /// How often everything was told anew.
    pub anew: u32,
}

impl View {
    /// Waits for what comes next, and bears a store that is away.
    pub fn follow(&mut self, watch: &mut dyn Watch) {
        match watch.next(LONG) {
            Ok(Seen::Nothing) => panic!("nothing was seen in {LONG:?}"),
            Ok(seen) => self.take(seen),
            Err(StoreError::Away { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Waits until the watch has told that the key holds this.
    pub fn until(&mut self, watch: &mut dyn Watch, key: &Key, value: Option<&[u8]>) {
        while self.anew == 0 || self.keys.get(key).map(Vec::as_slice) != value {
            self.follow(watch);
        }
    }

    /// Keeps what was seen.
    pub fn take(&mut self, seen: Seen) {
        match seen {
            Seen::Everything(all) => {
                self.anew += 1;
                self.keys = all.into_iter().map(|(key, stored)| (key, stored.value)).collect();
            }
            Seen::Changes(changes) => {
                for change in changes {
                    match change {
                        Change::Written(key, stored) => drop(self.keys.insert(key, stored.value)),
                        Change::Removed(key) => drop(self.keys.remove(&key)),
                    }
                }
            }
            Seen::Nothing => {}
        }
    }
}

/// Waits until a watch tells that the store is away.
pub fn next_error(watch: &mut dyn Watch) -> Result<(), StoreError> {
    while watch.next(LONG)? != Seen::Nothing {}
    panic!("the watch has not noticed in {LONG:?}");
}

/// Waits until a store that comes back can be read.
pub fn reach(store: &dyn Store) {
    let begin = Instant::now();
    while let Err(error) = store.read(&key("a")) {
        assert!(begin.elapsed() < LONG, "{error}");
    }
}

pub fn a_watch_begins_with_everything_and_tells_what_changes<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let (web, other) = (key("vms/web/spec"), key("drain/h"));
    a.write(&web, b"1", Expected::Any).unwrap();
    a.write(&other, b"", Expected::Any).unwrap();
    let mut watch = b.watch(&Prefix::new("vms/").unwrap()).unwrap();
    match watch.next(LONG).unwrap() {
        Seen::Everything(all) => {
            assert_eq!(all, [(web.clone(), a.read(&web).unwrap().unwrap())]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(watch.next(Duration::ZERO).unwrap(), Seen::Nothing);
    assert_eq!(watch.next(Duration::from_millis(20)).unwrap(), Seen::Nothing);
    a.write(&other, b"not watched", Expected::Any).unwrap();
    a.write(&web, b"2", Expected::Any).unwrap();
    let stored = a.read(&web).unwrap().unwrap();
    assert_eq!(
        watch.next(LONG).unwrap(),
        Seen::Changes(vec![Change::Written(web.clone(), stored)])
    );
    a.remove(&web, Expected::Any).unwrap();
    assert_eq!(
        watch.next(LONG).unwrap(),
        Seen::Changes(vec![Change::Removed(web.clone())])
    );
    a.write(&web, b"3", Expected::Absent).unwrap();
    let stored = a.read(&web).unwrap().unwrap();
    assert_eq!(
        watch.next(LONG).unwrap(),
        Seen::Changes(vec![Change::Written(web, stored)])
    );
    assert_eq!(watch.next(Duration::ZERO).unwrap(), Seen::Nothing);
}

pub fn a_watch_sees_every_last_state<P: Place>() {
    let place = P::new();
    let watcher = place.host();
    let mut watch = watcher.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    thread::scope(|scope| {
        let writers: Vec<_> = (0..3_u32)
            .map(|writer| {
                let store = place.host();
                scope.spawn(move || {
                    for turn in 0..40_u32 {
                        let key = key(&format!("vms/v{}/spec", (turn * 7 + writer) % 5));
                        if turn % 3 == 2 {
                            store.remove(&key, Expected::Any).unwrap();
                        } else {
                            let value = format!("{writer} {turn}");
                            store.write(&key, value.as_bytes(), Expected::Any).unwrap();
                        }
                    }
                })
            })
            .collect();
        while !writers.iter().all(thread::ScopedJoinHandle::is_finished) {
            watch
                .next(Duration::from_millis(10))
                .map(|seen| view.take(seen))
                .unwrap();
        }
    });
    let last = key("vms/last/spec");
    watcher.write(&last, b"x", Expected::Absent).unwrap();
    while !view.keys.contains_key(&last) {
        view.follow(&mut *watch);
    }
    let all = watcher.list(&Prefix::all()).unwrap();
    let all: BTreeMap<Key, Vec<u8>> = all.into_iter().map(|(key, stored)| (key, stored.value)).collect();
    assert_eq!(view.keys, all);
    assert_eq!(view.anew, 1);
}
