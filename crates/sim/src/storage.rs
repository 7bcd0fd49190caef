//! The shared disk: requests that are under way for a while, take effect at one moment, and are answered later.
//!
//! Both sides reach it, through caches that can be lost (`cache.rs`). It keeps the epoch of its writer and refuses writes of older ones (D6). Requests that
//! a side had under way when it crashed may still take effect, or not, or a few sectors of them.

use machine::{DiskRequest, DiskStatus};
use replica::{DiskAnswer, Epoch, Span, Time};

use crate::{
    cache::{Asker, CacheOptions, Caches},
    operation::{SECTOR, changes},
    pair::SideName,
    random::Random,
};

/// How the disk behaves when it is well.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// Shortest and longest time before a request takes effect, and again before its answer.
    pub latency: (Span, Span),
    /// Requests that fail, of a thousand.
    pub fail_permille: u64,
    /// Does it refuse writes of an older epoch? A real one always does; `false` shows what that is for.
    pub fenced: bool,
    /// What the hosts do about caches.
    pub caches: CacheOptions,
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it.
    pub from: SideName,
    /// Under which epoch.
    pub epoch: Epoch,
    /// What.
    pub request: DiskRequest,
    /// Sectors of it that will take effect: fewer than it has when its sender crashed.
    pub torn: Option<u64>,
    sent: Time,
    takes: Time,
}

/// What a request that took effect did.
#[derive(Clone, Debug)]
pub struct Taken {
    /// The request.
    pub request: Request,
    /// The answer to it.
    pub answer: DiskAnswer,
    /// When it is answered.
    pub answers: Time,
    /// Was it refused for its epoch?
    pub refused: bool,
}

/// The disk.
#[derive(Debug)]
pub struct Storage {
    options: StorageOptions,
    caches: Caches,
    writer: Epoch,
    under_way: Vec<Request>,
    /// Nothing takes effect before.
    away: Time,
    /// A side becomes the writer under this epoch then; what it sends takes effect not before.
    raising: Option<(Epoch, Time)>,
}

impl Storage {
    /// A disk of zeroes. `seed`: of what caches keep when they are lost.
    #[must_use]
    pub fn new(options: StorageOptions, sectors: u64, writer: Epoch, seed: u64) -> Storage {
        Storage {
            caches: Caches::new(options.caches, sectors, seed),
            options,
            writer,
            under_way: Vec::new(),
            away: Time(0),
            raising: None,
        }
    }

    /// A side sends a request; the answer is when to call [`Storage::take`].
    pub fn issue(
        &mut self,
        random: &mut Random,
        now: Time,
        from: SideName,
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
            epoch,
            request,
            torn: None,
            sent: now,
            takes,
        });
        takes
    }

    /// A side becomes the writer; the answer is when to call [`Storage::take`].
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
                side: request.from,
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

    /// The drive loses its power: what is under way is lost, and what it has not been told to keep.
    pub fn power_cut(&mut self) {
        self.under_way.clear();
        self.raising = None;
        self.caches.power_cut();
    }

    /// A side has crashed: what it had under way is lost, or takes effect in part, or as if nothing was.
    pub fn crash(&mut self, random: &mut Random, from: SideName) {
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

    /// Nothing takes effect for a while.
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

    /// It is well from now on.
    pub fn mend(&mut self, now: Time) {
        self.away = self.away.min(now);
        self.options.fail_permille = 0;
        self.caches.mend();
    }

    /// What is on it when both sides have closed it.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        self.caches.content()
    }

    /// What is on it if hosts and drive lose their power now.
    #[must_use]
    pub fn content_after_power_cut(&self) -> Vec<u8> {
        self.caches.content_after_power_cut()
    }
}
