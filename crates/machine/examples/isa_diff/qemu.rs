//! Runs QEMU's `virt` board with the same features as our hart, as a process of its own.
//!
//! `both` gives it images of random programs, `guest` a Linux. QEMU never outlives a run: one that is silent
//! for too long is killed.

use std::{
    error::Error,
    ffi::OsStr,
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc,
    time::Duration,
};

/// QEMU's bare hart with exactly the extensions that ours has. Each of QEMU's named models brings more.
pub const CPU: &str = "rv64i,m=true,a=true,f=true,d=true,c=true,s=true,u=true,zicsr=true,zifencei=true,\
     zicntr=true,zihpm=true,b=true,zba=true,zbb=true,zbs=true,zicond=true,zicbom=true,zicboz=true,\
     cbom_blocksize=64,cboz_blocksize=64,svinval=true,svnapot=true,sstc=true,svadu=true,svade=true,mmu=true,\
     pmp=true,sv39=true,sv48=true,debug=false,pmu-mask=0xfffffff8";

/// How long the guest may be silent before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs QEMU with these images and so many bytes of memory; returns the lines on the guest's console.
pub fn run(program: &str, arguments: &[(&str, &OsStr)], memory: u64) -> Result<Vec<String>, Box<dyn Error>> {
    let mut child = Command::new(program)
        .args(["-M", "virt", "-smp", "2", "-display", "none", "-monitor", "none"])
        .args(["-serial", "stdio", "-no-reboot", "-cpu", CPU, "-m"])
        .arg(format!("{}M", memory >> 20))
        .args(
            arguments
                .iter()
                .flat_map(|&(option, value)| [option.as_ref(), value]),
        )
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("cannot start {program}: {error}"))?;
    let Some(output) = child.stdout.take() else {
        return Err("QEMU has no output".into());
    };
    let (sender, receiver) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let mut lines = Vec::new();
    let hung = loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(line) => lines.push(line),
            Err(mpsc::RecvTimeoutError::Disconnected) => break false,
            Err(mpsc::RecvTimeoutError::Timeout) => break true,
        }
    };
    if hung {
        child.kill()?;
    }
    let status = child.wait()?;
    if reader.join().is_err() {
        return Err("the thread that reads QEMU's output failed".into());
    }
    if !hung && !status.success() {
        return Err(format!("QEMU ended with {status}").into());
    }
    Ok(lines)
}
