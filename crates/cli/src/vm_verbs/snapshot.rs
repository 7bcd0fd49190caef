//! `snapshot`: a running VM's memory and devices in a file. The VM's process sends the file over its control
//! socket, which agents pass on from another host of the site, and here it is written; whatever becomes of
//! this program, the VM does not notice.

use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::Result;
use caller::{CallError, Caller, Hook, Taken, VerbError};
use report::amount;
use serde::Serialize;

use crate::args::SnapshotArgs;
use crate::draft::Draft;
use crate::site::Site;
use crate::spec;
use terminal::Line;

/// Takes a snapshot of a VM that runs.
pub fn snapshot(args: &SnapshotArgs) -> Result<ExitCode> {
    let (vm, path) = (&args.name, args.file.display());
    let site = Site::of(vm)?;
    let process = || caller::process(&spec::local_directory(), vm);
    if site.is_none() {
        process()?;
    }
    if args.file.exists() && !args.replace {
        let sentence =
            format!("{path} is there already; give `--replace` or another name; nothing was changed");
        return Err(VerbError::Refused(sentence).into());
    }
    let cannot = |error| anyhow::anyhow!("cannot write {path}: {error}; nothing was changed");
    let mut draft = Draft::make(&args.file).map_err(cannot)?;
    let mut line = Line::about(vm)?;
    let mut shell = args.disks_hook.as_ref().map(|command| Shell {
        command: command.clone(),
        vm: vm.as_str().to_owned(),
        child: None,
    });
    let hook = shell.as_mut().map(|shell| shell as &mut dyn Hook);
    let watch = &mut |text: &str| line.show(text);
    let taken = match site {
        None => caller::snapshot(&process()?, hook, draft.file(), watch),
        Some(site) => {
            let asked = format!("/v1/vms/{vm}/snapshot?hook={}", hook.is_some());
            let caller = Caller::over(vm.as_str(), site.lead_on(&asked)?);
            caller::snapshot_over(caller, hook, draft.file(), watch).map_err(cut_off)
        }
    };
    line.clear();
    let Some(taken) = taken? else {
        tell!("lockstep: stopped; no snapshot of {vm} was kept, and its guest runs on");
        return Ok(ExitCode::FAILURE);
    };
    draft.keep(args.replace).map_err(cannot)?;
    report(args, &taken)?;
    Ok(ExitCode::SUCCESS)
}

/// What a connection that has ended means, where it leads through agents.
fn cut_off(error: VerbError) -> VerbError {
    match error {
        VerbError::Call(CallError::Ended(vm)) => VerbError::Failed(format!(
            "the connection to the process of {vm} has ended: the process has, or an agent between here and \
             there; nothing was kept"
        )),
        error => error,
    }
}

/// The result for programs.
#[derive(Serialize)]
struct Kept<'a> {
    vm: &'a str,
    file: String,
    #[serde(flatten)]
    taken: &'a Taken,
    disks_kept: bool,
}

fn report(args: &SnapshotArgs, taken: &Taken) -> Result<()> {
    let (vm, file) = (&args.name, args.file.display().to_string());
    let disks_kept = args.disks_hook.is_some();
    if args.json {
        let result = Kept {
            vm: vm.as_str(),
            file,
            taken,
            disks_kept,
        };
        say!("{}", serde_json::to_string(&result)?);
        return Ok(());
    }
    let (mib, seconds) = (
        amount::grouped(taken.bytes.div_ceil(1 << 20)),
        taken.took_ms / 1e3,
    );
    say!(
        "{vm}: a snapshot of step {} is in {file} ({mib} MiB, {seconds:.1} s)",
        taken.step
    );
    if taken.disks > 0 && !disks_kept {
        let disks = if taken.disks == 1 { "disk is" } else { "disks are" };
        tell!(
            "lockstep: the VM's {disks} not in it, and must be kept as of the same moment: pause the VM \
             meanwhile, or give `--disks-hook COMMAND`"
        );
    }
    Ok(())
}

/// A command of the operator's shell that keeps the guest's disks.
struct Shell {
    command: String,
    vm: String,
    /// The command, while it runs.
    child: Option<Child>,
}

impl Hook for Shell {
    fn begin(&mut self, step: u64) -> std::result::Result<(), String> {
        let child = Command::new("sh")
            .arg("-c")
            .arg(&self.command)
            .env("LOCKSTEP_VM", &self.vm)
            .env("LOCKSTEP_STEP", step.to_string())
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .spawn();
        let child = child.map_err(|error| format!("`--disks-hook` cannot be run: {error}"))?;
        self.child = Some(child);
        Ok(())
    }

    fn is_done(&mut self) -> std::result::Result<bool, String> {
        let Some(child) = &mut self.child else {
            return Ok(true);
        };
        let status = child
            .try_wait()
            .map_err(|error| format!("`--disks-hook` cannot be waited for: {error}"))?;
        let Some(status) = status else { return Ok(false) };
        self.child = None;
        if status.success() {
            return Ok(true);
        }
        Err(format!(
            "`--disks-hook` has failed ({status}); no snapshot was kept, and the guest runs on"
        ))
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // The VM waits no longer for it, or nobody wants the snapshot any more.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
