//! `/proc/self/mountinfo`, as far as places in filesystems need it (man 5 proc_pid_mountinfo).

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io,
    os::unix::ffi::OsStringExt,
    path::PathBuf,
};

use agentid_common::file::AnchorKey;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::image::Mount;

const MOUNTINFO: &str = "/proc/self/mountinfo";

/// One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountLine {
    /// As `statx` gives it (`STATX_MNT_ID`): which mount a path really leads to.
    pub id: u64,
    /// Folder of the filesystem that is mounted, from its root.
    pub root: PathBuf,
    pub point: PathBuf,
    /// `major:minor`
    pub device: String,
    /// As it was given to `mount`.
    pub kind: String,
}

/// The mounts that this process sees, in the order in which they were mounted.
pub fn read() -> std::io::Result<Vec<MountLine>> {
    Ok(std::fs::read(MOUNTINFO)?.split(|&byte| byte == b'\n').filter_map(line).collect())
}

/// What is mounted, and how that changes.
pub struct Watch {
    /// Ready once for each change that it has not told (`fs/proc_namespace.c`, `mounts_poll`).
    file: File,
    /// Whether something has changed that was not told.
    moved: bool,
    /// By the point: which folder of its filesystem is mounted there, and what identifies it. The numbers of mounts and
    /// devices do not, for they are given again.
    known: BTreeMap<PathBuf, (PathBuf, Option<AnchorKey>)>,
}

impl Watch {
    /// Before the mounts are surveyed for the first time, so that no change falls in between.
    pub fn new() -> io::Result<Self> {
        Ok(Self { file: File::open(MOUNTINFO)?, moved: true, known: BTreeMap::new() })
    }

    /// Whether anything was mounted or unmounted since [`Self::moved`] told what.
    pub fn is_moved(&mut self) -> io::Result<bool> {
        let mut asked = [PollFd::new(&self.file, PollFlags::PRI)];
        self.moved |= poll(&mut asked, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? > 0;
        Ok(self.moved)
    }

    /// The points at which it is otherwise than it was when this was told last.
    pub fn moved(&mut self, mounts: Vec<Mount>) -> Vec<PathBuf> {
        self.moved = false;
        let now = mounts.into_iter().map(|mount| (mount.point, (mount.root, mount.anchor)));
        let before = std::mem::replace(&mut self.known, now.collect());
        let points = self.known.keys().chain(before.keys());
        let points: BTreeSet<&PathBuf> =
            points.filter(|point| self.known.get(*point) != before.get(*point)).collect();
        points.into_iter().cloned().collect()
    }
}

fn line(bytes: &[u8]) -> Option<MountLine> {
    let mut fields = bytes.split(|&byte| byte == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let device = fields.nth(1)?;
    let root = fields.next()?;
    let point = fields.next()?;
    // Optional fields, of which there may be none, end at a single hyphen.
    let kind = fields.skip_while(|&field| field != b"-").nth(1)?;
    Some(MountLine {
        id,
        root: path(root),
        point: path(point),
        device: String::from_utf8_lossy(device).into_owned(),
        kind: String::from_utf8_lossy(kind).into_owned(),
    })
}

/// Blank, tab, newline and backslash are written as three octal digits.
fn path(escaped: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|_| first == b'\\').and_then(|digits| {
            digits.iter().try_fold(0u32, |sum, &digit| {
                (b'0'..=b'7').contains(&digit).then(|| sum * 8 + u32::from(digit - b'0'))
            })
        });
        match octal.and_then(|value| u8::try_from(value).ok()) {
            Some(value) => {
                bytes.push(value);
                rest = &tail[3..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    const SAMPLE: &[u8] = b"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
        23 22 0:21 / /proc rw - proc proc rw\n\
        30 22 8:1 /srv/my\\040data /home/u/ws rw - ext4 /dev/sda1 rw";

    fn sample() -> Vec<MountLine> {
        SAMPLE.split(|&byte| byte == b'\n').filter_map(line).collect()
    }

    #[test]
    fn unescapes_paths() {
        let lines = sample();
        assert_eq!(lines[2].id, 30);
        assert_eq!(lines[2].root, Path::new("/srv/my data"));
        assert_eq!(lines[2].point, Path::new("/home/u/ws"));
        assert_eq!(lines[2].device, "8:1");
        assert_eq!(lines[2].kind, "ext4");
    }

    #[test]
    fn a_filesystem_in_the_place_of_another_is_told() {
        let mount = |point: &str, inode| Mount {
            point: point.into(),
            root: "/".into(),
            device: "0:29".into(),
            magic: 0,
            devices: false,
            anchor: Some(AnchorKey { inode, ..AnchorKey::default() }),
        };
        let mut watch = Watch::new().unwrap();
        assert_eq!(watch.moved(vec![mount("/", 1), mount("/a", 2)]).len(), 2);
        assert!(watch.moved(vec![mount("/a", 2), mount("/", 1)]).is_empty());
        let moved = watch.moved(vec![mount("/", 1), mount("/a", 3), mount("/b", 2)]);
        assert_eq!(moved, [Path::new("/a"), Path::new("/b")]);
        assert_eq!(watch.moved(vec![mount("/", 1)]), [Path::new("/a"), Path::new("/b")]);
    }

    #[test]
    fn survives_garbage() {
        for bytes in [&b""[..], b" ", b"1 2", b"a b c d \\", b"a b c d \\9x \\777"] {
            line(bytes);
        }
    }
}
