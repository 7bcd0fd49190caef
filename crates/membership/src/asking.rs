//! `Agent`: an agent as a command asks it, from a thread that may wait: typed answers, and the reason where
//! there is none.

use std::path::PathBuf;
use std::time::Duration;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::client::{Answer, CallError, Question, Where, ask};
use crate::problem::Problem;

/// The agent has this long to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// An agent as a command asks it.
#[derive(Clone, Debug)]
pub struct Agent {
    to: Where,
}

/// Why the agent has not done what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// It says why itself.
    #[error("{}", told(.0))]
    Problem(Problem),
    /// It gives no answer.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Its answer is of another version of this program.
    #[error(
        "the agent gives an answer that this program does not know ({0}); use the program of its release"
    )]
    Unknown(serde_json::Error),
}

impl AskError {
    /// The exit code of a command that has met it.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            AskError::Problem(problem) => problem.exit_code(),
            AskError::Call(_) => 5,
            AskError::Unknown(_) => 1,
        }
    }
}

/// A problem with each of its reasons on a line of its own.
fn told(problem: &Problem) -> String {
    let reasons = problem
        .reasons
        .iter()
        .map(|reason| format!("\n      {}", reason.sentence));
    problem.detail.clone() + &reasons.collect::<String>()
}

impl Agent {
    /// The agent of this host whose socket this is.
    #[must_use]
    pub fn at(socket: PathBuf) -> Agent {
        Agent {
            to: Where::Socket(socket),
        }
    }

    /// Where it is called, as people say it.
    #[must_use]
    pub fn place(&self) -> String {
        self.to.place()
    }

    /// Where it is called.
    #[must_use]
    pub fn to(&self) -> Where {
        self.to.clone()
    }

    /// Asks for an object.
    ///
    /// # Errors
    /// There is no answer within 20 s, or it is that there is no such object.
    pub fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, AskError> {
        read(ask(&self.to, &Question::get(path), PATIENCE)?)
    }

    /// Asks for lines of text.
    ///
    /// # Errors
    /// There is no answer within 20 s, or it is a refusal.
    pub fn text(&self, path: &str) -> Result<String, AskError> {
        let answer = ask(&self.to, &Question::get(path), PATIENCE)?;
        if answer.is_good() {
            return Ok(String::from_utf8_lossy(&answer.body).into_owned());
        }
        read(answer)
    }

    /// Asks for an object that is made for this question.
    ///
    /// # Errors
    /// There is no answer within 20 s, or it is a refusal.
    pub fn make<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, AskError> {
        let question = Question {
            method: Method::POST,
            body: Some(serde_json::to_vec(body).map_err(AskError::Unknown)?),
            ..Question::get(path)
        };
        read(ask(&self.to, &question, PATIENCE)?)
    }

    /// Has something changed, if it has this generation; `None`: whichever it has. The request has a number,
    /// so what asks it again does nothing twice.
    ///
    /// # Errors
    /// There is no answer within 20 s, or it is a refusal with its reasons.
    pub fn change<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: &impl Serialize,
        generation: Option<u64>,
    ) -> Result<T, AskError> {
        let question = Question {
            // Only methods that this program names come here.
            method: method.parse().unwrap_or_default(),
            path: path.to_owned(),
            body: Some(serde_json::to_vec(body).map_err(AskError::Unknown)?),
            key: Some(format!("{:032x}", os::entropy::random_u128())),
            generation,
        };
        read(ask(&self.to, &question, PATIENCE)?)
    }
}

/// What an answer says.
///
/// # Errors
/// It is a problem, or of another version of this program.
pub fn read<T: DeserializeOwned>(answer: Answer) -> Result<T, AskError> {
    if answer.is_good() {
        return serde_json::from_slice(&answer.body).map_err(AskError::Unknown);
    }
    match serde_json::from_slice(&answer.body) {
        Ok(problem) => Err(AskError::Problem(problem)),
        Err(error) => Err(AskError::Unknown(error)),
    }
}
