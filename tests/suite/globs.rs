//! Names are compared with the globs of a policy, in every folder and for every way to use a name.

use std::{fs, path::PathBuf};

use agentid_tests::{
    harness::{
        Daemon, Place, Run, Shared,
        run::Terms,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::{Change, Open, Step},
};
use anyhow::Result;
use libc::{EACCES, EXDEV};

struct Stage {
    /// Dropped before the daemon, which it belongs to.
    run: Run,
    daemon: Shared,
    work: PathBuf,
    _place: Place,
}

impl Stage {
    fn new(uid: u32) -> Result<Self> {
        let daemon = Daemon::shared()?;
        let place = Place::below(daemon.scene().path())?;
        let work = place.workspace();
        for folder in ["v1/sub", "v12", "vö", "deep/v1"] {
            fs::create_dir_all(work.join(folder))?;
            place.open_to_all(&work.join(folder))?;
        }
        place.open_to_all(&work.join("v1"))?;
        let long = format!("{}.txt", "n".repeat(251));
        for file in FILES.map(|(name, _)| name).into_iter().chain([long.as_str()]) {
            place.file(&work.join(file))?;
        }
        let terms = Terms { policy: "globbed", uid, workspace: Some(&work), ..Terms::default() };
        let run = Run::launch(&daemon, &terms)?;
        Ok(Self { run, daemon, work, _place: place })
    }

    #[track_caller]
    fn check(&mut self, step: Step, errno: i32) -> Result<()> {
        assert_eq!(self.run.errno(&step)?, errno, "{step:?}");
        Ok(())
    }
}

/// Names below the workspace, and whether they may be read.
const FILES: [(&str, bool); 19] = [
    ("n.txt", true),
    (".txt", true),
    ("a.txt.txt", true),
    ("n.TXT", false),
    ("n.txt~", false),
    ("ntxt", false),
    ("abc", true),
    ("aXbYc", true),
    ("abcbc", true),
    ("acb", false),
    ("v1/x", true),
    ("v1/sub/x", true),
    ("v1/x.key", false),
    ("v1/sub/x.key", true),
    ("v1/id_rsa", false),
    ("v1/sub/id_", false),
    ("v12/x", false),
    ("vö/x", false),
    ("deep/v1/x", false),
];

/// P2: a name that fits is granted, one that nearly fits is not, and the daemon says the same.
#[test]
fn grants_the_names_that_fit_and_no_others() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let id = stage.run.id().to_owned();
        for (name, passes) in FILES {
            let path = stage.work.join(name);
            let why = stage.daemon.why_open(&id, &path, None)?;
            assert_eq!(why.verdict == "allow", passes, "{name}: {why:?}");
            let errno = if passes { 0 } else { EACCES };
            stage.check(Step::Open { path, how: Open::Read }, errno)?;
        }
        // The longest name that a file can have.
        let long = stage.work.join(format!("{}.txt", "n".repeat(251)));
        stage.check(Step::Open { path: long, how: Open::Read }, 0)?;
    }
    Ok(())
}

/// P2, P3: what holds for an open holds for a name that is made, taken and given.
#[test]
fn names_that_fit_are_made_taken_and_given() -> Result<()> {
    for uid in USERS {
        let mut stage = Stage::new(uid)?;
        let at = |name: &str| stage.work.join(name);
        let rename =
            |from: &str, to: &str| Step::Change(Change::Rename { from: at(from), to: at(to) });
        let steps = [
            (Step::Open { path: at("new.txt"), how: Open::Create }, 0),
            (Step::Open { path: at("new.tx"), how: Open::Create }, EACCES),
            (Step::Change(Change::Folder(at("v1/made"))), 0),
            (Step::Change(Change::Folder(at("v22"))), EACCES),
            (Step::Change(Change::Unlink(at("v1/x.key"))), EACCES),
            (rename("n.txt", "m.txt"), 0),
            (rename("m.txt", "m.text"), EACCES),
            (rename("m.txt", "v1/id_m"), EACCES),
            (rename("v1/sub/x.key", "v1/y.key"), EACCES),
            (rename("v1/sub/x.key", "v1/y"), 0),
            // A folder goes only where the rules say the same of all that is in it.
            (rename("v1/sub", "v1/made2"), 0),
            (rename("v1/made2", "a-b-c"), EXDEV),
            (Step::Change(Change::Unlink(at("m.txt"))), 0),
        ];
        for (step, errno) in steps {
            stage.check(step, errno)?;
        }
        assert!(stage.work.join("v1/x.key").exists());
    }
    Ok(())
}

/// P7: the record of a denial by a glob names the rule.
#[test]
fn records_the_rule_of_a_glob() -> Result<()> {
    let mut stage = Stage::new(1000)?;
    let path = stage.work.join("v1/sub/id_");
    stage.check(Step::Open { path: path.clone(), how: Open::Read }, EACCES)?;
    let id = stage.run.id().to_owned();
    let told = || {
        let found = stage.daemon.events(&id)?.into_iter().any(|event| match event.what {
            What::Access(access) => {
                let shown = Some(path.display().to_string());
                access.reason.as_deref() == Some("deny_rule")
                    && matches!(access.object, Some(Object::File { path, .. }) if path == shown)
            }
            What::Stopped(_) | What::Ended(_) | What::Other => false,
        });
        Ok(found.then_some(()))
    };
    wait::until("the record is there", wait::SOON, told)
}
