//! No open is granted by a path that never was.

use std::{
    fs::{self, File},
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use agentid_tests::{
    attack::{Attempt, Effort, Verdicts},
    harness::{Attacker, Daemon, scene::USER},
};
use anyhow::{Context as _, Result, bail, ensure};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

const TIME: Duration = Duration::from_secs(20);
/// Opens of each chaser, and moves, which take longer where little is done at a time.
const LEAST: u64 = 1_000;
/// So often they chase at most until there were so many moves.
const ROUNDS: u32 = 10;
/// Of each, opening at the same time.
const CHASERS: usize = 2;

/// Only `one/two` is granted.
const POLICY: &str = r#"
    name = "attacker"
    ttl = "20m"
    on_end = "deny"
    params = ["workspace"]
    [[file]]
    paths = ["/usr/**"]
    allow = ["read", "exec"]
    [[file]]
    paths = ["${workspace}/one/two/**"]
    allow = ["read"]
"#;

/// P3: a folder is moved to and fro between `one/three` and `nine/two`, and `one` is exchanged with `eight` besides.
/// Neither place is granted; a walk that put the name from one and the folder above from the other together would see
/// `one/two`, which is.
#[test]
fn no_open_is_granted_by_halves_of_two_paths() -> Result<()> {
    let scene = agentid_tests::harness::Scene::with(&[("attacker", POLICY)])?;
    let daemon = Daemon::start_in(scene)?;
    let top = daemon.scene().workspace();
    for folder in ["one/three/a/b/c/d/e/f/g/h", "nine", "eight"] {
        fs::create_dir_all(top.join(folder))?;
    }
    let name = Path::new("a/b/c/d/e/f/g/h/file");
    daemon.scene().file(&top.join("one/three").join(name))?;
    let launch = |_| Attacker::inside(&daemon, USER);
    let mut chasers: Vec<_> = (0..CHASERS).map(launch).collect::<Result<_>>()?;
    let chase = Attempt::Chase {
        folder: top.join("one/three"),
        name: name.into(),
        effort: Effort { time: TIME, at_least: LEAST },
    };
    let moves = AtomicU64::new(0);
    while_racing(&top, &moves, || {
        for _ in 0..ROUNDS {
            race(&mut chasers, &chase)?;
            if moves.load(Ordering::Relaxed) >= LEAST {
                return Ok(());
            }
        }
        bail!("only {moves:?} moves")
    })
}

/// Lets each of them chase once.
fn race(chasers: &mut [Attacker], chase: &Attempt) -> Result<()> {
    chasers.iter_mut().try_for_each(|chaser| chaser.begin(chase))?;
    let found = chasers.iter_mut().map(|chaser| chaser.verdicts(10 * TIME));
    for Verdicts { right, wrong } in found.collect::<Result<Vec<_>>>()? {
        ensure!(wrong.is_empty(), "granted: {wrong:?}, beside {right} that were refused");
        ensure!(right >= LEAST, "only {right} opens");
    }
    Ok(())
}

/// Moves and exchanges folders until `act` has an answer.
fn while_racing<T>(top: &Path, moves: &AtomicU64, act: impl FnOnce() -> Result<T>) -> Result<T> {
    // By descriptors, because the names change below the other mover's feet.
    let (one, nine) = (File::open(top.join("one"))?, File::open(top.join("nine"))?);
    let over = AtomicBool::new(false);
    let go_on = || !over.load(Ordering::Relaxed);
    thread::scope(|scope| {
        let mover = scope.spawn(|| -> Result<()> {
            while go_on() {
                renameat2(&one, "three", &nine, "two", RenameFlags::RENAME_NOREPLACE)?;
                renameat2(&nine, "two", &one, "three", RenameFlags::RENAME_NOREPLACE)?;
                moves.fetch_add(2, Ordering::Relaxed);
            }
            Ok(())
        });
        let exchanger = scope.spawn(|| -> Result<()> {
            let (one, eight) = (top.join("one"), top.join("eight"));
            while go_on() {
                renameat2(AT_FDCWD, &one, AT_FDCWD, &eight, RenameFlags::RENAME_EXCHANGE)?;
            }
            Ok(())
        });
        let found = act();
        over.store(true, Ordering::Relaxed);
        for thread in [mover, exchanger] {
            thread.join().ok().context("a mover has died")??;
        }
        found
    })
}
