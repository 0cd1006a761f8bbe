//! `agentid events`

use std::{ops::ControlFlow, thread::sleep, time::Duration};

use crate::{
    cli::{args::Events, exit, failure::Failure, render, select},
    control::{
        api::{Code, Selector},
        client::{Client, ClientError, segment},
    },
    event::event::Event,
};

/// How long to wait before the daemon is asked again, at first and at most.
const SOON: Duration = Duration::from_millis(100);
const LATER: Duration = Duration::from_secs(2);

pub fn run(client: &Client, arguments: &Events) -> Result<u8, Failure> {
    let mut broken = Ok(());
    let mut print =
        |event: Event| match line(&event, arguments.json).and_then(|line| render::print(&line)) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(failure) => {
                broken = Err(failure);
                ControlFlow::Break(())
            }
        };
    let route = route(arguments)?;
    let (mut at, mut wait) = (None, None);
    loop {
        let ended = client.events(&route, &mut at, &mut print);
        // Without a number, as from a daemon that is older than those, it is not known where to go on.
        let goes_on = arguments.follow && at.is_some();
        match ended {
            Ok(ControlFlow::Continue(())) if goes_on => wait = None,
            Ok(_) => break,
            Err(error) if !goes_on || !is_passing(&error) => return Err(error.into()),
            Err(ClientError::Exchange(_)) => wait = None,
            Err(_) => {}
        }
        if wait.is_none() {
            eprintln!(
                "agentid: the stream of events broke off; it goes on when the daemon answers"
            );
        }
        let now = wait.unwrap_or(SOON);
        sleep(now);
        wait = Some(LATER.min(now * 2));
    }
    broken.map(|()| exit::SUCCESS)
}

/// Whether the daemon may answer later.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Away { .. } | ClientError::Exchange(_) => true,
        // Its socket is there a moment before everybody may connect.
        ClientError::Denied { .. } => true,
        ClientError::Refused(reply) => {
            matches!(reply.code, Code::Stopping | Code::TooOften | Code::Full)
        }
        _ => false,
    }
}

pub fn route(arguments: &Events) -> Result<String, Failure> {
    let mut route = format!("/v1/events?follow={}", arguments.follow);
    if let Some(id) = &arguments.id {
        route += &format!("&id={}", segment(id));
    }
    let selector = Selector { all: arguments.all, ..select::filters(&arguments.filters)? };
    if let Some(select) = select::in_a_query(&selector)? {
        route += &format!("&{select}");
    }
    if let Some(last) = arguments.last {
        route += &format!("&last={last}");
    }
    if let Some(after) = arguments.after {
        route += &format!("&after={after}");
    }
    Ok(route)
}

fn line(event: &Event, json: bool) -> Result<String, Failure> {
    if !json {
        return Ok(render::event(event));
    }
    let text = serde_json::to_string(event);
    Ok(text.map_err(Failure::mistake)? + "\n")
}
