//! `agentid ps`

use std::io;

use crate::{
    cli::{
        args::Ps,
        exit,
        failure::Failure,
        render, select,
        table::{Column, room, table},
    },
    control::{
        api::{RunView, SelectRequest},
        client::Client,
    },
};

pub fn run(client: &Client, arguments: &Ps) -> Result<u8, Failure> {
    let request = SelectRequest {
        select: select::filters(&arguments.filters)?,
        ended: arguments.all,
        whole: false,
    };
    let runs: Vec<RunView> = client.post("/v1/select", &request)?;
    if arguments.json {
        render::json(&runs)?;
    } else if arguments.quiet {
        render::print(&ids(&runs))?;
    } else {
        render::print(&text(&runs, render::now_ms(), room(&io::stdout())))?;
    }
    Ok(exit::SUCCESS)
}

/// Nothing but the IDs, whole, for other commands.
pub fn ids(runs: &[RunView]) -> String {
    runs.iter().map(|run| format!("{}\n", run.id)).collect()
}

/// The table.
pub fn text(runs: &[RunView], now_ms: u64, room: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = runs.iter().map(|run| row(run, now_ms)).collect();
    table(&COLUMNS, &rows, room)
}

const COLUMNS: [Column; 10] = [
    Column::new("ID"),
    Column::names("AGENT"),
    Column::names("OWNER"),
    Column::names("TASK"),
    Column::names("POLICY").spare(1),
    Column::new("STATE"),
    Column::new("TASKS").spare(3),
    Column::new("DENIED"),
    Column::new("AGE").spare(2),
    Column::new("LEFT"),
];

fn row(run: &RunView, now_ms: u64) -> Vec<String> {
    let state = match &run.end {
        Some(end) if run.phase == "ended" => end.ending.clone(),
        Some(end) => format!("{} ({})", run.phase, end.ending),
        None => run.phase.clone(),
    };
    let left = match run.phase.as_str() {
        "active" | "suspended" => render::span(now_ms, run.deadline_ms),
        _ => "-".to_owned(),
    };
    vec![
        render::short(run.id),
        run.agent.clone(),
        run.owner.clone(),
        run.task.clone(),
        run.policy.split('@').next().unwrap_or_default().to_owned(),
        state,
        run.tasks.to_string(),
        run.totals.map_or_else(|| "-".to_owned(), |totals| totals.denied.to_string()),
        render::span(run.launched_ms, now_ms),
        left,
    ]
}
