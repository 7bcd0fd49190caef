//! Entries, headers and ends of logs as JSON objects, one a line, for `lockstep log .. --json`.
//!
//! Whoever reads them gets numbers and words, and must not have to take a sentence apart.

use machine::{Control, DiskStatus, Input, PowerState};
use replica::{End, Entry, EntryKind, Header, ImageId, Mark};
use serde_json::{Map, Value, json};

/// The word for a kind of entry.
pub fn word(kind: &EntryKind) -> &'static str {
    match kind {
        EntryKind::Input(Input::Clock { .. }) => "clock",
        EntryKind::Input(Input::Console { .. }) => "console",
        EntryKind::Input(Input::Break { .. }) => "break",
        EntryKind::Input(Input::DiskSize { .. }) => "disk-size",
        EntryKind::Input(Input::NetFrame { .. }) => "frame",
        EntryKind::Input(Input::DiskDone { .. }) => "disk",
        EntryKind::Input(Input::Entropy { .. }) => "entropy",
        EntryKind::Input(Input::Control(_)) => "control",
        EntryKind::Output { .. } => "output",
        EntryKind::Progress => "progress",
        EntryKind::Digest(_) => "digest",
        EntryKind::DigestBegins => "digest-begins",
        EntryKind::DigestEnds(_) => "digest-ends",
        EntryKind::Mark(Mark::Guarded { .. }) => "guarded",
        EntryKind::Mark(Mark::HandedOver { .. }) => "handover",
        EntryKind::Mark(Mark::Quiesce) => "quiesce",
        EntryKind::Mark(Mark::Quiet) => "quiet",
        EntryKind::Mark(Mark::Resume) => "resume",
        EntryKind::Mark(Mark::Snapshot(_)) => "snapshot",
        EntryKind::Mark(Mark::Dismissed { .. }) => "dismissed",
        EntryKind::Mark(Mark::Paused(true)) => "paused",
        EntryKind::Mark(Mark::Paused(false)) => "resumed",
        EntryKind::Off(_) => "off",
    }
}

/// An entry with its number, from 1.
pub fn entry(number: u64, entry: &Entry) -> Value {
    let mut object = json!({"entry": number, "at": entry.at.0, "kind": word(&entry.kind)});
    if let (Value::Object(object), Value::Object(fields)) = (&mut object, fields(&entry.kind)) {
        object.extend(fields);
    }
    object
}

fn fields(kind: &EntryKind) -> Value {
    match kind {
        EntryKind::Input(Input::Clock { mtime, rate }) => json!({"mtime": mtime, "rate": rate}),
        EntryKind::Input(Input::Console { port, bytes }) => {
            json!({"port": port, "hex": hex(bytes), "text": String::from_utf8_lossy(bytes)})
        }
        EntryKind::Input(Input::Break { port }) => json!({"port": port}),
        EntryKind::Input(Input::DiskSize { disk, sectors }) => json!({"disk": disk, "sectors": sectors}),
        EntryKind::Input(Input::NetFrame { port, frame }) => json!({"port": port, "bytes": frame.len()}),
        EntryKind::Input(Input::DiskDone {
            disk,
            id,
            status,
            data,
        }) => json!({"disk": disk, "request": id, "status": status_word(*status), "bytes": data.len()}),
        EntryKind::Input(Input::Entropy { bytes }) => json!({"bytes": bytes.len()}),
        EntryKind::Input(Input::Control(control)) => json!({"control": control_word(*control)}),
        EntryKind::Output { check } => json!({"check": format!("{check:08x}")}),
        EntryKind::Progress | EntryKind::DigestBegins => json!({}),
        EntryKind::Digest(digest) | EntryKind::DigestEnds(digest) => {
            let parts = digest.parts.iter();
            let parts: Map<String, Value> = parts
                .map(|(name, value)| (name.clone(), format!("{value:016x}").into()))
                .collect();
            json!({"parts": parts})
        }
        EntryKind::Mark(mark) => mark_fields(mark),
        EntryKind::Off(PowerState::Off) => json!({"state": "off"}),
        EntryKind::Off(PowerState::Failed(code)) => json!({"state": "failed", "code": code}),
    }
}

/// The fields of a mark. Processes are named by 32 hexadecimal digits.
fn mark_fields(mark: &Mark) -> Value {
    let process = |number: &u128| format!("{number:032x}");
    match mark {
        Mark::Guarded { epoch, owner, member } => {
            json!({"epoch": epoch.0, "owner": process(owner), "member": process(member)})
        }
        Mark::HandedOver { epoch } => json!({"epoch": epoch.0}),
        Mark::Quiesce | Mark::Quiet | Mark::Resume | Mark::Paused(_) => json!({}),
        Mark::Snapshot(name) => json!({"name": process(name)}),
        Mark::Dismissed { member } => json!({"member": process(member)}),
    }
}

fn status_word(status: DiskStatus) -> &'static str {
    match status {
        DiskStatus::Ok => "ok",
        DiskStatus::Failed => "failed",
    }
}

fn control_word(control: Control) -> &'static str {
    match control {
        Control::PowerOff => "power-off",
        Control::Reset => "reset",
    }
}

/// The machine to which a log belongs.
pub fn header(header: &Header) -> Value {
    let disks = header
        .disks
        .iter()
        .map(|disk| json!({"sectors": disk.sectors, "read_only": disk.read_only, "serial": disk.serial}));
    json!({
        "kind": "header",
        "program": header.program,
        "model": header.model,
        "features": header.features,
        "start": header.start.0,
        "memory": header.memory,
        "harts": header.harts,
        "wall_clock_ns": header.wall_clock_ns,
        "disks": disks.collect::<Vec<_>>(),
        "nets": header.nets.iter().map(|net| json!({"mac": hex(&net.mac)})).collect::<Vec<_>>(),
        "firmware": image(header.firmware),
        "kernel": image(header.kernel),
        "initrd": image(header.initrd),
        "append": header.command_line,
        "rng_seed": hex(&header.rng_seed),
    })
}

fn image(image: ImageId) -> Value {
    match image.length {
        0 => Value::Null,
        length => json!({"bytes": length, "sha256": hex(&image.sha256)}),
    }
}

/// The way in which a log ends.
pub fn end(end: End) -> Value {
    match end {
        End::Off => json!({"kind": "end", "end": "off"}),
        End::Open { at } => json!({"kind": "end", "end": "open", "at": at.0}),
        End::Cut { at, offset, bytes } => {
            json!({"kind": "end", "end": "cut", "at": at.0, "offset": offset, "bytes": bytes})
        }
    }
}

/// Two logs of so many entries each that do not differ.
pub fn equal(entries: u64) -> Value {
    json!({"equal": true, "entries": entries})
}

/// The first entries in which two logs differ; null: the log has ended.
pub fn difference(number: u64, left: Option<&Entry>, right: Option<&Entry>) -> Value {
    let object = |it: Option<&Entry>| it.map(|it| entry(number, it));
    json!({"equal": false, "left": object(left), "right": object(right)})
}

/// Bytes as hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
