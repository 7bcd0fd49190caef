//! `Server`: the one thread that talks to all callers of a control socket. Nothing here waits for a single
//! caller: all sockets are non-blocking, and one `poll` waits for them together.
//!
//! A caller has one request at a time. What is sent behind it stays with the kernel until that one is
//! answered, so a caller that only sends, or never reads, costs what one connection costs. When there are too
//! many, the one that has been idle for longest gives way, so that a new caller always has its turn.

mod console;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use report::{Reason, StateWord};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{SocketFlags, accept_with};

use crate::caller::{Caller, Phase, Then};
use crate::desk::{CallerId, Course, Desk};
use crate::limits::{
    ACCEPTS_MAX, CALLERS_MAX, DEAF_FOR, FOLLOWERS_MAX, LOOK_EVERY, OUTPUT_LEN, REQUEST_LEN_MAX,
    STATUS_AGE_MAX, STATUS_PATIENCE,
};
use crate::place::Place;
use crate::protocol::{Answer, Request, Verb};
use crate::request_id::RequestId;
use crate::status::{Status, VERSION};

/// The server of a control socket.
pub struct Server {
    listener: UnixListener,
    desk: Arc<Desk>,
    callers: Vec<Caller>,
    /// The number of the next caller.
    next: CallerId,
    /// No caller is accepted before this time; `None`: they are.
    deaf_until: Option<Instant>,
    /// The last status, and when it was made.
    status: Option<(Instant, u64, Box<Status>)>,
}

impl Server {
    pub fn new(place: Place, desk: Arc<Desk>) -> Server {
        Server {
            listener: place.listener,
            desk,
            callers: Vec::new(),
            next: 0,
            deaf_until: None,
            status: None,
        }
    }

    /// Serves callers until the process ends.
    pub fn run(&mut self) {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(error) => {
                    tracing::warn!("`lockstep status` and its like do not reach this VM any more: {error}");
                    return;
                }
            };
            // What came meanwhile stands in the queues before it calls, so it is seen now or at the next
            // call.
            self.desk.server.clear();
            while let Some((caller, id, answer)) = self.desk.answered() {
                self.pass_on(caller, id, answer);
            }
            let now = Instant::now();
            for (at, flags) in ready.into_iter().enumerate() {
                self.serve(at, flags, now);
            }
            self.feed(now);
            self.hand_over();
            self.callers.retain(|caller| !matches!(caller.phase, Phase::Gone));
            if self.deaf_until.is_none_or(|until| until <= now) {
                self.deaf_until = None;
                self.accept(now);
            }
        }
    }

    /// Waits until something comes; gives what the kernel says of each caller.
    fn wait(&self) -> io::Result<Vec<PollFlags>> {
        let listens = match self.deaf_until {
            None => PollFlags::IN,
            Some(_) => PollFlags::empty(),
        };
        let mut fds = vec![
            PollFd::new(&self.desk.server, PollFlags::IN),
            PollFd::new(&self.listener, listens),
        ];
        fds.extend(self.callers.iter().map(|caller| {
            let mut wanted = PollFlags::empty();
            wanted.set(PollFlags::IN, caller.is_listened_to());
            wanted.set(PollFlags::OUT, !caller.output.is_empty());
            PollFd::new(&caller.stream, wanted)
        }));
        let timeout = match (self.deaf_until, self.callers.is_empty()) {
            (Some(_), _) => Some(DEAF_FOR),
            (None, false) => Some(LOOK_EVERY),
            (None, true) => None,
        };
        let timeout = timeout.map(|span: Duration| os::sys::clock::timespec(span.as_nanos() as u64));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(fds.iter().skip(2).map(PollFd::revents).collect())
    }

    /// Takes new callers.
    fn accept(&mut self, now: Instant) {
        for _ in 0..ACCEPTS_MAX {
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let stream = match accept_with(&self.listener, flags) {
                Ok(stream) => UnixStream::from(stream),
                Err(rustix::io::Errno::WOULDBLOCK) => return,
                Err(_) => {
                    self.deaf_until = Some(now + DEAF_FOR);
                    return;
                }
            };
            if self.callers.len() >= CALLERS_MAX && !self.send_an_idle_one_away() {
                continue;
            }
            self.callers.push(Caller {
                id: self.next,
                stream,
                input: Vec::new(),
                output: Vec::new(),
                phase: Phase::Idle,
                heard: now,
            });
            self.next += 1;
        }
    }

    /// Sends the caller away that has been idle for longest; false: all are served just now.
    fn send_an_idle_one_away(&mut self) -> bool {
        let idle = |(_, caller): &(usize, &Caller)| {
            !matches!(
                caller.phase,
                Phase::Waits { .. } | Phase::Reads { .. } | Phase::Passes(_) | Phase::Watches(_)
            )
        };
        let all = self.callers.iter().enumerate();
        let longest = all.filter(idle).min_by_key(|(_, caller)| caller.heard);
        let longest = longest.map(|(at, _)| at);
        longest.map(|at| self.callers.swap_remove(at)).is_some()
    }

    /// Does what one caller is ready for, and looks whether it is too slow.
    fn serve(&mut self, at: usize, flags: PollFlags, now: Instant) {
        let Some(caller) = self.callers.get_mut(at) else {
            return;
        };
        if flags.intersects(PollFlags::ERR | PollFlags::NVAL)
            // Who has only shut its own direction still reads; who has closed does not.
            || flags.contains(PollFlags::HUP) && !flags.contains(PollFlags::IN)
        {
            caller.phase = Phase::Gone;
        }
        if flags.contains(PollFlags::OUT) {
            caller.write(now);
        }
        if flags.contains(PollFlags::IN) && caller.is_listened_to() {
            caller.read(now);
        }
        // What was typed at the console is taken where that is shown.
        while self.callers.get(at).is_some_and(Caller::may_ask) && self.take_request(at, now) {}
        let Some(caller) = self.callers.get_mut(at) else {
            return;
        };
        if caller
            .owes()
            .is_some_and(|patience| now.duration_since(caller.heard) > patience)
        {
            caller.phase = Phase::Gone;
        }
        if let Phase::Waits {
            id,
            since,
            is_status: true,
            ..
        } = caller.phase
            && now.duration_since(since) > STATUS_PATIENCE
        {
            self.desk.forget(caller.id);
            let answer = Answer::failed("the VM's own thread has not answered for 2 s");
            caller.answer(id, answer);
        }
        if matches!(caller.phase, Phase::Gone) {
            let id = caller.id;
            self.desk.forget(id);
        }
    }

    /// Takes the next request of an idle caller; false: it is not there wholly.
    fn take_request(&mut self, at: usize, now: Instant) -> bool {
        let course = self.desk.course();
        let recent = self.recent_status(now);
        let follows = |caller: &&Caller| matches!(caller.phase, Phase::Reads { .. });
        let followers = self.callers.iter().filter(follows).count();
        let Some(caller) = self.callers.get_mut(at) else {
            return false;
        };
        let Some(end) = caller.input.iter().position(|&byte| byte == b'\n') else {
            if caller.input.len() > REQUEST_LEN_MAX {
                caller.refuse(format!(
                    "a request is one line of at most {REQUEST_LEN_MAX} bytes"
                ));
            }
            return false;
        };
        let request = caller.input.get(..end).unwrap_or_default();
        let request = serde_json::from_slice::<Request>(request);
        caller.input.drain(..=end);
        let Request { id, verb } = match request {
            Ok(request) => request,
            Err(error) => {
                caller.refuse(format!(
                    "this is no request: {error}; docs/control.md has all of them"
                ));
                return false;
            }
        };
        let answer = match (&course, &verb) {
            (_, Verb::Events { .. }) if followers >= FOLLOWERS_MAX => Answer::refused(
                "busy",
                format!("{FOLLOWERS_MAX} callers follow the events already"),
            ),
            (_, &Verb::Events { follow, after }) => {
                let next = self.desk.lines.first(after);
                caller.say(id, Answer::Events { first: next });
                caller.phase = match caller.phase {
                    Phase::Gone => Phase::Gone,
                    _ => Phase::Reads { next, follow },
                };
                return true;
            }
            (Course::Before(reason), Verb::Status) => status_only(&self.desk.vm, StateWord::Starting, reason),
            (Course::Before(reason), _) => {
                let sentence = format!("no guest runs here yet: {}; nothing was changed", reason.sentence);
                Answer::refused(&reason.code, sentence)
            }
            (Course::Ending | Course::Ended, Verb::Status) => {
                let reason = Reason::new("off", "the guest has ended here, and so does its process");
                status_only(&self.desk.vm, StateWord::Off, &reason)
            }
            (Course::Ending | Course::Ended, _) => {
                Answer::refused("off", "the guest has ended here already; nothing was changed")
            }
            (Course::Runs, Verb::Status) => match recent {
                Some(answer) => answer,
                None => return self.ask(at, Request { id, verb }, now),
            },
            (Course::Runs, _) => return self.ask(at, Request { id, verb }, now),
        };
        caller.answer(id, answer);
        true
    }

    /// Gives a caller's request to the guest's thread.
    fn ask(&mut self, at: usize, request: Request, now: Instant) -> bool {
        let Some(caller) = self.callers.get_mut(at) else {
            return false;
        };
        caller.phase = Phase::Waits {
            id: request.id,
            since: now,
            lines: self.desk.lines.next(),
            is_status: request.verb == Verb::Status,
            then: match &request.verb {
                Verb::Snapshot { hook } => Then::Snapshot(*hook),
                Verb::Console(wish) => Then::Console(wish.clone()),
                _ => Then::Nothing,
            },
        };
        self.desk.ask(caller.id, request);
        true
    }

    /// The last status, if it is young enough and nothing has happened since.
    fn recent_status(&self, now: Instant) -> Option<Answer> {
        let (made, lines, status) = self.status.as_ref()?;
        let age = now.duration_since(*made);
        (age <= STATUS_AGE_MAX && *lines == self.desk.lines.next()).then(|| {
            let mut status = status.clone();
            status.observed.age_ms = age.as_millis() as u64;
            Answer::Status { status }
        })
    }

    /// Passes an answer of the guest's thread on.
    fn pass_on(&mut self, caller: CallerId, id: RequestId, answer: Answer) {
        // What the last status says may have changed.
        self.status = None;
        // The caller may have gone, or may have heard that nobody answers.
        let Some(at) = self.callers.iter().position(|other| other.id == caller) else {
            return;
        };
        let Some(Phase::Waits {
            id: asked,
            lines,
            then,
            ..
        }) = self.callers.get(at).map(|caller| &caller.phase)
        else {
            return;
        };
        if *asked != id {
            return;
        }
        if let Answer::Status { status } = &answer {
            self.status = Some((Instant::now(), *lines, status.clone()));
        }
        let (answer, phase) = match (answer, then.clone()) {
            (answer @ Answer::Begun { .. }, Then::Snapshot(hook)) => (answer, Some(Phase::Passes(hook))),
            (Answer::Begun { .. }, Then::Console(wish)) => self.admit(&wish),
            (answer, _) => (answer, None),
        };
        if let Some(caller) = self.callers.get_mut(at) {
            caller.answer(id, answer);
            if let (Some(phase), Phase::Idle) = (phase, &caller.phase) {
                caller.phase = phase;
            }
        }
    }

    /// Gives the connections of callers who get a snapshot, and have their answer, to the guest's thread.
    fn hand_over(&mut self) {
        let passes =
            |caller: &mut Caller| matches!(caller.phase, Phase::Passes(_)) && caller.output.is_empty();
        for caller in self.callers.extract_if(.., passes) {
            if let Phase::Passes(hook) = caller.phase {
                self.desk.hand_over(caller.stream, hook);
            }
        }
    }

    /// Gives events to those who read them, and says so once all have had the last ones.
    fn feed(&mut self, now: Instant) {
        let is_over = matches!(self.desk.course(), Course::Ending);
        let mut all = true;
        for caller in &mut self.callers {
            while let Phase::Reads { next, follow } = caller.phase
                && caller.output.is_empty()
            {
                let (lost, after) = self.desk.lines.copy(next, OUTPUT_LEN, &mut caller.output);
                if lost > 0 {
                    let told = format!("{{\"event\":\"lines-lost\",\"lines\":{lost}}}\n");
                    caller.output.splice(0..0, told.into_bytes());
                }
                caller.phase = match (after == next && lost == 0, follow) {
                    (true, false) => Phase::Leaves,
                    _ => Phase::Reads { next: after, follow },
                };
                if caller.output.is_empty() {
                    break;
                }
                caller.write(now);
            }
            if matches!(caller.phase, Phase::Leaves) && caller.output.is_empty() {
                caller.phase = Phase::Gone;
            }
            all &= caller.output.is_empty();
        }
        all &= self.show_console(now);
        if is_over && all {
            self.desk.is_told();
        }
    }
}

/// The answer of a process that runs no guest.
fn status_only(vm: &str, state: StateWord, reason: &Reason) -> Answer {
    let mut status = Status::only(vm, std::process::id(), state, reason.clone());
    status.version = VERSION.into();
    Answer::Status {
        status: Box::new(status),
    }
}
