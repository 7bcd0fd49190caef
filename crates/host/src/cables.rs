//! The guest's network cables as the drive loop sees them: which ports to wait for, read and flush.

use std::io;

use machine::Input;
use replica::Event;

use crate::limits::BATCH_MAX;
use crate::net::{Port, announce};
use crate::poll::{Interest, Poller, Token};

/// The token of the first port; the others follow.
const PORTS: u64 = 16;

/// All network devices of the guest, in the order of their numbers.
#[derive(Debug, Default)]
pub struct Cables(Vec<Cable>);

/// From one network device of the guest to a port.
#[derive(Debug)]
struct Cable {
    mac: [u8; 6],
    port: Port,
    /// Frames wait to be flushed.
    dirty: bool,
    /// What the poller waits for; `None`: it does not know the port.
    interest: Option<Interest>,
    /// The last batch was a full one: the port may have more frames in its buffers, where the kernel does not see them.
    full: bool,
}

impl Cables {
    /// Adds the next device.
    pub fn add(&mut self, mac: [u8; 6], port: Port) {
        self.0.push(Cable {
            mac,
            port,
            dirty: false,
            interest: None,
            full: false,
        });
    }

    /// The world sees this replica from here on.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn go_live(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.0.len() {
            self.0[index].port.go_live();
            self.want(index, Interest::Read, poller)?;
        }
        Ok(())
    }

    /// A thread has called: perhaps a gateway is there again. It is told whom it talks to.
    ///
    /// # Errors
    /// A port cannot be waited for.
    pub fn on_wake(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.0.len() {
            let cable = &mut self.0[index];
            if cable.port.on_wake() {
                cable.interest = None;
                cable.port.transmit(&announce::frame(cable.mac));
                cable.dirty = true;
                self.want(index, Interest::Read, poller)?;
            }
        }
        Ok(())
    }

    /// Queues a frame of the guest; it leaves by [`Cables::flush`] at the latest.
    pub fn transmit(&mut self, port: u8, frame: &[u8]) {
        if let Some(cable) = self.0.get_mut(usize::from(port)) {
            cable.port.transmit(frame);
            cable.dirty = true;
        }
    }

    /// Queues an announcement on every port (FT 2.3-c).
    pub fn announce(&mut self) {
        for cable in &mut self.0 {
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
        let Some(cable) = self.0.get_mut(index) else {
            return Ok(());
        };
        let mut count = 0;
        for frame in cable.port.receive() {
            count += 1;
            // At most 64 devices (`replica::limits::DEVICES_MAX`).
            let port = index as u8;
            handle(Event::Input(Input::NetFrame { port, frame }));
        }
        cable.full = count == BATCH_MAX;
        if cable.port.fd().is_none() {
            // Unplugged: the closed socket has left the poller.
            cable.interest = None;
            cable.full = false;
            return Ok(());
        }
        cable.dirty = false;
        // A flood must not cut every slice: the guest gets one in peace for each full batch.
        let interest = match (cable.full, cable.port.flush()) {
            (true, _) => Interest::Nothing,
            (false, true) => Interest::Read,
            (false, false) => Interest::ReadWrite,
        };
        self.want(index, interest, poller)
    }

    /// Ports that may have frames which the kernel does not show; read them without being called.
    pub fn unread(&self) -> impl Iterator<Item = Token> {
        (PORTS..)
            .zip(&self.0)
            .filter(|(_, cable)| cable.full)
            .map(|(token, _)| Token(token))
    }

    /// Is there such a port?
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.unread().next().is_some()
    }

    /// Ends the peace of floods; call after each slice.
    ///
    /// # Errors
    /// As the kernel gives them.
    pub fn listen_again(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.0.len() {
            if self.0[index].interest == Some(Interest::Nothing) {
                self.want(index, Interest::ReadWrite, poller)?;
            }
        }
        Ok(())
    }

    /// Hands the kernel what was queued.
    ///
    /// # Errors
    /// As the kernel gives them for the poller, never for a port.
    pub fn flush(&mut self, poller: &Poller) -> io::Result<()> {
        for index in 0..self.0.len() {
            let cable = &mut self.0[index];
            if std::mem::take(&mut cable.dirty) && !cable.port.flush() {
                self.want(index, Interest::ReadWrite, poller)?;
            }
        }
        Ok(())
    }

    fn want(&mut self, index: usize, interest: Interest, poller: &Poller) -> io::Result<()> {
        let cable = &mut self.0[index];
        let Some(fd) = cable.port.fd() else { return Ok(()) };
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
    use crate::net::{Endpoint, PortSpec};
    use crate::wake::Waker;
    use replica::Span;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    #[test]
    fn frames_of_one_read_are_all_taken_though_the_gateway_reads_nothing_and_sends_nothing_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gateway");
        let gateway = UnixListener::bind(&path).unwrap();
        let spec = PortSpec::Gateway(Endpoint::Unix(path));
        let mut port = Port::open(&spec, &Waker::new().unwrap()).unwrap();
        port.check(&spec).unwrap();
        let (mut gateway, _) = gateway.accept().unwrap();
        let (mut cables, mut poller) = (Cables::default(), Poller::new().unwrap());
        cables.add([2, 0, 0, 0, 0, 1], port);
        cables.go_live(&poller).unwrap();
        // The gateway does not read, so the port does not become writable either.
        while cables.0[0].port.flush() {
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
