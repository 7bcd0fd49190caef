//! The kills of the demo. After each the survivor gets a new backup in the way in which a user makes one: a
//! process that waits (`lockstep backup --listen`) and an order at the control socket of the process in which
//! the guest lives (`lockstep protect`). The clients write on meanwhile.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use caller::{Found, Protecting, VerbError, await_role};
use control::Verb;
use report::{HaltCode, RoleWord};

use super::live::Live;
use super::load::Load;
use super::pair::{Half, Pair};
use super::process::END_PATIENCE;
use crate::options::{Kill, Options};

/// Timeouts for which `--kill stall` stops the primary.
const STALL_TIMEOUTS: u32 = 3;
/// Time for which the VM is protected at least before the next kill.
const PROTECTED_MIN: Duration = Duration::from_millis(300);
/// How many processes may fail to become the backup after a kill.
const CLONES_FAILED_MAX: u32 = 3;
/// Time that may pass until the VM is protected again.
const PROTECT_PATIENCE: Duration = Duration::from_secs(300);

/// A kill that the VM has survived, until it was protected again.
pub struct Survived {
    /// Time at which the signal was sent, since the start of the load.
    pub killed: Duration,
    /// The same moment on CLOCK_BOOTTIME, to compare it with the replicas' events.
    pub killed_ns: u64,
    /// Number of the process in which the guest lives on.
    pub survivor: u32,
    /// Number of the process that is the backup from then on.
    pub backup: u32,
    /// How many processes were to be the backup before that one, and did not become it.
    pub clones_failed: u32,
}

/// What is needed for kills under load.
pub struct Kills<'a> {
    pub args: &'a Options,
    pub pair: &'a mut Pair,
    pub load: &'a Load,
    pub live: &'a mut Live,
}

impl Kills<'_> {
    /// Kills as often as was asked for, evenly over the time of the load. Before a kill the VM is protected.
    pub fn all(&mut self) -> Result<Vec<Survived>> {
        let kills = match self.args.kill {
            Kill::None => 0,
            _ => self.args.kills,
        };
        let mut survived = Vec::new();
        for number in 0..kills {
            let share = (number as f64 + 0.5) / kills as f64;
            let due = Duration::from_secs(self.args.seconds).mul_f64(share);
            survived.push(self.one(due)?);
        }
        if kills > 0 {
            self.wait(self.load.time() + PROTECTED_MIN)?;
        }
        Ok(survived)
    }

    fn wait(&mut self, until: Duration) -> Result<()> {
        self.load.wait(until, &mut || self.pair.figures(), self.live)
    }

    /// One kill, and a new backup.
    fn one(&mut self, due: Duration) -> Result<Survived> {
        let kill = self.args.kill;
        self.pair.start_spare(self.args)?;
        let survivor = match kill {
            Kill::Backup => &self.pair.primary,
            Kill::Primary | Kill::Stall | Kill::None => &self.pair.backup,
        };
        // Before the kill, and long before: a status is given again for a while, and `protect` must not get
        // one of when the VM had a backup.
        let control = survivor.control(&self.args.sockets)?;
        self.wait(due.max(self.load.time() + PROTECTED_MIN))?;
        let (mut lost, mut spare) = self.pair.replace(kill)?;
        let mut survived = Survived {
            killed: self.load.time(),
            killed_ns: os::sys::clock::now().0,
            survivor: self.pair.primary.process.id(),
            backup: 0,
            clones_failed: 0,
        };
        self.disturb(&mut lost)?;
        self.await_role(&control, RoleWord::Solo, survived.killed_ns)?;
        while let Some(why) = self.protect(&control, spare)? {
            survived.clones_failed += 1;
            if survived.clones_failed > CLONES_FAILED_MAX {
                bail!("the VM was not protected again: {why}");
            }
            self.live.complain(&format!("{why}; another process is asked"));
            self.pair.start_spare(self.args)?;
            spare = self.pair.replace(Kill::Backup)?.1;
        }
        // It hears later than its primary that it is the backup.
        let backup = self.pair.backup.control(&self.args.sockets)?;
        self.await_role(&backup, RoleWord::Backup, survived.killed_ns)?;
        survived.backup = self.pair.backup.process.id();
        let took = (self.load.time() - survived.killed).as_millis();
        let sentence = format!("protected again after {took} ms, by process {}", survived.backup);
        self.live.say(&sentence);
        Ok(survived)
    }

    /// Has the process that waits at `spare` made the backup. Gives the reason if that came to nothing, as it
    /// may on a host that has no time for the process.
    fn protect(&mut self, survivor: &Found, spare: SocketAddr) -> Result<Option<String>> {
        let order = Verb::Protect { to: spare };
        match self.meanwhile(|watch| caller::protect(survivor, &order, Some(PROTECT_PATIENCE), watch)) {
            Ok(Protecting::Done(_)) => Ok(None),
            Ok(_) => bail!("the VM was not protected again: {}", self.pair.words()),
            Err(error) => match error.downcast_ref() {
                Some(VerbError::Failed(why)) => Ok(Some(why.clone())),
                _ => Err(error),
            },
        }
    }

    /// Does to the half that is to be lost what was asked for.
    fn disturb(&mut self, lost: &mut Half) -> Result<()> {
        let (process, kill) = (&mut lost.process, self.args.kill);
        let half = if kill == Kill::Backup { "backup" } else { "primary" };
        if kill != Kill::Stall {
            process.kill()?;
            let sentence = format!("SIGKILL to the {half} (process {})", process.id());
            self.live.say(&sentence);
            return Ok(());
        }
        process.stop()?;
        self.live.say(&format!(
            "SIGSTOP to the {half} (process {}), {STALL_TIMEOUTS} timeouts long",
            process.id()
        ));
        let stall = Duration::from_millis(self.args.timeout_ms) * STALL_TIMEOUTS;
        self.wait(self.load.time() + stall)?;
        process.go_on()?;
        // It must find that it has lost.
        let lost = i32::from(HaltCode::Lost.exit_code());
        let status = process.wait(END_PATIENCE, self.live)?;
        match status.and_then(|status| status.code()) {
            Some(code) if code == lost => Ok(()),
            _ => bail!(
                "the old primary did not halt as it should: {}",
                process.last_words()
            ),
        }
    }

    /// Waits until a process has changed to a role at `since_ns` or later.
    fn await_role(&mut self, process: &Found, role: RoleWord, since_ns: u64) -> Result<()> {
        let until = Instant::now() + END_PATIENCE;
        let is_so = self.meanwhile(|watch| {
            await_role(process, role, since_ns, &mut || {
                Instant::now() < until && watch("")
            })
        })?;
        if !is_so {
            bail!("no process became {}: {}", role.as_str(), self.pair.words());
        }
        Ok(())
    }

    /// Waits for what `wait` waits for, which asks again and again whether to go on, while it looks after the
    /// clients and the operator.
    fn meanwhile<T>(
        &mut self,
        wait: impl FnOnce(&mut dyn FnMut(&str) -> bool) -> Result<T, VerbError>,
    ) -> Result<T> {
        let (mut trouble, mut told) = (Ok(()), String::new());
        let waited = wait(&mut |text| {
            if !text.is_empty() {
                told = text.to_owned();
            }
            let line = || match told.as_str() {
                "" => self.load.line(self.pair.figures()),
                told => told.to_owned(),
            };
            trouble = self
                .load
                .go_on(Duration::ZERO)
                .and_then(|()| self.live.tick(line));
            trouble.is_ok()
        });
        trouble?;
        waited.with_context(|| self.pair.words())
    }
}
