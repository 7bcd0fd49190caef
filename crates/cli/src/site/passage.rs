//! A connection to a VM's process, wherever in the site it runs: this host's agent leads it on
//! (docs/site.md). Where no agent can, it says why.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use membership::client::{CallError, PASSAGE};
use membership::problem::Problem;

use super::client::Site;
use membership::asking::AskError;

/// The agents have this long to connect the two ends.
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the head of an answer.
const HEAD_LEN_MAX: usize = 16 << 10;
/// Bytes of an answer that says why there is no connection.
const PROBLEM_LEN_MAX: u64 = 256 << 10;

impl Site {
    /// Opens a connection that leads on to a VM's process. It does not block.
    ///
    /// # Errors
    /// The agent gives no answer, or says why it does not lead on.
    pub fn lead_on(&self, path: &str) -> Result<UnixStream, AskError> {
        let silent = |reason: String| {
            AskError::Call(CallError::Silent {
                place: self.place(),
                reason,
            })
        };
        let mut stream = self.connect()?;
        let answer = ask(&mut stream, path).map_err(|error| silent(error.to_string()))?;
        match answer {
            None => {
                let told = stream.set_nonblocking(true);
                told.map_err(|error| silent(error.to_string()))?;
                Ok(stream)
            }
            Some(body) => match serde_json::from_slice::<Problem>(&body) {
                Ok(problem) => Err(AskError::Problem(problem)),
                Err(error) => Err(AskError::Unknown(error)),
            },
        }
    }
}

/// Asks that the connection lead on; `None`: it does, else the body of the answer that says why not.
fn ask(stream: &mut UnixStream, path: &str) -> std::io::Result<Option<Vec<u8>>> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: {PASSAGE}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    // Byte after byte: what stands behind the head belongs to the process.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
        if head.len() > HEAD_LEN_MAX {
            return Err(std::io::Error::other("the head of its answer has no end"));
        }
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    let mut lines = head.lines();
    if lines
        .next()
        .is_some_and(|line| line.split(' ').nth(1) == Some("101"))
    {
        return Ok(None);
    }
    let length = lines.find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = Vec::new();
    let length = length.unwrap_or(0).min(PROBLEM_LEN_MAX);
    stream.take(length).read_to_end(&mut body)?;
    Ok(Some(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of a request that is answered so.
    fn answered(answer: &'static str) -> (std::io::Result<Option<Vec<u8>>>, Vec<u8>) {
        let (mut near, mut far) = UnixStream::pair().unwrap();
        far.write_all(answer.as_bytes()).unwrap();
        far.shutdown(std::net::Shutdown::Write).unwrap();
        let asked = ask(&mut near, "/v1/vms/web/snapshot");
        let mut rest = Vec::new();
        near.read_to_end(&mut rest).unwrap();
        (asked, rest)
    }

    #[test]
    fn what_stands_behind_the_head_is_the_process_s() {
        let (asked, rest) = answered("HTTP/1.1 101 Switching Protocols\r\nupgrade: lockstep\r\n\r\nhello");
        assert_eq!((asked.unwrap(), rest.as_slice()), (None, &b"hello"[..]));
    }

    #[test]
    fn a_refusal_is_read_as_long_as_it_says() {
        let (asked, rest) = answered("HTTP/1.1 409 Conflict\r\nContent-Length: 3\r\n\r\n{} more");
        assert_eq!(asked.unwrap().unwrap(), b"{} ");
        assert_eq!(rest, b"more");
    }

    #[test]
    fn an_answer_without_an_end_is_an_error() {
        assert!(answered("HTTP/1.1 101").0.is_err());
        let long: &'static str = Box::leak("x".repeat(HEAD_LEN_MAX + 1).into_boxed_str());
        assert!(answered(long).0.is_err());
    }
}
