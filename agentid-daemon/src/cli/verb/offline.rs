//! `agentid revoke --offline`: what an operator has left when the daemon is gone.

use std::{collections::BTreeSet, time::Instant};

use rustix::process::geteuid;

use crate::{
    cli::{args::Revoke, exit, failure::Failure, render, select, verb},
    settings,
    supervisor::{
        run::offline::{Offline, OfflineError},
        step::Actor,
    },
};

pub fn revoke(arguments: &Revoke) -> Result<u8, Failure> {
    let begun = Instant::now();
    let uid = geteuid().as_raw();
    if uid != 0 {
        let message = "the kernel's tables are root's to write";
        return Err(Failure::new(message, exit::FAILURE, "sudo agentid revoke --offline"));
    }
    let settings = settings::read(&arguments.config).map_err(|error| {
        Failure::new(
            error,
            exit::FAILURE,
            "name another with --config; an empty one has every default",
        )
    })?;
    let selection = &arguments.selection;
    // No daemon waits for the answer to a question.
    let listed = |select| Ok(Offline::open(&settings)?.left(&select)?);
    if !select::confirmed_of(selection, "revoke", listed)? {
        return Ok(exit::SUCCESS);
    }
    let by = Actor { uid, reason: arguments.reason.clone() };
    // Who is asked may take his time, which is not the kernel's.
    let begun = if selection.yes || selection.runs.id.is_some() { begun } else { Instant::now() };
    let mut offline = Offline::open(&settings)?;
    let print = |notes: BTreeSet<String>| {
        notes.iter().for_each(|note| eprintln!("agentid: {}", render::clean(note)));
        notes.is_empty()
    };
    print(offline.take_notes());
    let outcome = offline.revoke(&select::selector(&selection.runs)?, arguments.kill, by, begun);
    let all_went_well = print(offline.take_notes());
    let reply = outcome?;
    match (&selection.runs.id, reply.runs.as_slice()) {
        (Some(_), [one]) => verb::revoke::print_one(one, arguments.output)?,
        _ => verb::revoke::print_all(&reply, arguments.output)?,
    }
    Ok(if all_went_well { exit::SUCCESS } else { exit::FAILURE })
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        let remedy = error.remedy();
        Self::new(error, exit::FAILURE, remedy)
    }
}
