use agentid_common::{
    file::{MAX_DEPTH, Rights},
    verdict::{Reason, Refusal, TRIPWIRE},
};

use super::{
    super::{CompileError, Image, Numbers, Readable, compile, prefixes},
    host::{Host, KEY, Run, parsed},
};
use crate::policy::{golden, parse};

fn run(host: Host, rules: &str) -> Run {
    Run::new(host, &parsed(rules))
}

fn allow(paths: &str) -> String {
    format!("[[file]]\npaths = [{paths}]\nallow = ['read']\n")
}

#[test]
fn image_of_a_policy_is_the_golden_one() {
    let policy =
        parse("policy.toml", include_str!("../../../../tests/golden/policy.toml")).unwrap();
    let host = Host::usual().mount("/usr/local", "/", 4);
    let terrain = host.terrain(&prefixes(&policy));
    let compiled = compile(&policy, &terrain, &KEY, &mut Numbers::new(1)).unwrap();
    let mut image = Image::default();
    image.apply_all(&compiled.ops);
    let text = Readable { image: &image, names: &compiled.names }.to_string();
    golden::check("policy.image.txt", &text);
}

#[test]
fn two_stars_are_the_folder_and_all_below() {
    let run = run(Host::usual(), &allow("'/usr/**', '/etc/hosts'"));
    for path in ["/usr", "/usr/bin", "/usr/bin/sh", "/usr/new/deep/file", "/etc/hosts"] {
        assert_eq!(run.access(path, Rights::READ), Ok(1), "{path}");
    }
    for path in ["/", "/etc", "/etc/hosts/x", "/etc/shadow", "/usrx", "/home/u"] {
        assert!(!run.reads(path), "{path}");
    }
    assert!(run.access("/usr/bin", Rights::WRITE).is_err());
    assert!(run.access("/usr/bin", Rights::READ.union(Rights::WRITE)).is_err());
}

#[test]
fn a_place_has_at_most_as_many_names_as_the_kernel_goes_up() {
    let run = run(Host::usual(), &allow("'/**'"));
    // The root is one of them.
    let names = |count: usize| "/x".repeat(count - 1);
    assert!(run.reads(&names(MAX_DEPTH as usize)));
    let deeper = run.access(&names(MAX_DEPTH as usize + 1), Rights::READ);
    assert_eq!(deeper, Err(Refusal::denied(Reason::TooDeep)));
}

#[test]
fn rights_add_up_over_rules() {
    let rules = allow("'/srv/**'") + "[[file]]\npaths = ['/srv/a/**']\nallow = ['write']";
    let run = run(Host::usual(), &rules);
    assert!(run.access("/srv/a/x", Rights::READ.union(Rights::WRITE)).is_ok());
    assert!(run.access("/srv/b/x", Rights::READ.union(Rights::WRITE)).is_err());
}

#[test]
fn a_denial_names_its_rule() {
    let rules = allow("'/srv/**'") + "[[file]]\npaths = ['**/.env']\ndeny = 'all'";
    let run = run(Host::usual(), &rules);
    let denied = Err(Refusal::by_rule(2));
    assert_eq!(run.access("/srv/x/.env", Rights::READ), denied);
    assert_eq!(run.access("/.env", Rights::READ), denied);
    assert!(run.reads("/srv/x/.env/y"));
}

/// Whichever stands first, and wherever they are anchored.
#[test]
fn of_rules_that_deny_a_tripwire_is_the_one_that_is_met() {
    let plain = |paths: &str| format!("[[file]]\npaths = [{paths}]\ndeny = ['read', 'write']\n");
    let wired =
        |paths: &str| format!("[[file]]\npaths = [{paths}]\ndeny = 'all'\ntripwire = true\n");
    let met = |rule| Err(Refusal::by_rule(TRIPWIRE | rule));
    let pairs = [
        ("'**/key'", "'/srv/**'"),
        ("'/srv/**'", "'**/key'"),
        ("'/srv/a/key'", "'/srv/a/k*'"),
        ("'**/a/*'", "'/srv/**/key'"),
    ];
    for (one, other) in pairs {
        let first = run(Host::usual(), &(plain(one) + &wired(other)));
        let last = run(Host::usual(), &(wired(one) + &plain(other)));
        for right in [Rights::READ, Rights::WRITE, Rights::EXEC] {
            assert_eq!(first.access("/srv/a/key", right), met(2), "{one} {other}");
            assert_eq!(last.access("/srv/a/key", right), met(1), "{one} {other}");
        }
        let allowed = run(Host::usual(), &(allow("'/srv/**'") + &wired(one)));
        assert_eq!(allowed.access("/srv/a/key", Rights::READ), met(2), "{one}");
    }
}

#[test]
fn a_bind_mount_changes_nothing() {
    let host = Host::usual().mount("/mnt", "/srv", 1).mount("/etc/copy", "/usr/lib", 1);
    let run = run(host, &allow("'/usr/**', '/mnt/x/**'"));
    assert!(run.reads("/etc/copy/libc.so"));
    assert!(run.reads("/mnt/x/1") && run.reads("/srv/x/1"));
    assert!(!run.reads("/srv/y"));
}

#[test]
fn patterns_reach_past_mount_points() {
    let host = Host::usual().mount("/usr/local", "/vol", 5).mount("/usr/share/doc", "/", 6);
    let run = run(host, &allow("'/usr/**/doc/**', '/usr/local/bin/**'"));
    assert!(run.reads("/usr/share/doc/x"));
    assert!(run.reads("/usr/local/bin/x"));
    assert!(run.reads("/usr/local/share/doc/x"));
    assert!(!run.reads("/usr/local/x"));
}

#[test]
fn what_does_not_exist_yet_is_granted_by_name() {
    let run = run(Host::usual(), &allow("'/srv/new/deeper/**'"));
    assert!(run.reads("/srv/new/deeper/x"));
    assert!(!run.reads("/srv/new/x"));
}

#[test]
fn pseudo_filesystems_are_judged_by_type() {
    let mut run = run(Host::usual(), &allow("'/proc/meminfo', '/proc/sys/**'"));
    assert!(run.reads("/proc/meminfo") && run.reads("/proc/sys/x"));
    assert!(!run.reads("/proc/1/environ"));
    // Another instance of procfs, which nobody has surveyed.
    run.host = Host::new().mount("/proc", "/", 77);
    assert!(run.reads("/proc/meminfo"));
}

#[test]
fn an_unknown_filesystem_is_refused() {
    let mut run = run(Host::usual(), &allow("'/**'"));
    assert!(run.reads("/anything") && run.reads("/run/x") && run.reads("/proc/1/environ"));
    run.host = run.host.mount("/media", "/", 50);
    assert_eq!(run.access("/media/x", Rights::READ), Err(Refusal::denied(Reason::NoRule)));
    let mut place = run.host.place("/media/x");
    place.levels.iter_mut().for_each(|level| level.anchor.filesystem = 0);
    let unknown = Err(Refusal::denied(Reason::UnknownFilesystem));
    let view = run.image.at(0);
    let found =
        agentid_common::decide::file::may_access(&view, &super::host::TAG, &place, Rights::READ);
    assert_eq!(found, unknown);
}

#[test]
fn links_of_the_system_are_followed() {
    let policy = parsed(&allow("'/lib/x/**'"));
    let host = Host::usual();
    let mut terrain = host.terrain(&["/usr/lib".into()]);
    terrain.folders[0].asked = "/lib/x".into();
    terrain.folders[0].missing = vec!["x".into()];
    let mut run = Run::new(host, &parsed(&allow("'/usr/lib/x/**'")));
    run.policy = compile(&policy, &terrain, &KEY, &mut Numbers::new(1)).unwrap();
    run.image.apply_all(&run.policy.ops);
    assert!(run.reads("/usr/lib/x/1"));
    assert!(!run.reads("/usr/lib/y"));
}

#[test]
fn refuses_links_into_the_process_that_asks() {
    let policy = parsed(&allow("'/etc/mtab'"));
    let host = Host::usual().folders(&["/proc/4711"]).file("/proc/4711/mounts");
    let mut terrain = host.terrain(&["/proc/4711/mounts".into()]);
    terrain.folders[0].asked = "/etc/mtab".into();
    let error = compile(&policy, &terrain, &KEY, &mut Numbers::new(1)).unwrap_err();
    assert_eq!(error, CompileError::NamesTheAsker("/etc/mtab".into()));
}

#[test]
fn refuses_a_survey_of_something_else() {
    let policy = parsed(&allow("'/srv'"));
    let terrain = Host::usual().terrain(&[]);
    let mut numbers = Numbers::new(5);
    let error = compile(&policy, &terrain, &KEY, &mut numbers).unwrap_err();
    assert_eq!(error.to_string(), "/srv was not surveyed");
    assert_eq!(numbers, Numbers::new(5));
}

#[test]
fn refuses_what_needs_too_many_states() {
    // Which of the last thirteen names were `a` has to be remembered.
    let patterns = format!("'**/a{}'", "/x/**/a".repeat(40));
    let small = run(Host::usual(), &allow(&patterns));
    assert!(small.image.to_string().lines().count() > 40);
    let many: Vec<String> = (0..14).map(|n| format!("'**/n{n}/**/end'")).collect();
    let policy = parsed(&allow(&many.join(", ")));
    let terrain = Host::usual().terrain(&prefixes(&policy));
    let result = compile(&policy, &terrain, &KEY, &mut Numbers::new(1));
    // Equal rests are one state, so these are few; different ends are not.
    assert!(result.is_ok());
    let many: Vec<String> = (0..14).map(|n| format!("'**/n{n}/**/end{n}'")).collect();
    let policy = parsed(&allow(&many.join(", ")));
    let terrain = Host::usual().terrain(&prefixes(&policy));
    let error = compile(&policy, &terrain, &KEY, &mut Numbers::new(1)).unwrap_err();
    assert_eq!(error, CompileError::TooManyStates);
}

#[test]
fn many_denials_of_folders_anywhere_stay_small() {
    let rules: String =
        (0..40).map(|n| format!("[[file]]\npaths = ['**/.d{n}/**']\ndeny = 'all'\n")).collect();
    let run = run(Host::usual(), &(rules + &allow("'/srv/**'")));
    assert!(run.policy.nodes.len() < 100, "{}", run.policy.nodes.len());
    assert!(!run.reads("/srv/.d39/.d1/x"));
}

#[test]
fn many_mounts_of_one_filesystem_stay_small() {
    let host = (0..60).fold(Host::usual(), |host, n| {
        host.mount(&format!("/run/m{n}"), &format!("/srv/volumes/v{n}/data"), 1)
    });
    let run = run(
        host,
        &("[[file]]\npaths = ['**/.env', '**/.ssh/**']\ndeny = 'all'\n".to_owned()
            + &allow("'/srv/**'")),
    );
    assert!(run.policy.nodes.len() < 12, "{}", run.policy.nodes.len());
    assert!(run.reads("/run/m7/x") && !run.reads("/run/m7/.ssh/x"));
}

#[test]
fn the_policy_that_ships_does_what_it_says() {
    let text = include_str!("../../../dist/policies/coding-agent.toml");
    let policy = parse("coding-agent.toml", text).unwrap();
    let host = Host::usual().mount("/dev", "/", 6).mount("/dev/pts", "/", 7).mount("/sys", "/", 8);
    let mut run = Run::new(host, &policy);
    run.bind(&[("workspace", "/home/u/work")]);
    let all = Rights::READ.union(Rights::WRITE).union(Rights::CREATE).union(Rights::EXEC);
    assert!(run.access("/home/u/work/target/debug/app", all).is_ok());
    for path in ["/usr/share/doc/x", "/etc/ssl/certs/a.pem", "/proc/meminfo", "/dev/pts/3", "/usr"]
    {
        assert!(run.reads(path), "{path}");
    }
    for path in ["/usr/bin/git", "/usr/lib/git-core/git", "/usr/lib64/ld-linux-x86-64.so.2"] {
        assert!(run.access(path, Rights::EXEC).is_ok(), "{path}");
    }
    for path in [
        "/home/u",
        "/home/u/.ssh/id_ed25519",
        "/home/u/work/.env",
        "/home/u/work/a/.ssh/config",
        "/etc/shadow",
        "/etc/ssl/private/key.pem",
        "/proc/1/environ",
        "/tmp/x",
        "/run/x",
        "/dev/sda",
        "/etc",
    ] {
        assert!(!run.reads(path), "{path}");
    }
    assert!(run.access("/usr/bin/sudo", Rights::EXEC).is_err());
    assert!(run.access("/usr/share/x", Rights::EXEC).is_err());
    assert!(run.access("/home/u/work/.git/hooks/pre-push", Rights::CREATE).is_err());
    assert!(run.access("/home/u/work/.git/hooks/pre-push", Rights::READ).is_ok());
    assert!(run.policy.nodes.len() < 400, "{}", run.policy.nodes.len());
    let gateway = agentid_common::net::Address::v4([127, 0, 0, 1]);
    assert_eq!(run.connect(gateway, 8080, 6), Ok(1));
    assert!(run.connect(gateway, 22, 6).is_err());
}
