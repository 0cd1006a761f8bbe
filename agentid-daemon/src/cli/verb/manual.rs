//! `agentid manual`, for those who pack it.

use std::{io, path::Path};

use clap::CommandFactory as _;

use crate::cli::{args::Arguments, exit, failure::Failure};

pub fn run(folder: &Path) -> Result<u8, Failure> {
    write(folder).map_err(|error| {
        let message = format!("write the manual into {}: {error}", folder.display());
        Failure::new(message, exit::FAILURE, "name a folder that is there, and has room")
    })?;
    Ok(exit::SUCCESS)
}

/// A page for the command, and one for each verb.
pub fn write(folder: &Path) -> io::Result<()> {
    clap_mangen::generate_to(Arguments::command(), folder)
}
