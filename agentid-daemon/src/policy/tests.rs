mod expect;
mod remedies;

use std::time::Duration;

use agentid_common::{
    capability::Capabilities,
    file::Rights,
    instance::Ladder,
    net::{ICMP, TCP, UDP, Verb},
    verdict::Mode,
};
use proptest::prelude::*;

use super::*;

const GOOD: &str = include_str!("../../../tests/golden/policy.toml");

fn errors(text: &str) -> String {
    let errors = parse("p.toml", text).expect_err("the policy has a mistake");
    errors.iter().map(|error| format!("{error}\n")).collect()
}

/// The one mistake of a good policy to which something is added.
#[track_caller]
fn refused(more: &str, message: &str) {
    let text = format!("name = \"p\"\nttl = \"1m\"\n{more}\n");
    let errors = parse("p.toml", &text).expect_err(more);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let said = errors[0].to_string();
    assert!(said.contains(message), "{said}");
}

#[track_caller]
fn refused_path(path: &str, message: &str) {
    refused(&format!("[[file]]\npaths = ['{path}']\nallow = ['read']"), message);
}

#[track_caller]
fn refused_peer(peer: &str, message: &str) {
    refused(&format!("[[net]]\nto = ['{peer}']\nallow = ['connect']"), message);
}

fn target(text: &str) -> (String, u8, u16, u16) {
    let [super::target::End::Address(target)] = super::target::parse(text).unwrap()[..] else {
        panic!("{text} is no address with one port or range");
    };
    (target.prefix.address().to_string(), target.prefix.bits(), target.first, target.last)
}

#[test]
fn a_delegation_names_policies_and_their_places() {
    let text = "name = 'p'\nttl = '1m'\n[delegate]\nto = ['tester', 'reader']\ndepth = 0x2\n";
    let policy = parse("p.toml", text).unwrap();
    let delegate = policy.delegate().unwrap();
    assert_eq!((delegate.depth, delegate.fan_out), (2, 8));
    let to: Vec<_> =
        delegate.to.iter().map(|it| (it.policy.as_str(), it.line, it.column)).collect();
    assert_eq!(to, [("tester", 4, 7), ("reader", 4, 17)]);
    assert_eq!(parse("p.toml", GOOD).unwrap().delegate(), None);
}

#[test]
fn a_limit_is_there_where_it_is_named() {
    let limit = |more: &str| {
        let policy = parse("p.toml", &format!("name = 'p'\nttl = '1m'\n{more}"));
        policy.expect("it has no mistake").limits().denials_per_minute
    };
    assert_eq!(limit("[limits]\ndenials_per_minute = 20"), Some(20));
    assert_eq!((limit("[limits]"), limit("")), (None, None));
}

#[test]
fn a_tripwire_denies_and_is_about_what_the_run_does_itself() {
    let text = "name = 'p'\nttl = '1m'\n[[file]]\npaths = ['/x']\ndeny = 'all'\n";
    let tripwires = |more: &str| {
        parse("p.toml", &format!("{text}{more}")).expect("it has no mistake").has_tripwires()
    };
    assert!(!tripwires("") && !tripwires("tripwire = false"));
    assert!(tripwires("tripwire = true"));
    let net = |key: &str| {
        format!("[[net]]\n{key} = ['192.0.2.1:*']\nproto = 'tcp'\ndeny = 'all'\ntripwire = true")
    };
    assert!(tripwires(&net("to")));
    refused(&net("on"), "whoever connects to the run could end it");
    let allows = "[[file]]\npaths = ['/x']\nallow = ['read']\ntripwire = ";
    refused(&format!("{allows}true"), "in a rule that allows");
    refused(&format!("{allows}'yes'"), "true or false");
    refused("[delegate]\nto = ['p']\non_excess = 'kill'", "unknown value `kill`");
}

#[test]
fn what_a_run_may_use_is_said_in_the_words_of_the_field() {
    let limits = |more: &str| {
        let policy = parse("p.toml", &format!("name = 'p'\nttl = '1m'\n[limits]\n{more}"));
        let limits = policy.expect("it has no mistake").limits();
        (limits.memory, limits.tasks, limits.cpu)
    };
    let all = "memory = '1536MiB'\ntasks = 500\ncpu = '150%'";
    assert_eq!(limits(all), (Some(3 << 29), Some(500), Some(150)));
    assert_eq!(limits("memory = '1024KiB'"), (Some(1 << 20), None, None));
    assert_eq!(limits("memory = '1024TiB'").0, Some(1 << 50));
    assert_eq!(limits("tasks = 4194304").1, Some(1 << 22));
    assert_eq!((limits("cpu = '1%'").2, limits("cpu = '100000%'").2), (Some(1), Some(100_000)));
    for memory in ["", "2", "2G", "2GB", "2 GiB", "-2GiB", "1.5GiB", "GiB", "2gib", "2GiB "] {
        refused(&format!("[limits]\nmemory = '{memory}'"), "is no amount of memory");
    }
    for memory in ["1023KiB", "0GiB", "1025TiB", "18446744073709551615TiB"] {
        refused(&format!("[limits]\nmemory = '{memory}'"), "is not between 1MiB and 1024TiB");
    }
    for cpu in ["", "1.5", "150", "150 %", "%", "-1%", "1.5%", "99999999999999999999%"] {
        refused(&format!("[limits]\ncpu = '{cpu}'"), "is no share of processors");
    }
    for cpu in ["0%", "100001%", "4294967297%"] {
        refused(&format!("[limits]\ncpu = '{cpu}'"), "is not between 1% and 100000%");
    }
    refused("[limits]\ntasks = 0", "`tasks` is a number from 1 to 4194304");
    refused("[limits]\ntasks = 4194305", "`tasks` is a number from 1 to 4194304");
    refused("[limits]\nmemory = 5", "a string is expected, not integer");
    refused("[limits]\nmemroy = '2GiB'", "did you mean `memory`?");
}

#[test]
fn a_unit_of_others_is_answered_with_ours() {
    let said = errors("name = 'p'\nttl = '1m'\n[limits]\nmemory = '512M'\n");
    assert!(said.contains("such as `512MiB`"), "{said}");
    let said = errors("name = 'p'\nttl = '1m'\n[limits]\nmemory = '2gb'\n");
    assert!(said.contains("such as `2GiB`"), "{said}");
}

#[test]
fn reads_what_the_document_says() {
    let policy = parse("p.toml", GOOD).unwrap();
    assert_eq!(policy.name(), "code-review");
    assert_eq!(policy.description(), "review one branch of one repository");
    assert_eq!(policy.ttl(), Duration::from_secs(1800));
    assert_eq!(policy.max_ttl(), Duration::from_secs(7200));
    assert_eq!(policy.params(), ["workspace"]);
    assert_eq!((policy.mode(), policy.on_end()), (Mode::ENFORCE, Ladder::KILL));
    assert_eq!(policy.file_rules()[2].effect, Effect::Deny(Rights::ALL));
    assert!(policy.because_file(3).unwrap().starts_with("hooks"));
    assert_eq!(policy.because_file(0), None);
    assert_eq!(policy.because_net(9), None);
    assert_eq!(policy.net_rules()[0].protocols, [TCP]);
    assert_eq!(policy.net_rules()[1].protocols, [TCP, UDP, ICMP]);
}

#[test]
fn reads_the_policy_that_ships() {
    let text = include_str!("../../dist/policies/coding-agent.toml");
    let policy = parse("coding-agent.toml", text).unwrap();
    assert_eq!(policy.name(), "coding-agent");
    assert_eq!(policy.params(), ["workspace"]);
}

#[test]
fn names_all_mistakes_with_their_places() {
    let text = include_str!("../../../tests/golden/policy-mistakes.toml");
    golden::check("policy-mistakes.errors.txt", &errors(text));
}

#[test]
fn defaults_are_the_strict_ones() {
    let policy = parse("p.toml", "name = 'p'\nttl = '1h30m'").unwrap();
    assert_eq!((policy.mode(), policy.on_end()), (Mode::ENFORCE, Ladder::KILL));
    assert_eq!(policy.max_ttl(), Duration::from_secs(5400));
    let policy = parse("p.toml", "name='p'\nttl='1s'\nmode='audit'\non_end='deny'").unwrap();
    assert_eq!((policy.mode(), policy.on_end()), (Mode::AUDIT, Ladder::DENY));
}

#[test]
fn a_policy_needs_a_name_and_an_end() {
    assert_eq!(
        errors(""),
        "p.toml:1:1: policy has no `name`\n  help: name = \"my-policy\"\n\
         p.toml:1:1: policy has no `ttl`\n  help: every run ends: ttl = \"30m\"\n"
    );
}

#[test]
fn refuses_values_that_mean_nothing() {
    refused("mode = 'enforced'", "did you mean `enforce`?");
    refused("on_end = 'stop'", "values: kill, freeze, deny");
    refused("max_ttl = '1s'", "shorter than `ttl`");
    refused("max_ttl = '400d'", "longer than 365d");
    refused("max_ttl = '30m1h'", "not a duration");
    refused("max_ttl = '0s'", "duration is zero");
    refused("max_ttl = 5", "a string is expected, not integer");
    let four = "['${a}', '${b}', '${c}', '${d}']\nallow = ['read']";
    refused(&format!("params = ['a', 'b', 'c', 'd']\n[[file]]\npaths = {four}"), "at most 3");
    let two = "['${a}']\nallow = ['read']";
    refused(&format!("params = ['a', 'a']\n[[file]]\npaths = {two}"), "stands here twice");
    refused("params = ['A']\n[[file]]\npaths = ['${A}']\nallow = ['read']", "cannot be the name");
}

#[test]
fn refuses_what_is_not_supported_yet() {
    refused("[delegate]\ndepth = 1", "`to` names nothing");
    refused("[delegate]\nto = ['X']", "`X` cannot be the name of a policy");
    refused("[delegate]\nto = ['x']\ndepth = 4", "`depth` is a number from 1 to 3");
    refused("[delegate]\nto = ['x']\nfan_out = 0", "`fan_out` is a number from 1 to 1024");
    refused("[delegate]\nto = ['x']\nfanout = 2", "did you mean `fan_out`?");
    refused(
        "[limits]\ndenials_per_minute = 0",
        "`denials_per_minute` is a number from 1 to 1000000",
    );
    refused("[limits]\ndenials_per_hour = 9", "did you mean `denials_per_minute`?");
    refused("delegate = ['x']", "a table is expected, not array");
    refused_path("/x/[a-z]", "`[` within a name is not supported yet");
    refused_path("/x/*.{pem,key}", "`{` within a name is not supported yet");
    refused_peer("unix:/run/x.sock", "no address, but a unix socket");
}

#[test]
fn rules_about_unix_sockets_are_counted_on_after_those_of_files() {
    let text = "name = 'p'\nttl = '1m'\n[[unix]]\nabstract = ['a', '/b/*']\nallow = ['connect', 'listen']\n\
                [[unix]]\npaths = ['/run/x/*']\nallow = ['connect']\n[[unix]]\nabstract = ['c']\ndeny = 'all'\n\
                [[file]]\npaths = ['/d']\nallow = ['read']";
    let policy = parse("p.toml", text).unwrap();
    let both = Rights::CONNECT.union(Rights::CREATE);
    let rules = policy.file_rules();
    let texts: Vec<Vec<&str>> =
        rules.iter().map(|it| it.patterns.iter().map(|it| it.text.as_str()).collect()).collect();
    assert_eq!(texts, [vec!["/d"], vec!["@a", "@/b/*"], vec!["/run/x/*"], vec!["@c"]]);
    let effects: Vec<_> = rules.iter().map(|rule| rule.effect).collect();
    let connect = Effect::Allow(Rights::CONNECT);
    let expected = [Effect::Allow(Rights::READ), Effect::Allow(both), connect, Effect::Deny(both)];
    assert_eq!(effects, expected);
    assert_eq!(
        rules.iter().map(FileRule::is_abstract).collect::<Vec<_>>(),
        [false, true, false, true]
    );
}

#[test]
fn refuses_what_no_unix_socket_can_be() {
    let rule = |name: &str| format!("[[unix]]\nabstract = ['{name}']\nallow = ['connect']");
    refused(&rule(""), "abstract name is empty");
    refused(&rule("@x"), "begins with `@`");
    refused(&rule("a**"), "write `*`");
    refused(&rule("[a]"), "`[` within a name");
    refused(&rule("${x}"), "`${x}` within a pattern");
    refused(&rule(&"x".repeat(108)), "longer than 107 bytes");
    refused(&rule("/tmp/dbus-*"), "add `ends_sandbox = true`");
    let allow = "allow = ['connect']";
    refused(&format!("[[unix]]\n{allow}"), "rule names no socket");
    refused(&format!("[[unix]]\npaths = []\n{allow}"), "`paths` names nothing");
    refused(
        &format!("[[unix]]\npaths = ['/x']\nabstract = ['x']\n{allow}"),
        "give each a table of its own",
    );
    refused("[[unix]]\npaths = ['/x']\nallow = ['listen']", "allow `create` there in [[file]]");
    refused("[[unix]]\npaths = ['/x']\nallow = ['read']", "rights: connect, listen");
    refused(
        &format!("[[unix]]\nabstract = ['x']\npeer = 'own'\n{allow}"),
        "is free without a rule",
    );
    refused("[[unix]]\nabstract = ['x']\nallow = ['connect']\ntripwire = true", "write `deny`");
}

#[test]
fn grants_a_servant_only_where_the_rule_says_that_it_ends_the_sandbox() {
    let rule =
        |path: &str, more: &str| format!("[[file]]\npaths = ['/run/pg/*', '{path}']\n{more}");
    let connect = "allow = ['read', 'connect']";
    refused(&rule("/run/docker.sock", connect), "p.toml:4:23: `/run/docker.sock` grants");
    refused(&rule("/run/**", &format!("{connect}\nends_sandbox = false")), "ends_sandbox = true");
    refused(&rule("/x", "allow = ['read']\nends_sandbox = true"), "does not allow `connect`");
    refused(&rule("/x", &format!("{connect}\nends_sandbox = 'yes'")), "true or false");
    for more in
        [rule("/run/docker.sock", &format!("{connect}\nends_sandbox = true")), rule("/x", connect)]
    {
        let policy = parse("p.toml", &format!("name = 'p'\nttl = '1m'\n{more}")).unwrap();
        assert_eq!(
            policy.file_rules()[0].effect,
            Effect::Allow(Rights::READ.union(Rights::CONNECT))
        );
    }
    for more in [rule("/run/**", "allow = ['read']"), rule("/run/**", "deny = ['connect']")] {
        assert!(parse("p.toml", &format!("name = 'p'\nttl = '1m'\n{more}")).is_ok(), "{more}");
    }
}

#[test]
fn refuses_paths_that_name_nothing() {
    refused_path("usr/lib", "not an absolute path");
    refused_path("/usr/", "`/usr/**` the folder and everything below it");
    refused_path("/usr//lib", "empty name");
    refused_path("/usr/../etc", "`..` in a pattern");
    refused_path("/usr/lib**", "`**` stands alone");
    refused_path("*.pem", "begin with `/`, `**/` or `${parameter}/`");
    refused_path("/proc/self/fd/*", "/proc/self names whoever asks");
    refused_path("${home}/x", "declare it: params = [\"home\"]");
    refused_path("/x/${home}", "a parameter stands at the beginning");
    refused("[[file]]\npaths = [\"/a\\u0000\"]\nallow = ['read']", "zero character");
    refused_path("/proc/self/environ", "/proc/self names whoever asks");
    refused_path("/proc/thread-self", "/proc/thread-self names whoever asks");
    refused_path("/dev/fd/**", "/dev/fd names whoever asks");
}

#[test]
fn refuses_globs_that_cannot_be_meant() {
    let said = |path: &str| {
        let flaw = super::pattern::parse(path, &[]).unwrap_err();
        format!("{}; {}", flaw.message, flaw.help.unwrap_or_default())
    };
    assert_eq!(
        said("/x/*.[ch]"),
        "`[` within a name is not supported yet; \
         write each name, or `*` for any part of a name and `?` for one byte"
    );
    assert_eq!(said("/x/a**b"), "`**` within the name `a**b`; `**` stands alone between slashes");
    assert_eq!(
        said("/x/a\\*b"),
        "`\\*` in the name `a\\*b`: a `\\` does not make a sign plain; \
         write `?` in the place of the sign"
    );
    let long = format!("/x/{}*", "a".repeat(64));
    assert_eq!(
        said(&long),
        "name with `*` or `?` is longer than 64 bytes; \
         write the name in full, or a shorter part of it and `*`"
    );
    assert!(super::pattern::parse(&long[..long.len() - 2], &[]).is_ok());
    assert!(super::pattern::parse(&format!("/x/{}*", "a".repeat(63)), &[]).is_ok());
}

#[test]
fn refuses_rules_that_say_nothing() {
    refused("[[file]]\npaths = ['/x']", "neither `allow` nor `deny`");
    refused("[[file]]\npaths = ['/x']\nallow = ['read']\ndeny = 'all'", "both `allow` and `deny`");
    refused("[[file]]\npaths = ['/x']\nallow = 'all'", "name each right in a list");
    refused("[[file]]\npaths = ['/x']\nallow = []", "list names no right");
    refused("[[file]]\npaths = []\nallow = ['read']", "`paths` names nothing");
    refused("[[file]]\nallow = ['read']", "`paths` names nothing");
    refused("params = ['workspace']", "used by no rule");
    refused("[file]\npaths = ['/x']", "an array of tables is expected, not table");
}

#[test]
fn each_verb_has_its_side_and_its_protocols() {
    let net = |text: &str, message: &str| refused(&format!("[[net]]\n{text}"), message);
    let ends = "to = ['1.1.1.1:80']\non = ['127.0.0.1:80']";
    net(&format!("{ends}\nallow = ['connect']"), "both `to` and `on`\n  help: make it two rules");
    net("allow = ['connect']", "neither `to` nor `on`\n  help: `to` names peers to connect to");
    net("to = ['1.1.1.1:80']\nallow = ['listen']", "write `on` in the place of `to`");
    net("to = ['1.1.1.1:80']\ndeny = ['accept']", "write `on` in the place of `to`");
    net("on = ['127.0.0.1:80']\nallow = ['connect']", "write `to` in the place of `on`");
    net("on = ['127.0.0.1:80']\nallow = ['bind']", "`listen` covers bind(2)");
    net("on = ['127.0.0.1:80']\nallow = ['lisen']", "did you mean `listen`?");
    net("to = ['1.1.1.1:80']\nallow = ['x']", "rights: connect, send, listen, accept");
    net("to = ['1.1.1.1:80']\nallow = ['send']", "`connect`, or `proto = \"udp\"`");
    net("to = ['1.1.1.1:80']\nproto = ['udp', 'tcp']\nallow = ['send']", "tcp has none");
    net("on = ['0.0.0.0:80']\nproto = 'udp'\nallow = ['accept']", "help: write `listen`");
    net("on = ['0.0.0.0:*']\nproto = 'icmp'\nallow = ['listen']", "icmp has none");
    net("to = ['1.1.1.1:80']\nproto = 'icmp'\nallow = ['connect']", "such as `192.0.2.7:*`");
    net("to = ['1.1.1.1:80']\nproto = 'quic-go'\nallow = ['connect']", "protocols: tcp, udp, icmp");
    net("to = ['1.1.1.1:80']\nproto = ['udpp']\nallow = ['connect']", "did you mean `udp`?");
    net("to = ['1.1.1.1:80']\nproto = []\nallow = ['connect']", "list names no protocol");
    net("to = ['[fe80::1%eth0]:80']\nallow = ['connect']", "write `[fe80::1]`");
}

#[test]
fn a_rule_is_about_what_its_words_stand_for() {
    let about = |rule: &str| {
        let text = format!("name = 'p'\nttl = '1m'\n[[net]]\n{rule}");
        let policy = parse("p.toml", &text).unwrap_or_else(|errors| panic!("{errors:?}"));
        let rule = &policy.net_rules()[0];
        let mut about = String::new();
        for (name, protocol) in PROTOCOLS {
            for verb in Verb::ALL.into_iter().filter(|verb| rule.is_about(*verb, protocol)) {
                about += &format!("{name} {}, ", verb.name());
            }
        }
        about
    };
    let to = "to = ['1.1.1.1:*']";
    assert_eq!(about(&format!("{to}\nallow = ['connect']")), "tcp connect, ");
    let all = "tcp connect, udp connect, udp send, icmp connect, icmp send, ";
    assert_eq!(about(&format!("{to}\ndeny = 'all'")), all);
    assert_eq!(about(&format!("{to}\ndeny = ['connect']")), all);
    assert_eq!(about(&format!("{to}\nproto = ['icmp', 'tcp', 'udp']\nallow = ['connect']")), all);
    let send = "udp send, icmp send, ";
    assert_eq!(about(&format!("{to}\nproto = ['udp', 'icmp']\nallow = ['send']")), send);
    let on = "on = ['0.0.0.0:80']";
    assert_eq!(about(&format!("{on}\nallow = ['listen']")), "tcp listen, tcp accept, ");
    assert_eq!(about(&format!("{on}\nallow = ['accept']")), "tcp accept, ");
    assert_eq!(about(&format!("{on}\nproto = 'udp'\nallow = ['listen']")), "udp listen, ");
    let all = "tcp listen, tcp accept, udp listen, ";
    assert_eq!(about(&format!("{on}\ndeny = 'all'")), all);
}

#[test]
fn leaves_the_usual_capabilities_and_those_that_are_named() {
    let capabilities = |more: &str| {
        let text = format!("name = 'p'\nttl = '1m'\n{more}\n");
        parse("p.toml", &text).unwrap().capabilities()
    };
    let number = |name| agentid_common::capability::number(name).unwrap();
    assert_eq!(capabilities(""), Capabilities::USUAL);
    assert_eq!(capabilities("capabilities = []"), Capabilities::USUAL);
    let found = capabilities("capabilities = ['net_raw', 'syslog']");
    assert_eq!(found, Capabilities::USUAL.with(number("net_raw")).with(number("syslog")));
    let found = capabilities("ends_sandbox = true\ncapabilities = ['sys_module']");
    assert_eq!(found, Capabilities::USUAL.with(number("sys_module")));
}

#[test]
fn refuses_capabilities_that_nobody_means() {
    let refused =
        |names: &str, message| super::tests::refused(&format!("capabilities = {names}"), message);
    refused("['net_row']", "did you mean `net_raw`?");
    refused("['CAP_NET_RAW']", "did you mean `net_raw`?");
    refused("['everything']", "names are those of capabilities(7)");
    refused("['syslog', 'syslog']", "`syslog` stands here twice");
    refused("['chown']", "leave it out");
    refused("'syslog'", "an array of strings is expected");
    for name in ["sys_admin", "sys_module", "sys_rawio", "sys_boot", "bpf", "perfmon"] {
        refused(&format!("['{name}']"), "add `ends_sandbox = true` to the policy");
    }
    refused("['syslog']\nends_sandbox = true", "grants no capability that does");
    refused("['bpf']\nends_sandbox = false", "add `ends_sandbox = true` to the policy");
}

#[test]
fn refuses_peers_that_name_nothing() {
    refused_peer("10.0.0.1", "names no port");
    refused_peer("10.0.0.1:0", "port 0 is no port");
    refused_peer("10.0.0.1:90-80", "did you mean `80-90`?");
    refused_peer("10.0.0.1:+80", "not a port");
    refused_peer("10.0.0.1:80000", "not a port");
    refused_peer("10.0.0.0/33:80", "from /0 to /32");
    refused_peer("10.1.2.3/16:80", "did you mean `10.1.0.0/16`?");
    refused_peer("[2001:db8::1]/32:80", "did you mean `[2001:db8::]/32`?");
    refused_peer("[2001:db8::/32]:80", "write `[2001:db8::]/32:80`");
    refused_peer("2001:db8::1", "IPv6 address without brackets");
    refused_peer("10.0.1:80", "not an IPv4 address");
    refused_peer("*:80", "`0.0.0.0/0` or `[::]/0`");
    refused_peer("[::1:80", "`[` without `]`");
}

#[test]
fn reads_peers() {
    assert_eq!(target("10.1.0.0/16:5432"), ("::ffff:10.1.0.0".into(), 112, 5432, 5432));
    assert_eq!(target("192.0.2.7:*"), ("::ffff:192.0.2.7".into(), 128, 0, 65535));
    assert_eq!(target("127.0.0.1:8000-8999"), ("::ffff:127.0.0.1".into(), 128, 8000, 8999));
    assert_eq!(target("[2001:db8::]/32:443"), ("2001:db8::".into(), 32, 443, 443));
    assert_eq!(target("0.0.0.0/0:1"), ("::ffff:0.0.0.0".into(), 96, 1, 1));
    assert_eq!(target("[::]/0:1"), ("::".into(), 0, 1, 1));
    assert_eq!(target("[::ffff:10.1.0.0]/112:1"), target("10.1.0.0/16:1"));
}

#[test]
fn reads_patterns() {
    let pattern = |text: &str| super::pattern::parse(text, &["ws".to_owned()]).unwrap();
    assert_eq!(pattern("/").components, []);
    assert_eq!(
        pattern("/**/**/.env"),
        Pattern { text: "/**/**/.env".into(), ..pattern("**/.env") }
    );
    assert_eq!(pattern("/usr/**").prefix(), std::path::Path::new("/usr"));
    assert_eq!(pattern("/a/b/**/c").prefix(), std::path::Path::new("/a/b"));
    let glob = |text: &str| Component::Glob(text.to_owned());
    assert_eq!(pattern("**/*.pem").components, [Component::Any, glob("*.pem")]);
    assert_eq!(pattern("${ws}/.?*/**").components, [glob(".?*"), Component::Any]);
    assert_eq!(pattern("/a/b*/c").prefix(), std::path::Path::new("/a"));
    assert_eq!(pattern("/*").prefix(), std::path::Path::new("/"));
    assert_eq!(pattern("/a\\b").components, [Component::Name("a\\b".into())]);
    assert_eq!(pattern("${ws}").root, Root::Parameter(0));
    assert_eq!(pattern("${ws}/**").components, [Component::Any]);
}

#[test]
fn reports_every_fault_of_the_syntax() {
    let said = errors("name = \"p\nttl = '1m'\nparams = [,]\n");
    assert!(said.starts_with("p.toml:1:"), "{said}");
    assert!(said.contains("p.toml:3:"), "{said}");
}

proptest! {
    #[test]
    fn never_panics(text in "(?s).{0,200}") {
        let faulty = parse("p.toml", &text);
        prop_assert!(faulty.is_err());
    }

    #[test]
    fn never_panics_on_values(path in ".{0,40}", peer in ".{0,40}", ttl in "[0-9smhd]{0,24}") {
        let quote = |text: &str| toml::Value::from(text).to_string();
        let (path, peer, ttl) = (quote(&path), quote(&peer), quote(&ttl));
        let rest = "[[file]]\nallow = ['read']\npaths = ";
        let text = format!(
            "name = 'p'\nttl = {ttl}\n{rest}[{path}]\n[[net]]\nto = [{peer}]\nallow = ['connect']\n"
        );
        for error in parse("p.toml", &text).err().unwrap_or_default() {
            prop_assert!((1..=7).contains(&error.line), "{error}");
        }
    }
}

fn named(text: &str) -> (String, u16, u16) {
    let [super::target::End::Name(named)] = &super::target::parse(text).unwrap()[..] else {
        panic!("{text} is an address");
    };
    (named.host.to_string(), named.first, named.last)
}

#[test]
fn a_list_of_ports_is_as_many_targets() {
    let ports = |text: &str| -> Vec<(u16, u16)> {
        let ends = super::target::parse(text).unwrap();
        let ports = ends.iter().map(|end| match end {
            super::target::End::Address(target) => (target.first, target.last),
            super::target::End::Name(named) => (named.first, named.last),
        });
        ports.collect()
    };
    let both = [(80, 80), (8000, 8099)];
    for text in ["192.0.2.7:80,8000-8099", "[2001:db8::]/32:80,8000-8099", "a.example:80,8000-8099"]
    {
        assert_eq!(ports(text), both, "{text}");
    }
    assert_eq!(ports("10.0.0.0/8:443,80,443"), [(443, 443), (80, 80), (443, 443)]);
    for text in ["80,", ",80", "80,,443", "80, 443", ",", " 80,443"] {
        refused_peer(&format!("192.0.2.7:{text}"), "has a space, or a comma without a port");
    }
    refused_peer("192.0.2.7:80,*", "`*` in the list `80,*` is every port");
    refused_peer("192.0.2.7:80,0", "port 0 is no port");
    refused_peer("192.0.2.7:80,90-81", "range of ports `90-81` is empty");
    refused_peer("192.0.2.7:80,http", "`http` is not a port");
    refused_peer("192.0.2.7:80,65536", "`65536` is not a port");
    refused_peer("192.0.2.7:80,192.0.2.8:80", "names more than one address");
    refused_peer("[2001:db8::1]:80,[2001:db8::2]:80", "names more than one address");
    refused_peer("a.example:80,b.example:80", "names more than one address");
    refused("[[net]]\non = ['127.0.0.1:80,']\nallow = ['listen']", "a comma without a port");
    let icmp = "[[net]]\nto = ['192.0.2.7:7,9']\nproto = 'icmp'\nallow = ['connect']";
    refused(icmp, "ports are named, and icmp has none");
}

#[test]
fn names_are_names_with_ports() {
    assert_eq!(named("API.Example.org:443"), ("api.example.org".into(), 443, 443));
    assert_eq!(named("*.example.org:8000-8999"), ("*.example.org".into(), 8000, 8999));
    assert_eq!(named("localhost:*"), ("localhost".into(), 0, u16::MAX));
    assert_eq!(named("_x.xn--bcher-kva.example:1"), ("_x.xn--bcher-kva.example".into(), 1, 1));
    assert_eq!(named("3com.example:1"), ("3com.example".into(), 1, 1));
}

#[test]
fn refuses_what_is_no_name() {
    refused_peer("api.example.org", "`api.example.org` names no port");
    refused_peer("api.example.org.:443", "it ends with a dot");
    refused_peer("bücher.example:443", "it has letters that DNS has not");
    refused_peer("api..example.org:443", "between two dots is nothing");
    refused_peer("api.*.example.org:443", "`*` stands for all names below a domain");
    refused_peer("api*.example.org:443", "`*` stands for all names below a domain");
    refused_peer("*:443", "address is missing");
    refused_peer("a b.example:443", "` ` is in no name");
    refused_peer("http://example.org:443", "IPv6 address without brackets");
    refused_peer("example.org/24:443", "`/24` belongs to an address");
    refused_peer(
        &format!("{}.example:1", "a".repeat(64)),
        "a part of it is longer than 63 letters",
    );
    refused_peer(&format!("{}example:1", "abc.".repeat(64)), "it is longer than 253 letters");
    refused_peer("example.org:0", "port 0 is no port");
}

#[test]
fn names_are_of_peers_and_may_have_addresses_of_their_own() {
    let rule = |more: &str| format!("[[net]]\nto = ['db.example:1']\nallow = ['connect']\n{more}");
    let on = "[[net]]\non = ['db.example:1']\nallow = ['listen']";
    refused(on, "a host name is a peer's");
    refused(&rule("resolves_to = ['10.0.0.0/8:1']"), "names a port");
    refused(&rule("resolves_to = ['db.example']"), "is not an address");
    refused(&rule("resolves_to = []"), "`resolves_to` names nothing");
    let address = "[[net]]\nto = ['10.0.0.1:1']\nallow = ['connect']\nresolves_to = ['10.0.0.0/8']";
    refused(address, "is about host names that the rule allows");
    let denied = "[[net]]\nto = ['db.example:1']\ndeny = 'all'\nresolves_to = ['10.0.0.0/8']";
    refused(denied, "is about host names that the rule allows");
    let text =
        format!("name = 'p'\nttl = '1m'\n{}", rule("resolves_to = ['10.0.0.0/8', '[fd00::]/8']"));
    let policy = parse("p.toml", &text).unwrap();
    assert!(policy.grants_names());
    assert_eq!(policy.net_rules()[0].resolves_to.len(), 2);
    assert!(
        !parse("p.toml", "name = 'p'\nttl = '1m'\n[[net]]\nto = ['db.example:1']\ndeny = 'all'")
            .unwrap()
            .grants_names()
    );
}

#[test]
fn a_name_means_itself_or_all_below() {
    let host = |text: &str| super::Host::parse(text).unwrap();
    for (pattern, name, means) in [
        ("a.example", "a.example", true),
        ("a.example", "b.a.example", false),
        ("*.example", "a.example", true),
        ("*.example", "b.a.example", true),
        ("*.example", "example", false),
        ("*.example", "anexample", false),
        ("*.example", ".example", false),
    ] {
        assert_eq!(host(pattern).means(name), means, "{pattern} {name}");
        let covers = means && super::Host::parse(name).is_ok();
        if let Ok(name) = super::Host::parse(name) {
            assert_eq!(host(pattern).covers(&name), covers, "{pattern} {name}");
        }
    }
    assert!(host("*.example").covers(&host("*.a.example")));
    assert!(host("*.example").covers(&host("*.example")));
    assert!(!host("*.a.example").covers(&host("*.example")));
    assert!(!host("a.example").covers(&host("*.a.example")));
    let around: Vec<String> = super::Host::around("b.a.example").map(|it| it.to_string()).collect();
    assert_eq!(around, ["b.a.example", "*.a.example", "*.example"]);
}
