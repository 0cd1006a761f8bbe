//! `agentid deny-owner` and `allow-owner`

use crate::{
    cli::{args::Owner, exit, failure::Failure, render, select},
    control::{
        api::{OwnerReply, OwnerRequest},
        client::Client,
    },
};

pub fn run(client: &Client, arguments: Owner, denied: bool) -> Result<u8, Failure> {
    let route = if denied { "/v1/owners/deny" } else { "/v1/owners/allow" };
    let request = OwnerRequest { owner: arguments.owner, reason: arguments.reason };
    let reply: OwnerReply = client.post(route, &request)?;
    render::answer(arguments.output, &reply, || text(&reply))?;
    Ok(exit::SUCCESS)
}

pub fn text(reply: &OwnerReply) -> String {
    let owner = render::clean(&reply.owner);
    if !reply.denied {
        return format!("runs are launched for {owner} again\n");
    }
    let mut text = format!("nothing is launched for {owner} any more\n");
    if reply.live > 0 {
        let live = usize::try_from(reply.live).unwrap_or(usize::MAX);
        let number = select::number(live);
        text += &format!("  {number} of it live: agentid revoke --owner '{owner}' ends them\n");
    }
    text
}
