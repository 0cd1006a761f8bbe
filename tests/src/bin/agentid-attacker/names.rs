//! Attempts upon names.

use std::{io, path::Path};

use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};

pub fn exchange(one: &Path, other: &Path) -> io::Result<()> {
    Ok(renameat2(AT_FDCWD, one, AT_FDCWD, other, RenameFlags::RENAME_EXCHANGE)?)
}
