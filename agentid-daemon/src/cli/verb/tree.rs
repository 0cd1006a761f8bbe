//! `agentid tree`

use uuid::Uuid;

use crate::{
    cli::{args::Tree, exit, failure::Failure, render, select},
    control::{
        api::{ProcessView, TreeRun},
        client::Client,
    },
};

pub fn run(client: &Client, arguments: &Tree) -> Result<u8, Failure> {
    let select = select::in_a_query(&select::selector(&arguments.runs)?)?;
    let query = select.as_ref().map(|select| format!("?{select}")).unwrap_or_default();
    let runs: Vec<TreeRun> = client.get(&format!("/v1/tree{query}"))?;
    if arguments.json {
        render::json(&runs)?;
    } else if arguments.quiet {
        render::print(&runs.iter().map(|it| format!("{}\n", it.run.id)).collect::<String>())?;
    } else if runs.is_empty() && select.is_some() {
        select::say_none();
    } else {
        render::print(&text(&runs))?;
    }
    Ok(exit::SUCCESS)
}

/// A line for each run and each process; below a run its processes, then the runs that it has delegated.
pub fn text(runs: &[TreeRun]) -> String {
    let shown = |id: Uuid| runs.iter().any(|other| other.run.id == id);
    // A run whose parent the caller may not see, or that is over, stands by itself.
    let tops = runs.iter().filter(|it| it.run.parent.is_none_or(|parent| !shown(parent)));
    let mut text = String::new();
    for top in tops {
        text += &format!("{}\n", name(top));
        below(runs, top, "", &mut text);
    }
    text
}

fn below(runs: &[TreeRun], above: &TreeRun, indent: &str, text: &mut String) {
    let children: Vec<&TreeRun> =
        runs.iter().filter(|it| it.run.parent == Some(above.run.id)).collect();
    let mut left = above.processes.len() + children.len();
    let mut branch = |text: &mut String, line: &str| {
        left -= 1;
        let (mark, further) = if left == 0 { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        *text += &format!("{indent}{mark}{line}\n");
        format!("{indent}{further}")
    };
    for process in &above.processes {
        branch(text, &self::process(process));
    }
    for child in children {
        let further = branch(text, &name(child));
        below(runs, child, &further, text);
    }
}

fn name(it: &TreeRun) -> String {
    let run = &it.run;
    let policy = run.policy.split('@').next().unwrap_or_default();
    let id = render::short(run.id);
    let line =
        format!("{id}  {} for {}, {}  {policy}  {}", run.agent, run.owner, run.task, run.phase);
    render::clean(&line)
}

fn process(process: &ProcessView) -> String {
    let name = process.comm.as_deref().unwrap_or("(gone)");
    let threads = match process.threads {
        1 => String::new(),
        threads => format!(", {threads} threads"),
    };
    render::clean(&format!("{} {name}{threads}", process.tgid))
}
