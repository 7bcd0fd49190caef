//! The bulk link: a second connection between two processes that have a main link. Over it a clone travels:
//! images, pages of memory, the machine's state. It never delays the log, which stays on the main link.
//!
//! The side that has called for the main link calls again, at the same listener, and shows in the handshake a
//! `token` that came over the main link; so a bulk link belongs to one main link, and needs its key. It has a
//! TCP connection and Noise keys of its own. The caller has a `Sender`, the listener makes a `Receiver` of
//! the `Connection` that it accepts. Everything goes one way; what the receiver has to say it says on the
//! main link.
//!
//! From below: `record` is what travels, `codec` its bytes, `order` what only a sequence of records can show,
//! `seal` how the bytes are encrypted; `outbox` is what the sender's threads share. What a clone needs, and
//! when, nothing here knows.

pub(crate) mod codec;
pub(crate) mod connection;
pub(crate) mod order;
pub(crate) mod outbox;
pub(crate) mod receiver;
pub(crate) mod record;
pub(crate) mod refusal;
pub(crate) mod seal;
pub(crate) mod sender;
pub(crate) mod token;

pub use codec::Shape;
pub use connection::Connection;
pub use outbox::{Figures, Phase};
pub use receiver::{Received, Receiver};
pub use record::{Pages, Piece, Record};
pub use sender::Sender;
