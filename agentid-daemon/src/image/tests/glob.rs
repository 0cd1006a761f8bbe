use agentid_common::{
    file::{EDGE_GLOBS, EDGE_NAME, Rights},
    verdict::{Answer, Reason, Refusal},
};

use super::{
    super::{CompileError, Image, Leftover, Need, Numbers, Readable, compile, prefixes},
    host::{Host, KEY, Run, parsed},
};

fn run(rules: &str) -> Run {
    Run::new(Host::usual(), &parsed(rules))
}

fn rule(paths: &str, effect: &str) -> String {
    format!("[[file]]\npaths = [{paths}]\n{effect}\n")
}

fn allow(paths: &str) -> String {
    rule(paths, "allow = ['read']")
}

fn deny(paths: &str) -> String {
    rule(paths, "deny = 'all'")
}

fn denied(rule: u16) -> Answer {
    Err(Refusal::by_rule(rule))
}

#[track_caller]
fn reads(run: &Run, paths: &[&str]) {
    for path in paths {
        assert!(run.reads(path), "{path}\n{}", run.image);
    }
}

#[track_caller]
fn reads_not(run: &Run, paths: &[&str]) {
    let no_rule = Err(Refusal::denied(Reason::NoRule));
    for path in paths {
        assert_eq!(run.access(path, Rights::READ), no_rule, "{path}\n{}", run.image);
    }
}

#[test]
fn a_glob_stands_for_one_name() {
    let run = run(&allow("'/etc/*.pem', '/etc/x?', '/home/*/notes', '/usr/lib*/**'"));
    reads(&run, &["/etc/a.pem", "/etc/.pem", "/etc/x1", "/etc/xx", "/home/u/notes"]);
    reads(&run, &["/usr/lib", "/usr/lib/x", "/usr/lib64/x/y"]);
    reads_not(&run, &["/etc/a.pem/x", "/etc/d/a.pem", "/etc/a.pen", "/etc/x", "/etc/x12"]);
    reads_not(&run, &["/home/notes", "/home/u/v/notes", "/home/u", "/usr/li/x", "/usr"]);
}

#[test]
fn a_question_mark_is_a_byte_and_not_a_letter() {
    let run = run(&allow("'/srv/?', '/srv/d/??'"));
    reads(&run, &["/srv/o", "/srv/d/ö"]);
    reads_not(&run, &["/srv/ö", "/srv/d/o"]);
}

#[test]
fn globs_stand_below_and_above_any_number_of_names() {
    let rules = allow("'/srv/**'") + &deny("'**/*.pem', '**/.env*', '/srv/*.d/**'");
    let run = run(&rules);
    reads(&run, &["/srv/x", "/srv/a/b", "/srv/pem", "/srv/a.pem/x", "/srv/.env/x", "/srv/a/x.d/y"]);
    for path in ["/srv/a.pem", "/srv/x/y/.pem", "/x.pem", "/srv/.env", "/srv/a/.env.local"] {
        assert_eq!(run.access(path, Rights::READ), denied(2), "{path}");
    }
    for path in ["/srv/x.d", "/srv/.d/a", "/srv/x.d/a/b/c"] {
        assert_eq!(run.access(path, Rights::READ), denied(2), "{path}");
    }
}

#[test]
fn a_denial_beats_a_grant_wherever_either_stands() {
    let all = allow("'/srv/*', '/srv/key.pem', '/srv/**'");
    for deny in [deny("'/srv/*.pem'"), deny("'/srv/key.pem'"), deny("'/srv/k*'"), deny("'**/?ey*'")]
    {
        for (rules, number) in [(all.clone() + &deny, 2), (deny.clone() + &all, 1)] {
            let run = run(&rules);
            assert_eq!(run.access("/srv/key.pem", Rights::READ), denied(number), "{rules}");
            assert!(run.reads("/srv/other"), "{rules}");
        }
    }
}

#[test]
fn a_name_has_what_its_own_pattern_and_its_globs_say() {
    let rules = rule("'/srv/id_rsa'", "allow = ['read']")
        + &rule("'/srv/id_*'", "allow = ['write']")
        + &rule("'/srv/*_rsa'", "allow = ['exec']")
        + &rule("'/srv/*'", "allow = ['delete']");
    let run = run(&rules);
    let (read, write, exec, delete) = (Rights::READ, Rights::WRITE, Rights::EXEC, Rights::DELETE);
    let says = |path: &str| {
        let rights = [read, write, exec, delete];
        rights.map(|right| run.access(path, right).is_ok())
    };
    assert_eq!(says("/srv/id_rsa"), [true, true, true, true]);
    assert_eq!(says("/srv/id_x"), [false, true, false, true]);
    assert_eq!(says("/srv/x_rsa"), [false, false, true, true]);
    assert_eq!(says("/srv/id__rsa"), [false, true, true, true]);
    assert_eq!(says("/srv/x"), [false, false, false, true]);
    assert!(run.access("/srv/id_rsa", read.union(write).union(exec).union(delete)).is_ok());
}

#[test]
fn every_set_of_globs_has_an_edge_and_no_name_is_taken_for_one() {
    let run = run(&allow("'/srv/a*', '/srv/*b', '/srv/??c', '/srv/ab'"));
    let of = |kind| run.image.edges.keys().filter(move |key| key.kind == kind);
    let mut sets: Vec<u64> = of(EDGE_GLOBS).map(|key| key.name).collect();
    sets.sort_unstable();
    assert_eq!(sets, [1, 2, 3, 4, 5, 6, 7]);
    // `srv` alone: `/srv/ab` leads where the globs that it fits lead.
    assert_eq!(of(EDGE_NAME).count(), 1);
    assert_eq!(run.image.globs.len(), 3);
}

#[test]
fn a_star_alone_is_compared_with_nothing() {
    let run = run(&allow("'/home/*/*/x'"));
    assert_eq!(run.image.globs.len(), 0);
    reads(&run, &["/home/u/work/x", "/home/.u/.v/x"]);
    reads_not(&run, &["/home/u/x", "/home/u/work/y"]);
}

#[test]
fn equal_ends_of_lists_are_one() {
    let run = run(&allow("'/srv/**/a*/**/x', '/srv/**/b*/**/y', '/srv/**/c*', '/usr/c*'"));
    let states = run.image.nodes.values().filter(|node| node.globs != 0).count();
    assert!(states > 5, "{states}");
    // What is still looked for: a, b and c; after an a, b and c; after a b, a and c; after both, and in /usr, c.
    assert_eq!(run.image.globs.len(), 4);
}

#[test]
fn parameters_go_on_with_globs() {
    let rules = "params = ['w']\n".to_owned()
        + &allow("'${w}/*.rs', '${w}/src*/**'")
        + &deny("'${w}/**/?.rs', '**/id_*'");
    let mut run = run(&rules);
    run.bind(&[("w", "/home/u/work")]);
    reads(&run, &["/home/u/work/main.rs", "/home/u/work/src/x", "/home/u/work/src-old/y/z.rst"]);
    reads_not(&run, &["/home/u/work/x/main.rs", "/home/u/main.rs", "/home/u/work/sr/c"]);
    for path in ["/home/u/work/a.rs", "/home/u/work/src/b/c.rs", "/home/u/work/src/id_rsa"] {
        assert_eq!(run.access(path, Rights::READ), denied(2), "{path}");
    }
}

#[test]
fn globs_reach_past_mount_points() {
    let host = Host::usual().mount("/srv/data1", "/vol", 5).mount("/srv/other", "/", 6);
    let rules = allow("'/srv/data?/*.txt', '/srv/*/deep/**'");
    let run = Run::new(host, &parsed(&rules));
    reads(
        &run,
        &["/srv/data1/a.txt", "/srv/data1/deep/x", "/srv/other/deep/x", "/srv/data2/b.txt"],
    );
    reads_not(&run, &["/srv/other/a.txt", "/srv/data1/x/a.txt", "/srv/data1/a.md"]);
}

#[test]
fn a_parameter_reaches_mounts_whose_names_fit() {
    let host = Host::usual().mount("/home/u/work/data1", "/", 9).folders(&["/home/u/work/data1"]);
    let rules = "params = ['w']\n".to_owned() + &allow("'${w}/data?/*.txt'");
    let mut run = Run::new(host, &parsed(&rules));
    run.bind(&[("w", "/home/u/work")]);
    reads(&run, &["/home/u/work/data1/a.txt"]);
    reads_not(&run, &["/home/u/work/data1/a.md", "/home/u/work/data1/x/a.txt"]);
}

#[test]
fn what_a_glob_denies_in_the_root_is_denied_on_filesystems_that_come_later() {
    let rules = "params = ['w']\n".to_owned() + &allow("'${w}/**'") + &deny("'/*/secret/**'");
    let mut run = run(&rules);
    run.host = run.host.mount("/mnt", "/", 9).folders(&["/mnt/secret"]);
    let error = run.try_bind(&[("w", "/mnt/secret")]).unwrap_err();
    assert!(error.to_string().contains("mounted after the policy was compiled"), "{error}");
    run.bind(&[("w", "/home/u/work")]);
}

#[test]
fn names_the_globs_that_are_too_many_in_one_folder() {
    let patterns = |last: u32| -> String {
        (1..=last).map(|n| format!("'**/*.{n}'")).collect::<Vec<_>>().join(", ")
    };
    let compiled = |rules: &str| {
        let policy = parsed(rules);
        let terrain = Host::usual().terrain(&prefixes(&policy));
        compile(&policy, &terrain, &KEY, &mut Numbers::new(1))
    };
    assert!(compiled(&allow(&patterns(6))).is_ok());
    let error = compiled(&allow(&patterns(7))).unwrap_err();
    assert!(matches!(error, CompileError::TooManyGlobs(_)));
    assert_eq!(
        error.to_string(),
        "names in one folder have to be compared with `*.1`, `*.2`, `*.3`, `*.4`, `*.5`, `*.6`, `*.7`, \
         and at most 6 are possible: write names in full, or let one pattern stand for several"
    );
    // Six here and six there are no more than six, and a pattern of several rules is one.
    let twice = allow("'/srv/a*', '/srv/b*', '/srv/c*', '/srv/d*', '/srv/e*', '/srv/f*'")
        + &deny("'/usr/g*', '/usr/h*', '/usr/i*', '/usr/j*', '/usr/k*', '/usr/l*', '/srv/a*'");
    assert!(compiled(&twice).is_ok());
}

#[test]
fn few_globs_anywhere_stay_small() {
    let rules: String = (0..30)
        .map(|n| format!("[[file]]\npaths = ['/srv/d{n}/**', '/usr/**/n{n}']\nallow = ['read']\n"))
        .collect();
    let run = run(&(rules + &deny("'**/*.pem', '**/*.key', '**/id_*', '**/.env*'")));
    assert!(run.policy.nodes.len() < 100, "{}", run.policy.nodes.len());
    assert_eq!(run.image.globs.len(), 4);
    assert_eq!(run.access("/srv/d3/id_x.pem", Rights::READ), denied(31));
}

#[test]
fn the_map_of_globs_can_be_full() {
    let mut numbers = Numbers::new(1);
    let most = agentid_common::map::GLOBS - 1;
    assert_eq!(numbers.check(&Need { globs: most, ..Need::default() }), Ok(()));
    let full = numbers.check(&Need { globs: most + 1, ..Need::default() }).unwrap_err();
    assert_eq!(full.to_string(), "16384 patterns of names are needed, and 16383 of 16383 are free");
    // Nothing is taken by a policy that does not fit.
    let mut held = super::super::numbers::Held::default();
    numbers.take(&mut held, &Need { globs: most - 1, ..Need::default() });
    let before = numbers.clone();
    let policy = parsed(&allow("'/srv/a*', '/srv/b*'"));
    let terrain = Host::usual().terrain(&prefixes(&policy));
    let error = compile(&policy, &terrain, &KEY, &mut numbers).unwrap_err();
    assert!(matches!(error, CompileError::Full(_)), "{error}");
    assert_eq!(numbers, before);
    assert_eq!(numbers.release(held), []);
    assert!(compile(&policy, &terrain, &KEY, &mut numbers).is_ok());
}

#[test]
fn globs_go_with_their_policy_and_their_numbers_come_again() {
    let rules = allow("'/srv/*.pem', '/srv/id_*'") + &deny("'**/.env*'");
    let mut run = run(&rules);
    let old = run.image.globs.clone();
    assert!(!old.is_empty() && !old.contains_key(&0));
    // A daemon that takes these maps up compiles beside them.
    let (leftover, mut beside) = Leftover::of(&run.image, run.numbers.high_water());
    let policy = parsed(&rules);
    let terrain = run.host.terrain(&prefixes(&policy));
    let new = compile(&policy, &terrain, &KEY, &mut beside).unwrap();
    let mut both = run.image.clone();
    both.apply_all(&new.ops);
    assert_eq!(both.globs.len(), 2 * old.len());
    assert!(old.iter().all(|(index, glob)| both.globs[index] == *glob));
    both.apply_all(&leftover.removal);
    assert_eq!(both.globs.len(), old.len());
    assert!(old.keys().all(|index| !both.globs.contains_key(index)));
    assert!(beside.release(leftover.held).iter().all(|op| !format!("{op:?}").contains("Glob")));
    // The same without a restart.
    run.image.apply_all(&run.policy.removal);
    assert!(run.image.globs.is_empty());
    run.image.apply_all(&run.numbers.release(run.policy.held));
    let again = compile(&policy, &terrain, &KEY, &mut run.numbers).unwrap();
    let mut image = Image::default();
    image.apply_all(&again.ops);
    assert_eq!(image.globs, old);
}

#[test]
fn the_image_names_the_globs_of_each_edge() {
    let run = run(&allow("'/srv/*.pem', '/srv/id_*'"));
    let text = Readable { image: &run.image, names: &run.policy.names }.to_string();
    for line in ["  fits *.pem -> ", "  fits id_* -> ", "  fits *.pem and id_* -> "] {
        assert_eq!(text.lines().filter(|found| found.starts_with(line)).count(), 1, "{text}");
    }
}
