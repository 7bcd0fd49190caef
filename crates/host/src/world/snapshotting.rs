//! What `World` does for a snapshot of the guest: it gives the node's pieces to the thread that sends them to
//! whoever wants the snapshot, tells the node what comes back, and tells what became of it.

use std::io::Write;
use std::os::unix::net::UnixStream;

use control::Part;
use replica::{Event, SnapshotEvent, SnapshotOrder, SnapshotPiece};

use super::World;
use crate::snapshot::{Snapshotting, Told};
use os::entropy;
use os::sys::clock;
use report::Happening;

impl World {
    /// How a snapshot of this guest is to be taken. `hook`: whoever wants it keeps the disks along with it.
    #[must_use]
    pub fn snapshot_order(&self, hook: bool) -> SnapshotOrder {
        SnapshotOrder {
            id: entropy::random_u128(),
            disks: !self.disks.is_empty(),
            hook,
        }
    }

    /// Begins a snapshot that leaves over this connection.
    pub fn begin_snapshot(&mut self, mut stream: UnixStream, hook: bool, handle: &mut dyn FnMut(Event)) {
        let order = self.snapshot_order(hook);
        let begun = match (&self.snapshot, &self.config) {
            (None, Some(config)) => {
                let copy = stream.try_clone();
                let waker = self.waker.clone();
                let begin = |copy| Snapshotting::begin(copy, self.vm.as_str(), config, order, waker);
                copy.and_then(begin).map_err(|error| error.to_string())
            }
            // Another one was begun since this one was allowed.
            _ => Err("another snapshot of it is being taken".to_owned()),
        };
        match begun {
            Ok(begun) => {
                let room = begun.room();
                self.snapshot = Some(begun);
                handle(Event::Snapshot(SnapshotEvent::Begin(order)));
                handle(Event::Snapshot(room));
            }
            Err(why) => {
                // A caller that does not take a line hears by the connection's end that nothing comes.
                let _ = stream.write(&control::line(&Part::Failed { why }));
            }
        }
    }

    /// Gives out a piece of the snapshot, and tells the node how much more may come.
    pub(super) fn give_out(&mut self, piece: SnapshotPiece, handle: &mut dyn FnMut(Event)) {
        let Some(mut snapshot) = self.snapshot.take() else {
            return;
        };
        let failed = match &piece {
            SnapshotPiece::Failed(why) => Some(why.clone()),
            _ => None,
        };
        snapshot.push(piece);
        match failed {
            Some(why) => {
                snapshot.let_go();
                self.reporter.happened(Happening::SnapshotFailed { why });
            }
            None => {
                handle(Event::Snapshot(snapshot.room()));
                self.snapshot = Some(snapshot);
            }
        }
    }

    /// Does what is due for the snapshot.
    pub(super) fn look_at_snapshot(&mut self, handle: &mut dyn FnMut(Event)) {
        while let Some(snapshot) = &mut self.snapshot {
            match (snapshot.told(), snapshot.over) {
                (None, _) => {
                    handle(Event::Snapshot(snapshot.room()));
                    return;
                }
                (Some(Told::Over { bytes }), stood) => {
                    let took = clock::now().since(snapshot.began);
                    let stood = stood.unwrap_or_default();
                    let taken = Happening::snapshot_taken(snapshot.step, bytes, took, stood);
                    self.snapshot = None;
                    self.reporter.happened(taken);
                }
                // The node has done its part, and whoever wants it has not taken the rest.
                (Some(Told::Event(SnapshotEvent::Lost(why))), Some(_)) => {
                    self.snapshot = None;
                    self.reporter.happened(Happening::SnapshotFailed { why });
                }
                (Some(Told::Event(event)), _) => handle(Event::Snapshot(event)),
            }
        }
    }
}
