use std::collections::BTreeMap;

use agentid_common::{
    file::Rights,
    net::{ICMP, UDP, Verb},
};

use crate::{
    control::api::{AbstractSocket, Code, Endpoint, NamedEndpoint, Protocol, WhyReply, WhyRequest},
    event::enrich,
    policy::{self, Case, Policy},
    supervisor::{
        expect,
        explain::{ExplainError, explain},
        shown::shown,
    },
};

const SHIPPED: [&str; 4] = [
    include_str!("../../../dist/policies/coding-agent.toml"),
    include_str!("../../../dist/policies/ci-step.toml"),
    include_str!("../../../dist/policies/data-query.toml"),
    include_str!("../../../dist/policies/research.toml"),
];

const POLICY: &str = r#"
    name = "p"
    description = "what it is"
    ttl = "30m"
    params = ["workspace"]
    capabilities = ["net_raw"]

    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read"]

    [[file]]
    paths = ["**/.env"]
    deny = "all"
    because = "secrets are not part of it"

    [[net]]
    to = ["*.example.org:443"]
    resolves_to = ["10.1.0.0/16"]
    allow = ["connect"]
"#;

fn parsed(text: &str) -> Policy {
    policy::parse("p.toml", text).unwrap()
}

fn open(path: &str, want: &str) -> WhyRequest {
    WhyRequest::Open { path: path.into(), want: vec![want.to_owned()] }
}

fn ask(policy: &Policy, given: &[(&str, &str)], request: &WhyRequest) -> Result<WhyReply, String> {
    let given = given.iter().map(|(name, path)| ((*name).to_owned(), (*path).into())).collect();
    explain(policy, &given, request).map_err(|error| match error {
        ExplainError::Refused(reply) => {
            assert_ne!(reply.code, Code::Internal);
            format!("{}; {}", reply.message, reply.remedy)
        }
        other => panic!("{other}"),
    })
}

/// P8: what the shipped policies expect of themselves is what is explained of them, case by case.
#[test]
fn a_policy_is_explained_as_it_is_tested() {
    for text in SHIPPED {
        as_tested(&parsed(text));
    }
}

fn as_tested(policy: &Policy) {
    assert!(expect::run("p.toml", policy).unwrap().broken.is_empty());
    let mut asked = 0;
    for expectation in policy.expectations() {
        let expected = if expectation.allowed { "allow" } else { "deny" };
        for request in expectation.cases.iter().flat_map(requests) {
            let given: BTreeMap<_, _> = expectation.params.clone();
            let reply = explain(policy, &given, &request).unwrap();
            assert_eq!(reply.verdict, expected, "{request:?}");
            asked += 1;
        }
    }
    assert!(asked > 100, "{asked}");
}

/// The same question, as `why` has it.
fn requests(case: &Case) -> Vec<WhyRequest> {
    let by = |protocol: u8| match protocol {
        UDP => Protocol::Udp,
        ICMP => Protocol::Icmp,
        _ => Protocol::Tcp,
    };
    match case {
        Case::File { path, rights } => enrich::rights(*rights)
            .into_iter()
            .map(|right| WhyRequest::Open { path: path.clone(), want: vec![right] })
            .collect(),
        Case::Peer { address, port, protocol, verb } => {
            let (address, port, protocol) = (address.to_canonical(), *port, by(*protocol));
            let end = Endpoint { address, port, protocol };
            vec![match verb {
                Verb::Connect => WhyRequest::Connect(end),
                Verb::Send => WhyRequest::Send(end),
                Verb::Listen => WhyRequest::Listen(end),
                Verb::Accept => WhyRequest::Accept(end),
            }]
        }
        Case::Name { name, port, protocol, verb: Verb::Connect } => {
            let (name, port, protocol) = (name.clone(), *port, by(*protocol));
            vec![WhyRequest::ConnectName(NamedEndpoint { name, port, protocol })]
        }
        // `why` asks for connections by name alone.
        Case::Name { .. } => Vec::new(),
        Case::Abstract { name, right } => {
            let name = AbstractSocket { name: name.clone() };
            vec![match *right {
                Rights::CONNECT => WhyRequest::ConnectAbstract(name),
                _ => WhyRequest::ListenAbstract(name),
            }]
        }
        Case::Capability(name, _) => vec![WhyRequest::Capability(name.clone())],
    }
}

#[test]
fn the_words_are_those_of_why() {
    let policy = parsed(POLICY);
    let work = [("workspace", "/home/u/work")];
    let reply = ask(&policy, &work, &open("/home/u/work/.env", "read")).unwrap();
    let lines = [
        "deny: rule 2 denies it",
        "rule 2: deny read, write, create, delete, exec, connect on **/.env",
    ];
    assert_eq!(reply.grounds()[..2], lines);
    let reply = ask(&policy, &work, &open("/home/u/work/a", "write")).unwrap();
    assert_eq!(reply.explanation, "no rule: missing grant write on /home/u/work/a");
    let name = |name: &str| {
        let end = NamedEndpoint { name: name.to_owned(), port: 443, protocol: Protocol::Tcp };
        ask(&policy, &[], &WhyRequest::ConnectName(end)).unwrap()
    };
    let reply = name("API.Example.org.");
    assert_eq!(reply.explanation, "rule 1 allows it, once the run has asked for the name");
    assert_eq!(name("example.org").verdict, "deny");
    let audit = parsed(&POLICY.replace("ttl =", "mode = \"audit\"\n    ttl ="));
    let reply = ask(&audit, &work, &open("/home/u/work/.env", "read")).unwrap();
    assert_eq!(reply.explanation, "rule 2 denies it; audit mode lets it pass");
}

#[test]
fn what_does_not_fit_the_policy_is_refused_with_the_remedy() {
    let policy = parsed(POLICY);
    let told =
        |given: &[(&str, &str)], path: &str| ask(&policy, given, &open(path, "read")).unwrap_err();
    let missing =
        "policy \"p\" needs parameter \"workspace\"; give it with --param workspace=FOLDER";
    assert_eq!(told(&[], "/etc/passwd"), missing);
    let unknown = "policy \"p\" has no parameter \"home\"; its parameters are workspace";
    assert_eq!(told(&[("home", "/home/u")], "/etc/passwd"), unknown);
    assert!(told(&[("workspace", "work")], "/etc/passwd").contains("no absolute path"));
    let work = [("workspace", "/home/u/work")];
    assert!(told(&work, "/home/u/work/../.env").contains("write where the file really lies"));
    assert!(told(&[("workspace", "/home/../etc")], "/etc/passwd").contains("`..`"));
    let right = ask(&policy, &work, &open("/etc/passwd", "raed")).unwrap_err();
    assert!(right.contains("the rights are"), "{right}");
}

#[test]
fn a_policy_is_shown_with_the_numbers_of_its_rules() {
    let shown = serde_json::to_value(shown(&parsed(POLICY), POLICY)).unwrap();
    assert_eq!(shown["capabilities"], serde_json::json!(["net_raw"]));
    let expected = serde_json::json!([
        { "rule": 1, "text": "allow read on ${workspace}/**", "because": null },
        {
            "rule": 2,
            "text": "deny read, write, create, delete, exec, connect on **/.env",
            "because": "secrets are not part of it"
        },
    ]);
    assert_eq!(shown["file"], expected);
    let net = serde_json::json!([{
        "rule": 1,
        "text": "allow connect to *.example.org:443",
        "resolves_to": ["10.1.0.0/16"],
        "because": null
    }]);
    assert_eq!(shown["net"], net);
}

/// P8: an abstract name that no socket can have is a mistake, and of others the smallest grant is told.
#[test]
fn abstract_names_are_explained() {
    let text = "name = 'p'\nttl = '1m'\n[[unix]]\nabstract = ['app-*']\nallow = ['connect']";
    let policy = parsed(text);
    let connect = |name: &str| {
        let socket = AbstractSocket { name: name.to_owned() };
        explain(&policy, &BTreeMap::new(), &WhyRequest::ConnectAbstract(socket))
    };
    let reply = connect("app-1").unwrap();
    assert_eq!((reply.verdict.as_str(), reply.rule), ("allow", Some(1)));
    assert_eq!(reply.rule_text.unwrap(), "allow connect on @app-*");
    let listen = WhyRequest::ListenAbstract(AbstractSocket { name: "app-1".to_owned() });
    let reply = explain(&policy, &BTreeMap::new(), &listen).unwrap();
    assert_eq!(reply.verdict, "deny");
    assert_eq!(reply.explanation, "no rule: missing grant listen on @app-1");
    let grant = reply.grant.unwrap();
    assert_eq!(grant, "[[unix]]\nabstract = [\"app-1\"]\nallow = [\"listen\"]\n");
    let wider = parsed(&format!("{text}\n{grant}"));
    assert_eq!(explain(&wider, &BTreeMap::new(), &listen).unwrap().verdict, "allow");
    assert_eq!(connect("x").unwrap().verdict, "deny");
    for name in [String::new(), "x".repeat(108)] {
        assert!(matches!(connect(&name), Err(ExplainError::Refused(_))), "{name}");
    }
}
