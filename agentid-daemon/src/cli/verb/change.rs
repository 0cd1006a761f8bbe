//! `agentid suspend`, `resume` and `extend`

use crate::{
    cli::{args::Change, exit, failure::Failure, render, select},
    control::{
        api::{ChangeReply, ChangeRequest, ChangedRun, RunView},
        client::Client,
    },
    supervisor::command::Kind,
};

/// What only one of the verbs says.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    pub by_ms: Option<u64>,
    pub freeze: Option<bool>,
}

pub fn run(client: &Client, kind: Kind, arguments: &Change, how: How) -> Result<u8, Failure> {
    let concerned = |run: &RunView| match kind {
        Kind::Suspend => run.phase == "active",
        Kind::Resume => run.phase == "suspended",
        Kind::Extend => matches!(run.phase.as_str(), "active" | "suspended"),
    };
    if !select::confirmed(client, &arguments.selection, kind.name(), concerned)? {
        return Ok(exit::SUCCESS);
    }
    let request = ChangeRequest {
        select: select::selector(&arguments.selection.runs)?,
        reason: arguments.reason.clone(),
        by_ms: how.by_ms,
        freeze: how.freeze,
    };
    let reply: ChangeReply = client.post(&format!("/v1/{}", kind.name()), &request)?;
    render::answer(arguments.output, &reply, || text(kind, &reply))?;
    let left: Vec<&ChangedRun> = reply.runs.iter().filter(|run| run.error.is_some()).collect();
    if arguments.output.quiet {
        left.iter().for_each(|run| eprintln!("agentid: {}", line(kind, run)));
    }
    let done = left.is_empty();
    Ok(if done { exit::SUCCESS } else { exit::PARTIAL })
}

/// One line for each run, and a sum when there are several.
pub fn text(kind: Kind, reply: &ChangeReply) -> String {
    let mut text: String = reply.runs.iter().map(|run| line(kind, run) + "\n").collect();
    let done = reply.runs.iter().filter(|run| run.error.is_none()).count();
    if reply.runs.len() != 1 {
        text += &format!("{done} of {} {}\n", select::number(reply.runs.len()), past(kind));
    }
    text
}

fn line(kind: Kind, run: &ChangedRun) -> String {
    let name = format!("{}  {} for {}, {}", run.id, run.agent, run.owner, run.task);
    let name = render::clean(&name);
    match (&run.error, kind) {
        (Some(error), _) => {
            let (message, help) = (render::clean(&error.message), render::clean(&error.remedy));
            format!("not {} {name}: {message}\n  help: {help}", past(kind))
        }
        (None, Kind::Extend) => {
            format!("extended {name}: until {}", render::moment(run.deadline_ms))
        }
        (None, _) => format!("{} {name}", past(kind)),
    }
}

const fn past(kind: Kind) -> &'static str {
    match kind {
        Kind::Suspend => "suspended",
        Kind::Resume => "resumed",
        Kind::Extend => "extended",
    }
}
