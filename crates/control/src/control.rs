//! `Control`: the VM's end of its control socket, as the guest thread has it. It takes whole requests from a
//! queue and leaves its answers there; the server's thread does everything that could wait for a caller.
//!
//! A request that has changed something and comes again, with the same number, gets the answer that it got
//! before; one that was refused is looked at anew. Dropping a `Control` waits a little until the callers have
//! the last events, but the socket stays open until the process has ended: a caller that sees it closed knows
//! that the VM can be started again.

use std::collections::VecDeque;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use os::limits::LAST_WORDS_PATIENCE;
use os::sandbox::{self, Kind};
use os::wake::Waker;
use report::{Listener, Reason};

use crate::desk::{CallerId, Course, Desk};
use crate::limits::ANSWERS_MAX;
use crate::place::Place;
use crate::protocol::{Answer, Request, Verb};
use crate::request_id::RequestId;
use crate::server::Server;

/// The VM's end of its control socket.
#[derive(Debug)]
pub struct Control {
    desk: Arc<Desk>,
    /// The last requests that changed something, with their answers, the oldest first.
    remembered: VecDeque<(RequestId, Verb, Answer)>,
}

/// A request that waits for its answer.
#[derive(Debug)]
pub struct Asked {
    caller: CallerId,
    id: RequestId,
    /// What is to be done.
    pub verb: Verb,
}

impl Control {
    /// Has a thread answer at this `place`. Until [`Control::begins`] the answer is that the VM does not run
    /// yet, for this `reason`. `guest` calls the guest thread when there are requests.
    ///
    /// # Errors
    /// This process gets no more descriptors.
    pub fn start(place: Place, guest: Waker, reason: Reason) -> io::Result<Control> {
        let desk = Desk::new(place.vm.clone(), Course::Before(reason), guest, Waker::new()?);
        let desk = Arc::new(desk);
        let mut server = Server::new(place, Arc::clone(&desk));
        sandbox::try_spawn(Kind::Control, "control", move || server.run())?;
        Ok(Control {
            desk,
            remembered: VecDeque::new(),
        })
    }

    /// The guest's thread answers from here on.
    pub fn begins(&self) {
        self.desk.enter(Course::Runs);
    }

    /// What keeps a line of events for callers, and gives it to those who follow.
    #[must_use]
    pub fn tap(&self) -> Listener {
        let desk = Arc::clone(&self.desk);
        Box::new(move |line| {
            desk.lines.push(line);
            desk.server.wake();
        })
    }

    /// The number of the next line of events.
    #[must_use]
    pub fn next_line(&self) -> u64 {
        self.desk.lines.next()
    }

    /// Takes the next request. One that comes again is answered here.
    pub fn request(&mut self) -> Option<Asked> {
        loop {
            let (caller, Request { id, verb }) = self.desk.asked()?;
            let asked = Asked { caller, id, verb };
            let before = self.remembered.iter().find(|(number, ..)| *number == id);
            let Some((_, verb, answer)) = before.filter(|_| asked.verb.changes()) else {
                return Some(asked);
            };
            let answer = if *verb == asked.verb {
                answer.clone()
            } else {
                Answer::failed("another request had this `id`; draw a new one at random for each request")
            };
            self.reply(&asked, answer);
        }
    }

    /// The next connection on which a snapshot is to leave, since its request was answered with
    /// [`Answer::Begun`]; and whether the caller keeps the guest's disks along with it. It does not block.
    pub fn handed(&mut self) -> Option<(UnixStream, bool)> {
        self.desk.handed()
    }

    /// The guest has written this to its console.
    pub fn shows(&self, bytes: &[u8]) {
        if self.desk.tail.push(bytes) {
            self.desk.server.wake();
        }
    }

    /// Does this process show the guest to the world from here on? If not, whoever is at its console is sent
    /// to look for the one that does.
    pub fn is_live(&self, is_live: bool) {
        self.desk.is_live(is_live);
    }

    /// Was something typed at the console for which a guest with `room` bytes of room has room?
    #[must_use]
    pub fn has_typed(&self, room: usize) -> bool {
        self.desk.has_typed(room)
    }

    /// The next that was typed at the console, if a guest with `room` bytes of room takes it whole.
    #[must_use]
    pub fn typed(&self, room: usize) -> Option<Vec<u8>> {
        self.desk.typed(room)
    }

    /// Answers a request.
    pub fn answer(&mut self, asked: Asked, answer: Answer) {
        self.reply(&asked, answer.clone());
        // What has changed nothing may be asked for again under the same number.
        let is_in_vain = matches!(answer, Answer::Refused { .. } | Answer::Failed { .. });
        if asked.verb.changes() && !is_in_vain {
            if self.remembered.len() == ANSWERS_MAX {
                self.remembered.pop_front();
            }
            self.remembered.push_back((asked.id, asked.verb, answer));
        }
    }

    fn reply(&self, asked: &Asked, answer: Answer) {
        self.desk.answer(asked.caller, asked.id, answer);
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.desk.enter(Course::Ending);
        // A caller that does not take the last events in time does not want them.
        self.desk.finish(LAST_WORDS_PATIENCE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_not_done_twice_and_what_was_refused_may_be_asked_for_again() {
        let wakers = [Waker::new().unwrap(), Waker::new().unwrap()];
        let [guest, server] = wakers;
        let desk = Arc::new(Desk::new("web".into(), Course::Ended, guest, server));
        let mut control = Control {
            desk: Arc::clone(&desk),
            remembered: VecDeque::new(),
        };
        let id = RequestId(7);
        let ask = || {
            let verb = Verb::Reset;
            desk.ask(1, Request { id, verb });
        };
        for answer in [
            Answer::refused("paused", "it is paused"),
            Answer::failed("it cannot be done"),
            Answer::Begun { events: 3 },
        ] {
            ask();
            let asked = control.request().unwrap();
            control.answer(asked, answer.clone());
            assert_eq!(desk.answered(), Some((1, id, answer)));
        }
        ask();
        assert!(control.request().is_none(), "it is done");
        assert_eq!(desk.answered(), Some((1, id, Answer::Begun { events: 3 })));
    }
}
