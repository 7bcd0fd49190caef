//! `LogFile`: the log of a recording, written by a thread of its own, so that the guest does not wait for the
//! file system. `World` appends what the node's `Action::Append` says.
//!
//! A full queue makes the guest wait, and a failure ends the replica: bytes are never left out of a
//! recording.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use replica::Parcel;

use crate::limits::{LOG_BACKLOG_MAX, LOG_WRITE_LEN, LOG_WRITE_WITHIN};
use os::sandbox::{self, Kind};

/// The log cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The file takes nothing, or nothing any more.
    #[error("cannot write the log {path}; free some space or choose another place, and record again")]
    File {
        /// Path of the log.
        path: PathBuf,
        /// What the operating system said of the file.
        source: Arc<io::Error>,
    },
    /// The host gives no thread to write it.
    #[error("cannot start the thread that writes the log; end some other program, and record again")]
    Thread(#[source] io::Error),
}

/// A log file that is being written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    /// Notified when the queue has got something, or was closed: the writer waits for it.
    filled: Condvar,
    /// Notified when the queue has lost something, or writing has failed: the guest thread waits for it.
    emptied: Condvar,
}

/// What waits to be written.
#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Parcel>,
    /// Bytes of `waiting` and of what is being written.
    bytes: usize,
    /// The first failure to write; nothing is written after it.
    failure: Option<Arc<io::Error>>,
    /// Will nothing be appended any more? The writer ends once the queue is empty.
    closed: bool,
}

/// A log file that is made, and whose thread is not started yet: it is made before the sandbox is entered,
/// and no thread may run before that.
#[derive(Debug)]
pub struct FreshLog {
    path: PathBuf,
    file: File,
}

impl FreshLog {
    /// Starts the thread that writes the file.
    ///
    /// # Errors
    /// The host gives no thread.
    pub fn start(self) -> Result<LogFile, LogError> {
        LogFile::new(&self.path, Box::new(self.file)).map_err(LogError::Thread)
    }
}

impl LogFile {
    /// Makes the file, or empties an old one.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn make(path: &Path) -> Result<FreshLog, LogError> {
        match File::create(path) {
            Ok(file) => Ok(FreshLog {
                path: path.into(),
                file,
            }),
            Err(source) => Err(LogError::File {
                path: path.into(),
                source: Arc::new(source),
            }),
        }
    }

    fn new(path: &Path, mut sink: Box<dyn Write + Send>) -> io::Result<LogFile> {
        let shared = Arc::new(Shared::default());
        let writer = Arc::clone(&shared);
        let thread = sandbox::try_spawn(Kind::Log, "log", move || writer.write(&mut *sink))?;
        Ok(LogFile {
            path: path.into(),
            shared,
            thread: Some(thread),
        })
    }

    /// Adds bytes, without waiting for the file unless [`LOG_BACKLOG_MAX`] is reached. They are written
    /// within [`LOG_WRITE_WITHIN`].
    ///
    /// # Errors
    /// Writing has failed, now or before.
    pub fn append(&self, bytes: Parcel) -> Result<(), LogError> {
        let mut queue = self.room(LOG_BACKLOG_MAX)?;
        let before = queue.bytes;
        queue.bytes += bytes.len();
        // Waking a thread costs as much as writing a little.
        let wake = queue.waiting.is_empty() || before < LOG_WRITE_LEN && queue.bytes >= LOG_WRITE_LEN;
        queue.waiting.push_back(bytes);
        drop(queue);
        if wake {
            self.shared.filled.notify_one();
        }
        Ok(())
    }

    /// Waits until the kernel has all that was appended.
    ///
    /// # Errors
    /// Writing has failed, now or before.
    pub fn finish(&self) -> Result<(), LogError> {
        self.room(0).map(drop)
    }

    /// The queue, as soon as no more than `bytes` bytes wait to be written.
    fn room(&self, bytes: usize) -> Result<MutexGuard<'_, Queue>, LogError> {
        let full = |queue: &mut Queue| queue.bytes > bytes && queue.failure.is_none();
        let queue = self
            .shared
            .emptied
            .wait_while(self.shared.lock(), full)
            .unwrap_or_else(PoisonError::into_inner);
        match &queue.failure {
            None => Ok(queue),
            Some(source) => Err(LogError::File {
                path: self.path.clone(),
                source: Arc::clone(source),
            }),
        }
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.filled.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes, until the queue is closed or writing fails.
    fn write(&self, sink: &mut dyn Write) {
        while let Some(all) = self.take() {
            for bytes in all {
                let result = sink.write_all(&bytes);
                let mut queue = self.lock();
                queue.bytes -= bytes.len();
                queue.failure = result.err().map(Arc::new);
                let over = queue.failure.is_some();
                drop(queue);
                self.emptied.notify_one();
                if over {
                    return;
                }
            }
        }
    }

    /// Waits until there is something to write, and then at most [`LOG_WRITE_WITHIN`] for more; `None`:
    /// nothing will come any more.
    fn take(&self) -> Option<VecDeque<Parcel>> {
        let empty = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let little = |queue: &mut Queue| queue.bytes < LOG_WRITE_LEN && !queue.closed;
        let queue = self
            .filled
            .wait_while(self.lock(), empty)
            .unwrap_or_else(PoisonError::into_inner);
        let (mut queue, _) = self
            .filled
            .wait_timeout_while(queue, LOG_WRITE_WITHIN, little)
            .unwrap_or_else(PoisonError::into_inner);
        let all = std::mem::take(&mut queue.waiting);
        (!all.is_empty()).then_some(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Takes a buffer each time it is allowed to.
    struct Gated {
        allowed: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Gated {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let closed = |_| io::Error::from(io::ErrorKind::StorageFull);
            self.allowed.recv().map_err(closed)?;
            self.taken.send(bytes.to_vec()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn gated() -> (LogFile, Sender<()>, Receiver<Vec<u8>>) {
        let (allow, allowed) = channel();
        let (taken, written) = channel();
        let log = LogFile::new(Path::new("log"), Box::new(Gated { allowed, taken })).unwrap();
        (log, allow, written)
    }

    #[test]
    fn what_is_appended_is_written_in_order() {
        let (log, allow, written) = gated();
        for byte in 0..100 {
            log.append(vec![byte; 3].into()).unwrap();
        }
        (0..100).for_each(|_| allow.send(()).unwrap());
        log.finish().unwrap();
        drop(log);
        let all: Vec<_> = written.iter().collect();
        assert_eq!(all, (0..100).map(|byte| vec![byte; 3]).collect::<Vec<_>>());
    }

    #[test]
    fn a_slow_file_holds_the_guest_up_when_too_much_waits() {
        let (log, allow, written) = gated();
        log.append(vec![0; LOG_BACKLOG_MAX].into()).unwrap();
        log.append(vec![1; 1].into()).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..3).for_each(|_| allow.send(()).unwrap()));
            log.append(vec![2; 1].into()).unwrap();
            assert!(
                written.try_recv().is_ok(),
                "it waited for the first to be written"
            );
        });
        log.finish().unwrap();
        assert_eq!(written.iter().take(2).last(), Some(vec![2]));
    }

    #[test]
    fn a_failure_is_told_whatever_is_asked_next() {
        let (log, allow, _written) = gated();
        log.append(vec![0].into()).unwrap();
        drop(allow);
        for error in [log.finish(), log.append(vec![1].into()), log.finish()] {
            assert!(
                error
                    .unwrap_err()
                    .to_string()
                    .contains("cannot write the log log")
            );
        }
    }
}
