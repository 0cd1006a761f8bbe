//! What the operations are tried on.

use std::{
    ffi::CString,
    fs::{self, Permissions},
    io,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, chown},
    },
    path::{Path, PathBuf},
};

use agentid_tests::harness::scene::USER;
use anyhow::{Context as _, Result, ensure};

/// Parameters of policies; each is a folder of this name.
const PARAMS: [&str; 8] =
    ["checkout", "build", "cache", "workspace", "data", "results", "notes", MADE_UP];
const MADE_UP: &str = "made_up";
/// A folder that is nobody's parameter.
const ELSEWHERE: &str = "elsewhere";
/// Files in each folder that are there, and some that are not.
const FILES: [&str; 24] = [
    "file",
    "data.csv",
    "notes.md",
    "..dots",
    "with space",
    "größe",
    "bin/tool",
    "bin/run.sh",
    "docs/index.html",
    "docs/.hidden",
    "src/main.rs",
    "src/lib/x.pem",
    "sub/b",
    "sub/deep/c",
    "sub/deep/er/d",
    "target/debug/app",
    "credentials.toml",
    ".env",
    ".netrc",
    ".config/gh/hosts.yml",
    ".git/config",
    ".git/hooks/pre-push",
    ".ssh/id_ed25519",
    ".ssh/known_hosts",
];
const ABSENT: [&str; 10] = [
    "new",
    "bin/new",
    "docs/new",
    "src/new.rs",
    "sub/.netrc",
    "sub/deep/new",
    "sub/new",
    "target/new",
    ".git/hooks/new",
    ".ssh/new",
];
const EMPTY: &str = "empty";
/// Folders and files of the policies that are made up.
const FOLDERS: [&str; 5] = ["", "a", "b", "lib", "a/b"];
const NAMES: [&str; 3] = ["x.pem", "id_k", "note.txt"];
const NEW: [&str; 3] = ["n.pem", "id_n", "n.txt"];
/// Of the system's, which nothing is tried on that would change them.
const SYSTEM: [&str; 8] = [
    "/etc/passwd",
    "/proc/version",
    "/proc/meminfo",
    "/proc/sys/kernel/ostype",
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/usr/bin/agentid",
];

/// What each file has, where its filesystem can.
pub const ATTRIBUTE: &str = "user.agentid";

pub struct Paths {
    folder: PathBuf,
    /// The policy's parameters, each as `NAME=VALUE`.
    pub params: Vec<String>,
    /// Files that are there.
    pub files: Vec<PathBuf>,
    /// Names that nothing has.
    pub absent: Vec<PathBuf>,
    /// Empty folders.
    pub folders: Vec<PathBuf>,
    pub system: Vec<PathBuf>,
}

impl Paths {
    /// Of what a policy can be asked about: the folders of its parameters, and one beside them.
    pub fn of(folder: &Path, policy: &str) -> Result<Self> {
        let mut names: Vec<&str> =
            PARAMS.into_iter().filter(|it| policy.contains(&format!("\"{it}\""))).collect();
        let param = |name: &&str| format!("{name}={}", folder.join(name).display());
        let params = names.iter().map(param).collect();
        names.push(ELSEWHERE);
        let within = |inside: &[&str]| -> Vec<PathBuf> {
            let each = names.iter().flat_map(|name| inside.iter().map(move |it| (name, it)));
            each.map(|(name, inside)| folder.join(name).join(inside)).collect()
        };
        let made_up = |inside: &'static [&str]| {
            let is_asked = names.contains(&MADE_UP);
            let each = FOLDERS.iter().flat_map(move |at| inside.iter().map(move |it| (at, it)));
            let each = each.filter(move |_| is_asked);
            each.map(|(at, inside)| folder.join(MADE_UP).join(at).join(inside))
        };
        let (mut files, mut absent) = (within(&FILES), within(&ABSENT));
        files.extend(made_up(&NAMES));
        absent.extend(made_up(&NEW));
        let (folders, system) = (within(&[EMPTY]), SYSTEM.map(PathBuf::from).into());
        let paths = Self { folder: folder.to_owned(), params, files, absent, folders, system };
        paths.furnish()?;
        Ok(paths)
    }

    /// Files, and for each the name that it is to get: mostly one in another folder.
    pub fn pairs(&self) -> Vec<(PathBuf, PathBuf)> {
        let count = self.absent.len();
        // Eleven has no divisor in common with how many there are, so that each gets a name of its own.
        let to = (0..count).map(|number| self.absent[(number * 11 + 3) % count].clone());
        self.files.iter().cloned().zip(to).collect()
    }

    /// Has all as it was at first, as far as file modes go open to everybody.
    pub fn furnish(&self) -> Result<()> {
        for path in &self.absent {
            remove(path)?;
        }
        for path in &self.folders {
            fs::create_dir_all(path)?;
            open(path)?;
        }
        for path in &self.files {
            let folder = path.parent().context("a file has no folder")?;
            if !folder.exists() {
                fs::create_dir_all(folder)?;
                for folder in folder.ancestors().take_while(|it| *it != self.folder) {
                    open(folder)?;
                }
            }
            // One that is new: what was linked or altered has had other names and rights.
            remove(path)?;
            fs::write(path, "text")?;
            open(path)?;
            attribute(path)?;
        }
        Ok(())
    }
}

fn open(path: &Path) -> Result<()> {
    chown(path, Some(USER), Some(USER))?;
    Ok(fs::set_permissions(path, Permissions::from_mode(0o777))?)
}

/// Removes what has this name, if anything has.
fn remove(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) | Err(_) => fs::remove_file(path),
    };
    gone.with_context(|| format!("failed to remove {}", path.display()))
}

/// Gives it the attribute that is read; where the filesystem has none, nobody can read it.
fn attribute(path: &Path) -> Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let name = CString::new(ATTRIBUTE)?;
    // SAFETY: the names end with zeros, and the value has this size.
    let set =
        unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), c"value".as_ptr().cast(), 5, 0) };
    let error = io::Error::last_os_error();
    ensure!(set == 0 || error.raw_os_error() == Some(libc::EOPNOTSUPP), "setxattr: {error}");
    Ok(())
}
