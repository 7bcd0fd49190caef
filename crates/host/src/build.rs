//! The guest that everybody wants: a machine with the engine this host is best served by.

use std::fs::File;
use std::path::Path;

use hart::Interpreter;
pub use hart::{InterpreterOptions, Translate, can_translate};
use machine::{Config, Machine};

/// Builds machines, for `run`, `replay`, `primary` and `backup`.
///
/// The sentence of an error says what is wrong with the configuration.
pub fn machine(engine: InterpreterOptions) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let engine = Interpreter::new(engine);
        Machine::new(config.clone(), Box::new(engine)).map_err(|error| crate::error::chain(&error))
    }
}

/// Builds the machine that a snapshot holds, for a replay that starts in the middle.
pub fn snapshot(path: &Path, engine: InterpreterOptions) -> impl FnMut(&Config) -> Result<Machine, String> {
    move |config| {
        let mut file = File::open(path)
            .map_err(|error| format!("cannot read the snapshot {}: {error}", path.display()))?;
        let engine = Interpreter::new(engine);
        Machine::restore(config.clone(), Box::new(engine), &mut file).map_err(|error| {
            format!(
                "cannot use the snapshot {}: {}",
                path.display(),
                crate::error::chain(&error)
            )
        })
    }
}
