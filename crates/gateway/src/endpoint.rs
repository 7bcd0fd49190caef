//! The guest side of one TCP connection: a smoltcp stack of its own, with a clock of its own.
//!
//! A whole stack for each connection makes finding the connection of a segment one hash look-up, polls only
//! the connection that something happened to, and gives each connection its own time. Failover needs that
//! last point. smoltcp waits at least a second before it retransmits, doubles that up to a minute, and offers
//! no way to cut it short. But smoltcp learns the time from its caller: moving this connection's clock
//! forward to its next timer makes it retransmit now. `recover` does so when the guest comes back from an
//! outage; `RETRANSMIT_MAX` does so when the guest stays away.
//!
//! A moved clock has no other effect that matters: smoltcp is given no time-outs, and takes no round-trip
//! sample from a retransmitted segment.
//!
//! A silent guest is what a failover looks like. But a guest that is there says whether it knows a
//! connection: on one that is silent it is asked now and then (`PROBE_EVERY`), and its reset ends what it has
//! forgotten. Only a guest that answers nothing at all for an hour (`PROBES_MAX`) is taken for gone.

use super::card::Card;
use super::late::{Ends, LastWord, probe};
use super::limits;
use super::segment::{Incoming, Segment};
use super::sockets::{Sockets, to_stack};
use super::window::Window;
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, State};
use smoltcp::time::{Duration as StackDuration, Instant as StackInstant};
use smoltcp::wire::{HardwareAddress, IpCidr, TcpPacket, TcpSeqNumber};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// One TCP connection toward a guest.
pub struct Endpoint {
    interface: Interface,
    sockets: SocketSet<'static>,
    handle: SocketHandle,
    ends: Ends,
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
    /// What the guest's window is judged by.
    window: Window,
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
    /// Whether the guest has answered our first SYN with a reset.
    refused: bool,
    /// When a segment of the guest last came; `None`: the guest is to be asked, whenever that was.
    heard: Option<Instant>,
    /// When to look at `heard`. No segment moves this time: a look that comes too early is repeated.
    look_at: Instant,
    /// Looks since the last segment that found the guest silent.
    unanswered: u32,
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
    /// A connection that a guest opens. Its SYN comes next; the SYN|ACK waits for `confirm`.
    pub fn accepting(segment: &mut Segment, sockets: &mut Sockets, ends: Ends) -> Option<Self> {
        let mut endpoint = Self::new(segment, sockets, ends);
        let socket = endpoint.socket_mut();
        socket.pause_synack(true);
        socket.listen((*ends.outside.ip(), ends.outside.port())).ok()?;
        endpoint.paused = true;
        Some(endpoint)
    }

    /// A connection to a guest; its SYN leaves with the next `transmit`.
    pub fn connecting(segment: &mut Segment, sockets: &mut Sockets, ends: Ends) -> Option<Self> {
        let Ends { guest, outside } = ends;
        let mut endpoint = Self::new(segment, sockets, ends);
        let socket = endpoint.sockets.get_mut::<Socket<'_>>(endpoint.handle);
        socket
            .connect(
                endpoint.interface.context(),
                (*guest.ip(), guest.port()),
                (*outside.ip(), outside.port()),
            )
            .ok()?;
        Some(endpoint)
    }

    fn new(segment: &mut Segment, pool: &mut Sockets, ends: Ends) -> Self {
        let started = segment.now;
        let mut config = Config::new(HardwareAddress::Ip);
        // Unpredictable sequence numbers: `RandomState` is keyed by the system's random source.
        config.random_seed = RandomState::new().hash_one(started);
        let mut window = Window::default();
        let mut card = Card::new(segment, *ends.guest.ip(), &mut window);
        let mut interface = Interface::new(config, &mut card, StackInstant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // An empty list has room for one.
            let _ = addresses.push(IpCidr::new((*ends.outside.ip()).into(), 32));
        });
        let mut sockets = SocketSet::new(Vec::with_capacity(1));
        let handle = sockets.add(pool.take());
        Self {
            interface,
            sockets,
            handle,
            ends,
            started,
            ahead: StackDuration::ZERO,
            written: 0,
            progress: (0, State::Closed),
            outstanding: None,
            paused: false,
            first_data: None,
            window,
            acknowledged: None,
            end: None,
            ended: false,
            said: None,
            starved: false,
            refused: false,
            heard: Some(started),
            look_at: started + limits::PROBE_EVERY,
            unanswered: 0,
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
        let was_connecting = self.is_connecting();
        self.heard = Some(segment.now);
        self.unanswered = 0;
        let now = self.clock(segment.now);
        let whole = self.window.show(packet, &tcp);
        let mut card = Card::new(segment, *self.ends.guest.ip(), &mut self.window);
        card.incoming = Some(&whole);
        self.interface
            .poll_ingress_single(now, &mut card, &mut self.sockets);
        let Card { left_syn, said, .. } = card;
        self.said = said.or(self.said);
        self.refused |= was_connecting && self.socket().state() == State::Closed;
        self.ended |= matches!(
            self.socket().state(),
            State::CloseWait | State::LastAck | State::Closing | State::TimeWait
        );
        if left_syn {
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
        if self.look_at <= segment.now {
            self.look(segment);
        }
        self.transmit(segment);
    }

    /// Has the guest asked at once, that is at a deadline now, though it may just have been heard.
    pub fn doubt(&mut self, now: Instant) {
        self.heard = None;
        self.look_at = now;
        self.plan(now);
    }

    /// Asks the guest whether it still knows this connection, if the guest has been silent on it.
    fn look(&mut self, segment: &mut Segment) {
        let due = self.heard.map(|heard| heard + limits::PROBE_EVERY);
        if let Some(due) = due.filter(|&due| due > segment.now) {
            self.look_at = due;
            return;
        }
        self.look_at = segment.now + limits::PROBE_EVERY;
        self.unanswered += 1;
        // What is sent again until it is acknowledged asks as well, as does a probe of a closed window.
        if self.outstanding.is_none()
            && let (Some(seq), Some(ack)) = (self.acknowledged, self.said)
        {
            probe(segment, self.ends, LastWord { seq, ack });
        }
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

    /// Whether the guest has left so many questions unanswered that it is taken for gone.
    pub fn is_forsaken(&self) -> bool {
        self.unanswered > limits::PROBES_MAX
    }

    /// Whether the guest has left the last two questions unanswered: it may be away.
    pub fn is_doubtful(&self) -> bool {
        self.unanswered > 1
    }

    /// Whether the guest's stack has refused the connection: nothing listens at its port.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    /// Whether the guest has acknowledged all that it was to get, the end included; see `finish`.
    pub fn has_delivered(&self) -> bool {
        let state = self.socket().state();
        self.is_closed() || matches!(state, State::FinWait2 | State::TimeWait)
    }

    /// Whether bytes wait here, of the guest to be taken or for the guest to be acknowledged.
    pub fn has_bytes(&self) -> bool {
        self.has_received() || self.socket().send_queue() > 0
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
        let mut card = Card::new(segment, *self.ends.guest.ip(), &mut self.window);
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
        let look = self.is_synchronized().then_some(self.look_at);
        self.deadline = timer.into_iter().chain(retransmit).chain(look).min();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{GatewayConfig, GuestListen};
    use crate::guests::Guests;
    use crate::peer::{Peer, PeerStream, Standing};
    use crate::segment::{ETHERNET_LEN, IPV4_LEN, emit_ipv4};
    use cable::stream::FrameReader;
    use cable::wire::Wire;
    use mio::net::UnixStream;
    use smoltcp::phy::ChecksumCapabilities;
    use smoltcp::wire::{EthernetAddress, IpProtocol, TcpControl, TcpRepr};
    use std::net::SocketAddrV4;

    const MAC: EthernetAddress = EthernetAddress([2, 0, 0, 0, 0, 1]);

    /// A connection to a guest that has answered, and what the guest's VMM gets.
    struct Scene {
        segment: Segment,
        endpoint: Endpoint,
        frames: FrameReader,
        far: UnixStream,
        started: Instant,
    }

    impl Scene {
        fn connected() -> Self {
            let config = GatewayConfig::new(GuestListen::Unix("x".into()));
            let addresses = config.addresses().unwrap();
            let started = Instant::now();
            let mut segment = Segment::new(addresses, Guests::new(addresses, &[]), started);
            let (near, far) = UnixStream::pair().unwrap();
            let standing = Standing::Plain { is_new: false };
            let peer = Peer::new(Wire::new(PeerStream::Unix(near), None), standing, "guest".into());
            assert!(segment.switch.add(1, peer, started));
            segment.switch.learn(1, MAC, started);
            segment.observe(MAC, addresses.first_lease);
            let ends = Ends {
                guest: SocketAddrV4::new(addresses.first_lease, 7),
                outside: SocketAddrV4::new(addresses.gateway, 5000),
            };
            let mut endpoint = Endpoint::connecting(&mut segment, &mut Sockets::default(), ends).unwrap();
            endpoint.transmit(&mut segment);
            let frames = FrameReader::default();
            let mut scene = Self {
                segment,
                endpoint,
                frames,
                far,
                started,
            };
            let [(control, seq, _)] = scene.sent()[..] else {
                panic!("one SYN")
            };
            assert_eq!(control, TcpControl::Syn);
            scene.answer(TcpControl::Syn, 1000, seq + 1);
            assert_eq!(scene.sent().len(), 1, "the SYN|ACK is acknowledged");
            scene
        }

        /// The guest sends an empty segment, and has room for 4,000 bytes.
        fn answer(&mut self, control: TcpControl, seq: i32, ack: TcpSeqNumber) {
            self.answer_with_room(control, seq, ack, 4_000);
        }

        /// The guest sends an empty segment, and has room for so many bytes.
        fn answer_with_room(&mut self, control: TcpControl, seq: i32, ack: TcpSeqNumber, window_len: u16) {
            let Ends { guest, outside } = self.endpoint.ends;
            let segment = TcpRepr {
                src_port: guest.port(),
                dst_port: outside.port(),
                control,
                seq_number: TcpSeqNumber(seq),
                ack_number: Some(ack),
                window_len,
                window_scale: None,
                max_seg_size: None,
                sack_permitted: false,
                sack_ranges: [None; 3],
                timestamp: None,
                payload: &[],
            };
            let (from, to) = (*guest.ip(), *outside.ip());
            let mut whole = vec![0; IPV4_LEN + segment.buffer_len()];
            emit_ipv4(&mut whole, from, to, IpProtocol::Tcp);
            let mut tcp = TcpPacket::new_unchecked(&mut whole[IPV4_LEN..]);
            segment.emit(
                &mut tcp,
                &from.into(),
                &to.into(),
                &ChecksumCapabilities::default(),
            );
            let packet = Incoming {
                mac: MAC,
                from,
                to,
                whole: &whole,
                payload: &whole[IPV4_LEN..],
            };
            self.endpoint.on_packet(&mut self.segment, &packet);
            self.endpoint.transmit(&mut self.segment);
        }

        /// What was sent to the guest since the last look: control, sequence and acknowledgement number.
        fn sent(&mut self) -> Vec<(TcpControl, TcpSeqNumber, TcpSeqNumber)> {
            self.segment.switch.flush();
            let mut segments = Vec::new();
            while self.frames.read_from(&mut self.far).is_ok() {}
            while let Some(frame) = self.frames.pop().unwrap() {
                let tcp = TcpPacket::new_checked(&frame[ETHERNET_LEN + IPV4_LEN..]).unwrap();
                let control = if tcp.syn() {
                    TcpControl::Syn
                } else {
                    TcpControl::None
                };
                segments.push((control, tcp.seq_number(), tcp.ack_number()));
            }
            segments
        }

        /// Gives the connection so many bytes for the guest, and returns the number of the first one.
        fn write(&mut self, length: usize) -> TcpSeqNumber {
            let first = self.endpoint.acknowledged.unwrap();
            let written = self.endpoint.send(|room| {
                room[..length].fill(7);
                Ok::<_, ()>(length)
            });
            assert_eq!(written, Some(Ok(length)));
            self.endpoint.transmit(&mut self.segment);
            first
        }

        /// The deadlines of the connection, up to this many seconds after its start.
        fn go_to(&mut self, seconds: u64) {
            let end = self.started + Duration::from_secs(seconds);
            while let Some(at) = self.endpoint.deadline().filter(|&at| at <= end) {
                self.segment.now = at;
                self.endpoint.on_deadline(&mut self.segment);
            }
            self.segment.now = end;
        }
    }

    #[test]
    fn a_silent_guest_is_asked_every_minute_and_taken_for_gone_after_an_hour() {
        let mut scene = Scene::connected();
        let (seq, ack) = (scene.endpoint.acknowledged.unwrap(), TcpSeqNumber(1001));
        scene.go_to(59);
        assert_eq!(scene.sent(), []);
        scene.go_to(60);
        // The number from before the connection's next one is what makes the guest answer.
        let question = (TcpControl::None, TcpSeqNumber(seq.0.wrapping_sub(1)), ack);
        assert_eq!(scene.sent(), [question]);
        scene.go_to(60 * 60);
        assert_eq!(scene.sent(), vec![question; 59]);
        assert!(scene.endpoint.is_doubtful() && !scene.endpoint.is_forsaken());
        scene.go_to(61 * 60);
        assert!(scene.endpoint.is_forsaken());
    }

    #[test]
    fn a_guest_that_answers_is_there_however_long_it_says_nothing_else() {
        let mut scene = Scene::connected();
        let seq = scene.endpoint.acknowledged.unwrap();
        for minute in 1..200 {
            scene.go_to(60 * minute);
            assert_eq!(scene.sent().len(), 1);
            scene.answer(TcpControl::None, 1001, seq);
            assert!(!scene.endpoint.is_doubtful());
        }
        // A guest that has forgotten the connection says so, and that ends it.
        scene.answer(TcpControl::Rst, 1001, seq);
        assert!(scene.endpoint.is_closed());
    }

    /// Whether bytes from this number on were sent to the guest.
    fn has_data_from(sent: &[(TcpControl, TcpSeqNumber, TcpSeqNumber)], first: TcpSeqNumber) -> bool {
        sent.iter().any(|&(_, seq, _)| seq == first)
    }

    /// Linux closes its window when its memory is full, and drops what is on its way then.
    #[test]
    fn what_a_guest_drops_when_it_closes_its_window_is_sent_again_once_the_window_opens() {
        let mut scene = Scene::connected();
        let first = scene.write(3_000);
        assert!(has_data_from(&scene.sent(), first));
        scene.answer_with_room(TcpControl::None, 1001, first + 1_072, 0);
        scene.answer_with_room(TcpControl::None, 1001, first + 1_072, 4_000);
        scene.sent();
        scene.go_to(3);
        assert!(has_data_from(&scene.sent(), first + 1_072));
        scene.answer(TcpControl::None, 1001, first + 3_000);
        assert!(!scene.endpoint.has_bytes());
    }

    #[test]
    fn a_guest_that_closed_its_window_is_asked_for_room_though_data_was_on_its_way() {
        // With and without an acknowledgement of something new in the segment that closes the window.
        for taken in [0, 1_072] {
            let mut scene = Scene::connected();
            let first = scene.write(3_000);
            scene.answer_with_room(TcpControl::None, 1001, first + taken, 0);
            scene.sent();
            for second in 1..=10 {
                // The guest answers each question that it has no room; what says that there is some is lost.
                scene.go_to(3 * second);
                let sent = scene.sent();
                assert!(has_data_from(&sent, first + taken), "after {second} questions");
                assert!(
                    sent.len() < 6,
                    "all is sent again and again to a guest without room: {sent:?}"
                );
                scene.answer_with_room(TcpControl::None, 1001, first + taken, 0);
            }
            scene.answer(TcpControl::None, 1001, first + taken);
            scene.go_to(33);
            scene.answer(TcpControl::None, 1001, first + 3_000);
            assert!(!scene.endpoint.has_bytes());
        }
    }
}
