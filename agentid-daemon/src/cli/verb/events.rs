//! `agentid events`

use std::ops::ControlFlow;

use crate::{
    cli::{args::Events, exit, failure::Failure, render},
    control::client::{Client, segment},
    event::event::Event,
};

pub fn run(client: &Client, arguments: &Events) -> Result<u8, Failure> {
    let mut broken = Ok(());
    client.events(&route(arguments), |event| {
        match line(&event, arguments.json).and_then(|line| render::print(&line)) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(failure) => {
                broken = Err(failure);
                ControlFlow::Break(())
            }
        }
    })?;
    broken.map(|()| exit::SUCCESS)
}

pub fn route(arguments: &Events) -> String {
    let mut route = format!("/v1/events?follow={}", arguments.follow);
    if let Some(id) = &arguments.id {
        route += &format!("&id={}", segment(id));
    }
    if let Some(last) = arguments.last {
        route += &format!("&last={last}");
    }
    route
}

fn line(event: &Event, json: bool) -> Result<String, Failure> {
    if !json {
        return Ok(render::event(event));
    }
    let text = serde_json::to_string(event);
    Ok(text.map_err(|error| Failure::new(error, exit::FAILURE))? + "\n")
}
