//! A passage: a connection that leads from a command through its own host's agent, and mostly through that of
//! another host, to the process of a VM. Each agent only passes bytes on, with little room, so that whoever
//! is slow slows down who sends.
//!
//! What a command may say at the other end is decided where the process is: the bytes of a caller never reach
//! a control socket as they are.

use std::io;

use caller::Found;
use control::{Answer, ConsoleWish, Part, Request, RequestId, Response, Verb, line};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_buf};
use tokio::net::UnixStream;

use crate::limits::{ANSWER_LEN_MAX, PASSAGE_BYTES};

/// Orders a snapshot of a process on its control socket, on which the snapshot comes then.
///
/// # Errors
/// The process has ended, or has too many callers just now.
pub async fn order_snapshot(process: &Found, hook: bool) -> io::Result<UnixStream> {
    order(process, Verb::Snapshot { hook }).await
}

/// Sends a request to a process on a connection of its own, on which the answer comes.
async fn order(process: &Found, verb: Verb) -> io::Result<UnixStream> {
    let mut stream = UnixStream::from_std(process.connect()?)?;
    let id = RequestId::default();
    stream.write_all(&line(&Request { id, verb })).await?;
    Ok(stream)
}

/// Asks a process for its console, and gives the connection with the line that was answered. A caller who is
/// let in says only what is said at a console from then on.
///
/// # Errors
/// The process has ended, has too many callers just now, or does not answer in time; within it is what it
/// answers instead.
pub async fn order_console(
    process: &Found,
    wish: ConsoleWish,
) -> io::Result<Result<(UnixStream, Vec<u8>), Answer>> {
    let mut stream = order(process, Verb::Console(wish)).await?;
    let mut text = Vec::new();
    let answer = async {
        // Byte after byte: what stands behind the line belongs to the caller.
        while !text.ends_with(b"\n") && text.len() < ANSWER_LEN_MAX {
            text.push(stream.read_u8().await?);
        }
        io::Result::Ok(())
    };
    tokio::time::timeout(caller::PATIENCE, answer).await??;
    let response: Response = serde_json::from_slice(&text)?;
    Ok(match response.answer {
        Answer::Console { .. } => Ok((stream, text)),
        other => Err(other),
    })
}

/// Passes a snapshot on until one end hangs up. Of what the caller says only that it says something is passed
/// on: that the disks are kept.
pub async fn carry_snapshot(caller: impl AsyncRead + AsyncWrite, process: UnixStream) {
    let (mut said, mut heard) = tokio::io::split(caller);
    let (from, mut to) = process.into_split();
    let down = pass(from, &mut heard);
    let up = async {
        let mut bytes = [0; 256];
        let mut is_told = false;
        while matches!(said.read(&mut bytes).await, Ok(length) if length > 0) {
            if !is_told && to.write_all(&line(&Part::GoOn)).await.is_err() {
                return;
            }
            is_told = true;
        }
    };
    tokio::select! {
        () = down => {}
        () = up => {}
    }
}

/// Passes everything on in both directions until one end hangs up.
pub async fn carry(a: impl AsyncRead + AsyncWrite, b: impl AsyncRead + AsyncWrite) {
    let (from_a, mut to_a) = tokio::io::split(a);
    let (from_b, mut to_b) = tokio::io::split(b);
    tokio::select! {
        () = pass(from_a, &mut to_b) => {}
        () = pass(from_b, &mut to_a) => {}
    }
}

/// Passes everything on until `from` has ended or `to` takes nothing more, and then ends `to`.
async fn pass(from: impl AsyncRead, to: &mut (impl AsyncWrite + Unpin)) {
    let from = tokio::io::BufReader::with_capacity(PASSAGE_BYTES, from);
    let mut from = std::pin::pin!(from);
    // Whoever has hung up wants nothing more.
    let _ = copy_buf(&mut from, to).await;
    let _ = to.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;

    fn run<T>(what: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(what)
    }

    #[test]
    fn everything_is_passed_on_until_one_end_hangs_up() {
        let sent = vec![7; 3 * PASSAGE_BYTES];
        let got = run(async {
            let (mut near, a) = tokio::io::duplex(100);
            let (b, mut far) = tokio::io::duplex(100);
            let carried = tokio::spawn(carry(a, b));
            let bytes = sent.clone();
            tokio::spawn(async move {
                far.write_all(&bytes).await.unwrap();
            });
            let mut got = Vec::new();
            near.read_to_end(&mut got).await.unwrap();
            carried.await.unwrap();
            got
        });
        assert!(got == sent);
    }

    #[test]
    fn of_what_a_caller_says_a_process_hears_once_that_it_may_go_on() {
        let heard = run(async {
            let (ours, mut process) = UnixStream::pair().unwrap();
            let (mut caller, near) = tokio::io::duplex(100);
            let carried = tokio::spawn(carry_snapshot(near, ours));
            caller
                .write_all(b"{\"do\":\"stop\",\"hard\":true}\n")
                .await
                .unwrap();
            let expected = line(&Part::GoOn);
            let mut heard = vec![0; expected.len()];
            process.read_exact(&mut heard).await.unwrap();
            assert_eq!(heard, expected);
            caller.write_all(b"more\n").await.unwrap();
            drop(caller);
            carried.await.unwrap();
            let mut rest = Vec::new();
            process.read_to_end(&mut rest).await.unwrap();
            rest
        });
        assert_eq!(heard, b"");
    }
}
