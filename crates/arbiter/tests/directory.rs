//! The directory arbiter: one winner per epoch, whoever asks, from wherever, however often.
//!
//! Threads race for epochs in a directory of their own; what is written there must never change.

use std::fs;
use std::sync::{Arc, Barrier};
use std::thread;

use arbiter::{Arbiter, Asker, DirectoryArbiter};
use os::wake::Waker;
use replica::VmName;
use replica::{Claim, ClaimKind, Epoch, Verdict};

const LOST: Verdict = Verdict::Lost { heir: false };

fn vm() -> VmName {
    VmName::new("web").unwrap()
}

fn claim(epoch: u64, owner: u128) -> Claim {
    Claim {
        epoch: Epoch(epoch),
        owner,
        after: None,
        heirs: Vec::new(),
        kind: ClaimKind::Failover,
    }
}

fn claim_after(epoch: u64, owner: u128, after: u128) -> Claim {
    Claim {
        after: Some(after),
        ..claim(epoch, owner)
    }
}

#[test]
fn of_many_claimants_exactly_one_wins_each_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (owners, epochs) = (8, 40);
    let start = Arc::new(Barrier::new(owners));
    let threads: Vec<_> = (0..owners as u128)
        .map(|owner| {
            let start = Arc::clone(&start);
            let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
            thread::spawn(move || {
                let mut won = Vec::new();
                for epoch in 0..epochs {
                    start.wait();
                    let answer = arbiter.claim(&vm(), &claim(epoch, owner));
                    assert_ne!(answer.verdict, Verdict::Unreachable, "{:?}", answer.reason);
                    if answer.verdict == Verdict::Won {
                        won.push(epoch);
                    }
                }
                won
            })
        })
        .collect();
    let mut won: Vec<u64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    won.sort_unstable();
    assert_eq!(won, (0..epochs).collect::<Vec<_>>());
    let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
    assert_eq!(arbiter.last(&vm()).unwrap(), Some(Epoch(epochs - 1)));
    let left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(
        left.len(),
        epochs as usize,
        "temporary files stay behind: {left:?}"
    );
}

#[test]
fn asking_again_gives_the_same_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
    for _ in 0..3 {
        assert_eq!(arbiter.claim(&vm(), &claim(4, 1)).verdict, Verdict::Won);
        let answer = arbiter.claim(&vm(), &claim(4, 2));
        assert_eq!(answer.verdict, LOST);
        assert!(answer.reason.unwrap().contains("epoch 4 of 'web' went to"));
    }
}

#[test]
fn who_loses_is_told_whether_the_winner_has_named_it_an_heir() {
    let dir = tempfile::tempdir().unwrap();
    let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
    let winner = Claim {
        heirs: vec![2, 3],
        ..claim(4, 1)
    };
    assert_eq!(arbiter.claim(&vm(), &winner).verdict, Verdict::Won);
    for heir in [2, 3] {
        let answer = arbiter.claim(&vm(), &claim(4, heir));
        assert_eq!(answer.verdict, Verdict::Lost { heir: true });
    }
    // Whom a loser would have named counts for nothing.
    let loser = Claim {
        heirs: vec![5],
        ..claim(4, 4)
    };
    assert_eq!(arbiter.claim(&vm(), &loser).verdict, LOST);
    assert_eq!(arbiter.claim(&vm(), &claim(4, 5)).verdict, LOST);
}

#[test]
fn an_epoch_that_was_passed_by_is_lost_though_nobody_claimed_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
    assert_eq!(arbiter.claim(&vm(), &claim(3, 1)).verdict, Verdict::Won);
    assert_eq!(arbiter.claim(&vm(), &claim(7, 2)).verdict, Verdict::Won);
    assert_eq!(arbiter.claim(&vm(), &claim(5, 3)).verdict, LOST);
    assert_eq!(
        arbiter.claim(&vm(), &claim(3, 1)).verdict,
        Verdict::Won,
        "the same owner, the same answer"
    );
}

#[test]
fn vms_do_not_see_each_others_epochs() {
    let dir = tempfile::tempdir().unwrap();
    let mut arbiter = DirectoryArbiter::open(dir.path()).unwrap();
    let other = VmName::new("web.00000000000000000009").unwrap();
    assert_eq!(arbiter.claim(&other, &claim(9, 1)).verdict, Verdict::Won);
    assert_eq!(arbiter.last(&vm()).unwrap(), None);
    assert_eq!(arbiter.claim(&vm(), &claim(1, 2)).verdict, Verdict::Won);
    assert_eq!(arbiter.last(&vm()).unwrap(), Some(Epoch(1)));
    assert_eq!(arbiter.last(&other).unwrap(), Some(Epoch(9)));
}

#[test]
fn a_directory_that_cannot_be_used_is_said_so_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for path in [dir.path().join("none"), file, "/proc".into()] {
        let error = DirectoryArbiter::open(&path).unwrap_err().to_string();
        assert!(
            error.contains("cannot be written; it must exist on storage that both hosts share"),
            "{error}"
        );
    }
}

#[test]
fn a_directory_that_went_away_is_unreachable_and_a_damaged_claim_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arbiter");
    fs::create_dir(&path).unwrap();
    let mut arbiter = DirectoryArbiter::open(&path).unwrap();
    assert_eq!(arbiter.claim(&vm(), &claim(1, 1)).verdict, Verdict::Won);
    fs::rename(&path, dir.path().join("away")).unwrap();
    let answer = arbiter.claim(&vm(), &claim(2, 1));
    assert_eq!(answer.verdict, Verdict::Unreachable);
    assert!(answer.reason.unwrap().contains("No such file or directory"));
    fs::rename(dir.path().join("away"), &path).unwrap();
    assert_eq!(arbiter.claim(&vm(), &claim(2, 1)).verdict, Verdict::Won);
    fs::write(path.join("web.00000000000000000002.claim"), [0xff; 9]).unwrap();
    let answer = arbiter.claim(&vm(), &claim(2, 1));
    assert_eq!(answer.verdict, Verdict::Unreachable);
    assert!(answer.reason.unwrap().contains("is no claim of Lockstep"));
}

#[test]
fn a_claim_that_ends_a_pair_is_decided_only_where_the_pair_was_made() {
    // FT 2.3-e: the same path on two hosts, two directories.
    let (here, there) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut ours = DirectoryArbiter::open(here.path()).unwrap();
    let mut other = DirectoryArbiter::open(there.path()).unwrap();
    assert_eq!(ours.claim(&vm(), &claim(7, 1)).verdict, Verdict::Won);
    ours.check(&vm(), Epoch(7), 1).unwrap();

    let why = other.check(&vm(), Epoch(7), 1).unwrap_err().to_string();
    assert!(why.contains("does not know epoch 7 of 'web'"), "{why}");
    assert!(why.contains("both sides must see the same directory"), "{why}");
    for _ in 0..2 {
        let answer = other.claim(&vm(), &claim_after(8, 2, 1));
        assert_eq!(answer.verdict, Verdict::Unreachable);
        assert!(answer.reason.unwrap().contains("does not know epoch 7"));
    }
    assert_eq!(other.last(&vm()).unwrap(), None, "nothing was claimed there");

    // A directory in which somebody else has that epoch, and the next one too, is no better.
    assert_eq!(other.claim(&vm(), &claim(7, 9)).verdict, Verdict::Won);
    assert_eq!(other.claim(&vm(), &claim(8, 9)).verdict, Verdict::Won);
    let answer = other.claim(&vm(), &claim_after(8, 2, 1));
    assert_eq!(answer.verdict, Verdict::Unreachable);
    assert!(answer.reason.unwrap().contains("knows another owner of epoch 7"));

    assert_eq!(ours.claim(&vm(), &claim_after(8, 2, 1)).verdict, Verdict::Won);
    assert_eq!(ours.claim(&vm(), &claim_after(8, 1, 1)).verdict, LOST);
    assert_eq!(ours.claim(&vm(), &claim_after(8, 2, 1)).verdict, Verdict::Won);
}

#[test]
fn an_asker_answers_each_question_once() {
    let dir = tempfile::tempdir().unwrap();
    let waker = Waker::new().unwrap();
    let arbiter = Box::new(DirectoryArbiter::open(dir.path()).unwrap());
    let mut asker = Asker::new(arbiter, vm(), waker.clone());
    for epoch in 0..3 {
        asker.ask(claim(epoch, 1));
        let (asked, answer) = loop {
            if let Some(answer) = asker.answer() {
                break answer;
            }
            let mut fds = [rustix::event::PollFd::new(&waker, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            waker.clear();
        };
        assert_eq!((asked, answer.verdict), (claim(epoch, 1), Verdict::Won));
    }
}
