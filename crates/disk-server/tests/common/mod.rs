//! A server with a disk in a directory of its own, and clients that speak NBD to it.
#![allow(dead_code, reason = "not every test uses everything")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::JoinHandle;

use block::nbd::{Call, Client, ClientError, Code, CommandFlags, Event, Operation, Shape, Want};
use block::{Ask, Mode, Token};
use disk_server::{Config, DiskServer, Door};
use tempfile::TempDir;

/// A server that runs on threads of the test.
pub struct Site {
    pub dir: TempDir,
    pub server: Arc<DiskServer>,
    serving: JoinHandle<()>,
}

pub const BYTES: u64 = 1 << 20;

impl Site {
    /// A new server with the exports `vda` of the VM `shop`, and `free` of nobody.
    pub fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        for name in ["vda.raw", "free.raw"] {
            let file = std::fs::File::create(dir.path().join(name)).unwrap();
            file.set_len(BYTES).unwrap();
        }
        disk_server::init(&dir.path().join("state")).unwrap();
        Site::over(dir, ["127.0.0.1:0"; 2].map(|address| address.parse().unwrap()))
    }

    fn over(dir: TempDir, [listen, nbd]: [SocketAddr; 2]) -> Site {
        let text = format!(
            "listen = '{listen}'\ninsecure = true\nnbd = '{nbd}'\nstate = 'state'\n\
             [[export]]\nname = 'vda'\nvm = 'shop'\npath = 'vda.raw'\n\
             [[export]]\nname = 'free'\npath = 'free.raw'\n"
        );
        let path = dir.path().join("disks.toml");
        std::fs::write(&path, text).unwrap();
        let server = Arc::new(DiskServer::open(&Config::load(&path).unwrap()).unwrap());
        let serves = Arc::clone(&server);
        let serving = std::thread::spawn(move || serves.serve().unwrap());
        Site { dir, server, serving }
    }

    /// Where the server listens: for Lockstep, and for NBD.
    pub fn doors(&self) -> [SocketAddr; 2] {
        match self.server.doors()[..] {
            [Door::Tcp(listen), Door::Tcp(nbd)] => [*listen, *nbd],
            _ => panic!("a server of this test has two doors"),
        }
    }

    /// Ends the server, without a word to anybody, and gives what is needed to start another one over the
    /// same files.
    pub fn end(self) -> Ended {
        let doors = self.doors();
        let Site { dir, server, serving } = self;
        server.close();
        serving.join().unwrap();
        Ended { dir, doors }
    }

    /// Ends the server, and starts another one over the same files.
    pub fn restart(self) -> Site {
        self.end().start()
    }

    pub fn content(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.dir.path().join(name)).unwrap()
    }

    pub fn connect(&self, export: &str, ask: Option<Ask>) -> Result<Nbd, ClientError> {
        Nbd::connect(self.doors()[1], export, ask)
    }

    pub fn writer(&self, epoch: u64, owner: u128, session: u64) -> Result<Nbd, ClientError> {
        self.connect("vda", Some(ask(epoch, owner, session, Mode::Write)))
    }
}

/// What a server that has ended leaves.
pub struct Ended {
    dir: TempDir,
    doors: [SocketAddr; 2],
}

impl Ended {
    pub fn start(self) -> Site {
        Site::over(self.dir, self.doors)
    }
}

pub fn ask(epoch: u64, owner: u128, session: u64, mode: Mode) -> Ask {
    Ask {
        vm: "shop".into(),
        token: Token {
            epoch,
            owner,
            session,
        },
        mode,
    }
}

/// A client that has entered an export.
pub struct Nbd {
    stream: TcpStream,
    client: Client,
    pub shape: Shape,
    cookie: u64,
}

impl Nbd {
    fn connect(address: SocketAddr, export: &str, ask: Option<Ask>) -> Result<Nbd, ClientError> {
        let stream = TcpStream::connect(address).unwrap();
        let mut client = Client::new(Want {
            export: export.into(),
            ask,
        });
        match event(&stream, &mut client).expect("the server hangs up only behind a refusal") {
            Ok(Event::Entered(shape)) => Ok(Nbd {
                stream,
                client,
                shape,
                cookie: 0,
            }),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error),
        }
    }

    /// Sends a request and does not wait for its reply.
    pub fn send(&mut self, operation: Operation, flags: CommandFlags, offset: u64, data: &[u8], length: u32) {
        self.cookie += 1;
        let mut out = Vec::new();
        let call = Call {
            cookie: self.cookie,
            operation,
            flags,
            offset,
            length,
        };
        self.client.call(call, &mut out);
        out.extend_from_slice(data);
        // A server that has cut this client off does not take it.
        let _ = (&self.stream).write_all(&out);
    }

    /// The next reply; `None`: the server has hung up.
    pub fn reply(&mut self) -> Option<Result<Vec<u8>, (Code, String)>> {
        match event(&self.stream, &mut self.client)?.unwrap() {
            Event::Done { outcome, .. } => Some(outcome),
            Event::Entered(_) => panic!("entered twice"),
        }
    }

    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Result<Vec<u8>, (Code, String)>> {
        let length = data.len() as u32;
        self.send(Operation::Write, CommandFlags::empty(), offset, data, length);
        self.reply()
    }

    pub fn read(&mut self, offset: u64, length: u32) -> Option<Result<Vec<u8>, (Code, String)>> {
        self.send(Operation::Read, CommandFlags::empty(), offset, &[], length);
        self.reply()
    }

    pub fn flush(&mut self) -> Option<Result<Vec<u8>, (Code, String)>> {
        self.send(Operation::Flush, CommandFlags::empty(), 0, &[], 0);
        self.reply()
    }

    pub fn say_goodbye(self) {
        let mut out = Vec::new();
        Client::goodbye(&mut out);
        (&self.stream).write_all(&out).unwrap();
        // The server hangs up when it has taken note of it.
        let _ = (&self.stream).read(&mut [0; 1]);
    }
}

/// What the server says next; `None`: it has hung up.
fn event(mut stream: &TcpStream, client: &mut Client) -> Option<Result<Event, ClientError>> {
    loop {
        stream.write_all(&client.output()).ok()?;
        let mut bytes = vec![0; client.wants()];
        stream.read_exact(&mut bytes).ok()?;
        match client.take(&mut bytes) {
            Ok(None) => {}
            Ok(Some(event)) => return Some(Ok(event)),
            Err(error) => return Some(Err(error)),
        }
    }
}

/// Why the server has not let a client in.
pub fn refusal(found: Result<Nbd, ClientError>) -> String {
    match found {
        Err(ClientError::Refused(text)) => text,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("the server has let the client in"),
    }
}
