//! What an agent remembers of a VM, and which news it takes for a sight of it.

use messages::time::{Span, Time};
use plan::limits::STALE_REMOTE;
use plan::{Memory, Ownership, View, Views};
use report::RoleWord;

use crate::sample::{name, process, view};

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
