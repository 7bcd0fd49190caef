//! What a replica tells: one JSON object per line for the programs that watch it, and sentences for the
//! operator.
//!
//! `Reporter` turns what the drive loop sees into [`Happening`]s, each told once, when it happens. Each is
//! written to the file of `--events`, and if an operator must know it, said on standard error. Neither is
//! waited for. The words are types, so that another program of Lockstep reads a line back as the [`Line`]
//! that was written (docs/events.md).
//!
//! Nothing here decides what happens; a replica runs on the same whether it is listened to or not.
//!
//! Map, from below: `words` are the words of the stable format, `figures` and `ending` what they say of
//! numbers and of the end, `health` how this side is off, `happening` all events, `disks` those of disks,
//! `waiting` when to say that the arbiter does not answer, `protection` how the VM's protection stands by all
//! this, `history` the events of a VM's replicas read back, `amount` numbers as people read them.
#![forbid(unsafe_code)]

pub mod amount;
mod disks;
mod ending;
mod figures;
mod happening;
mod health;
mod history;
pub mod limits;
mod protection;
mod sentences;
mod tail;
mod waiting;
mod words;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::{fmt, io};

use machine::Step;
use replica::{Claim, Metrics, News, RoleName, Span, Time, Verdict};

pub use ending::{Ending, HaltCode, Last};
pub use figures::{Delays, Figures, Outside, resident_bytes};
pub use happening::{Happening, Line};
pub use health::{AspectWord, Change};
pub use history::{Failover, History};
pub use protection::{FlagWord, Guarding, GuestWord, Protection, Reason, StateWord, copied};
pub use tail::Tail;
pub use words::{Course, Ender, OnPanic, PhaseWord, RoleWord, SuspicionWord, VerdictWord, Wish};

use crate::limits::{EVENTS_BACKLOG_MAX, EVENTS_LEN_MAX};
use arbiter::Answer;
use figures::ms;
use link::Traffic;
use os::bounded_file::{Begin, BoundedFile};
use os::limits::LAST_WORDS_PATIENCE;
use os::outlet::{Outlet, Unit};
use os::sys::clock;
use waiting::Waiting;

/// Tells what happens, and remembers what was told.
#[derive(Debug)]
pub struct Reporter {
    /// Takes lines to the file of events; `None`: nobody wants them.
    events: Option<Outlet>,
    /// The VM's name, which stands in every line.
    vm: String,
    /// How often figures are told; `None`: only at the end.
    every: Option<Span>,
    /// When this replica started, for how long it has been up.
    started: Time,
    /// When figures were made last, and the link's traffic until then.
    last: (Time, Traffic),
    /// The role that was told last; `None`: none yet.
    role: Option<RoleName>,
    /// What this side was when it came to suspect the other; `Solo` before any suspicion.
    was: RoleWord,
    /// Address of the other half of the pair; of two backups, of the one that came last.
    peer: String,
    /// Addresses of the backups that came while the guest ran and are there; the last one is `peer`.
    joined: Vec<String>,
    /// Where the arbiter is, for sentences.
    arbiter: String,
    /// Where the guest's console is, in the words of `--serial`.
    console: String,
    /// How the link to the peer ended, until the suspicion that follows is told.
    link_lost: Option<String>,
    /// Was it told that the primary's host says that the primary's process has ended?
    peer_ended: bool,
    /// The question to the arbiter that has no decision yet; `None`: nothing is asked.
    waiting: Option<Waiting>,
    /// How the VM's protection has gone until now.
    guarding: Guarding,
    /// Gets every line of events too, also where no file is written; `None`: nobody does.
    tap: Option<Tap>,
}

/// Gets every line of events, each with its line feed, on the guest thread: it must not wait.
pub type Listener = Box<dyn Fn(&[u8]) + Send>;

/// Whoever gets every line of events beside the file.
struct Tap(Listener);

impl fmt::Debug for Tap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tap")
    }
}

/// The file for events cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write events to {path}; check the directory and its permissions")]
pub struct ReportError {
    /// Path of the file for events.
    path: PathBuf,
    /// What the operating system said of the file.
    source: io::Error,
}

impl Reporter {
    /// A reporter for `vm` that appends events to the file `sink`, and figures among them `every` so often.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn new(vm: &str, sink: Option<&Path>, every: Option<Span>) -> Result<Reporter, ReportError> {
        let open = |path: &Path| {
            let file =
                BoundedFile::open(path, Begin::Behind, EVENTS_LEN_MAX).map_err(|source| ReportError {
                    path: path.into(),
                    source,
                })?;
            let name = format!("the file of events {}", path.display());
            let vm = vm.to_owned();
            Ok(Outlet::new(
                &name,
                Unit::Lines,
                EVENTS_BACKLOG_MAX,
                Box::new(move |lines| Line::text_of(&vm, Happening::LinesLost { lines })),
                Box::new(file),
            ))
        };
        let now = clock::now();
        Ok(Reporter {
            events: sink.map(open).transpose()?,
            vm: vm.to_owned(),
            every,
            started: now,
            last: (now, Traffic::default()),
            role: None,
            was: RoleWord::Solo,
            peer: "without an address".into(),
            joined: Vec::new(),
            arbiter: "of no pair".into(),
            console: "none".into(),
            link_lost: None,
            peer_ended: false,
            waiting: None,
            guarding: Guarding::default(),
            tap: None,
        })
    }

    /// Gives every further line of events to `listener` too.
    pub fn also_to(&mut self, listener: Listener) {
        self.tap = Some(Tap(listener));
    }

    /// How the VM's protection has gone until now.
    #[must_use]
    pub fn guarding(&self) -> &Guarding {
        &self.guarding
    }

    /// Where the arbiter of the pair is; `None`: there never was a pair.
    #[must_use]
    pub fn arbiter(&self) -> Option<&str> {
        self.peer().map(|_| &*self.arbiter)
    }

    /// Address of the other half of the pair; `None`: there never was one.
    #[must_use]
    pub fn peer(&self) -> Option<&str> {
        self.peer.parse::<SocketAddr>().is_ok().then_some(&*self.peer)
    }

    /// Names the arbiter of a VM that begins alone, and may become a pair later.
    pub fn begins_at(&mut self, arbiter: &str) {
        self.arbiter = arbiter.to_owned();
    }

    /// Names the other half of a pair, and the arbiter between the two.
    pub fn introduce(&mut self, peer: SocketAddr, arbiter: &str) {
        self.peer = peer.to_string();
        self.arbiter = arbiter.to_owned();
    }

    /// Says where the guest's console is, in the words of `--serial`.
    pub fn place_console(&mut self, console: String) {
        self.console = console;
    }

    /// Tells of a happening, to programs and, if an operator must know it, to people. Waits for neither.
    pub fn happened(&mut self, happening: Happening) {
        self.write(&happening);
        if let Some(sentence) = happening.sentence() {
            os::stderr::tell(format_args!("lockstep: {sentence}"));
        }
    }

    /// Tells programs of a happening, and nobody else.
    fn write(&mut self, happening: &Happening) {
        tracing::debug!(?happening);
        self.guarding.hear(happening, clock::wall_ns());
        if self.events.is_none() && self.tap.is_none() {
            return;
        }
        let line = Line::text_of(&self.vm, happening.clone());
        if let Some(events) = &self.events {
            events.push(&line);
        }
        if let Some(Tap(tap)) = &self.tap {
            tap(&line);
        }
    }

    /// The role that was told last; solo before any.
    #[must_use]
    pub fn role(&self) -> RoleName {
        self.role.unwrap_or_default()
    }

    /// Tells of a change of role, if there is one, and of what it means.
    pub fn look_at_role(&mut self, metrics: &Metrics) {
        let before = self.role.replace(metrics.role);
        if before == Some(metrics.role) {
            self.look_at_death(metrics);
            return;
        }
        if matches!(metrics.role, RoleName::Solo | RoleName::Backup) {
            self.joined.clear();
        }
        self.happened(Happening::Role {
            role: metrics.role.into(),
            epoch: metrics.epoch.0,
            suspicion: metrics.suspicion.map(SuspicionWord::from),
            detection_ms: ms(metrics.detection),
            go_live_ms: ms(metrics.go_live),
        });
        let (epoch, peer) = (metrics.epoch.0, self.peer.clone());
        if (before, metrics.role) == (Some(RoleName::Claiming), RoleName::Primary) {
            self.waiting = None;
            let after_ms = ms(metrics.go_live);
            self.happened(Happening::Taken {
                epoch,
                peer,
                after_ms,
            });
            return;
        }
        let Some(why) = metrics.suspicion.map(SuspicionWord::from) else {
            return;
        };
        match (before, metrics.role) {
            (Some(RoleName::Primary | RoleName::Handing), RoleName::Claiming) => {
                self.suspect(RoleWord::Primary, why, metrics);
            }
            (_, RoleName::Claiming) => self.suspect(RoleWord::Backup, why, metrics),
            // Its backup was dismissed or dropped, which the news tells.
            (Some(RoleName::Primary), RoleName::Solo) => {}
            (_, RoleName::Solo) => {
                self.waiting = None;
                let (was, after_ms) = (self.was, ms(metrics.detection) + ms(metrics.go_live));
                self.happened(Happening::GoLive { epoch, was, after_ms });
                if was == RoleWord::Primary {
                    self.happened(Happening::Alone {
                        epoch,
                        peer,
                        why,
                        reason: why.as_clause().to_owned(),
                    });
                }
            }
            _ => {}
        }
        self.look_at_death(metrics);
    }

    /// Tells, once, that the primary's host says that its process has ended.
    fn look_at_death(&mut self, metrics: &Metrics) {
        let Some(at) = metrics.peer_ended_at else { return };
        if !std::mem::replace(&mut self.peer_ended, true) {
            let peer = self.peer.clone();
            let after_ms = ms(at.since(metrics.suspected_at.unwrap_or(at)));
            self.happened(Happening::PeerEnded { peer, after_ms });
        }
    }

    /// Tells that the peer is suspected, by this side in the role `this_side`.
    fn suspect(&mut self, this_side: RoleWord, why: SuspicionWord, metrics: &Metrics) {
        self.was = this_side;
        let reason = self.link_lost.take();
        self.happened(Happening::Suspected {
            whom: match this_side {
                RoleWord::Primary => RoleWord::Backup,
                _ => RoleWord::Primary,
            },
            peer: self.peer.clone(),
            why,
            reason: reason.filter(|_| why == SuspicionWord::LinkLost),
            after_ms: ms(metrics.detection),
        });
    }

    /// Tells of the VM's protection. `address`: where the process is that is, or will be, the backup.
    pub fn hears_news(&mut self, news: &News, address: &str, metrics: &Metrics) {
        let peer = address.to_owned();
        let happening = match news {
            News::Cloning(_, phase) => Happening::Cloning {
                peer,
                phase: (*phase).into(),
            },
            News::Abandoned(_, why) => {
                self.joined.retain(|joined| *joined != peer);
                let left = self.joined.last().unwrap_or(&self.peer);
                self.peer = left.clone();
                Happening::CloneFailed {
                    peer,
                    why: why.clone(),
                }
            }
            News::Dismissed(_) => {
                self.joined.retain(|joined| *joined != peer);
                let replaced_by = self.joined.last().cloned();
                Happening::Dismissed { peer, replaced_by }
            }
            News::NotDismissed(_) => Happening::NotDismissed { peer },
            News::FallsBehind(_, slowness) => Happening::FallsBehind {
                peer,
                speed_permille: slowness.permille,
                over_ms: ms(slowness.over),
            },
            News::TooSlow(_, slowness) => Happening::Alone {
                epoch: metrics.epoch.0,
                peer,
                why: SuspicionWord::Slow,
                reason: sentences::too_slow(slowness.permille, ms(slowness.over)),
            },
            News::HandedOver(_) => Happening::HandedOver {
                peer,
                epoch: metrics.epoch.0,
            },
            News::NotHandedOver(_, why) => Happening::NotHandedOver { why: why.clone() },
            News::Paused(true) => Happening::Paused,
            News::Paused(false) => Happening::Resumed,
            News::Guarded(_) => {
                self.peer.clone_from(&peer);
                self.joined.push(peer.clone());
                let clone = metrics.clone.unwrap_or_default();
                Happening::Protected {
                    peer,
                    epoch: metrics.epoch.0,
                    took_ms: ms(clone.took),
                    cut_us: clone.cut.0 as f64 / 1e3,
                    stood_ms: ms(clone.stood),
                    rounds: clone.rounds,
                    touched_pages: clone.touched,
                    owed_pages: clone.owed_at_cut,
                    pages: clone.pages,
                    bytes: clone.bytes + clone.state_bytes,
                }
            }
        };
        self.happened(happening);
    }

    /// Tells that the link is gone, and keeps the reason for the suspicion that follows.
    pub fn lost_link(&mut self, reason: String) {
        self.link_lost = Some(reason.clone());
        self.happened(Happening::LinkLost { reason });
    }

    /// The arbiter is asked. That is told once for an epoch.
    pub fn asks(&mut self, now: Time, claim: &Claim) {
        let epoch = claim.epoch.0;
        match &mut self.waiting {
            Some(waiting) if waiting.epoch == epoch => waiting.asked += 1,
            waiting => {
                *waiting = Some(Waiting::new(now, epoch));
                self.happened(Happening::Claim { epoch });
            }
        }
    }

    /// The arbiter has answered. That is told if it is another answer than before.
    pub fn hears(&mut self, now: Time, claim: &Claim, answer: &Answer) {
        let is_news = match (&mut self.waiting, answer.verdict) {
            (Some(waiting), Verdict::Unreachable) => waiting.on_unreachable(now, answer.reason.clone()),
            (waiting, Verdict::Won | Verdict::Lost { .. }) => waiting.take().is_some(),
            (None, Verdict::Unreachable) => false,
        };
        if is_news {
            self.happened(Happening::Verdict {
                epoch: claim.epoch.0,
                verdict: answer.verdict.into(),
                reason: answer.reason.clone(),
            });
        }
        self.look_at_waiting(now);
    }

    /// When [`Reporter::look`] must be called.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let waiting = self.waiting.as_ref().map(Waiting::deadline);
        [self.figures_due(), waiting].into_iter().flatten().min()
    }

    fn figures_due(&self) -> Option<Time> {
        Some(self.last.0.after(self.every?))
    }

    /// Tells what is due by the clock: figures, and that the arbiter does not answer.
    pub fn look(&mut self, now: Time, metrics: &Metrics, outside: Outside) {
        if self.figures_due().is_some_and(|at| at <= now) {
            let figures = self.figures(now, metrics, outside);
            self.happened(Happening::Figures(Box::new(figures)));
        }
        self.look_at_waiting(now);
    }

    /// Since when the arbiter has been asked for a decision that it does not give; `None`: nothing is asked,
    /// or the question is no older than usual.
    #[must_use]
    pub fn waiting_since(&self) -> Option<Time> {
        self.waiting.as_ref().and_then(Waiting::since)
    }

    /// Tells that the arbiter does not answer, if it is time to.
    fn look_at_waiting(&mut self, now: Time) {
        let Some(waiting) = &mut self.waiting else { return };
        let Some(waited) = waiting.say(now) else { return };
        let happening = Happening::Waiting {
            epoch: waiting.epoch,
            place: self.arbiter.clone(),
            asked: waiting.asked,
            waited_ms: ms(waited),
            reason: waiting.reason.clone(),
        };
        self.happened(happening);
    }

    /// The figures of this replica now, beside those that are told: `before` is when those before them were
    /// made, and the link's traffic then.
    #[must_use]
    pub fn figures_aside(
        &self,
        now: Time,
        metrics: &Metrics,
        outside: Outside,
        before: Option<(Time, Traffic)>,
    ) -> Figures {
        let before = before.unwrap_or((self.started, Traffic::default()));
        Figures {
            event_lines_lost: self.events.as_ref().map_or(0, Outlet::lost),
            ..Figures::new(now, self.started, metrics, outside, before)
        }
    }

    /// The figures of this replica now.
    pub fn figures(&mut self, now: Time, metrics: &Metrics, outside: Outside) -> Figures {
        let before = std::mem::replace(&mut self.last, (now, outside.traffic));
        Figures {
            event_lines_lost: self.events.as_ref().map_or(0, Outlet::lost),
            ..Figures::new(now, self.started, metrics, outside, before)
        }
    }

    /// What is known of the guest at the end: it stands at `step`, and was switched off by `by` if it is off.
    #[must_use]
    pub fn last(&self, now: Time, step: Step, by: Ender) -> Last<'_> {
        Last {
            role: self.role(),
            peer: &self.peer,
            step,
            up: now.since(self.started),
            console: &self.console,
            by,
        }
    }

    /// Tells the end, and waits a little until all events are written.
    pub fn end(&mut self, ending: Ending) {
        if ending.code.is_error() {
            // People read of an error from the program, which prints it with its causes.
            self.write(&Happening::Halt(ending));
        } else {
            self.happened(Happening::Halt(ending));
        }
        if let Some(events) = &self.events {
            // Who does not read the last events in time does not want them.
            let _ = events.finish(LAST_WORDS_PATIENCE);
        }
    }
}
