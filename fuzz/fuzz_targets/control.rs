//! Any bytes as a question to a disk server's arbiter, or as its reply: they are understood or not, never
//! with a panic, and what is understood can be said again.
#![no_main]

use block::control::{HEAD_LEN, Question, Reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(question) = Question::parse(bytes) {
        let message = question.message();
        assert_eq!(Question::parse(&message[HEAD_LEN..]), Ok(question));
    }
    if let Ok(reply) = Reply::parse(bytes) {
        let message = reply.message();
        // A text that is too long for people is shortened.
        assert!(Reply::parse(&message[HEAD_LEN..]).is_ok());
    }
});
