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

use machine::Step;

use crate::joining::{CutAt, Hello, PROTOCOL, PROTOCOL_OLDEST, Start};
use crate::limits;
use crate::time::{Span, Time};
use vmlog::bytes::{Malformed, Reader, Writer};
use vmlog::entry::{Epoch, Seq};
use vmlog::header::ImageId;
use vmlog::parcel::Parcel;

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

impl Message {
    /// The message's bytes. A frame of the log is not copied: the head goes into the room before it.
    #[must_use]
    pub fn encode(self) -> Parcel {
        let mut w = Writer::default();
        match self {
            Message::Hello(hello) => {
                w.raw(&[TAG_HELLO]);
                hello.write(&mut w);
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
            Message::Refuse(why) => sentence(&mut w, TAG_REFUSE, &why),
            Message::Start(start) => {
                w.raw(&[TAG_START]);
                start.write(&mut w);
            }
            Message::Ready => w.raw(&[TAG_READY]),
            Message::Cut(cut) => {
                w.raw(&[TAG_CUT]);
                cut.write(&mut w);
            }
            Message::Log(log) => {
                w.raw(&[TAG_LOG]);
                return log.write(w);
            }
            Message::Ack(ack) => {
                w.raw(&[TAG_ACK]);
                ack.write(&mut w);
            }
            Message::Diverged { at, part } => {
                w.raw(&[TAG_DIVERGED]);
                w.varint(at.0);
                text(&mut w, &part);
            }
            Message::Ended { released } => number(&mut w, TAG_ENDED, released),
            Message::HandOver { released, rejoin } => {
                number(&mut w, TAG_HAND_OVER, released);
                w.raw(&[u8::from(rejoin)]);
            }
            Message::Following { digests } => number(&mut w, TAG_FOLLOWING, digests),
            Message::Abandon(why) => sentence(&mut w, TAG_ABANDON, &why),
            Message::Dismiss => w.raw(&[TAG_DISMISS]),
            Message::Dismissed => w.raw(&[TAG_DISMISSED]),
            Message::Taken(epoch) => number(&mut w, TAG_TAKEN, epoch.0),
            Message::Declined(why) => sentence(&mut w, TAG_DECLINED, &why),
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
            // A greeting says by itself where it ends.
            TAG_HELLO => return greeting(&mut r),
            TAG_WELCOME => {
                let mut lacks = Vec::new();
                for _ in 0..r.varint_at_most(limits::IMAGES_MAX)? {
                    lacks.push(ImageId::read(&mut r)?);
                }
                Message::Welcome { lacks }
            }
            TAG_REFUSE => Message::Refuse(r.text(limits::TEXT_BYTES_MAX)?),
            TAG_START => Message::Start(Start::read(&mut r)?),
            TAG_READY => Message::Ready,
            TAG_CUT => Message::Cut(CutAt::read(&mut r)?),
            TAG_LOG => return Ok(Message::Log(Log::read(&mut r)?)),
            TAG_ACK => Message::Ack(Ack::read(&mut r)?),
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

/// The greeting behind its tag. A newer release may say more in it than this one reads; one that
/// is no newer must end where this release takes it to end.
fn greeting(r: &mut Reader<'_>) -> Result<Message, Malformed> {
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
    let hello = Hello::read(r)?;
    if newest <= PROTOCOL {
        r.end()?;
    }
    Ok(Message::Hello(hello))
}

impl Log {
    /// Writes this behind what `w` has: all that goes before the frame.
    fn write(self, mut w: Writer) -> Parcel {
        w.varint(self.sent.0);
        w.varint(self.released);
        let mut parcel = self.frame;
        parcel.prepend(&w.into_parcel());
        parcel
    }

    fn read(r: &mut Reader<'_>) -> Result<Log, Malformed> {
        Ok(Log {
            sent: Time(r.varint()?),
            released: r.varint()?,
            frame: Parcel::from(r.rest().to_vec()),
        })
    }
}

impl Ack {
    fn write(&self, w: &mut Writer) {
        w.varint(self.received.0);
        w.varint(self.executed.0);
        w.varint(self.echo.0);
        w.varint(self.buffered);
        w.varint(self.behind.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Ack, Malformed> {
        Ok(Ack {
            received: Seq(r.varint()?),
            executed: Step(r.varint()?),
            echo: Time(r.varint()?),
            buffered: r.varint()?,
            behind: Span(r.varint()?),
        })
    }
}

/// Writes a message that is one number.
fn number(w: &mut Writer, tag: u8, number: u64) {
    w.raw(&[tag]);
    w.varint(number);
}

/// Writes a message that is one sentence.
fn sentence(w: &mut Writer, tag: u8, why: &str) {
    w.raw(&[tag]);
    text(w, why);
}

/// Writes a text, cut at [`limits::TEXT_BYTES_MAX`] bytes: the other side refuses a longer one.
fn text(w: &mut Writer, text: &str) {
    let mut end = text.len().min(limits::TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end = end.saturating_sub(1);
    }
    w.bytes(text.get(..end).unwrap_or_default().as_bytes());
}
