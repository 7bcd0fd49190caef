//! `Changes`: the agent's account of what changes, for a command that waits for something or shows it. It
//! calls again after the agent has hung up, and goes on where it was.

use std::time::{Duration, Instant};

use membership::client::{CallError, Where};
use membership::listening::{ListenError, Listening, Told};

use super::client::Site;
use membership::asking::{AskError, read};

/// The agent has this long to begin to tell.
const PATIENCE: Duration = Duration::from_secs(5);
/// The agent says something every ten seconds; one that says nothing for this long has gone.
const SILENT: Duration = Duration::from_secs(25);
/// Pause before an agent that does not answer is called again.
const PAUSE: Duration = Duration::from_millis(250);

/// What changes at the site.
pub struct Changes {
    to: Where,
    path: String,
    open: Option<(Listening, Instant)>,
    /// The `id` of the last event that has one.
    last: String,
}

impl Changes {
    /// What changes in these topics, which have commas between them.
    pub fn of(site: &Site, topics: &str) -> Changes {
        Changes {
            to: site.to(),
            path: format!("/v1/watch?topics={topics}"),
            open: None,
            last: String::new(),
        }
    }

    /// What the agent tells next; `None`: nothing within `patience`. After an error the next call of this
    /// calls the agent again.
    ///
    /// # Errors
    /// The agent does not answer, or refuses.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Told>, AskError> {
        let (mut open, heard) = match self.open.take() {
            Some(open) => open,
            None => {
                let begun = Listening::begin(&self.to, &self.path, &self.last, PATIENCE);
                let open = begun.map_err(|error| match error {
                    ListenError::Call(error) => AskError::Call(error),
                    ListenError::Refused(answer) => match read::<()>(answer) {
                        Err(error) => error,
                        Ok(()) => self.silent("it does not tell of changes"),
                    },
                })?;
                (open, Instant::now())
            }
        };
        let told = open.next(patience)?;
        match &told {
            None if heard.elapsed() > SILENT => return Err(self.silent("it says nothing")),
            None => self.open = Some((open, heard)),
            Some(told) => {
                if !told.id.is_empty() {
                    self.last.clone_from(&told.id);
                }
                self.open = Some((open, Instant::now()));
            }
        }
        Ok(told)
    }

    /// Waits until something may have changed, but at most for `patience`; true: it may.
    pub fn come(&mut self, patience: Duration) -> bool {
        match self.next(patience) {
            Ok(None) => false,
            Ok(Some(told)) if told.event == "ping" => false,
            Ok(Some(_)) => {
                // What has come together is looked at once.
                while let Ok(Some(_)) = self.next(Duration::ZERO) {}
                true
            }
            // Who asks finds out what is the matter.
            Err(_) => {
                std::thread::sleep(PAUSE);
                true
            }
        }
    }

    /// Waits before the agent is called again.
    pub fn pause(&self) {
        std::thread::sleep(PAUSE);
    }

    fn silent(&self, reason: &str) -> AskError {
        AskError::Call(CallError::Silent {
            place: self.to.place(),
            reason: reason.to_owned(),
        })
    }
}
