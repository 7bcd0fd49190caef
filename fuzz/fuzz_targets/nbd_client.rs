//! Any bytes as what a disk server says to a client with requests under way: they are understood or end the
//! connection, never with a panic; no more is asked for than the limits say, and each request is answered
//! once, with as many data as it has asked for.
#![no_main]

use block::limits::PAYLOAD_LEN_MAX;
use block::nbd::{Call, Client, CommandFlags, Event, Operation, Want};
use block::{Ask, Mode, Token};
use libfuzzer_sys::fuzz_target;

const READ_LEN: u32 = 1024;

fuzz_target!(|bytes: &[u8]| {
    let mut client = Client::new(Want {
        export: "vda".into(),
        ask: Some(Ask {
            vm: "shop".into(),
            token: Token {
                epoch: 7,
                owner: 1,
                session: 1,
            },
            mode: Mode::Write,
        }),
    });
    let mut answered = [false; 3];
    let mut rest = bytes;
    while let Some((piece, left)) = rest.split_at_checked(client.wants()) {
        assert!((1..=PAYLOAD_LEN_MAX as usize).contains(&client.wants()));
        rest = left;
        match client.take(&mut piece.to_vec()) {
            Ok(Some(Event::Entered(shape))) => {
                assert!(shape.block_min.is_power_of_two() && shape.payload_max <= PAYLOAD_LEN_MAX);
                let operations = [Operation::Read, Operation::Write, Operation::Flush];
                for (cookie, operation) in operations.into_iter().enumerate() {
                    let length = if operation == Operation::Flush { 0 } else { READ_LEN };
                    let call = Call {
                        cookie: cookie as u64,
                        operation,
                        flags: CommandFlags::empty(),
                        offset: 4096,
                        length,
                    };
                    client.call(call, &mut Vec::new());
                }
            }
            Ok(Some(Event::Done { cookie, outcome })) => {
                assert!(!std::mem::replace(&mut answered[cookie as usize], true));
                if let Ok(data) = outcome {
                    assert_eq!(data.len(), if cookie == 0 { READ_LEN as usize } else { 0 });
                }
            }
            Ok(None) => {}
            Err(_) => return,
        }
        let _ = client.output();
    }
});
