//! The table of all reasons is that of the code, and each reason has a code and a sentence of its own.

use std::collections::BTreeSet;

use messages::time::Span;
use plan::{End, Loss, Protocols, Scarce, Slow, Unlike, Why};
use report::{FlagWord, Reason, SuspicionWord};

use crate::sample::{GIB, at, name, vm_name};

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reasons.md");

/// The reasons of each part of the document, with values of an example. The first one of a code stands for it
/// where it has several sentences.
fn parts() -> [(&'static str, Vec<Why>); 5] {
    [
        ("On the way to a backup", on_the_way()),
        ("Why a host takes no backup", of_a_host()),
        ("The VM as a whole", of_the_whole()),
        ("What an agent waits for", waiting()),
        ("Flags", flags()),
    ]
}

fn on_the_way() -> Vec<Why> {
    let host = || name("b");
    vec![
        Why::Choosing,
        Why::Connecting { host: host() },
        Why::Copying {
            host: host(),
            done_bytes: 128 << 20,
            total_bytes: GIB,
            bytes_per_second: Some(64 << 20),
        },
        Why::CatchingUp {
            host: host(),
            lag: Span::from_ms(1_200),
        },
        Why::Arming {
            host: host(),
            outputs: 3,
        },
        Why::Arming {
            host: host(),
            outputs: 0,
        },
        Why::SyncingDisks {
            disk: "vda".into(),
            done_bytes: GIB,
            total_bytes: 8 * GIB,
            bytes_per_second: None,
        },
    ]
}

fn of_a_host() -> Vec<Why> {
    let host = || name("b");
    let model = |unlike| Why::HostModel {
        host: host(),
        version: "0.2.0".into(),
        unlike,
        wanted_version: Some("0.3.0".into()),
    };
    let full = |scarce| Why::HostFull {
        host: host(),
        vm: vm_name("shop"),
        scarce,
    };
    vec![
        full(Scarce::Memory {
            free_bytes: 312 << 20,
            needed_bytes: 772 << 20,
        }),
        full(Scarce::Processors { all: 4 }),
        Why::HostSilent {
            host: host(),
            age: Some(Span::from_ms(14_000)),
        },
        Why::HostDraining {
            host: host(),
            since: at(0).wall,
            by: "ada".into(),
        },
        Why::HostSame {
            host: host(),
            is_owner: true,
        },
        Why::HostSame {
            host: host(),
            is_owner: false,
        },
        Why::HostZone {
            host: host(),
            zone: "east".into(),
        },
        Why::HostShunned {
            host: host(),
            vm: vm_name("shop"),
            why: "was too slow".into(),
            at: at(0).wall,
            until: at(300).wall,
        },
        model(Unlike::Model {
            newest: Some(2),
            wanted: 3,
        }),
        model(Unlike::Model {
            newest: None,
            wanted: 3,
        }),
        model(Unlike::Protocol {
            spoken: Protocols { oldest: 2, newest: 3 },
            wanted: Protocols { oldest: 4, newest: 5 },
        }),
        Why::HostStorage {
            host: host(),
            storage: "nas".into(),
        },
        Why::HostStorageOther {
            host: host(),
            path: "/srv/nas".into(),
        },
        Why::HostNetwork {
            host: host(),
            network: "lan".into(),
        },
        Why::HostSlow {
            host: host(),
            slow: Slow::Percent(61),
        },
        Why::HostSlow {
            host: host(),
            slow: Slow::NoTranslator,
        },
        Why::HostLimit {
            host: host(),
            limit: 8,
        },
        Why::HostRefused {
            host: host(),
            sentence: "another backup is being made here".into(),
            until: at(8).wall,
        },
    ]
}

fn of_the_whole() -> Vec<Why> {
    let vm = || vm_name("shop");
    let lost = |how| Why::BackupLost {
        host: Some(name("b")),
        at: at(0).wall,
        how,
    };
    let off = |how| Why::Off {
        vm: vm(),
        how,
        at: at(0).wall,
    };
    vec![
        Why::NoHosts,
        Why::ArbiterAway {
            place: "a b c".into(),
            age: Span::from_ms(9_000),
        },
        Why::Tries {
            count: 3,
            last: "b has not answered".into(),
            next: Some(at(4).wall),
        },
        lost(Loss::Suspected(SuspicionWord::Silence)),
        lost(Loss::TookOver),
        lost(Loss::Diverged {
            step: 1_234,
            part: "hart 0".into(),
        }),
        Why::User {
            vm: vm(),
            by: "ada".into(),
            at: at(0).wall,
            comment: "switch firmware".into(),
            undo: "protection resume",
        },
        Why::Policy { vm: vm() },
        off(End::SwitchedOff),
        off(End::Stopped { by: "ada".into() }),
        off(End::Died),
        off(End::Never),
        Why::Panicked {
            line: "Kernel panic - not syncing: VFS".into(),
        },
        Why::GuestSilent {
            vm: vm(),
            why: "10.0.0.9:6379 refuses connections".into(),
            age: Span::from_ms(34_000),
        },
        Why::DiskAway {
            disk: "vda".into(),
            age: Span::from_ms(7_000),
        },
        Why::ClaimOpen {
            vm: vm(),
            epoch: 7,
            host: name("a"),
        },
        Why::Lost {
            host: Some(name("b")),
            epoch: 8,
        },
        Why::DirectoryAway { since: at(0).wall },
        Why::AgentAway {
            vm: vm(),
            host: name("a"),
            age: Some(Span::from_ms(14_000)),
        },
    ]
}

fn waiting() -> Vec<Why> {
    vec![
        Why::ProcessSilent {
            vm: vm_name("shop"),
            host: name("a"),
            age: Span::from_ms(4_000),
        },
        Why::Ordered,
        Why::Turn {
            first: vm_name("ldap"),
        },
        Why::ColdStart { at: at(120).wall },
    ]
}

fn flags() -> Vec<Why> {
    [
        (FlagWord::Behind, "300 ms"),
        (FlagWord::Throttled, "61 %"),
        (FlagWord::DiskTrouble, "vda"),
        (FlagWord::Paused, ""),
        (FlagWord::SlowOutputs, "31 ms"),
        (FlagWord::OnePath, "10.0.0.2"),
        (FlagWord::NoSpareHost, ""),
        (FlagWord::Unfenced, "vda"),
        (FlagWord::Insecure, ""),
        (FlagWord::Skewed, "0.2.0 and 0.3.0"),
    ]
    .map(|(flag, what)| Why::Flag {
        flag,
        what: what.into(),
    })
    .into()
}

/// The document, made of the code.
fn document() -> String {
    let mut text = String::from(
        "# Reasons\n\n\
         Why a VM is as it is, why nothing is done for it, and why a host takes no backup: each reason has a \
         code for\nprograms and a sentence for people. The sentences here have values of an example. What a \
         VM's process says of\nitself comes with its own code (docs/control.md). This page is made by a \
         test: \
         `WRITE=1 cargo test -p plan\nreasons`.\n",
    );
    for (title, reasons) in parts() {
        text += &format!("\n## {title}\n\n| code | sentence |\n|---|---|\n");
        for why in reasons {
            text += &format!("| `{}` | {} |\n", why.code(), why.sentence());
        }
    }
    text
}

#[test]
fn the_page_of_reasons_is_that_of_the_code() {
    let made = document();
    if std::env::var_os("WRITE").is_some() {
        std::fs::write(DOCUMENT, &made).unwrap();
    }
    let kept = std::fs::read_to_string(DOCUMENT).unwrap_or_default();
    assert!(
        kept == made,
        "docs/reasons.md is stale: `WRITE=1 cargo test -p plan reasons` writes it"
    );
}

#[test]
fn every_reason_stands_on_the_page_with_a_sentence_of_its_own() {
    let all: Vec<Why> = parts().into_iter().flat_map(|(_, reasons)| reasons).collect();
    let codes: BTreeSet<&str> = all.iter().map(Why::code).collect();
    // Those that were designed, and those that came since.
    let designed = "choosing connecting copying catching-up arming syncing-disks host-full host-silent \
                    host-draining host-same host-zone host-shunned host-model host-storage \
                    host-storage-other host-network host-slow host-limit host-refused no-hosts \
                    arbiter-away tries backup-lost user policy off panicked disk-away claim-open lost \
                    directory-away agent-away";
    let designed: Vec<&str> = designed.split_whitespace().collect();
    assert_eq!(designed.len(), 32);
    for code in &designed {
        assert!(codes.contains(code), "{code}");
    }
    let others = codes.len() - designed.len();
    assert_eq!(others, 5 + flags().len(), "{codes:?}");
    let sentences: BTreeSet<String> = all.iter().map(Why::sentence).collect();
    assert_eq!(sentences.len(), all.len(), "two reasons in the same words");
    for sentence in sentences {
        assert!(sentence.len() > 20 && !sentence.contains("  "), "{sentence}");
        assert!(!sentence.ends_with('.'), "{sentence}");
    }
}

#[test]
fn a_reason_of_a_host_names_it_for_programs() {
    for (title, reasons) in parts() {
        for why in reasons {
            let names_one = why.code().starts_with("host-");
            assert!(!names_one || why.host() == Some(&name("b")), "{title}: {why:?}");
        }
    }
}

#[test]
fn what_a_process_says_is_passed_on_in_its_words() {
    let reason = Reason::new("suspected", "10.0.0.2 is suspected");
    let told = Why::Told(reason.clone());
    assert_eq!(told.reason(), reason);
    assert_eq!((told.code(), told.sentence()), ("suspected", reason.sentence));
}

#[test]
fn values_that_are_not_known_are_left_out_of_the_sentence() {
    let vm = || vm_name("shop");
    let cases = [
        (
            Why::HostSilent {
                host: name("b"),
                age: None,
            },
            "b's agent has never answered; look whether b and its agent run",
        ),
        (
            Why::AgentAway {
                vm: vm(),
                host: name("a"),
                age: None,
            },
            "the agent of a, which runs shop, has never answered; the VM itself may be well, see that the \
             agent runs",
        ),
        (
            Why::User {
                vm: vm(),
                by: "ada".into(),
                at: at(0).wall,
                comment: String::new(),
                undo: "protect",
            },
            "by ada at 2026-11-28 21:40:31 UTC; `lockstep protect shop` undoes it",
        ),
        (
            Why::Lost { host: None, epoch: 8 },
            "the other side won epoch 8, and the VM goes on there; give orders there",
        ),
        (
            Why::BackupLost {
                host: None,
                at: at(0).wall,
                how: Loss::Suspected(SuspicionWord::LinkLost),
            },
            "backup was lost at 2026-11-28 21:40:31 UTC: the link is closed",
        ),
        (
            Why::Tries {
                count: 1,
                last: "b is busy".into(),
                next: None,
            },
            "1 try failed, the last: b is busy; given up",
        ),
    ];
    for (why, sentence) in cases {
        assert_eq!(why.sentence(), sentence);
    }
}
