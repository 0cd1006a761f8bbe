//! `agentid why`

use crate::{
    cli::{
        args::{Endpoint, Why},
        exit,
        failure::Failure,
        render,
    },
    control::{
        api::{WhyReply, WhyRequest},
        client::{Client, segment},
    },
};

pub fn run(client: &Client, arguments: Why) -> Result<u8, Failure> {
    let json = arguments.json;
    let route = format!("/v1/runs/{}/why", segment(&arguments.id));
    let reply: WhyReply = client.post(&route, &request(arguments)?)?;
    if json {
        render::json(&reply)?;
    } else {
        render::print(&text(&reply))?;
    }
    let passes = matches!(reply.verdict.as_str(), "allow" | "audit");
    Ok(if passes { exit::SUCCESS } else { exit::DENIED })
}

fn request(arguments: Why) -> Result<WhyRequest, Failure> {
    match arguments.connect {
        Some(Endpoint::Peer(peer)) => {
            return Ok(WhyRequest::Connect { address: peer.ip(), port: peer.port() });
        }
        Some(Endpoint::Socket(path)) => {
            return Ok(WhyRequest::Open { path, want: vec!["connect".to_owned()] });
        }
        None => {}
    }
    let path = arguments.open.unwrap_or_default();
    let path = std::path::absolute(path).map_err(|error| Failure::new(error, exit::FAILURE))?;
    let want = match (arguments.write, arguments.exec) {
        (true, _) => "write",
        (_, true) => "exec",
        _ => "read",
    };
    Ok(WhyRequest::Open { path, want: vec![want.to_owned()] })
}

/// The verdict and its grounds.
pub fn text(reply: &WhyReply) -> String {
    let mut text = format!("{}: {}\n", reply.verdict, render::clean(&reply.explanation));
    if let (Some(rule), Some(rule_text)) = (reply.rule, &reply.rule_text) {
        text += &format!("  rule {rule}: {}\n", render::clean(rule_text));
    }
    if let Some(because) = &reply.because {
        text += &format!("  because: {}\n", render::clean(because));
    }
    text
}
