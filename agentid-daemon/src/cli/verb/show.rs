//! `agentid show`

use crate::{
    cli::{args::Show, exit, failure::Failure, render, select, verb::ps::ids},
    control::{
        api::{ChangeView, IssuerView, LimitsView, RunView, SelectRequest, SocketView, UsageView},
        client::{Client, segment},
    },
    instance::{Bounds, bounds::size},
};

pub fn run(client: &Client, arguments: &Show) -> Result<u8, Failure> {
    match &arguments.runs.id {
        Some(id) => one(client, id, arguments)?,
        None => all(client, arguments)?,
    }
    Ok(exit::SUCCESS)
}

fn one(client: &Client, id: &str, arguments: &Show) -> Result<(), Failure> {
    let run: RunView = client.get(&format!("/v1/runs/{}", segment(id)))?;
    if arguments.json {
        render::json(&run)?;
    } else if arguments.quiet {
        render::print(&ids(&[run]))?;
    } else {
        render::print(&text(&run))?;
    }
    Ok(())
}

fn all(client: &Client, arguments: &Show) -> Result<(), Failure> {
    let select = select::selector(&arguments.runs)?;
    let request = SelectRequest { select, ended: arguments.ended, whole: true };
    let runs: Vec<RunView> = client.post("/v1/select", &request)?;
    if arguments.json {
        render::json(&runs)?;
    } else if arguments.quiet {
        render::print(&ids(&runs))?;
    } else if runs.is_empty() {
        select::say_none();
    } else {
        let texts: Vec<String> = runs.iter().map(text).collect();
        render::print(&texts.join("\n"))?;
    }
    Ok(())
}

fn change(change: &ChangeView) -> String {
    let by = change.by_ms.map(|ms| format!(" by {}", render::span(0, ms))).unwrap_or_default();
    let reason = change.reason.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
    let (what, uid, at) = (&change.what, change.by_uid, render::moment(change.at_ms));
    format!("{what}{by} by uid {uid} at {at}{reason}")
}

fn socket(socket: &SocketView) -> String {
    let SocketView { protocol, state, own, peer, serves } = socket;
    let own = own.as_deref().map(|own| format!(" {own}")).unwrap_or_default();
    let way = if *serves { "<-" } else { "->" };
    let peer = peer.as_deref().map(|peer| format!(" {way} {peer}")).unwrap_or_default();
    format!("{protocol}{own}{peer} {state}")
}

fn issuer(it: &IssuerView) -> String {
    let executable = it.executable.as_deref().unwrap_or("a program that is not known");
    format!("{executable}, process {} of user {}", it.tgid, it.uid)
}

fn usage(usage: &UsageView) -> String {
    let UsageView { memory, memory_peak, tasks, cpu_us, killed } = *usage;
    let peak = memory_peak.map(|bytes| format!(" (at most {})", size(bytes))).unwrap_or_default();
    let parts = [
        memory.map(|bytes| format!("memory {}{peak}", size(bytes))),
        tasks.map(|number| format!("tasks {number}")),
        cpu_us.map(|us| format!("cpu {}.{:02}s", us / 1_000_000, us / 10_000 % 100)),
        killed.filter(|it| *it > 0).map(|it| format!("{it} killed because memory was full")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// Everything about a run, one fact in each line.
pub fn text(run: &RunView) -> String {
    let pairs = |map: Vec<String>| map.join(" ");
    let labels = run.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let params = run.params.iter().map(|(name, path)| format!("{name}={}", path.display()));
    let mut lines = vec![
        ("id", run.id.to_string()),
        (
            "state",
            format!("{}{}", run.phase, if run.frozen { ", its tasks stand still" } else { "" }),
        ),
        ("agent", run.agent.clone()),
        ("owner", run.owner.clone()),
        ("on behalf of", run.on_behalf_of.clone().unwrap_or_default()),
        ("task", run.task.clone()),
        ("purpose", run.purpose.clone().unwrap_or_default()),
        ("labels", pairs(labels)),
        ("policy", run.policy.clone()),
        ("parameters", pairs(params.collect())),
        ("mode", run.mode.clone()),
        ("at the end", run.on_end.clone()),
        ("stands on", pairs(run.above.iter().map(ToString::to_string).collect())),
        ("command", run.command.join(" ")),
        ("user", run.uid.to_string()),
        ("process", run.tgid.to_string()),
        ("issued by", run.issued_by.as_ref().map(issuer).unwrap_or_default()),
        ("launched", render::moment(run.launched_ms)),
        ("deadline", render::moment(run.deadline_ms)),
        ("tasks", run.tasks.to_string()),
    ];
    if let Some(LimitsView { memory, tasks, cpu }) = run.limits {
        lines.push(("limits", Bounds { memory, tasks, cpu }.to_string()));
    }
    if let Some(usage) = &run.usage {
        lines.push(("uses", self::usage(usage)));
    }
    if let Some(totals) = run.totals {
        let verdicts = format!(
            "{} allowed, {} denied, {} faults",
            totals.allowed, totals.denied, totals.faults
        );
        lines.push(("tasks ever", totals.started.to_string()));
        lines.push(("verdicts", verdicts));
        lines.push(("records", format!("{}, {} lost", totals.records, totals.lost)));
    }
    for it in &run.names {
        let until = render::moment(it.until_ms);
        lines.push(("name", format!("{} is {} until {until}", it.name, it.address)));
    }
    for socket in &run.sockets {
        lines.push(("socket", self::socket(socket)));
    }
    if let Some(why) = &run.sockets_unknown {
        lines.push(("sockets", format!("not known: {why}")));
    }
    if run.more_sockets > 0 {
        lines.push(("socket", format!("and {} more", run.more_sockets)));
    }
    for change in &run.changes {
        lines.push(("change", self::change(change)));
    }
    if let Some(end) = &run.end {
        let by = end.by_uid.map(|uid| format!(" by uid {uid}")).unwrap_or_default();
        let reason = end.reason.as_deref().map(|text| format!(": {text}")).unwrap_or_default();
        lines.push(("end", format!("{}{by} at {}{reason}", end.ending, render::moment(end.at_ms))));
    }
    render::list(&lines)
}
