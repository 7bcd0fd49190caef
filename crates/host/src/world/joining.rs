//! What `World` does for a VM that gets a backup while it runs, and for the process that becomes it: calls,
//! main link and bulk link of a clone (FT 3.1-a). The node says what is sent and when.

use std::io;
use std::net::SocketAddr;

use arbiter::{Arbiter, Asker};
use link::Link;
use replica::{Action, Bulk, Epoch, Event, ImageId, News, PeerId, RoleName};

use super::{HEARTBEATS, LINK, World};
use crate::limits::BULK_BATCH_MAX;
use crate::owned::Owned;
use crate::protection::Called;
use os::error;
use os::poll::{Interest, Poller};
use report::Happening;

impl World {
    /// Makes this process the one that has the VM's epoch, as `arbiter` knows.
    pub fn own(&mut self, epoch: Epoch, arbiter: Box<dyn Arbiter>) {
        let owner = self.owner;
        self.epoch = epoch;
        self.owned = Some(Owned { epoch, owner });
        self.arbiter = Some(Asker::new(arbiter, self.vm.clone(), self.waker.clone()));
    }

    /// Does one action that concerns a clone.
    pub(super) fn carry_out_for_clone(
        &mut self,
        action: Action,
        poller: &Poller,
        handle: &mut dyn FnMut(Event),
    ) {
        match action {
            Action::Check(epoch, owner) => {
                if let Some(arbiter) = &self.arbiter {
                    arbiter.check(epoch, owner);
                }
            }
            Action::Supply { token, images, .. } => self.supply(token, &images, handle),
            Action::Bulk(_, bulk) => {
                if let Some(protection) = &mut self.protection {
                    protection.send(bulk);
                    if let Some((bytes, rate)) = protection.room() {
                        let peer = self.peer;
                        handle(Event::BulkRoom { peer, bytes, rate });
                    }
                }
            }
            Action::HangUp(peer) => self.hang_up(peer, poller),
            Action::Tell(news) => {
                let address = self.address.map(|address| address.to_string());
                self.news.push((news, address));
            }
            _ => {}
        }
    }

    /// Has this link to the peer from here on.
    pub(crate) fn connect(&mut self, link: Link) {
        self.address = Some(link.peer());
        self.link = Some(link);
    }

    /// Takes the link away and keeps the count of its traffic.
    pub(super) fn drop_link(&mut self, poller: &Poller) -> Option<Link> {
        if self.live
            && let Some(link) = &self.link
        {
            // The watcher, and the next link, have the same socket behind descriptors of their own.
            let removed = poller.remove(&link.heartbeats_fd());
            removed.unwrap_or_else(|error| tracing::debug!("heartbeats were not waited for: {error}"));
        }
        self.past = self.traffic();
        self.link_stuck = false;
        self.link_dirty = false;
        self.link.take()
    }

    /// Has the host at `to` called, so that it becomes this VM's backup. What becomes of it is told as it
    /// happens.
    ///
    /// # Errors
    /// That makes no sense now; the sentence says why.
    pub fn protect(&mut self, to: SocketAddr) -> Result<(), String> {
        let Some(protection) = &mut self.protection else {
            return Err("the VM has no arbiter or no key; both are needed for a backup (VM.toml)".to_owned());
        };
        if !self.live {
            return Err("this process is not the live one; ask the one that is".to_owned());
        }
        if let Some(link) = &self.link {
            return Err(format!(
                "{} is its backup already, or is about to be",
                link.peer()
            ));
        }
        protection.call(to, &self.waker)
    }

    /// Fetches the link that a call has made, and does what is due for the bulk link.
    pub(super) fn look_at_protection(
        &mut self,
        poller: &Poller,
        handle: &mut dyn FnMut(Event),
    ) -> io::Result<()> {
        let Some(protection) = &mut self.protection else {
            return Ok(());
        };
        match protection.called() {
            None => {}
            Some(Called::Failed { to, error }) => {
                self.reporter.happened(Happening::CloneFailed {
                    peer: to.to_string(),
                    why: error::chain(&error),
                });
            }
            Some(Called::Made(made)) => {
                let (link, joined) = *made;
                poller.add(&link, LINK, Interest::Read)?;
                poller.add(&link.heartbeats_fd(), HEARTBEATS, Interest::Read)?;
                self.peer = joined.peer;
                self.connect(link);
                handle(Event::Joined(Box::new(joined)));
                return Ok(());
            }
        }
        if let Some(error) = protection.broken() {
            protection.end_bulk();
            self.reporter.lost_link(error::chain(&error));
            handle(Event::LinkLost(self.peer));
        } else if let Some((bytes, rate)) = protection.room() {
            let peer = self.peer;
            handle(Event::BulkRoom { peer, bytes, rate });
        }
        Ok(())
    }

    /// Hands the node what has come over the bulk link, a batch of it.
    pub(super) fn take_in(&mut self, handle: &mut dyn FnMut(Event)) {
        for _ in 0..BULK_BATCH_MAX {
            let Some(intake) = &mut self.intake else { return };
            match intake.take() {
                Ok(Some(bulk)) => {
                    self.is_fed |= bulk == Bulk::Sealed;
                    handle(Event::Bulk(self.peer, bulk));
                }
                Ok(None) => return,
                Err(error) => {
                    self.intake = None;
                    // After the whole state has come, the owner closes the bulk link.
                    if self.reporter.role() == RoleName::Apprentice && !self.is_fed {
                        self.reporter.lost_link(error::chain(&error));
                        handle(Event::LinkLost(self.peer));
                    }
                }
            }
        }
    }

    /// Opens the bulk link to where the main link leads.
    pub(super) fn supply(&mut self, token: [u8; 16], images: &[ImageId], handle: &mut dyn FnMut(Event)) {
        let (Some(protection), Some(link)) = (&mut self.protection, &self.link) else {
            return;
        };
        if let Err(error) = protection.supply(link.peer(), token, images, &self.waker) {
            self.reporter
                .lost_link(format!("no bulk link can be opened: {error}"));
            handle(Event::LinkLost(self.peer));
        }
    }

    /// The bulk link has done its work once the process is a member.
    pub fn on_news(&mut self, news: &News) {
        if let (News::Guarded(_), Some(protection)) = (news, &mut self.protection) {
            protection.end_bulk();
        }
    }

    /// Closes the links to a process that will not be the backup, once the last words to it have left.
    pub(super) fn hang_up(&mut self, peer: PeerId, poller: &Poller) {
        if peer != self.peer {
            return;
        }
        self.say_farewell();
        drop(self.drop_link(poller));
        if let Some(protection) = &mut self.protection {
            protection.end_bulk();
        }
    }
}
