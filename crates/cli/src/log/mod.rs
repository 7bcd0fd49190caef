//! `lockstep log`: prints, counts and compares the entries of logs.
//!
//! Logs are read as they are, never replayed and never changed. `objects` is what programs read of them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use machine::Input;
use replica::{Digest, End, Entry, EntryKind, Header, ImageId, LogReader, Mark};

use crate::args::LogCommand;
use objects::hex;

pub mod objects;

/// Bytes read from a file at once.
const CHUNK: usize = 1 << 20;

/// Runs one of the log commands.
pub fn run(command: &LogCommand) -> Result<ExitCode> {
    match command {
        LogCommand::Dump { log, json: true } => dump_json(log)?,
        LogCommand::Dump { log, json: false } => dump(log)?,
        LogCommand::Stat { log, json } => stat(log, *json)?,
        LogCommand::Diff { left, right, json } => return diff(left, right, *json),
    }
    Ok(ExitCode::SUCCESS)
}

/// A log file, entry by entry.
struct Entries {
    path: PathBuf,
    file: File,
    reader: LogReader,
    complete: bool,
    frame: std::vec::IntoIter<Entry>,
}

impl Entries {
    /// Opens a log and reads its header, without which a file is no log.
    fn open(path: &Path) -> Result<Entries> {
        let file = File::open(path).with_context(|| format!("cannot read the log {}", path.display()))?;
        let mut entries = Entries {
            path: path.into(),
            file,
            reader: LogReader::to_look_at(),
            complete: false,
            frame: Vec::new().into_iter(),
        };
        let name = entries.name();
        while entries.reader.header().with_context(|| name.clone())?.is_none() {
            if entries.complete {
                bail!("the log {name} ends within its header; nothing was recorded");
            }
            entries.feed()?;
        }
        Ok(entries)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn feed(&mut self) -> Result<()> {
        let mut chunk = vec![0; CHUNK];
        let length = self
            .file
            .read(&mut chunk)
            .with_context(|| format!("cannot read {}", self.path.display()))?;
        self.complete = length == 0;
        self.reader.push(&chunk[..length]);
        Ok(())
    }

    fn next(&mut self) -> Result<Option<Entry>> {
        loop {
            if let Some(entry) = self.frame.next() {
                return Ok(Some(entry));
            }
            let name = self.path.display();
            match self.reader.frame().with_context(|| name.to_string())? {
                Some(entries) => self.frame = entries.into_iter(),
                None if self.complete => return Ok(None),
                None => self.feed()?,
            }
        }
    }
}

fn dump(path: &Path) -> Result<()> {
    let mut entries = Entries::open(path)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(header) = entries.reader.header()? {
        write!(out, "{}", describe_header(header))?;
    }
    let mut number = 0_u64;
    while let Some(entry) = entries.next()? {
        number += 1;
        writeln!(out, "{number:>8} @{:<14} {}", entry.at.0, describe(&entry.kind))?;
    }
    writeln!(out, "# the log {}", ending(entries.reader.end()))?;
    out.flush()?;
    Ok(())
}

/// Prints the header, every entry and the end, a JSON object a line.
fn dump_json(path: &Path) -> Result<()> {
    let mut entries = Entries::open(path)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(header) = entries.reader.header()? {
        writeln!(out, "{}", objects::header(header))?;
    }
    let mut number = 0_u64;
    while let Some(entry) = entries.next()? {
        number += 1;
        writeln!(out, "{}", objects::entry(number, &entry))?;
    }
    writeln!(out, "{}", objects::end(entries.reader.end()))?;
    out.flush()?;
    Ok(())
}

/// The header of a log: the machine that it is of.
pub fn header_of(path: &Path) -> Result<Header> {
    let mut entries = Entries::open(path)?;
    let header = entries.reader.header()?.cloned();
    header.with_context(|| format!("the log {} has no header", path.display()))
}

/// The way in which a log ends, as the rest of the sentence "the log ...".
pub fn ending(end: End) -> String {
    match end {
        End::Off => "ends with the guest switched off".into(),
        End::Open { at } => format!("ends at step {at} with the guest running"),
        End::Cut { at, offset, bytes } => format!(
            "was cut off at byte {offset}, in the middle of a frame ({bytes} bytes of it); \
             it covers step {at}"
        ),
    }
}

fn describe(kind: &EntryKind) -> String {
    match kind {
        EntryKind::Input(Input::Clock { mtime, rate }) => format!("clock    mtime {mtime} rate {rate}"),
        EntryKind::Input(Input::Console { port, bytes }) => {
            format!("console  port {port} {:?}", String::from_utf8_lossy(bytes))
        }
        EntryKind::Input(Input::Break { port }) => format!("break    port {port}"),
        EntryKind::Input(Input::DiskSize { disk, sectors }) => {
            format!("disk     {disk} has {sectors} sectors")
        }
        EntryKind::Input(Input::NetFrame { port, frame }) => {
            format!("frame    port {port} {} bytes", frame.len())
        }
        EntryKind::Input(Input::DiskDone {
            disk,
            id,
            status,
            data,
        }) => {
            format!("disk     {disk} request {id} {status:?} {} bytes", data.len())
        }
        EntryKind::Input(Input::Entropy { bytes }) => format!("entropy  {} bytes", bytes.len()),
        EntryKind::Input(Input::Control(control)) => format!("control  {control:?}"),
        EntryKind::Output { check } => format!("output   {check:08x}"),
        EntryKind::Progress => "progress".into(),
        EntryKind::Digest(digest) => format!("digest  {}", describe_digest(digest)),
        EntryKind::DigestBegins => "digest   begins".into(),
        EntryKind::DigestEnds(digest) => format!("digest   ends{}", describe_digest(digest)),
        EntryKind::Mark(mark) => describe_mark(mark),
        EntryKind::Off(state) => format!("off      {state:?}"),
    }
}

fn describe_digest(digest: &Digest) -> String {
    let parts = digest.parts.iter();
    parts
        .map(|(name, value)| format!(" {name}={value:016x}"))
        .collect()
}

fn describe_mark(mark: &Mark) -> String {
    match mark {
        Mark::Guarded { epoch, owner, member } => format!(
            "guarded  epoch {} owner {owner:032x} member {member:032x}",
            epoch.0
        ),
        Mark::HandedOver { epoch } => format!("handover epoch {}", epoch.0),
        Mark::Snapshot(name) => format!("snapshot {name:032x}"),
        Mark::Dismissed { member } => format!("dismissed member {member:032x}"),
        // The others say nothing but their name.
        mark => objects::word(&EntryKind::Mark(*mark)).into(),
    }
}

/// The machine to which the log belongs, in comment lines.
fn describe_header(header: &Header) -> String {
    let image = |image: ImageId| match image.length {
        0 => "none".to_owned(),
        length => format!("{length} bytes, sha256 {}", hex(&image.sha256)),
    };
    let mut text = format!(
        "# written by {}, model {}, features {:#x}, from step {}\n\
         # memory {} MiB, harts {}, wall clock at step 0 {} ns\n",
        header.program,
        header.model,
        header.features,
        header.start,
        header.memory >> 20,
        header.harts,
        header.wall_clock_ns
    );
    for disk in &header.disks {
        let access = if disk.read_only { "read-only" } else { "writable" };
        text += &format!(
            "# disk of {} sectors, {access}, serial `{}`\n",
            disk.sectors, disk.serial
        );
    }
    for net in &header.nets {
        text += &format!("# net {}\n", hex(&net.mac));
    }
    text += &format!("# virtio-mmio of version {}\n", header.virtio.version());
    for (name, id) in [
        ("firmware", header.firmware),
        ("kernel", header.kernel),
        ("initrd", header.initrd),
    ] {
        text += &format!("# {name} {}\n", image(id));
    }
    text + &format!(
        "# command line `{}`\n# rng seed {}\n",
        header.command_line,
        hex(&header.rng_seed)
    )
}

fn stat(path: &Path, json: bool) -> Result<()> {
    let mut entries = Entries::open(path)?;
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut total, mut last, mut ticks) = (0_u64, 0, 0);
    while let Some(entry) = entries.next()? {
        total += 1;
        last = entry.at.0;
        if let EntryKind::Input(Input::Clock { mtime, .. }) = &entry.kind {
            ticks = *mtime;
        }
        *counts.entry(objects::word(&entry.kind)).or_default() += 1;
    }
    let bytes = std::fs::metadata(path)?.len();
    let seconds = ticks as f64 / machine::clock::TICKS_PER_SECOND as f64;
    let rate = if seconds > 0.0 {
        bytes as f64 * 8e-6 / seconds
    } else {
        0.0
    };
    if json {
        say!(
            "{}",
            serde_json::json!({
                "bytes": bytes, "entries": total, "steps": last, "guest_seconds": seconds,
                "mbit_s": rate, "kinds": counts, "end": ending(entries.reader.end()),
            })
        );
        return Ok(());
    }
    say!("{bytes} bytes, {total} entries, {last} steps, {seconds:.3} s of the guest, {rate:.3} Mbit/s");
    for (kind, count) in counts {
        say!("{count:>10} {kind}");
    }
    say!("the log {}", ending(entries.reader.end()));
    Ok(())
}

/// Compares two logs: exit code 1 and the first entries that differ, or 0 and one sentence if none do.
fn diff(left: &Path, right: &Path, json: bool) -> Result<ExitCode> {
    let (mut left, mut right) = (Entries::open(left)?, Entries::open(right)?);
    let mut number = 0_u64;
    loop {
        number += 1;
        match (left.next()?, right.next()?) {
            (None, None) => {
                match json {
                    true => say!("{}", objects::equal(number - 1)),
                    false => say!("equal: {} entries", number - 1),
                }
                return Ok(ExitCode::SUCCESS);
            }
            (a, b) if a == b => {}
            (a, b) if json => {
                say!("{}", objects::difference(number, a.as_ref(), b.as_ref()));
                return Ok(ExitCode::FAILURE);
            }
            (a, b) => {
                for (entries, entry) in [(&left, a), (&right, b)] {
                    let text = entry.map_or("(end of log)".into(), |entry| {
                        format!("@{} {}", entry.at.0, describe(&entry.kind))
                    });
                    say!("{} entry {number}: {text}", entries.name());
                }
                return Ok(ExitCode::FAILURE);
            }
        }
    }
}
