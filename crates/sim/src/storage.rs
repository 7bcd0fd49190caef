//! The shared disk: requests that are under way for a while, take effect at one moment, and are answered later.
//!
//! Both sides reach it. It keeps the epoch of its writer and refuses writes of older ones (D6). Requests that
//! a side had under way when it crashed may still take effect, or not, or a few sectors of them.

use machine::{DiskOperation, DiskRequest, DiskStatus};
use replica::{DiskAnswer, Epoch, Span, Time};

use crate::{random::Random, world::Side};

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
    content: Vec<u8>,
    writer: Epoch,
    under_way: Vec<Request>,
    /// Nothing takes effect before.
    away: Time,
    /// A side becomes the writer under this epoch then; what it sends takes effect not before.
    raising: Option<(Epoch, Time)>,
}

impl Storage {
    /// A disk of zeroes.
    #[must_use]
    pub fn new(options: StorageOptions, sectors: u64, writer: Epoch) -> Storage {
        Storage {
            options,
            content: vec![0; usize::try_from(sectors).unwrap_or(0) * SECTOR],
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
        let reads = matches!(request.request.operation, DiskOperation::Read { .. });
        let refused = self.options.fenced && !reads && request.epoch < self.writer;
        let fails = refused || random.permille(self.options.fail_permille);
        let mut data = Vec::new();
        if !fails {
            let whole = request
                .torn
                .map_or(usize::MAX, |sectors| sectors as usize * SECTOR);
            data = apply(&mut self.content, &request.request.operation, whole);
        }
        let status = if fails { DiskStatus::Failed } else { DiskStatus::Ok };
        let DiskRequest { disk, id, .. } = request.request;
        let (low, high) = self.options.latency;
        Taken {
            answer: DiskAnswer {
                disk,
                id,
                status,
                data,
            },
            answers: now.after(random.span(low, high)),
            refused,
            request,
        }
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
    }

    /// What is on it.
    #[must_use]
    pub fn content(&self) -> &[u8] {
        &self.content
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
