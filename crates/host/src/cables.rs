//! `Cables`: the guest's network devices as the drive loop sees them: which ports to wait for, read and
//! flush. `World` has one; behind each cable is a `Port`.
//!
//! A port that fails never ends the replica: the guest sees a network that loses frames. Only the poller may
//! fail.

use std::io;

use machine::Input;
use replica::{Epoch, Event, Span, Time};

use crate::limits::PORTS_LOOKS_PER_TIMEOUT;
use os::limits::BATCH_MAX;
use os::poll::{Interest, Poller, Token};
use ports::limits::PORTS_LOOK_EVERY;
use ports::{Lead, Port, announce};

/// The token of the first port; the others follow.
const PORTS: u64 = 16;

/// All network devices of the guest, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Cables {
    cables: Vec<Cable>,
    /// Does the world see this replica? Then the guest's address is announced on a port that is plugged in
    /// again.
    live: bool,
    /// Where the ports lead, as the node was told last.
    told: Lead,
}

/// The cable from one network device of the guest to a port.
#[derive(Debug)]
struct Cable {
    /// The device's address, for announcements.
    mac: [u8; 6],
    port: Port,
    /// Were frames queued since the last flush?
    dirty: bool,
    /// What the poller waits for; `None`: it does not know the port.
    interest: Option<Interest>,
    /// Was the last batch full, or cut short? Then the port may have more in its buffers, where the kernel
    /// does not see it.
    full: bool,
}

impl Cables {
    /// Adds the guest's next network device.
    pub fn add(&mut self, mac: [u8; 6], port: Port) {
        self.cables.push(Cable {
            mac,
            port,
            dirty: false,
            interest: None,
            full: false,
        });
    }

    /// Tells all ports that the world does not see this replica for the time being.
    pub fn stay_quiet(&mut self) {
        for cable in &mut self.cables {
            cable.port.stay_quiet();
        }
    }

    /// Tells all ports that the world sees this replica from here on, by virtue of `epoch`.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn go_live(&mut self, epoch: Epoch, poller: &Poller) -> io::Result<()> {
        self.live = true;
        for index in 0..self.cables.len() {
            let cable = &mut self.cables[index];
            cable.port.go_live(epoch);
            cable.dirty = true;
            self.want(index, Interest::Read, poller)?;
        }
        Ok(())
    }

    /// Tells all ports that the world does not see this replica any more.
    ///
    /// # Errors
    /// The poller does not let go of a port.
    pub fn stand_by(&mut self, poller: &Poller) -> io::Result<()> {
        self.live = false;
        for cable in &mut self.cables {
            if let (Some(fd), Some(_)) = (cable.port.fd(), cable.interest.take()) {
                poller.remove(&fd)?;
            }
            cable.port.stand_by();
            cable.dirty = false;
            cable.full = false;
        }
        Ok(())
    }

    /// A thread has woken the guest thread: perhaps a gateway has been reached. Its port is waited for again,
    /// and the guest's address is announced there.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn on_wake(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.cables.len() {
            let cable = &mut self.cables[index];
            if cable.port.on_wake() {
                cable.interest = None;
                if self.live {
                    cable.port.transmit(&announce::frame(cable.mac));
                }
                cable.dirty = true;
                self.want(index, Interest::Read, poller)?;
            }
        }
        Ok(())
    }

    /// Does what is due by the clock at each port.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn on_time(&mut self, now: Time, poller: &Poller) -> io::Result<()> {
        for index in 0..self.cables.len() {
            let port = &mut self.cables[index].port;
            if port.deadline().is_some_and(|at| at <= now) {
                port.on_time(now);
                if !port.flush() {
                    self.want(index, Interest::ReadWrite, poller)?;
                }
                if self.cables[index].port.fd().is_none() {
                    self.cables[index].interest = None;
                }
            }
        }
        Ok(())
    }

    /// When [`Cables::on_time`] has something to do.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.cables.iter().filter_map(|cable| cable.port.deadline()).min()
    }

    /// Has each port look whether it leads somewhere, so often that a pair with this timeout learns of a cut
    /// in time.
    pub fn look_for(&mut self, timeout: Span) {
        let every = Span(timeout.0 / PORTS_LOOKS_PER_TIMEOUT).min(PORTS_LOOK_EVERY);
        for cable in &mut self.cables {
            cable.port.look_every(every);
        }
    }

    /// Would the guest's frames get anywhere, as far as can be known?
    #[must_use]
    pub fn lead(&self, now: Time) -> Lead {
        self.cables
            .iter()
            .fold(Lead::Unknown, |lead, cable| lead.and(cable.port.lead(now)))
    }

    /// The guest's ports.
    pub fn ports(&self) -> impl Iterator<Item = &Port> {
        self.cables.iter().map(|cable| &cable.port)
    }

    /// What the node is to be told of its ports. Each time that they were seen to lead somewhere is news;
    /// that they lead nowhere is news once.
    pub fn news(&mut self, now: Time) -> Option<Event> {
        let lead = self.lead(now);
        let is_new = lead != std::mem::replace(&mut self.told, lead);
        let is_well = match lead {
            Lead::Unknown => return None,
            Lead::Somewhere(_) => true,
            Lead::Nowhere => false,
        };
        is_new.then_some(Event::Ports(is_well))
    }

    /// Queues a frame of the guest; it leaves by [`Cables::flush`] at the latest.
    pub fn transmit(&mut self, port: u8, frame: &[u8]) {
        if let Some(cable) = self.cables.get_mut(usize::from(port)) {
            cable.port.transmit(frame);
            cable.dirty = true;
        }
    }

    /// Queues an announcement on every port (FT 2.3-c).
    pub fn announce(&mut self) {
        for cable in &mut self.cables {
            cable.port.transmit(&announce::frame(cable.mac));
            cable.dirty = true;
        }
    }

    /// The port of `token` is ready: takes its frames, and writes what waits for room.
    ///
    /// # Errors
    /// As the kernel gives them for the poller, never for a port.
    pub fn read(&mut self, token: Token, poller: &Poller, handle: &mut dyn FnMut(Event)) -> io::Result<()> {
        let index = token
            .0
            .checked_sub(PORTS)
            .map_or(usize::MAX, |index| index as usize);
        let Some(cable) = self.cables.get_mut(index) else {
            return Ok(());
        };
        let mut count = 0;
        for frame in cable.port.receive() {
            count += 1;
            // At most 64 devices (`replica::limits::DEVICES_MAX`).
            let port = index as u8;
            handle(Event::Input(Input::NetFrame { port, frame }));
        }
        cable.full = count == BATCH_MAX || cable.port.is_unread();
        if cable.port.fd().is_none() {
            // Unplugged: the closed socket has left the poller.
            cable.interest = None;
            cable.full = false;
            return Ok(());
        }
        cable.dirty = false;
        // After a full batch the port is not waited for until a slice has run (`listen_again`), so that a
        // flood of frames does not cut every slice.
        let interest = match (cable.full, cable.port.flush()) {
            (true, _) => Interest::Nothing,
            (false, true) => Interest::Read,
            (false, false) => Interest::ReadWrite,
        };
        self.want(index, interest, poller)
    }

    /// The ports that may have frames which the kernel does not show: they are to be read without its call.
    pub fn unread(&self) -> impl Iterator<Item = Token> {
        (PORTS..)
            .zip(&self.cables)
            .filter(|(_, cable)| cable.full)
            .map(|(token, _)| Token(token))
    }

    /// Waits again for the ports that had a full batch. Call after each slice.
    ///
    /// # Errors
    /// As the kernel gives them for the poller, never for a port.
    pub fn listen_again(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.cables.len() {
            if self.cables[index].interest == Some(Interest::Nothing) {
                self.want(index, Interest::ReadWrite, poller)?;
            }
        }
        Ok(())
    }

    /// Hands the kernel the frames that were queued.
    ///
    /// # Errors
    /// As the kernel gives them for the poller, never for a port.
    pub fn flush(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.cables.len() {
            let cable = &mut self.cables[index];
            if std::mem::take(&mut cable.dirty) && !cable.port.flush() {
                self.want(index, Interest::ReadWrite, poller)?;
            }
        }
        Ok(())
    }

    /// Has the poller wait for this at a port, unless it does already or the cable is out.
    fn want(&mut self, index: usize, interest: Interest, poller: &Poller) -> io::Result<()> {
        let cable = &mut self.cables[index];
        let Some(fd) = cable.port.fd() else {
            // A closed socket has left the poller.
            cable.interest = None;
            return Ok(());
        };
        let token = Token(PORTS + index as u64);
        match cable.interest {
            None => poller.add(&fd, token, interest)?,
            Some(now) if now != interest => poller.modify(&fd, token, interest)?,
            Some(_) => {}
        }
        cable.interest = Some(interest);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use os::wake::Waker;
    use ports::{Endpoint, PortSpec};
    use replica::Span;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    #[test]
    fn frames_of_one_read_are_all_taken_though_the_gateway_reads_nothing_and_sends_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway");
        let gateway = UnixListener::bind(&path).unwrap();
        let spec = PortSpec::Gateway {
            endpoint: Endpoint::Unix(path),
            key: None,
        };
        let mut port = Port::open(&spec, &Waker::new().unwrap()).unwrap();
        port.check(&spec).unwrap();
        let (mut gateway, _) = gateway.accept().unwrap();
        let (mut cables, mut poller) = (Cables::default(), Poller::new().unwrap());
        cables.add([2, 0, 0, 0, 0, 1], port);
        cables.go_live(Epoch(1), &poller).unwrap();
        // The gateway does not read, so the port does not become writable either.
        while cables.cables[0].port.flush() {
            cables.transmit(0, &[0; 60_000]);
        }
        let count = 3 * BATCH_MAX + 5;
        let frame = [&4_u32.to_be_bytes()[..], b"ping"].concat();
        gateway.write_all(&frame.repeat(count)).unwrap();
        let mut taken = 0;
        loop {
            let mut ready: Vec<Token> = poller.wait(Some(Span(0)), false).unwrap().collect();
            ready.extend(cables.unread());
            let Some(token) = ready.first() else { break };
            let mut batch = 0;
            cables.read(*token, &poller, &mut |_| batch += 1).unwrap();
            assert!(batch <= BATCH_MAX);
            taken += batch;
            cables.listen_again(&poller).unwrap();
        }
        assert_eq!(taken, count);
    }
}
