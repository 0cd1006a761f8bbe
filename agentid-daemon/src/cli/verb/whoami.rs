//! `agentid whoami`

use crate::{
    cli::{args::Json, exit, failure::Failure, render},
    control::{api::WhoAmI, client::Client},
};

pub fn run(client: &Client, arguments: &Json) -> Result<u8, Failure> {
    let who: WhoAmI = client.get("/v1/whoami")?;
    if arguments.json {
        render::json(&who)?;
    } else {
        render::print(&text(&who))?;
    }
    Ok(exit::SUCCESS)
}

pub fn text(who: &WhoAmI) -> String {
    render::list(&[
        ("user", who.uid.to_string()),
        ("operator", if who.operator { "yes" } else { "no" }.to_owned()),
        ("run", who.run.map_or_else(|| "none".to_owned(), |id| id.to_string())),
    ])
}
