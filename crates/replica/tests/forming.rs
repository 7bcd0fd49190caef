//! What a primary decides between its handshakes: which epoch it asks for, whether it calls again, and what
//! it gives up when there will be no pair.
//!
//! The test is the arbiter and leads no handshake; `handshake.rs` has those, and the simulator both.

use replica::{Answered, Caller, Claim, ClaimKind, Epoch, Failure, HandshakeEvent, MayOwn, Wanted};

/// A primary that has won the first epoch for its first call.
fn granted() -> Caller {
    let mut caller = Caller::new(11);
    assert_eq!(caller.ask(), Wanted::AfterLast, "as each start of a VM");
    let event = caller.answered(Answered::Won(Epoch(1)));
    assert_eq!(event, Some(HandshakeEvent::Granted(Epoch(1))));
    caller
}

#[test]
fn a_second_call_asks_for_just_the_epoch_that_the_backup_of_the_first_may_have_claimed() {
    let mut caller = granted();
    for epoch in 2..5 {
        let next = Claim {
            epoch: Epoch(epoch),
            owner: 11,
            after: Some(11),
            heirs: Vec::new(),
            kind: ClaimKind::Start,
        };
        assert_eq!(caller.ask(), Wanted::Exactly(next));
        let event = caller.answered(Answered::Won(Epoch(epoch)));
        assert_eq!(event, Some(HandshakeEvent::Granted(Epoch(epoch))));
    }
    caller.ask();
    assert_eq!(caller.answered(Answered::Refused), None, "the VM runs there");
    assert_eq!(caller.may_own(), MayOwn::Epoch(Epoch(4)));
}

#[test]
fn a_primary_calls_again_only_where_the_talk_broke_off() {
    for failure in [Failure::LinkLost, Failure::Silence] {
        assert!(Caller::calls_again(&failure), "{failure}");
    }
    let why = || "the disk is another one".to_owned();
    for failure in [
        Failure::Arbiter,
        Failure::Refused(why()),
        Failure::NotShared(why()),
        Failure::OutOfTurn,
        Failure::Timeout,
    ] {
        assert!(!Caller::calls_again(&failure), "{failure}");
    }
}

#[test]
fn a_question_that_was_not_answered_may_have_been_granted_and_is_given_up_too() {
    let mut caller = Caller::new(11);
    assert_eq!(caller.may_own(), MayOwn::Nothing);
    caller.ask();
    let event = caller.answered(Answered::Unreachable);
    assert_eq!(event, Some(HandshakeEvent::ArbiterUnreachable));
    assert_eq!(caller.may_own(), MayOwn::Unknown);
    let mut caller = granted();
    assert_eq!(caller.may_own(), MayOwn::Epoch(Epoch(1)));
    caller.ask();
    assert_eq!(caller.may_own(), MayOwn::Unknown, "the answer is under way");
    caller.answered(Answered::Unreachable);
    assert_eq!(caller.may_own(), MayOwn::Unknown);
}
