//! Which hosts are taken and which are refused, and in which words.

use std::collections::BTreeSet;

use messages::time::{Span, Time};
use plan::{Backoff, Drain, Host, Need, Placement, Protocols, Storage, Why, judge};

use crate::sample::{GIB, at, host, hosts, name, need, vm_name};

fn codes(placement: &Placement, host: &str) -> Vec<String> {
    match placement.of(&name(host)) {
        Some(Err(refusals)) => refusals.iter().map(|why| why.code().to_owned()).collect(),
        _ => Vec::new(),
    }
}

fn judged(need: &Need, hosts: &[Host]) -> Placement {
    judge(at(100), need, hosts)
}

fn best(need: &Need, hosts: &[Host]) -> Option<String> {
    judged(need, hosts).best().map(ToString::to_string)
}

#[test]
fn every_refusal_has_its_cause_and_its_sentence() {
    // FT 3.3-b: `host-same` is among them.
    type Change = fn(&mut Need, &mut Host);
    let cases: [(&str, Change, &str); 16] = [
        (
            "host-full",
            |_, host| host.free_bytes = 312 << 20,
            "b has 312 MiB free, 2411 MiB needed; stop something there or give shop less memory",
        ),
        (
            "host-full",
            |_, host| host.free_processors = 0,
            "each of b's 4 processors is busy; stop something there",
        ),
        (
            "host-silent",
            |_, host| host.heard = Some(Time(at(94).time.0)),
            "b's agent has not answered for 6.0 s; look whether b and its agent run",
        ),
        (
            "host-silent",
            |_, host| host.heard = None,
            "b's agent has never answered; look whether b and its agent run",
        ),
        (
            "host-draining",
            |_, host| {
                host.draining = Some(Drain {
                    since: at(0).wall,
                    by: "ada".into(),
                });
            },
            "b is being drained since 2026-11-28 21:40:31 UTC by ada; `lockstep undrain b` ends that",
        ),
        (
            "host-same",
            |need, _| need.owner = name("b"),
            "b runs the primary; choose another host for the backup",
        ),
        (
            "host-same",
            |need, _| need.member = Some(name("b")),
            "b holds the backup already; choose another host for a new one",
        ),
        (
            "host-zone",
            |need, host| {
                need.apart = true;
                host.zone = Some("east".into());
            },
            "b is in zone east, as the primary is; use a host in another zone",
        ),
        (
            "host-model",
            |need, _| need.model = 3,
            "b runs Lockstep 0.2.0, machine model 2, and the VM has 3; install 0.3.0 there",
        ),
        (
            "host-model",
            |need, _| need.protocols = Protocols { oldest: 4, newest: 5 },
            "b runs Lockstep 0.2.0, which speaks protocols 2 to 3, and the VM's process 4 to 5; install \
             0.3.0 there",
        ),
        (
            "host-storage",
            |_, host| host.storages.clear(),
            "b does not see storage nas; mount it there",
        ),
        (
            "host-storage-other",
            |_, host| {
                let path = "/srv/nas".to_owned();
                host.storages.insert("nas".into(), Storage::Other { path });
            },
            "/srv/nas on b is another file (our mark is not in its lock), so it is not shared; mount the \
             shared storage there",
        ),
        (
            "host-network",
            |_, host| host.networks.clear(),
            "b has no network lan; add it to that host's agent.toml",
        ),
        (
            "host-slow",
            |_, host| host.steps_per_second = 490_000_000,
            "b would run at 49 % of the primary's speed; `protect --to b` takes it all the same",
        ),
        (
            "host-slow",
            |_, host| host.translates = false,
            "b cannot translate the guest's code, and would be about 8 times slower; `protect --to b` takes \
             it all the same",
        ),
        (
            "host-limit",
            |_, host| host.protected = 8,
            "b holds its limit of 8 protected VMs; raise `protected_max` there",
        ),
    ];
    for (code, change, sentence) in cases {
        let mut need = need("shop", "a");
        let mut hosts = hosts(2, at(100));
        hosts[0].zone = Some("east".into());
        hosts[0].version = "0.3.0".into();
        assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
        change(&mut need, &mut hosts[1]);
        let placement = judged(&need, &hosts);
        let Some(Err(refusals)) = placement.of(&name("b")) else {
            panic!("{code}: it is not refused");
        };
        let told: Vec<_> = refusals.iter().map(|why| (why.code(), why.sentence())).collect();
        assert_eq!(told, [(code, sentence.to_owned())]);
        let of_others: Vec<Why> = if need.owner == name("b") {
            Vec::new()
        } else {
            refusals.clone()
        };
        if !of_others.is_empty() {
            assert_eq!(placement.refusals(), of_others);
        }
    }
}

#[test]
fn a_host_is_told_of_with_all_its_refusals_and_not_the_first() {
    let mut hosts = hosts(2, at(100));
    hosts[1].free_bytes = 0;
    hosts[1].free_processors = 0;
    hosts[1].networks.clear();
    hosts[1].storages.clear();
    hosts[1].models.clear();
    hosts[1].protected_max = 0;
    hosts[1].steps_per_second = 1;
    let mut need = need("shop", "a");
    let mut backoff = Backoff::new(1);
    backoff.fail(at(100), &need.vm, &name("b"), "clones one VM already");
    let why = backoff.bars(at(100), &need.vm, &name("b")).unwrap();
    need.barred.insert(name("b"), why);
    let expected = [
        "host-refused",
        "host-model",
        "host-storage",
        "host-network",
        "host-full",
        "host-full",
        "host-limit",
        "host-slow",
    ];
    let placement = judged(&need, &hosts);
    assert_eq!(codes(&placement, "b"), expected);
    assert_eq!(codes(&placement, "a"), ["host-same"]);
}

#[test]
fn a_site_with_one_host_says_so() {
    let placement = judged(&need("shop", "a"), &hosts(1, at(100)));
    assert_eq!(placement.refusals(), [Why::NoHosts]);
    assert_eq!(placement.best(), None);
}

#[test]
fn memory_is_enough_to_the_byte_with_a_tenth_kept_free() {
    let need = need("shop", "a");
    let mut hosts = hosts(2, at(100));
    hosts[1].memory_bytes = 10 * GIB;
    hosts[1].free_bytes = GIB + ((512 + 196 + 64) << 20);
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
    hosts[1].free_bytes -= 1;
    assert_eq!(codes(&judged(&need, &hosts), "b"), ["host-full"]);
}

#[test]
fn a_slow_host_is_taken_only_if_there_is_no_other_or_somebody_allows_it() {
    let mut need = need("shop", "a");
    let mut hosts = hosts(3, at(100));
    // It would be the better one for all else.
    hosts[1].steps_per_second = 799_000_000;
    hosts[1].free_bytes = 16 * GIB;
    hosts[1].knows = BTreeSet::from([vm_name("shop")]);
    let placement = judged(&need, &hosts);
    assert_eq!(placement.best(), Some(&name("c")));
    assert_eq!(codes(&placement, "b"), ["host-slow"]);
    need.allow_slow = true;
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
    need.allow_slow = false;
    hosts[2].networks.clear();
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"), "nothing else is there");
    hosts[1].steps_per_second = 499_000_000;
    assert_eq!(best(&need, &hosts), None, "its process would be dismissed");
    need.allow_slow = true;
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
    hosts[1].translates = false;
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
}

#[test]
fn a_shunned_host_is_taken_if_somebody_names_it_but_not_one_that_has_just_refused() {
    let hosts = hosts(2, at(100));
    let mut backoff = Backoff::new(1);
    let mut need = need("shop", "a");
    let bar = |need: &mut Need, backoff: &Backoff| {
        let why = backoff.bars(at(100), &need.vm, &name("b")).unwrap();
        need.barred.insert(name("b"), why);
    };
    backoff.shun(at(100), &need.vm, &name("b"), "was too slow");
    bar(&mut need, &backoff);
    let placement = judged(&need, &hosts);
    assert_eq!(
        placement.refusals()[0].sentence(),
        "b was too slow at 2026-11-28 21:42:11 UTC; tried again at 2026-11-28 21:47:11 UTC, or now with \
         `lockstep protect shop --to b`"
    );
    need.named = Some(name("b"));
    assert_eq!(best(&need, &hosts).as_deref(), Some("b"));
    backoff.forgive(&need.vm, &name("b"));
    backoff.fail(at(100), &need.vm, &name("b"), "clones one VM already");
    bar(&mut need, &backoff);
    assert_eq!(codes(&judged(&need, &hosts), "b"), ["host-refused"]);
}

#[test]
fn the_best_host_has_room_speed_and_few_others_and_is_near_and_known() {
    let need = need("shop", "a");
    let better: [fn(&mut Host); 5] = [
        |host| host.free_bytes += 2 * GIB,
        |host| host.steps_per_second = 1_200_000_000,
        |host| host.knows = BTreeSet::from([vm_name("shop")]),
        |host| host.round_trip = Some(Span::from_us(60)),
        |host| host.protected = 0,
    ];
    for (case, change) in better.into_iter().enumerate() {
        let mut hosts = hosts(4, at(100));
        for host in &mut hosts {
            host.protected = 1;
            host.round_trip = Some(Span::from_us(500));
        }
        assert_eq!(
            best(&need, &hosts).as_deref(),
            Some("b"),
            "the first of equal ones"
        );
        change(&mut hosts[2]);
        assert_eq!(best(&need, &hosts).as_deref(), Some("c"), "case {case}");
        hosts.reverse();
        assert_eq!(
            best(&need, &hosts).as_deref(),
            Some("c"),
            "their order means nothing"
        );
    }
}

#[test]
fn hosts_that_were_measured_a_little_differently_score_alike() {
    let need = need("shop", "a");
    // Two measurements of one host differ by some percent.
    for (b, c) in [(1_000, 1_090), (920, 1_080), (905, 1_095)] {
        let mut hosts = hosts(3, at(100));
        (hosts[1].steps_per_second, hosts[2].steps_per_second) = (b * 1_000_000, c * 1_000_000);
        assert_eq!(best(&need, &hosts).as_deref(), Some("b"), "{b} and {c}");
        (hosts[1].steps_per_second, hosts[2].steps_per_second) = (c * 1_000_000, b * 1_000_000);
        assert_eq!(best(&need, &hosts).as_deref(), Some("b"), "{c} and {b}");
    }
    // Nor does as small a difference count for much anywhere else.
    for slower in [520, 710, 770, 880, 899, 1_090, 1_110, 1_290] {
        let mut hosts = hosts(3, at(100));
        hosts[1].steps_per_second = slower * 1_000_000;
        hosts[2].steps_per_second = (slower + 20) * 1_000_000;
        hosts[2].protected = 1;
        assert_eq!(best(&need, &hosts).as_deref(), Some("b"), "{slower}");
    }
}

#[test]
fn a_chosen_host_is_told_of_in_a_sentence() {
    let mut b = host("b", at(100));
    b.free_bytes = 9 * GIB + GIB / 2;
    b.steps_per_second = 980_000_000;
    b.round_trip = Some(Span::from_us(60));
    let placement = judged(&need("shop", "a"), &[host("a", at(100)), b]);
    let Some(Ok(score)) = placement.of(&name("b")) else {
        panic!("it is refused");
    };
    assert_eq!(
        score.sentence(&name("b"), &name("a")),
        "b would be chosen: 9.5 GiB free, 98 % of a's speed, 60 us away"
    );
}
