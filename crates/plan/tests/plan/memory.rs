//! What an agent remembers of a VM, and which news it takes for a sight of it.

use messages::time::{Span, Time};
use plan::limits::STALE_REMOTE;
use plan::{Action, Backoff, Memory, Now, Ownership, Process, Seen, View, Views};
use report::RoleWord;

use crate::sample::{at, name, process, view, vm_name};

/// What the agent of a is told of the VM, `age` ago by b.
fn told(age: Span) -> Views {
    let told = view("b", process(RoleWord::Backup, Some("a")));
    Views::of(&name("a"), vec![View { age, ..told }])
}

fn gone_since(memory: &Memory) -> Option<Time> {
    let seen = memory.seen(Views::default(), None, Vec::new(), Ownership::Unknown);
    seen.gone_since
}

#[test]
fn what_a_host_told_that_is_silent_by_now_is_no_sight_of_a_process() {
    let mut memory = Memory::default();
    memory.looks(Time(4), &told(STALE_REMOTE), true);
    assert_eq!(gone_since(&memory), None);
    let old = told(Span(STALE_REMOTE.0 + 1));
    memory.looks(Time(5), &old, true);
    memory.looks(Time(6), &old, true);
    assert_eq!(gone_since(&memory), Some(Time(5)));
    // A VM that never ran is not gone.
    memory.looks(Time(7), &old, false);
    assert_eq!(gone_since(&memory), None);
}

#[test]
fn an_old_report_does_not_hide_a_backup_that_is_seen() {
    let told = |host, role, age, epoch| {
        let mut told = view(host, process(role, Some("a")));
        (told.age, told.process.epoch) = (age, epoch);
        told
    };
    let old = Span(STALE_REMOTE.0 + 1);
    for other in [
        told("c", RoleWord::Backup, old, 9),
        told("c", RoleWord::Apprentice, Span(0), 9),
        told("c", RoleWord::Claiming, old, 9),
    ] {
        let backup = told("b", RoleWord::Backup, Span(0), 1);
        for all in [[other.clone(), backup.clone()], [backup, other]] {
            let member = Views::of(&name("a"), all.to_vec()).member;
            assert_eq!(member.unwrap().host, name("b"));
        }
    }
    // Nor does it hide that a process is there at all.
    let all = vec![
        told("c", RoleWord::Backup, old, 9),
        told("b", RoleWord::Claiming, Span(0), 1),
    ];
    assert!(Views::of(&name("a"), all).is_any());
}

/// What the planner is shown after a look that finds this process here.
fn seen(memory: &mut Memory, now: Now, process: Process) -> Seen {
    let views = Views::of(&name("a"), vec![view("a", process)]);
    memory.looks(now.time, &views, true);
    memory.seen(views, None, Vec::new(), Ownership::Closed)
}

fn pair() -> Process {
    process(RoleWord::Primary, Some("b"))
}

#[test]
fn what_the_process_refuses_is_not_held_against_the_host_that_the_order_names() {
    let (vm, mut memory, mut backoff) = (vm_name("shop"), Memory::default(), Backoff::new(1));
    let solo = process(RoleWord::Solo, None);
    let order = Action::Protect { to: name("b") };
    let until = Ok(at(1_000).time);
    memory.on_reservation(at(1), (&vm, &name("b")), until, &mut backoff);
    for count in 1..=3 {
        seen(&mut memory, at(2), solo.clone());
        memory.orders(order.clone(), at(2).time);
        memory.on_answer(at(2).time, &order, Err("a snapshot of it is being taken"));
        let seen = seen(&mut memory, at(3), solo.clone());
        assert_eq!(
            (&seen.ordered, seen.refused.unwrap().failures.count),
            (&None, count)
        );
        // The reservation holds, but not for ever.
        assert_eq!(seen.prepared.is_some(), count < 3, "{count}");
    }
    assert_eq!(backoff.until(at(3), &vm, &name("b")), None);
    assert_eq!(backoff.failures(at(3), &vm, &name("b")), 0);
    // Once it takes an order, no refusal is left.
    memory.orders(order.clone(), at(4).time);
    memory.on_answer(at(4).time, &order, Ok(()));
    let seen = seen(&mut memory, at(4), solo);
    assert!(seen.refused.is_none() && seen.ordered.unwrap().is_taken);
}

#[test]
fn an_order_belongs_to_the_process_that_has_it() {
    type Change = fn(&mut Process);
    let changes: [Change; 3] = [
        |process| process.number = 2,
        |process| process.epoch = 2,
        |process| process.role = Some(RoleWord::Backup),
    ];
    for change in changes {
        let mut memory = Memory::default();
        seen(&mut memory, at(1), pair());
        memory.orders(Action::Reset, at(2).time);
        assert!(seen(&mut memory, at(3), pair()).ordered.is_some());
        let mut other = pair();
        change(&mut other);
        assert_eq!(seen(&mut memory, at(4), other).ordered, None);
    }
    // One that is gone has none, and its late answer says nothing of a later order.
    let mut memory = Memory::default();
    seen(&mut memory, at(1), pair());
    memory.orders(Action::Dismiss, at(2).time);
    memory.looks(at(3).time, &Views::default(), true);
    memory.on_answer(at(3).time, &Action::Dismiss, Err("it ends"));
    let gone = memory.seen(Views::default(), None, Vec::new(), Ownership::Closed);
    assert_eq!((gone.ordered, gone.refused), (None, None));
    memory.orders(Action::Pause, at(4).time);
    memory.on_answer(at(4).time, &Action::Dismiss, Err("it ends"));
    assert!(seen(&mut memory, at(4), pair()).refused.is_none());
    // What another process of the VM says on this host does not show that it is carried out.
    seen(&mut memory, at(5), pair());
    memory.orders(Action::Pause, at(5).time);
    let mut other = pair();
    (other.number, other.is_paused) = (2, true);
    memory.on_status(at(6).time, &other);
    assert!(seen(&mut memory, at(6), pair()).ordered.is_some());
}

#[test]
fn failed_hand_overs_are_held_against_that_backup_alone() {
    let mut memory = Memory::default();
    seen(&mut memory, at(1), pair());
    for _ in 0..2 {
        memory.on_not_handed_over(at(2).time, "the disk did not answer");
    }
    let (to, failures) = seen(&mut memory, at(3), pair()).not_handed_over.unwrap();
    assert_eq!((to, failures.count), (name("b"), 2));
    // Those of long ago do not count together.
    memory.on_not_handed_over(at(700).time, "the disk did not answer");
    let (_, failures) = seen(&mut memory, at(701), pair()).not_handed_over.unwrap();
    assert_eq!(failures.count, 1);
    let other = process(RoleWord::Primary, Some("c"));
    assert_eq!(seen(&mut memory, at(702), other).not_handed_over, None);
}
