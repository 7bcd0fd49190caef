//! Any bytes as what a client says to a disk server: they are answered or hung up on, never with a panic, and
//! no more is asked for than the limits say.
#![no_main]

use block::limits::PAYLOAD_LEN_MAX;
use block::nbd::{Command, Export, Exports, Refused, Server, TransmissionFlags};
use block::{Answer, Ask};
use libfuzzer_sys::fuzz_target;

const BYTES: u64 = 1 << 20;

struct Site;

impl Exports for Site {
    fn names(&mut self) -> Vec<String> {
        vec!["vda".into()]
    }

    fn describe(&mut self, name: &str) -> Result<Export, Refused> {
        match name {
            "vda" | "" => Ok(Export {
                bytes: BYTES,
                flags: TransmissionFlags::SEND_FLUSH,
                description: String::new(),
                block_min: 1,
                block_preferred: 4096,
            }),
            _ => Err(Refused::Unknown(name.into())),
        }
    }

    fn answer(&mut self, _name: &str, ask: &Ask) -> Result<Answer, Refused> {
        Ok(Answer {
            server: 1,
            volatile: 2,
            epoch: ask.token.epoch,
            owner: ask.token.owner,
        })
    }

    fn enter(&mut self, name: &str, _ask: Option<&Ask>) -> Result<Export, Refused> {
        self.describe(name)
    }
}

fuzz_target!(|bytes: &[u8]| {
    let mut server = Server::new();
    let mut rest = bytes;
    while let Some((piece, left)) = rest.split_at_checked(server.wants()) {
        assert!((1..=PAYLOAD_LEN_MAX as usize).contains(&server.wants()));
        rest = left;
        match server.take(&mut piece.to_vec(), &mut Site) {
            Ok(Some(request)) => check(request.command.ok()),
            Ok(None) => {}
            Err(_) => return,
        }
    }
});

/// Whatever is to be done lies within the export.
fn check(command: Option<Command>) {
    let (offset, length) = match command {
        Some(Command::Read { offset, length }) => {
            assert!(length <= PAYLOAD_LEN_MAX);
            (offset, u64::from(length))
        }
        Some(Command::Write { offset, data }) => (offset, data.len() as u64),
        Some(
            Command::Trim { offset, length }
            | Command::WriteZeroes { offset, length }
            | Command::BlockStatus { offset, length },
        ) => (offset, u64::from(length)),
        Some(Command::Flush) | None => return,
    };
    assert!(length > 0 && offset + length <= BYTES);
}
