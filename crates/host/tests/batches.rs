//! What one read of the link brings is taken to its end, though a batch is bounded and nothing more comes.
//!
//! A real `drive` with a toy guest runs in a thread; the test is its primary.

mod site;

use std::thread;

use arbiter::{Answer, Arbiter, ArbiterError, Asker, Closing, Record};
use disk::DiskPool;
use host::witness::Witness;
use host::{World, drive};
use link::{Link, Listener, Security, connect};
use os::sys::clock;
use os::wake::Waker;
use replica::VmName;
use replica::peer::message::{Log, Message};
use replica::{Claim, Epoch, Node, Notice, OnSlow, Options, PairOptions, PeerId, Span, Time, Verdict};
use report::Reporter;
use site::Toy;

/// Gives every epoch to somebody else, so that a replica that suspects its peer ends.
#[derive(Debug)]
struct Nobody;

impl Arbiter for Nobody {
    fn claim(&mut self, _: &VmName, _: &Claim) -> Answer {
        Answer {
            verdict: Verdict::Lost { heir: false },
            reason: None,
        }
    }

    fn last(&mut self, _: &VmName) -> Result<Option<Record>, ArbiterError> {
        Ok(None)
    }

    fn close(&mut self, _: &VmName, _: Epoch, _: u128, _: &Closing) -> Result<(), ArbiterError> {
        Ok(())
    }

    fn flag(&self) -> String {
        String::new()
    }

    fn check(&mut self, _: &VmName, _: Epoch, _: u128) -> Result<(), ArbiterError> {
        Ok(())
    }
}

/// The primary's end of the link to a backup that runs in a thread of its own.
fn backup() -> Link {
    let mut listener = Listener::bind("127.0.0.1:0".parse().unwrap(), Security::Insecure).unwrap();
    let address = listener.address();
    thread::spawn(move || {
        let link = listener.accept(None, &mut |_| {}).unwrap();
        let (vm, waker) = (VmName::new("toy").unwrap(), Waker::new().unwrap());
        let disks = DiskPool::new(Vec::new(), &waker).unwrap();
        let reporter = Reporter::new("toy", None, None).unwrap();
        let arbiter = Asker::new(Box::new(Nobody), vm.clone(), waker.clone());
        let mut world = World::new(vm, 2, waker, disks, reporter);
        world.live = false;
        world.links.add(PeerId(0), link);
        world.arbiter = Some(arbiter);
        let options = PairOptions {
            epoch: Epoch(1),
            owner: 2,
            primary: 1,
            backup: 2,
            peer: PeerId(0),
            timeout: Span::from_ms(5_000),
            notice: Notice::TimeoutOnly,
            on_slow: OnSlow::default(),
            run: Options::default(),
        };
        drive(
            Node::backup(Witness::new(Toy::new()), clock::now(), options),
            world,
        )
        .unwrap();
    });
    connect(address, &Security::Insecure, Span::from_ms(600_000), &mut |_| {
        true
    })
    .unwrap()
}

#[test]
fn a_backup_acknowledges_all_of_many_messages_that_come_in_one_write() {
    let mut primary = backup();
    let last = Time(300);
    for sent in 1..=last.0 {
        let log = Log {
            sent: Time(sent),
            released: 0,
            frame: Vec::new().into(),
        };
        primary.send(&Message::Log(log).encode()).unwrap();
    }
    assert!(primary.flush().unwrap());
    // A backup that waits for more before it takes the rest suspects its primary, loses, and closes the link.
    loop {
        match primary.receive().expect("it waits for more, and gives up") {
            Some(message) => match Message::decode(&message).unwrap() {
                Message::Ack(ack) if ack.echo == last => break,
                Message::Ack(_) => {}
                other => panic!("{other:?}"),
            },
            None => thread::yield_now(),
        }
    }
}
