//! `Dialing`: the thread that tries to reach a gateway again and again, so that the guest thread never waits
//! for one. `plug` starts it when its cable is out, or beside a connection that is mute, and takes its news.
//!
//! It decides nothing: whether a new connection is taken is the plug's business.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};

use crate::dial::{Connection, DialError, Dialer};
use cable::wire::Wire;
use os::sandbox::{self, Kind};
use os::wake::Waker;

/// What a thread that dials has to say.
#[derive(Debug)]
pub enum News {
    /// A try has failed; the thread goes on trying.
    Failed(DialError),
    /// A try has come through; the thread has ended.
    Connected(Wire<Connection>),
}

/// A thread that dials, as the guest thread sees it. The thread ends soon after this is dropped.
#[derive(Debug)]
pub struct Dialing {
    /// What the thread has to say.
    news: Receiver<News>,
    /// Set when the thread is to give up.
    enough: Arc<AtomicBool>,
}

impl Dialing {
    /// Starts a thread, which wakes the guest thread by `waker` when it has news.
    ///
    /// # Errors
    /// The host gives no more threads.
    pub fn start(mut dialer: Dialer, waker: Waker) -> io::Result<Dialing> {
        let (sender, news) = channel();
        let enough = Arc::new(AtomicBool::new(false));
        let is_enough = Arc::clone(&enough);
        sandbox::try_spawn(Kind::Cable, "cable", move || {
            while !is_enough.load(Ordering::SeqCst) {
                let (news, done) = match dialer.step() {
                    Ok(None) => continue,
                    Ok(Some(wire)) => (News::Connected(wire), true),
                    Err(error) => (News::Failed(error), false),
                };
                // If the plug is gone, nobody waits for the news any more.
                let _ = sender.send(news);
                waker.wake();
                if done {
                    return;
                }
            }
        })?;
        Ok(Dialing { news, enough })
    }

    /// The next news of the thread; `None`: there is none at present.
    pub fn news(&self) -> Option<News> {
        self.news.try_recv().ok()
    }
}

impl Drop for Dialing {
    fn drop(&mut self) {
        self.enough.store(true, Ordering::SeqCst);
    }
}
