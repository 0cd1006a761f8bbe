//! `agentid revoke`

use std::collections::BTreeSet;

use uuid::Uuid;

use crate::{
    cli::{
        args::{Output, Revoke},
        exit,
        failure::Failure,
        render, select,
        table::{self, Column},
    },
    control::{
        api::{
            EndRequest, RevokeAllReply, RevokeAllRequest, RevokeReply, RevokeRequest, RunView,
            SelectRequest, Selector,
        },
        client::{Client, segment},
    },
};

pub fn run(client: &Client, arguments: Revoke) -> Result<u8, Failure> {
    match &arguments.selection.runs.id {
        _ if arguments.own => own(client, &arguments),
        Some(id) => one(client, id, &arguments),
        None => all(client, &arguments),
    }
}

/// The asking run. Where its policy kills there is nobody left to read the answer, and where it denies nobody may: what was
/// asked has come about when the answer is kept from who has asked.
fn own(client: &Client, arguments: &Revoke) -> Result<u8, Failure> {
    let request = EndRequest { reason: arguments.reason.clone() };
    match client.post::<_, RevokeReply>("/v1/self/end", &request) {
        Ok(reply) => print_one(&reply, arguments.output)?,
        Err(error) if error.is_withheld() => {}
        Err(error) => return Err(error.into()),
    }
    Ok(exit::SUCCESS)
}

fn one(client: &Client, id: &str, arguments: &Revoke) -> Result<u8, Failure> {
    let route = format!("/v1/runs/{}/revoke", segment(id));
    let request = RevokeRequest { reason: arguments.reason.clone(), kill: arguments.kill };
    let reply: RevokeReply = client.post(&route, &request)?;
    print_one(&reply, arguments.output)?;
    all_gone(client, std::slice::from_ref(&reply), arguments.kill)
}

fn all(client: &Client, arguments: &Revoke) -> Result<u8, Failure> {
    let over = |phase: &str| arguments.kill && phase == "stopping";
    let concerned =
        |run: &RunView| matches!(run.phase.as_str(), "active" | "suspended") || over(&run.phase);
    if !select::confirmed(client, &arguments.selection, "revoke", concerned)? {
        return Ok(exit::SUCCESS);
    }
    let request = RevokeAllRequest {
        select: select::selector(&arguments.selection.runs)?,
        reason: arguments.reason.clone(),
        kill: arguments.kill,
    };
    let reply: RevokeAllReply = client.post("/v1/revoke", &request)?;
    print_all(&reply, arguments.output)?;
    all_gone(client, &reply.runs, arguments.kill)
}

/// Whether all tasks are gone that are to be killed. Where the policy lets them go on they may be left.
fn all_gone(client: &Client, runs: &[RevokeReply], kill: bool) -> Result<u8, Failure> {
    let not_gone = runs.iter().filter(|run| run.remaining > 0 && run.stopped_after_ms.is_none());
    let ids: BTreeSet<Uuid> =
        not_gone.flat_map(|run| run.also.iter().chain([&run.id])).copied().collect();
    if ids.is_empty() {
        return Ok(exit::SUCCESS);
    }
    let select = Selector { all: true, ..Selector::default() };
    let request = SelectRequest { select, ..SelectRequest::default() };
    let left: Vec<RunView> = client.post("/v1/select", &request)?;
    let killed = left.iter().filter(|run| ids.contains(&run.id) && (kill || run.on_end == "kill"));
    let (runs, tasks) = killed.fold((0, 0), |(runs, tasks), run| (runs + 1, tasks + run.tasks));
    match tasks {
        0 => Ok(exit::SUCCESS),
        tasks => Err(outlasted(runs, tasks)),
    }
}

fn outlasted(runs: usize, tasks: u64) -> Failure {
    let what = if tasks == 1 { "task does" } else { "tasks do" };
    let message = format!(
        "{tasks} {what} not go, of {}: killed, and denied everything",
        select::number(runs)
    );
    let remedy = "they go when the kernel lets them, such as after a disk has answered: agentid tree shows them, and \
                  agentid revoke --kill waits for them again";
    Failure::new(message, exit::FAILURE, remedy)
}

pub fn print_one(reply: &RevokeReply, output: Output) -> Result<(), Failure> {
    render::answer(output, reply, || text(reply))
}

pub fn print_all(reply: &RevokeAllReply, output: Output) -> Result<(), Failure> {
    render::answer(output, reply, || several(reply))
}

/// What was done, and how fast.
pub fn text(reply: &RevokeReply) -> String {
    let mut text = format!(
        "revoked {}\n  everything denied after {:.1} ms, {} tasks alive then\n",
        reply.id, reply.denied_after_ms, reply.tasks
    );
    for id in &reply.also {
        text += &format!("  with it {id}\n");
    }
    if let Some(ended) = hung_up(reply.connections, reply.hung_up_after_ms) {
        text += &format!("  {ended}\n");
    }
    text += &match (reply.stopped_after_ms, reply.frozen_after_ms) {
        (Some(ms), _) => format!("  last task stopped after {ms:.1} ms\n"),
        (None, Some(ms)) => {
            format!("  {} tasks are left, standing still after {ms:.1} ms\n", reply.remaining)
        }
        (None, None) => format!("  {} tasks are left, denied everything\n", reply.remaining),
    };
    text
}

/// What became of the connections, if there were any.
fn hung_up(connections: u64, after_ms: Option<f64>) -> Option<String> {
    let what = if connections == 1 { "connection" } else { "connections" };
    after_ms.map(|ms| format!("{connections} {what} ended after {ms:.1} ms"))
}

/// The same of several runs: a line for each, and the sum.
pub fn several(reply: &RevokeAllReply) -> String {
    let columns = ["REVOKED", "WITH IT", "TASKS", "LEFT", "DENIED", "STOPPED"].map(Column::new);
    let rows: Vec<Vec<String>> = reply.runs.iter().map(row).collect();
    let sum = |of: fn(&RevokeReply) -> u64| reply.runs.iter().map(of).sum::<u64>();
    let (tasks, left) = (sum(|run| run.tasks), sum(|run| run.remaining));
    let stopped = match reply.stopped_after_ms {
        Some(ms) => format!("last task stopped after {ms:.1} ms"),
        None => format!("{left} are left, denied everything"),
    };
    let count = select::number(reply.runs.len());
    if reply.runs.is_empty() {
        return format!("{count} revoked\n");
    }
    let denied = reply.denied_after_ms;
    let last = reply.runs.iter().filter_map(|run| run.hung_up_after_ms).reduce(f64::max);
    let ended = hung_up(sum(|run| run.connections), last);
    let ended = ended.map_or_else(String::new, |ended| format!("{ended}, "));
    table::table(&columns, &rows, None)
        + &format!("{count} revoked: everything denied after {denied:.1} ms, ")
        + &format!("{tasks} tasks alive then, {ended}{stopped}\n")
}

fn row(run: &RevokeReply) -> Vec<String> {
    let stopped = run.stopped_after_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
    vec![
        render::short(run.id),
        run.also.len().to_string(),
        run.tasks.to_string(),
        run.remaining.to_string(),
        format!("{:.1} ms", run.denied_after_ms),
        stopped,
    ]
}
