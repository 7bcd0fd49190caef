//! `Door`: how this agent gives tokens, and what it answers to hosts that join. A person asks for tokens at
//! the agent's socket; who has shown a good one may ask the three questions of [`newcomers`] and nothing
//! else.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use arbiter::Place;
use axum::extract::DefaultBodyLimit;
use axum::routing::post;
use axum::{Extension, Json, Router};
use link::Key;
use messages::time::Span;
use os::sys::clock;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use super::asking::Given;
use super::desk::{Caller, Desk};
use super::types::TokenObject;
use crate::limits::{
    ECHOES_MAX, LOOKS_MAX, MARK_PATIENCE, REQUEST_BYTES_MAX, SETTLE_PATIENCE, TOKEN_VALID_S_MAX,
};
use controller::Program;
use controller::lock;
use controller::scene::Scene;
use membership::config::{AGENT_PORT, Config};
use membership::identity::Fingerprint;
use membership::joining::{KeyGiven, MarkSeen, Newcomer, Offer, Token, Tokens};
use membership::limits::TOKENS_MAX;
use membership::problem::{OfToken, Problem};

/// What the agent must have to let hosts join.
#[derive(Debug)]
pub struct Door {
    /// The tokens that it has given.
    pub tokens: Arc<Mutex<Tokens>>,
    /// Fingerprint of the site's authority.
    pub authority: Fingerprint,
    /// The site's key.
    pub key: Key,
    /// What a host is told of the site.
    pub offer: Offer,
    /// The address at which other hosts reach this one.
    pub address: IpAddr,
    /// What has to be alike on all hosts, as it is on this one.
    pub here: Newcomer,
    /// Can guests' code be translated here?
    pub translates: bool,
    /// Places for ports that answer for a moment because somebody examines them.
    pub echoes: Arc<Semaphore>,
    /// Where the site's arbiter is.
    pub arbiter: Place,
    /// Places for threads that look for marks at the arbiter, and may wait for its server.
    pub looks: Arc<Semaphore>,
}

impl Door {
    /// The door of the site that has this key and authority.
    #[must_use]
    pub fn new(config: &Config, key: Key, authority: Fingerprint, program: &Program) -> Door {
        Door {
            tokens: Arc::default(),
            authority,
            key,
            offer: Offer::of(config),
            arbiter: config.arbiter.place.clone(),
            address: config.address,
            here: Newcomer::new(&config.host, config.address, program.version),
            translates: program.translates,
            echoes: Arc::new(Semaphore::new(ECHOES_MAX)),
            looks: Arc::new(Semaphore::new(LOOKS_MAX)),
        }
    }
}

/// What hosts that join may ask. Each request has the fingerprint of its token.
pub fn newcomers(desk: Desk, door: Arc<Door>) -> Router {
    Router::new()
        .route("/v1/joining/offer", post(offer))
        .route("/v1/joining/mark", post(mark))
        .route("/v1/joining/key", post(give_key))
        .layer(Extension(door))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(desk)
}

/// How a person asks for a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenWanted {
    /// How long the token is to be good, in seconds.
    #[schema(minimum = 1, maximum = 86_400)]
    valid_s: u64,
}

/// Give a token by which a host may join the site
///
/// The token is good for one host. Only this agent knows it, and only until the agent ends.
#[utoipa::path(
    post,
    path = "/v1/tokens",
    tag = "the agent",
    request_body = TokenWanted,
    responses((status = 200, description = "The token", body = TokenObject), OfToken)
)]
pub async fn give_token(
    Extension(caller): Extension<Caller>,
    Extension(door): Extension<Arc<Door>>,
    Given(_, wanted): Given<TokenWanted>,
) -> Result<Json<TokenObject>, Problem> {
    if !(1..=TOKEN_VALID_S_MAX).contains(&wanted.valid_s) {
        let detail = format!("a token is good for 1 s to {} h", TOKEN_VALID_S_MAX / 3_600);
        return Err(Problem::new("bad-request", detail));
    }
    let valid = Span::from_ms(wanted.valid_s * 1_000);
    let token = Token::draw(door.authority);
    let of = token
        .fingerprint()
        .map_err(|error| Problem::new("bug", error.to_string()))?;
    if !lock(&door.tokens).add(clock::now(), of, valid) {
        let detail =
            format!("{TOKENS_MAX} tokens are good already; use one of them, or wait until one expires");
        return Err(Problem::new("not-now", detail));
    }
    tracing::info!("{} has a token for a host that joins", caller.name);
    let agent = match door.offer.port {
        AGENT_PORT => door.address.to_string(),
        port => std::net::SocketAddr::new(door.address, port).to_string(),
    };
    Ok(Json(TokenObject {
        token: token.text(),
        agent,
        valid_s: wanted.valid_s,
    }))
}

/// Tells a host what it must know of the site, if the site takes it.
async fn offer(
    Extension(door): Extension<Arc<Door>>,
    Given(desk, newcomer): Given<Newcomer>,
) -> Result<Json<Offer>, Problem> {
    // An agent that has just started reads the site's directory first.
    let knows_itself = |scene: &Arc<Scene>| scene.known.hosts.contains_key(&scene.me);
    let _ = tokio::time::timeout(SETTLE_PATIENCE, desk.scene.clone().wait_for(knows_itself)).await;
    consider(&desk.now(), &door, &newcomer)?;
    Ok(Json(door.offer.clone()))
}

/// Says whether the mark of this name is at the arbiter, as this host reaches it.
async fn mark(
    Extension(door): Extension<Arc<Door>>,
    Given(_, name): Given<String>,
) -> Result<Json<MarkSeen>, Problem> {
    Ok(Json(MarkSeen {
        seen: see(&door, name).await?,
    }))
}

/// Looks for a mark, on a thread that may wait for a server; nobody waits for that thread for long, and
/// there are few of them.
pub(super) async fn see(door: &Door, name: String) -> Result<bool, Problem> {
    let arbiter = door.arbiter.clone();
    let away = |sentence: String| Problem::new("arbiter-away", sentence);
    let silent = || away(format!("{} does not answer here", door.arbiter));
    let places = door.looks.clone();
    let looked = tokio::time::timeout(MARK_PATIENCE, async {
        // It is given back when the thread is done, however long that takes.
        let place = places.acquire_owned().await;
        tokio::task::spawn_blocking(move || {
            let seen = arbiter::sees(&arbiter, &name);
            drop(place);
            seen
        })
        .await
    });
    let looked = looked.await.map_err(|_| silent())?;
    let seen = looked.map_err(|error| Problem::new("bug", error.to_string()))?;
    seen.map_err(|error| away(os::error::chain(&error)))
}

/// Gives a host the site's key, for which its token is used up.
async fn give_key(
    Extension(door): Extension<Arc<Door>>,
    Extension(of): Extension<Fingerprint>,
    Given(desk, newcomer): Given<Newcomer>,
) -> Result<Json<KeyGiven>, Problem> {
    consider(&desk.now(), &door, &newcomer)?;
    let redeemed = lock(&door.tokens).redeem(clock::now(), of, &newcomer.host, newcomer.address);
    if redeemed.is_err() {
        let detail = "the token's time is over, or a host has joined with it meanwhile";
        return Err(Problem::new("not-allowed", detail));
    }
    let sentence = format!("{} at {} has joined the site", newcomer.host, newcomer.address);
    desk.happenings
        .happened(clock::wall_ns(), None, "host-joined", sentence);
    Ok(Json(KeyGiven {
        key: door.key.to_hex(),
    }))
}

/// Does the site take this host?
fn consider(scene: &Scene, door: &Door, newcomer: &Newcomer) -> Result<(), Problem> {
    let refused = |detail: String| Err(Problem::new("not-taken", detail));
    if let Some((_, why)) = &scene.directory_away {
        return refused(format!(
            "{} cannot read the site's directory ({why}), so it does not know which hosts there are; nothing \
             was changed",
            door.here.host
        ));
    }
    if !scene.known.hosts.contains_key(&scene.me) {
        return refused(format!(
            "the agent of {} has just started; try again",
            door.here.host
        ));
    }
    if let Some(sentence) = newcomer.is_too_different(&door.here) {
        return refused(sentence);
    }
    let (host, address) = (&newcomer.host, newcomer.address);
    let tokens = lock(&door.tokens);
    let known = scene.known.hosts.iter();
    let mut others: Vec<_> = known
        .map(|(name, card)| (name.as_str(), card.value.address))
        .collect();
    others.extend(tokens.in_the_way(host, address));
    if let Some((name, at)) = others.iter().find(|(name, _)| *name == host) {
        return refused(format!(
            "the site has a host called {name} already, at {at}; give this one another name with `--host`"
        ));
    }
    if let Some((name, at)) = others.iter().find(|(_, at)| *at == address) {
        return refused(format!(
            "{at} is the address of {name}, a host of the site; give this host's own with `--address`"
        ));
    }
    Ok(())
}
