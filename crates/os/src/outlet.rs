//! `Outlet`: a writer that nobody waits for.
//!
//! A pipe whose reader sleeps, a terminal that was stopped with Ctrl-S, a FIFO or a dead file server hold up
//! whoever writes to them for as long as they like. The guest thread, for which a peer and clients wait,
//! writes to none of them: it leaves its bytes here, and a thread of the outlet's own writes them. Bytes that
//! find no room, or that the sink refuses, are dropped and counted, and never tried a second time.

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

/// A sink behind a thread and a bounded queue.
#[derive(Debug)]
pub struct Outlet {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// Name of the sink, for the one sentence that says that the sink refuses.
    name: String,
    unit: Unit,
    bytes_max: usize,
    queue: Mutex<Queue>,
    /// Signalled when the queue has got bytes, or was closed.
    filled: Condvar,
    /// Signalled when nothing waits and nothing is being written.
    emptied: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<u8>,
    /// Whether the thread has taken bytes that are not written yet.
    writing: bool,
    lost: u64,
    /// The part of `lost` that no [`Outlet::push_with_notice`] has told yet.
    untold: u64,
    closed: bool,
}

impl Queue {
    fn lose(&mut self, count: u64) {
        self.lost += count;
        self.untold += count;
    }
}

impl Outlet {
    /// An outlet to `sink`, in which at most `bytes_max` bytes wait while as many are being written. `name`
    /// says in messages what the sink is, such as "the console's output".
    #[must_use]
    pub fn new(name: &str, unit: Unit, bytes_max: usize, mut sink: Box<dyn Write + Send>) -> Outlet {
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            unit,
            bytes_max,
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
        self.put(self.shared.lock(), &[], bytes);
    }

    /// As [`Outlet::push`]. If output was lost since the last notice, and these bytes find room, a `notice`
    /// of the number lost goes before them.
    pub fn push_with_notice(&self, bytes: &[u8], notice: impl FnOnce(u64) -> Vec<u8>) {
        let mut queue = self.shared.lock();
        let untold = std::mem::take(&mut queue.untold);
        let notice = if untold == 0 { Vec::new() } else { notice(untold) };
        if let Some(mut queue) = self.put(queue, &notice, bytes) {
            queue.untold += untold;
        }
    }

    /// Adds bytes to the queue; gives the queue back if there is no room.
    fn put<'a>(
        &'a self,
        mut queue: MutexGuard<'a, Queue>,
        notice: &[u8],
        bytes: &[u8],
    ) -> Option<MutexGuard<'a, Queue>> {
        if queue.waiting.len() + notice.len() + bytes.len() > self.shared.bytes_max {
            queue.lose(self.shared.unit.count(bytes));
            return Some(queue);
        }
        queue.waiting.extend_from_slice(notice);
        queue.waiting.extend_from_slice(bytes);
        drop(queue);
        self.shared.filled.notify_one();
        None
    }

    /// Lines or bytes lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.shared.lock().lost
    }

    /// Waits until the sink has had everything, at most for `patience`; `true`: it has.
    pub fn finish(&self, patience: Duration) -> bool {
        let busy = |queue: &mut Queue| queue.writing || !queue.waiting.is_empty();
        let (queue, _) = self
            .shared
            .emptied
            .wait_timeout_while(self.shared.lock(), patience, busy)
            .unwrap_or_else(PoisonError::into_inner);
        queue.waiting.is_empty() && !queue.writing
    }
}

impl Drop for Outlet {
    /// Dropping does not wait: whoever wants the last words written calls [`Outlet::finish`] before.
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
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
        while let Some(bytes) = self.take() {
            let mut written = 0;
            // A line that was written in part ends here: nothing shall look like its other half.
            let mut result = if torn { sink.write_all(b"\n") } else { Ok(()) };
            if result.is_ok() {
                (written, result) = write_some(sink, &bytes);
                let last = written.checked_sub(1).and_then(|last| bytes.get(last));
                torn = self.unit == Unit::Lines && last.is_some_and(|&last| last != b'\n');
            }
            let rest = bytes.get(written..).unwrap_or_default();
            let mut queue = self.lock();
            queue.writing = false;
            queue.lose(self.unit.count(rest));
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

    /// Waits for bytes; `None`: there will be none any more.
    fn take(&self) -> Option<Vec<u8>> {
        let empty = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let mut queue = self
            .filled
            .wait_while(self.lock(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        let taken = std::mem::take(&mut queue.waiting);
        queue.writing = !taken.is_empty();
        (!taken.is_empty()).then_some(taken)
    }
}

/// Writes as much as the sink takes; gives the number of bytes written.
fn write_some(sink: &mut dyn Write, bytes: &[u8]) -> (usize, io::Result<()>) {
    let mut written = 0;
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

    #[test]
    fn a_full_pipe_holds_nobody_up_and_the_next_line_says_what_is_missing() {
        let (reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::new("a pipe", Unit::Lines, 8 << 10, Box::new(writer));
        let line = [&[b'x'; 99][..], b"\n"].concat();
        // These are far more lines than pipe and queue hold.
        for _ in 0..100_000 {
            outlet.push(&line);
        }
        let lost = outlet.lost();
        assert!(lost > 90_000, "{lost}");
        assert!(!outlet.finish(Duration::ZERO));
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        for _ in 0..100_000 - lost {
            assert_eq!(lines.next().unwrap().len(), 99, "what was taken comes out whole");
        }
        outlet.push_with_notice(&line, |count| format!("{count} lines lost\n").into_bytes());
        assert_eq!(lines.next().unwrap(), format!("{lost} lines lost"));
        assert_eq!(lines.next().unwrap().len(), 99);
        outlet.push_with_notice(b"end\n", |_| unreachable!("it was told already"));
        drop(outlet);
        assert_eq!(lines.next().unwrap(), "end");
        assert!(lines.next().is_none(), "the thread has ended");
    }

    #[test]
    fn what_a_sink_refuses_is_counted_and_a_torn_line_is_not_continued() {
        let ((answer, answers), (given, gifts)) = (sync_channel(9), sync_channel(9));
        let outlet = Outlet::new("a doll", Unit::Lines, 1 << 10, Box::new(Doll { answers, given }));
        outlet.push(b"one\n");
        assert_eq!(gifts.recv().unwrap(), b"one\n");
        outlet.push(b"two\nthree\n");
        // The sink fills up in the middle of the first line, as a disk does.
        answer.send(Ok(2)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"e\n");
        answer.send(Err(io::ErrorKind::StorageFull.into())).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"\n", "the torn line ends here");
        answer.send(Ok(1)).unwrap();
        assert_eq!(gifts.recv().unwrap(), b"two\nthree\n");
        answer.send(Ok(10)).unwrap();
        assert!(outlet.finish(Duration::MAX));
        assert_eq!(outlet.lost(), 1);
    }

    #[test]
    fn the_end_waits_for_the_last_words() {
        let (mut reader, writer) = std::io::pipe().unwrap();
        let outlet = Outlet::new("a pipe", Unit::Bytes, 1 << 20, Box::new(writer));
        outlet.push(b"last words");
        assert!(outlet.finish(Duration::MAX));
        drop(outlet);
        let mut all = String::new();
        reader.read_to_string(&mut all).unwrap();
        assert_eq!(all, "last words");
    }
}
