//! Of all that the control socket can be asked, a run is answered what is about itself.

use agentid_tests::{
    control::{Operation, operations},
    harness::{Attacker, Daemon, scene::USERS},
};
use anyhow::Result;

use crate::control::status;

/// What a run may ask about itself.
const OWN: [&str; 3] = ["whoami", "own_denials", "end"];

/// A body that somebody else could ask this with.
fn body_of(operation: &str) -> &'static str {
    match operation {
        "launch" => r#"{"policy":"attacker","agent":"a","owner":"o","task":"t"}"#,
        "adopt" => {
            r#"{"from":{"process":1},"policy":"attacker","agent":"a","owner":"o","task":"t"}"#
        }
        "delegate" => r#"{"policy":"attacker"}"#,
        "why" => r#"{"open":{"path":"/","want":["read"]}}"#,
        "revoke" | "select" => "{}",
        "revoke_all" | "suspend" | "resume" => r#"{"select":{"all":true}}"#,
        "extend" => r#"{"select":{"all":true},"by_ms":1000}"#,
        "deny_owner" | "allow_owner" => r#"{"owner":"nobody@example.org"}"#,
        _ => "",
    }
}

/// P2, P10: it learns nothing there but what is its own, and ends nobody by the routes that others end it by.
#[test]
fn a_run_may_only_ask_about_itself() -> Result<()> {
    let daemon = Daemon::start_in(Attacker::scene()?)?;
    let socket = daemon.scene().socket();
    let operations = operations(&socket)?;
    for uid in USERS {
        let mut run = Attacker::inside(&daemon, uid)?;
        let id = run.id().to_owned();
        let (whoami, answer) = status(&mut run, &socket, "GET /v1/whoami", "")?;
        assert_eq!(whoami, 200, "{answer}");
        assert!(answer.contains(&id), "{answer}");
        let others = operations.iter().filter(|it| !OWN.contains(&it.id.as_str()));
        let mut refused = 0;
        for Operation { id: operation, line } in others {
            let line = line.replace("{id}", &id).replace("{name}", "attacker");
            let (status, answer) = status(&mut run, &socket, &line, body_of(operation))?;
            // What it cannot see does not exist for it.
            assert!(status == 403 || status == 404, "uid {uid}: {line}: {answer}");
            assert!(!answer.contains("suite"), "uid {uid}: {line}: {answer}");
            assert!(!answer.contains("no_route"), "uid {uid}: {line}: {answer}");
            refused += 1;
        }
        assert_eq!(refused, operations.len() - OWN.len(), "each of its own is there");
        assert_eq!(daemon.show(&id)?.phase, "active");
    }
    Ok(())
}
