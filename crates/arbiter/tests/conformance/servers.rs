//! What an arbiter must bear that is a server of its own: a network that loses questions and answers, a
//! server that dies between what it does and what it says, and one that stands still.

use std::net::SocketAddr;
use std::time::Duration;

use arbiter::{Arbiter, Cell, Cells, Closing, Created, Process, TestAndSet};
use replica::{Epoch, Verdict};

use crate::relay::{Relay, Way};
use crate::{LOST, Place, arbiter, claim, claim_after, expect, last, vm};

/// A time that no call reaches which is answered.
const LONG: Duration = Duration::from_secs(600);
/// A deadline for calls that nobody answers.
const SHORT: Duration = Duration::from_millis(500);

/// What a test must be able to do with a server.
pub trait Server: Place {
    /// Where the server takes calls.
    fn socket(&self) -> SocketAddr;

    /// The place as a process sees it that calls this address instead, whose calls take so long at most. The
    /// address leads to the server while the process opens the place.
    fn by_way_of(&self, address: SocketAddr, deadline: Duration) -> Self::Cells;

    /// Ends the server by SIGKILL.
    fn kill(&self);

    /// Starts the server again that was killed, and waits until it takes calls.
    fn restart(&self);

    /// Has the server stand still, with its connections, or go on.
    fn stand(&self, still: bool);
}

fn claimed(epoch: u64) -> Cell {
    Cell::Claim(Epoch(epoch))
}

/// Who comes later, by whatever way, finds that one of the two values was written, and always the same one.
fn decided<P: Place>(place: &P, cell: Cell, values: [&[u8]; 2]) -> Vec<u8> {
    let winner = match place.cells().create(&vm(), cell, values[1]).unwrap() {
        Created::Now => values[1].to_vec(),
        Created::Before(found) => found,
    };
    for _ in 0..2 {
        for value in values {
            let expected = if value == winner {
                Created::Now
            } else {
                Created::Before(winner.clone())
            };
            assert_eq!(place.cells().create(&vm(), cell, value).unwrap(), expected);
        }
    }
    assert_eq!(place.cells().read(&vm(), cell).unwrap().as_ref(), Some(&winner));
    winner
}

pub fn an_answer_that_is_lost_on_the_way_is_read_and_never_guessed<P: Server>() {
    let place = P::new();
    let relay = Relay::before(place.socket());
    let mut cells = place.by_way_of(relay.address(), LONG);
    relay.is(Way::LosesOneAnswer);
    assert_eq!(cells.create(&vm(), claimed(1), b"one").unwrap(), Created::Now);
    relay.is(Way::LosesOneAnswer);
    let before = Created::Before(b"one".to_vec());
    assert_eq!(cells.create(&vm(), claimed(1), b"two").unwrap(), before);

    // What cannot be read either is unknown.
    let mut cells = place.by_way_of(relay.address(), SHORT);
    relay.is(Way::LosesAnswers { after: 0 });
    assert!(cells.create(&vm(), claimed(2), b"one").is_err());
    assert!(
        cells.create(&vm(), claimed(1), b"two").is_err(),
        "not even a loss is guessed"
    );
    assert!(cells.read(&vm(), claimed(1)).is_err());
    assert!(cells.last(&vm()).is_err() && cells.refresh().is_err());
    relay.is(Way::Free);
    assert_eq!(decided(&place, claimed(2), [b"one", b"two"]), b"one");
    assert_eq!(cells.create(&vm(), claimed(2), b"one").unwrap(), Created::Now);
}

pub fn a_question_that_is_lost_on_the_way_changes_nothing<P: Server>() {
    let place = P::new();
    let relay = Relay::before(place.socket());
    let mut cells = place.by_way_of(relay.address(), SHORT);
    relay.is(Way::LosesQuestions);
    assert!(cells.create(&vm(), claimed(1), b"one").is_err());
    relay.is(Way::Free);
    assert_eq!(place.cells().read(&vm(), claimed(1)).unwrap(), None);
    assert_eq!(decided(&place, claimed(1), [b"one", b"two"]), b"two");
    let before = Created::Before(b"two".to_vec());
    assert_eq!(cells.create(&vm(), claimed(1), b"one").unwrap(), before);
}

pub fn a_claim_that_is_cut_off_at_any_answer_is_decided_once<P: Server>() {
    let place = P::new();
    let relay = Relay::before(place.socket());
    let mut direct = arbiter(&place);
    expect(&mut direct, &claim(0, 9), Verdict::Won);
    let mut verdicts = Vec::new();
    for after in 0..10 {
        let epoch = after as u64 + 1;
        let cells = place.by_way_of(relay.address(), SHORT);
        let mut cut_off = TestAndSet::over(cells, Process::here(None));
        let before = claim_after(
            epoch,
            1,
            if epoch == 1 {
                9
            } else {
                last(&mut direct).unwrap().1
            },
        );
        relay.is(Way::LosesAnswers { after });
        let verdict = cut_off.claim(&vm(), &before).verdict;
        relay.is(Way::Free);
        let other = direct.claim(&vm(), &claim(epoch, 2)).verdict;
        let again = cut_off.claim(&vm(), &claim(epoch, 1)).verdict;
        let decided = [(Verdict::Won, LOST), (LOST, Verdict::Won)];
        assert!(decided.contains(&(other, again)), "{after}: {other:?} {again:?}");
        assert!(
            verdict == Verdict::Unreachable || (verdict, other) == (Verdict::Won, LOST),
            "{after}"
        );
        verdicts.push((verdict, again));
    }
    // Some were cut off between effect and answer, and some not at all.
    for expected in [(Verdict::Unreachable, Verdict::Won), (Verdict::Won, Verdict::Won)] {
        assert!(verdicts.contains(&expected), "{expected:?} in {verdicts:?}");
    }
}

pub fn a_server_that_is_killed_between_effect_and_answer_has_kept_the_effect<P: Server>() {
    let place = P::new();
    let relay = Relay::before(place.socket());
    for (epoch, comes_back) in [(1, true), (2, false)] {
        let mut cells = place.by_way_of(relay.address(), if comes_back { LONG } else { SHORT });
        relay.is(Way::Holds);
        let asks = std::thread::spawn(move || cells.create(&vm(), claimed(epoch), b"one"));
        relay.holds();
        place.kill();
        if comes_back {
            place.restart();
        }
        relay.is(Way::Free);
        match asks.join().unwrap() {
            Ok(created) => assert!(comes_back && created == Created::Now),
            Err(error) => assert!(!comes_back, "{error}"),
        }
        if !comes_back {
            place.restart();
        }
        assert_eq!(decided(&place, claimed(epoch), [b"one", b"two"]), b"one");
    }
}

pub fn a_server_that_stands_still_is_unreachable_and_true_when_it_goes_on<P: Server>() {
    let place = P::new();
    expect(&mut arbiter(&place), &claim(1, 9), Verdict::Won);
    let mut cells = place.by_way_of(place.socket(), SHORT);
    let waits = place.by_way_of(place.socket(), SHORT);
    let mut waits = TestAndSet::over(waits, Process::here(None));
    place.stand(true);
    assert!(cells.create(&vm(), claimed(2), b"one").is_err());
    assert!(cells.read(&vm(), claimed(1)).is_err());
    expect(&mut waits, &claim_after(2, 1, 9), Verdict::Unreachable);
    assert!(waits.last(&vm()).is_err());
    place.stand(false);
    // The question may have waited for the server, or not.
    decided(&place, claimed(2), [b"one", b"two"]);
    assert_eq!(place.cells().last(&vm()).unwrap(), Some(Epoch(2)));
    arbiter(&place).check(&vm(), Epoch(1), 9).unwrap();
}

pub fn what_was_claimed_is_there_after_the_server_was_killed<P: Server>() {
    let place = P::new();
    let mut before = arbiter(&place);
    for epoch in 1..=5 {
        expect(&mut before, &claim(epoch, epoch.into()), Verdict::Won);
    }
    before.close(&vm(), Epoch(5), 5, &Closing::Off).unwrap();
    let record = before.last(&vm()).unwrap();
    place.kill();
    place.restart();
    // By a process that has known it before, and by one that has not.
    for arbiter in [&mut before, &mut arbiter(&place)] {
        assert_eq!(arbiter.last(&vm()).unwrap(), record);
        expect(arbiter, &claim(5, 5), Verdict::Won);
        expect(arbiter, &claim(5, 4), LOST);
        arbiter.check(&vm(), Epoch(3), 3).unwrap();
    }
    assert_eq!(last(&mut before), Some((5, 5)));
}
