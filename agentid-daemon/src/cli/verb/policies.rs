//! `agentid policy list`, and how a policy is got that is in force or in a file.

use std::io;

use crate::{
    cli::{
        args::{Policies, Which},
        exit,
        failure::Failure,
        render,
        table::{Column, room, table},
        verb::policy::mistakes,
    },
    control::{
        api::{PolicyInForce, PolicySource},
        client::{Client, ClientError, segment},
    },
    policy,
    supervisor::folder::{self, FolderError},
};

pub fn run(client: &Client, arguments: &Policies) -> Result<u8, Failure> {
    let policies: Vec<PolicyInForce> = client.get("/v1/policies")?;
    if arguments.json {
        render::json(&policies)?;
    } else if arguments.quiet {
        render::print(&names(&policies))?;
    } else {
        render::print(&text(&policies, room(&io::stdout())))?;
    }
    Ok(exit::SUCCESS)
}

/// What `agentid run --policy` takes.
pub fn names(policies: &[PolicyInForce]) -> String {
    policies.iter().filter(|it| it.offered).map(|it| format!("{}\n", it.name)).collect()
}

/// A line for each version; those that new runs do not get say so.
pub fn text(policies: &[PolicyInForce], room: Option<usize>) -> String {
    let rows: Vec<Vec<String>> = policies
        .iter()
        .map(|it| {
            let state = if it.offered { "offered" } else { "replaced" };
            let description = it.description.clone().unwrap_or_default();
            vec![
                it.name.clone(),
                it.digest.clone(),
                state.to_owned(),
                it.runs.to_string(),
                it.params.join(" "),
                description,
            ]
        })
        .collect();
    table(&COLUMNS, &rows, room)
}

const COLUMNS: [Column; 6] = [
    Column::names("POLICY"),
    Column::new("VERSION").spare(2),
    Column::new("STATE").spare(3),
    Column::new("RUNS"),
    Column::names("PARAMETERS"),
    Column::names("DESCRIPTION").spare(1),
];

/// The policy, and its text. Whether it does what it expects of itself is another question.
pub fn read(
    client: impl Fn() -> Result<Client, ClientError>,
    which: &Which,
) -> Result<folder::Text, Failure> {
    match which {
        Which::File(file) => folder::parse(file).map_err(mistakes),
        Which::InForce(name) => {
            let route = format!("/v1/policies/{}", segment(name));
            let PolicySource { text, policy: _ } = client()?.get(&route)?;
            let policy = policy::parse(name, &text).map_err(|errors| {
                mistakes(errors.into_iter().map(FolderError::Policy).collect())
                    .remedy("the daemon takes it: this command is of another version")
            })?;
            Ok((policy, text))
        }
    }
}
