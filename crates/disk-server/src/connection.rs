//! One connection: a thread that reads requests and does at once what waits for no drive, and workers for
//! the rest.
//!
//! Replies leave in the order in which the requests are done. They are collected as long as further requests
//! have come already, so that a client which keeps many under way costs few system calls.

use std::io::{self, BufReader, Read, Write};
use std::sync::Arc;

use block::control::{WANT_CONTROL, WANT_NBD};
use block::nbd::{Hangup, Server};

use crate::control;
use crate::limits::{CONTROL_PATIENCE, HANDSHAKE_TIMEOUT, READ_LEN, REPLIES_LEN_MAX};
use crate::site::{Entered, Site, Visitor};
use crate::stream::Stream;
use crate::work::{End, Work};
use crate::workers::Workers;

/// Serves a connection until it ends.
pub fn serve(site: &Arc<Site>, stream: Stream) {
    let stream = Arc::new(stream);
    let peer = stream.peer();
    match hear_want(&stream) {
        Ok(Want::Nbd) => {}
        Ok(Want::Control) => {
            let served = stream
                .set_patience(Some(CONTROL_PATIENCE))
                .and_then(|()| control::serve(site, &stream));
            if let Err(error) = served {
                tracing::debug!("{peer}: {error}");
            }
            return;
        }
        Err(error) => return tracing::debug!("{peer}: {error}"),
    }
    let mut visitor = Visitor::new(site, &stream);
    let end = match haggle(&stream, &mut visitor) {
        Ok(mut talk) => match visitor.entered().cloned() {
            Some(entered) => talk.transmit(site, entered, &mut visitor),
            None => return,
        },
        Err(end) => end,
    };
    let goodbye = matches!(end, End::Hangup(Hangup::Goodbye));
    stream.close();
    visitor.leave(goodbye);
    tracing::debug!("{peer}: {}", os::error::chain(&end));
}

/// What a caller wants.
enum Want {
    Nbd,
    Control,
}

/// Hears what a caller at the server's own door wants. At the other door there is only NBD.
fn hear_want(stream: &Stream) -> io::Result<Want> {
    if !matches!(stream, Stream::Tunnel(_)) {
        return Ok(Want::Nbd);
    }
    let (mut want, mut stream) = ([0], stream);
    stream.read_exact(&mut want)?;
    match want {
        [WANT_NBD] => Ok(Want::Nbd),
        [WANT_CONTROL] => Ok(Want::Control),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the caller wants what is not known",
        )),
    }
}

/// A conversation with a client.
struct Talk<'a> {
    server: Server,
    reader: BufReader<&'a Stream>,
    stream: &'a Arc<Stream>,
    /// The bytes that were read last; the space is used again.
    bytes: Vec<u8>,
}

/// Leads the conversation until the client has entered an export.
fn haggle<'a>(stream: &'a Arc<Stream>, visitor: &mut Visitor) -> Result<Talk<'a>, End> {
    stream.set_patience(Some(HANDSHAKE_TIMEOUT))?;
    let mut talk = Talk {
        server: Server::new(),
        reader: BufReader::with_capacity(READ_LEN, stream),
        stream,
        bytes: Vec::new(),
    };
    loop {
        (&**stream).write_all(&talk.server.output())?;
        if talk.server.is_entered() {
            stream.set_patience(None)?;
            return Ok(talk);
        }
        talk.read()?;
        let taken = talk.server.take(&mut talk.bytes, visitor);
        if let Err(hangup) = taken {
            // The client may still read what was said to it.
            let _ = (&**stream).write_all(&talk.server.output());
            return Err(hangup.into());
        }
    }
}

impl Talk<'_> {
    /// Reads what is wanted next.
    fn read(&mut self) -> io::Result<()> {
        let wants = self.server.wants();
        self.bytes.clear();
        // Reading into the end of a vector spares making it zero first.
        self.bytes.reserve(wants);
        let got = (&mut self.reader)
            .take(wants as u64)
            .read_to_end(&mut self.bytes)?;
        if got < wants {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(())
    }

    /// Serves requests until the connection ends, and until all that were begun are done.
    fn transmit(&mut self, site: &Arc<Site>, entered: Entered, visitor: &mut Visitor) -> End {
        let work = Arc::new(Work::new(site, entered, self.server.replies(), self.stream));
        let workers = Workers::new(&work);
        let end = self.serve_requests(&work, &workers, visitor);
        // Whoever waits for the client's reading comes back by this.
        let goodbye = matches!(end, Ok(Hangup::Goodbye));
        if !goodbye {
            self.stream.close();
        }
        workers.finish();
        match end {
            Ok(hangup) => End::Hangup(hangup),
            Err(end) => end,
        }
    }

    fn serve_requests(
        &mut self,
        work: &Arc<Work>,
        workers: &Workers,
        visitor: &mut Visitor,
    ) -> Result<Hangup, End> {
        let mut out = Vec::new();
        loop {
            let is_there = self.reader.buffer().len() >= self.server.wants();
            if !out.is_empty() && (!is_there || out.len() >= REPLIES_LEN_MAX) {
                work.send(&out)?;
                out.clear();
            }
            self.read()?;
            let request = match self.server.take(&mut self.bytes, visitor) {
                Ok(Some(request)) => request,
                Ok(None) => continue,
                Err(hangup) => {
                    work.send(&out)?;
                    return Ok(hangup);
                }
            };
            if let Some(request) = work.at_once(request, &mut out)? {
                workers.push(request)?;
            }
        }
    }
}
