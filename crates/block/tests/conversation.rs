//! A client and a server of NBD talk to each other, byte by byte, over a disk in memory.

use std::collections::VecDeque;

use block::nbd::{
    Call, Client, ClientError, Code, Command, CommandFlags, Event, Export, Exports, Extent, Hangup,
    Operation, Refused, Replies, Request, Server, Shape, TransmissionFlags, Want,
};
use block::{Answer, Ask, Mode, Token};

/// One disk of one VM, in memory.
struct Site {
    disk: Vec<u8>,
    entered: Vec<Option<Ask>>,
    refuse: Option<String>,
}

impl Site {
    fn new() -> Site {
        Site {
            disk: (0..8192_u32).map(|at| (at % 251) as u8).collect(),
            entered: Vec::new(),
            refuse: None,
        }
    }

    fn export(&self) -> Export {
        Export {
            bytes: self.disk.len() as u64,
            flags: TransmissionFlags::SEND_FLUSH
                | TransmissionFlags::SEND_TRIM
                | TransmissionFlags::SEND_WRITE_ZEROES
                | TransmissionFlags::SEND_FUA,
            description: "a disk in memory".into(),
            block_min: 1,
            block_preferred: 4096,
        }
    }
}

impl Exports for Site {
    fn names(&mut self) -> Vec<String> {
        vec!["vda".into()]
    }

    fn describe(&mut self, name: &str) -> Result<Export, Refused> {
        match name {
            "vda" => Ok(self.export()),
            _ => Err(Refused::Unknown(format!("there is no '{name}'"))),
        }
    }

    fn answer(&mut self, name: &str, _ask: &Ask) -> Result<Answer, Refused> {
        self.describe(name)?;
        Ok(Answer {
            server: 1,
            volatile: 2,
            epoch: 6,
            owner: 60,
        })
    }

    fn enter(&mut self, name: &str, ask: Option<&Ask>) -> Result<Export, Refused> {
        let export = self.describe(name)?;
        if let Some(text) = &self.refuse {
            return Err(Refused::Policy(text.clone()));
        }
        self.entered.push(ask.cloned());
        Ok(export)
    }
}

/// Both ends, and the bytes between them.
struct Pair {
    site: Site,
    server: Server,
    client: Client,
    to_server: VecDeque<u8>,
    to_client: VecDeque<u8>,
    bytes: Vec<u8>,
}

fn take(queue: &mut VecDeque<u8>, count: usize) -> Option<Vec<u8>> {
    (queue.len() >= count).then(|| queue.drain(..count).collect())
}

impl Pair {
    fn new(want: Want) -> Pair {
        Pair {
            site: Site::new(),
            server: Server::new(),
            client: Client::new(want),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            bytes: Vec::new(),
        }
    }

    /// Leads the conversation until the client hears something.
    fn event(&mut self) -> Result<Event, ClientError> {
        loop {
            self.to_client.extend(self.server.output());
            self.to_server.extend(self.client.output());
            if let Some(mut bytes) = take(&mut self.to_client, self.client.wants()) {
                if let Some(event) = self.client.take(&mut bytes)? {
                    return Ok(event);
                }
            } else if let Some(request) = self.serve().expect("the client speaks as it should") {
                let replies = self.server.replies();
                self.reply(replies, request);
            }
        }
    }

    fn serve(&mut self) -> Result<Option<Request>, Hangup> {
        let bytes = take(&mut self.to_server, self.server.wants());
        self.bytes = bytes.expect("both ends wait for the other one");
        self.server.take(&mut self.bytes, &mut self.site)
    }

    fn reply(&mut self, replies: Replies, request: Request) {
        let (mut out, cookie) = (Vec::new(), request.cookie);
        match request.command {
            Ok(Command::Read { offset, length }) => {
                replies.before_data(cookie, offset, length, &mut out);
                let begin = offset as usize;
                out.extend_from_slice(&self.site.disk[begin..begin + length as usize]);
            }
            Ok(Command::Write { offset, data }) => {
                let begin = offset as usize;
                self.site.disk[begin..begin + data.len()].copy_from_slice(&data);
                replies.done(cookie, &mut out);
            }
            Ok(Command::WriteZeroes { offset, length }) => {
                self.site.disk[offset as usize..offset as usize + length as usize].fill(0);
                replies.done(cookie, &mut out);
            }
            Ok(Command::BlockStatus { length, .. }) => {
                replies.extents(cookie, &[Extent { length, hole: true }], &mut out);
            }
            Ok(Command::Flush | Command::Trim { .. }) => replies.done(cookie, &mut out),
            Err(code) => replies.failed(cookie, code, "it makes no sense", &mut out),
        }
        self.to_client.extend(out);
    }

    fn enter(&mut self) -> Shape {
        match self.event() {
            Ok(Event::Entered(shape)) => shape,
            other => panic!("not entered: {other:?}"),
        }
    }

    fn call(&mut self, cookie: u64, operation: Operation, offset: u64, length: u32, data: &[u8]) {
        let call = Call {
            cookie,
            operation,
            flags: CommandFlags::empty(),
            offset,
            length,
        };
        let mut out = Vec::new();
        self.client.call(call, &mut out);
        self.to_server.extend(out);
        self.to_server.extend(data);
    }
}

fn want(ask: Option<Ask>) -> Want {
    Want {
        export: "vda".into(),
        ask,
    }
}

fn ask() -> Ask {
    Ask {
        vm: "shop".into(),
        token: Token {
            epoch: 7,
            owner: 70,
            session: 1,
        },
        mode: Mode::Write,
    }
}

#[test]
fn what_is_written_is_read_again_and_requests_may_be_under_way_together() {
    let mut pair = Pair::new(want(None));
    let shape = pair.enter();
    assert_eq!((shape.bytes, shape.answer), (8192, None));
    pair.call(1, Operation::Write, 1000, 3, b"abc");
    pair.call(2, Operation::Read, 998, 7, &[]);
    pair.call(3, Operation::Flush, 0, 0, &[]);
    pair.call(4, Operation::WriteZeroes, 999, 2, &[]);
    pair.call(5, Operation::Read, 998, 4, &[]);
    let mut done = |cookie, data: &[u8]| {
        let outcome = Ok(data.to_vec());
        assert_eq!(pair.event(), Ok(Event::Done { cookie, outcome }));
    };
    let byte = |at: u32| (at % 251) as u8;
    done(1, &[]);
    done(
        2,
        &[byte(998), byte(999), b'a', b'b', b'c', byte(1003), byte(1004)],
    );
    done(3, &[]);
    done(4, &[]);
    done(5, &[byte(998), 0, 0, b'b']);
}

#[test]
fn a_client_with_an_epoch_says_who_it_is_and_hears_whether_it_is_fenced() {
    let mut pair = Pair::new(want(Some(ask())));
    let answer = pair.enter().answer.unwrap();
    assert_eq!((answer.epoch, answer.owner), (6, 60));
    assert_eq!(pair.site.entered, [Some(ask())]);
}

#[test]
fn a_refusal_says_why_and_what_the_server_knows() {
    let mut pair = Pair::new(want(Some(ask())));
    pair.site.refuse = Some("epoch 8 has the disks now".into());
    let refused = ClientError::Refused("epoch 8 has the disks now".into());
    assert_eq!(pair.event(), Err(refused));
    assert_eq!(pair.client.answer().unwrap().epoch, 6);
}

#[test]
fn an_export_that_is_not_there_is_told_by_its_name() {
    for ask in [None, Some(ask())] {
        let mut pair = Pair::new(Want {
            export: "vdb".into(),
            ask,
        });
        assert_eq!(
            pair.event(),
            Err(ClientError::Unknown("there is no 'vdb'".into()))
        );
    }
}

#[test]
fn requests_beyond_the_end_fail_and_the_conversation_goes_on() {
    let mut pair = Pair::new(want(None));
    pair.enter();
    for (cookie, operation, code) in [
        (1, Operation::Read, Code::Invalid),
        (2, Operation::Write, Code::NoSpace),
        (3, Operation::Trim, Code::NoSpace),
    ] {
        let data: &[u8] = if operation == Operation::Write {
            &[7; 10]
        } else {
            &[]
        };
        pair.call(cookie, operation, 8185, 10, data);
        let Ok(Event::Done { outcome, .. }) = pair.event() else {
            panic!("no answer");
        };
        assert_eq!(outcome, Err((code, "it makes no sense".into())));
    }
    pair.call(9, Operation::Read, 8185, 7, &[]);
    assert!(matches!(pair.event(), Ok(Event::Done { outcome: Ok(data), .. }) if data.len() == 7));
}

#[test]
fn strangers_are_hung_up_on() {
    let speak = |bytes: &[u8]| {
        let (mut server, mut site) = (Server::new(), Site::new());
        let mut rest = bytes;
        loop {
            let (Some(piece), left) = rest
                .split_at_checked(server.wants())
                .map_or((None, rest), |(a, b)| (Some(a), b))
            else {
                return Ok(());
            };
            rest = left;
            server.take(&mut piece.to_vec(), &mut site)?;
        }
    };
    assert_eq!(
        speak(b"GET / HTTP/1.1\r\n\r\n"),
        Err(Hangup::Protocol("unknown flags"))
    );
    let long = [&[0, 0, 0, 3][..], b"IHAVEOPT", &[0, 0, 0, 7, 0, 1, 0, 0]].concat();
    assert_eq!(speak(&long), Err(Hangup::Protocol("an option is too long")));
    let abort = [&[0, 0, 0, 3][..], b"IHAVEOPT", &[0, 0, 0, 2, 0, 0, 0, 0]].concat();
    assert_eq!(speak(&abort), Err(Hangup::Goodbye));
    let unknown = [&[0, 0, 0, 3][..], b"IHAVEOPT", &[0, 0, 0, 99, 0, 0, 0, 0]].concat();
    assert_eq!(speak(&unknown.repeat(1)), Ok(()));
    let many = [&unknown[..4], &unknown[4..].repeat(65)].concat();
    assert_eq!(speak(&many), Err(Hangup::Protocol("too many options")));
}

proptest::proptest! {
    /// Whatever a stranger says, a server neither panics nor asks for more than it may.
    #[test]
    fn any_bytes_are_borne_by_a_server(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let (mut server, mut site) = (Server::new(), Site::new());
        let mut rest = &[&[0, 0, 0, 3][..], b"IHAVEOPT", &bytes].concat()[..];
        while let Some((piece, left)) = rest.split_at_checked(server.wants()) {
            assert!(server.wants() <= block::limits::PAYLOAD_LEN_MAX as usize);
            rest = left;
            if server.take(&mut piece.to_vec(), &mut site).is_err() {
                break;
            }
        }
    }

    /// Whatever a server says after its greeting, a client neither panics nor asks for more than it may.
    #[test]
    fn any_bytes_are_borne_by_a_client(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
        let mut pair = Pair::new(want(Some(ask())));
        pair.enter();
        pair.call(1, Operation::Read, 0, 4096, &[]);
        for head in [&[0x67, 0x44, 0x66, 0x98][..], &[0x66, 0x8e, 0x33, 0xef]] {
            let said = [head, &bytes].concat();
            let mut rest = &said[..];
            while let Some((piece, left)) = rest.split_at_checked(pair.client.wants()) {
                assert!(pair.client.wants() <= block::limits::PAYLOAD_LEN_MAX as usize);
                rest = left;
                if pair.client.take(&mut piece.to_vec()).is_err() {
                    break;
                }
            }
        }
    }
}
