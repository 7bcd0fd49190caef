//! `Message`: what two replicas say to each other, and its bytes.
//!
//! The handshake and the roles make messages and take them in; the world carries each as one record of its
//! link, whole, in order and authenticated. All the same, bytes are only claimed to be a message until they
//! are decoded (E2, E4 of docs/style.md): decoding never panics, whatever they are.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions
)]

use std::fmt;

use machine::Step;

use crate::event::Epoch;
use crate::limits;
use crate::log::bytes::{Malformed, Reader, Writer};
use crate::log::entry::Seq;
use crate::log::header::Header;
use crate::log::parcel::Parcel;
use crate::time::{Span, Time};

/// Which half of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Runs the guest and records.
    Primary,
    /// Replays the log and waits.
    Backup,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Side::Primary => "primary",
            Side::Backup => "backup",
        })
    }
}

/// Who a replica is and what it would run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Name of the VM.
    pub vm: String,
    /// Which half it wants to be.
    pub side: Side,
    /// The process: a random number drawn at its start.
    pub owner: u128,
    /// The failure-detection timeout it is configured with.
    pub timeout: Span,
    /// The machine. The backup's seeds do not count.
    pub header: Header,
}

/// What the primary decides about the pair that is about to form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The epoch of the pair.
    pub epoch: Epoch,
    /// The timeout of both: the longer of the two.
    pub timeout: Span,
    /// The machine, with the seeds, and the step at which the log starts.
    pub header: Header,
}

/// Version of the messages and of the log in them. The first tag and this number never change their place.
pub const PROTOCOL: u64 = 3;

/// What one replica says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Both, first: who I am and what I would run.
    Hello(Hello),
    /// A greeting in another version of the protocol, of which only the version can be understood.
    OtherProtocol(u64),
    /// Backup to primary: we fit.
    Welcome,
    /// Either: we do not fit; the sentence says why. The link is closed after it.
    Refuse(String),
    /// Primary to backup: build this machine, this is our epoch.
    Start(Start),
    /// Backup to primary: it is built. Log messages follow.
    Ready,
    /// Primary to backup: a frame of the log, or none: then it is a sign of life.
    Log(Log),
    /// Backup to primary: received (FT 3.2-b).
    Ack(Ack),
    /// Backup to primary: my execution parted from the log; I halt.
    Diverged {
        /// Step at which the difference was noticed.
        at: Step,
        /// The first component that differs.
        part: String,
    },
    /// Primary to backup: the guest is off and all its outputs have left; halt, do not go live (FT 3.3-a).
    Ended {
        /// How many of the guest's outputs have left, as in [`Log::released`].
        released: u64,
    },
    /// Primary to backup: I have stopped, have no disk request under way and never show more; claim now.
    HandOver {
        /// How many of the guest's outputs have left, as in [`Log::released`].
        released: u64,
    },
}

/// A piece of the log on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The primary's clock when it sent this. Comes back in [`Ack::echo`].
    pub sent: Time,
    /// How many of the guest's outputs have left, counted from its step 0, in order.
    pub released: u64,
    /// One frame as in a file; empty: a sign of life.
    pub frame: Parcel,
}

/// What the backup says when log has come: received, executed, and which time it echoes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The last entry received.
    pub received: Seq,
    /// The step up to which the backup has executed (FT 3.2-d).
    pub executed: Step,
    /// The newest time of the primary's clock that has come, in [`Log::sent`] or in a heartbeat: proof that
    /// the backup trusted the primary after it.
    pub echo: Time,
    /// What the entries received and not executed count in the backup's buffer (`log::codec::cost`).
    pub buffered: u64,
    /// For how long the oldest entry that is not executed has been at the backup, by the backup's clock: the
    /// lag, without the time that messages are under way.
    pub behind: Span,
}

const TAG_HELLO: u8 = 1;
const TAG_WELCOME: u8 = 2;
const TAG_REFUSE: u8 = 3;
const TAG_START: u8 = 4;
const TAG_READY: u8 = 5;
const TAG_LOG: u8 = 16;
const TAG_ACK: u8 = 17;
const TAG_DIVERGED: u8 = 18;
const TAG_ENDED: u8 = 19;
const TAG_HAND_OVER: u8 = 24;

const SIDE_PRIMARY: u8 = 0;
const SIDE_BACKUP: u8 = 1;

impl Message {
    /// The message's bytes. A frame of the log is not copied: the head goes into the room before it.
    #[must_use]
    pub fn encode(self) -> Parcel {
        let mut w = Writer::default();
        match self {
            Message::Hello(hello) => {
                w.raw(&[TAG_HELLO]);
                w.varint(PROTOCOL);
                w.bytes(hello.vm.as_bytes());
                w.raw(&[match hello.side {
                    Side::Primary => SIDE_PRIMARY,
                    Side::Backup => SIDE_BACKUP,
                }]);
                w.raw(&hello.owner.to_le_bytes());
                w.varint(hello.timeout.0);
                hello.header.write(&mut w);
            }
            Message::OtherProtocol(version) => {
                w.raw(&[TAG_HELLO]);
                w.varint(version);
            }
            Message::Welcome => w.raw(&[TAG_WELCOME]),
            Message::Refuse(why) => {
                w.raw(&[TAG_REFUSE]);
                text(&mut w, &why);
            }
            Message::Start(start) => {
                w.raw(&[TAG_START]);
                w.varint(start.epoch.0);
                w.varint(start.timeout.0);
                // How the state comes to the backup: 0 says from boot, and any other number is refused.
                w.raw(&[0]);
                start.header.write(&mut w);
            }
            Message::Ready => w.raw(&[TAG_READY]),
            Message::Log(log) => {
                w.raw(&[TAG_LOG]);
                w.varint(log.sent.0);
                w.varint(log.released);
                let mut parcel = log.frame;
                parcel.prepend(&w.into_parcel());
                return parcel;
            }
            Message::Ack(ack) => {
                w.raw(&[TAG_ACK]);
                w.varint(ack.received.0);
                w.varint(ack.executed.0);
                w.varint(ack.echo.0);
                w.varint(ack.buffered);
                w.varint(ack.behind.0);
            }
            Message::Diverged { at, part } => {
                w.raw(&[TAG_DIVERGED]);
                w.varint(at.0);
                text(&mut w, &part);
            }
            Message::Ended { released } => {
                w.raw(&[TAG_ENDED]);
                w.varint(released);
            }
            Message::HandOver { released } => {
                w.raw(&[TAG_HAND_OVER]);
                w.varint(released);
            }
        }
        w.into_parcel()
    }

    /// The message that these bytes are. A greeting in another version of the protocol is a message too.
    ///
    /// # Errors
    /// What is wrong with the bytes, if they are no message.
    pub fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
        if bytes.len() > limits::MESSAGE_BYTES_MAX {
            return Err(Malformed::TooLarge);
        }
        let mut r = Reader::new(bytes);
        let [tag] = r.array()?;
        let message = match tag {
            TAG_HELLO => {
                let protocol = r.varint()?;
                if protocol != PROTOCOL {
                    return Ok(Message::OtherProtocol(protocol));
                }
                Message::Hello(hello(&mut r)?)
            }
            TAG_WELCOME => Message::Welcome,
            TAG_REFUSE => Message::Refuse(r.text(limits::TEXT_BYTES_MAX)?),
            TAG_START => {
                let epoch = Epoch(r.varint()?);
                let timeout = Span(r.varint()?);
                match r.array()? {
                    [0] => {}
                    [unknown] => return Err(Malformed::Tag(unknown)),
                }
                let header = Header::read(&mut r)?;
                Message::Start(Start {
                    epoch,
                    timeout,
                    header,
                })
            }
            TAG_READY => Message::Ready,
            TAG_LOG => {
                let sent = Time(r.varint()?);
                let released = r.varint()?;
                let frame = Parcel::from(r.rest().to_vec());
                return Ok(Message::Log(Log {
                    sent,
                    released,
                    frame,
                }));
            }
            TAG_ACK => Message::Ack(Ack {
                received: Seq(r.varint()?),
                executed: Step(r.varint()?),
                echo: Time(r.varint()?),
                buffered: r.varint()?,
                behind: Span(r.varint()?),
            }),
            TAG_DIVERGED => Message::Diverged {
                at: Step(r.varint()?),
                part: r.text(limits::TEXT_BYTES_MAX)?,
            },
            TAG_ENDED => Message::Ended {
                released: r.varint()?,
            },
            TAG_HAND_OVER => Message::HandOver {
                released: r.varint()?,
            },
            unknown => return Err(Malformed::Tag(unknown)),
        };
        r.end()?;
        Ok(message)
    }
}

fn hello(r: &mut Reader<'_>) -> Result<Hello, Malformed> {
    Ok(Hello {
        vm: r.text(limits::TEXT_BYTES_MAX)?,
        side: side(r)?,
        owner: u128::from_le_bytes(r.array()?),
        timeout: Span(r.varint()?),
        header: Header::read(r)?,
    })
}

fn side(r: &mut Reader<'_>) -> Result<Side, Malformed> {
    match r.array()? {
        [SIDE_PRIMARY] => Ok(Side::Primary),
        [SIDE_BACKUP] => Ok(Side::Backup),
        [unknown] => Err(Malformed::Tag(unknown)),
    }
}

/// Writes a text, cut at [`limits::TEXT_BYTES_MAX`] bytes: the other side refuses a longer one.
fn text(w: &mut Writer, text: &str) {
    let mut end = text.len().min(limits::TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    w.bytes(text.get(..end).unwrap_or_default().as_bytes());
}

/// A heartbeat datagram (FT 2.3-d): a sign of life that does not wait for TCP, and the lease with it.
///
/// The world delivers only what the peer's process sent on this link, each at most once (crates/host checks a
/// code and a counter); some get lost and some overtake others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// The pair that the heartbeat is of.
    pub epoch: Epoch,
    /// The process that sent it.
    pub owner: u128,
    /// What the sender's own side of the pair has to say.
    pub beat: Beat,
}

/// The content of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beat {
    /// Of the primary: its clock when it sent this. Comes back in [`Beat::Echo`].
    Sent(Time),
    /// Of the backup: the newest time of the primary's clock that has reached it, in a heartbeat or in
    /// [`Log::sent`]. Proof that the backup trusted the primary after that time, as [`Ack::echo`] is.
    Echo(Option<Time>),
}

const HEARTBEAT_MAGIC: [u8; 4] = *b"LSH2";
const BEAT_SENT: u8 = 0;
const BEAT_ECHO: u8 = 1;
const BEAT_NOTHING: u8 = 2;

impl Heartbeat {
    /// The bytes of the datagram.
    #[must_use]
    pub fn encode(&self) -> Parcel {
        let mut w = Writer::default();
        w.raw(&HEARTBEAT_MAGIC);
        w.raw(&self.epoch.0.to_le_bytes());
        w.raw(&self.owner.to_le_bytes());
        let (kind, time) = match self.beat {
            Beat::Sent(sent) => (BEAT_SENT, sent),
            Beat::Echo(Some(echo)) => (BEAT_ECHO, echo),
            Beat::Echo(None) => (BEAT_NOTHING, Time(0)),
        };
        w.raw(&[kind]);
        w.raw(&time.0.to_le_bytes());
        w.into_parcel()
    }

    /// What the other half of the pair `epoch` than `owner` says in this datagram; `None` for anything else.
    #[must_use]
    pub fn of_peer(bytes: &[u8], epoch: Epoch, owner: u128) -> Option<Beat> {
        let heartbeat = Heartbeat::decode(bytes).ok()?;
        (heartbeat.epoch == epoch && heartbeat.owner != owner).then_some(heartbeat.beat)
    }

    /// The heartbeat in this datagram.
    ///
    /// # Errors
    /// If the datagram is no heartbeat.
    pub fn decode(bytes: &[u8]) -> Result<Heartbeat, Malformed> {
        let mut r = Reader::new(bytes);
        if r.array()? != HEARTBEAT_MAGIC {
            return Err(Malformed::Tag(0));
        }
        let epoch = Epoch(u64::from_le_bytes(r.array()?));
        let owner = u128::from_le_bytes(r.array()?);
        let kind = r.array()?;
        let time = Time(u64::from_le_bytes(r.array()?));
        let beat = match kind {
            [BEAT_SENT] => Beat::Sent(time),
            [BEAT_ECHO] => Beat::Echo(Some(time)),
            [BEAT_NOTHING] => Beat::Echo(None),
            [unknown] => return Err(Malformed::Tag(unknown)),
        };
        r.end()?;
        Ok(Heartbeat { epoch, owner, beat })
    }
}
