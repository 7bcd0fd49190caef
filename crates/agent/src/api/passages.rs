//! Routes that lead on to a VM's process: this agent finds the host where the VM runs, and connects the
//! caller with the process there, or asks it, by the agent of that host.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use caller::Found;
use control::{Answer, ConsoleWish, RequestId};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use messages::vm_name::VmName;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use utoipa::IntoParams;

use super::asking::{Asked, Named, VmNameSchema};
use super::desk::{Caller, Desk};
use crate::passage;
use controller::limits::AGENT_PATIENCE;
use controller::wishes;
use membership::client::{self, Connection, PASSAGE, Question, Where};
use membership::problem::{OfConsole, OfPassage, Problem};

/// How a snapshot is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SnapshotQuery {
    /// With `true` the guest's requests to its disks wait until the caller says something.
    #[serde(default)]
    hook: bool,
    /// With `true` the process is on this host: another agent says so, which has looked where the VM runs.
    #[serde(default)]
    here: bool,
}

/// Give a snapshot of a VM that runs, from whichever host it runs on
///
/// The connection leads on to the VM's process then (docs/control.md).
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/snapshot",
    tag = "the site",
    params(("vm" = VmNameSchema, Path, description = "Name of the VM"), SnapshotQuery),
    responses((status = 101, description = "The connection leads on to the process"), OfPassage)
)]
pub async fn snapshot(
    State(desk): State<Desk>,
    name: Named,
    Asked(query): Asked<SnapshotQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let (name, hook) = (name.vm()?, query.hook);
    let place = place(&desk.passages, &request)?;
    match whereabouts(&desk, &name, query.here).await? {
        None => {
            let process = process(&desk, &name).await?;
            let stream = passage::order_snapshot(&process, hook).await;
            let stream = stream.map_err(|error| gone(&name, &error.to_string()))?;
            Ok(upgrade(request, place, move |caller| {
                passage::carry_snapshot(caller, stream)
            }))
        }
        Some(to) => {
            let path = format!("/v1/vms/{name}/snapshot?here=true&hook={hook}");
            lead_on(&to, &path, request, place).await
        }
    }
}

/// How a VM's console is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ConsoleQuery {
    /// Number of the caller's session, drawn at random: up to 32 hexadecimal digits. A further connection
    /// under it takes the place of the earlier one.
    #[param(value_type = String, pattern = "^[0-9a-fA-F]{1,32}$")]
    session: RequestId,
    /// With `true` the caller only watches.
    #[serde(default)]
    view: bool,
    /// With `true` whoever types there watches from here on.
    #[serde(default)]
    force: bool,
    /// So many of the last bytes of the guest come first, as far as they are kept.
    #[serde(default)]
    #[param(minimum = 0, maximum = 65536)]
    last: u32,
    /// Who asks; only another agent says so.
    #[serde(default)]
    #[param(required = false, nullable = false)]
    by: Option<String>,
    /// With `true` the process is on this host: another agent says so, which has looked where the VM runs.
    #[serde(default)]
    here: bool,
}

/// Lead to the console of a VM, on whichever host it runs
///
/// The connection leads on to the VM's process then (docs/control.md). One caller at a time types.
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/console",
    tag = "the site",
    params(("vm" = VmNameSchema, Path, description = "Name of the VM"), ConsoleQuery),
    responses((status = 101, description = "The connection leads on to the process"), OfConsole)
)]
pub async fn console(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    name: Named,
    Asked(query): Asked<ConsoleQuery>,
    request: Request,
) -> Result<Response, Problem> {
    let name = name.vm()?;
    let place = place(&desk.consoles, &request)?;
    let by = query.by.filter(|_| caller.is_agent).unwrap_or(caller.name);
    match whereabouts(&desk, &name, query.here).await? {
        None => {
            let process = process(&desk, &name).await?;
            let wish = ConsoleWish {
                by,
                session: query.session,
                view: query.view,
                force: query.force,
                last: query.last.into(),
            };
            let answer = passage::order_console(&process, wish).await;
            match answer.map_err(|error| gone(&name, &error.to_string()))? {
                Ok((process, said)) => Ok(upgrade(request, place, move |mut caller| async move {
                    if caller.write_all(&said).await.is_ok() {
                        passage::carry(caller, process).await;
                    }
                })),
                Err(Answer::Refused { code, sentence }) => Err(match code.as_str() {
                    "console-taken" => Problem::new("console-taken", sentence),
                    "busy" => Problem::new("busy", sentence),
                    _ => Problem::new("not-now", sentence),
                }),
                Err(Answer::Failed { sentence }) => Err(gone(&name, &sentence)),
                Err(_) => Err(gone(&name, "it answers another question")),
            }
        }
        Some(to) => {
            let (session, view, force) = (query.session, query.view, query.force);
            let path = format!(
                "/v1/vms/{name}/console?here=true&session={session}&view={view}&force={force}&last={}&by={}",
                query.last,
                in_query(&by)
            );
            lead_on(&to, &path, request, place).await
        }
    }
}

/// A text as it can stand in a query: every byte but letters and digits as its number.
fn in_query(text: &str) -> String {
    let signs = text.bytes().map(|byte| match byte.is_ascii_alphanumeric() {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    signs.collect()
}

/// How the lines of a VM's process are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LinesQuery {
    /// With `true` the process is on this host: another agent says so, which has looked where the VM runs.
    #[serde(default)]
    here: bool,
}

/// Give the last events of the process that runs a VM, from whichever host it runs on
///
/// They are the lines of docs/events.md, with all that is measured.
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/lines",
    tag = "the site",
    params(("vm" = VmNameSchema, Path, description = "Name of the VM"), LinesQuery),
    responses(
        (status = 200, description = "The events", body = String, content_type = "application/jsonl"),
        OfPassage
    )
)]
pub async fn lines(
    State(desk): State<Desk>,
    name: Named,
    Asked(query): Asked<LinesQuery>,
) -> Result<Response, Problem> {
    let name = name.vm()?;
    let text = match whereabouts(&desk, &name, query.here).await? {
        None => {
            let process = process(&desk, &name).await?;
            let asked = tokio::task::spawn_blocking(move || {
                let mut text = String::new();
                caller::events(&process, false, &mut |line| text += &format!("{line}\n")).map(|()| text)
            });
            let asked = asked
                .await
                .map_err(|error| Problem::new("bug", error.to_string()))?;
            asked.map_err(|error| gone(&name, &error.to_string()))?
        }
        Some(to) => ask_for_lines(&to, &name).await?,
    };
    Ok(([(header::CONTENT_TYPE, "application/jsonl")], text).into_response())
}

/// Asks the agent of another host for the lines of a process there.
async fn ask_for_lines(to: &Where, vm: &VmName) -> Result<String, Problem> {
    let question = Question::get(&format!("/v1/vms/{vm}/lines?here=true"));
    let answer = client::question(to, &question, AGENT_PATIENCE).await;
    let answer = answer.map_err(|error| away(to, error.reason()))?;
    if answer.is_good() {
        return Ok(String::from_utf8_lossy(&answer.body).into_owned());
    }
    Err(refused(to, &answer))
}

/// A place for one more passage, if the request is for one.
fn place(places: &Arc<Semaphore>, request: &Request) -> Result<OwnedSemaphorePermit, Problem> {
    let word = request.headers().get(header::UPGRADE);
    if word.is_none_or(|word| word.as_bytes() != PASSAGE.as_bytes()) {
        let detail = format!("this leads on to a VM's process, and needs the header `Upgrade: {PASSAGE}`");
        return Err(Problem::new("bad-request", detail));
    }
    let place = places.clone().try_acquire_owned();
    place.map_err(|_| {
        let detail = "as many connections lead through this agent as may; try again";
        Problem::new("busy", detail)
    })
}

/// Where the VM runs; `None`: on this host.
async fn whereabouts(desk: &Desk, vm: &VmName, here: bool) -> Result<Option<Where>, Problem> {
    if here {
        return Ok(None);
    }
    desk.look_around().await;
    let scene = desk.now();
    let (_, host, _) = wishes::running(&scene, vm)?;
    if *host == scene.me {
        return Ok(None);
    }
    let to = desk.agent_of(&scene, host);
    let unknown = || Problem::new("no-host", format!("nobody knows where the agent of {host} is"));
    to.map(Some).ok_or_else(unknown)
}

/// The process of this host that shows the VM's guest to the world.
async fn process(desk: &Desk, vm: &VmName) -> Result<Found, Problem> {
    let (sockets, name) = (desk.sockets.clone(), vm.clone());
    let found = tokio::task::spawn_blocking(move || caller::process(&sockets, &name)).await;
    match found {
        Ok(found) => found.map_err(|error| gone(vm, &error.to_string())),
        Err(error) => Err(Problem::new("bug", error.to_string())),
    }
}

fn gone(vm: &VmName, why: &str) -> Problem {
    Problem::new("not-now", format!("the process of {vm} cannot be reached: {why}"))
}

/// Has the agent of another host lead on, and passes on what comes.
async fn lead_on(
    to: &Where,
    path: &str,
    request: Request,
    place: OwnedSemaphorePermit,
) -> Result<Response, Problem> {
    let led = open(to).await?.lead_on(path).await;
    let led = led.map_err(|error| away(to, error.reason()))?;
    let far = led.map_err(|answer| refused(to, &answer))?;
    Ok(upgrade(request, place, move |caller| {
        passage::carry(caller, TokioIo::new(far))
    }))
}

async fn open(to: &Where) -> Result<Connection, Problem> {
    let opened = tokio::time::timeout(AGENT_PATIENCE, Connection::open(to)).await;
    let opened = opened.map_err(|_| away(to, "it does not answer"))?;
    opened.map_err(|error| away(to, error.reason()))
}

fn away(to: &Where, why: &str) -> Problem {
    let detail = format!("the agent at {} cannot be reached: {why}", to.place());
    Problem::new("agent-away", detail)
}

/// What another agent has answered instead.
fn refused(to: &Where, answer: &client::Answer) -> Problem {
    serde_json::from_slice(&answer.body)
        .unwrap_or_else(|_| away(to, &format!("it has answered with status {}", answer.status)))
}

/// Answers that the connection leads on, and has `carry` pass on what comes. The place is taken until that
/// has ended.
fn upgrade<F: Future<Output = ()> + Send + 'static>(
    mut request: Request,
    place: OwnedSemaphorePermit,
    carry: impl FnOnce(TokioIo<Upgraded>) -> F + Send + 'static,
) -> Response {
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(caller) => carry(TokioIo::new(caller)).await,
            Err(error) => tracing::debug!("a caller has hung up: {error}"),
        }
        drop(place);
    });
    let mut response = (StatusCode::SWITCHING_PROTOCOLS, Body::empty()).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PASSAGE));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PASSAGES_MAX;

    fn request(word: Option<&str>) -> Request {
        let mut request = Request::new(Body::empty());
        if let Some(word) = word {
            let word = HeaderValue::from_str(word).unwrap();
            request.headers_mut().insert(header::UPGRADE, word);
        }
        request
    }

    #[test]
    fn only_so_many_passages_lead_through_an_agent_and_each_asks_for_one() {
        let places = Arc::new(Semaphore::new(PASSAGES_MAX));
        let taken: Vec<_> = (0..PASSAGES_MAX)
            .map(|_| place(&places, &request(Some(PASSAGE))).unwrap())
            .collect();
        let refusal = place(&places, &request(Some(PASSAGE))).unwrap_err();
        assert_eq!((refusal.code.as_str(), refusal.exit_code()), ("busy", 4));
        drop(taken);
        assert!(place(&places, &request(Some(PASSAGE))).is_ok());
        for other in [None, Some("websocket")] {
            let refusal = place(&places, &request(other)).unwrap_err();
            assert_eq!(refusal.code, "bad-request");
        }
    }
}
