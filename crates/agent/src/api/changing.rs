//! Requests that change something: each is a wish about a VM or a host (`wishes`), or ends what somebody has
//! begun.

use axum::response::Response;
use serde::Deserialize;
use utoipa::ToSchema;

use super::asking::{Asking, ChangeHeaders, ChangeQuery, Commented, Named, VmNameSchema as VmName};
use super::types::ChangeObject;
use controller::records::{PowerWord, ProtectionWord};
use controller::scene::Scene;
use controller::wishes::{self, Deed, Wisher};
use membership::problem::{OfChange, OfHost, OfOperation, OfTest, OfVmChange, Problem};

/// What the answers of all changes are.
macro_rules! bodies {
    ($($body:ty),+) => {
        $(impl Commented for $body {
            fn comment(&self) -> &str {
                &self.comment
            }
        })+
    };
}

bodies!(
    CommentBody,
    DeedBody,
    MoveBody,
    TestBody,
    CreationBody,
    PowerBody,
    ProtectionBody,
    DrainBody,
    SettingsBody
);

/// What a change says that needs no more than a reason. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CommentBody {
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    comment: String,
}

/// What is done with a VM that runs. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DeedBody {
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    comment: String,
    /// Name of the host that is meant; null: whichever suits the VM best.
    to: Option<String>,
}

/// Where a VM is to run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoveBody {
    /// Name of the host on which the VM is to run.
    to: String,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    #[serde(default)]
    comment: String,
}

/// How a half of a VM is killed for a test. The body may be left out.
#[derive(Default, Deserialize, ToSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TestBody {
    /// Whether the test is made even if no third host could take a new backup.
    anyway: bool,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    comment: String,
}

/// A VM that is to be one of the site's.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreationBody {
    /// The text of `VM.toml` with the VM's name in it. Its paths are whole, and those of the host that starts
    /// the VM; arbiter, key and backup are the site's business and left out.
    #[schema(example = "name = \"shop\"\nmemory = \"512M\"\n")]
    toml: String,
    /// Whether the VM shall have a backup; left out: it shall.
    #[serde(default = "on")]
    protection: ProtectionWord,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    #[serde(default)]
    comment: String,
}

fn on() -> ProtectionWord {
    ProtectionWord::On
}

/// Whether a guest shall run.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerBody {
    /// Whether the guest shall run, stand, or be off.
    wanted: PowerWord,
    /// With `off`: the guest's plug is pulled, instead of asking the guest to switch off.
    #[serde(default)]
    hard: bool,
    /// With `on`: name of the host on which the VM is started; null: where it ran last, or this one.
    #[serde(default)]
    on: Option<String>,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    #[serde(default)]
    comment: String,
}

/// Whether a VM shall have a backup.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProtectionBody {
    /// Whether the VM shall have a backup, none for now, or none.
    wanted: ProtectionWord,
    /// With `on`: name of the host that is to have the backup; null: whichever suits the VM best.
    #[serde(default)]
    to: Option<String>,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    #[serde(default)]
    comment: String,
}

/// Whether a host is to be emptied.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DrainBody {
    /// With `true` the host's VMs go to other hosts and none new comes; with `false` VMs may come again.
    wanted: bool,
    /// Why it is wished, in the caller's words, for whoever looks at the host later.
    #[serde(default)]
    comment: String,
}

/// Make a VM one of the site's, or change its settings
///
/// The VM is known on every host of the site from now on. A VM that is new is off until somebody wants it to
/// run. The settings of one that is there take effect when it is started the next time.
#[utoipa::path(
    post,
    path = "/v1/vms",
    tag = "wishes",
    params(ChangeQuery, ChangeHeaders),
    request_body = CreationBody,
    responses(
        (status = 200, description = "The VM is one of the site's",
            body = ChangeObject),
        OfChange
    )
)]
pub async fn create(asking: Asking<CreationBody>) -> Result<Response, Problem> {
    let (given, read_vm) = (&asking.body, asking.desk().read_vm);
    let create = |scene: &Scene, wisher: &Wisher| {
        wishes::create(scene, &given.toml, read_vm, given.protection, wisher).map(|(_, change)| change)
    };
    asking.make(None, create).await
}

/// Have a VM be none of the site's any more
///
/// The VM must be off. Its settings are forgotten, and its disks stay as they are.
#[utoipa::path(
    delete,
    path = "/v1/vms/{vm}",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<CommentBody>,
    responses(
        (status = 200, description = "The VM is none of the site's",
            body = ChangeObject),
        OfVmChange
    )
)]
pub async fn delete(name: Named, asking: Asking<CommentBody>) -> Result<Response, Problem> {
    let name = name.vm()?;
    asking.make(None, |scene, _| wishes::delete(scene, &name)).await
}

/// The settings that a VM shall have.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingsBody {
    /// The text of `VM.toml` with the VM's own name in it; its comments are kept.
    #[schema(example = "name = \"shop\"\nmemory = \"512M\"\n")]
    toml: String,
    /// Whether the VM shall have a backup; null: as it is wanted already.
    #[serde(default)]
    protection: Option<ProtectionWord>,
    /// Why it is wished, in the caller's words, for whoever looks at the VM later.
    #[serde(default)]
    comment: String,
}

/// Change a VM's settings
///
/// They take effect when the VM is started the next time; the answer names those that differ. With `If-Match`
/// and the `ETag` of the settings as they were read, settings that somebody else has changed since are left
/// as they are.
#[utoipa::path(
    put,
    path = "/v1/vms/{vm}/settings",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ("If-Match" = Option<String>, Header, description = "The generation that the settings must have, in \
            quotes; left out: any", example = "\"12\""),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = SettingsBody,
    responses((status = 200, description = "The settings are as they are wished", body = ChangeObject),
        OfVmChange)
)]
pub async fn change_settings(name: Named, asking: Asking<SettingsBody>) -> Result<Response, Problem> {
    let (name, given, read_vm) = (name.vm()?, &asking.body, asking.desk().read_vm);
    let settings = |scene: &Scene, wisher: &Wisher| {
        let wished = wishes::Settings {
            toml: &given.toml,
            protection: given.protection,
            generation: asking.generation,
        };
        wishes::settings(scene, &name, &wished, read_vm, wisher)
    };
    asking.make(None, settings).await
}

/// Wish whether a VM's guest runs
///
/// The wish lasts: a VM that is wanted to run is booted again if all its processes have died.
#[utoipa::path(
    put,
    path = "/v1/vms/{vm}/power",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = PowerBody,
    responses(
        (status = 200, description = "It is so already, or nothing goes on from here", body = ChangeObject),
        (status = 202, description = "An operation has begun", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn power(name: Named, asking: Asking<PowerBody>) -> Result<Response, Problem> {
    let (name, given) = (name.vm()?, &asking.body);
    let on = given.on.as_deref();
    let power =
        |scene: &Scene, wisher: &Wisher| wishes::power(scene, &name, given.wanted, given.hard, on, wisher);
    asking.make(Some((&name, &["start", "stop"])), power).await
}

/// Wish whether a VM has a backup
///
/// The wish lasts: a VM that is wanted to be protected gets a backup as soon as a host can hold one.
#[utoipa::path(
    put,
    path = "/v1/vms/{vm}/protection",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = ProtectionBody,
    responses(
        (status = 200, description = "It is so already, or nothing goes on from here", body = ChangeObject),
        (status = 202, description = "An operation has begun", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn protection(name: Named, asking: Asking<ProtectionBody>) -> Result<Response, Problem> {
    let (name, given) = (name.vm()?, &asking.body);
    let protection = |scene: &Scene, wisher: &Wisher| {
        wishes::protection(scene, &name, given.wanted, given.to.as_deref(), wisher)
    };
    let of = Some((&name, ["protect", "unprotect"].as_slice()));
    match given.wanted {
        ProtectionWord::On => asking.make(of, protection).await,
        // Protection is given up, perhaps just because another host hangs: nobody waits for its news.
        ProtectionWord::Suspended | ProtectionWord::Off => asking.make_as_seen(of, protection).await,
    }
}

async fn do_deed<B>(name: Named, asking: &Asking<B>, word: &str, deed: &Deed) -> Result<Response, Problem> {
    let name = name.vm()?;
    let wish = |scene: &Scene, wisher: &Wisher| wishes::deed(scene, &name, deed, wisher);
    asking.make(Some((&name, &[word])), wish).await
}

/// Have the two sides of a VM change their roles
///
/// The backup goes on with the guest, and the host where it ran holds its backup.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/failover",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<CommentBody>,
    responses(
        (status = 200, description = "It is so already, or nothing goes on from here", body = ChangeObject),
        (status = 202, description = "An operation has begun", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn failover(name: Named, asking: Asking<CommentBody>) -> Result<Response, Problem> {
    do_deed(name, &asking, "failover", &Deed::Failover).await
}

/// Move a VM to another host
///
/// Its backup goes there first, and then the two sides change their roles: the VM has a backup all the time.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/move",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = MoveBody,
    responses(
        (status = 200, description = "It is so already, or nothing goes on from here", body = ChangeObject),
        (status = 202, description = "An operation has begun", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn move_vm(name: Named, asking: Asking<MoveBody>) -> Result<Response, Problem> {
    let deed = Deed::Move(asking.body.to.clone());
    do_deed(name, &asking, "move", &deed).await
}

/// Move a VM's backup to another host
///
/// The new backup is made beside the old one: the VM has a backup all the time.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/move-backup",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<DeedBody>,
    responses(
        (status = 200, description = "It is so already, or nothing goes on from here", body = ChangeObject),
        (status = 202, description = "An operation has begun", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn move_backup(name: Named, asking: Asking<DeedBody>) -> Result<Response, Problem> {
    let deed = Deed::MoveBackup(asking.body.to.clone());
    do_deed(name, &asking, "move-backup", &deed).await
}

/// Press a VM's reset button
///
/// The guest boots anew and loses what it has not written to its disks.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/reset",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<CommentBody>,
    responses(
        (status = 202, description = "An operation has begun", body = ChangeObject),
        (status = 200, description = "With `dry_run`: the operation would begin", body = ChangeObject),
        OfVmChange
    )
)]
pub async fn reset(name: Named, asking: Asking<CommentBody>) -> Result<Response, Problem> {
    do_deed(name, &asking, "reset", &Deed::Reset).await
}

/// Kill the process that runs a VM, to see that its backup goes on
///
/// It is killed as if its host had died (SIGKILL). The operation ends when the VM is protected again.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/test-failover",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<TestBody>,
    responses(
        (status = 202, description = "An operation has begun", body = ChangeObject),
        (status = 200, description = "With `dry_run`: the operation would begin", body = ChangeObject),
        OfTest
    )
)]
pub async fn test_failover(name: Named, asking: Asking<TestBody>) -> Result<Response, Problem> {
    let anyway = asking.body.anyway;
    let of_owner = true;
    do_deed(name, &asking, "test failover", &Deed::Test { of_owner, anyway }).await
}

/// Kill the process that is a VM's backup, to see that the VM gets another one
///
/// It is killed as if its host had died (SIGKILL). The operation ends when the VM is protected again.
#[utoipa::path(
    post,
    path = "/v1/vms/{vm}/test-backup",
    tag = "wishes",
    params(
        ("vm" = VmName, Path, description = "Name of the VM"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<TestBody>,
    responses(
        (status = 202, description = "An operation has begun", body = ChangeObject),
        (status = 200, description = "With `dry_run`: the operation would begin", body = ChangeObject),
        OfTest
    )
)]
pub async fn test_backup(name: Named, asking: Asking<TestBody>) -> Result<Response, Problem> {
    let anyway = asking.body.anyway;
    let of_owner = false;
    do_deed(name, &asking, "test backup", &Deed::Test { of_owner, anyway }).await
}

/// Have a host emptied, or take VMs again
///
/// VMs that run on a host which is drained move to other hosts, one after the other, and no new one comes.
#[utoipa::path(
    put,
    path = "/v1/hosts/{host}/drain",
    tag = "wishes",
    params(
        ("host" = String, Path, description = "Name of the host"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = DrainBody,
    responses(
        (status = 200, description = "The wish is put down, and `/v1/hosts` shows what the host still holds",
            body = ChangeObject),
        OfHost
    )
)]
pub async fn drain(host: Named, asking: Asking<DrainBody>) -> Result<Response, Problem> {
    let wanted = asking.body.wanted;
    let drain = |scene: &Scene, wisher: &Wisher| wishes::drain(scene, &host.0, wanted, wisher);
    asking.make(None, drain).await
}

/// End an operation
///
/// It is not gone on with. What its present step does is done.
#[utoipa::path(
    delete,
    path = "/v1/operations/{id}",
    tag = "wishes",
    params(
        ("id" = String, Path, description = "Number of the operation"),
        ChangeQuery,
        ChangeHeaders
    ),
    request_body = Option<CommentBody>,
    responses(
        (status = 200, description = "The operation is cancelled, or has ended before",
            body = ChangeObject),
        OfOperation
    )
)]
pub async fn cancel(id: Named, asking: Asking<CommentBody>) -> Result<Response, Problem> {
    asking.make(None, |scene, _| wishes::cancel(scene, &id.0)).await
}
