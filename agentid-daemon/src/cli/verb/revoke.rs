//! `agentid revoke`

use crate::{
    cli::{args::Revoke, exit, failure::Failure, render},
    control::{
        api::{RevokeReply, RevokeRequest},
        client::{Client, segment},
    },
};

pub fn run(client: &Client, arguments: Revoke) -> Result<u8, Failure> {
    let route = format!("/v1/runs/{}/revoke", segment(&arguments.id));
    let request = RevokeRequest { reason: arguments.reason };
    let reply: RevokeReply = client.post(&route, &request)?;
    if arguments.json {
        render::json(&reply)?;
    } else {
        render::print(&text(&reply))?;
    }
    Ok(exit::SUCCESS)
}

/// What was done, and how fast.
pub fn text(reply: &RevokeReply) -> String {
    let mut text = format!(
        "revoked {}\n  everything denied after {:.1} ms, {} tasks alive then\n",
        reply.id, reply.denied_after_ms, reply.tasks
    );
    for id in &reply.also {
        text += &format!("  with it {id}\n");
    }
    text += &match reply.stopped_after_ms {
        Some(ms) => format!("  last task stopped after {ms:.1} ms\n"),
        None => format!("  {} tasks are left, denied everything\n", reply.remaining),
    };
    text
}
