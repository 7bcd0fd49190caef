//! `release`: a person says that the owner of a VM's last epoch is surely off. The record is closed at the
//! site's arbiter, by this agent, whichever host the VM ran on; nothing of that is an operation.

use arbiter::{Place, Process};
use axum::{Extension, Json};
use messages::vm_name::VmName;
use plan::limits::STALE_REMOTE;
use serde::Deserialize;
use utoipa::ToSchema;

use super::asking::{Asked, ChangeQuery, Given, Named, VmNameSchema};
use super::desk::Caller;
use super::types::ChangeObject;
use crate::limits::RELEASE_PATIENCE;
use crate::releasing::{NotReleased, Releasable, releasable, release as close};
use controller::scene::SceneVm;
use controller::wishes;
use membership::problem::{OfRelease, Problem};

/// Which record of the arbiter is closed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Release {
    /// The epoch whose record is to be closed, which must be the VM's last one.
    epoch: u64,
}

/// Close the record of a VM whose host is surely off
///
/// It is refused while a process of the VM answers. With `dry_run` the sentence says where the record has the
/// VM run.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/release",
    tag = "wishes",
    params(("vm" = VmNameSchema, Path, description = "Name of the VM"), ChangeQuery),
    request_body = Release,
    responses((status = 200, description = "The record is closed", body = ChangeObject), OfRelease)
)]
pub async fn release(
    Extension(caller): Extension<Caller>,
    name: Named,
    Asked(query): Asked<ChangeQuery>,
    Given(desk, given): Given<Release>,
) -> Result<Json<ChangeObject>, Problem> {
    let vm = name.vm()?;
    desk.look_around().await;
    let scene = desk.now();
    let (found, _) = wishes::find(&scene, &vm)?;
    let answers = answering(found);
    let by = format!("{} on {}", caller.name, scene.me);
    let (place, name) = (desk.arbiter.clone(), vm.clone());
    let asked =
        tokio::task::spawn_blocking(move || ask(&place, &name, (given.epoch, query.dry_run), answers, by));
    let away = || {
        let detail = "the site's arbiter does not answer; `lockstep status` shows what became of the record";
        Problem::new("arbiter-away", detail)
    };
    let asked = tokio::time::timeout(RELEASE_PATIENCE, asked)
        .await
        .map_err(|_| away())?;
    let asked = asked.map_err(|error| Problem::new("bug", error.to_string()))?;
    let (change, released) = asked?;
    if let Some(epoch) = released {
        // Whoever starts the VM next goes by what the store says of its end.
        desk.wish(|scene| wishes::ended(scene, &vm, epoch)).await?;
    }
    Ok(Json(change))
}

/// Which process of a VM answers that has its memory, with its host; `None`: none does.
fn answering(vm: &SceneVm) -> Option<String> {
    let seen = &vm.vm.seen;
    let views = [&seen.here, &seen.elsewhere, &seen.member].into_iter().flatten();
    let mut views = views.filter(|view| {
        let process = &view.process;
        process.role.is_some() && !process.is_over() && view.age <= STALE_REMOTE
    });
    views.next().map(|view| {
        let what = if view.process.is_live() {
            "process"
        } else {
            "backup"
        };
        format!("its {what} on {} answers", view.host)
    })
}

/// Asks the arbiter, and has it close the record unless that is only looked at; gives the epoch that it has
/// closed.
fn ask(
    place: &Place,
    vm: &VmName,
    (epoch, is_dry_run): (u64, bool),
    answers: Option<String>,
    by: String,
) -> Result<(ChangeObject, Option<u64>), Problem> {
    let away = |error: arbiter::ArbiterError| Problem::new("arbiter-away", os::error::chain(&error));
    let mut arbiter = place.open(Process::here(None)).map_err(away)?;
    let looked = releasable(&mut *arbiter, vm, epoch);
    let (sentence, already, released) = match looked {
        Err(NotReleased::Arbiter(error)) => return Err(away(error)),
        Err(error) => return Err(Problem::new("not-now", error.to_string())),
        Ok(Releasable::Already(why)) => {
            let sentence = format!("epoch {epoch} of {vm} is closed already: {why}");
            // An earlier request may have closed it and not have come to write that down.
            (sentence, true, (!is_dry_run).then_some(epoch))
        }
        Ok(Releasable::Open(_)) if answers.is_some() => {
            let answers = answers.unwrap_or_default();
            let detail = format!(
                "{vm} runs as epoch {epoch}, and {answers}; `lockstep stop {vm}` switches it off; nothing \
                 was changed"
            );
            return Err(Problem::new("not-now", detail));
        }
        Ok(Releasable::Open(record)) if is_dry_run => (record.whereabouts(), false, None),
        Ok(Releasable::Open(record)) => {
            close(&mut *arbiter, &record, by).map_err(away)?;
            let sentence =
                format!("epoch {epoch} of {vm} is released; `lockstep start {vm}` starts it again");
            (sentence, false, Some(epoch))
        }
    };
    let change = ChangeObject {
        dry_run: is_dry_run,
        ..ChangeObject::new(sentence, already)
    };
    Ok((change, released))
}
