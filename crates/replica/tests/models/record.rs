//! Records a life: a guest under the recorder of a node, as `lockstep record` runs it, in a world of its own.

use std::sync::atomic::AtomicBool;

use hart::Interpreter;
use machine::Machine;
use replica::{Action, Guest, Header, Node, Options, Span, Time};

use crate::recordings::Recording;
use crate::world::World;

/// Nanoseconds of one step: slow, so that a millisecond of the guest's clock takes few steps.
const STEP_NS: u64 = 100;
/// How long a guest that waits is left alone, at most.
const IDLE: Span = Span(20_000);
/// By then each life is over: ten seconds of its time.
const END: Time = Time(10_000_000_000);

/// Records a life, and gives the log file.
pub fn record(recording: &Recording, engine: Interpreter) -> Vec<u8> {
    let options = Options {
        digest_every: Some(recording.digest_every),
        record: Some(Header::new(&recording.config, "lockstep, of its own tests", 0)),
        ..Options::default()
    };
    let machine = Machine::new(recording.config.clone(), Box::new(engine)).unwrap();
    let mut now = Time(0);
    let mut node = Node::solo(machine, now, options);
    let mut world = World::of(recording.name);
    let mut file = Vec::new();
    loop {
        assert!(now < END, "{} does not end", recording.name);
        while let Some(event) = world.due(now) {
            node.handle(now, event);
        }
        let begin = Guest::now(node.guest());
        node.slice(now, &AtomicBool::new(false));
        let ran = Guest::now(node.guest()).since(begin);
        let wait = if ran == 0 { IDLE } else { Span(ran * STEP_NS) };
        now = now.after(wait);
        while let Some(action) = node.poll(now) {
            match action {
                Action::Append(bytes) => file.extend_from_slice(&bytes),
                Action::Halt(_) => return file,
                action => world.carry_out(now, &action),
            }
        }
    }
}
