//! `GET /v1/watch`: what changes, as server-sent events, to whoever listens. docs/site.md has the events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::Deserialize;
use utoipa::IntoParams;

use super::asking::Asked;
use super::changes::Topic;
use super::desk::Desk;
use super::feed::{Said, Topics};
use crate::limits::PING_EVERY;
use membership::problem::{OfWatch, Problem};

/// What somebody wants to watch.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct WatchQuery {
    /// The topics that are wanted, with commas between them: `site`, `host`, `vm`, `operation`, `event`,
    /// `figures`; left out: all.
    #[serde(default)]
    #[param(
        required = false,
        nullable = false,
        pattern = "^(site|host|vm|operation|event|figures)(,(site|host|vm|operation|event|figures))*$",
        example = "vm,event"
    )]
    topics: Option<String>,
}

/// Tell of what changes, until the caller hangs up
///
/// The first event is `snapshot` (a `SnapshotObject`), and whole objects follow when they change: `site`,
/// `host`, `vm`, `operation`, each in the place of the one before; `event` for what has happened; `removed`
/// (a `RemovedObject`); `figures`, once a second at most, is as a snapshot, with ages and figures. `ping`
/// says that the agent lives. After `reset` everything that was told is void and a snapshot follows: for a
/// listener that is 64 messages behind, or comes back too late or to another agent.
#[utoipa::path(
    get,
    path = "/v1/watch",
    tag = "the site",
    params(
        WatchQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that was heard \
            before: what was missed follows")
    ),
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        OfWatch
    )
)]
pub async fn watch(
    State(desk): State<Desk>,
    Asked(query): Asked<WatchQuery>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let topics = topics(query.topics.as_deref())?;
    let last = headers.get("Last-Event-ID");
    let last = last.map(|last| last.to_str().unwrap_or_default());
    let listener = desk.feed.listen(topics, last)?;
    let events = unfold(listener, async |mut listener| {
        let said = listener.next().await?;
        Some((Ok::<Event, Infallible>(event(&said)), listener))
    });
    let ping = Event::default().event("ping").data("{}");
    let alive = KeepAlive::new().interval(PING_EVERY).event(ping);
    Ok(Sse::new(events).keep_alive(alive).into_response())
}

fn event(said: &Said) -> Event {
    let event = Event::default().event(said.event);
    let event = match &said.id {
        // A name with a control character is no host's, and would be no header's either.
        Some(id) => event.id(id.replace(char::is_control, "")),
        None => event,
    };
    event.data(&said.data)
}

fn topics(text: Option<&str>) -> Result<Topics, Problem> {
    let Some(text) = text else {
        return Ok(Topic::ALL.into_iter().collect());
    };
    let one = |word: &str| {
        let known = Topic::ALL.into_iter().find(|topic| topic.as_str() == word);
        known.ok_or_else(|| {
            let all = Topic::ALL.map(Topic::as_str).join(", ");
            Problem::new(
                "bad-request",
                format!("there is no topic `{word}`; there are {all}"),
            )
        })
    };
    text.split(',').map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_words_with_commas() {
        assert_eq!(topics(None).unwrap().len(), Topic::ALL.len());
        let some = topics(Some("vm,event")).unwrap();
        assert_eq!(some, Topics::from([Topic::Vm, Topic::Event]));
        for wrong in ["", "vm,", "vms"] {
            assert_eq!(topics(Some(wrong)).unwrap_err().code, "bad-request");
        }
    }
}
