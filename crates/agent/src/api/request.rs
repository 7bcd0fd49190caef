//! What several routes take out of a request: the name in its path, and a body that it must have. Nothing
//! here looks whether there is a VM of that name.

use axum::Json;
use axum::extract::rejection::JsonRejection;
use messages::vm_name::VmName;

use super::problem::Problem;

/// The VM's name in a path.
pub fn vm_name(name: &str) -> Result<VmName, Problem> {
    VmName::new(name).map_err(|error| Problem::new("bad-request", error.to_string()))
}

/// The body of a request that must have one.
pub fn needed<T>(body: Result<Json<T>, JsonRejection>) -> Result<T, Problem> {
    body.map(|Json(body)| body)
        .map_err(|error| Problem::new("bad-request", error.body_text()))
}
