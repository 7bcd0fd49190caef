//! Prints the description of the agent's API; `cargo xtask openapi` writes it to docs/openapi.json.

use std::io::Write;

fn main() -> std::io::Result<()> {
    std::io::stdout().write_all(agent::description().as_bytes())
}
