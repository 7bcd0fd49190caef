//! The routes: each takes a request apart, and asks the scene or has a wish made.

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Extension, Json, Router};
use serde::Deserialize;

use super::desk::{Caller, Desk};
use super::passages::{lines, snapshot};
use super::problem::{self, Problem};
use super::release::release;
use super::request::{needed, vm_name};
use super::reservation::reserve;
use super::types::{ChangeObject, HostObject, OperationObject, SiteObject, VerdictObject, VmObject};
use crate::happenings::Happened;
use crate::limits::REQUEST_BYTES_MAX;
use crate::records::{PowerWord, ProtectionWord};
use crate::scene::Scene;
use crate::wishes::{self, Change, Deed, Wisher};

/// What a route gives.
type Reply<T> = Result<Json<T>, Problem>;

/// All routes.
pub fn router(desk: Desk) -> Router {
    let vms = Router::new()
        .route("/", get(vms).post(create))
        .route("/{vm}", get(vm).delete(delete))
        .route("/{vm}/power", put(power))
        .route("/{vm}/protection", put(protection))
        .route("/{vm}/check", get(check))
        .route("/{vm}/failover", post(failover))
        .route("/{vm}/move", post(move_vm))
        .route("/{vm}/move-backup", post(move_backup))
        .route("/{vm}/reset", post(reset))
        .route("/{vm}/test-failover", post(test_failover))
        .route("/{vm}/test-backup", post(test_backup))
        .route("/{vm}/lines", get(lines))
        .route("/{vm}/release", post(release))
        .route("/{vm}/snapshot", get(snapshot));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/problems/{code}", get(explain))
        .route("/metrics", get(metrics))
        .route("/v1/version", get(version))
        .route("/v1/events", get(events))
        .route("/v1/site", get(site))
        .route("/v1/hosts", get(hosts))
        .route("/v1/hosts/{host}/drain", put(drain))
        .route("/v1/operations", get(operations))
        .route("/v1/operations/{id}", get(operation).delete(cancel))
        .route("/v1/local", get(local))
        .route("/v1/reservations", post(reserve))
        .nest("/v1/vms", vms)
        .fallback(nothing)
        .layer(middleware::from_fn(guard))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(desk)
}

/// Agents ask for reports and reservations, and people for everything else.
async fn guard(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    let is_of_agents = ["/v1/local", "/v1/reservations"].contains(&request.uri().path());
    if caller.is_agent && !is_of_agents && request.method() != Method::GET {
        let detail = "another host's agent may look at everything here and change nothing";
        return Problem::new("not-allowed", detail).into_response();
    }
    if !caller.is_agent && request.uri().path() == "/v1/reservations" {
        let detail = "only another host's agent asks for a reservation";
        return Problem::new("not-allowed", detail).into_response();
    }
    next.run(request).await
}

async fn nothing(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new("no-such-thing", format!("there is no {method} {path}"))
}

async fn explain(Path(code): Path<String>) -> Result<String, Problem> {
    problem::explain(&code)
        .ok_or_else(|| Problem::new("no-such-thing", format!("there is no problem {code}")))
}

/// Figures for Prometheus.
async fn metrics(State(desk): State<Desk>) -> Result<Response, Problem> {
    let text = super::metrics::text(desk.now(), desk.version);
    let text = text.map_err(|error| Problem::new("bug", error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(axum::http::header::CONTENT_TYPE, kind)], text).into_response())
}

/// Which happenings are asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    /// Those after the one of this number.
    #[serde(default)]
    after: u64,
    /// Those of this VM; none: of any.
    #[serde(default)]
    vm: Option<String>,
    /// Those of all hosts that answer, in the order of their times, instead of this host's.
    #[serde(default)]
    site: bool,
}

/// What has happened on this host, or on all. Numbers count on each host for itself.
async fn events(State(desk): State<Desk>, Query(query): Query<EventsQuery>) -> Json<Vec<Happened>> {
    let vm = query.vm.as_deref();
    let mut all = desk.happenings.after(query.after, vm);
    if query.site {
        all.extend(desk.happened_elsewhere(vm).await);
        all.sort_by(|a, b| (a.at_wall_ns, &a.host, a.number).cmp(&(b.at_wall_ns, &b.host, b.number)));
    }
    Json(all)
}

async fn version(State(desk): State<Desk>) -> Json<serde_json::Value> {
    Json(serde_json::json!({ "version": desk.version, "api": "v1" }))
}

async fn site(State(desk): State<Desk>) -> Json<SiteObject> {
    Json(SiteObject::of(&desk.now()))
}

async fn hosts(State(desk): State<Desk>) -> Json<Vec<HostObject>> {
    Json(HostObject::all(&desk.now()))
}

async fn vms(State(desk): State<Desk>) -> Json<Vec<VmObject>> {
    let scene = desk.now();
    let all = scene.vms.iter().map(|(name, vm)| VmObject::of(name.as_str(), vm));
    Json(all.collect())
}

/// How a VM is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VmQuery {
    /// Shall other hosts be asked first, so that the answer is none of before the question?
    #[serde(default)]
    fresh: bool,
}

async fn vm(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Query(query): Query<VmQuery>,
) -> Reply<VmObject> {
    if query.fresh {
        desk.look_around().await;
    }
    let scene = desk.now();
    let (vm, _) = wishes::find(&scene, &vm_name(&name)?)?;
    Ok(Json(VmObject::of(&name, vm)))
}

/// What this host's own agent knows of it, for the other agents.
async fn local(State(desk): State<Desk>) -> Result<Response, Problem> {
    let scene = desk.now();
    let Some(heard) = scene.heard.get(&scene.me) else {
        return Err(Problem::new(
            "not-now",
            "this agent has just started and has not looked around yet",
        ));
    };
    let mut report = heard.report.clone();
    let age_ms = os::sys::clock::now().since(heard.at).0 / 1_000_000;
    for process in &mut report.processes {
        process.age_ms = process.age_ms.saturating_add(age_ms);
    }
    Ok(Json(report).into_response())
}

async fn operations(State(desk): State<Desk>) -> Json<Vec<OperationObject>> {
    Json(all_operations(&desk.now()))
}

async fn operation(State(desk): State<Desk>, Path(id): Path<String>) -> Reply<OperationObject> {
    let all = all_operations(&desk.now()).into_iter();
    let found = all.into_iter().find(|operation| operation.id == id);
    found
        .map(Json)
        .ok_or_else(|| Problem::new("no-operation", format!("there is no operation {id}")))
}

fn all_operations(scene: &Scene) -> Vec<OperationObject> {
    let vms = scene.vms.iter();
    vms.filter_map(|(name, vm)| VmObject::of(name.as_str(), vm).operation)
        .collect()
}

/// What most changes say.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Body {
    /// Why, in the caller's words.
    comment: String,
    /// The host that is meant.
    to: Option<String>,
    /// Is a test made even if no third host could take a new backup?
    anyway: bool,
}

/// The body of a request that need not have one.
fn body<T: Default>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    match body {
        Ok(Json(body)) => Ok(body),
        Err(JsonRejection::MissingJsonContentType(_)) => Ok(T::default()),
        Err(error) => Err(Problem::new("bad-request", error.body_text())),
    }
}

/// Who calls, with the number of the request.
fn wisher(caller: &Caller, headers: &HeaderMap, comment: &str) -> Result<Wisher, Problem> {
    let given = headers
        .get("Idempotency-Key")
        .map(|key| key.to_str().unwrap_or_default());
    let id = match given {
        None => format!("{:032x}", os::entropy::random_u128()),
        Some(key) => {
            let digits: String = key.chars().filter(|sign| *sign != '-').collect();
            if digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let detail = "`Idempotency-Key` is 32 hexadecimal digits or a UUID, drawn at random";
                return Err(Problem::new("bad-request", detail));
            }
            digits.to_lowercase()
        }
    };
    Ok(Wisher {
        by: caller.name.clone(),
        id,
        comment: comment.to_owned(),
    })
}

/// Answers what became of a wish.
fn answer(change: Change) -> Response {
    let status = match &change.operation {
        Some(_) => StatusCode::ACCEPTED,
        None => StatusCode::OK,
    };
    let object = ChangeObject {
        sentence: change.sentence,
        already: change.already,
        operation: change.operation.as_ref().map(OperationObject::from),
    };
    (status, Json(object)).into_response()
}

/// Has a wish made, unless a request of the same number has begun it already.
async fn make(
    desk: &Desk,
    wisher: &Wisher,
    wish: impl Fn(&Scene) -> Result<Change, Problem>,
) -> Result<Response, Problem> {
    let again = all_operations(&desk.now())
        .into_iter()
        .find(|operation| operation.id == wisher.id);
    if let Some(operation) = again {
        let object = ChangeObject {
            sentence: format!(
                "`{}` of {} was begun by this request already",
                operation.kind, operation.vm
            ),
            already: true,
            operation: Some(operation),
        };
        return Ok((StatusCode::ACCEPTED, Json(object)).into_response());
    }
    Ok(answer(desk.wish(wish).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Creation {
    /// The text of `VM.toml`, with whole paths.
    toml: String,
    /// Whether it shall have a backup.
    #[serde(default = "on")]
    protection: ProtectionWord,
    #[serde(default)]
    comment: String,
}

fn on() -> ProtectionWord {
    ProtectionWord::On
}

async fn create(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    given: Result<Json<Creation>, JsonRejection>,
) -> Result<Response, Problem> {
    let given = needed(given)?;
    let wisher = wisher(&caller, &headers, &given.comment)?;
    let read_vm = desk.read_vm;
    make(&desk, &wisher, |scene| {
        wishes::create(scene, &given.toml, read_vm, given.protection, &wisher).map(|(_, change)| change)
    })
    .await
}

async fn delete(State(desk): State<Desk>, Path(name): Path<String>) -> Result<Response, Problem> {
    let name = vm_name(&name)?;
    Ok(answer(desk.wish(|scene| wishes::delete(scene, &name)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PowerBody {
    wanted: PowerWord,
    #[serde(default)]
    hard: bool,
    /// The host on which it is to be started.
    #[serde(default)]
    on: Option<String>,
    #[serde(default)]
    comment: String,
}

async fn power(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    given: Result<Json<PowerBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let (given, name) = (needed(given)?, vm_name(&name)?);
    let wisher = wisher(&caller, &headers, &given.comment)?;
    make(&desk, &wisher, |scene| {
        wishes::power(
            scene,
            &name,
            given.wanted,
            given.hard,
            given.on.as_deref(),
            &wisher,
        )
    })
    .await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProtectionBody {
    wanted: ProtectionWord,
    #[serde(default)]
    to: Option<String>,
    #[serde(default)]
    comment: String,
}

async fn protection(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(name): Path<String>,
    headers: HeaderMap,
    given: Result<Json<ProtectionBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let (given, name) = (needed(given)?, vm_name(&name)?);
    let wisher = wisher(&caller, &headers, &given.comment)?;
    make(&desk, &wisher, |scene| {
        wishes::protection(scene, &name, given.wanted, given.to.as_deref(), &wisher)
    })
    .await
}

/// What a request of a deed has.
type DeedRequest = (
    State<Desk>,
    Extension<Caller>,
    Path<String>,
    HeaderMap,
    Result<Json<Body>, JsonRejection>,
);

async fn do_deed(
    (State(desk), Extension(caller), Path(name), headers, given): DeedRequest,
    deed: impl Fn(Body) -> Result<Deed, Problem>,
) -> Result<Response, Problem> {
    let (given, name) = (body(given)?, vm_name(&name)?);
    let wisher = wisher(&caller, &headers, &given.comment)?;
    let deed = deed(given)?;
    make(&desk, &wisher, |scene| wishes::deed(scene, &name, &deed, &wisher)).await
}

async fn failover(request: DeedRequest) -> Result<Response, Problem> {
    do_deed(request, |_| Ok(Deed::Failover)).await
}

async fn move_vm(request: DeedRequest) -> Result<Response, Problem> {
    let missing = || Problem::new("bad-request", "`to` says the host to which the VM is to be moved");
    do_deed(request, |body| body.to.map(Deed::Move).ok_or_else(missing)).await
}

async fn move_backup(request: DeedRequest) -> Result<Response, Problem> {
    do_deed(request, |body| Ok(Deed::MoveBackup(body.to))).await
}

async fn reset(request: DeedRequest) -> Result<Response, Problem> {
    do_deed(request, |_| Ok(Deed::Reset)).await
}

async fn test_failover(request: DeedRequest) -> Result<Response, Problem> {
    test(request, true).await
}

async fn test_backup(request: DeedRequest) -> Result<Response, Problem> {
    test(request, false).await
}

async fn test(request: DeedRequest, of_owner: bool) -> Result<Response, Problem> {
    do_deed(request, |Body { anyway, .. }| Ok(Deed::Test { of_owner, anyway })).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    wanted: bool,
    #[serde(default)]
    comment: String,
}

async fn drain(
    State(desk): State<Desk>,
    Extension(caller): Extension<Caller>,
    Path(host): Path<String>,
    headers: HeaderMap,
    given: Result<Json<DrainBody>, JsonRejection>,
) -> Result<Response, Problem> {
    let given = needed(given)?;
    let wisher = wisher(&caller, &headers, &given.comment)?;
    make(&desk, &wisher, |scene| {
        wishes::drain(scene, &host, given.wanted, &wisher)
    })
    .await
}

async fn cancel(State(desk): State<Desk>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(desk.wish(|scene| wishes::cancel(scene, &id)).await?))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckQuery {
    /// The host that is meant; none: each is judged.
    #[serde(default)]
    to: Option<String>,
}

/// How each host is judged for a backup of the VM.
async fn check(
    State(desk): State<Desk>,
    Path(name): Path<String>,
    Query(query): Query<CheckQuery>,
) -> Reply<Vec<VerdictObject>> {
    let scene = desk.now();
    let (vm, _) = wishes::find(&scene, &vm_name(&name)?)?;
    let best = vm.placement.best();
    let is_meant = |verdict: &&plan::Verdict| query.to.as_ref().is_none_or(|to| verdict.host.as_str() == to);
    let verdicts = vm.placement.verdicts().iter().filter(is_meant);
    Ok(Json(
        verdicts.map(|verdict| VerdictObject::of(verdict, best)).collect(),
    ))
}
