use super::*;

#[test]
fn shipped_file_says_the_defaults() {
    let text = include_str!("../../dist/agentid.toml");
    assert_eq!(parse("agentid.toml", text), Ok(Settings::default()));
    let spoken: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings = parse("agentid.toml", &spoken).unwrap();
    assert_eq!(
        settings,
        Settings { operators_group: Some("agentid".into()), ..Settings::default() }
    );
}

#[test]
fn takes_every_field() {
    let text = r#"
control = "/tmp/c.sock"
state = "/tmp/state"
policies = "/tmp/policies"
bpffs = "/sys/fs/bpf/other"
metrics = "off"
operators_group = "wheel"
on_enforcement_lost = "deny"
name_servers = ["192.0.2.53", "[2001:db8::53]:5353", "2001:db8::54"]
record_arguments = "all"
keep_ended = "2y"
keep_ended_at_most = 250000
detach_after = "0s"
limited_runs = "/work.slice/agents"
pin_at_least = "90s"
pin_at_most = "1h 30m"
"#;
    let settings = parse("agentid.toml", text).unwrap();
    assert_eq!(settings.metrics, None);
    assert_eq!(settings.control, PathBuf::from("/tmp/c.sock"));
    assert_eq!(settings.operators_group.as_deref(), Some("wheel"));
    assert_eq!(settings.on_enforcement_lost, OnEnforcementLost::Deny);
    let servers: Vec<String> = settings.name_servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["192.0.2.53:53", "[2001:db8::53]:5353", "[2001:db8::54]:53"]);
    assert_eq!(settings.record_arguments, RecordArguments::All);
    assert_eq!(settings.keep_ended.as_secs() / 86_400, 730);
    assert_eq!(settings.keep_ended_at_most, 250_000);
    assert_eq!(settings.detach_after.as_secs(), 0);
    assert_eq!(settings.limited_runs, PathBuf::from("/work.slice/agents"));
    assert_eq!((settings.pin_at_least.as_secs(), settings.pin_at_most.as_secs()), (90, 5400));
}

#[track_caller]
fn refused(text: &str, place: &str, part: &str) {
    let error = parse("agentid.toml", text).unwrap_err().to_string();
    assert!(error.starts_with(&format!("agentid.toml:{place}: ")), "{error}");
    assert!(error.contains(part), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn names_the_place_of_a_mistake() {
    refused("state = \"/a\"\nmetric = \"off\"\n", "2:1", "unknown field `metric`");
    refused("\nstate = \"var\"\n", "2:9", "var is not an absolute path");
    refused("metrics = \"everywhere\"", "1:11", "neither an address with a port");
    refused("name_servers = [\"dns.example\"]", "1:16", "is not an address of a server");
    refused("runs_per_user = 0", "1:17", "is not between 1 and 16383");
    refused("runs_per_user = 16384", "1:17", "is not between 1 and 16383");
    refused("keep_ended_at_most = 0", "1:22", "is not between 1 and 1000000");
    refused("keep_ended_at_most = 1000001", "1:22", "is not between 1 and 1000000");
    refused("keep_ended = \"11y\"", "1:14", "is not between 1s and 10y");
    refused("pin_at_least = \"0s\"", "1:16", "is not between 1s and 7d");
    refused("pin_at_most = \"8d\"", "1:15", "is not between 1s and 7d");
    refused("on_enforcement_lost = \"ignore\"", "1:23", "unknown variant `ignore`");
    refused("record_arguments = \"some\"", "1:20", "unknown variant `some`");
    refused("operators_group = \"\"", "1:19", "leave the field out");
    for path in ["agents", "/", "/a/../b"] {
        refused(&format!("limited_runs = \"{path}\""), "1:16", path);
    }
    refused("control = \n", "1:11", "");
}
