//! The examination of an arbiter: what it must do whatever keeps its cells. A new kind of place implements
//! `Place` in a file of its own, names itself in `suite!` at the end of this file, and adds tests of what can
//! go wrong with it alone, as `directory` does. One that is a server implements `servers::Server` too and
//! names itself in `suite_of_servers!`.
//!
//! Where a test needs processes that race or die, they are real: this program, started again as `claimant`.

mod claimant;
mod directory;
mod flawed;
mod in_etcd;
mod in_server;
#[path = "../../../etcd/tests/cluster/pki.rs"]
mod pki;
mod relay;
#[path = "../../../etcd/tests/cluster/server.rs"]
mod server;
mod servers;

use std::sync::{Arc, Barrier};
use std::thread;

use arbiter::{Arbiter, Asker, Cell, Cells, Closing, Heard, Process, TestAndSet, start};
use claimant::Claimant;
use flawed::{Flaw, Flawed};
use os::wake::Waker;
use replica::{Checked, Claim, ClaimKind, Epoch, Verdict, VmName};

/// What a test must be able to do with a place that is examined.
trait Place {
    /// Its cells.
    type Cells: Cells + 'static;

    /// A new place, in which nobody has claimed anything.
    fn new() -> Self;

    /// The place as one more process sees it.
    fn cells(&self) -> Self::Cells;

    /// The place as people write it, by which a claimant in another process finds it.
    fn address(&self) -> String;

    /// Takes the place away until `come_back`.
    fn go_away(&self);

    /// Gives the place back, with everything in it.
    fn come_back(&self);

    /// Has a cell of the VM hold these bytes, whatever it held, as other programs and bad disks may.
    fn spoil(&self, cell: Cell, bytes: &[u8]);
}

const LOST: Verdict = Verdict::Lost { heir: false };

fn vm() -> VmName {
    VmName::new("web").unwrap()
}

fn arbiter<P: Place>(place: &P) -> TestAndSet<P::Cells> {
    TestAndSet::over(place.cells(), Process::here(None))
}

/// The arbiter of a process to which the place seems to have this flaw.
fn flawed<P: Place>(place: &P, flaw: Flaw) -> TestAndSet<Flawed<P::Cells>> {
    let cells = place.cells();
    TestAndSet::over(Flawed { cells, flaw }, Process::here(None))
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

/// Claims as `owner`, and expects this verdict. Gives the reason.
fn expect(arbiter: &mut dyn Arbiter, claim: &Claim, verdict: Verdict) -> String {
    let answer = arbiter.claim(&vm(), claim);
    let reason = answer.reason.unwrap_or_default();
    assert_eq!(answer.verdict, verdict, "{claim:?}: {reason}");
    reason
}

/// The last epoch and its owner.
fn last(arbiter: &mut dyn Arbiter) -> Option<(u64, u128)> {
    let record = arbiter.last(&vm()).unwrap()?;
    Some((record.epoch.0, record.owner))
}

fn of_many_processes_exactly_one_wins_each_epoch<P: Place>() {
    let place = P::new();
    let (processes, epochs) = (6, 40);
    let mut racers: Vec<Claimant> = (1..=processes)
        .map(|owner| Claimant::start(&place.address(), owner, 0, epochs))
        .collect();
    let mut won: Vec<u64> = racers.iter_mut().flat_map(Claimant::wins).collect();
    won.sort_unstable();
    assert_eq!(won, (0..epochs).collect::<Vec<_>>());
    assert_eq!(
        last(&mut arbiter(&place)).map(|(epoch, _)| epoch),
        Some(epochs - 1)
    );
}

fn of_many_threads_exactly_one_wins_each_epoch<P: Place>() {
    let place = P::new();
    let (owners, epochs) = (8, 40);
    let start = Arc::new(Barrier::new(owners));
    let threads: Vec<_> = (0..owners as u128)
        .map(|owner| {
            let start = Arc::clone(&start);
            let mut arbiter = arbiter(&place);
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
}

fn of_many_starts_exactly_one_wins_and_the_others_are_told_who<P: Place>() {
    let place = P::new();
    for round in 0..10 {
        let start = Arc::new(Barrier::new(6));
        let threads: Vec<_> = (1..=6)
            .map(|owner| {
                let (start, mut arbiter) = (Arc::clone(&start), arbiter(&place));
                thread::spawn(move || {
                    start.wait();
                    (owner, start::begin(&mut arbiter, &vm(), owner, &mut |_| {}))
                })
            })
            .collect();
        let results: Vec<_> = threads.into_iter().map(|t| t.join().unwrap()).collect();
        let winners: Vec<_> = results
            .iter()
            .filter_map(|(owner, result)| Some((*owner, result.as_ref().ok()?)))
            .collect();
        let [(owner, epoch)] = winners[..] else {
            panic!("{results:?}");
        };
        assert_eq!(*epoch, Epoch(round + 1));
        for (_, result) in &results {
            if let Err(error) = result {
                assert!(error.is_refusal(), "{error}");
            }
        }
        arbiter(&place)
            .close(&vm(), *epoch, owner, &Closing::Stopped)
            .unwrap();
    }
}

fn an_answer_that_was_lost_is_given_again<P: Place>() {
    let place = P::new();
    for _ in 0..3 {
        // Each time as a process that knows nothing of the earlier answers.
        expect(&mut arbiter(&place), &claim(4, 1), Verdict::Won);
        let reason = expect(&mut arbiter(&place), &claim(4, 2), LOST);
        assert!(reason.contains("epoch 4 of 'web' went to"), "{reason}");
    }
}

fn a_claim_whose_answer_is_lost_is_unreachable_and_decided_once<P: Place>() {
    let place = P::new();
    expect(&mut arbiter(&place), &claim(1, 9), Verdict::Won);
    for (takes_effect, epoch) in [(true, 2), (false, 3)] {
        let mut lossy = flawed(&place, Flaw::LostAnswers { takes_effect });
        let reason = expect(&mut lossy, &claim(epoch, 1), Verdict::Unreachable);
        assert!(reason.contains("the answer was lost"), "{reason}");
    }
    // The question for epoch 2 took effect, that for epoch 3 did not.
    expect(&mut arbiter(&place), &claim(2, 2), LOST);
    expect(&mut arbiter(&place), &claim(2, 1), Verdict::Won);
    expect(&mut arbiter(&place), &claim(3, 2), Verdict::Won);
    expect(&mut arbiter(&place), &claim(3, 1), LOST);
}

fn a_claimant_may_be_killed_at_any_moment<P: Place>() {
    let place = P::new();
    let mut first = 0;
    for round in 0..60_u64 {
        let owner = 1_000 + u128::from(round);
        let victim = Claimant::start(&place.address(), owner, first, first + 1_000_000);
        // It dies somewhere in its second or a later claim, at another moment each time.
        let (won, asked) = victim.killed_while_asking(first + 1, || {
            if round % 2 == 0 {
                for _ in 0..round * 1_500 {
                    std::hint::spin_loop();
                }
            } else {
                // Every other time once its claim is written, before it can have said so.
                let mut cells = place.cells();
                while cells
                    .read(&vm(), Cell::Claim(Epoch(first + 1)))
                    .unwrap()
                    .is_none()
                {}
            }
        });
        let mut arbiter = arbiter(&place);
        for epoch in won {
            arbiter.check(&vm(), Epoch(epoch), owner).unwrap();
        }
        // Whether its last question took effect is decided, and is the same for everybody.
        let other = arbiter.claim(&vm(), &claim(asked, 1)).verdict;
        let again = arbiter.claim(&vm(), &claim(asked, owner)).verdict;
        let decided = [(Verdict::Won, LOST), (LOST, Verdict::Won)];
        assert!(decided.contains(&(other, again)), "{other:?} {again:?}");
        assert_eq!(last(&mut arbiter).map(|(epoch, _)| epoch), Some(asked));
        first = asked + 1;
    }
}

fn a_stale_listing_lets_nobody_win_what_is_taken<P: Place>() {
    let place = P::new();
    let mut true_one = arbiter(&place);
    for epoch in 1..=5 {
        expect(&mut true_one, &claim(epoch, 1), Verdict::Won);
    }
    for known in [None, Some(Epoch(1)), Some(Epoch(4))] {
        let mut stale = flawed(&place, Flaw::OldListing(known));
        expect(&mut stale, &claim(5, 2), LOST);
        let next = known.map_or(1, |epoch| epoch.0 + 1);
        expect(&mut stale, &claim(next, 2), LOST);
        // A start finds an open record that is long over, or none; it never wins a taken epoch.
        assert!(start::begin(&mut stale, &vm(), 2, &mut |_| {}).is_err());
    }
    assert_eq!(last(&mut true_one), Some((5, 1)));
}

fn who_loses_is_told_whether_the_winner_has_named_it_an_heir<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    let with = |owner, heirs: &[u128]| Claim {
        heirs: heirs.into(),
        ..claim(4, owner)
    };
    expect(&mut arbiter, &with(1, &[2, 3]), Verdict::Won);
    for heir in [2, 3] {
        expect(&mut arbiter, &claim(4, heir), Verdict::Lost { heir: true });
    }
    // Whom a loser would have named counts for nothing.
    expect(&mut arbiter, &with(4, &[5]), LOST);
    expect(&mut arbiter, &claim(4, 5), LOST);
    // An heir that asks late, when the epoch after that is taken, is a member of the epoch it asked for.
    expect(&mut arbiter, &claim(5, 1), Verdict::Won);
    expect(&mut arbiter, &claim(4, 2), Verdict::Lost { heir: true });
    expect(&mut arbiter, &claim(5, 2), LOST);
    assert_eq!(arbiter.last(&vm()).unwrap().unwrap().heirs, []);
}

fn an_epoch_that_was_passed_by_is_lost_though_nobody_claimed_it<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(3, 1), Verdict::Won);
    expect(&mut arbiter, &claim(7, 2), Verdict::Won);
    expect(&mut arbiter, &claim(5, 3), LOST);
    // The same owner, the same answer.
    expect(&mut arbiter, &claim(3, 1), Verdict::Won);
}

fn vms_whose_names_begin_alike_do_not_see_each_others_epochs<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    let names = [
        "web",
        "we",
        "web1",
        "web.1",
        "web-1",
        "web.claim",
        "web.id",
        "web.end",
        "claim",
        "id",
    ];
    for (owner, epoch) in (1..).zip(10..10 + names.len() as u64) {
        let name = VmName::new(names[owner - 1]).unwrap();
        assert_eq!(arbiter.last(&name).unwrap(), None, "{name}");
        let claim = claim(epoch, owner as u128);
        assert_eq!(arbiter.claim(&name, &claim).verdict, Verdict::Won, "{name}");
    }
    for (owner, epoch) in (1..).zip(10..10 + names.len() as u64) {
        let name = VmName::new(names[owner - 1]).unwrap();
        let last = arbiter.last(&name).unwrap().unwrap();
        assert_eq!((last.epoch, last.owner), (Epoch(epoch), owner as u128), "{name}");
    }
}

fn what_is_no_claim_is_nobodys_and_stays_as_it_is<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    let long = vec![b'x'; 1 << 20];
    for content in [&[0xff; 9][..], b"", b"lockstep claim 3\nvm web\n", &long] {
        place.spoil(Cell::Claim(Epoch(2)), content);
        for owner in [1, 2] {
            let reason = expect(&mut arbiter, &claim(2, owner), Verdict::Unreachable);
            assert!(reason.contains("is no claim of Lockstep; look at it"), "{reason}");
        }
        assert!(arbiter.last(&vm()).is_err());
        assert!(start::begin(&mut arbiter, &vm(), 3, &mut |_| {}).is_err());
        let read = place.cells().read(&vm(), Cell::Claim(Epoch(2)));
        assert!(content == long && read.is_err() || read.unwrap().unwrap() == content);
    }
    // An end must be one to free the VM, and an identity to be the VM's.
    let place = P::new();
    let mut arbiter = self::arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    place.spoil(Cell::End(Epoch(1)), b"no end");
    assert!(start::begin(&mut arbiter, &vm(), 3, &mut |_| {}).is_err());
    place.spoil(Cell::Id, b"no identity");
    expect(&mut arbiter, &claim(2, 1), Verdict::Unreachable);
}

fn vms_do_not_see_each_others_epochs<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    let other = VmName::new("web.00000000000000000009").unwrap();
    assert_eq!(arbiter.claim(&other, &claim(9, 1)).verdict, Verdict::Won);
    assert_eq!(arbiter.last(&vm()).unwrap(), None);
    expect(&mut arbiter, &claim(1, 2), Verdict::Won);
    assert_eq!(last(&mut arbiter), Some((1, 2)));
    assert_eq!(
        arbiter.last(&other).unwrap().map(|record| record.epoch),
        Some(Epoch(9))
    );
}

fn a_record_says_which_process_has_claimed_what_and_of_which_vm<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    for (epoch, kind) in [
        (1, ClaimKind::Start),
        (2, ClaimKind::Failover),
        (3, ClaimKind::Resolve),
        (4, ClaimKind::HandOver),
    ] {
        let claim = Claim {
            kind,
            heirs: vec![7],
            ..claim(epoch, 1)
        };
        expect(&mut arbiter, &claim, Verdict::Won);
        let record = arbiter.last(&vm()).unwrap().unwrap();
        let origin = record.origin.clone().unwrap();
        assert_eq!(
            (record.owner, record.heirs.as_slice(), &record.closed),
            (1, &[7][..], &None)
        );
        assert_eq!((origin.kind, origin.process), (kind, Process::here(None)));
        let words = record.whereabouts();
        let pid = format!("(pid {}, since 20", std::process::id());
        assert!(
            words.contains(&pid) && words.contains(&os::identity::host_name()),
            "{words}"
        );
    }
    // The VM keeps its identity, and another one has its own.
    let id = |vm: &VmName| {
        self::arbiter(&place)
            .last(vm)
            .unwrap()
            .unwrap()
            .origin
            .unwrap()
            .id
    };
    let other = VmName::new("shop").unwrap();
    let before = id(&vm());
    assert_eq!(arbiter.claim(&other, &claim(1, 1)).verdict, Verdict::Won);
    expect(&mut arbiter, &claim(5, 2), Verdict::Won);
    assert_eq!(id(&vm()), before);
    assert_ne!(id(&other), before);
}

fn a_closed_epoch_says_why_and_lets_the_vm_be_started<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    assert_eq!(
        start::clear(&mut arbiter, &vm(), 1, &mut |_| {}).unwrap(),
        Epoch(0)
    );
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 1, &mut |_| {}).unwrap(),
        Epoch(1)
    );
    // Nobody else starts it meanwhile, and the sentence says what to do.
    let refused = start::begin(&mut arbiter, &vm(), 2, &mut |_| {}).unwrap_err();
    assert!(refused.is_refusal());
    let (refused, host) = (refused.to_string(), os::identity::host_name());
    let begins = format!(
        "web runs as epoch 1 on host {host} (pid {}, since ",
        std::process::id()
    );
    assert!(refused.starts_with(&begins), "{refused}");
    let ends = format!(
        "; stop it there, or, if that host is surely off, `lockstep release web --epoch 1 {}`",
        arbiter.flag()
    );
    assert!(refused.ends_with(&ends), "{refused}");
    // Only its owner closes it, and the first reason counts.
    let stranger = arbiter
        .close(&vm(), Epoch(1), 2, &Closing::Off)
        .unwrap_err()
        .to_string();
    assert!(
        stranger.contains("knows no epoch 1 of 'web' that this process owns"),
        "{stranger}"
    );
    assert!(arbiter.close(&vm(), Epoch(2), 1, &Closing::Off).is_err());
    let released = Closing::Released {
        by: "ada on a".into(),
    };
    arbiter.close(&vm(), Epoch(1), 1, &released).unwrap();
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).unwrap();
    let closed = arbiter.last(&vm()).unwrap().unwrap().closed.unwrap();
    assert_eq!(closed, released);
    assert_eq!(closed.sentence(), "released by ada on a");
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 2, &mut |_| {}).unwrap(),
        Epoch(2)
    );
    assert_eq!(arbiter.last(&vm()).unwrap().unwrap().closed, None);
}

fn a_member_of_a_closed_epoch_may_claim_the_next_unless_a_start_was_faster<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    arbiter.close(&vm(), Epoch(1), 1, &Closing::Stopped).unwrap();
    expect(&mut arbiter, &claim_after(2, 2, 1), Verdict::Won);
    arbiter.close(&vm(), Epoch(2), 2, &Closing::Off).unwrap();
    assert_eq!(
        start::begin(&mut arbiter, &vm(), 3, &mut |_| {}).unwrap(),
        Epoch(3)
    );
    expect(&mut arbiter, &claim_after(3, 4, 2), LOST);
}

fn a_place_that_went_away_is_unreachable_until_it_is_back<P: Place>() {
    let place = P::new();
    let mut arbiter = arbiter(&place);
    expect(&mut arbiter, &claim(1, 1), Verdict::Won);
    place.go_away();
    let reason = expect(&mut arbiter, &claim(2, 1), Verdict::Unreachable);
    assert!(!reason.is_empty());
    assert!(
        arbiter.last(&vm()).is_err(),
        "nobody may take it for a VM that never ran"
    );
    assert!(arbiter.check(&vm(), Epoch(1), 1).is_err());
    assert!(arbiter.close(&vm(), Epoch(1), 1, &Closing::Off).is_err());
    let error = start::begin(&mut arbiter, &vm(), 2, &mut |_| {}).unwrap_err();
    assert!(!error.is_refusal(), "{error}");
    place.come_back();
    arbiter.check(&vm(), Epoch(1), 1).unwrap();
    expect(&mut arbiter, &claim(2, 1), Verdict::Won);
}

fn a_claim_that_ends_a_pair_is_decided_only_where_the_pair_was_made<P: Place>() {
    // FT 2.3-e: the same name on two hosts, two places.
    let (here, there) = (P::new(), P::new());
    let (mut ours, mut other) = (arbiter(&here), arbiter(&there));
    expect(&mut ours, &claim(7, 1), Verdict::Won);
    ours.check(&vm(), Epoch(7), 1).unwrap();

    let why = other.check(&vm(), Epoch(7), 1).unwrap_err().to_string();
    assert!(why.contains("does not know epoch 7 of 'web'"), "{why}");
    assert!(why.contains("both sides must see the same"), "{why}");
    for _ in 0..2 {
        let reason = expect(&mut other, &claim_after(8, 2, 1), Verdict::Unreachable);
        assert!(reason.contains("does not know epoch 7"), "{reason}");
    }
    assert_eq!(other.last(&vm()).unwrap(), None, "nothing was claimed there");

    // A place in which somebody else has that epoch, and the next one too, is no better.
    expect(&mut other, &claim(7, 9), Verdict::Won);
    expect(&mut other, &claim(8, 9), Verdict::Won);
    let reason = expect(&mut other, &claim_after(8, 2, 1), Verdict::Unreachable);
    assert!(reason.contains("knows another owner of epoch 7"), "{reason}");

    expect(&mut ours, &claim_after(8, 2, 1), Verdict::Won);
    expect(&mut ours, &claim_after(8, 1, 1), LOST);
    expect(&mut ours, &claim_after(8, 2, 1), Verdict::Won);
}

fn an_asker_answers_each_question_once_and_writes_the_end_down<P: Place>() {
    let place = P::new();
    let waker = Waker::new().unwrap();
    let mut asker = Asker::new(Box::new(arbiter(&place)), vm(), waker.clone());
    let next = |asker: &mut Asker| {
        loop {
            if let Some(heard) = asker.heard() {
                return heard;
            }
            let mut fds = [rustix::event::PollFd::new(&waker, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            waker.clear();
        }
    };
    for epoch in 0..3 {
        asker.ask(claim(epoch, 1));
        let Heard::Answer(asked, answer) = next(&mut asker) else {
            panic!("no claim was answered");
        };
        assert_eq!((asked, answer.verdict), (claim(epoch, 1), Verdict::Won));
    }
    // A look changes nothing, and says what is wrong with an arbiter that does not know the epoch.
    asker.look(Epoch(2), 1);
    assert!(matches!(next(&mut asker), Heard::Looked(Ok(()))));
    asker.look(Epoch(3), 1);
    let Heard::Looked(Err(why)) = next(&mut asker) else {
        panic!("it knows an epoch that nobody has claimed");
    };
    assert!(why.contains("does not know epoch 3"), "{why}");
    asker.check(Epoch(2), 1);
    assert!(matches!(
        next(&mut asker),
        Heard::Checked(Epoch(2), Checked::Yours)
    ));
    let patience = std::time::Duration::from_secs(600);
    asker.close(Epoch(2), 1, Closing::Off, patience).unwrap();
    let closed = arbiter(&place).last(&vm()).unwrap().unwrap().closed;
    assert_eq!(closed, Some(Closing::Off));
}

/// The whole suite for one kind of place, as tests of the module in which it stands.
macro_rules! suite {
    ($place:ty) => {
        suite!($place:
            of_many_processes_exactly_one_wins_each_epoch,
            of_many_threads_exactly_one_wins_each_epoch,
            of_many_starts_exactly_one_wins_and_the_others_are_told_who,
            an_answer_that_was_lost_is_given_again,
            a_claim_whose_answer_is_lost_is_unreachable_and_decided_once,
            a_claimant_may_be_killed_at_any_moment,
            a_stale_listing_lets_nobody_win_what_is_taken,
            who_loses_is_told_whether_the_winner_has_named_it_an_heir,
            an_epoch_that_was_passed_by_is_lost_though_nobody_claimed_it,
            vms_do_not_see_each_others_epochs,
            vms_whose_names_begin_alike_do_not_see_each_others_epochs,
            what_is_no_claim_is_nobodys_and_stays_as_it_is,
            a_record_says_which_process_has_claimed_what_and_of_which_vm,
            a_closed_epoch_says_why_and_lets_the_vm_be_started,
            a_member_of_a_closed_epoch_may_claim_the_next_unless_a_start_was_faster,
            a_place_that_went_away_is_unreachable_until_it_is_back,
            a_claim_that_ends_a_pair_is_decided_only_where_the_pair_was_made,
            an_asker_answers_each_question_once_and_writes_the_end_down,
        );
    };
    ($place:ty: $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                super::$test::<$place>();
            }
        )*
    };
}

/// The suite for one kind of server, beside [`suite!`].
macro_rules! suite_of_servers {
    ($place:ty) => {
        suite_of_servers!($place:
            an_answer_that_is_lost_on_the_way_is_read_and_never_guessed,
            a_question_that_is_lost_on_the_way_changes_nothing,
            a_claim_that_is_cut_off_at_any_answer_is_decided_once,
            a_server_that_is_killed_between_effect_and_answer_has_kept_the_effect,
            a_server_that_stands_still_is_unreachable_and_true_when_it_goes_on,
            what_was_claimed_is_there_after_the_server_was_killed,
        );
    };
    ($place:ty: $($test:ident),* $(,)?) => {
        $(
            #[test]
            fn $test() {
                super::servers::$test::<$place>();
            }
        )*
    };
}

mod of_a_directory {
    suite!(super::directory::Directory);
}

mod of_a_disk_server {
    suite!(super::in_server::Alone);
    suite_of_servers!(super::in_server::Alone);
}

mod of_etcd {
    suite!(super::in_etcd::Alone);
    suite_of_servers!(super::in_etcd::Alone);
}
