//! Paths from the root of a filesystem, as people on this host see them.

use std::path::{Path, PathBuf};

/// Where a filesystem can be seen, for people who read paths from its root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sight {
    /// The kernel programs' number of the filesystem.
    pub filesystem: u64,
    /// Which folder of it is seen, from its root.
    pub root: PathBuf,
    /// Where that is.
    pub point: PathBuf,
}

/// A path from the root of a filesystem as it is seen on this host, by the mount that shows the nearest folder above;
/// the path itself where no mount shows it.
pub fn seen(sights: &[Sight], filesystem: u64, path: &Path) -> PathBuf {
    let showing = sights.iter().filter(|sight| sight.filesystem == filesystem);
    let nearest = showing
        .filter_map(|sight| Some((sight, path.strip_prefix(&sight.root).ok()?)))
        .min_by_key(|(_, rest)| rest.components().count());
    match nearest {
        // Joining an empty path would leave a slash.
        Some((sight, rest)) if rest.as_os_str().is_empty() => sight.point.clone(),
        Some((sight, rest)) => sight.point.join(rest),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sight(root: &str, point: &str) -> Sight {
        Sight { filesystem: 7, root: root.into(), point: point.into() }
    }

    #[test]
    fn shows_a_path_by_the_mount_that_is_nearest() {
        let sights = [sight("/", "/mnt/disk"), sight("/home", "/home"), sight("/home/a/b", "/b")];
        for (path, shown) in [
            ("/etc/x", "/mnt/disk/etc/x"),
            ("/home/a/x", "/home/a/x"),
            ("/home/a/b/x", "/b/x"),
            ("/home/a/b", "/b"),
            ("/", "/mnt/disk"),
        ] {
            assert_eq!(seen(&sights, 7, Path::new(path)), PathBuf::from(shown), "{path}");
        }
    }

    #[test]
    fn leaves_a_path_that_no_mount_shows() {
        let sights = [sight("/home", "/home")];
        for (filesystem, path) in [(7, "/etc/x"), (8, "/home/x")] {
            assert_eq!(seen(&sights, filesystem, Path::new(path)), PathBuf::from(path));
        }
    }
}
