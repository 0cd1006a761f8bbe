//! `agentid policy diff`

use std::path::Path;

use super::policy::mistakes;
use crate::{
    cli::{args::Output, exit, failure::Failure, render},
    policy::Policy,
    supervisor::{
        diff::{self, Diff, Row},
        folder,
    },
};

pub fn run(before: &Path, after: &Path, exit_code: bool, output: Output) -> Result<u8, Failure> {
    // Whether they do what they expect of themselves is another question.
    let read = |file: &Path| folder::parse(file).map(|(policy, _): (Policy, _)| policy);
    let (before, after) = (read(before).map_err(mistakes)?, read(after).map_err(mistakes)?);
    let diff = diff::diff(&before, &after).map_err(|error| {
        Failure::new(error, exit::FAILURE, "agentid policy check says what is wrong with each")
    })?;
    render::answer(output, &diff, || text(&diff))?;
    Ok(if exit_code && !diff.is_empty() { exit::DIFFERENT } else { exit::SUCCESS })
}

/// What changes; each line of a table has the rights, what the rule behind it names, and an example.
pub fn text(diff: &Diff) -> String {
    if diff.is_empty() {
        return "nothing changes\n".to_owned();
    }
    let cells =
        |row: &Row| [row.rights.join(", "), row.within.clone()].map(|text| render::clean(&text));
    let rows: Vec<&Row> = diff.allowed.iter().chain(&diff.denied).collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| cells(row)[column].chars().count());
        widths.max().unwrap_or(0).min(MOST[column])
    };
    let (first, second) = (width(0), width(1));
    let mut text = String::new();
    for (title, rows) in [("becomes allowed", &diff.allowed), ("becomes denied", &diff.denied)] {
        if rows.is_empty() {
            continue;
        }
        text += &format!("{title}\n");
        for row in rows {
            let [rights, within] = cells(row);
            let example = render::clean(&row.example);
            text += &format!("  {rights:first$}  {within:second$}  e.g. {example}\n");
        }
    }
    if !diff.settings.is_empty() {
        text += "settings\n";
    }
    for setting in &diff.settings {
        let [name, before, after] =
            [&setting.name, &setting.before, &setting.after].map(|text| render::clean(text));
        text += &format!("  {name:first$}  {after}, was {before}\n");
    }
    text + "unchanged otherwise\n"
}

/// Widest columns.
const MOST: [usize; 2] = [38, 40];
