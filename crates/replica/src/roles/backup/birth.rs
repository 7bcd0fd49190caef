//! How a backup begins: where a guest boots, with the clone of one that runs, or with the guest that this
//! process has run itself until it handed it over.

use std::collections::VecDeque;

use machine::Step;

use super::Backup;
use crate::event::{Action, Shown};
use crate::guest::Guest;
use crate::guest::clock::Speed;
use crate::guest::replay::Replayer;
use crate::mutation::Mutation;
use crate::options::{Notice, PairOptions};
use crate::peer::detect::Detector;
use crate::peer::lag::Lag;
use crate::peer::pulse::Pulse;
use crate::roles::call::Call;
use crate::roles::gate;
use crate::{limits, mutation};
use messages::joining::CutAt;
use messages::time::Time;
use vmlog::codec::Decoder;
use vmlog::entry::Seq;

impl Backup {
    /// A backup whose guest stands where the log begins. With `run.record` the log goes to a file too.
    pub fn new<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Backup {
        let mut start = guest.now();
        if let Some(header) = &options.run.record {
            start = header.start;
            call.out.push_back(Action::Append(header.to_file()));
        }
        Backup::at(call.now, start, options)
    }

    /// A primary that has handed the VM over and is the backup from here on. The guest's log, also that in a
    /// file, goes on behind `cut`. `held`: the outputs that have not left, each with its number. `paused`:
    /// does the guest stand, as its operator wants?
    pub fn from_handing(
        now: Time,
        options: &PairOptions,
        cut: &CutAt,
        held: impl Iterator<Item = (u64, Shown)>,
        paused: bool,
    ) -> Backup {
        let mut backup = Backup::at(now, cut.base.step, options);
        backup.begin(cut);
        backup.paused = paused;
        if !mutation::is(Mutation::HeldNotKept) {
            backup.kept = held.collect();
        }
        backup.kept_bytes = backup
            .kept
            .iter()
            .map(|(_, shown)| gate::cost(shown.bytes()))
            .sum();
        backup
    }

    fn at(now: Time, start: Step, options: &PairOptions) -> Backup {
        let detector = Detector::new(now, options.timeout);
        Backup {
            primary: options.peer,
            process: options.owner,
            epoch: (options.epoch, options.primary),
            start: Some((Seq(0), 0)),
            buffer_max: limits::BUFFER_COST_MAX,
            guarded: true,
            paused: false,
            pulse: Pulse::new(
                now,
                options.peer,
                options.epoch,
                options.owner,
                detector.interval(),
            ),
            timeout: options.timeout,
            file: options.run.record.is_some(),
            decoder: Decoder::new(start),
            replayer: Replayer::default(),
            snapshot: None,
            speed: Speed::default(),
            detector,
            kept: VecDeque::new(),
            kept_bytes: 0,
            released: 0,
            sent: None,
            echo: None,
            lag: Lag::default(),
            promised: None,
            told: None,
            clock: None,
            ended: false,
            dismissed: false,
            left: None,
            watched: (options.notice != Notice::TimeoutOnly).then_some(options.primary),
            settled: None,
        }
    }

    /// What becomes a backup once an apprentice has the guest's state and the log has made it a member.
    pub fn unborn<G: Guest>(call: &mut Call<'_>, guest: &G, options: &PairOptions) -> Backup {
        Backup {
            start: None,
            buffer_max: limits::APPRENTICE_COST_MAX,
            guarded: false,
            ..Backup::new(call, guest, options)
        }
    }

    /// The log begins here, behind the cut.
    pub fn begin(&mut self, cut: &CutAt) {
        let outputs = if mutation::is(Mutation::OutputsRestart) {
            0
        } else {
            cut.outputs
        };
        let entropy = if mutation::is(Mutation::EntropyNotTaken) {
            &[]
        } else {
            &cut.entropy[..]
        };
        let mut base = cut.base;
        if mutation::is(Mutation::ClockNotTaken) {
            base.mtime = 0;
        }
        self.decoder = Decoder::resume(base);
        self.replayer = Replayer::from_cut(outputs, entropy);
        self.start = Some((cut.base.seq, cut.outputs));
        self.released = cut.released;
    }
}
