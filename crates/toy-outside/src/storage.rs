//! The shared disk: requests that are under way for a while, take effect at one moment, and are answered
//! later.
//!
//! All hosts reach it, through caches that can be lost (`cache.rs`). The disk keeps the epoch of its writer
//! and must never carry out a write of an older one, which a primary that stood still may have in its hand.
//! Requests that a process had under way when it crashed may still take effect, or not, or a few sectors of
//! them.

use machine::{DiskRequest, DiskStatus};
use replica::{DiskAnswer, Epoch, Span, Time};

use toy::random::Random;

use crate::{
    cache::{Asker, CacheOptions, Caches},
    names::{HostId, ProcessId},
    operation::{SECTOR, changes},
};

/// How the disk behaves when it is well.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Shortest and longest time before a request takes effect, and again before its answer.
    pub latency: (Span, Span),
    /// How many requests of a thousand fail.
    pub fail_permille: u64,
    /// Does the disk refuse writes of an older epoch? A real one always does; a broken variant shows what
    /// that is for.
    pub fenced: bool,
    /// What the hosts do about caches.
    pub caches: CacheOptions,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// The process that sent the request.
    pub from: ProcessId,
    /// The host of that process.
    host: HostId,
    /// The epoch under which the process sent it.
    pub epoch: Epoch,
    /// What the guest asked for.
    pub request: DiskRequest,
    /// How many sectors of the request will take effect, because its sender crashed; `None`: all.
    pub torn: Option<u64>,
    /// When it was sent.
    sent: Time,
    /// When it takes effect.
    takes: Time,
}

/// What a request that took effect did.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The request.
    pub request: Request,
    /// The answer to the request.
    pub answer: DiskAnswer,
    /// When the answer reaches the process that asked.
    pub answers: Time,
    /// Was the request refused for its epoch?
    pub refused: bool,
}

/// The disk.
#[derive(Debug)]
pub struct Storage {
    options: StorageOptions,
    caches: Caches,
    /// The epoch of the process that may write.
    writer: Epoch,
    /// Requests that have not taken effect.
    under_way: Vec<Request>,
    /// Nothing takes effect before this time.
    away: Time,
    /// The epoch of a process that is to become the writer, and when. What that process sends takes effect
    /// no earlier.
    raising: Option<(Epoch, Time)>,
}

impl Storage {
    /// A disk of zeroes that so many hosts reach and that `writer` may write. `seed` decides what caches have
    /// kept when they are lost.
    #[must_use]
    pub fn new(options: StorageOptions, sectors: u64, hosts: usize, writer: Epoch, seed: u64) -> Storage {
        Storage {
            caches: Caches::new(options.caches, sectors, hosts, seed),
            options,
            writer,
            under_way: Vec::new(),
            away: Time(0),
            raising: None,
        }
    }

    /// A process on a host sends a request; the answer is when to call [`Storage::take`].
    pub fn issue(
        &mut self,
        random: &mut Random,
        now: Time,
        (from, host): (ProcessId, HostId),
        epoch: Epoch,
        request: DiskRequest,
    ) -> Time {
        let (low, high) = self.options.latency;
        let mut takes = now.after(random.span(low, high)).max(self.away);
        if let Some((writer, at)) = self.raising
            && epoch >= writer
        {
            takes = takes.max(at);
        }
        self.under_way.push(Request {
            from,
            host,
            epoch,
            request,
            torn: None,
            sent: now,
            takes,
        });
        takes
    }

    /// The epoch of the process that may write.
    #[must_use]
    pub fn writer(&self) -> Epoch {
        self.writer
    }

    /// The process that went live in `epoch` becomes the writer; the answer is when to call
    /// [`Storage::take`].
    pub fn raise(&mut self, random: &mut Random, now: Time, epoch: Epoch) -> Time {
        let (low, high) = self.options.latency;
        let at = now.after(random.span(low, high)).max(self.away);
        self.raising = Some((epoch, at));
        at
    }

    /// The requests that take effect now, in the order in which they were to.
    pub fn take(&mut self, random: &mut Random, now: Time) -> Vec<Taken> {
        let mut due: Vec<Request> = Vec::new();
        self.under_way.retain(|request| {
            let is_due = request.takes <= now;
            due.extend(is_due.then(|| request.clone()));
            !is_due
        });
        due.sort_by_key(|request| request.takes);
        let mut taken = Vec::new();
        for request in due {
            self.become_writer(request.takes);
            taken.push(self.perform(random, now, request));
        }
        self.become_writer(now);
        taken
    }

    fn become_writer(&mut self, now: Time) {
        if let Some((epoch, _)) = self.raising.take_if(|(_, at)| *at <= now) {
            self.writer = self.writer.max(epoch);
        }
    }

    fn perform(&mut self, random: &mut Random, now: Time, request: Request) -> Taken {
        let refused =
            self.options.fenced && changes(&request.request.operation) && request.epoch < self.writer;
        let fails = refused || random.permille(self.options.fail_permille);
        let (low, high) = self.options.latency;
        let answers = now.after(random.span(low, high));
        let mut data = None;
        if !fails {
            let whole = request
                .torn
                .map_or(usize::MAX, |sectors| sectors as usize * SECTOR);
            let asker = Asker {
                host: request.host,
                sent: request.sent,
                answered: answers,
            };
            data = self.caches.perform(asker, &request.request.operation, whole);
        }
        let status = data.as_ref().map_or(DiskStatus::Failed, |_| DiskStatus::Ok);
        let DiskRequest { disk, id, .. } = request.request;
        Taken {
            answer: DiskAnswer {
                disk,
                id,
                status,
                data: data.unwrap_or_default(),
            },
            answers,
            refused,
            request,
        }
    }

    /// The caches of the hosts and of the drive.
    pub fn caches(&mut self) -> &mut Caches {
        &mut self.caches
    }

    /// The drive loses its power: what is under way is lost, and what was not flushed.
    pub fn power_cut(&mut self) {
        self.under_way.clear();
        self.raising = None;
        self.caches.power_cut();
    }

    /// A process has crashed: what it had under way is lost, or takes effect in part, or as if nothing had
    /// happened.
    pub fn crash(&mut self, random: &mut Random, from: ProcessId) {
        self.under_way.retain_mut(|request| {
            if request.from != from {
                return true;
            }
            if random.permille(300) {
                request.torn = Some(random.below(3));
            }
            random.permille(700)
        });
    }

    /// Has a process a request at the disk?
    #[must_use]
    pub fn has_request_of(&self, from: ProcessId) -> bool {
        self.under_way.iter().any(|request| request.from == from)
    }

    /// When the last of the changes takes effect that a process has under way; `None`: it has none.
    #[must_use]
    pub fn last_change_of(&self, from: ProcessId) -> Option<Time> {
        let of = |request: &&Request| request.from == from && changes(&request.request.operation);
        self.under_way
            .iter()
            .filter(of)
            .map(|request| request.takes)
            .max()
    }

    /// Nothing takes effect until this time.
    pub fn leave(&mut self, until: Time) {
        self.away = self.away.max(until);
        for request in &mut self.under_way {
            request.takes = request.takes.max(until);
        }
        if let Some((_, at)) = &mut self.raising {
            *at = (*at).max(until);
        }
    }

    /// When to call [`Storage::take`] again.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        let raising = self.raising.map(|(_, at)| at);
        self.under_way
            .iter()
            .map(|request| request.takes)
            .chain(raising)
            .min()
    }

    /// The disk can be reached and fails no request from now on.
    pub fn mend(&mut self, now: Time) {
        self.away = self.away.min(now);
        self.options.fail_permille = 0;
        self.caches.mend();
    }

    /// What is on the disk when all processes have closed it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.caches.content()
    }

    /// What is on the disk if hosts and drive lose their power now.
    #[must_use]
    pub fn content_after_power_cut(&self) -> Vec<u8> {
        self.caches.content_after_power_cut()
    }
}
