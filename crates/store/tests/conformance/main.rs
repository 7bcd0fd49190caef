//! The examination of a store: what it must do whatever keeps its content. A new kind of store implements
//! `Place` in a file of its own and names itself in `suite!` at the end of this file; what can go wrong with
//! one kind alone is examined in `directory` and in `cluster`.
//!
//! Each handle of a place stands for a host. Where a test needs processes that race or die, they are real:
//! this program, started again as `writer`.

mod cluster;
mod counting;
mod directory;
mod presence;
#[path = "../../../etcd/tests/cluster/server.rs"]
mod server;
mod watching;
mod writer;

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use store::limits::{KEY_LEN_MAX, VALUE_LEN_MAX};
use store::{Doubt, Expected, Key, Prefix, Revision, Store, StoreError, Stored};
use watching::View;

/// What a test must be able to do with a place that is examined.
trait Place {
    /// A new place, in which nothing is.
    fn new() -> Self;

    /// The words by which a writer in another process finds the place: see `writer::open`.
    fn address(&self) -> String;

    /// Takes the place away until `come_back`.
    fn go_away(&mut self);

    /// Gives the place back, with everything in it.
    fn come_back(&mut self);

    /// The place as one more host sees it.
    fn host(&self) -> Box<dyn Store> {
        writer::open(&self.address())
    }
}

/// A time that no wait of a test reaches.
const LONG: Duration = Duration::from_secs(600);

fn key(text: &str) -> Key {
    Key::new(text).unwrap()
}

fn value_of(store: &dyn Store, key: &Key) -> Option<Vec<u8>> {
    store.read(key).unwrap().map(|stored| stored.value)
}

/// Keys and values of a store, as text.
fn content(store: &dyn Store, prefix: &str) -> Vec<String> {
    let found = store.list(&Prefix::new(prefix).unwrap()).unwrap();
    found
        .iter()
        .map(|(key, stored)| format!("{key}={}", String::from_utf8_lossy(&stored.value)))
        .collect()
}

/// Expects that a change was refused since the key is not as expected.
fn expect_changed<T: std::fmt::Debug>(outcome: Result<T, StoreError>, expected: Option<Revision>) {
    match outcome {
        Err(StoreError::Changed { found, .. }) => assert_eq!(found, expected),
        other => panic!("{other:?}"),
    }
}

fn what_is_written_is_read<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let web = key("vms/web/spec");
    assert_eq!(a.read(&web).unwrap(), None);
    let first = a.write(&web, b"1", Expected::Absent).unwrap();
    let stored = Stored {
        value: b"1".to_vec(),
        revision: first,
    };
    assert_eq!(b.read(&web).unwrap(), Some(stored.clone()));
    let second = b.write(&web, b"2", Expected::Revision(first)).unwrap();
    assert!(second > first);
    a.write(&key("vms/web/place"), b"3", Expected::Any).unwrap();
    a.write(&key("vms/web-2/place"), b"4", Expected::Any).unwrap();
    a.write(&key("drain/h"), b"", Expected::Any).unwrap();
    assert_eq!(
        content(&*b, "vms/"),
        ["vms/web-2/place=4", "vms/web/place=3", "vms/web/spec=2"]
    );
    assert_eq!(content(&*b, "vms/web/"), ["vms/web/place=3", "vms/web/spec=2"]);
    assert_eq!(content(&*b, "hosts/"), [""; 0]);
    assert_eq!(content(&*b, "").len(), 4);
    // Nobody's own number is another's.
    expect_changed(a.write(&web, b"x", Expected::Absent), Some(second));
    expect_changed(a.write(&web, b"x", Expected::Revision(first)), Some(second));
    expect_changed(
        a.write(&key("vms/none/spec"), b"x", Expected::Revision(first)),
        None,
    );
    assert_eq!(value_of(&*a, &web), Some(b"2".to_vec()));
}

fn what_is_removed_is_gone_and_its_numbers_do_not_come_again<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let web = key("vms/web/spec");
    let first = a.write(&web, b"1", Expected::Absent).unwrap();
    expect_changed(b.remove(&web, Expected::Absent), Some(first));
    expect_changed(
        b.remove(&web, Expected::Revision(Revision(first.0 + 1))),
        Some(first),
    );
    b.remove(&web, Expected::Revision(first)).unwrap();
    assert_eq!(a.read(&web).unwrap(), None);
    assert_eq!(content(&*a, ""), [""; 0]);
    expect_changed(b.remove(&web, Expected::Revision(first)), None);
    b.remove(&web, Expected::Any).unwrap();
    b.remove(&web, Expected::Absent).unwrap();
    b.remove(&key("drain/never"), Expected::Any).unwrap();
    expect_changed(a.write(&web, b"x", Expected::Revision(first)), None);
    let again = a.write(&web, b"1", Expected::Absent).unwrap();
    assert!(again > first);
    expect_changed(b.write(&web, b"x", Expected::Revision(first)), Some(again));
    b.remove(&web, Expected::Any).unwrap();
    assert_eq!(a.read(&web).unwrap(), None);
}

fn values_are_bytes_and_have_a_limit<P: Place>() {
    let place = P::new();
    let store = place.host();
    let web = key("vms/web/spec");
    let most: Vec<u8> = (0..VALUE_LEN_MAX)
        .map(|index| (index * index % 251) as u8)
        .collect();
    for value in [&b""[..], b"\0\n\xff\n\n", &most] {
        store.write(&web, value, Expected::Any).unwrap();
        assert_eq!(value_of(&*place.host(), &web).as_deref(), Some(value));
    }
    let more = [&most[..], b"x"].concat();
    let error = store.write(&web, &more, Expected::Any).unwrap_err();
    assert!(
        matches!(error, StoreError::Refused(_)) && error.to_string().contains("262144"),
        "{error}"
    );
    let error = store.announce(&web, &more, Duration::from_secs(15)).unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)), "{error}");
    assert_eq!(value_of(&*store, &web), Some(most));
}

fn keys_of_any_form_are_kept_apart<P: Place>() {
    let place = P::new();
    let store = place.host();
    let part = "x".repeat(64);
    let longest = format!("{part}/{part}/{part}/{}", "y".repeat(KEY_LEN_MAX - 3 * 65));
    let keys = [
        "a",
        "a.00000000000000000001",
        "a.beat",
        "a/b",
        "a-b",
        "a.b",
        "A",
        "store.id",
        "vms/a.1/place",
        "vms/a/1.place",
        &longest,
    ];
    for (index, text) in keys.iter().enumerate() {
        store
            .write(&key(text), index.to_string().as_bytes(), Expected::Absent)
            .unwrap();
    }
    for (index, text) in keys.iter().enumerate() {
        assert_eq!(
            value_of(&*place.host(), &key(text)),
            Some(index.to_string().into_bytes()),
            "{text}"
        );
    }
    assert_eq!(store.list(&Prefix::all()).unwrap().len(), keys.len());
    store.remove(&key("a"), Expected::Any).unwrap();
    assert_eq!(store.list(&Prefix::all()).unwrap().len(), keys.len() - 1);
}

fn of_all_who_make_a_key_one_has_made_it<P: Place>() {
    const RACERS: u8 = 6;
    let place = P::new();
    let hosts: Vec<_> = (0..RACERS).map(|_| place.host()).collect();
    let start = Barrier::new(RACERS.into());
    for round in 0..10 {
        let web = key(&format!("vms/v{round}/spec"));
        let race = |(number, host): (u8, &dyn Store)| {
            start.wait();
            match host.write(&web, &[number], Expected::Absent) {
                Ok(_) => Some(number),
                Err(StoreError::Changed { .. }) => None,
                Err(error) => panic!("{error}"),
            }
        };
        let winners: Vec<u8> = thread::scope(|scope| {
            let race = &race;
            let racers: Vec<_> = (0..)
                .zip(&hosts)
                .map(|racer| scope.spawn(move || race((racer.0, &**racer.1))))
                .collect();
            racers
                .into_iter()
                .filter_map(|racer| racer.join().unwrap())
                .collect()
        });
        assert_eq!(winners.len(), 1, "{winners:?}");
        assert_eq!(value_of(&*hosts[0], &web), Some(winners));
    }
}

fn a_store_that_is_away_says_so_and_comes_back_with_everything<P: Place>() {
    let mut place = P::new();
    let store = place.host();
    let web = key("vms/web/spec");
    let first = store.write(&web, b"1", Expected::Absent).unwrap();
    let mut watch = store.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    view.until(&mut *watch, &web, Some(b"1"));
    let mut presence = store.announce(&key("hosts/a"), b"a", LONG).unwrap();
    view.until(&mut *watch, &key("hosts/a"), Some(b"a"));
    place.go_away();
    let away = |outcome: Result<(), StoreError>, changes: bool| match outcome {
        Err(StoreError::Away { doubt, .. }) => assert!(changes || doubt == Doubt::Unchanged),
        other => panic!("{other:?}"),
    };
    away(store.read(&web).map(drop), false);
    away(store.list(&Prefix::all()).map(drop), false);
    away(store.write(&web, b"2", Expected::Revision(first)).map(drop), true);
    away(store.remove(&key("drain/a"), Expected::Any), true);
    away(store.announce(&key("hosts/b"), b"b", LONG).map(drop), true);
    away(presence.renew(), true);
    away(watching::next_error(&mut *watch), false);
    away(watch.next(Duration::ZERO).map(drop), false);
    place.come_back();
    watching::reach(&*store);
    let stored = store.read(&web).unwrap().unwrap();
    assert!(stored.value == b"1" || stored.value == b"2");
    store
        .write(&web, b"3", Expected::Revision(stored.revision))
        .unwrap();
    view.until(&mut *watch, &web, Some(b"3"));
    presence.renew().unwrap();
    assert_eq!(value_of(&*store, &key("hosts/a")), Some(b"a".to_vec()));
}

/// Makes the tests that a place must pass.
macro_rules! suite {
    ($name:ident, $place:ty) => {
        mod $name {
            suite!(@tests $place:
                crate::what_is_written_is_read,
                crate::what_is_removed_is_gone_and_its_numbers_do_not_come_again,
                crate::values_are_bytes_and_have_a_limit,
                crate::keys_of_any_form_are_kept_apart,
                crate::of_all_who_make_a_key_one_has_made_it,
                crate::a_store_that_is_away_says_so_and_comes_back_with_everything,
                crate::counting::threads_that_count_lose_nothing,
                crate::counting::processes_that_count_lose_nothing,
                crate::counting::processes_that_are_killed_leave_whole_values,
                crate::watching::a_watch_begins_with_everything_and_tells_what_changes,
                crate::watching::a_watch_sees_every_last_state,
                crate::presence::a_presence_ends_when_nobody_renews_it,
                crate::presence::a_presence_stays_while_it_is_renewed,
                crate::presence::a_presence_is_one_owners,
            );
        }
    };
    (@tests $place:ty: $($module:ident :: $($path:ident)::+,)+) => {
        $(suite!(@one $place, $module::$($path)::+);)+
    };
    (@one $place:ty, crate::$name:ident) => {
        #[test]
        fn $name() {
            crate::$name::<$place>();
        }
    };
    (@one $place:ty, crate::$module:ident::$name:ident) => {
        #[test]
        fn $name() {
            crate::$module::$name::<$place>();
        }
    };
}

suite!(in_a_directory, crate::directory::Shared);
suite!(in_etcd, crate::cluster::Alone);
