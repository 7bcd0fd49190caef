//! `Intake`: the apprentice's end of a bulk link. It makes of its records what the node takes: pages, the
//! whole state, the word that that was all. Before there is a node, it gathers the images that this host
//! lacks.
//!
//! Who sends what, and when, is checked by the node; that images are what their names say is checked here.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use link::LinkError;
use link::bulk::{Connection, Receiver, Record, Shape};
use machine::{Batch, PageContent};
use os::sandbox::ServedLater;
use os::wake::Waker;
use replica::{Bulk, ImageId, PeerId};

/// What comes over the bulk link.
#[derive(Debug)]
pub struct Intake {
    /// From whom the clone comes.
    pub peer: PeerId,
    receiver: Receiver,
    /// The state, as far as it has come.
    state: Vec<u8>,
    /// Images, as far as they have come, by their SHA-256.
    images: BTreeMap<[u8; 32], Vec<u8>>,
    /// The guest thread comes after guests and clients on this host until the owner closes the link to what
    /// has become a member, and after everybody as long as the state is on its way; `None`: it may not.
    later: Option<ServedLater>,
}

impl Intake {
    /// Receives the clone of a guest with so many pages from this peer.
    ///
    /// # Errors
    /// This host gives no more threads or descriptors.
    pub fn new(peer: PeerId, connection: Connection, pages: u32, waker: Waker) -> io::Result<Intake> {
        let shape = Shape {
            page_len: machine::PAGE,
            pages,
        };
        Ok(Intake {
            peer,
            receiver: Receiver::new(connection, shape, waker)?,
            state: Vec::new(),
            images: BTreeMap::new(),
            later: None,
        })
    }

    /// Has this thread, the guest's, be served later for as long as there is something to take in.
    pub fn serve_later(&mut self, later: Option<ServedLater>) {
        self.later = later;
    }

    /// Is something there to be taken?
    #[must_use]
    pub fn has_record(&self) -> bool {
        self.receiver.has_record()
    }

    /// The next piece of the clone that has come whole; `None`: nothing has.
    ///
    /// # Errors
    /// The bulk link is over.
    pub fn take(&mut self) -> Result<Option<Bulk>, LinkError> {
        while let Some(record) = self.receiver.receive()? {
            match record {
                Record::Pages(pages) => {
                    let mut batch = Batch::new(machine::PAGE);
                    for (page, content) in pages.iter() {
                        batch.push(page, content.map_or(PageContent::Zero, PageContent::Bytes));
                    }
                    self.receiver.recycle(pages.into_buffer());
                    return Ok(Some(Bulk::Pages(batch)));
                }
                Record::State(piece) => {
                    self.state.extend_from_slice(&piece.bytes);
                    if self.state.len() as u64 >= piece.length {
                        return Ok(Some(Bulk::State(std::mem::take(&mut self.state))));
                    }
                }
                Record::Sealed => {
                    // From now on it must come closer to its owner.
                    if let Some(later) = &self.later {
                        later.as_others();
                    }
                    return Ok(Some(Bulk::Sealed));
                }
                Record::Image { image, piece } => {
                    self.images
                        .entry(image)
                        .or_default()
                        .extend_from_slice(&piece.bytes);
                }
            }
        }
        Ok(None)
    }

    /// The image of this name, once all of it has come. An image that is not what its name says never does.
    #[must_use]
    pub fn image(&self, name: &ImageId) -> Option<Arc<[u8]>> {
        let bytes = self.images.get(&name.sha256)?;
        (bytes.len() as u64 == name.length && ImageId::of(bytes) == *name).then(|| bytes.as_slice().into())
    }
}
