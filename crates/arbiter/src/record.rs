//! `Record`: what the arbiter has written down of an epoch: who owns it, who may claim the next one, which
//! process on which host that is, and whether it has ended. Its bytes are lines of text that people can read.
//!
//! A record without its end is *open*: its owner may be live, so nobody may start the VM. Only what is
//! certain closes it without asking anybody ([`Record::has_surely_ended`]): a process number proves nothing,
//! since another process may have it by now, and no clock proves anything.

use std::fmt::Write as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use os::{date, identity};
use replica::{Claim, ClaimKind, Epoch, VmName};

/// First line of every claim.
const HEADER: &str = "lockstep claim 2";
/// First line of the claims of earlier versions, which have name, epoch and owner only.
const HEADER_1: &str = "lockstep claim 1";
/// First line of an end.
const END_HEADER: &str = "lockstep end 1";
/// First line of a VM's identity.
const ID_HEADER: &str = "lockstep vm 1";

/// What is written of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Name of the VM.
    pub vm: VmName,
    /// The epoch.
    pub epoch: Epoch,
    /// The process that has it: [`Claim::owner`].
    pub owner: u128,
    /// The processes that are members of the epoch from its first moment: [`Claim::heirs`].
    pub heirs: Vec<u128>,
    /// How the owner came to it; `None`: a version of Lockstep that did not write this has made the claim.
    pub origin: Option<Origin>,
    /// Why the owner has ended; `None`: the record is open.
    pub closed: Option<Closing>,
}

/// How the owner of an epoch came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The VM's identity: a UUID, made at its first claim at this arbiter.
    pub id: String,
    /// Why the epoch was claimed.
    pub kind: ClaimKind,
    /// The process that has claimed it.
    pub process: Process,
    /// A random number of this record alone.
    pub nonce: u128,
    /// When it was claimed, in seconds since 1970 by the claimant's clock; for people.
    pub time: u64,
}

/// A process on a host, as a record names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// The host's `/etc/machine-id`; empty where there is none.
    pub machine: String,
    /// The boot of the host: [`identity::boot_id`].
    pub boot: String,
    /// Number of the process.
    pub pid: u32,
    /// When the process was started, in clock ticks since the host's boot.
    pub started: u64,
    /// Name of the host.
    pub host: String,
    /// The file on which the process holds a `flock` as long as it lives, and which holds its owner's number
    /// ([`crate::SignOfLife`]); `None`: it has none.
    pub sign: Option<PathBuf>,
}

impl Process {
    /// This process. Reads what the sandbox may forbid later.
    #[must_use]
    pub fn here(sign: Option<&Path>) -> Process {
        // A path with an end of line in it could not be written down.
        let sign = sign.filter(|path| path.to_str().is_some_and(|path| !path.contains('\n')));
        Process {
            machine: identity::machine_id(),
            boot: identity::boot_id(),
            pid: std::process::id(),
            started: identity::started(),
            host: identity::host_name().replace('\n', " "),
            sign: sign.map(PathBuf::from),
        }
    }
}

/// Why an epoch is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The guest was switched off.
    Off,
    /// The owner was stopped, or could not go on.
    Stopped,
    /// The owner's process had surely ended when somebody looked, and had not said why.
    Gone,
    /// A person has said that the owner is surely off.
    Released {
        /// Who that was: a user at a host.
        by: String,
    },
}

impl Closing {
    /// Why the epoch is over, in words that stand behind "is closed: ".
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Closing::Off => "its guest was switched off".into(),
            Closing::Stopped => "its process was stopped".into(),
            Closing::Gone => "its process had ended".into(),
            Closing::Released { by } => format!("released by {by}"),
        }
    }

    /// The bytes of an end.
    pub(crate) fn text(&self, vm: &VmName, epoch: Epoch) -> String {
        let (why, by) = match self {
            Closing::Off => ("off", ""),
            Closing::Stopped => ("stopped", ""),
            Closing::Gone => ("gone", ""),
            Closing::Released { by } => ("released", by.as_str()),
        };
        let by = by.replace('\n', " ");
        let (host, time) = (identity::host_name(), date::utc(date::now()));
        format!(
            "{END_HEADER}\nvm {vm}\nepoch {}\nwhy {why}\nby {by}\nhost {host}\ntime {time}\n",
            epoch.0
        )
    }

    /// Reads the bytes of an end; `None`: they are no end of this epoch.
    pub(crate) fn parse(bytes: &[u8], vm: &VmName, epoch: Epoch) -> Option<Closing> {
        let mut fields = Fields::new(bytes, &[END_HEADER])?;
        let is_ours = fields.text("vm")? == vm.as_str() && fields.number("epoch")? == epoch.0;
        let (why, by) = (fields.text("why")?, fields.text("by")?);
        match why {
            _ if !is_ours => None,
            "off" => Some(Closing::Off),
            "stopped" => Some(Closing::Stopped),
            "gone" => Some(Closing::Gone),
            "released" => Some(Closing::Released { by: by.to_owned() }),
            _ => None,
        }
    }
}

impl Record {
    /// The record of a claim by this process.
    pub(crate) fn of(vm: &VmName, claim: &Claim, id: &str, process: &Process) -> Record {
        Record {
            vm: vm.clone(),
            epoch: claim.epoch,
            owner: claim.owner,
            heirs: claim.heirs.clone(),
            origin: Some(Origin {
                id: id.to_owned(),
                kind: claim.kind,
                process: process.clone(),
                nonce: os::entropy::random_u128(),
                time: date::now(),
            }),
            closed: None,
        }
    }

    /// The bytes of a claim. An end has a cell of its own.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{HEADER}\nvm {}\nepoch {}\nowner {:032x}\nheirs",
            self.vm, self.epoch.0, self.owner
        );
        for heir in &self.heirs {
            // Writing to a text cannot fail.
            let _ = write!(text, " {heir:032x}");
        }
        if let Some(origin) = &self.origin {
            let (id, kind, process) = (&origin.id, word(origin.kind), &origin.process);
            let (nonce, time) = (origin.nonce, origin.time);
            let sign = process.sign.as_deref().and_then(Path::to_str).unwrap_or_default();
            let (machine, boot, pid) = (&process.machine, &process.boot, process.pid);
            let (started, host) = (process.started, &process.host);
            let _ = write!(
                text,
                "\nid {id}\nkind {kind}\nmachine {machine}\nboot {boot}\npid {pid}\nstarted {started}\n\
                 host {host}\nsign {sign}\nnonce {nonce:032x}\ntime {time}\n"
            );
        }
        text
    }

    /// Who has claimed an epoch, by the bytes of that claim; `None`: they are no claim of it.
    #[must_use]
    pub fn owner_of(bytes: &[u8], vm: &VmName, epoch: Epoch) -> Option<u128> {
        Record::parse(bytes, vm, epoch).map(|record| record.owner)
    }

    /// Reads the bytes of a claim; `None`: they are no claim of this epoch.
    pub(crate) fn parse(bytes: &[u8], vm: &VmName, epoch: Epoch) -> Option<Record> {
        let mut fields = Fields::new(bytes, &[HEADER, HEADER_1])?;
        let is_ours = fields.text("vm")? == vm.as_str() && fields.number("epoch")? == epoch.0;
        let owner = hex(fields.text("owner")?)?;
        let (heirs, origin) = if fields.header == HEADER {
            let heirs = fields.text("heirs")?.split_whitespace().map(hex);
            (heirs.collect::<Option<_>>()?, Some(Origin::parse(&mut fields)?))
        } else {
            (Vec::new(), None)
        };
        is_ours.then(|| Record {
            vm: vm.clone(),
            epoch,
            owner,
            heirs,
            origin,
            closed: None,
        })
    }

    /// Where and since when the owner runs, in words that stand behind "runs as epoch N ".
    #[must_use]
    pub fn whereabouts(&self) -> String {
        match &self.origin {
            Some(Origin { process, time, .. }) => {
                let (host, pid, since) = (&process.host, process.pid, date::utc(*time));
                format!("on host {host} (pid {pid}, since {since})")
            }
            None => {
                "on a host that its claim does not name, as an earlier version of Lockstep made it".into()
            }
        }
    }

    /// Has the owner's process ended beyond doubt? Only its own host can tell: in another boot of that host
    /// no process of the earlier one lives, and in the same boot the process holds its sign's `flock`.
    ///
    /// A machine-id may have been copied to a second host along with a disk image, so in another boot the
    /// name of the host must be the same as well.
    #[must_use]
    pub fn has_surely_ended(&self) -> bool {
        let Some(Origin { process, .. }) = &self.origin else {
            return false;
        };
        let here = Process::here(None);
        if process.boot.is_empty() || here.boot.is_empty() {
            return false;
        }
        if process.boot != here.boot {
            let is_known = !process.machine.is_empty();
            return is_known && process.machine == here.machine && process.host == here.host;
        }
        process
            .sign
            .as_deref()
            .is_some_and(|sign| is_abandoned(sign, self.owner))
    }

    /// Does the owner's process live on this very host?
    #[must_use]
    pub fn lives_here(&self) -> bool {
        let Some(Origin { process, .. }) = &self.origin else {
            return false;
        };
        let sign = process.sign.as_deref().and_then(|sign| File::open(sign).ok());
        process.boot == identity::boot_id()
            && sign
                .is_some_and(|sign| matches!(sign.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock)))
    }
}

impl Origin {
    fn parse(fields: &mut Fields<'_>) -> Option<Origin> {
        Some(Origin {
            id: fields.text("id")?.to_owned(),
            kind: kind(fields.text("kind")?)?,
            process: Process {
                machine: fields.text("machine")?.to_owned(),
                boot: fields.text("boot")?.to_owned(),
                pid: fields.number("pid")?.try_into().ok()?,
                started: fields.number("started")?,
                host: fields.text("host")?.to_owned(),
                sign: Some(fields.text("sign")?)
                    .filter(|sign| !sign.is_empty())
                    .map(PathBuf::from),
            },
            nonce: hex(fields.text("nonce")?)?,
            time: fields.number("time")?,
        })
    }
}

/// Does this file hold the number of this owner, while nobody holds its `flock`? A file that is gone, or that
/// holds something else, tells nothing.
fn is_abandoned(sign: &Path, owner: u128) -> bool {
    let Ok(file) = File::open(sign) else {
        return false;
    };
    let mut text = String::new();
    let read = (&file).take(32).read_to_string(&mut text);
    read.is_ok() && hex(&text) == Some(owner) && file.try_lock_shared().is_ok()
}

/// The bytes of a VM's identity.
pub(crate) fn id_text(vm: &VmName, id: &str) -> String {
    format!("{ID_HEADER}\nvm {vm}\nid {id}\n")
}

/// Reads the bytes of a VM's identity; `None`: they are none of this VM.
pub(crate) fn parse_id(bytes: &[u8], vm: &VmName) -> Option<String> {
    let mut fields = Fields::new(bytes, &[ID_HEADER])?;
    let is_ours = fields.text("vm")? == vm.as_str();
    let id = fields.text("id")?;
    (is_ours && !id.is_empty()).then(|| id.to_owned())
}

fn word(kind: ClaimKind) -> &'static str {
    match kind {
        ClaimKind::Start => "start",
        ClaimKind::Failover => "failover",
        ClaimKind::Resolve => "resolve",
        ClaimKind::HandOver => "handover",
    }
}

fn kind(word: &str) -> Option<ClaimKind> {
    use ClaimKind::{Failover, HandOver, Resolve, Start};
    [Start, Failover, Resolve, HandOver]
        .into_iter()
        .find(|&kind| self::word(kind) == word)
}

fn hex(text: &str) -> Option<u128> {
    u128::from_str_radix(text, 16).ok()
}

/// The lines of a cell behind its header, read in their order: `NAME VALUE`. Lines behind the last one that
/// is asked for are a later version's, and are passed over.
struct Fields<'a> {
    header: &'a str,
    lines: std::str::Lines<'a>,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8], headers: &[&str]) -> Option<Fields<'a>> {
        let mut lines = std::str::from_utf8(bytes).ok()?.lines();
        let header = lines.next()?;
        headers.contains(&header).then_some(Fields { header, lines })
    }

    fn text(&mut self, name: &str) -> Option<&'a str> {
        let rest = self.lines.next()?.strip_prefix(name)?;
        // A value may be empty, and an editor may have taken the space at the end of its line away.
        if rest.is_empty() {
            Some("")
        } else {
            rest.strip_prefix(' ')
        }
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        self.text(name)?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vm() -> VmName {
        VmName::new("web").unwrap()
    }

    fn record() -> Record {
        let claim = Claim {
            epoch: Epoch(7),
            owner: 0xabc,
            after: None,
            heirs: vec![1, u128::MAX],
            kind: ClaimKind::Resolve,
        };
        Record::of(
            &vm(),
            &claim,
            &os::entropy::uuid(),
            &Process::here(Some(Path::new("/run/a b/sign"))),
        )
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let written = record();
        let read = Record::parse(written.text().as_bytes(), &vm(), Epoch(7)).unwrap();
        assert_eq!(read, written);
        let bare = Record {
            heirs: Vec::new(),
            origin: written.origin.map(|origin| Origin {
                process: Process {
                    machine: String::new(),
                    sign: None,
                    ..origin.process
                },
                ..origin
            }),
            ..read
        };
        assert_eq!(Record::parse(bare.text().as_bytes(), &vm(), Epoch(7)), Some(bare));
    }

    #[test]
    fn a_record_of_another_vm_or_epoch_or_in_pieces_is_none() {
        let text = record().text();
        assert_eq!(Record::parse(text.as_bytes(), &vm(), Epoch(8)), None);
        let other = VmName::new("shop").unwrap();
        assert_eq!(Record::parse(text.as_bytes(), &other, Epoch(7)), None);
        let lines: Vec<&str> = text.lines().collect();
        for count in 0..lines.len() {
            let piece = lines[..count].join("\n");
            assert_eq!(Record::parse(piece.as_bytes(), &vm(), Epoch(7)), None, "{piece}");
        }
        assert_eq!(Record::parse(&[0xff; 20], &vm(), Epoch(7)), None);
    }

    #[test]
    fn a_claim_of_an_earlier_version_has_an_owner_and_no_host() {
        let text = format!("lockstep claim 1\nvm web\nepoch 7\nowner {:032x}\n", 0xabc);
        let read = Record::parse(text.as_bytes(), &vm(), Epoch(7)).unwrap();
        assert_eq!((read.owner, &read.origin, &read.heirs), (0xabc, &None, &vec![]));
        assert!(!read.has_surely_ended(), "nobody knows where its owner runs");
        assert!(
            read.whereabouts().contains("earlier version"),
            "{}",
            read.whereabouts()
        );
    }

    #[test]
    fn every_end_is_read_as_it_was_written() {
        for closing in [
            Closing::Off,
            Closing::Stopped,
            Closing::Gone,
            Closing::Released {
                by: "ada on a".into(),
            },
        ] {
            let text = closing.text(&vm(), Epoch(7));
            assert_eq!(Closing::parse(text.as_bytes(), &vm(), Epoch(7)), Some(closing));
            assert_eq!(Closing::parse(text.as_bytes(), &vm(), Epoch(8)), None);
        }
        let two_lines = Closing::Released {
            by: "a\nwhy off".into(),
        };
        let text = two_lines.text(&vm(), Epoch(7));
        let Some(Closing::Released { by }) = Closing::parse(text.as_bytes(), &vm(), Epoch(7)) else {
            panic!("{text}");
        };
        assert_eq!(by, "a why off");
    }

    #[test]
    fn only_the_owners_own_host_can_tell_that_its_process_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let sign = dir.path().join("sign");
        std::fs::write(&sign, format!("{:032x}\n", 0xabc)).unwrap();
        let with = |change: &dyn Fn(&mut Process)| {
            let mut record = record();
            let origin = record.origin.as_mut().unwrap();
            origin.process.sign = Some(sign.clone());
            origin.process.machine = "m".into();
            change(&mut origin.process);
            record
        };
        // The sign is there, with the owner's number, and nobody holds it.
        let ended = with(&|_| {});
        assert!(ended.has_surely_ended() && !ended.lives_here());
        // The process holds it.
        let held = File::open(&sign).unwrap();
        held.lock().unwrap();
        let lives = with(&|_| {});
        assert!(!lives.has_surely_ended() && lives.lives_here());
        drop(held);
        // The sign is gone, or is another process's: nothing is known, whatever the process number says.
        assert!(!with(&|process| process.sign = Some(dir.path().join("none"))).has_surely_ended());
        assert!(!with(&|process| process.sign = None).has_surely_ended());
        let mut other = with(&|_| {});
        other.owner = 0xdef;
        assert!(!other.has_surely_ended());
        // Another boot of this host, of a host with a copied machine-id, and of another host.
        let machine = identity::machine_id();
        let boot = |process: &mut Process| process.boot = "earlier".into();
        let earlier = with(&|process| {
            boot(process);
            process.machine.clone_from(&machine);
        });
        assert_eq!(earlier.has_surely_ended(), !machine.is_empty());
        let copied = with(&|process| {
            boot(process);
            process.machine.clone_from(&machine);
            process.host = "another".into();
        });
        assert!(!copied.has_surely_ended());
        assert!(!with(&boot).has_surely_ended());
    }

    #[test]
    fn an_identity_is_read_as_it_was_written() {
        let id = os::entropy::uuid();
        assert_eq!(parse_id(id_text(&vm(), &id).as_bytes(), &vm()), Some(id));
    }
}
