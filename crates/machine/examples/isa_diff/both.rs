//! One image on both machines: ours in this process, QEMU's as a process of its own.
//!
//! `main` compares what each printed, `report` narrows a difference down. Nothing here judges.

use std::error::Error;

use hart::Translate;
use isa_programs::{Program, image, layout::RAM_BYTES};

use crate::{Options, bare, qemu};

/// The programs that end, and what each machine printed for them.
pub struct Both {
    pub programs: Vec<Program>,
    /// One line of our machine for each program.
    pub ours: Vec<String>,
    /// One line of QEMU for each program, up to one that hangs.
    pub theirs: Vec<String>,
    /// How many programs do not end, and were left out.
    pub hung: usize,
}

/// Runs the programs on both machines. Those that do not end on ours are taken out first.
pub fn run(options: &Options, mut programs: Vec<Program>) -> Result<Both, Box<dyn Error>> {
    let mut ours: Vec<String> = Vec::new();
    let mut hung = 0;
    while ours.len() < programs.len() {
        let image = image(&programs[ours.len()..], false);
        let run = bare::run(&image, RAM_BYTES, how(options));
        ours.extend(run.lines);
        if !run.hung {
            break;
        }
        programs.remove(ours.len());
        hung += 1;
    }
    let theirs = theirs(options, &image(&programs, false))?;
    Ok(Both {
        programs,
        ours,
        theirs,
        hung,
    })
}

/// How many characters a hash has, which is followed by the number of instructions.
const HASH: usize = 16;

/// What both print for programs with all their traps and registers.
pub struct Verbose {
    pub ours: Vec<String>,
    pub theirs: Vec<String>,
}

impl Verbose {
    /// Runs the programs on both machines.
    pub fn new(options: &Options, programs: &[Program]) -> Result<Verbose, Box<dyn Error>> {
        let image = image(programs, true);
        let mut ours = bare::run(&image, RAM_BYTES, how(options)).lines;
        let mut theirs = theirs(options, &image)?;
        for lines in [&mut ours, &mut theirs] {
            for line in lines
                .iter_mut()
                .filter(|line| line.as_bytes().get(HASH) == Some(&b' '))
            {
                line.truncate(HASH); // The number of instructions is not the same everywhere.
            }
        }
        Ok(Verbose { ours, theirs })
    }

    /// Did both do the same?
    pub fn equal(&self) -> bool {
        self.ours == self.theirs
    }
}

fn how(options: &Options) -> bare::How {
    bare::How {
        zeal: options.zeal,
        slices: options.zeal.or(options.clones),
        clones: options.clones,
        translate: Translate::Always,
    }
}

fn theirs(options: &Options, image: &[u8]) -> Result<Vec<String>, Box<dyn Error>> {
    let path = options
        .directory
        .join(format!("isa-diff-{}.bin", std::process::id()));
    std::fs::write(&path, image)?;
    let lines = qemu::run(&options.qemu, &[("-bios", path.as_os_str())], RAM_BYTES);
    std::fs::remove_file(&path)?;
    lines
}
