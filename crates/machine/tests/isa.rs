//! Random programs of everything that our hart implements, against what QEMU made of them.
//!
//! `isa/golden.txt` holds QEMU's hash for each seed. To make it anew, after a change of the programs:
//! `cargo run --release -p machine --example isa_diff -- --golden 222 > crates/machine/tests/isa/golden.txt`.
//! When a hash differs here, `isa_diff --only SEED` names the instruction (docs/isa.md).

#[path = "rig/bare.rs"]
mod bare;
#[path = "rig/cloner.rs"]
mod cloner;

use bare::How;
use hart::Translate;
use isa_programs::{Program, image, layout::RAM_BYTES};

/// QEMU's hashes are those of every engine.
const ENGINES: [Translate; 3] = [Translate::Never, Translate::Hot, Translate::Always];

/// Seeds and hashes.
fn golden() -> Vec<(u64, &'static str)> {
    let line = |line: &'static str| {
        let (seed, hash) = line.split_once(' ').unwrap();
        (seed.parse().unwrap(), hash)
    };
    include_str!("isa/golden.txt").lines().map(line).collect()
}

/// Seeds whose programs end otherwise than under QEMU; all of them run as one image.
fn different(golden: &[(u64, &str)], how: How) -> Vec<u64> {
    let programs: Vec<Program> = golden
        .iter()
        .map(|&(seed, _)| Program::new(seed, false))
        .collect();
    let run = bare::run(&image(&programs, false), RAM_BYTES, how);
    assert!(!run.hung);
    let hash = |index: usize| run.lines.get(index).and_then(|line| line.get(..16));
    let different =
        |(index, &(seed, expected)): (usize, &(u64, &str))| (hash(index) != Some(expected)).then_some(seed);
    golden.iter().enumerate().filter_map(different).collect()
}

#[test]
fn random_programs_end_as_under_qemu() {
    let golden = golden();
    assert!(golden.len() >= 200);
    for translate in ENGINES {
        let how = How {
            translate,
            ..How::default()
        };
        assert_eq!(different(&golden, how), [], "{translate:?}");
    }
}

#[test]
fn dropped_caches_and_slices_change_nothing() {
    for (seed, some) in golden().chunks(10).enumerate() {
        let seed = Some(seed as u64 + 1);
        for translate in [Translate::Never, Translate::Always] {
            let how = How {
                zeal: seed,
                slices: seed,
                translate,
                ..How::default()
            };
            assert_eq!(different(some, how), [], "{translate:?}");
        }
    }
}

#[test]
fn stops_after_every_few_steps_change_nothing() {
    for (seed, some) in golden().chunks(40).enumerate() {
        for translate in ENGINES {
            let how = How {
                slices: Some(seed as u64),
                translate,
                ..How::default()
            };
            assert_eq!(different(some, how), [], "{translate:?}");
        }
    }
}

#[test]
fn clones_change_nothing_and_may_take_the_place_of_their_machine() {
    for (seed, some) in golden().chunks(74).enumerate() {
        for translate in ENGINES {
            let how = How {
                zeal: (seed % 2 == 1).then_some(seed as u64 | 7),
                slices: Some(seed as u64),
                clones: Some(seed as u64),
                translate,
            };
            assert_eq!(different(some, how), [], "{translate:?}");
        }
    }
}
