//! `agentid adopt`

use std::{path::PathBuf, process::Command};

use crate::{
    cli::{
        args::Adopt,
        exit,
        failure::Failure,
        render, select,
        verb::run::{folder, unique},
    },
    control::{
        api::{AdoptFrom, AdoptReply, AdoptRequest},
        client::Client,
    },
};

pub fn run(client: &Client, arguments: &Adopt) -> Result<u8, Failure> {
    let reply: AdoptReply = client.post("/v1/adopt", &request(arguments)?)?;
    if arguments.json {
        render::json(&reply)?;
    } else if arguments.quiet {
        render::print(&format!("{}\n", reply.run.id))?;
    } else {
        render::print(&text(&reply))?;
    }
    Ok(exit::SUCCESS)
}

fn request(arguments: &Adopt) -> Result<AdoptRequest, Failure> {
    let from = match (arguments.pid, &arguments.cgroup, &arguments.unit) {
        (Some(pid), ..) => AdoptFrom::Process(pid),
        (_, Some(path), _) => AdoptFrom::Cgroup(path.clone()),
        (_, _, unit) => AdoptFrom::Cgroup(cgroup_of(unit.as_deref().unwrap_or_default())?),
    };
    Ok(AdoptRequest {
        from,
        policy: arguments.policy.clone(),
        agent: arguments.agent.clone(),
        owner: arguments.owner.clone(),
        on_behalf_of: arguments.on_behalf_of.clone(),
        task: arguments.task.clone(),
        purpose: arguments.purpose.clone(),
        params: unique("--param", &arguments.params, folder)?,
        ttl_ms: arguments.ttl.map(select::millis),
        parent: arguments.parent.clone(),
        labels: unique("--label", &arguments.labels, ToOwned::to_owned)?,
    })
}

/// Where systemd has put a unit.
fn cgroup_of(unit: &str) -> Result<PathBuf, Failure> {
    let asked = Command::new("systemctl")
        .args(["show", "--property=ControlGroup", "--value", "--", unit])
        .output()
        .map_err(|error| Failure::new(error, exit::FAILURE, "name its cgroup with --cgroup"))?;
    let place = String::from_utf8_lossy(&asked.stdout).trim().to_owned();
    if place.is_empty() || !asked.status.success() {
        let message = format!("unit {} has no processes", render::clean(unit));
        return Err(Failure::new(message, exit::FAILURE, "systemctl status shows what it has"));
    }
    Ok(PathBuf::from(place))
}

pub fn text(reply: &AdoptReply) -> String {
    let processes: Vec<String> = reply.processes.iter().map(ToString::to_string).collect();
    format!(
        "adopted {} under policy {}\n  until {}\n  processes {}\n",
        reply.run.id,
        render::clean(&reply.run.policy),
        render::moment(reply.run.deadline_ms),
        processes.join(" ")
    )
}
