//! Requests that change nothing: all but a few are answered from the mind's last scene.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::asking::{Asked, Named, VmNameSchema as VmName};
use super::desk::Desk;
use super::types::{
    Happened, HostObject, OperationObject, SettingsObject, SiteObject, VerdictObject, VmObject, operations_of,
};
use controller::limits::EVENTS_KEPT;
use controller::wishes;
use membership::problem::{self, OfLocal, OfOperationLook, OfQuery, OfThing, OfVm, Problem};

/// What a route gives.
type Reply<T> = Result<Json<T>, Problem>;

/// Tell that the agent answers
///
/// For whoever watches that the agent lives. How the site is, is not looked at.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "the agent",
    responses((status = 200, description = "The agent answers", body = String, content_type = "text/plain"))
)]
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Explain the code of a problem
///
/// This is the page that the `type` of a problem names.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "the agent",
    params(("code" = String, Path, description = "Code of the problem")),
    responses(
        (status = 200, description = "What the code means", body = String, content_type = "text/plain"),
        OfThing
    )
)]
pub async fn explain(Named(code): Named) -> Result<String, Problem> {
    problem::explain(&code)
        .ok_or_else(|| Problem::new("no-such-thing", format!("there is no problem {code}")))
}

/// Tell all figures to Prometheus
///
/// Figures of the site as this agent sees it, and of the processes of its host.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "the agent",
    responses((status = 200, description = "The figures", body = String,
        content_type = "application/openmetrics-text"))
)]
pub async fn metrics(State(desk): State<Desk>) -> Result<Response, Problem> {
    let text = super::metrics::text(desk.now(), desk.version);
    let text = text.map_err(|error| Problem::new("bug", error.to_string()))?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], text).into_response())
}

/// Which happenings are asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// Those after the one of this number, as the agent that is asked has counted them; left out: all.
    #[serde(default)]
    #[param(minimum = 0)]
    after: i64,
    /// Those that are about this VM; left out: all.
    #[serde(default)]
    #[param(required = false, nullable = false)]
    vm: Option<String>,
    /// With `true` the last 4,096 of all hosts whose agents answer, in the order of their times; else those
    /// of the host whose agent is asked.
    #[serde(default)]
    site: bool,
}

/// Tell what has happened
///
/// Each agent keeps the last 4,096 happenings of its host, and counts them from 1.
#[utoipa::path(
    get,
    path = "/v1/events",
    tag = "the site",
    params(EventsQuery),
    responses((status = 200, description = "What has happened, the oldest first", body = [Happened]), OfQuery)
)]
pub async fn events(State(desk): State<Desk>, Asked(query): Asked<EventsQuery>) -> Reply<Vec<Happened>> {
    let vm = query.vm.as_deref();
    let after = u64::try_from(query.after);
    let after = after.map_err(|_| Problem::new("bad-request", "`after` is a number from 0 on"))?;
    let mut all = desk.happenings.after(after, vm);
    if query.site {
        all.extend(desk.happened_elsewhere(vm).await);
        all.sort_by(|a, b| (a.at_wall_ns, &a.host, a.number).cmp(&(b.at_wall_ns, &b.host, b.number)));
        // However many hosts there are, an answer is no longer than one of theirs.
        all.drain(..all.len().saturating_sub(EVENTS_KEPT));
    }
    Ok(Json(all))
}

/// What the agent is.
#[derive(Serialize, ToSchema)]
pub struct VersionObject {
    /// Version of the program.
    version: String,
    /// Version of this API: `v1`. Fields and routes may be added to it; none changes its meaning.
    api: String,
}

/// Tell which version answers
#[utoipa::path(
    get,
    path = "/v1/version",
    tag = "the agent",
    responses((status = 200, description = "The versions of program and API", body = VersionObject))
)]
pub async fn version(State(desk): State<Desk>) -> Json<VersionObject> {
    let (version, api) = (desk.version.to_owned(), "v1".to_owned());
    Json(VersionObject { version, api })
}

/// Tell how the site is
#[utoipa::path(
    get,
    path = "/v1/site",
    tag = "the site",
    responses((status = 200, description = "The site, as this agent sees it", body = SiteObject))
)]
pub async fn site(State(desk): State<Desk>) -> Json<SiteObject> {
    Json(SiteObject::of(&desk.now()))
}

/// Tell which hosts the site has, and how they are
#[utoipa::path(
    get,
    path = "/v1/hosts",
    tag = "the site",
    responses((status = 200, description = "All hosts, in the order of their names", body = [HostObject]))
)]
pub async fn hosts(State(desk): State<Desk>) -> Json<Vec<HostObject>> {
    Json(HostObject::all(&desk.now()))
}

/// Tell which VMs the site has, and how they are
#[utoipa::path(
    get,
    path = "/v1/vms",
    tag = "the site",
    responses((status = 200, description = "All VMs, in the order of their names", body = [VmObject]))
)]
pub async fn vms(State(desk): State<Desk>) -> Json<Vec<VmObject>> {
    let scene = desk.now();
    let all = scene.vms.iter().map(|(name, vm)| VmObject::of(name.as_str(), vm));
    Json(all.collect())
}

/// How a VM is asked for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct VmQuery {
    /// With `true` other hosts are asked first, for about a second at most, so that the answer rests on no
    /// news of before the question.
    #[serde(default)]
    fresh: bool,
}

/// Tell how a VM is
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}",
    tag = "the site",
    params(("vm" = VmName, Path, description = "Name of the VM"), VmQuery),
    responses((status = 200, description = "The VM", body = VmObject), OfVm)
)]
pub async fn vm(State(desk): State<Desk>, name: Named, Asked(query): Asked<VmQuery>) -> Reply<VmObject> {
    let name = name.vm()?;
    if query.fresh {
        desk.look_at(&name).await;
    }
    let scene = desk.now();
    let (vm, _) = wishes::find(&scene, &name)?;
    Ok(Json(VmObject::of(name.as_str(), vm)))
}

/// Give a VM's settings
///
/// The `ETag` of the answer is the settings' generation.
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/settings",
    tag = "the site",
    params(("vm" = VmName, Path, description = "Name of the VM")),
    responses(
        (status = 200, description = "The settings", body = SettingsObject,
            headers(("ETag" = String, description = "The generation, in quotes"))),
        OfVm
    )
)]
pub async fn settings(State(desk): State<Desk>, name: Named) -> Result<Response, Problem> {
    let name = name.vm()?;
    let scene = desk.now();
    // Settings that make no sense can be looked at and mended.
    let Some((_, spec)) = scene.known.vm(&name) else {
        return Err(wishes::no_vm(&scene, &name));
    };
    let object = SettingsObject {
        name: name.to_string(),
        toml: spec.value.toml.clone(),
        generation: spec.value.generation,
        protection: spec.value.protection,
    };
    let tag = format!("\"{}\"", spec.value.generation);
    Ok(([(header::ETAG, tag)], Json(object)).into_response())
}

/// What another agent has heard of this host.
#[derive(Deserialize)]
pub struct LocalQuery {
    /// Number of what has happened here last, as far as it was told; none: it is not interested.
    #[serde(default)]
    after: Option<u64>,
}

/// Tell another agent what this one knows of its host
///
/// Agents ask each other for this twice a second. Its form is no part of the API that stays as it is.
#[utoipa::path(
    get,
    path = "/v1/local",
    tag = "between agents",
    responses((status = 200, description = "A report of this host and its processes", body = Object), OfLocal)
)]
pub async fn local(State(desk): State<Desk>, Asked(query): Asked<LocalQuery>) -> Result<Response, Problem> {
    let scene = desk.now();
    let Some(heard) = scene.heard.get(&scene.me) else {
        return Err(Problem::new(
            "not-now",
            "this agent has just started and has not looked around yet",
        ));
    };
    let mut report = heard.report.clone();
    (report.happened, report.last_happened) = match query.after {
        Some(after) => desk.happenings.next(after),
        None => (Vec::new(), desk.happenings.last()),
    };
    let age_ms = os::sys::clock::now().since(heard.at).0 / 1_000_000;
    for process in &mut report.processes {
        process.age_ms = process.age_ms.saturating_add(age_ms);
    }
    Ok(Json(report).into_response())
}

/// Tell what was begun last with each VM
#[utoipa::path(
    get,
    path = "/v1/operations",
    tag = "the site",
    responses((status = 200, description = "The last operation of each VM that has one",
        body = [OperationObject]))
)]
pub async fn operations(State(desk): State<Desk>) -> Json<Vec<OperationObject>> {
    Json(operations_of(&desk.now()))
}

/// Tell how far an operation is
#[utoipa::path(
    get,
    path = "/v1/operations/{id}",
    tag = "the site",
    params(("id" = String, Path, description = "Number of the operation")),
    responses((status = 200, description = "The operation", body = OperationObject), OfOperationLook)
)]
pub async fn operation(State(desk): State<Desk>, Named(id): Named) -> Reply<OperationObject> {
    let mut all = operations_of(&desk.now()).into_iter();
    let found = all.find(|operation| operation.id == id);
    found
        .map(Json)
        .ok_or_else(|| Problem::new("no-operation", format!("there is no operation {id}")))
}

/// Which hosts are judged.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct CheckQuery {
    /// Name of the host that is meant; left out: each is judged.
    #[serde(default)]
    #[param(required = false, nullable = false)]
    to: Option<String>,
}

/// Tell how each host is judged for a VM's backup
#[utoipa::path(
    get,
    path = "/v1/vms/{vm}/check",
    tag = "the site",
    params(("vm" = VmName, Path, description = "Name of the VM"), CheckQuery),
    responses(
        (status = 200, description = "Each host, with everything that speaks against it",
            body = [VerdictObject]),
        OfVm
    )
)]
pub async fn check(
    State(desk): State<Desk>,
    name: Named,
    Asked(query): Asked<CheckQuery>,
) -> Reply<Vec<VerdictObject>> {
    let scene = desk.now();
    let (vm, _) = wishes::find(&scene, &name.vm()?)?;
    let is_meant = |verdict: &VerdictObject| query.to.as_ref().is_none_or(|to| verdict.host.as_str() == to);
    let verdicts = VerdictObject::of_all(vm.placement.verdicts(), vm.placement.best()).into_iter();
    Ok(Json(verdicts.filter(is_meant).collect()))
}
