//! A protocol or a world with one rule broken is caught, each time, and by the check that is meant to.
//!
//! These are the variants of `sim broken`, for a `cargo test` with the feature `mutations`. If a checker
//! caught nothing, all other tests of the simulator would be worthless.
#![cfg(feature = "mutations")]

use sim::{Check, broken::VARIANTS};

#[test]
fn every_broken_variant_is_caught() {
    for broken in VARIANTS {
        let caught = broken.hunt(60_000);
        assert!(caught.is_some(), "{} is not caught", broken.name);
    }
}

#[test]
fn a_go_live_without_a_claim_is_seen_as_such() {
    let caught = VARIANTS[1].hunt(100).unwrap();
    assert_eq!(caught.violation.check, Check::SinglePrimary, "{caught:?}");
}

#[test]
fn what_a_cache_loses_is_seen_as_such() {
    let about_caches: Vec<_> = VARIANTS
        .iter()
        .filter(|broken| matches!(broken.rule, "0050" | "0051"))
        .collect();
    assert_eq!(about_caches.len(), 4);
    for broken in about_caches {
        let counts = broken.count(300);
        let others = counts.keys().filter(|check| **check != Check::Durability).count();
        assert!(
            counts.contains_key(&Check::Durability),
            "{}: {counts:?}",
            broken.name
        );
        assert_eq!(others, 0, "{}: {counts:?}", broken.name);
    }
}
