//! What the gateway reads and writes of DNS messages: is it a question, is it a refusal, and "server
//! failure".
//!
//! `dns` asks over UDP and `dns_streams` over TCP; both take the messages of guests and resolvers as they
//! are, and look at nothing but what is here.

/// Bytes of the fixed part of every message (RFC 1035 section 4.1.1).
pub const HEADER_LEN: usize = 12;
const RESPONSE: u8 = 0x80;
const RECURSION_AVAILABLE: u8 = 0x80;
const RCODE: u8 = 0x0f;
const SERVFAIL: u8 = 2;
const NOTIMP: u8 = 4;
const REFUSED: u8 = 5;

/// Whether a message is a question that can be asked.
pub fn is_question(message: &[u8]) -> bool {
    message.len() >= HEADER_LEN && message[2] & RESPONSE == 0
}

/// Whether a message answers this question.
pub fn answers(message: &[u8], question: &[u8]) -> bool {
    message.len() >= HEADER_LEN && message[..2] == question[..2] && message[2] & RESPONSE != 0
}

/// Whether an answer says that this resolver cannot tell, while another may: the answers after which the C
/// library asks the next resolver.
pub fn is_refusal(answer: &[u8]) -> bool {
    answer.len() >= HEADER_LEN && matches!(answer[3] & RCODE, SERVFAIL | NOTIMP | REFUSED)
}

/// The question turned into "server failure". The question section stays; the header announces nothing behind
/// it.
pub fn failure(question: &[u8]) -> Vec<u8> {
    let mut question = question.to_vec();
    question[2] |= RESPONSE;
    question[3] = RECURSION_AVAILABLE | SERVFAIL;
    question[6..HEADER_LEN].fill(0);
    let end = question_end(&question).unwrap_or(HEADER_LEN);
    if end == HEADER_LEN {
        question[4..6].fill(0);
    }
    question.truncate(end);
    question
}

/// Offset at which the first question ends, if the question can be read.
fn question_end(message: &[u8]) -> Option<usize> {
    if message[4..6] != [0, 1] {
        return None;
    }
    let mut at = HEADER_LEN;
    loop {
        match *message.get(at)? {
            0 => break,
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
    // Behind the name come the root label, the type and the class.
    let end = at + 5;
    (end <= message.len()).then_some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_repeats_the_question_and_nothing_else() {
        let mut question = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        question.extend_from_slice(b"\x03www\x02ab\x00\x00\x01\x00\x01");
        let asked = question.clone();
        question.extend_from_slice(&[0; 11]);
        let failed = failure(&question);
        assert_eq!(failed[..4], [0xab, 0xcd, 0x81, 0x82]);
        assert_eq!(failed[4..12], [0, 1, 0, 0, 0, 0, 0, 0]);
        assert_eq!(failed[12..], asked[12..]);
    }

    #[test]
    fn a_failure_for_garbage_is_a_bare_header() {
        for tail in [&[0xffu8; 20][..], &[63, 1, 2], &[]] {
            let mut question = vec![1, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
            question.extend_from_slice(tail);
            let failed = failure(&question);
            assert_eq!(failed, [1, 2, 0x80, 0x82, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
}
