//! `Call`: one call of the node, as the handlers of the roles see it, and what all of them do with it. `Node`
//! makes one for each event, slice and poll.
//!
//! A handler has no clock and no way to the world: the time of the call, the queue of actions and the figures
//! are arguments. Nothing here decides anything.

use std::collections::VecDeque;

use crate::event::{Action, PeerId};
use crate::metrics::Metrics;
use messages::message::Message;
use messages::time::Time;

/// One call of the node: its time, and where actions and figures go.
pub struct Call<'a> {
    /// The time that the world gave with the call. It never goes back from one call to the next.
    pub now: Time,
    /// What the world shall do, in order.
    pub out: &'a mut VecDeque<Action>,
    /// What is counted and measured, for people. No handler reads it to decide something.
    pub metrics: &'a mut Metrics,
}

/// Queues a message to a peer.
pub fn send(call: &mut Call<'_>, peer: PeerId, message: Message) {
    let bytes = message.encode();
    call.metrics.messages_sent += 1;
    call.metrics.message_bytes_sent += bytes.len() as u64;
    call.out.push_back(Action::Send(peer, bytes));
}

/// The earliest of these times; `None` if there is none.
pub fn earliest<const N: usize>(times: [Option<Time>; N]) -> Option<Time> {
    times.into_iter().flatten().min()
}
