//! After the end of a run nothing goes on that it has open.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::{FileExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use agentid_tests::{
    harness::{
        Daemon, Run, Scene,
        run::Terms,
        scene::{PINS, USER, USERS},
        view::{Changed, What},
        wait,
    },
    step::{Open, Outcome, Step, Use},
};
use anyhow::{Context as _, Result, bail};
use libc::{EOPNOTSUPP, EPERM};
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::Mode,
    },
    unistd::{Pid, mkfifo},
};

/// The tasks of `denied` go on after its end, those of `killed` do not.
const POLICY: &str = r#"
    name = "denied"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/bin/agentid-probe"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/**"]
    allow = ["read", "write"]
    [[file]]
    paths = ["/dev/ptmx", "/dev/pts/**"]
    allow = ["read", "write"]
    [[net]]
    to = ["127.0.0.1:*"]
    proto = ["tcp", "udp"]
    allow = ["connect"]
    [[net]]
    on = ["127.0.0.1:*"]
    proto = ["tcp", "udp"]
    allow = ["listen"]
"#;
/// How long a run that everything is ready for has left.
const LEFT: Duration = Duration::from_secs(2);
/// Deadlines are told in milliseconds of another clock than the one that they are kept in.
const SLACK: Duration = Duration::from_millis(100);

fn scene() -> Result<Scene> {
    let killed = POLICY.replace("\"denied\"", "\"killed\"").replace("\"deny\"", "\"kill\"");
    let scene = Scene::with(&[("denied", POLICY), ("killed", &killed)])?;
    scene.file(&scene.workspace().join("b"))?;
    Ok(scene)
}

fn launch(daemon: &Daemon, policy: &str, uid: u32) -> Result<Run> {
    Run::launch(daemon, &Terms { policy, uid, ..Terms::default() })
}

/// Has a run open one of everything.
fn hold(daemon: &Daemon, run: &mut Run) -> Result<()> {
    let work = daemon.scene().workspace();
    let step = Step::Hold { file: work.join("a"), other: work.join("b") };
    assert_eq!(run.errno(&step)?, 0, "{step:?}");
    Ok(())
}

/// That all of it works.
fn check_alive(run: &mut Run, when: &str) -> Result<()> {
    for it in Use::ALL {
        match run.errno(&Step::Use(it))? {
            0 => {}
            // Asked for, and not known on the filesystem of the test.
            EOPNOTSUPP if it == Use::Allocate => {}
            errno => panic!("{when}: {it:?} gave {errno}"),
        }
    }
    Ok(())
}

/// That nothing of it works.
fn check_dead(run: &mut Run, when: &str) -> Result<()> {
    for it in Use::ALL {
        assert_eq!(run.errno(&Step::Use(it))?, EPERM, "{when}: {it:?}");
    }
    Ok(())
}

/// The pinned link of a program, wherever the programs' links are now.
fn pin(name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(PINS)? {
        let folder = entry?.path();
        // One link, or one for each processor.
        let names = [name.to_owned(), format!("{name}-0")];
        let mut paths = names.into_iter().map(|name| folder.join(name));
        if is_links(&folder)
            && let Some(path) = paths.find(|path| path.exists())
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn is_links(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("links-"))
}

/// Whether a program is needed, and whether it is attached; the pin and the daemon must say the same.
fn standing(daemon: &Daemon, name: &str) -> Result<(bool, bool)> {
    let status = daemon.status()?;
    assert_eq!(status.posture, "enforcing", "{:?}", status.why);
    let hook = status.hooks.into_iter().find(|hook| hook.name == name);
    let hook = hook.with_context(|| format!("the daemon knows no {name}"))?;
    Ok((hook.needed, hook.attached))
}

fn await_standing(daemon: &Daemon, name: &str, expected: (bool, bool)) -> Result<()> {
    let what = format!("{name} is needed, attached: {expected:?}");
    wait::until(&what, wait::SOON, || Ok((standing(daemon, name)? == expected).then_some(())))?;
    assert_eq!(pin(name)?.is_some(), expected.1, "the pin of {name}");
    Ok(())
}

const NEEDED: (bool, bool) = (true, true);
const IDLE: (bool, bool) = (false, false);

/// P4: files, folders, pipes, counters, terminals and sockets that are open, and what has come to these, are of no use
/// after the revocation; those of a sibling and of the person are all along.
#[test]
fn nothing_open_is_of_use_after_revoke() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let person = fs::File::options().read(true).write(true).open(daemon.scene().granted())?;
    for uid in USERS {
        let mut run = launch(&daemon, "denied", uid)?;
        let mut sibling = launch(&daemon, "denied", uid)?;
        hold(&daemon, &mut run)?;
        hold(&daemon, &mut sibling)?;
        check_alive(&mut run, &format!("uid {uid}, before"))?;
        daemon.revoke(run.id())?;
        check_dead(&mut run, &format!("uid {uid}, after"))?;
        check_alive(&mut sibling, &format!("uid {uid}, the sibling"))?;
        person.write_at(b"x", 0)?;
        person.read_at(&mut [0], 0)?;
    }
    Ok(())
}

/// P4, P5: the same after the deadline, with nobody there to notice it.
#[test]
fn nothing_open_is_of_use_after_the_deadline() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let mut sibling = launch(&daemon, "denied", uid)?;
        hold(&daemon, &mut sibling)?;
        let mut run = launch(&daemon, "denied", uid)?;
        hold(&daemon, &mut run)?;
        daemon.kill9()?;
        check_alive(&mut run, &format!("uid {uid}, before"))?;
        run.due_in(&daemon, LEFT)?;
        let over = || Ok((run.errno(&Step::Use(Use::ReadAt))? == EPERM).then_some(()));
        wait::until("the deadline has passed", wait::SOON, over)?;
        check_dead(&mut run, &format!("uid {uid}, after"))?;
        check_alive(&mut sibling, &format!("uid {uid}, the sibling"))?;
        daemon.start_again()?;
        check_dead(&mut run, &format!("uid {uid}, once the daemon is back"))?;
        check_alive(&mut sibling, &format!("uid {uid}, the sibling, once the daemon is back"))?;
    }
    Ok(())
}

/// P7: what was refused is counted and recorded, with the hook and the reason; what was let through is not.
#[test]
fn refused_uses_are_recorded() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    let mut run = launch(&daemon, "denied", USER)?;
    hold(&daemon, &mut run)?;
    let before = run.totals(&daemon)?;
    let uses = [Use::ReadAt, Use::WritePipe, Use::Map, Use::ReceiveUnix, Use::AskSocket];
    for it in uses {
        assert_eq!(run.errno(&Step::Use(it))?, 0, "{it:?}");
    }
    assert_eq!(run.totals(&daemon)?, before);
    daemon.revoke(run.id())?;
    for it in uses {
        assert_eq!(run.errno(&Step::Use(it))?, EPERM, "{it:?}");
    }
    assert_eq!(run.totals(&daemon)?.denied, before.denied + 5);
    let hooks = wait::until("the records are there", wait::SOON, || {
        let denials = daemon.events(run.id())?.into_iter().filter_map(|event| match event.what {
            What::Access(access) if access.reason.as_deref() == Some("revoked") => {
                Some(access.hook)
            }
            What::Access(_) | What::Stopped(_) | What::Ended(_) | What::Other => None,
        });
        let hooks: Vec<String> = denials.collect();
        Ok((hooks.len() == uses.len()).then_some(hooks))
    })?;
    let [read, .., receive, ask] = DESCRIPTORS.map(str::to_owned);
    assert_eq!(hooks, [read.clone(), read, "mmap_file".to_owned(), receive, ask]);
    Ok(())
}

/// What every process of the host would pay for: at each use of a descriptor, at each change of tasks, at each tick.
const DESCRIPTORS: [&str; 3] = ["file_permission", "socket_recvmsg", "socket_getsockopt"];
const GOING_ON: [&str; 2] = ["sched_switch", "cpu_clock"];

fn await_all(daemon: &Daemon, names: &[&str], expected: (bool, bool)) -> Result<()> {
    names.iter().try_for_each(|name| await_standing(daemon, name, expected))
}

/// P4: what every process of the host would pay for is there while a run needs it, and not otherwise: what holds
/// descriptors where tasks go on after the end, what looks for those who go on where they are to be killed.
#[test]
fn what_all_would_pay_for_is_there_only_while_a_run_needs_it() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    await_all(&daemon, &DESCRIPTORS, IDLE)?;
    await_all(&daemon, &GOING_ON, IDLE)?;
    let killed = launch(&daemon, "killed", USER)?;
    await_all(&daemon, &GOING_ON, NEEDED)?;
    await_all(&daemon, &DESCRIPTORS, IDLE)?;
    drop(killed);
    await_all(&daemon, &GOING_ON, IDLE)?;
    let denied = launch(&daemon, "denied", USER)?;
    await_all(&daemon, &DESCRIPTORS, NEEDED)?;
    await_all(&daemon, &GOING_ON, IDLE)?;
    // Stopping: its tasks are there, and so is what holds them.
    daemon.revoke(denied.id())?;
    await_all(&daemon, &DESCRIPTORS, NEEDED)?;
    drop(denied);
    await_all(&daemon, &DESCRIPTORS, IDLE)?;
    let killed = launch(&daemon, "killed", USER)?;
    daemon.revoke(killed.id())?;
    await_all(&daemon, &DESCRIPTORS, IDLE)?;
    await_all(&daemon, &GOING_ON, IDLE)
}

/// P6: a daemon that dies leaves it where it is needed; the next one takes it up, also with programs of its own, and
/// takes it away when the need has gone meanwhile.
#[test]
fn the_next_daemon_takes_over_what_runs_need() -> Result<()> {
    let needed = |daemon: &Daemon| {
        await_all(daemon, &DESCRIPTORS, NEEDED)?;
        await_all(daemon, &GOING_ON, NEEDED)
    };
    let mut daemon = Daemon::start_in(scene()?)?;
    let killed = launch(&daemon, "killed", USER)?;
    let mut run = launch(&daemon, "denied", USER)?;
    hold(&daemon, &mut run)?;
    daemon.revoke(run.id())?;
    check_dead(&mut run, "revoked")?;
    daemon.kill9()?;
    check_dead(&mut run, "the daemon is dead")?;
    daemon.start_again()?;
    needed(&daemon)?;
    check_dead(&mut run, "the daemon is back")?;
    daemon.stop()?;
    daemon.start_anew()?;
    needed(&daemon)?;
    check_dead(&mut run, "there are new programs")?;
    daemon.kill9()?;
    drop((run, killed));
    for name in DESCRIPTORS.into_iter().chain(GOING_ON) {
        assert!(pin(name)?.is_some(), "nobody is there to take {name} away");
    }
    daemon.start_again()?;
    await_all(&daemon, &DESCRIPTORS, IDLE)?;
    await_all(&daemon, &GOING_ON, IDLE)
}

/// Whether a process is there and has not ended.
fn is_alive(process: u32) -> Result<bool> {
    match fs::read_to_string(format!("/proc/{process}/stat")) {
        // The state comes after the name, which is in parentheses and may hold any.
        Ok(stat) => {
            let state = stat.rsplit_once(") ").map(|(_, rest)| rest.starts_with(['Z', 'X']));
            Ok(!state.context("the kernel's line on a process is not as it was")?)
        }
        Err(error) if matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn start(run: &mut Run, step: &Step) -> Result<u32> {
    match run.ask(step)? {
        Outcome::Process(process) => Ok(process),
        other => bail!("{step:?} gave {other:?}"),
    }
}

/// How long a process has lived since the end of its run.
fn await_death(process: u32, deadline: Duration, what: &str) -> Result<Duration> {
    wait::until(
        &format!("{what} is gone"),
        wait::SOON,
        || Ok((!is_alive(process)?).then_some(())),
    )?;
    Ok(now()?.saturating_sub(deadline))
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// P4, P5: what only computes is killed at the deadline although nobody is there to do it, also of a run that is suspended;
/// what a live run computes goes on.
#[test]
fn a_spinner_dies_at_the_deadline_while_the_daemon_is_dead() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for (uid, held) in [(0, false), (USER, false), (USER, true)] {
        let what = format!("uid {uid}, suspended {held}");
        let mut sibling = launch(&daemon, "killed", uid)?;
        let others = start(&mut sibling, &Step::Spin)?;
        let mut run = launch(&daemon, "killed", uid)?;
        let spinner = start(&mut run, &Step::Spin)?;
        if held {
            let _: Changed = daemon.ask(&["suspend", "--no-freeze", run.id()])?;
        }
        daemon.kill9()?;
        let deadline = run.due_in(&daemon, LEFT)?;
        loop {
            // Looked at before the clock: what is seen was so at that time.
            let alive = is_alive(spinner)?;
            if now()? + SLACK >= deadline {
                break;
            }
            assert!(alive, "{what}: the spinner has not lived to the deadline");
            wait::moment();
        }
        let lived = await_death(spinner, deadline, "the spinner")?;
        eprintln!("{what}: the spinner lived {lived:?} longer than its run");
        assert!(is_alive(others)?, "{what}: the sibling's spinner");
        drop(sibling);
        drop(run);
        daemon.start_again()?;
    }
    Ok(())
}

/// A fifo that the test holds open for writing.
fn fifo(daemon: &Daemon, name: &str) -> Result<(PathBuf, fs::File)> {
    let path = daemon.scene().workspace().join(name);
    mkfifo(&path, Mode::S_IRWXU)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
    let file = fs::File::options().read(true).write(true).open(&path)?;
    Ok((path, file))
}

/// What the kernel has a process wait for.
fn sleeps(process: u32) -> Result<()> {
    let look = || {
        let stat = fs::read_to_string(format!("/proc/{process}/stat"))?;
        Ok(stat.rsplit_once(") ").filter(|(_, rest)| rest.starts_with('S')).map(drop))
    };
    wait::until("the process waits", wait::SOON, look)
}

/// P4: one that computes, one that waits for a pipe and one that waits for nothing are gone when the revocation is
/// answered; those of the sibling live.
#[test]
fn nothing_outlives_a_revocation() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (path, _writer) = fifo(&daemon, &format!("fifo-{uid}"))?;
        let idle = [Step::Spin, Step::Block(path), Step::Pause];
        let mut run = launch(&daemon, "killed", uid)?;
        let mut sibling = launch(&daemon, "killed", uid)?;
        for step in &idle {
            let (own, others) = (start(&mut run, step)?, start(&mut sibling, step)?);
            assert!(is_alive(own)? && is_alive(others)?, "uid {uid}: {step:?}");
        }
        assert_eq!(daemon.revoke_and_kill(run.id())?.tasks, 4, "uid {uid}");
        assert_eq!(sibling.view(&daemon)?.tasks, 4, "uid {uid}: the sibling");
    }
    Ok(())
}

/// P4, P5: who sleeps when the run ends and nobody is there to wake him does nothing; with the first thing that wakes
/// him he is gone. Who is never woken is stopped by the next daemon.
#[test]
fn a_sleeper_dies_when_it_wakes_while_the_daemon_is_dead() -> Result<()> {
    let mut daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let (path, mut writer) = fifo(&daemon, &format!("fifo-{uid}"))?;
        let mut run = launch(&daemon, "killed", uid)?;
        let [blocked, woken, left] = [Step::Block(path), Step::Pause, Step::Pause];
        let [blocked, woken, left] =
            [start(&mut run, &blocked)?, start(&mut run, &woken)?, start(&mut run, &left)?];
        [blocked, woken, left].into_iter().try_for_each(sleeps)?;
        daemon.kill9()?;
        let deadline = run.due_in(&daemon, LEFT)?;
        wait::until("the deadline has passed", wait::SOON, || {
            Ok((now()? > deadline + SLACK).then_some(()))
        })?;
        for process in [blocked, woken, left] {
            assert!(is_alive(process)?, "uid {uid}: nobody was there to wake {process}");
        }
        writer.write_all(b"x")?;
        await_death(blocked, now()?, "who waited for a pipe")?;
        kill(Pid::from_raw(woken.cast_signed()), Signal::SIGSTOP)?;
        await_death(woken, now()?, "who was woken")?;
        assert!(is_alive(left)?, "uid {uid}: who still sleeps");
        daemon.start_again()?;
        await_death(left, now()?, "who slept until the daemon came back")?;
        run.await_end()?;
    }
    Ok(())
}

/// P4: what each kind of residue can still do after the end. A mapping is there for good, a read that waits gives what it
/// was asked for and no more, and nothing begins anew.
#[test]
fn what_is_left_after_the_end() -> Result<()> {
    let daemon = Daemon::start_in(scene()?)?;
    for uid in USERS {
        let file = daemon.scene().granted();
        let (path, mut writer) = fifo(&daemon, &format!("fifo-{uid}"))?;
        let mut run = launch(&daemon, "denied", uid)?;
        hold(&daemon, &mut run)?;
        assert_eq!(run.errno(&Step::MapShared(file.clone()))?, 0);
        let waits = start(&mut run, &Step::ReadTwice(path))?;
        sleeps(waits)?;

        daemon.revoke(run.id())?;
        // The first opens and uses are denied although tasks live.
        assert_eq!(run.errno(&Step::Open { path: file.clone(), how: Open::Read })?, EPERM);
        check_dead(&mut run, &format!("uid {uid}"))?;
        // The read that waited takes its byte, and is not followed by another one.
        assert!(is_alive(waits)?, "uid {uid}: a read that waits was not ended");
        writer.write_all(b"xx")?;
        await_death(waits, now()?, "who read once")?;
        let mut bytes = [0_u8; 2];
        assert_eq!(writer.read(&mut bytes)?, 1, "uid {uid}: bytes that were not read");
        // What is mapped is written to without any call.
        assert_eq!(run.errno(&Step::WriteMapped)?, 0);
        assert!(fs::read(&file)?.starts_with(b"mapped"), "uid {uid}: what is mapped is the file");
    }
    Ok(())
}
