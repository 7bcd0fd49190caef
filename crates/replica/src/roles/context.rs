//! `Context`: what every handler of every role is given, and the two things that all of them do with it.

use std::collections::VecDeque;

use crate::event::Action;
use crate::metrics::Metrics;
use crate::peer::message::Message;
use crate::time::Time;

/// What every handler of a role is given.
pub struct Context<'a> {
    /// The time of the call.
    pub now: Time,
    /// What the world shall do, in order.
    pub out: &'a mut VecDeque<Action>,
    /// Counters.
    pub metrics: &'a mut Metrics,
}

/// Queues a message to the peer.
pub fn send(cx: &mut Context<'_>, message: Message) {
    let bytes = message.encode();
    cx.metrics.messages_sent += 1;
    cx.metrics.message_bytes_sent += bytes.len() as u64;
    cx.out.push_back(Action::Send(bytes));
}

/// The earliest of some times.
pub fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    times.into_iter().flatten().min()
}
