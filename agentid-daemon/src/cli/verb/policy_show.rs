//! `agentid policy show`

use std::io;

use super::policies;
use crate::{
    cli::{
        args::ShowPolicy,
        exit,
        failure::Failure,
        render,
        table::{room, wrapped},
    },
    control::client::{Client, ClientError},
    instance::Bounds,
    supervisor::shown::{Shown, ShownExpectation, ShownLimits, ShownRule, shown},
};

pub fn run(
    client: impl Fn() -> Result<Client, ClientError>,
    arguments: &ShowPolicy,
) -> Result<u8, Failure> {
    let (policy, source) = policies::read(client, &arguments.policy)?;
    let policy = shown(&policy, &source);
    if arguments.json {
        render::json(&policy)?;
    } else if arguments.text {
        render::print(&source)?;
    } else {
        render::print(&text(&policy, room(&io::stdout())))?;
    }
    Ok(exit::SUCCESS)
}

/// What holds for its runs, then its rules, then what it expects of them.
pub fn text(policy: &Shown, room: Option<usize>) -> String {
    let delegate = policy.delegate.as_ref().map(|it| {
        let (to, levels) = (it.to.join(" "), levels(it.depth));
        let excess = if it.on_excess == "end" { "; more ends the run" } else { "" };
        format!("{to}; {levels} deep, {} at a time{excess}", it.fan_out)
    });
    let ShownLimits { denials_per_minute, memory, tasks, cpu } = policy.limits;
    let bounds = Bounds { memory, tasks, cpu };
    let limits = [
        denials_per_minute.map(|it| format!("{it} denials a minute")),
        Some(bounds.to_string()).filter(|text| !text.is_empty()),
    ];
    let time = |ms| render::span(0, ms);
    let life = match (policy.ttl_ms, policy.max_ttl_ms) {
        (ttl, max) if ttl == max => time(ttl),
        (ttl, max) => format!("{}, with extensions at most {}", time(ttl), time(max)),
    };
    let mut text = render::list(&[
        ("policy", format!("{}@{}", policy.name, policy.digest)),
        ("description", policy.description.clone().unwrap_or_default()),
        ("parameters", policy.params.join(" ")),
        ("time to live", life),
        ("mode", policy.mode.to_owned()),
        ("at the end", policy.on_end.to_owned()),
        ("capabilities", policy.capabilities.join(" ")),
        ("limits", Vec::from_iter(limits.into_iter().flatten()).join(", ")),
        ("delegates to", delegate.unwrap_or_default()),
        ("names", if policy.asks_for_names { "asked of the daemon" } else { "" }.to_owned()),
    ]);
    for (title, rules) in [("files", &policy.file), ("network", &policy.net)] {
        if !rules.is_empty() {
            text += &format!("\n{title}\n");
        }
        let width = rules.len().to_string().len();
        text.extend(rules.iter().map(|it| rule(it, width, room)));
    }
    if !policy.expect.is_empty() {
        text += "\nexpected\n";
    }
    text.extend(policy.expect.iter().map(|it| expectation(it, room)));
    text
}

fn levels(depth: u32) -> String {
    if depth == 1 { "1 level".to_owned() } else { format!("{depth} levels") }
}

fn rule(rule: &ShownRule, width: usize, room: Option<usize>) -> String {
    let ShownRule { rule, text, resolves_to, because } = rule;
    let mark = format!("  {rule:width$}  ");
    let indent = " ".repeat(mark.len());
    let mut lines = wrapped(&mark, text, room);
    if !resolves_to.is_empty() {
        lines += &wrapped(&indent, &format!("resolves to {}", resolves_to.join(", ")), room);
    }
    if let Some(because) = because {
        lines += &wrapped(&indent, &format!("because {because}"), room);
    }
    lines
}

fn expectation(it: &ShownExpectation, room: Option<usize>) -> String {
    let mark = format!("  {:5}  ", it.expected);
    let indent = " ".repeat(mark.len());
    let cases = it.cases.iter().map(|it| format!("{} {}", it.what, it.objects.join(", ")));
    let mut lines = wrapped(&mark, &Vec::from_iter(cases).join("; "), room);
    if !it.with.is_empty() {
        let with = it.with.iter().map(|(name, path)| format!("{name} = {}", path.display()));
        lines += &wrapped(&indent, &format!("with {}", Vec::from_iter(with).join(", ")), room);
    }
    if let Some(because) = &it.because {
        lines += &wrapped(&indent, &format!("because {because}"), room);
    }
    lines
}
