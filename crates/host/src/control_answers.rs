//! What the guest thread answers to the callers of its control socket: `drive` has the next request answered
//! in each of its rounds. An answer is made of what `world` and the node know just now.
//!
//! Nothing here waits, and what a request does to the guest is an input like any other, so it is in the log.

use std::net::SocketAddr;

use machine::{Control, Input};
use replica::{Event, Guest, Node, RoleName};

use crate::witness::Witness;
use crate::world::World;
use control::{Answer, Asked, Cloning, Status, Verb};
use os::sys::clock;
use report::{Happening, Reason, StateWord, Wish};

/// Ticks of the guest's clock in a millisecond.
const TICKS_A_MS: u64 = 10_000;

/// Answers the next request; false: there is none.
pub fn answer_next<G: Guest>(world: &mut World, node: &mut Node<Witness<G>>) -> bool {
    let handed = world
        .control
        .as_mut()
        .and_then(|socket| socket.control().handed());
    if let Some((stream, hook)) = handed {
        world.begin_snapshot(stream, hook, &mut |event| node.handle(clock::now(), event));
        return true;
    }
    let Some(asked) = world
        .control
        .as_mut()
        .and_then(|socket| socket.control().request())
    else {
        return false;
    };
    let answer = match asked.verb {
        Verb::Status => status(world, node),
        Verb::Snapshot { hook } => snapshot(world, node, hook),
        Verb::Console(_) => console(world),
        _ => change(world, node, &asked),
    };
    if let Some(socket) = &mut world.control {
        socket.control().answer(asked, answer);
    }
    true
}

/// Does what a request asks for, if that can be done now.
fn change<G: Guest>(world: &mut World, node: &mut Node<Witness<G>>, asked: &Asked) -> Answer {
    let name = world.vm.to_string();
    let events = world
        .control
        .as_mut()
        .map_or(0, |socket| socket.control().next_line());
    if let Err(refusal) = must_be_live(world) {
        return refusal;
    }
    match asked.verb {
        Verb::Stop { hard: false } => {
            let sentence = format!(
                "the guest cannot be asked to switch off, since its board has no power button: switch it off \
                 from inside, or pull its plug with `lockstep stop {name} --hard`; nothing was changed"
            );
            return Answer::refused("no-power-button", sentence);
        }
        Verb::Stop { hard: true } => world.pull_plug(&mut |event| node.handle(clock::now(), event)),
        Verb::Pause => node.handle(clock::now(), Event::Pause(true)),
        Verb::Resume => node.handle(clock::now(), Event::Pause(false)),
        Verb::Reset if world.reporter.guarding().paused_since().is_some() => {
            let sentence = format!(
                "{name} is paused, and a guest that stands cannot boot; `lockstep resume {name}` has it run \
                 on; nothing was changed"
            );
            return Answer::refused("paused", sentence);
        }
        Verb::Reset => {
            world.reporter.happened(Happening::Reset { by: Wish::Control });
            let reset = Input::Control(Control::Reset);
            node.handle(clock::now(), Event::Input(reset));
        }
        Verb::Protect { to } => {
            if let Err(refusal) = protect(world, to) {
                return refusal;
            }
        }
        Verb::MoveBackup { to } => {
            if let Err(refusal) = move_backup(world, to) {
                return refusal;
            }
        }
        Verb::Unprotect => node.handle(clock::now(), Event::Unprotect),
        Verb::SuspendProtection => match called_last(world) {
            Ok(host) => {
                let peer = host.to_string();
                world.reporter.happened(Happening::Suspended { peer });
                node.handle(clock::now(), Event::Unprotect);
            }
            Err(refusal) => return refusal,
        },
        Verb::ResumeProtection => {
            if let Err(refusal) = called_last(world).and_then(|host| protect(world, host)) {
                return refusal;
            }
        }
        Verb::Failover => {
            if world.reporter.role() != RoleName::Primary {
                return no_backup(&name, "that could go on with it");
            }
            node.handle(clock::now(), Event::HandOver);
        }
        Verb::Status | Verb::Events { .. } | Verb::Snapshot { .. } | Verb::Console(_) => {}
    }
    Answer::Begun { events }
}

/// Says whether the guest's console is here. The server knows who else is at it.
fn console(world: &World) -> Answer {
    match must_be_live(world) {
        // It takes the guest over just now, and shows nothing yet.
        Ok(()) if !world.live => {
            Answer::refused("undecided", "the guest is being taken over here; try again")
        }
        Ok(()) => Answer::Begun { events: 0 },
        Err(refusal) => refusal,
    }
}

/// Says whether a snapshot can be taken. It begins when the caller's connection comes, on which it leaves. A
/// backup takes one too: its guest is the same.
fn snapshot<G: Guest>(world: &mut World, node: &Node<Witness<G>>, hook: bool) -> Answer {
    let order = world.snapshot_order(hook);
    let why = if world.snapshot.is_some() {
        Some("another snapshot of it is being taken")
    } else if hook && !order.disks {
        Some("it has no disks that could be kept along with it; leave `--disks-hook` out")
    } else {
        node.why_no_snapshot(order)
    };
    if let Some(why) = why {
        let sentence = format!(
            "no snapshot of {} can be taken: {why}; nothing was changed",
            world.vm
        );
        return Answer::refused("no-snapshot", sentence);
    }
    let next_line = |socket: &mut crate::control_socket::ControlSocket| socket.control().next_line();
    Answer::Begun {
        events: world.control.as_mut().map_or(0, next_line),
    }
}

/// Has another backup at `to` called, or says what stands in the way.
fn move_backup(world: &mut World, to: SocketAddr) -> Result<(), Answer> {
    if world.reporter.role() != RoleName::Primary {
        return Err(no_backup(world.vm.as_str(), "that could be replaced"));
    }
    let refused =
        |sentence: String| Answer::refused("cannot-move", format!("{sentence}; nothing was changed"));
    world.protect(to).map_err(refused)
}

/// Refuses what only a VM with a backup can do.
fn no_backup(name: &str, what_for: &str) -> Answer {
    let sentence = format!(
        "{name} has no backup {what_for}; `lockstep protect {name} --to HOST:PORT` makes one; nothing was \
         changed"
    );
    Answer::refused("no-backup", sentence)
}

/// Refuses an order to a process that does not show the guest to the world.
fn must_be_live(world: &World) -> Result<(), Answer> {
    match world.reporter.role() {
        RoleName::Solo | RoleName::Primary => Ok(()),
        RoleName::Claiming => {
            let sentence =
                "the arbiter has not yet said whether the VM goes on here; try again, nothing was changed";
            Err(Answer::refused("undecided", sentence))
        }
        RoleName::Backup | RoleName::Apprentice | RoleName::Handing | RoleName::Halted => {
            let (name, other) = (&world.vm, world.reporter.peer().unwrap_or("the other side"));
            let sentence = format!(
                "{name} does not run in this process but at {other}: give the order there; nothing was \
                 changed"
            );
            Err(Answer::refused("not-live", sentence))
        }
    }
}

/// The host that this process has called last to be the VM's backup.
fn called_last(world: &World) -> Result<SocketAddr, Answer> {
    let name = &world.vm;
    let last = world.protection.as_ref().and_then(|protection| protection.last);
    last.ok_or_else(|| {
        let sentence = format!(
            "this process has called no host to be the backup of {name}, so it remembers none: use \
             `lockstep unprotect {name}`, and `lockstep protect {name} --to HOST:PORT` later; nothing was \
             changed"
        );
        Answer::refused("no-host", sentence)
    })
}

/// Has the backup at `to` called, or says what stands in the way.
fn protect(world: &mut World, to: SocketAddr) -> Result<(), Answer> {
    if world.reporter.role() == RoleName::Primary {
        let peer = world.reporter.peer().unwrap_or_default();
        let sentence = format!("the VM has a backup already, at {peer}; nothing was changed");
        return Err(Answer::refused("protected", sentence));
    }
    if world.arbiter.is_none() {
        let sentence = "a VM without an arbiter can have no backup, since both could go live: start it with \
                        `arbiter =` in VM.toml, or `--arbiter PLACE`; nothing was changed";
        return Err(Answer::refused("no-arbiter", sentence));
    }
    let refused = |sentence: String| Answer::refused("cannot-protect", sentence);
    world.protect(to).map_err(refused)
}

/// How the VM is.
fn status<G: Guest>(world: &mut World, node: &Node<Witness<G>>) -> Answer {
    let (now, outside, metrics) = (clock::now(), world.outside(), node.metrics());
    let before = world
        .control
        .as_mut()
        .and_then(|socket| socket.measured(now, outside.traffic));
    let reporter = &world.reporter;
    let figures = reporter.figures_aside(now, metrics, outside, before);
    let guarding = reporter.guarding();
    let protection = guarding.protection(metrics);
    let mut status = Status::only(
        world.vm.as_str(),
        std::process::id(),
        StateWord::Unknown,
        Reason::new("", ""),
    );
    status.version = control::VERSION.into();
    status.guest = guarding.guest();
    status.paused_since_wall_ns = guarding.paused_since();
    status.role = Some(metrics.role.into());
    status.clone = Cloning::of(guarding.coming(), metrics);
    status.protection = protection;
    // A backup hears from its primary that the VM is in a later epoch by now.
    let owned = world.owned.map_or(metrics.epoch, |owned| owned.epoch);
    status.epoch = owned.max(metrics.epoch).0;
    status.first_epoch = world.first_epoch.map(|epoch| epoch.0);
    status.is_dismissing = node.is_dismissing();
    status.is_swapping = node.is_swapping();
    status.has_snapshot = world.snapshot.is_some();
    status.peer = reporter.peer().map(str::to_owned);
    status.arbiter = world.arbiter_place();
    status.health = Some(world.health(now));
    status.timer_late_ms = node.guest().timer_late() / TICKS_A_MS;
    status.panic_ended = node.guest().stands_in_panic();
    status.figures = Some(Box::new(figures));
    Answer::Status {
        status: Box::new(status),
    }
}
