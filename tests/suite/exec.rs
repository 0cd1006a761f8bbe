//! Programs are executed only where that is granted.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        kernel::release,
        run::Terms,
        scene::{USER, USERS},
        view::{Access, Execution, Object, What},
        wait,
    },
    step::{Open, Step},
};
use anyhow::{Context as _, Result};
use libc::{EACCES, EINVAL, ENOEXEC};

/// P2: also a script needs its interpreter to be granted.
#[test]
fn executes_what_is_granted_and_nothing_else() -> Result<()> {
    let daemon = Daemon::shared()?;
    let scene = daemon.scene();
    let (inside, outside) = (scene.workspace().join("inside"), scene.outside().join("program"));
    let script = scene.workspace().join("script");
    scene.program(&inside)?;
    scene.program(&outside)?;
    fs::write(&script, "#!/bin/busybox true\n")?;
    fs::set_permissions(&script, Permissions::from_mode(0o755))?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for (path, errno) in [
            (inside.clone(), 0),
            ("/usr/bin/agentid-probe".into(), 0),
            (outside.clone(), EACCES),
            (script.clone(), EACCES),
            ("/bin/busybox".into(), EACCES),
        ] {
            assert_eq!(run.errno(&Step::Exec(path.clone()))?, errno, "uid {uid}: {path:?}");
        }
    }
    Ok(())
}

/// P2: what may be read may not be executed.
#[test]
fn reading_is_not_executing() -> Result<()> {
    let daemon = Daemon::shared()?;
    let program = daemon.scene().workspace().join("readable");
    daemon.scene().program(&program)?;
    for uid in USERS {
        let mut run = Run::launch(&daemon, &Terms { policy: "narrow", uid, ..Terms::default() })?;
        assert_eq!(run.errno(&Step::Exec(program.clone()))?, EACCES, "uid {uid}");
    }
    Ok(())
}

/// P2: memory that is no file anywhere has no place that could be granted.
#[test]
fn executes_nothing_from_memory() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        assert_eq!(run.errno(&Step::ExecMemory)?, EACCES, "uid {uid}");
        // The kernel alone finds out that it is no program.
        let mut audited =
            Run::launch(&daemon, &Terms { policy: "audited", uid, ..Terms::default() })?;
        assert_eq!(audited.errno(&Step::ExecMemory)?, ENOEXEC, "uid {uid}");
    }
    Ok(())
}

/// P2: a file that was granted by its name has no place any more once it has none, as one that never had a name.
#[test]
fn executes_nothing_without_a_name() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let program = daemon.scene().workspace().join(format!("removed-{uid}"));
        daemon.scene().program(&program)?;
        let mut run = Run::of(&daemon, uid)?;
        let mut audited =
            Run::launch(&daemon, &Terms { policy: "audited", uid, ..Terms::default() })?;
        let keep = Step::Keep { path: program.clone(), how: Open::Read };
        for run in [&mut run, &mut audited] {
            assert_eq!(run.errno(&keep)?, 0, "uid {uid}");
            assert_eq!(run.errno(&Step::ExecKept)?, 0, "uid {uid}: it has a name");
        }
        fs::remove_file(&program)?;
        assert_eq!(run.errno(&Step::ExecKept)?, EACCES, "uid {uid}: its name was taken away");
        assert_eq!(audited.errno(&Step::ExecKept)?, 0, "uid {uid}: audited");
    }
    Ok(())
}

/// P2: an interpreter that asks the kernel whether it may execute what it is given is told what an execution would be told.
#[test]
fn who_asks_is_told_what_an_execution_would_be() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let program = daemon.scene().workspace().join(format!("asked-{uid}"));
        daemon.scene().program(&program)?;
        let mut run = Run::of(&daemon, uid)?;
        assert_eq!(run.errno(&Step::Keep { path: program.clone(), how: Open::Read })?, 0);
        let answer = run.errno(&Step::CheckKept)?;
        if release()? < (6, 14) {
            assert_eq!(answer, EINVAL, "uid {uid}: a kernel that nobody can ask");
            continue;
        }
        assert_eq!(answer, 0, "uid {uid}: it has a name");
        fs::remove_file(&program)?;
        assert_eq!(run.errno(&Step::CheckKept)?, EACCES, "uid {uid}: its name was taken away");
        assert_eq!(run.errno(&Step::CheckMemory)?, EACCES, "uid {uid}: it never had one");
    }
    Ok(())
}

/// The records of a hook about a file, once there are so many.
fn records(
    daemon: &Daemon,
    run: &Run,
    hook: &str,
    file: &Path,
    count: usize,
) -> Result<Vec<Access>> {
    let shown = Some(file.display().to_string());
    let about = |what| match what {
        What::Access(access) if access.hook == hook => match &access.object {
            Some(Object::File { path, .. }) if *path == shown => Some(access),
            _ => None,
        },
        _ => None,
    };
    let found = wait::until("the executions are recorded", wait::SOON, || {
        let events = daemon.events(run.id())?;
        let found: Vec<_> = events.into_iter().filter_map(|event| about(event.what)).collect();
        Ok((found.len() >= count).then_some(found))
    });
    let what = || {
        format!(
            "{count} of {hook} about {}:\n{}",
            file.display(),
            daemon.story(run.id()).unwrap_or_default()
        )
    };
    found.with_context(what)
}

const ASKED: &str = "bprm_check_security";
const STARTED: &str = "bprm_committed_creds";

fn told(arguments: &[&str], argument_count: u32, left_out: Option<&str>) -> Option<Box<Execution>> {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let left_out = left_out.map(ToOwned::to_owned);
    let (interprets, script) = (false, None);
    Some(Box::new(Execution { interprets, script, argument_count, arguments, left_out }))
}

/// P7: what a run has started is recorded, with how many arguments it has, and of them the name alone.
#[test]
fn records_what_was_started_without_what_may_be_secret() -> Result<()> {
    let daemon = Daemon::shared()?;
    let program = daemon.scene().workspace().join("started");
    daemon.scene().program(&program)?;
    let name = program.display().to_string();
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let secret = ["--password".to_owned(), "swordfish".to_owned()].to_vec();
        let step = Step::ExecWith { path: program.clone(), arguments: secret };
        assert_eq!(run.errno(&step)?, 0, "uid {uid}");
        let asked = records(&daemon, &run, ASKED, &program, 1)?.remove(0);
        assert_eq!(asked.execution, told(&[], 3, Some("unread")), "uid {uid}: nothing runs yet");
        let started = records(&daemon, &run, STARTED, &program, 1)?.remove(0);
        assert_eq!((started.verdict.as_str(), started.rule), ("allow", None), "uid {uid}");
        assert_eq!(started.execution, told(&[&name], 3, Some("setting")), "uid {uid}");
        let events = daemon.story(run.id())?;
        assert!(events.contains(&format!("starts {name} as {name} and 2 arguments")), "{events}");
        assert!(!events.contains("swordfish"), "{events}");
    }
    Ok(())
}

/// P7: who is the interpreter of which script is recorded; one that may not be executed is not opened, and nothing is started.
#[test]
fn records_the_script_that_a_program_interprets() -> Result<()> {
    let daemon = Daemon::shared()?;
    let (probe, other) = (Path::new("/usr/bin/agentid-probe"), Path::new("/bin/busybox"));
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        let written = |interpreter: &Path, name: &str| -> Result<_> {
            let script = daemon.scene().workspace().join(format!("{name}-{uid}"));
            fs::write(&script, format!("#!{} nothing\n", interpreter.display()))?;
            fs::set_permissions(&script, Permissions::from_mode(0o755))?;
            Ok(script)
        };
        let script = written(probe, "granted")?;
        assert_eq!(run.errno(&Step::Exec(script.clone()))?, 0, "uid {uid}");
        let own = records(&daemon, &run, ASKED, &script, 1)?.remove(0);
        assert_eq!(own.execution, told(&[], 2, Some("unread")), "uid {uid}");
        // The probe was executed by its name before.
        let asked = records(&daemon, &run, ASKED, probe, 2)?.pop().context("nothing is asked")?;
        let of_script = |told: &Execution| told.script == Some(script.display().to_string());
        assert_eq!(asked.verdict, "allow", "uid {uid}");
        assert!(asked.execution.as_deref().is_some_and(of_script), "uid {uid}: {asked:?}");
        let started = records(&daemon, &run, STARTED, probe, 2)?.pop();
        let expected = Execution {
            interprets: true,
            script: Some(script.display().to_string()),
            argument_count: 4,
            arguments: vec![probe.display().to_string()],
            left_out: Some("setting".to_owned()),
        };
        let started = started.and_then(|started| started.execution);
        assert_eq!(started, Some(Box::new(expected)), "uid {uid}");

        let script = written(other, "denied")?;
        assert_eq!(run.errno(&Step::Exec(script.clone()))?, EACCES, "uid {uid}");
        records(&daemon, &run, ASKED, &script, 1)?;
        let denied = records(&daemon, &run, "file_open", other, 1)?.remove(0);
        assert_eq!((denied.verdict.as_str(), denied.execution), ("deny", None), "uid {uid}");
    }
    Ok(())
}

/// P7: as many arguments are recorded as the settings say and there is room for, and nothing of the environment.
#[test]
fn records_arguments_as_the_settings_say() -> Result<()> {
    let scene = Scene::new()?;
    scene.set("record_arguments", Some("all"))?;
    let mut daemon = Daemon::start_in(scene)?;
    let program = daemon.scene().workspace().join("started");
    daemon.scene().program(&program)?;
    let name = program.display().to_string();
    let long = "x".repeat(300);
    let cut = "x".repeat(256 - name.len() - 1);
    let many = vec![String::new(); 300];
    let mut few = vec![name.as_str()];
    few.resize(256 - name.len(), "");
    let mut run = Run::of(&daemon, USER)?;
    let cases = [
        (
            vec!["one".to_owned(), String::new(), "zw\u{f6}lf".to_owned()],
            told(&[&name, "one", "", "zw\u{f6}lf"], 4, None),
        ),
        (vec![long], told(&[&name, &cut], 2, Some("room"))),
        (many, told(&few, 301, Some("room"))),
    ];
    for (number, (arguments, expected)) in cases.into_iter().enumerate() {
        let step = Step::ExecWith { path: program.clone(), arguments };
        assert_eq!(run.errno(&step)?, 0);
        let started = records(&daemon, &run, STARTED, &program, number + 1)?.pop();
        assert_eq!(started.and_then(|one| one.execution), expected);
    }
    drop(run);
    daemon.stop()?;
    daemon.scene().set("record_arguments", Some("none"))?;
    daemon.start_again()?;
    let mut run = Run::of(&daemon, USER)?;
    assert_eq!(run.errno(&Step::Exec(program.clone()))?, 0);
    let started = records(&daemon, &run, STARTED, &program, 1)?.pop();
    assert_eq!(started.and_then(|one| one.execution), told(&[], 2, Some("setting")));
    Ok(())
}
