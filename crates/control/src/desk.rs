//! `Desk`: what stands between the guest's thread and the thread that talks to callers: requests on their way
//! to the one, answers on their way back, and the last lines of events. Neither holds its lock for longer
//! than it takes to put something there or to take it away.

use std::collections::VecDeque;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use os::wake::Waker;
use report::Reason;

use crate::limits::TYPED_MAX;
use crate::lines::Lines;
use crate::protocol::{Answer, Request};
use crate::request_id::RequestId;
use crate::tail::Tail;

/// Names a caller for as long as the process lives.
pub type CallerId = u64;

/// What stands between the guest's thread and the server's.
#[derive(Debug)]
pub struct Desk {
    pub vm: String,
    /// A number that this process has drawn at random.
    pub process: RequestId,
    pub lines: Lines,
    pub tail: Tail,
    queue: Mutex<Queue>,
    /// Calls the guest's thread.
    guest: Waker,
    /// Calls the server's thread.
    pub server: Waker,
    /// Signalled when the callers have all events.
    told: Condvar,
}

#[derive(Debug)]
struct Queue {
    /// Requests for the guest's thread; each caller has one at most.
    asked: VecDeque<(CallerId, Request)>,
    /// Its answers.
    answered: VecDeque<(CallerId, RequestId, Answer)>,
    /// Connections of callers who get a snapshot, for the guest's thread; each with its hook's wish.
    handed: VecDeque<(UnixStream, bool)>,
    /// What was typed at the console, in pieces, for the guest's thread.
    typed: VecDeque<Vec<u8>>,
    /// Is the guest shown to the world by another process now?
    has_left: bool,
    course: Course,
}

/// How far the process is.
#[derive(Clone, Debug)]
pub enum Course {
    /// It runs no guest yet, for this reason: the server answers alone.
    Before(Reason),
    /// The guest's thread answers.
    Runs,
    /// The guest has ended here, and so will the process: the server answers alone.
    Ending,
    /// The same, and the callers have all events.
    Ended,
}

impl Desk {
    /// A desk for a process of this VM that is so far; `guest` and `server` call the two threads.
    pub fn new(vm: String, course: Course, guest: Waker, server: Waker) -> Desk {
        Desk {
            vm,
            process: RequestId(os::entropy::random_u128()),
            lines: Lines::default(),
            tail: Tail::default(),
            queue: Mutex::new(Queue {
                asked: VecDeque::new(),
                answered: VecDeque::new(),
                handed: VecDeque::new(),
                typed: VecDeque::new(),
                has_left: false,
                course,
            }),
            guest,
            server,
            told: Condvar::new(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        // A panic aborts the process, so nobody ever sees a poisoned lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far the process is.
    pub fn course(&self) -> Course {
        self.queue().course.clone()
    }

    /// The process is so far from here on.
    pub fn enter(&self, course: Course) {
        self.queue().course = course;
        self.server.wake();
    }

    /// The next request for the guest's thread.
    pub fn asked(&self) -> Option<(CallerId, Request)> {
        self.queue().asked.pop_front()
    }

    /// Leaves an answer for a caller.
    pub fn answer(&self, caller: CallerId, id: RequestId, answer: Answer) {
        self.queue().answered.push_back((caller, id, answer));
        self.server.wake();
    }

    /// Waits until the callers have all events, at most for `patience`.
    pub fn finish(&self, patience: Duration) {
        let is_open = |queue: &mut Queue| !matches!(queue.course, Course::Ended);
        drop(self.told.wait_timeout_while(self.queue(), patience, is_open));
    }

    /// Gives a request to the guest's thread.
    pub fn ask(&self, caller: CallerId, request: Request) {
        self.queue().asked.push_back((caller, request));
        self.guest.wake();
    }

    /// Takes back what the guest's thread has not answered and never will, from this caller.
    pub fn forget(&self, caller: CallerId) {
        self.queue().asked.retain(|(asker, _)| *asker != caller);
    }

    /// The next answer of the guest's thread.
    pub fn answered(&self) -> Option<(CallerId, RequestId, Answer)> {
        self.queue().answered.pop_front()
    }

    /// Gives a caller's connection to the guest's thread, which has begun a snapshot for it.
    pub fn hand_over(&self, stream: UnixStream, hook: bool) {
        self.queue().handed.push_back((stream, hook));
        self.guest.wake();
    }

    /// The next connection on which a snapshot is to leave.
    pub fn handed(&self) -> Option<(UnixStream, bool)> {
        self.queue().handed.pop_front()
    }

    /// Gives the guest's thread what was typed; false: too much of it waits already. What is typed here after
    /// the guest has gone elsewhere is dropped.
    pub fn types(&self, bytes: &[u8]) -> bool {
        let mut queue = self.queue();
        if queue.has_left {
            return true;
        }
        let has_room = queue.typed.len() < TYPED_MAX;
        if has_room {
            queue.typed.push_back(bytes.to_vec());
            drop(queue);
            self.guest.wake();
        }
        has_room
    }

    /// Is something typed for which a guest with `room` bytes of room has room?
    pub fn has_typed(&self, room: usize) -> bool {
        let queue = self.queue();
        queue.typed.front().is_some_and(|bytes| bytes.len() <= room)
    }

    /// The next piece of what was typed, if a guest with `room` bytes of room takes it whole.
    pub fn typed(&self, room: usize) -> Option<Vec<u8>> {
        let mut queue = self.queue();
        let was_full = queue.typed.len() == TYPED_MAX;
        let typed = queue.typed.pop_front_if(|bytes| bytes.len() <= room);
        drop(queue);
        if was_full && typed.is_some() {
            // Somebody who types waits for that.
            self.server.wake();
        }
        typed
    }

    /// The guest is shown by this process from here on, and not before; or by another one, and nobody types
    /// here.
    pub fn is_live(&self, is_live: bool) {
        if is_live {
            // Whoever comes has seen, elsewhere, what this process had shown in an earlier epoch.
            self.tail.forget();
        }
        let mut queue = self.queue();
        queue.typed.clear();
        queue.has_left = !is_live;
        drop(queue);
        self.server.wake();
    }

    /// Is the guest shown by another process now?
    pub fn has_left(&self) -> bool {
        self.queue().has_left
    }

    /// All callers have all events, and the guest has ended.
    pub fn is_told(&self) {
        let mut queue = self.queue();
        if matches!(queue.course, Course::Ending) {
            queue.course = Course::Ended;
            self.told.notify_all();
        }
    }
}
