//! How a backup goes on as the primary of the process that has handed the VM over to it (FT 3.3-c): that
//! process is a member from the first moment (docs/protocol.md, "Handing over").
//!
//! Nothing leaves here before that member has answered: see [`Primary::is_going_live`].

use super::Primary;
use crate::guest::Guest;
use crate::guest::disks::HeldBy;
use crate::guest::outputs::Outward;
use crate::guest::record::Produced;
use crate::options::PairOptions;
use crate::peer::follower::Follower;
use crate::roles::backup::Backup;
use crate::roles::call::{Call, send};
use crate::roles::gate::Output;
use crate::roles::live::Live;
use messages::message::Message;

impl Primary {
    /// A backup that has won the epoch after the old primary had handed the VM over to it. That process is a
    /// member from the start, and has all that the guest has done so far. This one goes live with its first
    /// lease and no sooner, since that process may claim from now on: then what may not have left yet leaves.
    pub fn from_claim<G: Guest>(
        call: &mut Call<'_>,
        guest: &G,
        options: &PairOptions,
        mut backup: Box<Backup>,
    ) -> Primary {
        let mut live = Live::from_backup(call, guest, &options.run, &backup, true);
        live.released = backup.left();
        let end = live.recorder.log.seq();
        let mut member = Follower::new(call.now, options.peer, options);
        member.sender.begin_behind(end);
        send(call, options.peer, Message::Taken(options.epoch));
        let mut primary = Primary::with_member(call, live, member, options);
        primary.gate.acknowledge(end);
        primary.going_live = Some(options.epoch);
        primary.live.disks.hold_back(HeldBy::Role, true);
        primary.take_over(call, guest, &mut backup);
        primary
    }

    /// FT 2.3-c, 2.2-a: holds what the old primary has not shown, and does again what it has begun.
    fn take_over<G: Guest>(&mut self, call: &mut Call<'_>, guest: &G, backup: &mut Backup) {
        let end = self.live.recorder.log.seq();
        let (outputs, mut before) = (backup.outputs(), self.live.released);
        let mut kept = backup.take_kept().peekable();
        while let Some((number, shown)) = kept.next() {
            // Changes of disks are not kept, and have their place in the order all the same.
            let upto = if kept.peek().is_some() { number } else { outputs };
            let (count, bytes) = (upto.saturating_sub(before), shown.bytes());
            self.gate.hold_last_of(count, end, Output::Shown(shown), bytes);
            before = upto;
        }
        let (loose, entropy) = backup.take_loose_ends();
        for effect in loose {
            // The guest produced it at its last step, and its entry was not received: it gets one now.
            let entry = self.live.recorder.mark(call.now, guest, call.metrics, &effect);
            if let outward @ Outward::Shown(_) = Outward::from(effect) {
                self.hold(call, Produced { outward, entry });
            }
        }
        self.count_held(call);
        self.live.take_up(call, guest, entropy);
    }
}
