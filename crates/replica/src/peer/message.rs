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

use crate::limits;
use crate::log::bytes::{Malformed, Reader, Writer};
use crate::log::entry::{Epoch, Seq};
use crate::log::entry_bytes::Base;
use crate::log::header::{Header, ImageId};
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
    /// Name of the VM; empty for a backup that waits for whichever VM comes.
    pub vm: String,
    /// Which half it wants to be.
    pub side: Side,
    /// The process: a random number drawn at its start.
    pub owner: u128,
    /// The failure-detection timeout it is configured with.
    pub timeout: Span,
    /// The machine. The backup's seeds do not count. `None`: a backup that waits for whichever VM comes, and
    /// takes its machine over.
    pub header: Option<Header>,
    /// How the VM is set up around its machine (disks, networks, arbiter), in the words of VM.toml, for a
    /// backup that waits for whichever VM comes. Empty: the other side knows by itself.
    pub settings: String,
}

/// What the primary decides about the pair that is about to form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    /// The epoch of the pair.
    pub epoch: Epoch,
    /// The timeout of both: the longer of the two.
    pub timeout: Span,
    /// How the guest's state comes to the backup.
    pub how: How,
    /// The machine, with the seeds, and the step at which the log starts.
    pub header: Header,
}

/// How the guest's state comes to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides boot the same machine, and the log begins at its first step.
    Boot,
    /// The guest runs already, and its state is copied over a second link, the bulk link (FT 3.1-a).
    Clone {
        /// What the bulk link must show, so that it is known to belong to this link.
        token: [u8; 16],
    },
}

/// Where an apprentice's life begins: the guest was stopped here for a moment, and its log goes on from here
/// (FT 3.1-b). The guest's state at this step comes over the bulk link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CutAt {
    /// The last entry before the cut. Its step is the guest's at the cut.
    pub base: Base,
    /// How many outputs the guest had produced in its life.
    pub outputs: u64,
    /// How many of them have left: fewer, if a gate holds some.
    pub released: u64,
    /// The guest's wishes for entropy that had no answer, in order.
    pub entropy: Vec<u32>,
}

/// The newest version of the messages, and of the log in them, that this program speaks. The first tag and
/// the two numbers behind it never change their places.
pub const PROTOCOL: u64 = 4;
/// The oldest version that this program speaks. Two sides speak the highest that both do.
pub const PROTOCOL_OLDEST: u64 = 4;

/// What one replica says to the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Both, first: who I am and what I would run.
    Hello(Hello),
    /// A greeting in another version of the protocol, of which only the version can be understood.
    OtherProtocol(u64),
    /// Backup to primary: we fit.
    Welcome {
        /// The images of the VM that this side does not have, by their content.
        lacks: Vec<ImageId>,
    },
    /// Either: we do not fit; the sentence says why. The link is closed after it.
    Refuse(String),
    /// Primary to backup: build this machine, this is our epoch.
    Start(Start),
    /// Backup to primary: it is built. Log messages follow.
    Ready,
    /// Primary to apprentice: the guest was cut here. Log messages from here on follow.
    Cut(CutAt),
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
    /// Apprentice to primary: I have the guest's whole state and replay the log.
    Following {
        /// Digests of the log that were equal to this side's.
        digests: u64,
    },
    /// Either, before the apprentice is a member: this comes to nothing; the sentence says why.
    Abandon(String),
    /// Primary to member: you are needed no longer; promise not to claim, and halt.
    Dismiss,
    /// Member to primary: I promise that I never claim, and halt.
    Dismissed,
    /// Primary to backup: I have stopped, have no disk request under way and never show more; claim now.
    HandOver {
        /// How many of the guest's outputs have left, as in [`Log::released`].
        released: u64,
        /// Does the primary want to be the backup of this side? Then it is an heir of the next epoch.
        rejoin: bool,
    },
    /// New primary to the one that handed over: I am live, in this epoch.
    Taken(Epoch),
    /// Backup to the primary that hands over: I do not take the VM; the sentence says why.
    Declined(String),
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
const TAG_CUT: u8 = 6;
const TAG_LOG: u8 = 16;
const TAG_ACK: u8 = 17;
const TAG_DIVERGED: u8 = 18;
const TAG_ENDED: u8 = 19;
const TAG_FOLLOWING: u8 = 20;
const TAG_ABANDON: u8 = 21;
const TAG_DISMISS: u8 = 22;
const TAG_DISMISSED: u8 = 23;
const TAG_HAND_OVER: u8 = 24;
const TAG_TAKEN: u8 = 25;
const TAG_DECLINED: u8 = 26;
/// Messages of a later release: the health of a side's paths (27), and disks that each side has for itself.
const LATER: [u8; 5] = [27, 40, 41, 42, 43];

const SIDE_PRIMARY: u8 = 0;
const SIDE_BACKUP: u8 = 1;

const HOW_BOOT: u8 = 0;
const HOW_CLONE: u8 = 1;

impl Message {
    /// The message's bytes. A frame of the log is not copied: the head goes into the room before it.
    #[must_use]
    pub fn encode(self) -> Parcel {
        let mut w = Writer::default();
        match self {
            Message::Hello(hello) => {
                w.raw(&[TAG_HELLO]);
                w.varint(PROTOCOL);
                w.varint(PROTOCOL_OLDEST);
                w.bytes(hello.vm.as_bytes());
                w.raw(&[match hello.side {
                    Side::Primary => SIDE_PRIMARY,
                    Side::Backup => SIDE_BACKUP,
                }]);
                w.raw(&hello.owner.to_le_bytes());
                w.varint(hello.timeout.0);
                w.raw(&[u8::from(hello.header.is_some())]);
                if let Some(header) = &hello.header {
                    header.write(&mut w);
                }
                w.bytes(hello.settings.as_bytes());
            }
            Message::OtherProtocol(version) => {
                w.raw(&[TAG_HELLO]);
                w.varint(version);
            }
            Message::Welcome { lacks } => {
                w.raw(&[TAG_WELCOME]);
                w.varint(u64::try_from(lacks.len()).unwrap_or(u64::MAX));
                for image in &lacks {
                    image.write(&mut w);
                }
            }
            Message::Refuse(why) => {
                w.raw(&[TAG_REFUSE]);
                text(&mut w, &why);
            }
            Message::Start(start) => {
                w.raw(&[TAG_START]);
                w.varint(start.epoch.0);
                w.varint(start.timeout.0);
                match start.how {
                    How::Boot => w.raw(&[HOW_BOOT]),
                    How::Clone { token } => {
                        w.raw(&[HOW_CLONE]);
                        w.raw(&token);
                    }
                }
                start.header.write(&mut w);
            }
            Message::Ready => w.raw(&[TAG_READY]),
            Message::Cut(cut) => write_cut(&mut w, &cut),
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
            Message::HandOver { released, rejoin } => {
                w.raw(&[TAG_HAND_OVER]);
                w.varint(released);
                w.raw(&[u8::from(rejoin)]);
            }
            Message::Following { digests } => {
                w.raw(&[TAG_FOLLOWING]);
                w.varint(digests);
            }
            Message::Abandon(why) => {
                w.raw(&[TAG_ABANDON]);
                text(&mut w, &why);
            }
            Message::Dismiss => w.raw(&[TAG_DISMISS]),
            Message::Dismissed => w.raw(&[TAG_DISMISSED]),
            Message::Taken(epoch) => {
                w.raw(&[TAG_TAKEN]);
                w.varint(epoch.0);
            }
            Message::Declined(why) => {
                w.raw(&[TAG_DECLINED]);
                text(&mut w, &why);
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
                let newest = r.varint()?;
                // A program that speaks nothing newer than version 3 says no second number.
                let oldest = if newest < PROTOCOL_OLDEST {
                    newest
                } else {
                    r.varint().unwrap_or(newest)
                };
                if newest < PROTOCOL_OLDEST || oldest > PROTOCOL {
                    return Ok(Message::OtherProtocol(newest));
                }
                let hello = hello(&mut r)?;
                if newest > PROTOCOL {
                    // A greeting of a newer release may say more, which this one need not know.
                    return Ok(Message::Hello(hello));
                }
                Message::Hello(hello)
            }
            TAG_WELCOME => {
                let mut lacks = Vec::new();
                for _ in 0..r.varint_at_most(limits::IMAGES_MAX)? {
                    lacks.push(ImageId::read(&mut r)?);
                }
                Message::Welcome { lacks }
            }
            TAG_REFUSE => Message::Refuse(r.text(limits::TEXT_BYTES_MAX)?),
            TAG_START => {
                let epoch = Epoch(r.varint()?);
                let timeout = Span(r.varint()?);
                let how = match r.array()? {
                    [HOW_BOOT] => How::Boot,
                    [HOW_CLONE] => How::Clone { token: r.array()? },
                    [unknown] => return Err(Malformed::Tag(unknown)),
                };
                let header = Header::read(&mut r)?;
                Message::Start(Start {
                    epoch,
                    timeout,
                    how,
                    header,
                })
            }
            TAG_READY => Message::Ready,
            TAG_CUT => Message::Cut(read_cut(&mut r)?),
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
                rejoin: r.truth()?,
            },
            TAG_FOLLOWING => Message::Following { digests: r.varint()? },
            TAG_ABANDON => Message::Abandon(r.text(limits::TEXT_BYTES_MAX)?),
            TAG_DISMISS => Message::Dismiss,
            TAG_DISMISSED => Message::Dismissed,
            TAG_TAKEN => Message::Taken(Epoch(r.varint()?)),
            TAG_DECLINED => Message::Declined(r.text(limits::TEXT_BYTES_MAX)?),
            later if LATER.contains(&later) => return Err(Malformed::Later(later)),
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
        header: r.truth()?.then(|| Header::read(r)).transpose()?,
        settings: r.text(limits::SETTINGS_BYTES_MAX)?,
    })
}

fn write_cut(w: &mut Writer, cut: &CutAt) {
    w.raw(&[TAG_CUT]);
    w.varint(cut.base.seq.0);
    w.varint(cut.base.step.0);
    w.varint(cut.base.mtime);
    w.varint(u64::from(cut.base.rate));
    w.varint(cut.outputs);
    w.varint(cut.released);
    w.varint(u64::try_from(cut.entropy.len()).unwrap_or(u64::MAX));
    for bytes in &cut.entropy {
        w.varint(u64::from(*bytes));
    }
}

fn read_cut(r: &mut Reader<'_>) -> Result<CutAt, Malformed> {
    let small = |r: &mut Reader<'_>| u32::try_from(r.varint()?).map_err(|_| Malformed::TooLarge);
    let base = Base {
        seq: Seq(r.varint()?),
        step: Step(r.varint()?),
        mtime: r.varint_at_most(limits::MTIME_MAX)?,
        rate: small(r)?,
    };
    let (outputs, released) = (r.varint()?, r.varint()?);
    let mut entropy = Vec::new();
    for _ in 0..r.varint_at_most(limits::ENTROPY_WISHES_MAX)? {
        entropy.push(small(r)?);
    }
    Ok(CutAt {
        base,
        outputs,
        released,
        entropy,
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
    /// Of the primary's host, once the primary's process has ended: the process shows nothing any more.
    Ended {
        /// Is no write of the process under way at a disk any more either?
        settled: bool,
    },
}

const HEARTBEAT_MAGIC: [u8; 4] = *b"LSH2";
const BEAT_SENT: u8 = 0;
const BEAT_ECHO: u8 = 1;
const BEAT_NOTHING: u8 = 2;
const BEAT_ENDED: u8 = 3;
const BEAT_ENDED_SETTLED: u8 = 4;

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
            Beat::Ended { settled: false } => (BEAT_ENDED, Time(0)),
            Beat::Ended { settled: true } => (BEAT_ENDED_SETTLED, Time(0)),
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
            [BEAT_ENDED] => Beat::Ended { settled: false },
            [BEAT_ENDED_SETTLED] => Beat::Ended { settled: true },
            [unknown] => return Err(Malformed::Tag(unknown)),
        };
        r.end()?;
        Ok(Heartbeat { epoch, owner, beat })
    }
}
