//! What stands between a claimant and a server, and loses what a network may lose: a question before the
//! server has it, or an answer when the server has done what it was asked. Losing something ends the
//! connection, as a network that is cut does.
//!
//! It knows no protocol: what a server sends in one piece counts as an answer.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

/// What becomes of what goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// It arrives.
    Free,
    /// So many answers arrive, and those that come then are lost.
    LosesAnswers { after: usize },
    /// The next answer is lost, and nothing after it.
    LosesOneAnswer,
    /// Questions are lost.
    LosesQuestions,
    /// The next answer is kept back until the way is another one, and is lost then.
    Holds,
}

/// A relay before one server.
pub struct Relay {
    address: SocketAddr,
    shared: Arc<(Mutex<State>, Condvar)>,
}

struct State {
    way: Way,
    /// Is an answer kept back?
    holds: bool,
}

impl Relay {
    /// A relay before this server, whose way is free.
    pub fn before(server: SocketAddr) -> Relay {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State {
            way: Way::Free,
            holds: false,
        };
        let shared = Arc::new((Mutex::new(state), Condvar::new()));
        let relay = Relay {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for near in listener.incoming() {
                let near = near.unwrap();
                // A server that is gone takes no calls, and so does this relay.
                let Ok(far) = TcpStream::connect(server) else {
                    continue;
                };
                let ends = (near.try_clone().unwrap(), far.try_clone().unwrap());
                let of_questions = Arc::clone(&shared);
                thread::spawn(move || carry(near, &far, || asks(&of_questions)));
                let of_answers = Arc::clone(&shared);
                thread::spawn(move || carry(ends.1, &ends.0, || answers(&of_answers)));
            }
        });
        relay
    }

    /// Where clients call it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Has what comes from now on go this way.
    pub fn is(&self, way: Way) {
        let (state, changed) = &*self.shared;
        state.lock().unwrap().way = way;
        changed.notify_all();
    }

    /// Waits until an answer is kept back.
    pub fn holds(&self) {
        let (state, changed) = &*self.shared;
        let state = state.lock().unwrap();
        drop(changed.wait_while(state, |state| !state.holds).unwrap());
    }
}

/// Does a question arrive?
fn asks((state, _): &(Mutex<State>, Condvar)) -> bool {
    state.lock().unwrap().way != Way::LosesQuestions
}

/// Does an answer arrive?
fn answers((state, changed): &(Mutex<State>, Condvar)) -> bool {
    let mut state = state.lock().unwrap();
    match state.way {
        Way::Free | Way::LosesQuestions => true,
        Way::LosesAnswers { after: 0 } => false,
        Way::LosesAnswers { after } => {
            state.way = Way::LosesAnswers { after: after - 1 };
            true
        }
        Way::LosesOneAnswer => {
            state.way = Way::Free;
            false
        }
        Way::Holds => {
            state.holds = true;
            changed.notify_all();
            state = changed
                .wait_while(state, |state| state.way == Way::Holds)
                .unwrap();
            state.holds = false;
            false
        }
    }
}

/// Carries bytes one way until one side has gone, or something is lost.
fn carry(mut from: TcpStream, mut to: &TcpStream, arrives: impl Fn() -> bool) {
    let mut bytes = [0; 1 << 16];
    loop {
        match from.read(&mut bytes) {
            Ok(count) if count > 0 && arrives() && to.write_all(&bytes[..count]).is_ok() => {}
            _ => break,
        }
    }
    // Either may be closed already.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}
