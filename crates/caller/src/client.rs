//! `Caller`: a program's end of a control socket, such as that of `lockstep status`. Every wait has a limit,
//! and what a VM sends has a bound: a process that is stopped, or is no VM, holds nobody up.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use os::entropy;
use report::{Reason, StateWord};
use rustix::event::{PollFd, PollFlags, poll};

use crate::limits::{ANSWER_LEN_MAX, ANSWER_READ_LEN, CALLS_MAX};
use control::Status;
use control::place;
use control::{Answer, Request, RequestId, Response, Verb, line};

/// Pause before a VM is called again that has too many callers just now.
const PAUSE: Duration = Duration::from_millis(20);

/// A process of this user on this host that runs a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Name of the VM.
    pub vm: String,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The process has ended.
    #[error("the process of {0} has ended")]
    Ended(String),
    /// It did not answer in time.
    #[error("the process of {0} does not answer")]
    Silent(String),
    /// What it says cannot be read.
    #[error(
        "the process of {vm} gives an answer that this program does not know ({why}); use the program of its \
             own release"
    )]
    Unknown {
        /// Name of the VM.
        vm: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The socket cannot be used.
    #[error("the process of {vm} cannot be called")]
    Socket {
        /// Name of the VM.
        vm: String,
        /// What the operating system said.
        source: io::Error,
    },
}

/// The processes in this user's `directory` that run the VM of this name, or any VM.
#[must_use]
pub fn find(directory: &Path, name: Option<&str>) -> Vec<Found> {
    let all = place::sockets(directory).into_iter();
    all.filter(|(vm, _)| name.is_none_or(|name| name == vm))
        .map(|(vm, path)| Found { vm, path })
        .collect()
}

/// How these processes' VMs are, for each of them that has not ended meanwhile; asked beside each other, so
/// that one that does not answer holds up few others.
///
/// # Errors
/// What one of them says cannot be read.
pub fn statuses(found: &[Found], patience: Duration) -> Result<Vec<Status>, CallError> {
    let mut all = Vec::new();
    for some in found.chunks(CALLS_MAX) {
        let asked: Vec<_> = std::thread::scope(|scope| {
            let calls = some
                .iter()
                .map(|process| scope.spawn(|| process.status(patience)));
            let calls: Vec<_> = calls.collect();
            // A panic aborts the process, so nobody ever joins a thread that has panicked.
            calls.into_iter().filter_map(|call| call.join().ok()).collect()
        });
        for status in asked {
            all.extend(status?);
        }
    }
    Ok(all)
}

/// A connection to a VM's process.
#[derive(Debug)]
pub struct Caller {
    pub(crate) vm: String,
    stream: UnixStream,
    /// What was read and not taken.
    input: Vec<u8>,
}

impl Found {
    /// Connects to the process's control socket, for somebody who passes bytes on. The connection does not
    /// block.
    ///
    /// # Errors
    /// The process has ended, or has too many callers just now.
    pub fn connect(&self) -> io::Result<UnixStream> {
        place::call(&self.path).map(UnixStream::from)
    }

    /// Calls the process, and tries again for `patience` while too many others do.
    ///
    /// # Errors
    /// It has ended, or takes no more callers.
    pub fn call(&self, patience: Duration) -> Result<Caller, CallError> {
        let until = Instant::now() + patience;
        let vm = self.vm.clone();
        loop {
            match place::call(&self.path) {
                Ok(stream) => {
                    return Ok(Caller {
                        vm,
                        stream: stream.into(),
                        input: Vec::new(),
                    });
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock if Instant::now() < until => std::thread::sleep(PAUSE),
                    io::ErrorKind::WouldBlock => return Err(CallError::Silent(vm)),
                    io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => {
                        return Err(CallError::Ended(vm));
                    }
                    _ => return Err(CallError::Socket { vm, source: error }),
                },
            }
        }
    }

    /// Asks one question on a connection of its own. A VM with too many callers may hang up before it has
    /// heard the question; then it is asked again, with the same number.
    ///
    /// # Errors
    /// There is no answer within `patience`.
    pub fn ask(&self, verb: &Verb, patience: Duration) -> Result<Answer, CallError> {
        self.ask_once(RequestId(entropy::random_u128()), verb, patience)
    }

    /// The same under a number of the caller's: what was asked under it before is answered and not done
    /// again, as long as the process remembers it.
    ///
    /// # Errors
    /// There is no answer within `patience`.
    pub fn ask_once(&self, id: RequestId, verb: &Verb, patience: Duration) -> Result<Answer, CallError> {
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.call(left)?.ask_as(id, verb, left) {
                Err(CallError::Ended(_)) if Instant::now() < until => std::thread::sleep(PAUSE),
                other => return other,
            }
        }
    }

    /// Waits until the process has ended; false: it has not by then.
    ///
    /// # Errors
    /// The socket cannot be used.
    pub fn await_end(&self, until: Instant) -> Result<bool, CallError> {
        // The kernel closes the connection when the process ends. A process with too many callers may have
        // closed it, too, so it is called again.
        while Instant::now() < until {
            match self.call(until.saturating_duration_since(Instant::now())) {
                Ok(mut caller) => {
                    while let Ok(None) = caller.line(until)
                        && Instant::now() < until
                    {}
                }
                Err(CallError::Ended(_)) => return Ok(true),
                Err(CallError::Silent(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// How the VM is, as its process says or as far as can be told without it; `None`: the process has ended.
    ///
    /// # Errors
    /// What it says cannot be read.
    pub fn status(&self, patience: Duration) -> Result<Option<Status>, CallError> {
        let unknown = |sentence: String| {
            let reason = Reason::new("no-answer", sentence);
            Ok(Some(Status::only(&self.vm, 0, StateWord::Unknown, reason)))
        };
        match self.ask(&Verb::Status, patience) {
            Ok(Answer::Status { status }) => Ok(Some(*status)),
            Ok(Answer::Failed { sentence } | Answer::Refused { sentence, .. }) => unknown(sentence),
            Ok(_) => unknown("it answers another question".into()),
            Err(CallError::Ended(_)) => Ok(None),
            Err(error @ CallError::Silent(_)) => unknown(format!(
                "{error}, and may be stopped or very busy; the VM itself may run elsewhere"
            )),
            Err(error) => Err(error),
        }
    }
}

impl Caller {
    /// A connection to the process of the VM of this name that leads through others, who have asked already,
    /// under number 0. The connection does not block.
    #[must_use]
    pub fn over(vm: &str, stream: UnixStream) -> Caller {
        Caller {
            vm: vm.to_owned(),
            stream,
            input: Vec::new(),
        }
    }

    /// The connection, for whoever waits for it or writes to it without waiting.
    pub(crate) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    /// Asks, and waits for the answer for at most `patience`.
    ///
    /// # Errors
    /// There is no answer.
    pub fn ask(&mut self, verb: &Verb, patience: Duration) -> Result<Answer, CallError> {
        self.ask_as(RequestId(entropy::random_u128()), verb, patience)
    }

    fn ask_as(&mut self, id: RequestId, verb: &Verb, patience: Duration) -> Result<Answer, CallError> {
        let verb = verb.clone();
        // A request is shorter than what any socket takes at once.
        match self.stream.write_all(&line(&Request { id, verb })) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            other => other.map_err(|source| self.socket(source))?,
        }
        self.answer(id, patience)
    }

    /// Waits for the answer to the request of this number for at most `patience`.
    ///
    /// # Errors
    /// There is no answer.
    pub fn answer(&mut self, id: RequestId, patience: Duration) -> Result<Answer, CallError> {
        let until = Instant::now() + patience;
        while let Some(text) = self.line(until)? {
            let response = serde_json::from_slice::<Response>(&text);
            let response = response.map_err(|error| CallError::Unknown {
                vm: self.vm.clone(),
                why: error.to_string(),
            })?;
            // What could not be read has no number.
            if response.id == id || response.id == RequestId::default() {
                return Ok(response.answer);
            }
        }
        Err(CallError::Silent(self.vm.clone()))
    }

    /// The next line, without its line feed; `None`: none has come by then.
    ///
    /// # Errors
    /// The process has ended, or has hung up.
    pub fn line(&mut self, until: Instant) -> Result<Option<Vec<u8>>, CallError> {
        loop {
            if let Some(end) = self.input.iter().position(|&byte| byte == b'\n') {
                let mut text: Vec<u8> = self.input.drain(..=end).collect();
                text.pop();
                return Ok(Some(text));
            }
            if self.input.len() > ANSWER_LEN_MAX {
                let why = "it is too long".into();
                let vm = self.vm.clone();
                return Err(CallError::Unknown { vm, why });
            }
            if !self.read(until)? {
                return Ok(None);
            }
        }
    }

    /// The next bytes, exactly so many, which stand behind a line that says so; `None`: they have not all
    /// come by then.
    ///
    /// # Errors
    /// The process has ended, or has hung up; or it would send more than [`ANSWER_LEN_MAX`] at once.
    pub fn bytes(&mut self, length: u64, until: Instant) -> Result<Option<Vec<u8>>, CallError> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > ANSWER_LEN_MAX {
            let (vm, why) = (self.vm.clone(), "it sends too much at once".into());
            return Err(CallError::Unknown { vm, why });
        }
        while self.input.len() < length {
            if !self.read(until)? {
                return Ok(None);
            }
        }
        Ok(Some(self.input.drain(..length).collect()))
    }

    /// Sends a line behind a request.
    ///
    /// # Errors
    /// The process has ended, or has hung up.
    pub fn send(&mut self, line: &[u8]) -> Result<(), CallError> {
        let ended = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
        match self.stream.write_all(line) {
            Err(error) if ended(&error) => Err(CallError::Ended(self.vm.clone())),
            other => other.map_err(|source| self.socket(source)),
        }
    }

    /// Reads what comes until then; false: nothing has, or a signal came.
    fn read(&mut self, until: Instant) -> Result<bool, CallError> {
        let mut buffer = [0; ANSWER_READ_LEN];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(CallError::Ended(self.vm.clone())),
                Ok(length) => {
                    self.input
                        .extend_from_slice(buffer.get(..length).unwrap_or_default());
                    return Ok(true);
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(CallError::Ended(self.vm.clone()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
                Err(source) => return Err(self.socket(source)),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            let left = os::sys::clock::timespec(u64::try_from(left.as_nanos()).unwrap_or(u64::MAX));
            match poll(&mut [PollFd::new(&self.stream, PollFlags::IN)], Some(&left)) {
                Ok(_) => {}
                // The program has got a signal, and may want to look at it.
                Err(rustix::io::Errno::INTR) => return Ok(false),
                Err(error) => return Err(self.socket(error.into())),
            }
        }
    }

    fn socket(&self, source: io::Error) -> CallError {
        let vm = self.vm.clone();
        CallError::Socket { vm, source }
    }
}
