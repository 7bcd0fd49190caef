//! How a host joins a site (docs/decisions/0115). A person has an agent draw a token, and gives it to the
//! host that is to join; that host calls the agent, each of the two proves to the other that it is meant, and
//! the host gets the site's key and settings.
//!
//! `token` is what the person carries; `tokens` are those that this agent has given, `gate` lets their
//! holders in and tells them that they are at the right place; `offer` is what the two say to each other;
//! `caller` is the end of the host that joins. Whether the two reach one arbiter is shown by its marks
//! (`arbiter::Mark`). The answers of the agent are in `api::door` of the crate `agent`.

mod caller;
mod gate;
mod offer;
mod token;
mod tokens;

pub use caller::{Giver, JoinError};
pub use gate::{PROTOCOL, server};
pub use offer::{KeyGiven, MarkSeen, Newcomer, Offer};
pub use token::Token;
pub use tokens::{Refusal, Tokens};
