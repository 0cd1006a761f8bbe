//! Filesystems that take names for equal which are not the same bytes: what a name would be compared with is not clear,
//! so that no name there grants.

use std::{fs, path::Path};

use agentid_tests::{
    harness::{
        Run,
        run::Terms,
        scene::{USER, USERS},
    },
    step::{Change, Open, Step},
};
use anyhow::{Context as _, Result};
use libc::EACCES;

use super::{
    Stage, await_reason, await_rules,
    made::{Image, Kind, done, program},
    open,
};

/// Each of these names leads whoever is in no run to a file, and no run, although it is granted the folder and all in it.
fn holds_for(run: &mut Run, folder: &Path, names: &[&str]) -> Result<()> {
    for name in names {
        let path = folder.join(name);
        fs::File::open(&path).with_context(|| format!("{} leads nowhere", path.display()))?;
        for how in [Open::Read, Open::Write] {
            assert_eq!(run.errno(&open(&path, how))?, EACCES, "{path:?}");
        }
    }
    Ok(())
}

/// P2: a denial of a name on vfat holds for the short name, in other case and with dots behind it; what is granted by name
/// is denied as well.
#[test]
fn vfat_has_no_way_round_a_name() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let image = Image::make(&stage.place, "vfat", Kind::Vfat)?;
    let folder = stage.work.join("vfat");
    let _mounted = image.mount(&stage.place, &folder)?;
    let programs = folder.join("Program Files");
    fs::create_dir(&programs)?;
    for name in ["secret", "A Long Name.txt", "data", "Program Files/secret"] {
        fs::write(folder.join(name), "text")?;
    }
    for run in &mut stage.runs {
        await_rules(run, &folder)?;
        let names = [
            "secret",
            "SECRET",
            "Secret.",
            "secret...",
            "data",
            "DATA",
            "A Long Name.txt",
            "ALONGN~1.TXT",
            "a long name.TXT.",
            "Program Files/secret",
            "PROGRA~1/SECRET",
            "program files./secret",
        ];
        holds_for(run, &folder, &names)?;
        assert_eq!(run.errno(&open(&folder.join("new"), Open::Create))?, EACCES);
        assert_eq!(run.errno(&Step::List(programs.clone()))?, EACCES);
        let made = Step::Change(Change::Folder(folder.join("made")));
        assert_eq!(run.errno(&made)?, EACCES);
        let (from, to) = (folder.join("data"), folder.join("other"));
        let moved = Step::Change(Change::Rename { from, to });
        assert_eq!(run.errno(&moved)?, EACCES);
        await_reason(&stage.daemon, run, "case_folding")?;
        let why = stage.daemon.why_open(run.id(), &folder.join("data"), None)?;
        assert_eq!(why.verdict, "deny", "the daemon says so as well");
    }
    Ok(())
}

/// P2: the same on an ext4 that was made for it, in folders that fold names and in others.
#[test]
fn folding_ext4_has_no_way_round_a_name() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let folder = stage.work.join("folding");
    let image = Image::make(&stage.place, "folding", Kind::Ext4Folding)?;
    let _mounted = image.mount(&stage.place, &folder)?;
    let (folds, plain) = (folder.join("folds"), folder.join("plain"));
    for made in [&folds, &plain] {
        fs::create_dir(made)?;
    }
    done(program("bin/chattr").arg("+F").arg(&folds))?;
    for made in [&folds, &plain, &folder] {
        stage.place.open_to_all(made)?;
        for name in ["secret", "data", "Straße"] {
            stage.place.file(&made.join(name))?;
        }
    }
    for run in &mut stage.runs {
        await_rules(run, &folder)?;
        let names = ["secret", "SECRET", "data", "DATA", "Straße", "STRASSE"];
        holds_for(run, &folds, &names)?;
        holds_for(run, &plain, &["secret", "data"])?;
        holds_for(run, &folder, &["secret", "data"])?;
        assert_eq!(run.errno(&open(&folds.join("new"), Open::Create))?, EACCES);
        await_reason(&stage.daemon, run, "case_folding")?;
        let why = stage.daemon.why_open(run.id(), &plain.join("data"), None)?;
        assert_eq!(why.verdict, "deny", "the daemon says so as well");
    }
    // A run can be given such a folder, and list it.
    let terms = Terms { uid: USER, workspace: Some(&folds), ..Terms::default() };
    let mut run = Run::launch(&stage.daemon, &terms)?;
    assert_eq!(run.errno(&Step::List(folds.clone()))?, 0);
    holds_for(&mut run, &folds, &["data", "DATA"])?;
    drop(run);
    Ok(())
}

/// P2: an ext4 that was made for it folds names in its root as well, also where the kernel says so of no name there: what is
/// found for a file without a name says nothing of one with another.
#[test]
fn a_folding_root_is_not_taken_for_another() -> Result<()> {
    let mut stage = Stage::new(&USERS)?;
    let folder = stage.work.join("root");
    let image = Image::make(&stage.place, "root", Kind::Ext4Folding)?;
    let _mounted = image.mount(&stage.place, &folder)?;
    fs::remove_dir(folder.join("lost+found"))?;
    done(program("bin/chattr").arg("+F").arg(&folder))?;
    for name in ["secret", "data"] {
        stage.place.file(&folder.join(name))?;
    }
    for run in &mut stage.runs {
        await_rules(run, &folder)?;
        // Without the capability that it takes to give it a name, the kernel finds none.
        let to = folder.join("named");
        let unnamed = Change::LinkTemporary { folder: folder.clone(), to };
        assert_eq!(run.errno(&Step::Change(unnamed))?, EACCES, "a file without a name");
        holds_for(run, &folder, &["SECRET", "secret", "DATA", "data"])?;
    }
    Ok(())
}
