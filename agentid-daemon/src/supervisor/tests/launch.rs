use std::path::PathBuf;

use crate::{
    control::api::{Code, ErrorReply, LaunchRequest, MAX_LABELS, MAX_NAME, MAX_SAID},
    policy::{self, Policy},
    supervisor::{launch, refusal::Refusal},
};

fn request() -> LaunchRequest {
    LaunchRequest {
        policy: "review".to_owned(),
        agent: "reviewer".to_owned(),
        owner: "alice".to_owned(),
        task: "T-1".to_owned(),
        ..LaunchRequest::default()
    }
}

fn policy() -> Policy {
    let text = r#"
        name = "review"
        ttl = "30m"
        max_ttl = "1h"
        params = ["workspace"]

        [[file]]
        paths = ["${workspace}/**"]
        allow = ["read"]
    "#;
    policy::parse("review.toml", text).unwrap()
}

#[test]
fn agent_owner_and_task_are_required() {
    assert_eq!(launch::check(&request()), Ok(()));
    let cases = [
        ("agent", LaunchRequest { agent: String::new(), ..request() }),
        ("owner", LaunchRequest { owner: " ".to_owned(), ..request() }),
        ("task", LaunchRequest { task: String::new(), ..request() }),
    ];
    for (field, request) in cases {
        assert_eq!(launch::check(&request), Err(Refusal::Missing { field }));
    }
}

#[test]
fn texts_are_bounded_and_steer_no_terminal() {
    let long = LaunchRequest { owner: "x".repeat(MAX_NAME + 1), ..request() };
    assert!(matches!(launch::check(&long), Err(Refusal::Long { limit: MAX_NAME, .. })));
    let wide = LaunchRequest { owner: "é".repeat(MAX_NAME), ..request() };
    assert_eq!(launch::check(&wide), Ok(()), "characters are counted, as the document says");
    let escape = LaunchRequest { task: "T-1\u{1b}[2J".to_owned(), ..request() };
    assert_eq!(launch::check(&escape), Err(Refusal::Control { field: "task".to_owned() }));
    let labels = (0..=MAX_LABELS).map(|label| (label.to_string(), String::new())).collect();
    let many = LaunchRequest { labels, ..request() };
    assert!(matches!(launch::check(&many), Err(Refusal::ManyLabels { .. })));
}

#[test]
fn the_time_to_live_is_the_policys_or_less_than_its_limit() {
    let ttl = |ttl_ms| launch::ttl_ms(&LaunchRequest { ttl_ms, ..request() }, &policy());
    assert_eq!(ttl(None), Ok(1_800_000));
    assert_eq!(ttl(Some(3_600_000)), Ok(3_600_000));
    let limit_ms = 3_600_000;
    assert_eq!(ttl(Some(3_600_001)), Err(Refusal::LongTtl { asked_ms: 3_600_001, limit_ms }));
    assert_eq!(ttl(Some(0)), Err(Refusal::NoTtl));
}

#[test]
fn parameters_are_exactly_those_declared() {
    let with = |pairs: &[(&str, &str)]| {
        let pairs = pairs.iter().map(|(name, path)| ((*name).to_owned(), PathBuf::from(path)));
        launch::params(&LaunchRequest { params: pairs.collect(), ..request() }, &policy())
    };
    assert_eq!(with(&[("workspace", "/work")]), Ok(()));
    assert!(matches!(with(&[]), Err(Refusal::MissingParam { .. })));
    let twice = with(&[("workspace", "/work"), ("wrokspace", "/work")]);
    assert!(matches!(twice, Err(Refusal::UnknownParam { .. })));
    for path in ["work", "/work/../etc"] {
        let refused = with(&[("workspace", path)]);
        assert!(matches!(refused, Err(Refusal::RelativeParam { .. })), "{path}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let known = vec!["coding-agent".to_owned(), "review".to_owned()];
    let reply = ErrorReply::from(Refusal::UnknownPolicy { name: "reveiw".to_owned(), known });
    assert_eq!(reply.code, Code::UnknownPolicy);
    assert_eq!(reply.message, "no policy is called \"reveiw\"");
    assert_eq!(reply.remedy, "the policies are coding-agent, review");
}

#[test]
fn a_long_command_is_kept_in_part() {
    let many = vec!["é".to_owned(); 40];
    let kept = launch::shortened(&many);
    assert_eq!(kept.len(), 33);
    assert_eq!(kept[32], "…");
    assert_eq!(launch::shortened(&many[..32]), many[..32]);
    let long: Vec<String> = (0..9).map(|_| "é".repeat(200)).collect();
    let kept = launch::shortened(&long);
    assert_eq!(kept[0], format!("{}…", "é".repeat(128)));
    assert_eq!(kept.len(), 8, "no more than 2048 bytes");
    assert_eq!(kept[7], "…");
}

#[test]
fn all_that_is_said_of_a_run_is_bounded_together() {
    let label = |number| (format!("{number:02}{}", "n".repeat(98)), "v".repeat(100));
    let with = |labels, path: usize| LaunchRequest {
        labels: (0..labels).map(label).collect(),
        params: [("workspace".to_owned(), PathBuf::from("/".repeat(path)))].into(),
        ..request()
    };
    assert_eq!(launch::check(&with(MAX_LABELS, 1000)), Ok(()));
    let much = launch::check(&with(MAX_LABELS, 2000));
    let said = "revieweraliceT-1workspace".len() + 32 * 200 + 2000;
    assert_eq!(much, Err(Refusal::MuchSaid { bytes: said, limit: MAX_SAID }));
    // However long the command is.
    let command = vec!["x".repeat(60_000)];
    assert_eq!(launch::check(&LaunchRequest { command, ..with(MAX_LABELS, 1000) }), Ok(()));
}
