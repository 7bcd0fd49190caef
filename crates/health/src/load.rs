//! `Load`: whether the guest's thread gets the processor when it wants it.
//!
//! *Held up* is a thread that was on a processor for less than 80 % of the time in which it was able to run.
//! The kernel counts both: the time for which a thread ran, and the time for which it was ready to run and
//! waited in a queue (`schedstat`). This is what a busy host takes from a guest, and nothing else is: a guest
//! that idles, that waits for its disk or that its backup slows down (`speed_permille`) waits in no queue.
//! The load of a whole host would blame a guest for its own work, and for neighbours that yield to it.

use std::fs::File;
use std::os::unix::fs::FileExt;

use replica::{Span, Time};

use crate::limits::{LOAD_PERMILLE_MIN, LOAD_WANTED_PERMILLE_MIN, LOAD_WINDOW, LOAD_WINDOWS};
use report::{AspectWord, Change};

/// What the kernel has counted for a thread, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Time on a processor.
    ran: u64,
    /// Time for which the thread was ready to run and did not.
    waited: u64,
}

/// How much of the processor the guest's thread gets.
#[derive(Debug, Default)]
pub(crate) struct Load {
    /// The kernel's counts of this thread; `None`: the kernel does not count, or was not asked yet.
    file: Option<File>,
    /// Was the kernel asked for its counts?
    is_asked: bool,
    /// The counts when the present window began, and that time; `None`: none has begun.
    began: Option<(Time, Counts)>,
    /// Since when the thread is held up, as it was told; `None`: it is not.
    held_up: Option<Time>,
    /// Windows in a row that say otherwise than was told, and when the first of them began.
    contrary: Option<(u32, Time)>,
}

impl Load {
    /// Since when the thread is held up, as it was told; `None`: it is not.
    pub fn held_up_since(&self) -> Option<Time> {
        self.held_up
    }

    /// Looks at the calling thread, always the same one; gives what is to be told.
    pub fn measures(&mut self, now: Time) -> Option<Change> {
        if !std::mem::replace(&mut self.is_asked, true) {
            // Opened inside the sandbox, which leaves a process what the kernel tells of the process itself.
            self.file = File::open("/proc/thread-self/schedstat").ok();
        }
        let is_over = |(began, _): (Time, Counts)| now.since(began) >= LOAD_WINDOW;
        if !self.began.is_none_or(is_over) {
            return None;
        }
        let mut bytes = [0; 96];
        let length = self.file.as_ref()?.read_at(&mut bytes, 0).ok()?;
        let counts = parsed(bytes.get(..length)?)?;
        self.sees(now, counts)
    }

    /// A window may be over, with these counts at its end.
    fn sees(&mut self, now: Time, counts: Counts) -> Option<Change> {
        let (began, before) = self.began.replace((now, counts))?;
        let ran = counts.ran.saturating_sub(before.ran);
        let wanted = ran.saturating_add(counts.waited.saturating_sub(before.waited));
        let window = now.since(began).0;
        let wants_little = wanted < window / 1000 * LOAD_WANTED_PERMILLE_MIN;
        let got_permille = match wanted {
            _ if wants_little => 1000,
            wanted => ran.saturating_mul(1000) / wanted.max(1),
        };
        let is_held_up = got_permille < LOAD_PERMILLE_MIN;
        if is_held_up == self.held_up.is_some() {
            self.contrary = None;
            return None;
        }
        let (windows, since) = self.contrary.unwrap_or((0, began));
        if windows + 1 < LOAD_WINDOWS {
            self.contrary = Some((windows + 1, since));
            return None;
        }
        self.contrary = None;
        match self.held_up.take() {
            None => {
                self.held_up = Some(since);
                let percent = got_permille / 10;
                Some(Change {
                    what: AspectWord::Processor,
                    well: false,
                    sentence: format!(
                        "this host is busy: the guest gets {percent} % of the processor time that it wants"
                    ),
                    since_ns: since.0,
                    lasted_ms: 0.0,
                })
            }
            Some(since) => {
                let lasted_ms = ms(now.since(since));
                let seconds = lasted_ms / 1e3;
                Some(Change {
                    what: AspectWord::Processor,
                    well: true,
                    sentence: format!(
                        "the guest gets the processor time that it wants again, after {seconds:.1} s"
                    ),
                    since_ns: since.0,
                    lasted_ms,
                })
            }
        }
    }
}

/// Milliseconds, with their fraction.
pub(crate) fn ms(span: Span) -> f64 {
    span.0 as f64 / 1e6
}

/// The counts in the kernel's words: nanoseconds on a processor, nanoseconds in a queue, and how often.
fn parsed(bytes: &[u8]) -> Option<Counts> {
    let mut words = std::str::from_utf8(bytes).ok()?.split_whitespace();
    let ran = words.next()?.parse().ok()?;
    let waited = words.next()?.parse().ok()?;
    Some(Counts { ran, waited })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread that is looked at once a second.
    #[derive(Default)]
    struct Thread {
        load: Load,
        seconds: u64,
        counts: Counts,
    }

    impl Thread {
        /// A second in which the thread ran for so many milliseconds and waited for so many.
        fn second(&mut self, ran: u64, waited: u64) -> Option<Change> {
            self.seconds += 1;
            self.counts.ran += Span::from_ms(ran).0;
            self.counts.waited += Span::from_ms(waited).0;
            let now = Time(Span::from_ms(1_000 * self.seconds).0);
            self.load.sees(now, self.counts)
        }
    }

    #[test]
    fn a_host_is_busy_after_three_seconds_with_less_than_four_fifths_of_what_is_wanted() {
        let mut thread = Thread::default();
        thread.second(0, 0);
        for _ in 0..5 {
            assert_eq!(thread.second(800, 200), None, "four fifths are enough");
        }
        for _ in 0..2 {
            assert_eq!(thread.second(700, 300), None);
        }
        assert_eq!(thread.second(1_000, 0), None, "that was a burst");
        for _ in 0..2 {
            assert_eq!(thread.second(700, 300), None);
        }
        let busy = thread.second(600, 400).unwrap();
        assert!(busy.sentence.contains("60 % of the processor time"), "{busy:?}");
        assert!(!busy.well);
        let began = Time(Span::from_ms(9_000).0);
        assert_eq!(thread.load.held_up_since(), Some(began));
        assert_eq!(thread.second(600, 400), None, "it was told");
        for _ in 0..2 {
            assert_eq!(thread.second(1_000, 0), None);
        }
        let free = thread.second(1_000, 0).unwrap();
        assert_eq!((free.well, free.lasted_ms), (true, 7_000.0));
        assert_eq!(thread.load.held_up_since(), None);
    }

    #[test]
    fn a_guest_that_wants_little_is_not_held_up() {
        let mut thread = Thread::default();
        for _ in 0..9 {
            assert_eq!(thread.second(10, 50), None);
        }
        assert_eq!(thread.load.held_up_since(), None);
    }

    #[test]
    fn the_kernel_counts_for_this_thread_or_says_nothing() {
        let mut load = Load::default();
        assert_eq!(load.measures(Time(1)), None);
        assert_eq!(
            load.began.is_some(),
            load.file.is_some(),
            "what it says is understood"
        );
        assert_eq!(parsed(b"12 34 5\n"), Some(Counts { ran: 12, waited: 34 }));
        assert_eq!(parsed(b"12"), None);
    }
}
