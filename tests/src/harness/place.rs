//! Files to reach for: what a run is granted, and what lies beside that.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::scene::{PROBE, USER};

/// A folder with a workspace in it, gone with its guard. A test that shares a daemon makes one below its scene, where
/// nobody else changes anything.
pub struct Place {
    folder: TempDir,
}

impl Place {
    pub fn below(folder: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("agentid-suite-").tempdir_in(folder)?;
        let place = Self { folder };
        // Runs of other users come through here.
        fs::set_permissions(place.path(), Permissions::from_mode(0o755))?;
        for folder in [place.workspace(), place.outside()] {
            fs::create_dir(&folder)?;
            give(&folder)?;
            place.file(&folder.join("a"))?;
        }
        place.file(&place.workspace().join("secret"))?;
        Ok(place)
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The folder that `fixture` grants. It holds the file `a`, which is granted, and `secret`, which is not.
    pub fn workspace(&self) -> PathBuf {
        self.path().join("workspace")
    }

    /// A folder beside it that nothing grants, with a file `a`. File modes let everyone in.
    pub fn outside(&self) -> PathBuf {
        self.path().join("outside")
    }

    /// A file in the workspace that may be read.
    pub fn granted(&self) -> PathBuf {
        self.workspace().join("a")
    }

    /// A file beside the workspace that may not be read.
    pub fn denied(&self) -> PathBuf {
        self.outside().join("a")
    }

    /// Makes a file that everyone may read and write as far as file modes go.
    pub fn file(&self, path: &Path) -> Result<()> {
        fs::write(path, "text").with_context(|| format!("failed to write {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(0o666))?;
        Ok(())
    }

    /// Makes such a file that is the test user's.
    pub fn file_of_user(&self, path: &Path) -> Result<()> {
        self.file(path)?;
        Ok(chown(path, Some(USER), Some(USER))?)
    }

    /// Lets everyone write in a folder as far as file modes go.
    pub fn open_to_all(&self, folder: &Path) -> Result<()> {
        give(folder)
    }

    /// Makes a copy of the probe, which everyone may execute as far as file modes go.
    pub fn program(&self, path: &Path) -> Result<()> {
        fs::copy(PROBE, path).with_context(|| format!("failed to copy to {}", path.display()))?;
        fs::set_permissions(path, Permissions::from_mode(0o755))?;
        Ok(())
    }
}

/// Lets everyone write in a folder of the test user's.
fn give(folder: &Path) -> Result<()> {
    chown(folder, Some(USER), Some(USER))?;
    fs::set_permissions(folder, Permissions::from_mode(0o777))?;
    Ok(())
}
