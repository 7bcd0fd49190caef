//! `Protection`: how a live VM gets a backup while it runs (FT 3.1-c). It calls the host that is to take the
//! backup, and then sends over the bulk link what the node gives it. `World` asks it in every round.
//!
//! Calling may take long, so a thread calls and the guest thread fetches the link. Nothing here decides
//! anything about the clone: that is the node's business (`replica::clone`).

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use link::bulk::{Pages, Piece, Record, Sender};
use link::{Link, LinkError, Security, Token, connect_from};
use machine::{Boot, PageContent};
use os::sandbox::{self, Kind};
use os::wake::Waker;
use replica::{Bulk, Event, Hello, ImageId, Joined, PeerId};

use crate::limits::{BULK_ROOM_TOLD, PROTECT_PATIENCE};

/// Zeroes for a page of which a batch has no bytes.
static ZEROES: [u8; machine::PAGE] = [0; machine::PAGE];

/// What a live VM needs to get a backup.
#[derive(Debug)]
pub struct Protection {
    /// How this side greets the process that is to be the backup.
    me: Hello,
    security: Security,
    /// The images, of which the other host may lack some.
    boot: Boot,
    /// The call that is under way.
    call: Option<Call>,
    /// How many links were made so far; they are numbered by it.
    links: u32,
    /// The process that a call has reached, until it is the backup or will not be; `None`: there is none.
    newcomer: Option<Newcomer>,
    /// Whom this process has called last to be the backup, also when the pair was formed; `None`: nobody.
    pub last: Option<SocketAddr>,
}

/// A call under way.
#[derive(Debug)]
struct Call {
    to: SocketAddr,
    answer: Receiver<Result<Link, LinkError>>,
}

/// A process on its way to be the backup.
#[derive(Debug)]
struct Newcomer {
    peer: PeerId,
    /// Where it was called.
    address: SocketAddr,
    /// The bulk link to it; `None`: not opened yet.
    bulk: Option<Outgoing>,
}

/// A bulk link.
#[derive(Debug)]
struct Outgoing {
    sender: Sender,
    /// Images that the other host lacks, as far as they are not sent, and how many bytes of the first are.
    images: VecDeque<([u8; 32], Arc<[u8]>)>,
    sent: usize,
    /// What had no room yet, oldest first, behind the images. The node is told of room only when nothing is
    /// left of both.
    unsent: VecDeque<Record>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Called {
    /// The link is made.
    Made(Box<(Link, Joined)>),
    /// It came to nothing.
    Failed {
        /// Whom it was to reach.
        to: SocketAddr,
        /// Why it did not.
        error: LinkError,
    },
}

impl Protection {
    /// What lets a VM that greets as `me` and was booted from `boot` be protected. The numbers of its links
    /// begin behind `links`.
    #[must_use]
    pub fn new(me: Hello, security: Security, boot: Boot, links: u32) -> Protection {
        Protection {
            me,
            security,
            boot,
            call: None,
            links,
            newcomer: None,
            last: None,
        }
    }

    /// Begins to call the host at `to`. The heartbeats of the link go through `datagrams`, since a thread in
    /// the sandbox can make no such socket.
    ///
    /// # Errors
    /// A call or a clone is under way, or this host gives no more threads or descriptors; the sentence says
    /// which.
    pub fn call(&mut self, to: SocketAddr, datagrams: &UdpSocket, waker: &Waker) -> Result<(), String> {
        if let Some(call) = &self.call {
            return Err(format!("{} is being called already", call.to));
        }
        if let Some(Newcomer { address, .. }) = &self.newcomer {
            return Err(is_backup(*address));
        }
        let datagrams = datagrams.try_clone().map_err(|error| error.to_string())?;
        let (security, waker) = (self.security.clone(), waker.clone());
        let (answered, answer) = channel();
        let thread = sandbox::try_spawn(Kind::Caller, "protect", move || {
            let link = connect_from(to, &security, Some(&datagrams), PROTECT_PATIENCE, &mut |_| true);
            // Whoever asked may be gone.
            let _ = answered.send(link);
            waker.wake();
        });
        thread.map_err(|error| format!("this host gives no more threads ({error})"))?;
        self.call = Some(Call { to, answer });
        self.last = Some(to);
        Ok(())
    }

    /// Is a host being called?
    #[must_use]
    pub fn is_calling(&self) -> bool {
        self.call.is_some()
    }

    /// What became of the call, once.
    pub fn called(&mut self) -> Option<Called> {
        let call = self.call.as_ref()?;
        let result = match call.answer.try_recv() {
            Ok(result) => result,
            Err(TryRecvError::Empty) => return None,
            Err(TryRecvError::Disconnected) => Err(LinkError::Stopped),
        };
        let to = call.to;
        self.call = None;
        let drawn = result.and_then(|link| match Token::draw() {
            Ok(token) => Ok((link, token)),
            Err(source) => Err(LinkError::Io { peer: to, source }),
        });
        Some(match drawn {
            Ok((link, token)) => {
                self.links += 1;
                let peer = PeerId(self.links);
                self.newcomer = Some(Newcomer {
                    peer,
                    address: to,
                    bulk: None,
                });
                let joined = Joined {
                    peer,
                    me: self.me.clone(),
                    token: *token.bytes(),
                };
                Called::Made(Box::new((link, joined)))
            }
            Err(error) => Called::Failed { to, error },
        })
    }

    /// Opens the bulk link to this peer, and sends it these images first.
    ///
    /// # Errors
    /// This host gives no more threads or descriptors.
    pub fn supply(
        &mut self,
        peer: PeerId,
        token: [u8; 16],
        images: &[ImageId],
        waker: &Waker,
    ) -> io::Result<()> {
        let images = images.iter().filter_map(|image| self.image(image)).collect();
        let Some(newcomer) = self.newcomer.as_mut().filter(|newcomer| newcomer.peer == peer) else {
            return Ok(());
        };
        let token = Token::new(token);
        let sender = Sender::call(newcomer.address, &self.security, token, None, waker.clone())?;
        newcomer.bulk = Some(Outgoing {
            sender,
            images,
            sent: 0,
            unsent: VecDeque::new(),
        });
        Ok(())
    }

    /// The image of this name, by which the greeting calls it; a name that is none of ours is nothing that
    /// this side could send. Nothing is hashed here: the guest waits meanwhile.
    fn image(&self, name: &ImageId) -> Option<([u8; 32], Arc<[u8]>)> {
        let header = self.me.header.as_ref()?;
        let ours = [
            (&header.firmware, &self.boot.firmware),
            (&header.kernel, &self.boot.kernel),
            (&header.initrd, &self.boot.initrd),
        ];
        let (_, bytes) = ours.into_iter().find(|(ours, _)| *ours == name)?;
        Some((name.sha256, bytes.clone()))
    }

    /// Sends a piece of the clone over the bulk link to this peer. What is lost with a broken link is not
    /// missed.
    pub fn send(&mut self, peer: PeerId, bulk: Bulk) {
        let newcomer = self.newcomer.as_mut().filter(|newcomer| newcomer.peer == peer);
        let Some(outgoing) = newcomer.and_then(|newcomer| newcomer.bulk.as_mut()) else {
            return;
        };
        match bulk {
            Bulk::Pages(batch) => {
                let mut pages = Pages::new(0, machine::PAGE, outgoing.sender.buffer());
                for (page, content) in batch.pages() {
                    pages.push(
                        page,
                        match content {
                            PageContent::Zero => &ZEROES,
                            PageContent::Bytes(bytes) => bytes,
                        },
                    );
                    if pages.is_full() {
                        let next = Pages::new(0, machine::PAGE, outgoing.sender.buffer());
                        outgoing
                            .unsent
                            .push_back(Record::Pages(std::mem::replace(&mut pages, next)));
                    }
                }
                if !pages.is_empty() {
                    outgoing.unsent.push_back(Record::Pages(pages));
                }
            }
            Bulk::State(state) => outgoing.unsent.extend(Piece::cut(&state).map(Record::State)),
            Bulk::Sealed => outgoing.unsent.push_back(Record::Sealed),
        }
        outgoing.flush();
    }

    /// What the bulk link takes now, for the node; `None`: it takes nothing now.
    pub fn room(&mut self) -> Option<Event> {
        let Newcomer { peer, bulk, .. } = self.newcomer.as_mut()?;
        let outgoing = bulk.as_mut()?;
        outgoing.flush();
        if !outgoing.has_sent() {
            return None;
        }
        // With little room the sender calls when there is much again.
        let (room, figures) = outgoing.sender.offer(BULK_ROOM_TOLD)?;
        Some(Event::BulkRoom {
            peer: *peer,
            bytes: room as u64,
            rate: figures.rate,
            spare: figures.service.is_prompt(),
        })
    }

    /// To whom the bulk link has broken, and why, once.
    pub fn broken(&mut self) -> Option<(PeerId, LinkError)> {
        let Newcomer { peer, bulk, .. } = self.newcomer.as_mut()?;
        let error = bulk.as_ref()?.sender.take_error()?;
        *bulk = None;
        Some((*peer, error))
    }

    /// The clone to this peer, if there is one, has come to its end or to nothing: its bulk link is closed.
    pub fn end_clone(&mut self, peer: PeerId) {
        let newcomer = self.newcomer.take_if(|newcomer| newcomer.peer == peer);
        if let Some(outgoing) = newcomer.and_then(|newcomer| newcomer.bulk) {
            outgoing.sender.let_go();
        }
    }

    /// Is all that was sent over the bulk link with the kernel?
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.newcomer
            .as_ref()
            .and_then(|newcomer| newcomer.bulk.as_ref())
            .is_none_or(|outgoing| outgoing.has_sent() && outgoing.sender.is_drained())
    }
}

/// Why no other process can become the backup.
#[must_use]
pub fn is_backup(address: SocketAddr) -> String {
    format!("{address} is its backup already, or is about to be")
}

impl Outgoing {
    /// Is everything handed over?
    fn has_sent(&self) -> bool {
        self.images.is_empty() && self.unsent.is_empty()
    }

    /// Hands over what there is room for: of images only some at once, as they are copied for it.
    fn flush(&mut self) {
        // Asked whether all has left, the sender calls the guest thread when it has.
        while let Some((image, whole)) = self.images.front()
            && self.sender.is_drained()
        {
            let piece = Piece::at(whole, self.sent);
            let (image, sent) = (*image, self.sent + piece.bytes.len());
            let is_whole = sent == whole.len();
            if self.sender.send(Record::Image { image, piece }).is_err() {
                return;
            }
            self.sent = sent;
            if is_whole {
                self.images.pop_front();
                self.sent = 0;
            }
        }
        if !self.images.is_empty() {
            return;
        }
        while let Some(record) = self.unsent.pop_front() {
            if let Err(record) = self.sender.send(record) {
                self.unsent.push_front(record);
                return;
            }
        }
    }
}
