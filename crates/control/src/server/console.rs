//! Callers at the guest's console: who comes in, who types, and what each is shown. What is typed waits with
//! the kernel while the guest takes none of it, and whoever is too slow to watch misses bytes, which is said.

use std::time::Instant;

use os::sys::clock;
use report::amount;

use super::Server;
use crate::caller::{Caller, Phase, Watcher};
use crate::console::{ConsoleWish, Word};
use crate::desk::Course;
use crate::limits::{ALIVE_EVERY, OUTPUT_LEN, REQUEST_LEN_MAX, TYPED_LEN_MAX, WATCHERS_MAX};
use crate::protocol::{Answer, line};

/// Words that a caller at the console is told in a round: bytes, and that these were the last.
const TURNS: usize = 2;

impl Server {
    /// Lets a caller come to the console, if there is a place; and one who wants to type, if nobody else
    /// does, or is to watch from here on.
    pub(super) fn admit(&mut self, wish: &ConsoleWish) -> (Answer, Option<Phase>) {
        let vm = self.desk.vm.clone();
        // The person comes back, and the earlier connection is of no use any more.
        for caller in &mut self.callers {
            if matches!(&caller.phase, Phase::Watches(watcher) if watcher.session == wish.session) {
                caller.phase = Phase::Gone;
            }
        }
        let watchers = self.callers.iter().filter_map(watcher).count();
        if watchers >= WATCHERS_MAX {
            let sentence = format!("{watchers} callers are at the console of {vm} already");
            return (Answer::refused("busy", sentence), None);
        }
        if !wish.view {
            let mut typists = self
                .callers
                .iter()
                .filter_map(watcher)
                .filter(|watcher| watcher.types);
            if !wish.force
                && let Some(typist) = typists.next()
            {
                let since = clock::wall_ns().saturating_sub(typist.since_wall_ns);
                let sentence = format!(
                    "{} has had the console of {vm} for {}; `--view` watches, `--force` takes it",
                    typist.by,
                    amount::lasted(replica::Span(since))
                );
                return (Answer::refused("console-taken", sentence), None);
            }
            self.take_from_others(&wish.shown_name());
        }
        let first = self.desk.tail.last(wish.last);
        self.desk.tail.watched(true);
        let watcher = Watcher {
            by: wish.shown_name(),
            session: wish.session,
            types: !wish.view,
            since_wall_ns: clock::wall_ns(),
            next: first,
            told: Instant::now(),
        };
        let process = self.desk.process;
        (Answer::Console { process, first }, Some(Phase::Watches(watcher)))
    }

    /// Whoever types watches from here on.
    fn take_from_others(&mut self, by: &str) {
        for caller in &mut self.callers {
            if let Phase::Watches(watcher) = &mut caller.phase
                && std::mem::replace(&mut watcher.types, false)
            {
                caller.output.extend(line(&Word::Taken { by: by.into() }));
            }
        }
    }

    /// Takes the next piece that a caller at the console has typed; false: it is not there wholly, or the
    /// guest takes no more just now.
    fn take_typed(&mut self, at: usize) -> bool {
        let Some(caller) = self.callers.get_mut(at) else {
            return false;
        };
        let Some(end) = caller.input.iter().position(|&byte| byte == b'\n') else {
            // A word is shorter than a request may be.
            if caller.input.len() >= REQUEST_LEN_MAX {
                caller.phase = Phase::Gone;
            }
            return false;
        };
        let word = serde_json::from_slice(caller.input.get(..end).unwrap_or_default());
        let length = match word {
            Ok(Word::Typed { length }) if length <= TYPED_LEN_MAX as u64 => length as usize,
            _ => {
                caller.phase = Phase::Gone;
                return false;
            }
        };
        let whole = end + 1 + length;
        let Some(bytes) = caller.input.get(end + 1..whole) else {
            // A line as it is meant leaves room for what follows it.
            if caller.input.len() >= REQUEST_LEN_MAX {
                caller.phase = Phase::Gone;
            }
            return false;
        };
        let types = matches!(&caller.phase, Phase::Watches(watcher) if watcher.types);
        // Whoever only watches types in vain.
        if types && !bytes.is_empty() && !self.desk.types(bytes) {
            return false;
        }
        caller.input.drain(..whole);
        true
    }

    /// Shows each caller at the console what is new to it; true: all have taken all.
    pub(super) fn show_console(&mut self, now: Instant) -> bool {
        let (has_left, course) = (self.desk.has_left(), self.desk.course());
        let mut all = true;
        for at in 0..self.callers.len() {
            // What was typed just now, or earlier and has room only now.
            while self.callers.get(at).is_some_and(is_at_console) && self.take_typed(at) {}
            let Some(caller) = self.callers.get_mut(at) else {
                break;
            };
            // A guest that never stops writing calls this thread again: others have their turn before.
            for _ in 0..TURNS {
                let Phase::Watches(watcher) = &mut caller.phase else {
                    break;
                };
                if !caller.output.is_empty() {
                    break;
                }
                let (missed, bytes) = self.desk.tail.copy(watcher.next, OUTPUT_LEN);
                if missed > 0 {
                    caller.output.extend(line(&Word::Missed { bytes: missed }));
                }
                let length = bytes.len() as u64;
                watcher.next += missed + length;
                if length > 0 {
                    caller.output.extend(line(&Word::Bytes { length }));
                    caller.output.extend(bytes);
                } else if has_left && matches!(course, Course::Runs) {
                    caller.output.extend(line(&Word::Left));
                    caller.phase = Phase::Leaves;
                    caller.write(now);
                    break;
                } else if now.duration_since(watcher.told) >= ALIVE_EVERY {
                    caller.output.extend(line(&Word::Alive));
                } else {
                    break;
                }
                watcher.told = now;
                caller.write(now);
            }
            all &= !is_at_console(caller) || caller.output.is_empty();
        }
        let is_watched = self.callers.iter().any(is_at_console);
        self.desk.tail.watched(is_watched);
        all
    }
}

fn watcher(caller: &Caller) -> Option<&Watcher> {
    match &caller.phase {
        Phase::Watches(watcher) => Some(watcher),
        _ => None,
    }
}

fn is_at_console(caller: &Caller) -> bool {
    watcher(caller).is_some()
}
