//! The guest side of one TCP connection: a smoltcp stack of its own, with a clock of its own.
//!
//! A whole stack for each connection makes finding the connection of a segment one hash look-up, polls only
//! the connection that something happened to, and gives each connection its own time. Failover needs that
//! last point. smoltcp waits at least a second before it retransmits, doubles that up to a minute, and offers
//! no way to cut it short. But smoltcp learns the time from its caller: moving this connection's clock
//! forward to its next timer makes it retransmit now. `recover` does so when the guest comes back from an
//! outage; `RETRANSMIT_MAX` does so when the guest stays away.
//!
//! A moved clock has no other effect that matters: the connection has no time-outs of its own (a guest may be
//! away for as long as its clients wait), and smoltcp takes no round-trip sample from a retransmitted
//! segment.

use super::card::Card;
use super::late::LastWord;
use super::limits;
use super::segment::{Incoming, Segment};
use super::sockets::{Sockets, to_stack};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, State};
use smoltcp::time::{Duration as StackDuration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpCidr, TcpPacket, TcpSeqNumber};
use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

/// One TCP connection toward a guest.
pub struct Endpoint {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    guest: Ipv4Addr,
    started: Instant,
    /// Time by which this connection's clock was moved ahead.
    ahead: StackDuration,
    /// Bytes given to smoltcp for the guest; less the queue, they are the bytes that the guest has
    /// acknowledged.
    written: u64,
    /// What the guest had acknowledged, and the state, when the retransmission was last put off.
    progress: (u64, State),
    /// When to retransmit if the guest acknowledges nothing more, and since when it has acknowledged nothing.
    outstanding: Option<Outstanding>,
    /// Whether the SYN|ACK waits for the host side to connect.
    paused: bool,
    /// The guest's first sequence number after its SYN, until a segment of ours without SYN has left: see
    /// `oversteps`.
    first_data: Option<TcpSeqNumber>,
    /// The acknowledgement number that the guest sent last.
    acknowledged: Option<TcpSeqNumber>,
    /// The sequence number that follows the guest's FIN.
    end: Option<TcpSeqNumber>,
    /// Whether the guest's FIN has come, in order.
    ended: bool,
    /// The acknowledgement number that we sent last.
    said: Option<TcpSeqNumber>,
    /// Whether segments could not be sent because the guest's VMM reads too slowly.
    starved: bool,
    deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Outstanding {
    since: Instant,
    retransmit_at: Instant,
    /// Position in `limits::RECOVERY`; past its end in ordinary times.
    step: usize,
}

impl Endpoint {
    /// A connection that a guest opens to `local`. Its SYN comes next; the SYN|ACK waits for `confirm`.
    pub fn accepting(
        segment: &mut Segment,
        sockets: &mut Sockets,
        local: SocketAddrV4,
        guest: Ipv4Addr,
    ) -> Option<Self> {
        let mut endpoint = Self::new(segment, sockets, *local.ip(), guest);
        let socket = endpoint.socket_mut();
        socket.pause_synack(true);
        socket.listen((*local.ip(), local.port())).ok()?;
        endpoint.paused = true;
        Some(endpoint)
    }

    /// A connection to a guest; its SYN leaves with the next `transmit`.
    pub fn connecting(
        segment: &mut Segment,
        sockets: &mut Sockets,
        local: SocketAddrV4,
        guest: SocketAddrV4,
    ) -> Option<Self> {
        let mut endpoint = Self::new(segment, sockets, *local.ip(), *guest.ip());
        let Self {
            interface,
            sockets,
            handle,
            ..
        } = &mut endpoint;
        let socket = sockets.get_mut::<Socket<'_>>(*handle);
        socket
            .connect(
                interface.context(),
                (*guest.ip(), guest.port()),
                (*local.ip(), local.port()),
            )
            .ok()?;
        Some(endpoint)
    }

    fn new(segment: &mut Segment, pool: &mut Sockets, local: Ipv4Addr, guest: Ipv4Addr) -> Self {
        let started = segment.now;
        let mut config = Config::new(HardwareAddress::Ip);
        // Unpredictable sequence numbers: `RandomState` is keyed by the system's random source.
        config.random_seed = RandomState::new().hash_one(started);
        let mut card = Card::new(segment, guest);
        let mut interface = Interface::new(config, &mut card, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // An empty list has room for one.
            let _ = addresses.push(IpCidr::new(local.into(), 32));
        });
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(pool.take());
        Self {
            interface,
            sockets,
            handle,
            guest,
            started,
            ahead: StackDuration::ZERO,
            written: 0,
            progress: (0, State::Closed),
            outstanding: None,
            paused: false,
            first_data: None,
            acknowledged: None,
            end: None,
            ended: false,
            said: None,
            starved: false,
            deadline: None,
        }
    }

    /// Takes in a packet of this connection. The caller must call `transmit` after it has moved the data on.
    pub fn on_packet(&mut self, segment: &mut Segment, packet: &Incoming<'_>) {
        let Ok(tcp) = TcpPacket::new_checked(packet.payload) else {
            return;
        };
        if self.oversteps(&tcp) {
            return;
        }
        if tcp.ack() {
            self.acknowledged = Some(tcp.ack_number());
        }
        if tcp.fin() {
            self.end = Some(tcp.seq_number() + tcp.segment_len());
        }
        let was_synchronized = self.is_synchronized();
        let now = self.clock(segment.now);
        let mut card = Card::new(segment, self.guest);
        card.incoming = Some(packet.whole);
        self.interface
            .poll_ingress_single(now, &mut card, &mut self.sockets);
        self.said = card.said.or(self.said);
        self.ended |= matches!(
            self.socket().state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if card.left_syn {
            self.first_data = None;
        } else if !was_synchronized && self.is_synchronized() {
            self.first_data = Some(tcp.seq_number() + 1);
        }
    }

    /// Whether a segment goes beyond the window that our SYN offered.
    ///
    /// The window in a SYN is not scaled, but smoltcp 0.14 remembers it as if it were and takes in data far
    /// beyond its buffer, which panics. Its own check is right from the first segment after the SYN on.
    fn oversteps(&self, tcp: &TcpPacket<&[u8]>) -> bool {
        self.first_data.is_some_and(|first| {
            let end = tcp.seq_number() + tcp.payload().len();
            end > first + usize::from(u16::MAX)
        })
    }

    /// Sends what is due and plans the next deadline.
    pub fn transmit(&mut self, segment: &mut Segment) {
        self.egress(segment, false);
        self.plan(segment.now);
    }

    /// Does what was due at the deadline.
    pub fn on_deadline(&mut self, segment: &mut Segment) {
        if self
            .outstanding
            .is_some_and(|outstanding| outstanding.retransmit_at <= segment.now)
        {
            self.retransmit(segment);
        }
        self.transmit(segment);
    }

    /// Sends again, now, the data that the guest has not acknowledged for `age`: the guest has come back from
    /// an outage.
    pub fn recover(&mut self, segment: &mut Segment, age: Duration) {
        let now = segment.now;
        if let Some(outstanding) = &mut self.outstanding
            && now.saturating_duration_since(outstanding.since) >= age
        {
            outstanding.step = 0;
            self.retransmit(segment);
        }
        self.transmit(segment);
    }

    /// Lets the guest's SYN be answered: the host side is connected.
    pub fn confirm(&mut self) {
        self.paused = false;
        self.socket_mut().pause_synack(false);
    }

    /// Ends the connection with a reset, whatever its state.
    pub fn reset(&mut self, segment: &mut Segment) {
        self.confirm();
        self.socket_mut().abort();
        self.egress(segment, true);
        self.plan(segment.now);
    }

    /// Announces that no more data for the guest will come: a FIN follows what is queued.
    pub fn finish(&mut self) {
        self.socket_mut().close();
    }

    /// Lets `take` consume bytes that the guest sent. `Ok(None)`: the guest has finished and all its bytes
    /// were taken.
    ///
    /// # Errors
    /// The errors of `take`.
    pub fn receive<E>(&mut self, take: impl FnOnce(&[u8]) -> Result<usize, E>) -> Result<Option<usize>, E> {
        let mut failure = None;
        let result = self.socket_mut().recv(|bytes| {
            let taken = if bytes.is_empty() { Ok(0) } else { take(bytes) };
            let length = *taken.as_ref().unwrap_or(&0);
            failure = taken.err();
            (length, length)
        });
        match (failure, result) {
            (Some(error), _) => Err(error),
            (None, Err(RecvError::Finished)) => Ok(None),
            // A guest that has closed forgets the connection, and answers our next acknowledgement with a
            // reset. Such a guest had finished.
            (None, Err(RecvError::InvalidState)) if self.ended => Ok(None),
            (None, Err(RecvError::InvalidState)) => Ok(Some(0)),
            (None, Ok(length)) => Ok(Some(length)),
        }
    }

    /// Lets `give` write bytes for the guest into the free part of the buffer. `None`: there is no room, or
    /// the connection cannot be sent on, not yet or not any more.
    ///
    /// # Errors
    /// The errors of `give`.
    pub fn send<E>(&mut self, give: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Option<Result<usize, E>> {
        if !self.socket().can_send() {
            return None;
        }
        let given = self
            .socket_mut()
            .send(|room| {
                let given = give(room);
                (*given.as_ref().unwrap_or(&0), given)
            })
            .ok()?;
        self.written += *given.as_ref().unwrap_or(&0) as u64;
        Some(given)
    }

    /// The closed socket alone, for the next connection.
    #[allow(
        irrefutable_let_patterns,
        reason = "there are other sockets where smoltcp's features for them are on, as in tests"
    )]
    pub fn into_socket(mut self) -> Option<Socket<'static>> {
        let smoltcp::socket::Socket::Tcp(mut socket) = self.sockets.remove(self.handle) else {
            return None;
        };
        socket.abort();
        Some(socket)
    }

    /// The time at which `on_deadline` is to be called.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Whether the guest has not answered the first SYN yet.
    pub fn is_connecting(&self) -> bool {
        self.socket().state() == State::SynSent
    }

    /// Whether nothing can come or go any more: closed, or reset by the guest before it was open.
    pub fn is_closed(&self) -> bool {
        matches!(self.socket().state(), State::Closed | State::Listen)
    }

    /// Whether both sides have finished and only late segments are waited for. Then it gives the numbers with
    /// which to answer them, and whether the guest's end was acknowledged.
    pub fn lingers(&self) -> Option<(LastWord, bool)> {
        if self.socket().state() != State::TimeWait {
            return None;
        }
        let last = LastWord {
            seq: self.acknowledged?,
            ack: self.end?,
        };
        Some((last, self.said == self.end))
    }

    /// Whether the guest or we have yet to answer a first SYN.
    pub fn is_half_open(&self) -> bool {
        matches!(
            self.socket().state(),
            State::Listen | State::SynSent | State::SynReceived
        )
    }

    /// Whether bytes of the guest wait to be taken.
    pub fn has_received(&self) -> bool {
        self.socket().can_recv()
    }

    /// Whether segments wait for the guest's VMM to read.
    pub fn is_starved(&self) -> bool {
        self.starved
    }

    fn socket(&self) -> &Socket<'static> {
        self.sockets.get::<Socket<'_>>(self.handle)
    }

    fn socket_mut(&mut self) -> &mut Socket<'static> {
        self.sockets.get_mut::<Socket<'_>>(self.handle)
    }

    fn clock(&self, now: Instant) -> StackInstant {
        StackInstant::ZERO + to_stack(now.saturating_duration_since(self.started)) + self.ahead
    }

    /// Sends all that smoltcp wants to send now. Returns how many segments carried data, SYN or FIN.
    fn egress(&mut self, segment: &mut Segment, forced: bool) -> usize {
        let now = self.clock(segment.now);
        let mut card = Card::new(segment, self.guest);
        card.forced = forced;
        while self.interface.poll_egress(now, &mut card, &mut self.sockets)
            == smoltcp::iface::PollResult::SocketStateChanged
        {}
        self.starved = card.exhausted;
        let Card {
            sent, left_syn, said, ..
        } = card;
        self.said = said.or(self.said);
        if left_syn {
            self.first_data = None;
        }
        sent
    }

    /// Moves the clock to smoltcp's next timer, so that smoltcp sends again now what was not acknowledged.
    fn retransmit(&mut self, segment: &mut Segment) {
        // The first timer may be that of a delayed acknowledgement; then the second is the retransmission.
        for _ in 0..2 {
            let now = self.clock(segment.now);
            match self.interface.poll_at(now, &self.sockets) {
                Some(timer) if timer > now => self.ahead += timer - now,
                _ => {}
            }
            if self.egress(segment, false) > 0 || self.starved {
                break;
            }
        }
        if let Some(outstanding) = &mut self.outstanding {
            let pause = limits::RECOVERY
                .get(outstanding.step)
                .copied()
                .unwrap_or(limits::RETRANSMIT_MAX);
            outstanding.step = outstanding.step.saturating_add(1);
            outstanding.retransmit_at = segment.now + pause;
        }
    }

    fn plan(&mut self, now: Instant) {
        let progress = (
            self.written - self.socket().send_queue() as u64,
            self.socket().state(),
        );
        if !self.awaits_acknowledgement() {
            self.outstanding = None;
        } else if self.outstanding.is_none() || progress != self.progress {
            let retransmit_at = now + limits::RETRANSMIT_MAX;
            self.outstanding = Some(Outstanding {
                since: now,
                retransmit_at,
                step: limits::RECOVERY.len(),
            });
        }
        self.progress = progress;
        let clock = self.clock(now);
        let timer = match self.interface.poll_at(clock, &self.sockets) {
            // A timer that has passed means that smoltcp waits for something else: room at the VMM, or
            // `confirm`.
            Some(timer) if timer > clock => Some(now + Duration::from(timer - clock)),
            _ => None,
        };
        let retransmit = self.outstanding.map(|outstanding| outstanding.retransmit_at);
        self.deadline = timer.into_iter().chain(retransmit).min();
    }

    fn is_synchronized(&self) -> bool {
        !matches!(
            self.socket().state(),
            State::Closed | State::Listen | State::SynSent
        )
    }

    fn awaits_acknowledgement(&self) -> bool {
        match self.socket().state() {
            State::SynSent | State::FinWait1 | State::Closing | State::LastAck => true,
            State::SynReceived => !self.paused,
            State::Closed | State::Listen | State::TimeWait => false,
            State::Established | State::FinWait2 | State::CloseWait => self.socket().send_queue() > 0,
        }
    }
}
