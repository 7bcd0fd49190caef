//! What makes a host one of a site: its file, by which authority its agent knows the others, how agents are
//! called, and how a further host joins.
//!
//! Map: `limits` has all bounds; `config` is `agent.toml`; `identity` is how agents know each other; `client`
//! calls an agent, `asking` does so for commands, and `listening` hears what changes; `problem` is why one
//! has not done what it was asked; `joining` lets further hosts in. What an agent answers is the crate
//! `agent`.
#![forbid(unsafe_code)]

pub mod asking;
pub mod client;
pub mod config;
pub mod identity;
pub mod joining;
pub mod limits;
pub mod listening;
pub mod problem;
