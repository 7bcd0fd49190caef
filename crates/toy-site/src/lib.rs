//! A site of toy agents: one for each host of a simulated world, each of which thinks with the crate `plan`
//! as the real agent does, and knows only what a real one could.
//!
//! An agent sees the processes of its own host at once, what other agents report late or not at all, and the
//! site's store late; when it dies it forgets all but the store. The world (`sim`) says what a process says
//! of itself (`Told`), has each agent look when it is time, and carries out what comes of it (`Errand`).
//!
//! Map, from below: `options` says how a site behaves and what goes wrong in it, `store` what people want and
//! where the VM is, `agent` what an agent remembers, `judge` what an agent may never do, `site` how they look
//! and act. Nothing here knows a node or a guest, and all that is drawn comes from the seed.
#![forbid(unsafe_code)]

mod agent;
mod judge;
pub mod options;
mod site;
mod store;

pub use agent::{News, Told};
pub use options::{Flaw, Mishap, SiteOptions};
pub use site::{Errand, Site};
