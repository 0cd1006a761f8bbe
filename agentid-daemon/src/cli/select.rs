//! Which runs a command line means, and whether its author means it.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use uuid::Uuid;

use super::{
    args::{Filters, Selected, Selection},
    exit,
    failure::Failure,
    render,
    table::room,
    verb,
};
use crate::control::{
    api::{RunView, SelectRequest, Selector},
    client::{Client, segment},
};

/// What the daemon is asked for.
pub fn selector(runs: &Selected) -> Result<Selector, Failure> {
    let filters = filters(&runs.filters)?;
    Ok(Selector { id: runs.id.clone(), all: runs.all, ..filters })
}

/// The same as a member of a query; `None` where nothing is selected.
pub fn in_a_query(selector: &Selector) -> Result<Option<String>, Failure> {
    if selector.is_empty() {
        return Ok(None);
    }
    let text = serde_json::to_string(selector);
    let text = text.map_err(Failure::mistake)?;
    Ok(Some(format!("select={}", segment(&text))))
}

/// Said of a selection that hits nothing, which is no error.
pub fn say_none() {
    eprintln!("agentid: no run is selected");
}

pub fn filters(filters: &Filters) -> Result<Selector, Failure> {
    Ok(Selector {
        agent: filters.agent.clone(),
        owner: filters.owner.clone(),
        task: filters.task.clone(),
        policy: filters.policy.clone(),
        labels: verb::run::unique("--label", &filters.labels, ToOwned::to_owned)?,
        older_than_ms: filters.older_than.map(millis),
        children_of: filters.children_of.clone(),
        ..Selector::default()
    })
}

pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Whether to go on, with the runs that the daemon would select.
pub fn confirmed(
    client: &Client,
    selection: &Selection,
    what: &str,
    concerned: impl Fn(&RunView) -> bool,
) -> Result<bool, Failure> {
    confirmed_of(selection, what, |select| {
        let request = SelectRequest { select, ..SelectRequest::default() };
        let runs: Vec<RunView> = client.post("/v1/select", &request)?;
        Ok(runs.into_iter().filter(concerned).collect())
    })
}

/// Whether to go on: a run that was named is meant; runs that filters leave are shown first, and asked about. What is
/// launched or ends meanwhile is judged by the filters, not by what was shown.
pub fn confirmed_of(
    selection: &Selection,
    what: &str,
    selected: impl FnOnce(Selector) -> Result<Vec<RunView>, Failure>,
) -> Result<bool, Failure> {
    if selection.runs.id.is_some() || selection.yes {
        return Ok(true);
    }
    let runs = selected(selector(&selection.runs)?)?;
    if runs.is_empty() {
        say_none();
        return Ok(false);
    }
    eprint!("{}", verb::ps::text(&runs, render::now_ms(), room(&io::stderr())));
    let hit = hit(what, &runs);
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        let message = format!("{what} {hit}: nobody can be asked here");
        return Err(Failure::new(message, exit::USAGE, "--yes goes on without asking"));
    }
    eprint!("{what} {hit}? [y/N] ");
    let failed = |error| Failure::new(error, exit::FAILURE, "--yes goes on without asking");
    io::stderr().flush().map_err(failed)?;
    let mut line = String::new();
    io::stdin().read_line(&mut line).map_err(failed)?;
    if !line.ends_with('\n') {
        // Nobody has ended the line.
        eprintln!();
    }
    let yes = matches!(line.trim(), "y" | "Y" | "yes");
    if !yes {
        eprintln!("agentid: nothing was done");
    }
    Ok(yes)
}

/// Verbs that hit what is below those that are meant as well.
const DOWNWARDS: [&str; 2] = ["revoke", "suspend"];

/// All that is hit, in words.
pub fn hit(what: &str, runs: &[RunView]) -> String {
    let count = runs.len();
    match below(runs) {
        below @ 1.. if DOWNWARDS.contains(&what) => {
            let them = if count == 1 { "it" } else { "them" };
            format!("{}, and {below} below {them}", number(count))
        }
        _ => number(count),
    }
}

/// How many live below these and are none of them. Of a run below another one, the other one counts what is below it.
fn below(runs: &[RunView]) -> u64 {
    let ids: BTreeSet<Uuid> = runs.iter().map(|run| run.id).collect();
    let is_top = |run: &&RunView| run.above.iter().all(|id| !ids.contains(id));
    let (tops, others): (Vec<&RunView>, Vec<&RunView>) = runs.iter().partition(is_top);
    let all: u64 = tops.iter().filter_map(|run| run.below).sum();
    let live = others.iter().filter(|run| matches!(run.phase.as_str(), "active" | "suspended"));
    live.fold(all, |all, _| all.saturating_sub(1))
}

/// So many runs, in words.
pub fn number(count: usize) -> String {
    if count == 1 { "1 run".to_owned() } else { format!("{count} runs") }
}
