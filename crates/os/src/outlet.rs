//! `Outlet`: a writer that nobody waits for.
//!
//! A pipe whose reader sleeps, a terminal that was stopped with Ctrl-S, a FIFO or a dead file server hold up
//! whoever writes to them for as long as they like. The guest thread, for which a peer and clients wait,
//! writes to none of them: it leaves its bytes here, and a thread of the outlet's own writes them. Bytes that
//! find no room, or that the sink refuses, are dropped and counted, and never tried a second time; a notice
//! of their number is written where they are missing, as soon as the sink takes something again.

use std::fmt;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::sandbox::{self, Kind};

/// The unit in which lost output is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Lines: each ends with a line feed, and no line is written in part and then continued by another.
    Lines,
    /// Bytes, which are written in any parts.
    Bytes,
}

impl Unit {
    fn count(self, bytes: &[u8]) -> u64 {
        let count = match self {
            Unit::Lines => bytes.iter().filter(|&&byte| byte == b'\n').count(),
            Unit::Bytes => bytes.len(),
        };
        count as u64
    }
}

/// Makes the notice that stands in the output where so many lines or bytes are missing.
pub type Notice = Box<dyn Fn(u64) -> Vec<u8> + Send + Sync>;

/// A sink behind a thread and a bounded queue.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

struct Shared {
    /// Name of the sink, for the one sentence that says that the sink refuses.
    name: String,
    unit: Unit,
    bytes_max: usize,
    notice: Notice,
    queue: Mutex<Queue>,
    /// Signalled when the queue has got bytes, or was closed.
    filled: Condvar,
    /// Signalled when nothing waits and nothing is being written.
    emptied: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Whether the thread has taken bytes that are not written yet.
    writing: bool,
    /// Lines or bytes lost so far, told or not.
    lost: u64,
    /// The lines or bytes that found no room behind `waiting`. While there are any, everything is dropped, so
    /// that all of the loss is in one place: behind `waiting`.
    missing: u64,
    closed: bool,
}

/// What the thread takes from the queue at once.
struct Batch {
    bytes: Vec<u8>,
    /// Lines or bytes that are missing behind `bytes`.
    missing: u64,
}

impl Outlet {
    /// An outlet to `sink`, in which at most `bytes_max` bytes wait while as many are being written. `name`
    /// says in messages what the sink is, such as "the console's output"; `notice` makes the words that stand
    /// where output is missing.
    #[must_use]
    pub fn new(
        name: &str,
        unit: Unit,
        bytes_max: usize,
        notice: Notice,
        mut sink: Box<dyn Write + Send>,
    ) -> Outlet {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            unit,
            bytes_max,
            notice,
            queue: Mutex::default(),
            filled: Condvar::new(),
            emptied: Condvar::new(),
        });
        let writer = Arc::clone(&shared);
        // The thread ends when its outlet is dropped and the sink has taken, or refused, the rest.
        sandbox::spawn(Kind::Console, "outlet", move || writer.write_all(&mut *sink));
        Outlet { shared }
    }

    /// Leaves bytes to be written, or drops them whole. Never waits for the sink.
    pub fn push(&self, bytes: &[u8]) {
        let mut queue = self.shared.lock();
        if queue.missing > 0 || queue.waiting.len() + bytes.len() > self.shared.bytes_max {
            let count = self.shared.unit.count(bytes);
            queue.lost += count;
            queue.missing += count;
        } else {
            queue.waiting.extend_from_slice(bytes);
        }
        drop(queue);
        self.shared.filled.notify_one();
    }

    /// Lines or bytes lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Waits until the sink has had everything, at most for `patience`; `true`: it has.
    pub fn finish(&self, patience: Duration) -> bool {
        let busy = |queue: &mut Queue| queue.writing || queue.has_something();
        let (mut queue, _) = self
            .shared
            .emptied
            .wait_timeout_while(self.shared.lock(), patience, busy)
            .unwrap_or_else(PoisonError::into_inner);
        !busy(&mut queue)
    }
}

impl Drop for Outlet {
    /// Dropping does not wait: whoever wants the last words written calls [`Outlet::finish`] before.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
    }
}

impl Queue {
    fn has_something(&self) -> bool {
        !self.waiting.is_empty() || self.missing > 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The outlet's thread: writes what comes until the outlet is closed.
    fn write_all(&self, sink: &mut dyn Write) {
        let mut refuses = false;
        let mut torn = false;
        // Lines or bytes that are missing before the next batch.
        let mut missing = 0;
        while let Some(batch) = self.take() {
            let (refused, result) = self.write_batch(sink, &batch, &mut torn, &mut missing);
            let mut queue = self.lock();
            queue.writing = false;
            queue.lost += refused;
            drop(queue);
            if let Err(error) = &result
                && !refuses
            {
                tracing::warn!("{} cannot be written and is lost: {error}", self.name);
            }
            refuses = result.is_err();
            self.emptied.notify_all();
        }
    }

    /// Writes a batch, with a notice before and behind it if something is missing there. Gives how many lines
    /// or bytes of the batch the sink has refused. `torn`: does the output end within a line?
    fn write_batch(
        &self,
        sink: &mut dyn Write,
        batch: &Batch,
        torn: &mut bool,
        missing: &mut u64,
    ) -> (u64, io::Result<()>) {
        let mut head = Vec::new();
        if *torn {
            // A line that was written in part ends here: nothing shall look like its other half.
            head.push(b'\n');
        }
        if *missing > 0 {
            head.extend((self.notice)(*missing));
        }
        let (_, result) = write_some(sink, &head);
        if result.is_err() {
            let refused = self.unit.count(&batch.bytes);
            *missing += refused + batch.missing;
            return (refused, result);
        }
        (*torn, *missing) = (false, 0);
        let (written, mut result) = write_some(sink, &batch.bytes);
        let last = written.checked_sub(1).and_then(|last| batch.bytes.get(last));
        // Bytes that were written whole may end without a line feed: a line that will be rewritten.
        let is_part = self.unit == Unit::Lines && written < batch.bytes.len();
        *torn = is_part && last.is_some_and(|&last| last != b'\n');
        let refused = self.unit.count(batch.bytes.get(written..).unwrap_or_default());
        *missing = refused + batch.missing;
        if result.is_ok() && *missing > 0 {
            result = write_some(sink, &(self.notice)(*missing)).1;
            if result.is_ok() {
                *missing = 0;
            }
        }
        (refused, result)
    }

    /// Waits for bytes, or for the news of a loss; `None`: there will be neither any more.
    fn take(&self) -> Option<Batch> {
        let empty = |queue: &mut Queue| !queue.has_something() && !queue.closed;
        let mut queue = self
            .filled
            .wait_while(self.lock(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        queue.writing = queue.has_something();
        queue.writing.then(|| Batch {
            bytes: std::mem::take(&mut queue.waiting),
            missing: std::mem::take(&mut queue.missing),
        })
    }
}

/// Writes as much as the sink takes; gives the number of bytes written.
fn write_some(sink: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
    if bytes.is_empty() {
        return (0, Ok(()));
    }
    while let Some(rest) = bytes.get(written..).filter(|rest| !rest.is_empty()) {
        match sink.write(rest) {
            Ok(0) => return (written, Err(io::ErrorKind::WriteZero.into())),
            Ok(count) => written += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (written, Err(error)),
        }
    }
    (written, sink.flush())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader, Read};
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    /// A sink that does one `write` for each answer that the test gives, and says what it was given to write.
    struct Doll {
        answers: Receiver<io::Result<usize>>,
        given: SyncSender<Vec<u8>>,
    }

    impl Write for Doll {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.given.send(bytes.to_vec()).unwrap();
            self.answers.recv().unwrap()
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn notice() -> Notice {
        Box::new(|count| format!("{count} lost\n").into_bytes())
    }

    #[test]
    fn a_line_that_is_rewritten_stays_one_line() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::new("a pipe", Unit::Lines, 1 << 10, notice(), Box::new(writer));
        for text in ["\rone of two", "\rtwo of two", "\rdone\n"] {
            outlet.push(text.as_bytes());
            assert!(outlet.finish(Duration::MAX));
        }
        drop(outlet);
        let mut read = String::new();
        reader.read_to_string(&mut read).unwrap();
        assert_eq!(read, "\rone of two\rtwo of two\rdone\n");
    }

    #[test]
    fn a_full_pipe_holds_nobody_up_and_what_is_missing_is_told_at_its_place() {
        let (reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::new("a pipe", Unit::Lines, 8 << 10, notice(), Box::new(writer));
        let line = [&[b'x'; 99][..], b"\n"].concat();
        // These are far more lines than pipe and queue hold.
        for _ in 0..100_000 {
            outlet.push(&line);
        }
        let lost = outlet.lost();
        assert!(lost > 90_000, "{lost}");
        assert!(!outlet.finish(Duration::ZERO));
        // Nothing follows, and the loss is told all the same, once in the place of each gap.
        let (mut whole, mut told) = (0, 0);
        for line in BufReader::new(reader).lines().map(Result::unwrap) {
            match line.strip_suffix(" lost") {
                Some(count) => told += count.parse::<u64>().unwrap(),
                None => {
                    assert_eq!(line.len(), 99, "what was taken comes out whole");
                    whole += 1;
                }
            }
            if whole + told == 100_000 {
                break;
            }
        }
        assert_eq!((whole, told), (100_000 - lost, lost));
        assert!(outlet.finish(Duration::MAX));
    }

    #[test]
    fn what_found_no_room_is_missing_behind_what_did() {
        let ((answer, answers), (given, gifts)) = (sync_channel(9), sync_channel(9));
        let doll = Box::new(Doll { answers, given });
        let outlet = Outlet::new("a doll", Unit::Bytes, 8, notice(), doll);
        outlet.push(b"first");
        assert_eq!(gifts.recv().unwrap(), b"first");
        outlet.push(b"second");
        outlet.push(b"too long");
        // This would find room, but would stand before the gap.
        outlet.push(b"x");
        answer.send(Ok(5)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"second");
        answer.send(Ok(6)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"9 lost\n");
        outlet.push(b"third");
        answer.send(Ok(7)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"third");
        answer.send(Ok(5)).unwrap();
        assert!(outlet.finish(Duration::MAX));
        assert_eq!(outlet.lost(), 9);
    }

    #[test]
    fn what_a_sink_refuses_is_counted_and_a_torn_line_is_not_continued() {
        let ((answer, answers), (given, gifts)) = (sync_channel(9), sync_channel(9));
        let doll = Box::new(Doll { answers, given });
        let outlet = Outlet::new("a doll", Unit::Lines, 1 << 10, notice(), doll);
        outlet.push(b"one\n");
        assert_eq!(gifts.recv().unwrap(), b"one\n");
        outlet.push(b"two\nthree\n");
        // The sink fills up in the middle of the first line, as a disk does.
        answer.send(Ok(2)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"e\n");
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"\n1 lost\n", "the torn line ends here");
        answer.send(Ok(8)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"two\nthree\n");
        answer.send(Ok(10)).unwrap();
        assert!(outlet.finish(Duration::MAX));
        assert_eq!(outlet.lost(), 1);
    }

    #[test]
    fn the_end_waits_for_the_last_words() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::new("a pipe", Unit::Bytes, 1 << 20, notice(), Box::new(writer));
        outlet.push(b"last words");
        assert!(outlet.finish(Duration::MAX));
        drop(outlet);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
    }
}
