//! `agentid why`

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    cli::{
        args::{Output, Why},
        asked::{Asked, Where, Whom},
        exit,
        failure::Failure,
        render,
    },
    control::{
        api::{AbstractSocket, Endpoint, FileName, NamedEndpoint, Protocol, WhyReply, WhyRequest},
        client::{Client, segment},
    },
    event::event::{Event, OwnDenial},
};

pub fn run(client: &Client, arguments: Why) -> Result<u8, Failure> {
    let Why { id, own: _, object, output } = arguments;
    let Some(id) = id else { return own(client, output) };
    let route = format!("/v1/runs/{}/why", segment(&id));
    answer(&client.post(&route, &request(object)?)?, output)
}

/// What is told of a decision, and the exit status that goes with it.
pub fn answer(reply: &WhyReply, output: Output) -> Result<u8, Failure> {
    render::answer(output, reply, || text(reply))?;
    let passes = matches!(reply.verdict.as_str(), "allow" | "audit");
    Ok(if passes { exit::SUCCESS } else { exit::DENIED })
}

/// What the asking run was denied.
fn own(client: &Client, output: Output) -> Result<u8, Failure> {
    let denials: Vec<OwnDenial> = client.get("/v1/self/denials")?;
    render::answer(output, &denials, || own_text(&denials))?;
    Ok(exit::SUCCESS)
}

pub fn own_text(denials: &[OwnDenial]) -> String {
    if denials.is_empty() {
        return "nothing was denied\n".to_owned();
    }
    let mut text = String::new();
    for OwnDenial { time_ms, what, grant } in denials {
        text += &render::event(&Event { seq: 0, time_ms: *time_ms, run: None, what: what.clone() });
        for line in grant.iter().flat_map(|grant| grant.lines()) {
            text += &format!("    {}\n", render::clean(line));
        }
    }
    text
}

pub fn request(arguments: Asked) -> Result<WhyRequest, Failure> {
    if let Some(Whom::Socket(path)) = arguments.connect {
        return Ok(WhyRequest::Open { path, want: vec!["connect".to_owned()] });
    }
    if let Some(Whom::Abstract(name)) = arguments.connect {
        return Ok(WhyRequest::ConnectAbstract(AbstractSocket { name }));
    }
    if let Some(Where::Abstract(name)) = arguments.listen {
        return Ok(WhyRequest::ListenAbstract(AbstractSocket { name }));
    }
    if let Some(Whom::Name(name, port)) = arguments.connect {
        let protocol = arguments.proto.unwrap_or(Protocol::Tcp);
        return Ok(WhyRequest::ConnectName(NamedEndpoint { name, port, protocol }));
    }
    if let Some(request) = end(&arguments) {
        return Ok(request);
    }
    if let Some(name) = arguments.capability {
        return Ok(WhyRequest::Capability(name));
    }
    if let Some(request) = name(&arguments)? {
        return Ok(request);
    }
    let path = absolute(&arguments.open.unwrap_or_default())?;
    let want = match (arguments.write, arguments.exec) {
        (true, _) => "write",
        (_, true) => "exec",
        _ => "read",
    };
    Ok(WhyRequest::Open { path, want: vec![want.to_owned()] })
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path)
        .map_err(|error| Failure::new(error, exit::FAILURE, "give the path from / on"))
}

/// The question about a name in a folder, if that is what is asked.
fn name(arguments: &Asked) -> Result<Option<WhyRequest>, Failure> {
    if let Some([from, to]) = arguments.moved.as_deref() {
        return Ok(Some(WhyRequest::Move { from: absolute(from)?, to: absolute(to)? }));
    }
    if let Some([from, to]) = arguments.linked.as_deref() {
        return Ok(Some(WhyRequest::Link { from: absolute(from)?, to: absolute(to)? }));
    }
    type Ask = fn(FileName) -> WhyRequest;
    let asked: [(&Option<PathBuf>, Ask); 2] =
        [(&arguments.create, WhyRequest::Create), (&arguments.delete, WhyRequest::Delete)];
    for (path, ask) in asked {
        if let Some(path) = path {
            return Ok(Some(ask(FileName { path: absolute(path)? })));
        }
    }
    Ok(None)
}

/// The question about a peer or an address of the run's own, if that is what is asked.
fn end(arguments: &Asked) -> Option<WhyRequest> {
    type Ask = fn(Endpoint) -> WhyRequest;
    let peer = match arguments.connect {
        Some(Whom::Peer(peer)) => Some(peer),
        Some(Whom::Name(..) | Whom::Socket(_) | Whom::Abstract(_)) | None => None,
    };
    let listen = match arguments.listen {
        Some(Where::At(end)) => Some(end),
        Some(Where::Abstract(_)) | None => None,
    };
    let asked: [(Option<SocketAddr>, Ask, Protocol); 4] = [
        (peer, WhyRequest::Connect, Protocol::Tcp),
        (arguments.send, WhyRequest::Send, Protocol::Udp),
        (listen, WhyRequest::Listen, Protocol::Tcp),
        (arguments.accept, WhyRequest::Accept, Protocol::Tcp),
    ];
    asked.into_iter().find_map(|(end, ask, usual)| {
        let end = end?;
        let protocol = arguments.proto.unwrap_or(usual);
        Some(ask(Endpoint { address: end.ip(), port: end.port(), protocol }))
    })
}

/// The verdict and its grounds.
pub fn text(reply: &WhyReply) -> String {
    let grounds = reply.grounds();
    let lines = grounds.iter().map(|line| render::clean(line) + "\n").collect::<Vec<_>>();
    let mut text = lines.join("  ");
    for line in reply.grant.iter().flat_map(|grant| grant.lines()) {
        text += &format!("    {}\n", render::clean(line));
    }
    for it in &reply.names {
        let (name, address) = (render::clean(&it.name), render::clean(&it.address));
        text += &format!("  {name} is {address} until {}\n", render::moment(it.until_ms));
    }
    text
}
