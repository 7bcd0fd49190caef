//! A protocol with one rule broken is caught, each time, and by the check that is meant to.
#![cfg(feature = "mutations")]

use sim::{Check, broken::VARIANTS};

#[test]
fn every_broken_variant_is_caught() {
    for broken in VARIANTS {
        let caught = broken.hunt(20_000);
        assert!(caught.is_some(), "{} is not caught", broken.name);
    }
}

#[test]
fn a_go_live_without_a_claim_is_seen_as_such() {
    let caught = VARIANTS[1].hunt(100).unwrap();
    assert_eq!(caught.violation.check, Check::SinglePrimary, "{caught:?}");
}
