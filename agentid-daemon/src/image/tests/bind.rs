use std::collections::BTreeMap;

use agentid_common::file::{AnchorKey, Rights};

use super::{
    super::BindError,
    host::{Host, Run, parsed},
};

const WORK: &str = "params = ['w']\n[[file]]\npaths = ['${w}/**']\nallow = ['read', 'write']\n\
                    [[file]]\npaths = ['${w}/.git/hooks/**', '**/.env']\ndeny = ['write']\n";

fn run(host: Host, rules: &str) -> Run {
    Run::new(host, &parsed(rules))
}

#[track_caller]
fn refused(run: &mut Run, folder: &str, message: &str) {
    let error = run.try_bind(&[("w", folder)]).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn grants_the_folder_and_nothing_beside_it() {
    let mut run = run(Host::usual(), WORK);
    assert!(!run.reads("/home/u/work/a"));
    run.bind(&[("w", "/home/u/work")]);
    assert!(run.reads("/home/u/work"));
    assert!(run.reads("/home/u/work/deep/er"));
    assert!(!run.reads("/home/u"));
    assert!(!run.reads("/home/u/worker"));
}

/// Whoever can move a folder away could put a link to another one in its place, or that folder itself.
#[test]
fn a_folder_in_the_place_of_the_one_that_was_given_grants_nothing() {
    let mut run = run(Host::usual(), WORK);
    let given = run.bind(&[("w", "/home/u/work")]).given;
    assert!(run.rebind(&[("w", "/home/u/work")], &given));
    assert!(run.reads("/home/u/work/a"));
    let other = given.iter().map(|(param, key)| {
        let inode = key.inode + 1000;
        (param.clone(), AnchorKey { inode, ..*key })
    });
    assert!(!run.rebind(&[("w", "/home/u/work")], &other.collect()));
    assert!(!run.reads("/home/u/work/a"));
    assert!(!run.reads("/home/u/work"));
}

#[test]
fn denies_beat_the_parameter() {
    let mut run = run(Host::usual(), WORK);
    run.bind(&[("w", "/home/u/work")]);
    for path in ["/home/u/work/.git/hooks/x", "/home/u/work/.env", "/home/u/work/a/b/.env"] {
        assert!(run.access(path, Rights::WRITE).is_err(), "{path}");
        assert!(run.reads(path), "{path}");
    }
}

#[test]
fn the_policy_still_holds_on_a_filesystem_that_it_did_not_know() {
    let mut run = run(Host::usual(), WORK);
    run.host = run.host.mount("/mnt", "/", 9).folders(&["/mnt/w"]);
    run.bind(&[("w", "/mnt/w")]);
    assert!(run.reads("/mnt/w/x"));
    assert!(!run.reads("/mnt/x"));
    assert!(run.access("/mnt/w/.env", Rights::WRITE).is_err());
}

#[test]
fn refuses_an_unknown_filesystem_where_the_policy_denies_something() {
    let rules = format!("{WORK}[[file]]\npaths = ['/mnt/w/secret/**']\ndeny = 'all'");
    let mut run = run(Host::usual(), &rules);
    run.host = run.host.mount("/mnt", "/", 9).folders(&["/mnt/w", "/mnt/v"]);
    refused(&mut run, "/mnt/w", "mounted after the policy was compiled");
    run.bind(&[("w", "/mnt/v")]);
}

#[test]
fn devices_of_the_host_below_a_folder_are_not_of_it() {
    let mut run = run(Host::usual().mount("/home/u/work/dev", "/", 7), WORK);
    refused(&mut run, "/home/u/work/dev", "of the kernel's own");
    run.bind(&[("w", "/home/u/work")]);
    assert!(run.reads("/home/u/work/x"));
    assert!(!run.reads("/home/u/work/dev/sda"));
}

#[test]
fn a_number_of_a_device_is_no_identity() {
    let rules = format!("{WORK}[[file]]\npaths = ['/run/**']\nallow = ['exec']");
    let mut run = run(Host::usual(), &rules);
    assert!(run.access("/run/x", Rights::EXEC).is_ok());
    // The device of /run is now another filesystem's.
    let mut terrain = run.host.clone().folders(&["/run/w"]).terrain(&["/run/w".into()]);
    for mount in terrain.mounts.iter_mut().filter(|mount| mount.device == "0:3") {
        mount.anchor.as_mut().unwrap().filesystem = 999;
    }
    terrain.folders[0].anchors[0].1.filesystem = 999;
    let params = [("w".to_owned(), "/run/w".into())].into();
    let binding = run.policy.bind(&params, &BTreeMap::new(), &terrain, &mut run.numbers).unwrap();
    let mut image = run.image.clone();
    image.apply_all(&binding.ops);
    let entry = image.entries.iter().find(|(key, _)| key.scope == binding.scope).unwrap().1;
    assert_eq!(image.nodes[&entry.states[0]].allow, Rights::NONE);
}

#[test]
fn reaches_mounts_below_the_folder_but_not_pseudo_filesystems() {
    let host = Host::usual().mount("/home/u/work/data", "/", 9);
    let host = host.mount("/home/u/work/.git", "/", 8).folders(&["/home/u/work/.git"]);
    let mut run = run(host, WORK);
    run.bind(&[("w", "/home/u/work")]);
    assert!(run.reads("/home/u/work/data/x"));
    assert!(run.access("/home/u/work/data/.env", Rights::WRITE).is_err());
    assert!(run.access("/home/u/work/.git/hooks/x", Rights::WRITE).is_err());
    assert!(run.access("/home/u/work/.git/config", Rights::WRITE).is_ok());
    assert!(!run.reads("/proc/meminfo"));
}

#[test]
fn refuses_to_reach_one_folder_by_two_ways_with_different_rules() {
    // `work/.git` is also shown at `work/copy`, where nothing of it is denied.
    let host = Host::usual().mount("/home/u/work/copy", "/home/u/work/.git", 1);
    let rules = "params = ['w']\n[[file]]\npaths = ['${w}/copy/**']\nallow = ['read']\n\
                 [[file]]\npaths = ['${w}/.git/**']\ndeny = 'all'";
    refused(&mut run(host.clone(), rules), "/home/u/work", "reaches /home/u/work/copy in two ways");
    let mut equal = run(host, "params = ['w']\n[[file]]\npaths = ['${w}/**']\nallow = ['read']");
    equal.bind(&[("w", "/home/u/work")]);
    assert!(equal.reads("/home/u/work/copy/x") && equal.reads("/home/u/work/.git/x"));
    let host = Host::usual().mount("/home/u/work/up", "/home/u", 1);
    let rules = "params = ['w']\n[[file]]\npaths = ['${w}/up/work/x']\nallow = ['read']";
    refused(&mut run(host, rules), "/home/u/work", "two ways");
}

#[test]
fn parameters_do_not_mix() {
    let rules = "params = ['a', 'b']\n[[file]]\npaths = ['${a}/x/**']\nallow = ['read']\n\
                 [[file]]\npaths = ['${b}/y/**']\nallow = ['read']\n\
                 [[file]]\npaths = ['${b}/x/secret']\ndeny = 'all'";
    let mut run = run(Host::usual(), rules);
    run.bind(&[("a", "/srv"), ("b", "/home/u")]);
    assert!(run.reads("/srv/x/1") && run.reads("/home/u/y/1"));
    assert!(!run.reads("/srv/y/1") && !run.reads("/home/u/x/1"));
    // Both on one folder.
    run.bind(&[("a", "/srv"), ("b", "/srv")]);
    assert!(run.reads("/srv/x/1") && run.reads("/srv/y/1"));
    assert!(!run.reads("/srv/x/secret") && !run.reads("/home/u/y/1"));
}

#[test]
fn one_parameter_within_another_leaves_the_outer_one_whole() {
    let rules = "params = ['a', 'b']\n[[file]]\npaths = ['${a}/**']\nallow = ['read']\n\
                 [[file]]\npaths = ['${b}/**']\nallow = ['write']";
    let mut run = run(Host::usual(), rules);
    run.bind(&[("a", "/home/u"), ("b", "/home/u/work")]);
    assert!(run.access("/home/u/work/x", Rights::READ.union(Rights::WRITE)).is_ok());
    assert!(run.access("/home/u/x", Rights::WRITE).is_err());
}

#[test]
fn refuses_what_is_no_folder() {
    let mut run = run(Host::usual(), WORK);
    refused(&mut run, "/home/u/none", "does not exist");
    refused(&mut run, "/etc/resolv.conf", "is not a folder");
    refused(&mut run, "/proc", "of the kernel's own");
    refused(&mut run, "/", "the root of everything");
    assert_eq!(run.try_bind(&[]).unwrap_err(), BindError::Missing("w".into()));
    let both = [("w", "/srv"), ("v", "/srv")];
    assert_eq!(run.try_bind(&both).unwrap_err(), BindError::Unknown("v".into()));
}

#[test]
fn needs_no_parameters_where_there_are_none() {
    let mut run = run(Host::usual(), "[[file]]\npaths = ['/usr/**']\nallow = ['read']");
    assert_eq!(run.bind(&[]).ops, []);
    assert!(run.reads("/usr/x"));
}
