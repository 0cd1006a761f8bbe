//! Single Debian packages from any suite, without touching the system's own lists.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::Cache;
use crate::shell;
use crate::sources::{self, Mirror};

const TOOLS: [&str; 3] = ["apt-get", "apt-cache", "dpkg"];
pub const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of Debian, with lists of its own in the cache.
pub struct Suite {
    name: String,
    uri: String,
    folder: PathBuf,
    updated: Cell<bool>,
}

impl Suite {
    /// Fails with what to do where this is not Debian.
    pub fn open(cache: &Cache, name: &str) -> Result<Self> {
        let Mirror { debian, security } = sources::of_this_system()?;
        let uri = if name.ends_with("-security") { security } else { debian };
        let folder = cache.path(&format!("apt/{name}"));
        fs::create_dir_all(folder.join("lists/partial"))
            .with_context(|| format!("failed to create {}", folder.display()))?;
        fs::create_dir_all(folder.join("cache/archives/partial"))?;
        fs::write(folder.join("status"), "")?;
        fs::write(
            folder.join("sources.list"),
            format!("deb [signed-by={KEYRING}] {uri} {name} main\n"),
        )?;
        Ok(Self { name: name.to_owned(), uri, folder, updated: Cell::new(false) })
    }

    pub fn uri(&self) -> &str {
        &self.uri
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let mut option = |name: &str, value: &Path| {
            command.arg("-o").arg(format!("{name}={}", value.display()));
        };
        option("Dir::Etc::sourcelist", &self.folder.join("sources.list"));
        option("Dir::Etc::sourceparts", Path::new("-"));
        option("Dir::State::Lists", &self.folder.join("lists"));
        option("Dir::State::status", &self.folder.join("status"));
        option("Dir::Cache", &self.folder.join("cache"));
        // The cache belongs to the user, not to apt's own account.
        if shell::is_root() {
            command.args(["-o", "APT::Sandbox::User=root"]);
        }
        command
    }

    fn update(&self) -> Result<()> {
        if self.updated.replace(true) {
            return Ok(());
        }
        for tool in TOOLS {
            if shell::find(tool).is_none() {
                bail!(
                    "{tool} not found: kernels and guests come out of Debian's packages; install it (on Debian: \
                     apt-get install apt dpkg gpgv, on Fedora: dnf install apt dpkg gnupg2), or give a kernel of \
                     your own with --kernel PATH"
                );
            }
        }
        shell::say(format_args!("setup: package list of {} from {}", self.name, self.uri));
        shell::run_quiet(self.apt("apt-get").arg("update")).map(drop)
    }

    /// The names of all packages that begin with `prefix`.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        self.update()?;
        let names = shell::run_quiet(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// All versions of a package.
    pub fn versions(&self, package: &str) -> Result<Vec<String>> {
        self.update()?;
        let table = shell::run_quiet(self.apt("apt-cache").args(["madison", package]))?;
        let column = |row: &str| row.split('|').nth(1).map(|version| version.trim().to_owned());
        Ok(table.lines().filter_map(column).collect())
    }

    /// Downloads a package (`name` or `name=version`) and unpacks it into `target`.
    pub fn unpack(&self, package: &str, target: &Path) -> Result<()> {
        self.update()?;
        shell::say(format_args!("setup: package {package} of {}", self.name));
        let folder = self.folder.join("download");
        shell::fresh_folder(&folder)?;
        shell::run_quiet(self.apt("apt-get").args(["download", package]).current_dir(&folder))?;
        let mut found = fs::read_dir(&folder)?;
        let Some(file) = found.next().transpose()? else {
            bail!("apt-get download {package} left no file");
        };
        shell::run_quiet(Command::new("dpkg").arg("-x").arg(file.path()).arg(target))?;
        fs::remove_dir_all(&folder).context("failed to remove the downloaded package")
    }
}
