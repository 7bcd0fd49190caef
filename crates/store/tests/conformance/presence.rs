//! Keys that are there for as long as their owner renews them.

use std::time::{Duration, Instant};

use store::limits::{PRESENCE_TTL_MAX, PRESENCE_TTL_MIN};
use store::{Expected, Prefix, StoreError};

use crate::watching::View;
use crate::{LONG, Place, expect_changed, key, value_of};

pub fn a_presence_ends_when_nobody_renews_it<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let host = key("hosts/a");
    let mut watch = b.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    let mut presence = a.announce(&host, b"1", PRESENCE_TTL_MIN).unwrap();
    view.until(&mut *watch, &host, Some(b"1"));
    // Nobody renews it now.
    view.until(&mut *watch, &host, None);
    assert_eq!(b.read(&host).unwrap(), None);
    assert_eq!(b.list(&Prefix::all()).unwrap(), []);
    // Its owner lives after all.
    presence.renew().unwrap();
    view.until(&mut *watch, &host, Some(b"1"));
    // Once more, and somebody else takes the name.
    view.until(&mut *watch, &host, None);
    b.write(&host, b"2", Expected::Absent).unwrap();
    expect_changed(
        presence.renew(),
        b.read(&host).unwrap().map(|stored| stored.revision),
    );
    presence.withdraw().unwrap();
    assert_eq!(value_of(&*b, &host), Some(b"2".to_vec()));
}

pub fn a_presence_stays_while_it_is_renewed<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let host = key("hosts/a");
    let mut watch = b.watch(&Prefix::all()).unwrap();
    let mut view = View::default();
    let mut presence = a.announce(&host, b"1", PRESENCE_TTL_MIN).unwrap();
    view.until(&mut *watch, &host, Some(b"1"));
    let begin = Instant::now();
    loop {
        // A machine that is too slow to renew in time proves nothing, and the test begins anew.
        let (start, mut last, mut late) = (Instant::now(), Instant::now(), false);
        let mut seen = Vec::new();
        while start.elapsed() < 3 * PRESENCE_TTL_MIN {
            seen.push(watch.next(Duration::from_millis(100)).unwrap());
            presence.renew().unwrap();
            late |= last.elapsed() > PRESENCE_TTL_MIN / 2;
            last = Instant::now();
        }
        if !late {
            assert!(seen.iter().all(|seen| *seen == store::Seen::Nothing), "{seen:?}");
            break;
        }
        assert!(begin.elapsed() < LONG, "this machine is too slow");
    }
    assert_eq!(value_of(&*b, &host), Some(b"1".to_vec()));
}

pub fn a_presence_is_one_owners<P: Place>() {
    let place = P::new();
    let (a, b) = (place.host(), place.host());
    let host = key("hosts/a");
    let mut first = a.announce(&host, b"1", LONG).unwrap();
    first.change(b"2").unwrap();
    first.renew().unwrap();
    assert_eq!(value_of(&*b, &host), Some(b"2".to_vec()));
    // The owner's next run takes over what an earlier one has left.
    let mut second = b.announce(&host, b"3", LONG).unwrap();
    let found = b.read(&host).unwrap().map(|stored| stored.revision);
    expect_changed(first.renew(), found);
    expect_changed(first.change(b"x"), found);
    first.withdraw().unwrap();
    assert_eq!(value_of(&*a, &host), Some(b"3".to_vec()));
    second.renew().unwrap();
    second.change(b"4").unwrap();
    second.withdraw().unwrap();
    assert_eq!(a.read(&host).unwrap(), None);
    // A person may remove it, too.
    let mut third = a.announce(&host, b"5", LONG).unwrap();
    b.remove(&host, Expected::Any).unwrap();
    expect_changed(third.renew(), None);
    for ttl in [PRESENCE_TTL_MIN / 2, PRESENCE_TTL_MAX * 2] {
        assert!(matches!(a.announce(&host, b"", ttl), Err(StoreError::Refused(_))));
    }
}
