//! What `World` does for a VM that gets a backup while it runs, and for the process that becomes it: calls,
//! main link and bulk link of a clone (FT 3.1-a). The node says what is sent and when.

use std::io;
use std::net::SocketAddr;

use arbiter::{Arbiter, Asker};
use replica::{Action, Bulk, Epoch, Event, ImageId, News, PeerId, RoleName};

use super::World;
use crate::limits::BULK_BATCH_MAX;
use crate::owned::Owned;
use crate::protection::{Called, is_backup};
use os::error;
use os::poll::Poller;
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
    pub(super) fn carry_out_for_clone(&mut self, action: Action, handle: &mut dyn FnMut(Event)) {
        match action {
            Action::Check(epoch, owner) => {
                if let Some(arbiter) = &self.arbiter {
                    arbiter.check(epoch, owner);
                }
            }
            Action::Supply { peer, token, images } => self.supply(peer, token, &images, handle),
            Action::Bulk(peer, bulk) => {
                if let Some(protection) = &mut self.protection {
                    protection.send(peer, bulk);
                    protection.room().into_iter().for_each(handle);
                }
            }
            Action::Tell(news) => {
                let address = news.peer().and_then(|peer| self.links.address(peer));
                self.news.push((news, address.map(|address| address.to_string())));
            }
            _ => {}
        }
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
        // That another process is the backup already is the business of `control_answers`; that a process is
        // about to be it, of `protection`.
        if self.links.lead_to(to) {
            return Err(is_backup(to));
        }
        let Some(datagrams) = self.watch.socket().filter(|_| !self.links.is_full()) else {
            return Err("the VM has as many links as it can have".to_owned());
        };
        protection.call(to, datagrams, &self.waker)
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
                self.watch.meet(joined.peer, &link);
                self.links.join(joined.peer, link, poller)?;
                handle(Event::Joined(Box::new(joined)));
                return Ok(());
            }
        }
        if let Some((peer, error)) = protection.broken() {
            self.reporter.lost_link(error::chain(&error));
            handle(Event::LinkLost(peer));
        } else {
            protection.room().into_iter().for_each(handle);
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
                    handle(Event::Bulk(intake.peer, bulk));
                }
                Ok(None) => return,
                Err(error) => {
                    let peer = intake.peer;
                    self.intake = None;
                    // After the whole state has come, the owner closes the bulk link.
                    if self.reporter.role() == RoleName::Apprentice && !self.is_fed {
                        self.reporter.lost_link(error::chain(&error));
                        handle(Event::LinkLost(peer));
                    }
                }
            }
        }
    }

    /// Opens the bulk link to where the main link to this peer leads.
    fn supply(&mut self, peer: PeerId, token: [u8; 16], images: &[ImageId], handle: &mut dyn FnMut(Event)) {
        let Some(protection) = &mut self.protection else {
            return;
        };
        if let Err(error) = protection.supply(peer, token, images, &self.waker) {
            self.reporter
                .lost_link(format!("no bulk link can be opened: {error}"));
            handle(Event::LinkLost(peer));
        }
    }

    /// The bulk link has done its work once the process is a member.
    pub fn on_news(&mut self, news: &News) {
        if let (News::Guarded(peer), Some(protection)) = (news, &mut self.protection) {
            protection.end_clone(*peer);
        }
    }

    /// The main link to this peer is closed, and what belongs to the link goes with it: its bulk link in
    /// either direction, and the notice that was left for the peer.
    pub(super) fn part_from(&mut self, peer: PeerId) {
        if let Some(protection) = &mut self.protection {
            protection.end_clone(peer);
        }
        self.intake.take_if(|intake| intake.peer == peer);
        self.watch.forget(peer);
        if self.links.is_empty() && self.protection.is_none() {
            self.watch.dismiss();
        }
    }
}
