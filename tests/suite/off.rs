//! Nobody switches the enforcement off: threats, with the daemon alive and dead.

use std::{fs, path::Path};

use agentid_tests::{
    attack::Attempt,
    harness::{
        Attacker,
        adjust::{Frail, mount_at},
        scene::PINS,
    },
};
use anyhow::{Context as _, Result, ensure};

use crate::stage::Stage;

const BPFFS: &str = "/sys/fs/bpf";
const FTRACE: &str = "/proc/sys/kernel/ftrace_enabled";
/// More than any kernel has.
const BPF_COMMANDS: u32 = 48;
const BPF_PROG_GET_NEXT_ID: u32 = 11;

/// P6: the trampolines of all programs stay on, whoever writes `kernel.ftrace_enabled`, and through whichever procfs.
#[test]
fn nobody_switches_ftrace_off() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.in_life_and_death(|stage, life| {
        let text = "0".to_owned();
        let plain = Attempt::Write { path: FTRACE.into(), text: text.clone() };
        let own = Attempt::WriteInOwnProc { path: "sys/kernel/ftrace_enabled".into(), text };
        for attempt in [&plain, &own] {
            for attacker in [&mut stage.outside, &mut stage.root] {
                let errno = attacker.errno(attempt)?;
                assert_eq!(errno, libc::EPERM, "{attempt:?}, daemon {life:?}");
            }
            assert_eq!(fs::read_to_string(FTRACE)?.trim(), "1");
            stage.check_held(&format!("{attempt:?}, daemon {life:?}"))?;
        }
        // Other settings stay root's: the guard is for this one alone.
        let other = Attempt::Write {
            path: "/proc/sys/kernel/ftrace_dump_on_oops".into(),
            text: "0".into(),
        };
        assert_eq!(stage.outside.errno(&other)?, 0);
        Ok(())
    })
}

/// P6: pins and bpffs stay where they are, for root in a run and for root outside of any.
#[test]
fn nobody_takes_the_pins_away() -> Result<()> {
    let mut stage = Stage::new()?;
    let foreign = Path::new(BPFFS).join("foreign");
    fs::create_dir(&foreign)?;
    stage.in_life_and_death(|stage, life| {
        let onto = stage.daemon.scene().outside();
        for attempt in upon_pins(&foreign, &onto)? {
            for attacker in [&mut stage.root, &mut stage.outside] {
                let errno = attacker.errno(&attempt)?;
                assert_eq!(errno, libc::EPERM, "{attempt:?}, daemon {life:?}");
            }
            stage.check_held(&format!("{attempt:?}, daemon {life:?}"))?;
        }
        Ok(())
    })?;
    fs::remove_dir(&foreign)?;
    Ok(())
}

fn upon_pins(foreign: &Path, onto: &Path) -> Result<Vec<Attempt>> {
    let root = Path::new(BPFFS);
    let pins = Path::new(PINS);
    let map = pins.join("maps/INSTANCES");
    let entries: Vec<_> = fs::read_dir(pins)?.collect::<Result<_, _>>()?;
    let mut folders =
        entries.iter().map(fs::DirEntry::path).filter(|path| path != &pins.join("maps"));
    let links = folders.next().context("there is no folder of links")?;
    let link = links.join("file_open");
    ensure!(link.exists() && map.exists());
    Ok(vec![
        Attempt::Unmount { path: root.into(), lazily: false },
        Attempt::Unmount { path: root.into(), lazily: true },
        Attempt::MountOver(root.into()),
        Attempt::MountOver(pins.into()),
        Attempt::MoveTree { from: root.into(), onto: onto.into() },
        Attempt::Unlink(map.clone()),
        Attempt::Unlink(link.clone()),
        Attempt::Rmdir(pins.into()),
        Attempt::Rmdir(links.clone()),
        Attempt::Rename { from: pins.into(), to: root.join("elsewhere") },
        Attempt::Rename { from: link.clone(), to: root.join("elsewhere") },
        Attempt::Rename { from: foreign.into(), to: pins.join("more") },
        Attempt::Exchange { one: foreign.into(), other: pins.into() },
        Attempt::Exchange { one: foreign.into(), other: links },
    ])
}

/// P6: a run changes no mount, for the bpffs goes with whatever it is mounted below.
#[test]
fn a_run_does_not_take_the_bpffs_away_with_what_carries_it() -> Result<()> {
    let scene = Attacker::scene()?;
    let frail = Frail::below(&scene)?;
    let carrier = frail.carrier().to_owned();
    let (onto, bpffs) = (scene.outside(), frail.bpffs());
    let mut stage = Stage::on(scene)?;
    stage.in_life_and_death(|stage, life| {
        for attempt in [
            Attempt::Unmount { path: carrier.clone(), lazily: true },
            Attempt::Move { from: bpffs.clone(), onto: onto.clone() },
            Attempt::Move { from: carrier.clone(), onto: onto.clone() },
            Attempt::MoveTree { from: carrier.clone(), onto: onto.clone() },
            Attempt::MountOver(carrier.clone()),
            Attempt::Reconfigure(carrier.clone()),
            Attempt::PivotRoot,
        ] {
            let errno = stage.root.errno(&attempt)?;
            assert_eq!(errno, libc::EPERM, "{attempt:?}, daemon {life:?}");
            stage.check_held(&format!("{attempt:?}, daemon {life:?}"))?;
        }
        Ok(())
    })?;
    // Which is not because nobody may.
    assert_eq!(stage.outside.errno(&Attempt::Reconfigure(carrier.clone()))?, 0);
    let pivoted = stage.outside.errno(&Attempt::PivotRoot)?;
    assert!([libc::EINVAL, libc::EBUSY].contains(&pivoted), "{pivoted}");
    // Its pins are removed before what they lie in.
    drop(stage);
    drop(frail);
    Ok(())
}

/// P6: no command of bpf(2) is for a run: maps, programs and links are not reached by their numbers either.
#[test]
fn a_run_gets_no_command_of_bpf() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.in_life_and_death(|stage, life| {
        for command in 0..BPF_COMMANDS {
            for attacker in [&mut stage.root, &mut stage.user] {
                let errno = attacker.errno(&Attempt::Bpf(command))?;
                assert_eq!(errno, libc::EPERM, "command {command}, daemon {life:?}");
            }
        }
        // The same command outside of any run: that it is refused is not the kernel's doing.
        let outside = stage.outside.errno(&Attempt::Bpf(BPF_PROG_GET_NEXT_ID))?;
        assert_eq!(outside, 0);
        stage.check_held("bpf(2)")
    })
}

/// What root outside of any run has in other bpffs, and beside our folder in the same one, is left alone.
#[test]
fn other_pins_are_left_alone() -> Result<()> {
    let mut stage = Stage::new()?;
    let elsewhere = stage.daemon.scene().path().join("bpf");
    fs::create_dir(&elsewhere)?;
    stage.in_life_and_death(|stage, _| {
        mount_at("bpf", &elsewhere)?;
        for place in [elsewhere.as_path(), Path::new(BPFFS)] {
            let (one, other) = (place.join("one"), place.join("other"));
            fs::create_dir(&one)?;
            let rename = Attempt::Rename { from: one, to: other.clone() };
            assert_eq!(stage.outside.errno(&rename)?, 0, "{rename:?}");
            assert_eq!(stage.outside.errno(&Attempt::Rmdir(other))?, 0);
        }
        let unmount = Attempt::Unmount { path: elsewhere.clone(), lazily: false };
        assert_eq!(stage.outside.errno(&unmount)?, 0);
        Ok(())
    })
}

/// P6: `agentidd unload` is the way out, for root outside of any run, and not while a run lives.
#[test]
fn unload_waits_for_the_last_run() -> Result<()> {
    let mut stage = Stage::new()?;
    stage.daemon.stop()?;
    let refusal = stage.daemon.refused_unload()?;
    assert!(refusal.contains("runs are alive"), "{refusal}");
    assert!(refusal.contains("agentid revoke"), "{refusal}");
    stage.check_held("a refused unload")?;
    Ok(())
}
