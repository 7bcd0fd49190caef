//! The guest that everybody wants: a machine with the engine this host is best served by.

use hart::{Interpreter, InterpreterOptions};
use machine::{Config, Machine};

/// Builds the machine of `config`, for `run`, `replay`, `primary` and `backup`.
///
/// # Errors
/// The sentence says what is wrong with the configuration.
pub fn machine(config: &Config) -> Result<Machine, String> {
    let engine = Interpreter::new(InterpreterOptions::default());
    Machine::new(config.clone(), Box::new(engine)).map_err(|error| crate::error::chain(&error))
}
