//! What is mapped of a file is executed only where executing the file is granted.

use std::{fs, path::Path, process::Command};

use agentid_tests::{
    harness::{
        Daemon, Run,
        run::Terms,
        scene::USERS,
        view::{Object, What},
        wait,
    },
    step::{Mapping, Step},
};
use anyhow::{Context as _, Result, ensure};
use libc::{EACCES, EPERM};

/// The ways in which a file becomes executable memory.
const WAYS: [fn(std::path::PathBuf) -> Mapping; 5] = [
    Mapping::Executable,
    Mapping::MadeExecutable,
    Mapping::MadeExecutableWithKey,
    Mapping::Implied,
    Mapping::MadeImplied,
];

fn errno(run: &mut Run, mapping: &Mapping) -> Result<i32> {
    run.errno(&Step::Map(mapping.clone()))
}

/// P2: a file that may be read alone is mapped for reading alone, in whatever way it would become executable.
#[test]
fn maps_executable_only_what_may_be_executed() -> Result<()> {
    let daemon = Daemon::shared()?;
    let file = daemon.scene().granted();
    for uid in USERS {
        for (policy, expected) in [("fixture", 0), ("narrow", EACCES), ("audited", 0)] {
            let mut run = Run::launch(&daemon, &Terms { policy, uid, ..Terms::default() })?;
            let readable = Mapping::Readable(file.clone());
            assert_eq!(errno(&mut run, &readable)?, 0, "uid {uid}, {policy}");
            for way in WAYS {
                let mapping = way(file.clone());
                let found = errno(&mut run, &mapping)?;
                assert_eq!(found, expected, "uid {uid}, {policy}: {mapping:?}");
            }
        }
    }
    Ok(())
}

/// P2: files that lie nowhere, and those in a folder that have no name, are not executable memory, as they are no programs; memory that is no file's is free.
#[test]
fn maps_no_file_of_memory_executable() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        for mapping in [Mapping::Memory, Mapping::MadeMemory, Mapping::Shared] {
            assert_eq!(errno(&mut run, &mapping)?, EACCES, "uid {uid}: {mapping:?}");
        }
        let work = daemon.scene().workspace();
        for mapping in [Mapping::Temporary(work.clone()), Mapping::MadeTemporary(work)] {
            assert_eq!(errno(&mut run, &mapping)?, EACCES, "uid {uid}: {mapping:?}");
        }
        assert_eq!(errno(&mut run, &Mapping::Anonymous)?, 0, "uid {uid}");
    }
    Ok(())
}

/// P4: after its end a run makes nothing executable, also of what it could have opened without being asked.
#[test]
fn maps_nothing_executable_after_the_end() -> Result<()> {
    let daemon = Daemon::shared()?;
    for uid in USERS {
        let mut run = Run::of(&daemon, uid)?;
        daemon.revoke(run.id())?;
        for mapping in [Mapping::Memory, Mapping::MadeMemory] {
            assert_eq!(errno(&mut run, &mapping)?, EPERM, "uid {uid}: {mapping:?}");
        }
    }
    Ok(())
}

/// P7: the record says which file, which right, and why not.
#[test]
fn records_the_file_and_the_right() -> Result<()> {
    let daemon = Daemon::shared()?;
    let file = daemon.scene().granted();
    let mut run = Run::launch(&daemon, &Terms { policy: "narrow", ..Terms::default() })?;
    for (way, hook) in
        [(WAYS[0], "mmap_file"), (WAYS[1], "file_mprotect"), (WAYS[2], "file_mprotect")]
    {
        assert_eq!(errno(&mut run, &way(file.clone()))?, EACCES);
        let shown =
            Object::File { path: Some(file.display().to_string()), want: vec!["exec".to_owned()] };
        wait::until("the record is there", wait::SOON, || {
            let found = daemon.events(run.id())?.into_iter().any(|event| match event.what {
                What::Access(access) => {
                    access.hook == hook
                        && access.reason.as_deref() == Some("no_rule")
                        && access.object.as_ref() == Some(&shown)
                }
                What::Stopped(_) | What::Ended(_) | What::Other => false,
            });
            Ok(found.then_some(()))
        })?;
    }
    Ok(())
}

/// The loader of dynamic programs, on roots that have them.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";

/// P2: the dynamic loader, told to run a program, runs none that may not be executed.
#[test]
fn the_loader_runs_only_what_may_be_executed() -> Result<()> {
    if !Path::new(LOADER).exists() {
        eprintln!("skipped: this root has no dynamic programs, {LOADER} does not exist");
        return Ok(());
    }
    let daemon = Daemon::start_in(agentid_tests::harness::Scene::with(&[("loader", POLICY)])?)?;
    let work = daemon.scene().workspace();
    fs::create_dir(work.join("bin"))?;
    for copy in ["true", "bin/true"] {
        fs::copy("/usr/bin/true", work.join(copy))?;
    }
    for uid in USERS {
        for (program, status) in [("true", 127), ("bin/true", 0)] {
            let found = loader(&daemon, uid, &work.join(program))?;
            ensure!(found == Some(status), "uid {uid}: {program} ended with {found:?}");
        }
    }
    Ok(())
}

/// Programs in `bin` may be executed, those beside it only be read.
const POLICY: &str = r#"
    name = "loader"
    ttl = "20m"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/**", "/lib/**", "/lib64/**", "${workspace}/bin/**"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["/etc/ld.so.cache", "${workspace}/**"]
    allow = ["read"]
"#;

/// The status of a run whose command is the loader with this program.
fn loader(daemon: &Daemon, uid: u32, program: &Path) -> Result<Option<i32>> {
    use std::os::unix::process::CommandExt as _;
    let mut command: Command = daemon.agentid();
    let workspace = format!("workspace={}", daemon.scene().workspace().display());
    command.args(["run", "--policy", "loader", "--agent", "loader", "--owner", "suite"]);
    command.args(["--task", "test", "--param", &workspace, "--", LOADER]).arg(program);
    let output = command.uid(uid).gid(uid).output().context("failed to start agentid run")?;
    Ok(output.status.code())
}
