//! `agentid status`

use std::io;

use crate::{
    cli::{
        args::Quiet,
        exit,
        failure::Failure,
        render, select,
        table::{Column, room, table},
    },
    control::{api::StatusReply, client::Client},
    instance::Posture,
};

pub fn run(client: &Client, arguments: &Quiet) -> Result<u8, Failure> {
    let status: StatusReply = client.get("/v1/status")?;
    if arguments.json {
        render::json(&status)?;
    } else if !arguments.quiet {
        render::print(&text(&status, room(&io::stdout())))?;
    }
    Ok(if status.posture == ENFORCING { exit::SUCCESS } else { exit::FAILURE })
}

/// The only posture in which all that is promised is enforced.
const ENFORCING: &str = Posture::NAMES[0];

const POLICIES: [Column; 4] = [
    Column::names("POLICY"),
    Column::new("VERSION").spare(2),
    Column::names("PARAMETERS"),
    Column::names("DESCRIPTION").spare(1),
];

/// What is wanted of this host beside what it gives.
pub fn text(status: &StatusReply, room: Option<usize>) -> String {
    let posture = match &status.why {
        Some(why) => format!("{}: {why}", status.posture),
        None => status.posture.clone(),
    };
    let needed = || status.hooks.iter().filter(|hook| hook.needed);
    let (attached, needed_now) = (needed().filter(|hook| hook.attached).count(), needed().count());
    let idle = match status.hooks.len() - needed_now {
        0 => String::new(),
        idle => format!("; {idle} more when a run needs them"),
    };
    let mut text = render::list(&[
        ("posture", posture),
        (
            "runs",
            format!(
                "{} active, {} suspended, {} stopping, {} slots",
                status.active, status.suspended, status.stopping, status.slots
            ),
        ),
        ("hooks", format!("{attached} of {needed_now} attached{idle}")),
        (
            "daemon",
            format!("version {}, up since {}", status.version, render::moment(status.started_ms)),
        ),
    ]);
    for hook in needed().filter(|hook| !hook.attached) {
        let why = hook.why_not.as_deref().unwrap_or("unknown");
        text += &format!("  {} is not attached: {}\n", hook.name, render::clean(why));
    }
    for mistake in &status.policy_mistakes {
        text += &format!("  policies stay as they were: {}\n", render::clean(mistake));
    }
    if status.unsaved > 0 {
        let runs = select::number(usize::try_from(status.unsaved).unwrap_or(usize::MAX));
        text += &format!(
            "  the disk does not take the records of {runs}, which is tried again every second\n"
        );
    }
    for denied in &status.denied_owners {
        let reason = denied.reason.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        let (uid, at) = (denied.by_uid, render::moment(denied.at_ms));
        let line = format!("{} has no launches, by uid {uid} at {at}{reason}", denied.owner);
        text += &format!("  {}\n", render::clean(&line));
    }
    text.push('\n');
    let policies: Vec<Vec<String>> = status
        .policies
        .iter()
        .map(|policy| {
            let description = policy.description.clone().unwrap_or_default();
            vec![policy.name.clone(), policy.digest.clone(), policy.params.join(" "), description]
        })
        .collect();
    text += &table(&POLICIES, &policies, room);
    text.push('\n');
    let maps: Vec<Vec<String>> = status
        .maps
        .iter()
        .map(|map| vec![map.name.clone(), map.entries.to_string(), map.capacity.to_string()])
        .collect();
    text + &table(&["MAP", "ENTRIES", "CAPACITY"].map(Column::new), &maps, room)
}
