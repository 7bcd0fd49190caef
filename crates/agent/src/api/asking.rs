//! What requests are taken apart with: names of paths, queries, and what every request has that changes
//! something. Whatever is wrong with a request is said as a problem, never as a bare text.

use axum::body::Bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use messages::vm_name::VmName;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::{IntoParams, ToSchema};

use super::desk::{Caller, Desk};
use super::types::{ChangeObject, OperationObject, VerdictObject, operations_of};
use crate::limits::REQUEST_BYTES_MAX;
use controller::records::{OperationRecord, OperationState};
use controller::scene::Scene;
use controller::wishes::{Change, Wisher};
use membership::problem::Problem;

/// A name or number in a path, as it was given.
pub struct Named(pub String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Named, Problem> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        let Path(name) = path.map_err(|error| Problem::new("bad-request", error.body_text()))?;
        Ok(Named(name))
    }
}

impl Named {
    /// The name of a VM.
    ///
    /// # Errors
    /// No VM can have it.
    pub fn vm(&self) -> Result<VmName, Problem> {
        VmName::new(&self.0).map_err(|error| Problem::new("bad-request", error.to_string()))
    }
}

/// The query of a request.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, Problem> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|error| Problem::new("bad-request", error.body_text()))?;
        Ok(Asked(query))
    }
}

/// What the body of a request says, which must have one.
pub struct Given<B>(pub Desk, pub B);

impl<B: DeserializeOwned> FromRequest<Desk> for Given<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Result<Given<B>, Problem> {
        let headers = request.headers().clone();
        let body = read(&headers, &whole(request, desk).await?)?;
        Ok(Given(desk.clone(), body))
    }
}

/// How a change is asked for.
#[derive(Default, Deserialize, IntoParams)]
#[serde(default, deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ChangeQuery {
    /// With `true` the wish is judged as usual and nothing is changed: the answer says what would be done, or
    /// is the refusal that the request itself would get.
    pub dry_run: bool,
}

/// The headers with which a change is asked for.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[allow(dead_code, reason = "it describes headers, which are read by their names")]
pub struct ChangeHeaders {
    /// Number of the request, drawn at random: 32 hexadecimal digits or a UUID. It is the number of the
    /// operation that the request begins; the same request again begins nothing twice.
    #[param(
        rename = "Idempotency-Key",
        required = false,
        nullable = false,
        pattern = "^([0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12})$"
    )]
    idempotency_key: Option<String>,
}

/// Name of a VM, as it is in paths.
#[derive(ToSchema)]
#[schema(as = VmName, value_type = String, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length = 64)]
#[allow(dead_code, reason = "it describes what `VmName` checks")]
pub struct VmNameSchema(String);

/// A body that says why something is wished.
pub trait Commented {
    /// Why, in the caller's words; empty: nothing was said.
    fn comment(&self) -> &str;
}

/// A request that changes something: what it says, and who has sent it.
pub struct Asking<B> {
    desk: Desk,
    /// Who wishes, under which number, and why.
    pub wisher: Wisher,
    /// What the body says.
    pub body: B,
    /// The generation that what is changed must have (`If-Match`); `None`: any.
    pub generation: Option<u64>,
    is_dry_run: bool,
}

impl<B: DeserializeOwned + Commented> FromRequest<Desk> for Asking<B> {
    type Rejection = Problem;

    async fn from_request(request: Request, desk: &Desk) -> Result<Asking<B>, Problem> {
        let (mut parts, body) = request.into_parts();
        let Asked(query): Asked<ChangeQuery> = Asked::from_request_parts(&mut parts, desk).await?;
        let caller = Extension::<Caller>::from_request_parts(&mut parts, desk).await;
        let Extension(caller) = caller.map_err(|error| Problem::new("bug", error.to_string()))?;
        let (headers, request) = (parts.headers.clone(), Request::from_parts(parts, body));
        let body: B = read(&headers, &whole(request, desk).await?)?;
        Ok(Asking {
            wisher: wisher(&caller, &headers, body.comment())?,
            generation: generation(&headers)?,
            desk: desk.clone(),
            body,
            is_dry_run: query.dry_run,
        })
    }
}

impl<B> Asking<B> {
    /// What the routes answer with.
    pub fn desk(&self) -> &Desk {
        &self.desk
    }

    /// Has a wish made, unless a request of the same number has begun it already. `of`: the VM and the kinds
    /// of operations that the wish may begin; `None`: it begins none. With `dry_run` the wish is judged, and
    /// that is all.
    ///
    /// # Errors
    /// The wish is refused, the number is another request's, or the directory is away.
    pub async fn make(
        &self,
        of: Option<(&VmName, &[&str])>,
        wish: impl Fn(&Scene, &Wisher) -> Result<Change, Problem>,
    ) -> Result<Response, Problem> {
        self.desk.look_around().await;
        self.make_as_seen(of, wish).await
    }

    /// The same by what was seen last, for what can be wished however the hosts are.
    ///
    /// # Errors
    /// As those of [`Asking::make`].
    pub async fn make_as_seen(
        &self,
        of: Option<(&VmName, &[&str])>,
        wish: impl Fn(&Scene, &Wisher) -> Result<Change, Problem>,
    ) -> Result<Response, Problem> {
        let wish = |scene: &Scene| wish(scene, &self.wisher);
        if self.is_dry_run {
            let change = self.desk.judge(wish)?;
            let object = ChangeObject {
                dry_run: true,
                host: change.host.map(|host| host.to_string()),
                hosts: VerdictObject::of_all(&change.verdicts, change.best.as_ref()),
                ..ChangeObject::new(change.would, change.already)
            };
            return Ok(Json(object).into_response());
        }
        if let Some((vm, kinds)) = of
            && let Some(operation) = self.begun()
        {
            return again(operation, vm, kinds);
        }
        Ok(answer(self.desk.wish(wish).await?))
    }

    /// What a request of the same number has begun.
    fn begun(&self) -> Option<OperationObject> {
        let all = operations_of(&self.desk.now());
        all.into_iter().find(|operation| operation.id == self.wisher.id)
    }
}

/// Answers a request whose number has begun an operation already.
fn again(operation: OperationObject, vm: &VmName, kinds: &[&str]) -> Result<Response, Problem> {
    let (kind, of) = (operation.kind.clone(), operation.vm.clone());
    if of != vm.as_str() || !kinds.contains(&kind.as_str()) {
        let detail = format!("this `Idempotency-Key` is that of `{kind}` of {of}; draw one for each request");
        return Err(Problem::new("key-reused", detail));
    }
    let sentence = format!("`{kind}` of {of} was begun by this request already");
    let object = ChangeObject {
        operation: Some(operation),
        ..ChangeObject::new(sentence, true)
    };
    Ok((StatusCode::ACCEPTED, Json(object)).into_response())
}

/// Answers what became of a wish.
fn answer(change: Change) -> Response {
    let goes_on = |operation: &OperationRecord| operation.state == OperationState::Running;
    let status = match &change.operation {
        Some(operation) if goes_on(operation) => StatusCode::ACCEPTED,
        _ => StatusCode::OK,
    };
    let object = ChangeObject {
        operation: change.operation.as_ref().map(OperationObject::from),
        ..ChangeObject::new(change.sentence, change.already)
    };
    (status, Json(object)).into_response()
}

/// The whole body of a request.
async fn whole(request: Request, desk: &Desk) -> Result<Bytes, Problem> {
    Bytes::from_request(request, desk).await.map_err(|error| {
        if error.status() == StatusCode::PAYLOAD_TOO_LARGE {
            let detail = format!("a request has at most {REQUEST_BYTES_MAX} bytes");
            return Problem::new("too-large", detail);
        }
        Problem::new("bad-request", error.body_text())
    })
}

/// What a body says; one that is not there says nothing.
fn read<B: DeserializeOwned>(headers: &HeaderMap, body: &[u8]) -> Result<B, Problem> {
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.map(|kind| kind.to_str().unwrap_or_default());
    let essence = kind.map(|kind| kind.split(';').next().unwrap_or_default().trim());
    let text = match essence {
        None if body.is_empty() => b"{}",
        Some(kind) if kind.eq_ignore_ascii_case("application/json") => body,
        _ => {
            let detail = "the body is JSON, and its `Content-Type` is application/json";
            return Err(Problem::new("not-json", detail));
        }
    };
    serde_json::from_slice(text)
        .map_err(|error| Problem::new("bad-request", format!("the body makes no sense: {error}")))
}

/// The generation that `If-Match` names.
fn generation(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(tag) = headers.get(header::IF_MATCH) else {
        return Ok(None);
    };
    let tag = tag.to_str().unwrap_or_default().trim();
    if tag == "*" {
        return Ok(None);
    }
    let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    let number = number.and_then(|number| number.parse().ok());
    let detail = "`If-Match` is the `ETag` of the settings as they were read, such as \"12\"";
    number
        .map(Some)
        .ok_or_else(|| Problem::new("bad-request", detail))
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

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(default, deny_unknown_fields)]
    struct Said {
        to: Option<String>,
    }

    fn said(kind: Option<&'static str>, body: &str) -> Result<Said, (u16, String)> {
        let mut headers = HeaderMap::new();
        if let Some(kind) = kind {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        read(&headers, body.as_bytes()).map_err(|problem| (problem.status, problem.code))
    }

    #[test]
    fn a_body_may_be_left_out_and_is_json_otherwise() {
        assert_eq!(said(None, ""), Ok(Said::default()));
        for kind in ["application/json", "Application/JSON; charset=utf-8"] {
            let to = Some("b".to_owned());
            assert_eq!(said(Some(kind), "{\"to\":\"b\"}"), Ok(Said { to }));
        }
        let refusals = [
            (None, "{}", 415, "not-json"),
            (Some("text/plain"), "{}", 415, "not-json"),
            (Some("application/json"), "", 400, "bad-request"),
            (Some("application/json"), "{", 400, "bad-request"),
            (Some("application/json"), "{\"too\":1}", 400, "bad-request"),
        ];
        for (kind, body, status, code) in refusals {
            assert_eq!(
                said(kind, body),
                Err((status, code.to_owned())),
                "{kind:?} {body}"
            );
        }
    }
}
