//! The clients at work: from their first write until each has read back what it has written.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use report::{Figures, RoleWord, amount};

use super::client::{Client, Course, Seen};
use super::live::{Live, TICK};
use crate::options::Options;

/// The clients at work.
pub struct Load {
    began: Instant,
    course: Arc<Course>,
    clients: Receiver<Result<(Client, Seen)>>,
    seconds: u64,
}

impl Load {
    /// Starts the clients; each reports when it has verified its writes.
    pub fn begin(redis: SocketAddr, args: &Options) -> Load {
        let (sender, clients) = channel();
        let (began, course) = (Instant::now(), Arc::new(Course::default()));
        for id in 0..args.clients {
            let (sender, course) = (sender.clone(), Arc::clone(&course));
            std::thread::spawn(move || {
                let ended = Client::connect(redis, id).map(|mut client| {
                    let seen = client.load(began, &course);
                    (client, seen)
                });
                // The demo may have given up already, and then nobody listens.
                let _ = sender.send(ended);
            });
        }
        Load {
            began,
            course,
            clients,
            seconds: args.seconds,
        }
    }

    /// Time since the load began.
    pub fn time(&self) -> Duration {
        self.began.elapsed()
    }

    /// Lets so much time pass. A client that ends before it was told to end has lost its connection.
    pub fn go_on(&self, time: Duration) -> Result<()> {
        match self.clients.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => Ok(()),
            Err(RecvTimeoutError::Disconnected) => bail!("all clients have died"),
            Ok(ended) => {
                let (_, seen) = ended?;
                bail!(
                    "a client lost its connection after {} writes: {}",
                    seen.acks.len(),
                    seen.reset.unwrap_or_default()
                )
            }
        }
    }

    /// Lets time pass until the load is so old; `figures` gives the newest ones of the side that is live.
    pub fn wait(
        &self,
        until: Duration,
        figures: &mut dyn FnMut() -> Option<Figures>,
        live: &mut Live,
    ) -> Result<()> {
        while let Some(left) = until.checked_sub(self.time()) {
            self.go_on(left.min(TICK))?;
            live.tick(|| self.line(figures()))?;
        }
        Ok(())
    }

    /// How far the load is, and how the VM does: `figures` are the newest of the side that is live.
    pub fn line(&self, figures: Option<Figures>) -> String {
        let seconds = self.time().as_secs_f64();
        let writes = amount::grouped(self.course.acked.load(Ordering::Relaxed));
        let pair = match figures {
            None => String::new(),
            Some(figures) if figures.role == RoleWord::Primary => format!(
                ", backup {:.1} ms behind, outputs wait {:.0} us",
                figures.lag_ms, figures.output_delay.p50_us
            ),
            Some(_) => ", no backup now".to_owned(),
        };
        format!("{seconds:.1} of {} s, {writes} writes{pair}", self.seconds)
    }

    /// Has the clients verify. Gives what they have seen, and the last of them.
    pub fn end(&self, clients: u64, live: &mut Live) -> Result<(Vec<Seen>, Option<Client>)> {
        self.course.stop.store(true, Ordering::Relaxed);
        let (mut all, mut last) = (Vec::new(), None);
        while (all.len() as u64) < clients {
            match self.clients.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => live.tick(|| "the clients read back".into())?,
                other => {
                    let (client, seen) = other.context("a client has died")??;
                    all.push(seen);
                    last = Some(client);
                }
            }
        }
        Ok((all, last))
    }
}
