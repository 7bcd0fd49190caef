//! What a line of a trace says of an action or an event.
//!
//! A trace has one line for each action, event, fault and deed of the world, in fixed columns; `World::trace`
//! fills the first ones. These words must never change a world: nothing here is called when nobody reads a
//! trace.

use replica::{Action, Bulk, Event, Halt, HandshakeAction, Shown, SnapshotPiece};

use machine::Input;

/// What the columns of a trace mean.
pub const LEGEND: &str = "\
# time ms     who   role       step        what
#   who: A, the first process, was born primary, B backup; - is the world
#   > event taken   < action handed out   ! fault   = world";

/// An action in a few words.
pub fn action(action: &Action) -> String {
    match action {
        Action::Send(_, bytes) => format!("< send {} bytes, {}", bytes.len(), message(bytes)),
        Action::Heartbeat(..) => "< heartbeat".to_owned(),
        Action::Notice(..) => "< death notice, to be sent when the process has ended".to_owned(),
        Action::Check(epoch, _) => format!("< ask whether epoch {} is still this process's", epoch.0),
        Action::Supply { images, .. } => format!("< open the bulk link, {} images", images.len()),
        Action::Bulk(_, bulk) => format!("< bulk {}", self::bulk(bulk)),
        Action::HangUp(_) => "< hang up".to_owned(),
        Action::Drop(_) => "< drop the links".to_owned(),
        Action::Snapshot(piece) => format!("< snapshot: {}", snapshot_piece(piece)),
        Action::Tell(news) => format!("< tell {news:?}"),
        Action::Release(shown) => format!("< release {}", self::shown(shown)),
        Action::Entropy { bytes } => format!("< release EntropyWanted {{ bytes: {bytes} }}"),
        Action::Disk(request) => format!("< disk {} {}", request.id, operation(&request.operation)),
        Action::Append(bytes) => format!("< append {} bytes", bytes.len()),
        Action::Ask(claim) => format!("< ask for epoch {}", claim.epoch.0),
        Action::GoLive(epoch) => format!("< go live in epoch {}", epoch.0),
        Action::StandBy { .. } => "< stand by".to_owned(),
        Action::Halt(Halt::Off(state)) => format!("< halt, guest is off: {state:?}"),
        Action::Halt(why) => format!("< halt: {why:?}"),
    }
}

/// An action of a handshake in a few words.
pub fn word(action: &HandshakeAction) -> String {
    match action {
        HandshakeAction::Send(bytes) => format!("< send {} bytes, {}", bytes.len(), message(bytes)),
        HandshakeAction::AskNext => "< ask for an epoch".to_owned(),
        HandshakeAction::Prove { epoch, .. } => format!("< prove that epoch {} is there", epoch.0),
        HandshakeAction::Build(_) => "< build the machine".to_owned(),
        HandshakeAction::Done { start, .. } => format!("< a pair is formed in epoch {}", start.epoch.0),
        HandshakeAction::Failed(why) => format!("< no pair: {why}"),
        HandshakeAction::Consider(_) | HandshakeAction::Supply { .. } => format!("< {action:?}"),
    }
}

/// An event in a few words.
pub fn event(event: &Event) -> String {
    match event {
        Event::Peer(_, bytes) => format!("> peer {} bytes, {}", bytes.len(), message(bytes)),
        Event::Joined(_) => "> joined".to_owned(),
        Event::Bulk(_, bulk) => format!("> bulk {}", self::bulk(bulk)),
        Event::BulkRoom { bytes, .. } => format!("> bulk room {bytes}"),
        Event::Checked(epoch, checked) => format!("> epoch {} is {checked:?}", epoch.0),
        Event::LinkLost(_) => "> link lost".to_owned(),
        Event::Heartbeat(..) => "> heartbeat".to_owned(),
        Event::Input(Input::NetFrame { frame, .. }) => format!("> frame of {} bytes", frame.len()),
        Event::Input(input) => format!("> input {input:?}"),
        Event::DiskDone(answer) => format!("> disk {} done: {:?}", answer.id, answer.status),
        Event::Verdict(claim, verdict) => format!("> verdict on epoch {}: {verdict:?}", claim.epoch.0),
        Event::Ports(well) => format!("> ports lead somewhere: {well}"),
        Event::Leave => "> leave".to_owned(),
        Event::HandOver => "> hand over".to_owned(),
        Event::Unprotect => "> unprotect".to_owned(),
        Event::Pause(paused) => format!("> the guest shall stand: {paused}"),
        Event::Snapshot(event) => format!("> snapshot: {event:?}"),
    }
}

fn shown(shown: &Shown) -> String {
    match shown {
        Shown::Console { bytes, .. } => format!("{} console bytes", bytes.len()),
        Shown::Network { frame, .. } => format!("frame of {} bytes", frame.len()),
        Shown::Power(state) => format!("PoweredOff({state:?})"),
    }
}

fn operation(operation: &machine::DiskOperation) -> String {
    use machine::DiskOperation::{Discard, Flush, Read, Write, WriteZeroes};
    match operation {
        Read { sector, bytes } => format!("read {sector}+{}", bytes / 512),
        Write { sector, data } => format!("write {sector}+{}", data.len() / 512),
        Flush => "flush".to_owned(),
        Discard { sector, sectors } => format!("discard {sector}+{sectors}"),
        WriteZeroes { sector, sectors, .. } => format!("zero {sector}+{sectors}"),
    }
}

fn message(bytes: &[u8]) -> String {
    use replica::peer::message::Message;
    match Message::decode(bytes) {
        Ok(Message::Log(log)) if log.frame.is_empty() => format!("keepalive, released {}", log.released),
        Ok(Message::Log(log)) => format!("log, released {}", log.released),
        Ok(Message::Ack(ack)) => format!("ack of {}, executed {}", ack.received.0, ack.executed),
        Ok(other) => format!("{other:?}"),
        Err(why) => format!("damaged: {why}"),
    }
}

fn snapshot_piece(piece: &SnapshotPiece) -> String {
    match piece {
        SnapshotPiece::State { step, pages, .. } => format!("of step {step}, {pages} pages follow"),
        SnapshotPiece::Pages(batch) => format!("{} pages", batch.len()),
        SnapshotPiece::Over { .. } => "that was all".to_owned(),
        SnapshotPiece::Failed(why) => format!("none: {why}"),
    }
}

fn bulk(bulk: &Bulk) -> String {
    match bulk {
        Bulk::Pages(batch) => format!("{} pages", batch.len()),
        Bulk::State(state) => format!("{} bytes of state", state.len()),
        Bulk::Sealed => "sealed".to_owned(),
    }
}
