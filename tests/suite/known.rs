//! What the kernel programs remember of a folder never outlives the place that the folder has.
//!
//! Each is shown for a policy in which no name matters, whose memories answer at once, and for one that denies a name in
//! every folder, whose memories lead to the folder only.

use std::{
    fs,
    path::{Path, PathBuf},
};

use agentid_tests::{
    harness::{Daemon, Place, Run, run::Terms, scene::USERS},
    step::{Open, Step},
};
use anyhow::Result;
use libc::EACCES;

const POLICIES: [&str; 2] = ["known", "by-name"];
/// Memory of the kernel's is given out again within a few allocations; this is many.
const FOLDERS: u32 = 200;

/// Asks each time for the same as often as it takes to answer from memory.
struct Reader {
    run: Run,
    who: String,
}

impl Reader {
    fn each(test: impl Fn(&mut Self, &Place) -> Result<()>) -> Result<()> {
        let daemon = Daemon::shared()?;
        for policy in POLICIES {
            for uid in USERS {
                let place = Place::below(daemon.scene().path())?;
                let work = place.workspace();
                let terms = Terms { policy, uid, workspace: Some(&work), ..Terms::default() };
                let run = Run::launch(&daemon, &terms)?;
                test(&mut Self { run, who: format!("{policy}, uid {uid}") }, &place)?;
            }
        }
        Ok(())
    }

    #[track_caller]
    fn reads(&mut self, path: &Path, errno: i32) -> Result<()> {
        let step = Step::Open { path: path.to_owned(), how: Open::Read };
        for time in 1..=3 {
            assert_eq!(self.run.errno(&step)?, errno, "{}: {} ({time})", self.who, path.display());
        }
        Ok(())
    }
}

fn folder_with_file(place: &Place, folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    place.open_to_all(folder)?;
    let file = folder.join("file");
    place.file(&file)?;
    Ok(file)
}

/// P2: a folder that somebody moves out of what is granted takes what is in it along, however often it was opened, and
/// so does one that is moved in.
#[test]
fn judges_a_file_by_where_its_folder_is_now() -> Result<()> {
    Reader::each(|reader, place| {
        let (inside, outside) = (place.workspace().join("top"), place.outside().join("top"));
        let file = folder_with_file(place, &inside.join("middle/folder"))?;
        let elsewhere = outside.join("middle/folder/file");
        for _ in 0..3 {
            reader.reads(&file, 0)?;
            fs::rename(&inside, &outside)?;
            reader.reads(&elsewhere, EACCES)?;
            fs::rename(&outside, &inside)?;
        }
        reader.reads(&file, 0)?;
        fs::remove_dir_all(&inside)?;
        Ok(())
    })
}

/// P2: a file that somebody moves out of a folder is not judged by that folder, nor a file of the same inode by another
/// name of it.
#[test]
fn judges_a_file_by_the_folder_that_its_name_is_in() -> Result<()> {
    Reader::each(|reader, place| {
        let file = folder_with_file(place, &place.workspace().join("here"))?;
        let elsewhere = place.outside().join("file");
        reader.reads(&file, 0)?;
        fs::hard_link(&file, &elsewhere)?;
        reader.reads(&elsewhere, EACCES)?;
        reader.reads(&file, 0)?;
        fs::remove_file(&elsewhere)?;
        fs::rename(&file, &elsewhere)?;
        reader.reads(&elsewhere, EACCES)?;
        fs::remove_file(&elsewhere)?;
        Ok(())
    })
}

/// P2: in a folder that is known, names are looked at as in one that is not.
#[test]
fn compares_the_name_in_a_folder_that_is_known() -> Result<()> {
    Reader::each(|reader, place| {
        let folder = place.workspace().join("names");
        let file = folder_with_file(place, &folder)?;
        let secret = folder.join("secret");
        place.file(&secret)?;
        let denied = if reader.who.starts_with("by-name") { EACCES } else { 0 };
        reader.reads(&file, 0)?;
        reader.reads(&secret, denied)?;
        reader.reads(&file, 0)?;
        fs::rename(&file, &secret)?;
        reader.reads(&secret, denied)?;
        fs::rename(&secret, &file)?;
        reader.reads(&file, 0)?;
        Ok(())
    })
}

/// P2: a folder that begins where rules begin is not taken for one more file of the folder above it.
#[test]
fn asks_a_folder_for_rules_of_its_own() -> Result<()> {
    Reader::each(|reader, place| {
        let beside = place.path().join("beside");
        place.file(&beside)?;
        reader.reads(&beside, EACCES)?;
        reader.reads(&place.workspace(), 0)?;
        reader.reads(&place.outside(), EACCES)?;
        reader.reads(&beside, EACCES)?;
        Ok(())
    })
}

/// P2: a new folder that the kernel keeps in the memory of one that is gone is not taken for it. Nothing is renamed.
#[test]
fn judges_a_folder_in_the_memory_of_another_one_by_itself() -> Result<()> {
    Reader::each(|reader, place| {
        for _ in 0..FOLDERS {
            let granted = place.workspace().join("gone");
            reader.reads(&folder_with_file(place, &granted)?, 0)?;
            fs::remove_dir_all(&granted)?;
            let denied = place.outside().join("new");
            reader.reads(&folder_with_file(place, &denied)?, EACCES)?;
            fs::remove_dir_all(&denied)?;
        }
        Ok(())
    })
}
