//! `agentid whoami`

use crate::{
    cli::{args::Quiet, exit, failure::Failure, render},
    control::{api::WhoAmI, client::Client},
};

pub fn run(client: &Client, arguments: &Quiet) -> Result<u8, Failure> {
    let who: WhoAmI = client.get("/v1/whoami")?;
    if arguments.json {
        render::json(&who)?;
    } else if arguments.quiet {
        render::print(&who.run.map(|id| format!("{id}\n")).unwrap_or_default())?;
    } else {
        render::print(&text(&who))?;
    }
    Ok(exit::SUCCESS)
}

pub fn text(who: &WhoAmI) -> String {
    let mut lines = vec![
        ("user", who.uid.to_string()),
        ("operator", if who.operator { "yes" } else { "no" }.to_owned()),
        ("run", who.run.map_or_else(|| "none".to_owned(), |id| id.to_string())),
    ];
    if let Some(own) = &who.about {
        let above: Vec<String> = own.above.iter().map(ToString::to_string).collect();
        lines.extend([
            ("state", own.phase.clone()),
            ("agent", own.agent.clone()),
            ("owner", own.owner.clone()),
            ("on behalf of", own.on_behalf_of.clone().unwrap_or_default()),
            ("task", own.task.clone()),
            ("purpose", own.purpose.clone().unwrap_or_default()),
            ("policy", own.policy.clone()),
            ("stands on", above.join(" ")),
            ("deadline", render::moment(own.deadline_ms)),
        ]);
    }
    render::list(&lines)
}
