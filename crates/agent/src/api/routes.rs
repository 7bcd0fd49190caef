//! The routes and their description: each handler says itself what it takes and gives, and `/v1/openapi.json`
//! is made of that. docs/openapi.json is a copy of it, so a change of the API is seen where it is reviewed.

use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{Method, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Router};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::asking::VmNameSchema;
use super::changes::{RemovedObject, SnapshotObject};
use super::desk::{Caller, Desk};
use super::types::{Happened, HostObject, OperationObject, SiteObject, VmObject};
use super::{changing, door, examination, looking, passages, release, reservation, watch};
use crate::limits::REQUEST_BYTES_MAX;
use membership::problem::{Problem, ProblemObject};

/// The API of an agent, without its routes.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Lockstep",
        version = "v1",
        description = "The API of a site's agents. Each agent answers for the whole site, at a socket of its \
                       host. Wishes are put down in the site's directory and carried out by whichever agent \
                       controls the VM. Whatever is not done is answered by a problem (RFC 9457).",
        license(name = "Apache-2.0 OR MIT", identifier = "Apache-2.0 OR MIT"),
    ),
    tags(
        (name = "the site", description = "How the site, its hosts and its VMs are"),
        (name = "wishes", description = "What people want of VMs and hosts"),
        (name = "the agent", description = "The agent itself"),
        (name = "between agents", description = "What agents ask each other"),
    ),
    components(schemas(
        ProblemObject, VmNameSchema, SnapshotObject, RemovedObject, Happened, SiteObject, HostObject,
        VmObject, OperationObject
    ))
)]
struct Api;

fn described() -> OpenApiRouter<Desk> {
    OpenApiRouter::with_openapi(Api::openapi())
        .routes(routes!(looking::healthz))
        .routes(routes!(looking::explain))
        .routes(routes!(looking::metrics))
        .routes(routes!(looking::version))
        .routes(routes!(openapi))
        .routes(routes!(looking::events))
        .routes(routes!(watch::watch))
        .routes(routes!(looking::site))
        .routes(routes!(looking::hosts))
        .routes(routes!(changing::drain))
        .routes(routes!(looking::operations))
        .routes(routes!(looking::operation, changing::cancel))
        .routes(routes!(looking::vms, changing::create))
        .routes(routes!(looking::vm, changing::delete))
        .routes(routes!(looking::settings, changing::change_settings))
        .routes(routes!(changing::power))
        .routes(routes!(changing::protection))
        .routes(routes!(looking::check))
        .routes(routes!(changing::failover))
        .routes(routes!(changing::move_vm))
        .routes(routes!(changing::move_backup))
        .routes(routes!(changing::reset))
        .routes(routes!(changing::test_failover))
        .routes(routes!(changing::test_backup))
        .routes(routes!(release::release))
        .routes(routes!(passages::lines))
        .routes(routes!(passages::snapshot))
        .routes(routes!(passages::console))
        .routes(routes!(looking::local))
        .routes(routes!(reservation::reserve))
        .routes(routes!(door::give_token))
        .routes(routes!(examination::examination))
        .routes(routes!(examination::peers))
}

/// The description of the API, as `/v1/openapi.json` has it and docs/openapi.json.
#[must_use]
pub fn description() -> String {
    let mut text = described().to_openapi().to_pretty_json().unwrap_or_default();
    text.push('\n');
    text
}

/// All routes.
pub fn router(desk: Desk) -> Router {
    let (routes, _) = described().split_for_parts();
    routes
        .fallback(nothing)
        .method_not_allowed_fallback(not_so)
        .layer(middleware::from_fn(guard))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .layer(Extension(Description(description().into())))
        .with_state(desk)
}

#[derive(Clone)]
struct Description(Arc<str>);

/// Describe this API
///
/// The description is OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/v1/openapi.json",
    tag = "the agent",
    responses((status = 200, description = "The description", body = Object))
)]
async fn openapi(Extension(text): Extension<Description>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text.0.to_string()).into_response()
}

/// Other agents may look at everything, lead people to consoles, and ask for reservations, which nobody else
/// may; beside that they change nothing.
async fn guard(Extension(caller): Extension<Caller>, request: Request, next: Next) -> Response {
    let is_of_agents = ["/v1/local", "/v1/reservations"].contains(&request.uri().path());
    if caller.is_agent && !is_of_agents && request.method() != Method::GET {
        let detail = "another host's agent may look at everything here and change nothing";
        return Problem::new("not-allowed", detail).into_response();
    }
    if !caller.is_agent && request.uri().path() == "/v1/reservations" && request.method() == Method::POST {
        let detail = "only another host's agent asks for a reservation";
        return Problem::new("not-allowed", detail).into_response();
    }
    next.run(request).await
}

async fn nothing(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new("no-such-thing", format!("there is no {method} {path}"))
}

async fn not_so(request: Request) -> Problem {
    let (method, path) = (request.method(), request.uri().path());
    Problem::new("no-such-method", format!("{path} is there, but not for {method}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use membership::problem::CODES;

    #[test]
    fn the_copy_of_the_description_is_as_the_program_gives_it() {
        let copy = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
        let copy = std::fs::read_to_string(copy).unwrap_or_default();
        let is_equal = copy == description();
        assert!(
            is_equal,
            "docs/openapi.json is another one: `cargo xtask openapi` writes it anew"
        );
    }

    #[test]
    fn every_problem_of_a_route_is_in_the_description_and_every_text_is_a_sentence() {
        let text = description();
        // Who asks for what is not there asks for no route.
        for (code, ..) in CODES.iter().filter(|(code, ..)| *code != "no-such-method") {
            assert!(text.contains(&format!("`{code}`")), "{code}");
        }
        let all: serde_json::Value = serde_json::from_str(&text).unwrap();
        for (path, methods) in all["paths"].as_object().unwrap() {
            for (method, route) in methods.as_object().unwrap() {
                let is_described = route["requestBody"].is_object();
                assert_eq!(is_described, method != "get", "the body of {method} {path}");
            }
        }
        let schemas = all["components"]["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            let fields = schema["properties"].as_object();
            for (field, schema) in fields.into_iter().flatten() {
                // That of an object or null stands at the object.
                let said = [&schema["description"], &schema["oneOf"][0]["description"]];
                let said = said.iter().find_map(|said| said.as_str()).unwrap_or_default();
                let words = said.split_whitespace().count();
                assert!(words >= 3 && said.contains('.'), "{name}.{field}: `{said}`");
            }
        }
    }
}
