//! The shared disk: requests that are under way for a while, take effect at one moment, and are answered later.
//!
//! Both sides reach it, through caches that can be lost (`cache.rs`). It keeps the epoch of its writer and refuses writes of older ones (D6). Requests that
//! a side had under way when it crashed may still take effect, or not, or a few sectors of them.

use machine::{DiskOperation, DiskRequest, DiskStatus};
use replica::{DiskAnswer, Epoch, Span, Time};
use toy::hash::mix;

use crate::{
    cache::{Access, Asker, CacheOptions, Caches},
    faults::Fault,
    random::Random,
    world::Side,
};

/// Bytes of a sector.
pub const SECTOR: usize = 512;

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

impl StorageOptions {
    /// What the hosts do about caches in the world of a seed: as real hosts do, which take what they can get.
    #[must_use]
    pub fn draw_caches(seed: u64) -> CacheOptions {
        let mut random = Random::new(mix(seed, 0xcac4e));
        CacheOptions {
            access: random.pick(&[Access::Direct, Access::Synchronous]),
            reopens: true,
            passes_flushes: true,
            drive_forgets: false,
        }
    }

    /// What happens to caches in the world of a seed, up to `end`. Drawn apart from all other faults, so that
    /// those are the same with and without.
    #[must_use]
    pub fn draw_faults(seed: u64, end: Span) -> Vec<(Time, Fault)> {
        let random = &mut Random::new(mix(seed, 0xfa115));
        let mut faults = Vec::new();
        if random.permille(300) {
            for _ in 0..random.between(1, 3) {
                let fault = Fault::FlushFails(random.pick(&Side::BOTH));
                faults.push((Time(random.below(end.0)), fault));
            }
        }
        if random.permille(40) {
            faults.push((Time(random.below(end.0)), Fault::PowerCut));
        }
        faults
    }
}

/// A request on its way.
#[derive(Clone, Debug)]
pub struct Request {
    /// Who sent it.
    pub from: Side,
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
        from: Side,
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
    pub fn crash(&mut self, random: &mut Random, from: Side) {
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

/// Does the first `whole` bytes of an operation to a disk's content. The answer is what it reads.
pub fn apply(content: &mut [u8], operation: &DiskOperation, whole: usize) -> Vec<u8> {
    let (sector, bytes) = extent(operation);
    let from = (sector as usize * SECTOR).min(content.len());
    let to = (from + bytes.min(whole)).min(content.len());
    let area = &mut content[from..to];
    match operation {
        DiskOperation::Read { .. } => return area.to_vec(),
        DiskOperation::Write { data, .. } => area.copy_from_slice(&data[..area.len()]),
        DiskOperation::Flush => {}
        DiskOperation::Discard { .. } | DiskOperation::WriteZeroes { .. } => area.fill(0),
    }
    Vec::new()
}

/// Does it change what is on the disk? A flush only makes it durable, so nobody needs to be kept from it.
#[must_use]
pub fn changes(operation: &DiskOperation) -> bool {
    !matches!(operation, DiskOperation::Read { .. } | DiskOperation::Flush)
}

/// The first sector and the number of bytes that an operation touches.
#[must_use]
pub fn extent(operation: &DiskOperation) -> (u64, usize) {
    match operation {
        DiskOperation::Read { sector, bytes } => (*sector, *bytes as usize),
        DiskOperation::Write { sector, data } => (*sector, data.len()),
        DiskOperation::Flush => (0, 0),
        DiskOperation::Discard { sector, sectors } | DiskOperation::WriteZeroes { sector, sectors, .. } => {
            (*sector, *sectors as usize * SECTOR)
        }
    }
}
