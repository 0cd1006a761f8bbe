//! `agentid completions`

use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::cli::{args::Arguments, exit, failure::Failure, render};

pub fn run(shell: Shell) -> Result<u8, Failure> {
    render::print(&text(shell))?;
    Ok(exit::SUCCESS)
}

/// A script for the shell to read.
pub fn text(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "agentid", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}
