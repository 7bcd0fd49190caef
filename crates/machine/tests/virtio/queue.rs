//! The split ring, through a device with the simplest buffers there can be: it sends what it is given.

use hart::{Visit, Visitor};
use machine::{
    Effect, Transport,
    parts::{Accepted, Broken, Function, Reach, Rings, VirtioMmio},
};

use crate::rig::{BASE, CONFIG, EVENT_IDX, INDIRECT_DESC, MEMORY, PLAIN, SLOT, USED, into, out};
use crate::state;
use crate::world::{register, status};

const TRANSMIT: usize = 1;

/// Every buffer of queue 1 leaves at once as an effect, byte for byte. Queue 0 is never looked at.
struct Speaker;

impl Function for Speaker {
    const ID: u32 = 3;
    const QUEUES: &'static [u16] = &[1024, 1024];

    fn features(&self) -> u64 {
        0
    }

    fn config(&self, _: u64, _: Accepted) -> u8 {
        0
    }

    fn set_config(&mut self, _: u64, _: u8, _: Accepted) {}

    fn notify(&mut self, queue: usize, rings: &mut Rings<'_>, reach: &mut Reach<'_>) -> Result<(), Broken> {
        if queue != TRANSMIT {
            return Ok(());
        }
        while let Some(chain) = rings.queue(TRANSMIT)?.pop(reach.ram)? {
            let mut bytes = vec![0; chain.readable.total() as usize];
            chain.readable.gather(reach.ram, 0, &mut bytes)?;
            if !bytes.is_empty() {
                reach.effects.push_back(Effect::ConsoleWrite { port: 1, bytes });
            }
            rings.queue(TRANSMIT)?.push(reach.ram, chain.head, 0)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}
}

impl Visit for Speaker {
    fn visit(&mut self, _: &mut dyn Visitor) {}
}

type Rig = crate::rig::Rig<VirtioMmio<Speaker>>;

fn speaker() -> VirtioMmio<Speaker> {
    VirtioMmio::new(SLOT, Transport::Modern, Speaker)
}

fn written(rig: &mut Rig) -> Vec<u8> {
    let effects = rig.take_effects();
    effects
        .into_iter()
        .fold(Vec::new(), |mut all, effect| match effect {
            Effect::ConsoleWrite { port: 1, bytes } => {
                all.extend(bytes);
                all
            }
            other => panic!("{other:?}"),
        })
}

fn send(rig: &mut Rig, text: &[u8]) -> u16 {
    let address = rig.place(text);
    rig.offer(TRANSMIT, &[out(address, text.len() as u32)])
}

/// The driver broke a rule: the device says so once and does nothing any more.
fn assert_broken(rig: &mut Rig) {
    assert!(rig.needs_reset());
    assert_ne!(rig.take_interrupt() & CONFIG, 0);
    rig.take_effects();
    send(rig, b"after");
    rig.notify(TRANSMIT);
    assert!(rig.take_effects().is_empty());
    // A reset makes it whole again.
    rig.start(PLAIN, 8);
    send(rig, b"again");
    rig.notify(TRANSMIT);
    assert_eq!(written(rig), b"again");
}

#[test]
fn one_notify_takes_every_buffer() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    let heads = [
        send(&mut rig, b"one "),
        send(&mut rig, b"two "),
        send(&mut rig, b"three"),
    ];
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig), b"one two three");
    assert_eq!(rig.used(TRANSMIT), heads.map(|head| (head, 0)));
    assert_eq!(rig.take_interrupt(), USED);
}

#[test]
fn buffers_of_several_pieces_are_one_run_of_bytes() {
    let mut rig = Rig::started(speaker);
    let text = rig.place(b"abcdef");
    let pieces = [out(text, 1), out(text + 1, 3), out(text + 4, 2)];
    rig.offer(TRANSMIT, &pieces);
    rig.offer_indirect(TRANSMIT, &pieces);
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig), b"abcdefabcdef");
}

#[test]
fn what_was_offered_before_driver_ok_is_taken_at_driver_ok() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    let (queue, memory) = (rig.queues[1].clone(), rig.place(b"early"));
    rig.negotiate(PLAIN);
    rig.describe(queue.descriptors, 0, (memory, 5, 0, 0));
    rig.offer_head(TRANSMIT, 0);
    rig.write(register::QUEUE_SELECT, 1);
    rig.write(register::QUEUE_SIZE, 8);
    for (register, address) in [
        (register::QUEUE_DESCRIPTORS_LOW, queue.descriptors),
        (register::QUEUE_DRIVER_LOW, queue.driver),
        (register::QUEUE_DEVICE_LOW, queue.device),
    ] {
        rig.write(register, address as u32);
    }
    rig.write(register::QUEUE_READY, 1);
    rig.notify(TRANSMIT);
    assert!(rig.take_effects().is_empty());
    rig.write(register::STATUS, status::DRIVER_OK);
    assert_eq!(written(&mut rig), b"early");
}

#[test]
fn indices_wrap_at_16_bits() {
    for features in [PLAIN, u64::MAX] {
        let mut rig = Rig::started_with(speaker, features, 4);
        let address = rig.place(b"x");
        for round in 0..70_000_u32 {
            rig.set_used_event(TRANSMIT, round as u16);
            let head = rig.offer(TRANSMIT, &[out(address, 1)]);
            rig.notify(TRANSMIT);
            assert_eq!(rig.used(TRANSMIT), [(head, 0)]);
            assert_eq!(rig.take_effects().len(), 1);
            assert_eq!(rig.take_interrupt(), USED, "round {round}");
            if features & EVENT_IDX != 0 {
                assert_eq!(rig.avail_event(TRANSMIT), (round + 1) as u16);
            }
        }
    }
}

#[test]
fn no_interrupt_flag_is_obeyed() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    let flags = rig.queues[TRANSMIT].driver;
    rig.poke(flags, &[1, 0]);
    send(&mut rig, b"x");
    rig.notify(TRANSMIT);
    assert_eq!(rig.take_interrupt(), 0);
    rig.poke(flags, &[0, 0]);
    // Nothing new is used: no interrupt for what was decided before.
    rig.notify(TRANSMIT);
    assert_eq!(rig.take_interrupt(), 0);
}

#[test]
fn used_event_chooses_the_buffer_that_interrupts() {
    let mut rig = Rig::started_with(speaker, u64::MAX, 16);
    // The flag has no meaning with event index (VIRTIO 2.7.7.2).
    let flags = rig.queues[TRANSMIT].driver;
    rig.poke(flags, &[1, 0]);
    rig.set_used_event(TRANSMIT, 3);
    for expected in [0, 0, 0, USED, 0, 0] {
        send(&mut rig, b"x");
        rig.notify(TRANSMIT);
        assert_eq!(rig.take_interrupt(), expected);
    }
    // In the middle of a batch: 6..10 are used at once.
    rig.set_used_event(TRANSMIT, 8);
    rig.used(TRANSMIT);
    for _ in 0..4 {
        send(&mut rig, b"x");
    }
    rig.notify(TRANSMIT);
    assert_eq!(rig.take_interrupt(), USED);
    assert_eq!(rig.avail_event(TRANSMIT), 10);
}

#[test]
fn a_full_ring_of_indirect_chains_is_taken() {
    let mut rig = Rig::started(speaker);
    let size = rig.queues[TRANSMIT].size;
    let byte = rig.place(b"y");
    for _ in 0..size {
        rig.offer_indirect(TRANSMIT, &[out(byte, 1), out(byte, 1)]);
    }
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig).len(), usize::from(size) * 2);
}

#[test]
fn the_most_work_that_one_notify_can_ask_for_is_done_and_ends() {
    let mut rig = Rig::started(speaker);
    let ring = rig.queues[TRANSMIT].clone();
    let (byte, table) = (rig.place(b"w"), rig.alloc(1024 * 16));
    for index in 0..1024 {
        rig.describe(table, index, (byte, 1, u16::from(index < 1023), index + 1));
    }
    for head in 0..ring.size {
        rig.describe(ring.descriptors, head, (table, 1024 * 16, 4, 0));
        rig.offer_head(TRANSMIT, head);
    }
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig).len(), 1024 * 1024);
}

#[test]
fn a_chain_may_be_longer_than_the_ring_but_has_an_end() {
    // VIRTIO 2.7.5.3.1 forbids the driver what QEMU's devices take.
    let mut rig = Rig::started_with(speaker, u64::MAX, 8);
    let byte = rig.place(b"z");
    for length in [8, 9, 1024] {
        rig.offer_indirect(TRANSMIT, &vec![out(byte, 1); length]);
        rig.notify(TRANSMIT);
        assert_eq!(written(&mut rig).len(), length);
    }
    rig.offer_indirect(TRANSMIT, &[out(byte, 1); 1025]);
    rig.notify(TRANSMIT);
    assert_broken(&mut rig);
}

#[test]
fn a_chain_may_end_in_an_indirect_table() {
    let mut rig = Rig::started_with(speaker, u64::MAX, 8);
    let text = rig.place(b"direct indirect");
    let table = rig.alloc(32);
    rig.describe(table, 0, (text + 6, 4, 1, 1));
    rig.describe(table, 1, (text + 10, 5, 0, 0));
    let descriptors = rig.queues[TRANSMIT].descriptors;
    rig.describe(descriptors, 0, (text, 6, 1, 1));
    // VIRTIO 2.7.5.3.2: the write flag of the reference is ignored.
    rig.describe(descriptors, 1, (table, 32, 4 | 2, 0));
    rig.offer_head(TRANSMIT, 0);
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig), b"direct indirect");
}

#[test]
fn broken_descriptors_need_a_reset() {
    let text = BASE + 0x100;
    let table = BASE + 0x200;
    let end = BASE + MEMORY;
    // Descriptors 0, 1 and those of the table; head 0.
    type Raw = (u64, u32, u16, u16);
    let cases: &[(&str, [Raw; 2], [Raw; 2])] = &[
        ("loop", [(text, 1, 1, 1), (text, 1, 1, 0)], [(0, 0, 0, 0); 2]),
        (
            "loop to itself",
            [(text, 1, 1, 0), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "next beyond the table",
            [(text, 1, 1, 8), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        ("no length", [(text, 0, 0, 0), (0, 0, 0, 0)], [(0, 0, 0, 0); 2]),
        (
            "below RAM",
            [(BASE - 1, 2, 0, 0), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "over the end of RAM",
            [(end - 1, 2, 0, 0), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "around the end of numbers",
            [(u64::MAX, 2, 0, 0), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "as long as can be",
            [(text, u32::MAX, 0, 0), (0, 0, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "readable after writable",
            [(text, 1, 3, 1), (text, 1, 0, 0)],
            [(0, 0, 0, 0); 2],
        ),
        (
            "table of odd length",
            [(table, 17, 4, 0), (0, 0, 0, 0)],
            [(text, 1, 0, 0); 2],
        ),
        (
            "table of no length",
            [(table, 0, 4, 0), (0, 0, 0, 0)],
            [(text, 1, 0, 0); 2],
        ),
        (
            "table outside RAM",
            [(end, 16, 4, 0), (0, 0, 0, 0)],
            [(text, 1, 0, 0); 2],
        ),
        (
            "table with next",
            [(table, 32, 5, 1), (text, 1, 0, 0)],
            [(text, 1, 0, 0); 2],
        ),
        (
            "table in a table",
            [(table, 32, 4, 0), (0, 0, 0, 0)],
            [(table, 32, 4, 0), (text, 1, 0, 0)],
        ),
        (
            "next beyond an indirect table",
            [(table, 32, 4, 0), (0, 0, 0, 0)],
            [(text, 1, 1, 2), (0, 0, 0, 0)],
        ),
        (
            "loop in a table",
            [(table, 32, 4, 0), (0, 0, 0, 0)],
            [(text, 1, 1, 1), (text, 1, 1, 0)],
        ),
    ];
    for (name, direct, indirect) in cases {
        println!("{name}");
        let mut rig = Rig::started_with(speaker, u64::MAX, 8);
        let descriptors = rig.queues[TRANSMIT].descriptors;
        for index in 0..2 {
            rig.describe(descriptors, index, direct[usize::from(index)]);
            rig.describe(table, index, indirect[usize::from(index)]);
        }
        rig.offer_head(TRANSMIT, 0);
        rig.notify(TRANSMIT);
        assert_broken(&mut rig);
    }
}

#[test]
fn an_indirect_table_that_was_not_accepted_needs_a_reset() {
    let mut rig = Rig::started_with(speaker, !INDIRECT_DESC, 8);
    let byte = rig.place(b"x");
    rig.offer_indirect(TRANSMIT, &[out(byte, 1)]);
    rig.notify(TRANSMIT);
    assert_broken(&mut rig);
}

#[test]
fn a_head_beyond_the_ring_needs_a_reset() {
    for head in [8, 9, u16::MAX] {
        let mut rig = Rig::started_with(speaker, PLAIN, 8);
        rig.offer_head(TRANSMIT, head);
        rig.notify(TRANSMIT);
        assert_broken(&mut rig);
    }
}

#[test]
fn an_index_that_jumps_or_goes_back_needs_a_reset() {
    for index in [9_u16, 100, 0x8000, u16::MAX] {
        let mut rig = Rig::started_with(speaker, PLAIN, 8);
        let at = rig.queues[TRANSMIT].driver + 2;
        rig.poke(at, &index.to_le_bytes());
        rig.notify(TRANSMIT);
        assert_broken(&mut rig);
    }
}

#[test]
fn what_was_sent_before_the_broken_buffer_is_given_back() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    let head = send(&mut rig, b"good");
    rig.offer_head(TRANSMIT, 99);
    rig.notify(TRANSMIT);
    assert_eq!(written(&mut rig), b"good");
    assert_eq!(rig.used(TRANSMIT), [(head, 0)]);
    assert_eq!(rig.take_interrupt(), USED | CONFIG);
}

#[test]
fn a_writable_transmit_buffer_sends_nothing() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    let head = rig.offer(TRANSMIT, &[into(BASE, 8)]);
    rig.notify(TRANSMIT);
    assert!(rig.take_effects().is_empty());
    assert_eq!(rig.used(TRANSMIT), [(head, 0)]);
}

#[test]
fn a_restored_queue_of_impossible_size_is_rejected() {
    let mut rig = Rig::started_with(speaker, PLAIN, 8);
    for size in [0, 1025, 2048, 65535] {
        let mut fields = state::save(&mut rig.slot);
        state::forge(&mut fields, "size", size);
        let mut other = speaker();
        assert!(state::restore(&mut other, fields).is_err(), "{size}");
    }
}
