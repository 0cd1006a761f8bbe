//! `agentid doctor`

use std::{io, path::Path};

use crate::{
    cli::{
        args::Doctor,
        doctor::{Report, look, text},
        exit,
        failure::Failure,
        render,
        table::room,
    },
    control::client::Client,
};

pub fn run(socket: &Path, arguments: &Doctor) -> Result<u8, Failure> {
    let report = Report::from(look(socket, &arguments.config, &Client::new(socket)?));
    if arguments.json {
        render::json(&report)?;
    } else {
        render::print(&text(&report, arguments.quiet, room(&io::stdout())))?;
    }
    Ok(if report.healthy { exit::SUCCESS } else { exit::FAILURE })
}
