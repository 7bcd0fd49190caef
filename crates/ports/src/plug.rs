//! `Plug`: the guest's side of a gateway: frames on a byte stream to another process, which outlives this
//! one.
//!
//! When the gateway goes away the cable is out: frames are dropped and a thread tries to plug it in again
//! (`dial`). While a new primary's first try is under way frames wait: what a replica shows as it goes live
//! is what a client waits for. The guest thread itself never waits for the gateway.
//!
//! ```text
//!            connected                      no answer for GATEWAY_SUSPECT        none for GATEWAY_GONE
//!   out  ------------------>  in, answers  ----------------------------->  mute  --------------------> out
//!    `- a thread dials            ^-------------------------------------------'- a thread dials beside
//!                                     an answer, or a new connection
//! ```
//! With a key the gateway is asked every [`PORTS_LOOK_EVERY`], or more often, whether it is there. So a cut
//! is noticed long before TCP reports it, and a quiet replica, whose connection only probes, knows whether
//! its way to the gateway is well. When it goes live it tells the gateway so on the connection that it has.
//! Without a key there is no probe: a plain connection may be the only one that the other end takes.
//!
//! An answer says that everything sent before the question has arrived. What was sent since is kept, and goes
//! out again on a new connection: the guest's own TCP would wait for its timer to send it once more. A frame
//! that arrives twice is nothing new to a network.

use std::os::fd::{AsFd, BorrowedFd};

use replica::{Epoch, Span, Time};
use rustix::event::{PollFd, PollFlags, poll};

pub use crate::dial::Endpoint;
use crate::dial::{Connection, DialError, Dialer};
use crate::dialing::{Dialing, News};
use crate::lead::Lead;
use crate::limits::{
    GATEWAY_BACKLOG_MAX, GATEWAY_GONE, GATEWAY_KEPT_FOR, GATEWAY_KEPT_MAX, GATEWAY_SUSPECT,
    GATEWAY_THREAD_PAUSE, PORTS_LOOK_EVERY,
};
use cable::mac::{Notices, is_for_vmms};
use cable::stream::{FrameReader, Item, Word, write_frame};
use cable::wire::{Received, Wire};
use link::Security;
use os::sys::clock;
use os::wake::Waker;

/// What is known of a cable that is in.
#[derive(Debug)]
struct In {
    /// The connection, with its encryption if there is a key.
    wire: Wire<Connection>,
    /// When the gateway was asked whether it is there and has not answered; `None`: it owes no answer.
    asked: Option<Time>,
    /// When to ask the gateway next, if it owes no answer.
    ask: Time,
    /// When the gateway answered last, or was connected.
    answered: Time,
    /// How many bytes of [`Plug::kept`] were sent before the question: the answer will say that they have
    /// arrived.
    before: usize,
}

/// A cable to a gateway, plugged in or not.
#[derive(Debug)]
pub struct Plug {
    pub(crate) endpoint: Endpoint,
    security: Security,
    waker: Waker,
    /// How often the gateway is asked whether it is there.
    ask_every: Span,
    /// The cable; `None`: it is out.
    cable: Option<In>,
    /// The thread that tries to plug the cable in, or to find a better connection beside a mute one.
    dialing: Option<Dialing>,
    /// By which epoch this replica shows the guest; `None`: it is quiet.
    live: Option<Epoch>,
    /// Is the first try of a new primary under way? Frames wait for it.
    first_try: bool,
    /// Frames with their lengths that the next connection gets first: those that wait for the first try, and
    /// those whose arrival no answer has confirmed.
    kept: Vec<u8>,
    /// Since when the cable has been out; `None`: it is in, or nobody has missed it yet.
    out: Option<Time>,
    /// The last reason for a cut that the operator was told, so that each is told once.
    told: Option<String>,
    /// What the gateway has said to this VMM.
    notices: Notices,
    /// Did the last reading stop before the connection was empty?
    unread: bool,
    /// When to try again to start the thread that dials; `None`: the host did not lack one.
    dial_again: Option<Time>,
}

impl Plug {
    /// A cable that is out.
    #[must_use]
    pub fn new(endpoint: Endpoint, security: Security, waker: Waker) -> Plug {
        Plug {
            endpoint,
            security,
            waker,
            ask_every: PORTS_LOOK_EVERY,
            cable: None,
            dialing: None,
            live: None,
            first_try: false,
            kept: Vec::new(),
            out: None,
            told: None,
            notices: Notices::default(),
            unread: false,
            dial_again: None,
        }
    }

    /// Plugs the cable in and waits for that: only at the start, to see that the gateway is there.
    ///
    /// # Errors
    /// Nobody listens, or it is no gateway for this VM.
    pub fn connect_now(&mut self) -> Result<(), DialError> {
        let mut dialer = Dialer::new(self.endpoint.clone(), self.security.clone());
        loop {
            if let Some(wire) = dialer.step()? {
                self.plug_in(wire);
                return Ok(());
            }
        }
    }

    /// Keeps a connection that only shows whether the way to the gateway is well, if there is a key.
    pub fn probe(&mut self) {
        if self.security != Security::Insecure {
            self.dial();
        }
    }

    /// This replica shows the guest no more, as another one does: its connection for that ends.
    pub fn stand_by(&mut self) {
        let every = self.ask_every;
        *self = Plug::new(self.endpoint.clone(), self.security.clone(), self.waker.clone());
        self.ask_every = every;
        self.probe();
    }

    /// This replica shows the guest from here on. Frames wait for the first try to reach the gateway.
    pub fn go_live(&mut self, epoch: Epoch) {
        self.live = Some(epoch);
        if self.is_answered(clock::now())
            && let Some(cable) = &mut self.cable
        {
            cable.wire.say(Word::Live { epoch: epoch.0 });
            return;
        }
        // What a mute connection is given would be lost with it.
        self.cable = None;
        // How long a probe's cable was out, and that its tries failed, says nothing about the frames from
        // here on.
        self.out = None;
        self.kept.clear();
        self.dialing = None;
        self.first_try = true;
        self.dial();
    }

    /// Takes the news of the thread that dials. True: the cable has been plugged in, and [`Plug::fd`] is new.
    pub fn on_wake(&mut self) -> bool {
        while let Some(dialing) = &self.dialing
            && let Some(news) = dialing.news()
        {
            match news {
                News::Failed(error) => {
                    if std::mem::take(&mut self.first_try) {
                        self.kept.clear();
                    }
                    self.tell(&error.to_string());
                }
                News::Connected(wire) => {
                    self.dialing = None;
                    // If the old connection answers again it stays: what is on its way there would be lost
                    // with it.
                    if !self.is_answered(clock::now()) {
                        tracing::info!("connected to the gateway at {}", self.endpoint);
                        self.plug_in(wire);
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Asks the gateway, if it is time, whether it is there; gives a connection up on which it owes the
    /// answer for too long.
    pub fn on_time(&mut self, now: Time) {
        if self.dial_again.is_some_and(|at| at <= now) {
            self.dial();
        }
        let Some(cable) = &mut self.cable else { return };
        if !cable.wire.is_keyed() {
            // Without a key the gateway cannot be asked: a connection counts as well until the kernel says
            // that it is gone.
            if cable.ask <= now {
                cable.ask = now.after(self.ask_every);
                cable.answered = now;
            }
            return;
        }
        if cable.asked.is_none() && cable.ask <= now {
            cable.ask = now.after(self.ask_every);
            cable.asked = Some(now);
            cable.before = self.kept.len();
            cable.wire.say(Word::Ping);
            self.flush();
        }
        let Some(silence) = self.silence(now) else { return };
        if silence >= GATEWAY_GONE {
            self.unplugged("it does not answer");
        } else if silence >= GATEWAY_SUSPECT && self.dial_again.is_none() {
            self.dial();
        }
    }

    /// When [`Plug::on_time`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let of_cable = self.cable.as_ref().map(|cable| match cable.asked {
            None => cable.ask,
            Some(asked) if self.dialing.is_none() && self.dial_again.is_none() => {
                asked.after(GATEWAY_SUSPECT)
            }
            Some(asked) => asked.after(GATEWAY_GONE),
        });
        of_cable.into_iter().chain(self.dial_again).min()
    }

    /// Says how often to ask the gateway whether it is there.
    pub fn ask_every(&mut self, every: Span) {
        self.ask_every = every;
    }

    /// Does the gateway answer? Without a key: is there a connection? A quiet replica without a key does not
    /// know.
    #[must_use]
    pub fn lead(&self, now: Time) -> Lead {
        match &self.cable {
            _ if self.live.is_none() && self.security == Security::Insecure => Lead::Unknown,
            Some(cable) if self.is_answered(now) => Lead::Somewhere(cable.answered),
            _ => Lead::Nowhere,
        }
    }

    /// Since when the gateway owes an answer, or the cable is known to be out, if the port leads nowhere.
    #[must_use]
    pub fn nowhere_since(&self, now: Time) -> Time {
        let of_cable = self.cable.as_ref().and_then(|cable| cable.asked);
        of_cable.or(self.out).unwrap_or(now)
    }

    /// The connection to wait for; `None`: the cable is out.
    #[must_use]
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.cable.as_ref().map(|cable| cable.wire.stream().as_fd())
    }

    /// Queues a frame, or drops it, as a card does when its queue is full or its cable is out.
    pub fn transmit(&mut self, frame: &[u8]) {
        let queued = match &mut self.cable {
            Some(cable) => cable
                .wire
                .reserve(frame.len(), GATEWAY_BACKLOG_MAX)
                .map(|room| room.copy_from_slice(frame))
                .is_some(),
            None => self.first_try,
        };
        if queued {
            self.keep(frame);
        }
    }

    /// Keeps a frame for the next connection; before the first one a frame that does not fit is dropped.
    fn keep(&mut self, frame: &[u8]) {
        let Some(cable) = &mut self.cable else {
            if self.kept.len() + frame.len() <= GATEWAY_BACKLOG_MAX {
                // A frame that is too long for the stream is dropped, as by a card.
                let _ = write_frame(&mut self.kept, frame);
            }
            return;
        };
        if cable.wire.is_keyed() {
            if self.kept.len() + frame.len() > GATEWAY_KEPT_MAX {
                // So much between two answers is a bulk transfer, whose own TCP sends again what gets lost.
                self.kept.clear();
                cable.before = 0;
            }
            // The wire has taken the frame, so its length is right.
            let _ = write_frame(&mut self.kept, frame);
        }
    }

    /// Hands the kernel what was queued. False: not all was taken; call again when the connection is
    /// writable.
    pub fn flush(&mut self) -> bool {
        let Some(cable) = &mut self.cable else { return true };
        cable.wire.flush().unwrap_or_else(|error| {
            self.unplugged(&error.to_string());
            true
        })
    }

    /// The next frame that has arrived. Takes at most `patience` frames and words out of the connection, and
    /// counts it down: a gateway that says one word after the other, or sends frames to a quiet replica, must
    /// not hold up the guest. [`Plug::is_unread`] says whether something is left.
    pub fn receive(&mut self, patience: &mut usize) -> Option<Vec<u8>> {
        self.unread = false;
        loop {
            let cable = self.cable.as_mut()?;
            let Some(left) = patience.checked_sub(1) else {
                self.unread = true;
                return None;
            };
            *patience = left;
            let is_keyed = cable.wire.is_keyed();
            match Wire::<Connection>::pop(&mut cable.wire.reader, is_keyed) {
                // What gateways say to VMMs is not for the guest.
                Ok(Some(Item::Frame(frame))) if is_for_vmms(frame) => {
                    self.notices.on_frame(frame, &self.endpoint);
                }
                Ok(Some(Item::Frame(frame))) if self.live.is_some() => {
                    self.told = None;
                    self.unread = true;
                    return Some(frame.to_vec());
                }
                // A quiet replica drops frames: they are for the replica that is live.
                Ok(Some(Item::Frame(_))) => {}
                Ok(Some(Item::Word(word))) => self.on_word(word),
                Ok(None) => match cable.wire.receive() {
                    Ok(Received::Some) => {}
                    Ok(Received::Nothing) => return None,
                    Err(error) => self.unplugged(&error.to_string()),
                },
                Err(error) => self.unplugged(&error.to_string()),
            }
        }
    }

    /// Did the last [`Plug::receive`] leave something that the kernel may not show?
    #[must_use]
    pub fn is_unread(&self) -> bool {
        self.unread
    }

    fn on_word(&mut self, word: Word) {
        let Some(cable) = &mut self.cable else { return };
        match word {
            Word::Pong => {
                cable.asked = None;
                cable.answered = clock::now();
                self.kept.drain(..std::mem::take(&mut cable.before));
                self.told = None;
                // A thread that dials beside this connection is no longer needed.
                self.dialing = None;
                self.dial_again = None;
            }
            Word::Ping => cable.wire.answer(GATEWAY_BACKLOG_MAX),
            // Only replicas say this word; from a gateway it means nothing.
            Word::Live { .. } => {}
        }
    }

    /// For how long the gateway has owed an answer, if for at least [`GATEWAY_SUSPECT`]. Bytes that have
    /// arrived and were not read yet may be the answer: a replica that was not scheduled for a while must not
    /// blame the gateway.
    fn silence(&self, now: Time) -> Option<Span> {
        let cable = self.cable.as_ref()?;
        let silence = now.since(cable.asked?);
        let mut fds = [PollFd::new(cable.wire.stream(), PollFlags::IN)];
        let mut is_unread = || poll(&mut fds, Some(&clock::timespec(0))).is_ok_and(|ready| ready > 0);
        (silence >= GATEWAY_SUSPECT && !is_unread()).then_some(silence)
    }

    /// Is the cable in, and does the gateway owe no answer for long?
    fn is_answered(&self, now: Time) -> bool {
        self.cable
            .as_ref()
            .is_some_and(|cable| cable.asked.is_none_or(|asked| now.since(asked) < GATEWAY_SUSPECT))
    }

    /// Makes this connection the cable, and sends on it what was kept.
    fn plug_in(&mut self, mut wire: Wire<Connection>) {
        if let Some(epoch) = self.live {
            wire.say(Word::Live { epoch: epoch.0 });
        }
        let now = clock::now();
        if self
            .out
            .take()
            .is_some_and(|out| now.since(out) > GATEWAY_KEPT_FOR)
        {
            self.kept.clear();
        }
        self.first_try = false;
        self.notices = Notices::default();
        let mut kept = FrameReader::default();
        kept.push(&self.kept);
        while let Ok(Some(frame)) = kept.pop() {
            if let Some(room) = wire.reserve(frame.len(), GATEWAY_BACKLOG_MAX) {
                room.copy_from_slice(frame);
            }
        }
        if !wire.is_keyed() {
            self.kept.clear();
        }
        self.cable = Some(In {
            wire,
            asked: None,
            ask: now,
            answered: now,
            before: 0,
        });
    }

    /// Starts the thread that dials, unless it runs already.
    fn dial(&mut self) {
        self.dial_again = None;
        if self.dialing.is_some() {
            return;
        }
        let dialer = Dialer::new(self.endpoint.clone(), self.security.clone());
        match Dialing::start(dialer, self.waker.clone()) {
            Ok(dialing) => self.dialing = Some(dialing),
            Err(error) => {
                // The host has no thread to give: the guest runs on without its cable, and it is tried again
                // later.
                self.dial_again = Some(clock::now().after(GATEWAY_THREAD_PAUSE));
                self.tell(&format!(
                    "this host gives no more threads ({error}); raise the limit (`ulimit -u`)"
                ));
            }
        }
    }

    /// The connection is of no use any more: the cable is out, and a thread tries to plug it in again.
    fn unplugged(&mut self, why: &str) {
        self.tell(why);
        self.cable = None;
        self.out = Some(clock::now());
        if self.live.is_some() || self.security != Security::Insecure {
            self.dial();
        }
    }

    /// Tells the operator why there is no way to the gateway, unless that was told last.
    fn tell(&mut self, why: &str) {
        if self.told.as_deref() != Some(why) {
            tracing::warn!(
                "no way to the gateway at {}: {why}; connecting again",
                self.endpoint
            );
            self.told = Some(why.to_owned());
        }
    }
}
