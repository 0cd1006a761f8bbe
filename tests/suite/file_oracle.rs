//! What the policies say of files is what the kernel does: each operation on each of many paths, under each of the shipped
//! policies and of some that are made up.

mod generated;
mod paths;

use std::path::{Path, PathBuf};

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Scene, note,
        run::Terms,
        scene::{PROBE, USERS},
        view::Why,
    },
    step::{Alter, Change, Open, Step, Target},
};
use anyhow::{Result, bail, ensure};
use libc::{EACCES, EPERM, EXDEV};
use serde_json::{Value, json};

use self::paths::{ATTRIBUTE, Paths};

/// How many outcomes are compared on each kernel, at least.
const COMPARED: usize = 10_000;
/// Policies that are made up.
const GENERATED: u64 = 4;

/// The shipped policies and those that are made up, each with a rule by which the probe can be executed.
fn policies() -> Vec<(String, String)> {
    let shipped = [
        ("ci-step", include_str!("../../agentid-daemon/dist/policies/ci-step.toml")),
        ("coding-agent", include_str!("../../agentid-daemon/dist/policies/coding-agent.toml")),
        ("data-query", include_str!("../../agentid-daemon/dist/policies/data-query.toml")),
        ("research", include_str!("../../agentid-daemon/dist/policies/research.toml")),
    ];
    let shipped = shipped.map(|(name, text)| {
        // What it expects is tried elsewhere, and a run that is denied so much would be ended by its limits.
        let rules = text.split("[limits]").next().unwrap_or_default();
        (name.to_owned(), rules.split("[[expect]]").next().unwrap_or_default().to_owned())
    });
    let made_up = (1..=GENERATED).map(|seed| (format!("made-up-{seed}"), generated::policy(seed)));
    let probe = format!("[[file]]\npaths = [\"{PROBE}\"]\nallow = [\"read\", \"exec\"]\n");
    let all = shipped.into_iter().chain(made_up);
    all.map(|(name, text)| (name, format!("{text}\n{probe}"))).collect()
}

/// An operation on some paths, or from each of some paths to another one.
struct Operation {
    steps: Vec<Step>,
    /// What the daemon is asked about each; all of it must be allowed.
    questions: Vec<Vec<Value>>,
}

fn open(path: &Path, right: &str) -> Value {
    json!({ "open": { "path": path, "want": [right] } })
}

fn on(paths: &[PathBuf], right: &str, step: impl Fn(PathBuf) -> Step) -> Operation {
    Operation {
        steps: paths.iter().cloned().map(step).collect(),
        questions: paths.iter().map(|path| vec![open(path, right)]).collect(),
    }
}

fn of_names(paths: &[PathBuf], question: &str, step: impl Fn(PathBuf) -> Change) -> Operation {
    let ask = |path: &PathBuf| vec![json!({ (question): { "path": path } })];
    Operation {
        steps: paths.iter().cloned().map(|path| Step::Change(step(path))).collect(),
        questions: paths.iter().map(ask).collect(),
    }
}

fn between(
    pairs: &[(PathBuf, PathBuf)],
    question: &str,
    step: impl Fn(PathBuf, PathBuf) -> Change,
) -> Operation {
    let ask =
        |(from, to): &(PathBuf, PathBuf)| vec![json!({ (question): { "from": from, "to": to } })];
    Operation {
        steps: pairs.iter().cloned().map(|(from, to)| Step::Change(step(from, to))).collect(),
        questions: pairs.iter().map(ask).collect(),
    }
}

fn operations(paths: &Paths) -> Vec<Operation> {
    let alter =
        |what: Alter| move |path| Step::Alter { what: what.clone(), file: Target::Path(path) };
    let attribute = || ATTRIBUTE.to_owned();
    let here = paths.files.as_slice();
    let mut create = on(&paths.absent, "write", |path| Step::Open { path, how: Open::Create });
    for (questions, path) in create.questions.iter_mut().zip(&paths.absent) {
        questions.push(json!({ "create": { "path": path } }));
    }
    let pairs = paths.pairs();
    let mut operations = vec![
        on(here, "read", |path| Step::Open { path, how: Open::Read }),
        on(here, "write", |path| Step::Open { path, how: Open::Write }),
        on(here, "exec", Step::Exec),
        on(here, "read", |path| Step::ReadAttribute { path, name: attribute() }),
        on(&paths.folders, "read", Step::List),
        on(&paths.system, "read", |path| Step::Open { path, how: Open::Read }),
        on(&paths.system, "write", |path| Step::Open { path, how: Open::Write }),
        create,
        of_names(here, "delete", Change::Unlink),
        of_names(&paths.folders, "delete", Change::Rmdir),
        of_names(&paths.absent, "create", Change::Folder),
        of_names(&paths.absent, "create", Change::Fifo),
        of_names(&paths.absent, "create", Change::Socket),
        of_names(&paths.absent, "create", Change::Symlink),
        between(&pairs, "move", |from, to| Change::Rename { from, to }),
        between(&pairs, "link", |from, to| Change::Link { from, to }),
    ];
    operations.extend(
        [Alter::Length, Alter::Mode, Alter::Owner, Alter::Times, Alter::SetAttribute(attribute())]
            .map(|what| on(here, "write", alter(what))),
    );
    operations
}

/// What the daemon says to all of the questions: the errno of the first that is denied.
fn said(daemon: &Daemon, id: &str, questions: &[Value]) -> Result<Option<i32>> {
    for question in questions {
        let Why { verdict, errno, .. } = daemon.why(id, question)?;
        match (verdict.as_str(), errno.as_deref()) {
            ("allow", None) => {}
            ("deny", Some("EACCES")) => return Ok(Some(EACCES)),
            ("deny", Some("EXDEV")) => return Ok(Some(EXDEV)),
            other => bail!("{question}: {other:?}"),
        }
    }
    Ok(None)
}

/// How many outcomes were as the daemon says.
#[derive(Default)]
struct Compared {
    allowed: usize,
    denied: usize,
    /// Where the file's mode says no, the kernel asks nobody else.
    left_out: usize,
}

/// What becomes of all operations under one policy, for both users.
fn compare(daemon: &Daemon, policy: &str, paths: &Paths, compared: &mut Compared) -> Result<()> {
    let operations = operations(paths);
    let mut answers = Vec::new();
    for uid in USERS {
        let mut outside = Run::outside(daemon, uid)?;
        let terms = Terms { policy, uid, params: &paths.params, ..Terms::default() };
        let mut run = Run::launch(daemon, &terms)?;
        let id = run.id().to_owned();
        for (number, Operation { steps, questions }) in operations.iter().enumerate() {
            paths.furnish()?;
            // Both users' runs have the same rules.
            if answers.len() == number {
                let each = questions.iter().map(|it| said(daemon, &id, it));
                answers.push(each.collect::<Result<Vec<_>>>()?);
            }
            let plain = outside.errnos(steps.clone())?;
            paths.furnish()?;
            let found = run.errnos(steps.clone())?;
            let each = steps.iter().zip(&answers[number]).zip(found.iter().zip(&plain));
            for ((step, said), (found, plain)) in each {
                if matches!(*plain, EACCES | EPERM) {
                    compared.left_out += 1;
                    continue;
                }
                ensure!(
                    *found == said.unwrap_or(*plain),
                    "{policy}, uid {uid}: {step:?}: {found}, where the daemon says {said:?} and without agentid it is {plain}"
                );
                *(if said.is_some() { &mut compared.denied } else { &mut compared.allowed }) += 1;
            }
        }
        run.finish()?;
    }
    Ok(())
}

/// P8: what a run is denied fails as the daemon says, and what it is not denied goes as it goes for who is no run.
#[test]
fn each_operation_on_each_path_goes_as_the_policy_says() -> Result<()> {
    let place = Place::below(&std::env::temp_dir())?;
    let policies = policies();
    let texts: Vec<(&str, &str)> =
        policies.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let daemon = Daemon::start_in(Scene::with(&texts)?)?;
    let mut compared = Compared::default();
    for (name, text) in &policies {
        compare(&daemon, name, &Paths::of(place.path(), text)?, &mut compared)?;
    }
    let Compared { allowed, denied, left_out } = compared;
    note(format_args!(
        "{allowed} allowed, {denied} denied as the daemon says; {left_out} left out"
    ));
    assert!(allowed >= COMPARED / 4 && denied >= COMPARED / 4, "{allowed} and {denied} say little");
    assert!(allowed + denied >= COMPARED, "{allowed} and {denied} are too few");
    Ok(())
}
