//! `Outbox`: what the threads of a sender share: the records on their way, and who is to be called.
//!
//! ```text
//! guest thread    push
//! packers         take, put_packed
//! writer          take_ready, written
//! ```
//! Several packers work at once, and the writer takes what they have packed in the order of the records'
//! numbers. Nothing here waits, starts a thread or touches a socket: each call says who has to be called, and
//! `sender` calls.

use std::collections::{BTreeMap, VecDeque};

use replica::Time;

use super::record::Record;
use super::seal::FIRST_RECORD;
use crate::LinkError;
use crate::limits::{BULK_BUFFERS_MAX, BULK_ON_THE_WAY_MAX, BULK_PACKERS, BULK_ROOM_AGAIN};

/// How far a bulk link has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// The peer is being called. Records may be handed over already.
    #[default]
    Calling,
    /// The peer has admitted the bulk link.
    Open,
    /// The link is gone, or there never was one; nothing more is sent.
    Over,
}

/// What a sender has done so far, for reports of progress.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Records that the kernel has taken whole.
    pub records: u64,
    /// Records whose content was sent as it is, because LZ4 did not make it shorter or because compressing
    /// was what the link waited for.
    pub raw_records: u64,
    /// Pages in records that were packed, those of zeros included.
    pub pages: u64,
    /// Pages in records that were packed and that are all zeros.
    pub zero_pages: u64,
    /// Bytes of content that were packed, before compression. Pages of zeros have no content.
    pub content_bytes: u64,
    /// Bytes of the records made of them, after compression and before encryption.
    pub packed_bytes: u64,
    /// Bytes that the kernel has taken, without those of the handshake.
    pub wire_bytes: u64,
    /// Bytes a second that the kernel took lately while there was something to send. `None`: too little was
    /// sent to tell.
    pub rate: Option<u64>,
    /// How soon the packers got a processor lately.
    pub service: Service,
}

/// How soon the host serves threads that come last: it tells whether it has processors to spare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Service {
    /// Nanoseconds from the time that a packer had a record to pack until that was packed, summed up over the
    /// last records: each new one makes those before it count for an eighth less.
    wanted: u64,
    /// Nanoseconds of a processor that it got in that time.
    got: u64,
}

impl Service {
    /// A packer wanted a processor for so long, and got it for so long.
    pub fn add(&mut self, wanted: u64, got: u64) {
        self.wanted = (self.wanted - self.wanted / 8).saturating_add(wanted);
        self.got = (self.got - self.got / 8).saturating_add(got.min(wanted));
    }

    /// Is a thread that comes last hardly ever kept waiting? False as long as that is not known.
    #[must_use]
    pub fn is_prompt(&self) -> bool {
        self.got > self.wanted / 3 * 2
    }
}

/// A record for a packer.
#[derive(Debug)]
pub struct Job {
    /// The record's number on the wire.
    pub number: u64,
    /// The record.
    pub record: Record,
    /// Whether its content is to be compressed.
    pub compress: bool,
    /// When the record was handed over.
    pub since: Time,
    /// An empty buffer for the record's bytes on the wire.
    pub wire: Vec<u8>,
}

/// A record that is packed.
#[derive(Debug)]
pub struct Ready {
    /// The record's bytes on the wire.
    pub wire: Vec<u8>,
    /// What it counts for among what is on the way.
    pub cost: usize,
}

/// What the threads of a sender share.
#[derive(Debug)]
pub struct Outbox {
    /// Records that no packer has taken yet, and when each was handed over.
    waiting: VecDeque<(Record, Time)>,
    /// Number of the next record that a packer takes.
    next_taken: u64,
    /// Packed records by their numbers.
    ready: BTreeMap<u64, Ready>,
    /// Number of the next record that the writer takes.
    next_written: u64,
    /// Whether the writer has a record in hand.
    is_writing: bool,
    /// Cost of all records from `push` until the kernel has taken them; at most [`BULK_ON_THE_WAY_MAX`].
    on_the_way: usize,
    /// Whether the guest thread has found no room and is to be called when there is some.
    room_wanted: bool,
    /// Whether the guest thread is to be called when nothing is on the way.
    end_wanted: bool,
    /// Buffers of contents, to be used again.
    buffers: Vec<Vec<u8>>,
    /// Buffers of bytes on the wire, to be used again.
    wires: Vec<Vec<u8>>,
    /// How far the link has come.
    pub phase: Phase,
    /// Whether the guest thread has given the link up.
    pub is_given_up: bool,
    /// Why the link is over, until somebody has asked.
    pub error: Option<LinkError>,
    /// Bytes a second that the kernel shall send at most, since the guest thread has changed it and until
    /// the writer has told the kernel.
    pub new_pace: Option<Option<u64>>,
    /// What was done so far.
    pub figures: Figures,
}

impl Default for Outbox {
    fn default() -> Outbox {
        Outbox {
            waiting: VecDeque::new(),
            next_taken: FIRST_RECORD,
            ready: BTreeMap::new(),
            next_written: FIRST_RECORD,
            is_writing: false,
            on_the_way: 0,
            room_wanted: false,
            end_wanted: false,
            buffers: Vec::new(),
            wires: Vec::new(),
            phase: Phase::default(),
            is_given_up: false,
            error: None,
            new_pace: None,
            figures: Figures::default(),
        }
    }
}

impl Outbox {
    /// Cost of what is on the way.
    pub fn on_the_way(&self) -> usize {
        self.on_the_way
    }

    /// Cost for which there is room.
    pub fn room(&self) -> usize {
        match self.phase {
            Phase::Over => 0,
            Phase::Calling | Phase::Open => BULK_ON_THE_WAY_MAX - self.on_the_way,
        }
    }

    /// Whether there is room for so much; if not, the guest thread is called later.
    pub fn has_room(&mut self, cost: usize) -> bool {
        let has_room = cost <= self.room();
        self.room_wanted |= !has_room;
        has_room
    }

    /// Whether nothing is on the way; if something is, the guest thread is called later.
    pub fn is_drained(&mut self) -> bool {
        self.end_wanted = self.on_the_way > 0;
        !self.end_wanted
    }

    /// Takes a record from the guest thread, which is there `now`, or gives it back if there is no room.
    pub fn push(&mut self, now: Time, record: Record) -> Result<(), Record> {
        let cost = record.cost();
        if !self.has_room(cost) {
            return Err(record);
        }
        self.on_the_way += cost;
        self.waiting.push_back((record, now));
        Ok(())
    }

    /// The next record for a packer.
    ///
    /// Its content is not compressed if compressing is what the link waits for: the writer has nothing to
    /// write, and there is work for every other packer as well. If the guest thread is what the link waits
    /// for, no record waits, and there is time to compress.
    pub fn take(&mut self) -> Option<Job> {
        let (record, since) = self.waiting.pop_front()?;
        let number = self.next_taken;
        self.next_taken += 1;
        let writer_starves = !self.is_writing && self.ready.is_empty();
        let compress = !(writer_starves && self.waiting.len() >= BULK_PACKERS - 1);
        Some(Job {
            number,
            record,
            compress,
            since,
            wire: self.wires.pop().unwrap_or_default(),
        })
    }

    /// Takes a record back that is packed. `true`: the writer waits for this one, and has to be called.
    pub fn put_packed(&mut self, number: u64, ready: Ready) -> bool {
        self.ready.insert(number, ready);
        number == self.next_written && !self.is_writing
    }

    /// The next record for the writer. `None`: it is called when there is one.
    pub fn take_ready(&mut self) -> Option<Ready> {
        let ready = self.ready.remove(&self.next_written);
        self.is_writing = ready.is_some();
        self.next_written += u64::from(self.is_writing);
        ready
    }

    /// The writer has written this whole record. `true`: the guest thread has to be called.
    pub fn written(&mut self, ready: Ready) -> bool {
        self.on_the_way -= ready.cost;
        keep(&mut self.wires, ready.wire);
        self.figures.records += 1;
        let room = self.room_wanted && self.on_the_way <= BULK_ROOM_AGAIN;
        self.room_wanted &= !room;
        let end = self.end_wanted && self.on_the_way == 0;
        self.end_wanted &= !end;
        room || end
    }

    /// An empty buffer, with memory if one was used before.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps a buffer to be used again.
    pub fn put_buffer(&mut self, buffer: Vec<u8>) {
        keep(&mut self.buffers, buffer);
    }

    /// The link is over, and what is on the way is dropped.
    pub fn end(&mut self, error: Option<LinkError>) {
        self.phase = Phase::Over;
        self.error = error;
        self.waiting.clear();
        self.ready.clear();
        self.buffers.clear();
        self.wires.clear();
    }
}

/// Keeps a buffer to be used again, if few are kept.
fn keep(buffers: &mut Vec<Vec<u8>>, mut buffer: Vec<u8>) {
    if buffer.capacity() > 0 && buffers.len() < BULK_BUFFERS_MAX {
        buffer.clear();
        buffers.push(buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bulk::record::Piece;

    /// A record of this cost.
    fn record(cost: usize) -> Record {
        let empty = Record::State(Piece {
            length: 0,
            offset: 0,
            bytes: Vec::new(),
        });
        let bytes = vec![0; cost - empty.cost()];
        Record::State(Piece {
            length: bytes.len() as u64,
            offset: 0,
            bytes,
        })
    }

    fn ready(cost: usize) -> Ready {
        Ready {
            wire: Vec::new(),
            cost,
        }
    }

    const COST: usize = 1 << 20;
    const NOW: Time = Time(0);

    #[test]
    fn there_is_room_up_to_the_last_byte_and_not_for_one_more() {
        let mut outbox = Outbox::default();
        for _ in 1..BULK_ON_THE_WAY_MAX / COST {
            outbox.push(NOW, record(COST)).unwrap();
        }
        let given_back = outbox.push(NOW, record(COST + 1)).unwrap_err();
        assert_eq!(given_back.cost(), COST + 1);
        outbox.push(NOW, record(COST)).unwrap();
        assert_eq!((outbox.room(), outbox.on_the_way()), (0, BULK_ON_THE_WAY_MAX));
        assert!(outbox.push(NOW, Record::Sealed).is_err());
    }

    #[test]
    fn who_found_no_room_is_called_once_when_some_is_free_again_and_who_asked_when_all_is() {
        let mut outbox = Outbox::default();
        let count = BULK_ON_THE_WAY_MAX / COST;
        for _ in 0..count {
            outbox.push(NOW, record(COST)).unwrap();
        }
        assert!(!outbox.has_room(1) && !outbox.is_drained());
        let mut calls = Vec::new();
        for written in 1..=count {
            let job = outbox.take().unwrap();
            outbox.put_packed(job.number, ready(COST));
            let ready = outbox.take_ready().unwrap();
            if outbox.written(ready) {
                calls.push(written);
            }
        }
        assert_eq!(calls, [count - BULK_ROOM_AGAIN / COST, count]);
        assert!(outbox.is_drained());
        // Whoever has not asked is not called.
        outbox.push(NOW, record(COST)).unwrap();
        assert!(!outbox.written(ready(COST)));
    }

    #[test]
    fn records_are_written_in_their_order_whichever_is_packed_first() {
        let mut outbox = Outbox::default();
        for _ in 0..3 {
            outbox.push(NOW, record(COST)).unwrap();
        }
        let numbers: Vec<u64> = (0..3).map(|_| outbox.take().unwrap().number).collect();
        assert!(outbox.take().is_none());
        assert!(outbox.take_ready().is_none());
        assert!(!outbox.put_packed(numbers[2], ready(3)));
        assert!(!outbox.put_packed(numbers[1], ready(2)));
        assert!(outbox.take_ready().is_none());
        assert!(outbox.put_packed(numbers[0], ready(1)), "the writer waits for it");
        let costs: Vec<usize> = std::iter::from_fn(|| outbox.take_ready())
            .map(|ready| ready.cost)
            .collect();
        assert_eq!(costs, [1, 2, 3]);
    }

    #[test]
    fn what_the_link_waits_for_is_not_compressed() {
        let mut outbox = Outbox::default();
        // The guest thread is slow: one record at a time.
        outbox.push(NOW, record(COST)).unwrap();
        let first = outbox.take().unwrap();
        assert!(first.compress);
        // The packers are slow: the writer has nothing, and there is more work than packers.
        for _ in 0..4 {
            outbox.push(NOW, record(COST)).unwrap();
        }
        assert!(!outbox.take().unwrap().compress);
        // The network is slow: the writer has something in hand, or before it.
        outbox.put_packed(first.number, ready(COST));
        assert!(outbox.take().unwrap().compress);
        outbox.take_ready().unwrap();
        assert!(outbox.take().unwrap().compress);
    }

    #[test]
    fn when_the_link_is_over_nothing_is_taken_and_nothing_kept() {
        let mut outbox = Outbox::default();
        outbox.push(NOW, record(COST)).unwrap();
        outbox.put_buffer(vec![1; 10]);
        outbox.end(Some(LinkError::Stopped));
        assert_eq!((outbox.room(), outbox.phase), (0, Phase::Over));
        assert!(outbox.push(NOW, Record::Sealed).is_err());
        assert!(outbox.take().is_none() && outbox.buffer().capacity() == 0);
    }

    #[test]
    fn buffers_are_used_again_and_not_hoarded() {
        let mut outbox = Outbox::default();
        for _ in 0..BULK_BUFFERS_MAX + 5 {
            outbox.put_buffer(vec![1; 10]);
        }
        let used = std::iter::from_fn(|| Some(outbox.buffer()).filter(|buffer| buffer.capacity() > 0));
        let used: Vec<Vec<u8>> = used.collect();
        assert_eq!(used.len(), BULK_BUFFERS_MAX);
        assert!(used.iter().all(Vec::is_empty));
    }

    #[test]
    fn threads_that_are_kept_waiting_say_that_the_host_has_no_processor_to_spare() {
        let mut service = Service::default();
        assert!(!service.is_prompt(), "nothing is known");
        service.add(1_000, 900);
        assert!(service.is_prompt());
        // One that waited for long is not forgotten at once.
        service.add(5_000, 900);
        assert!(!service.is_prompt());
        (0..5).for_each(|_| service.add(1_000, 900));
        assert!(!service.is_prompt());
        (0..20).for_each(|_| service.add(1_000, 900));
        assert!(service.is_prompt());
    }
}
