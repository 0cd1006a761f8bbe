//! Where the running kernel keeps what the programs read.

use agentid_common::params::{
    BACKING_FILE_STRUCTURE, BACKING_FILES, DENTRY_HEAD, DENTRY_HEAD_FIRST, DENTRY_HEAD_LATER,
    ENCODING, ENCODING_FIELD, FIELDS, Field, NUMBER_OF_TREE, OWNER, OWNER_APART,
    RENAME_LOCK_SYMBOL, SETATTR, SETATTR_DENTRY, TREE_FIELDS, TREE_NUMBER_FIELD, TREE_OF_INODE,
};

use super::{
    btf::{Btf, Malformed, Member},
    symbols,
};

/// The kernel's own description of its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";
/// That of btrfs where it is a module, once that is loaded.
const BTRFS_BTF: &str = "/sys/kernel/btf/btrfs";

#[derive(Debug, thiserror::Error)]
pub enum FieldError {
    #[error("read {KERNEL_BTF}: the kernel must be built with CONFIG_DEBUG_INFO_BTF")]
    Unreadable(#[source] std::io::Error),
    #[error("read {KERNEL_BTF}")]
    Malformed(#[from] Malformed),
    #[error("find in the kernel's BTF: {}; this kernel is not supported", .0.join(", "))]
    Missing(Vec<String>),
}

/// The programs' globals with their values.
pub struct Globals {
    /// The offset of each field in bytes, and what else the kernel's types tell.
    pub offsets: Vec<(&'static str, u32)>,
    /// The address of the kernel's lock on renames; 0 where it is not told, and then nothing is remembered of folders.
    pub rename_lock: u64,
}

/// All globals, or the names of all fields that are missing. `told`: the lock's address, as an earlier start in this
/// boot found it.
pub fn globals(btf: &Btf<'_>, told: Option<u64>) -> Result<Globals, FieldError> {
    let mut offsets = offsets(btf)?;
    offsets.extend(trees(btf));
    let rename_lock = told.unwrap_or_else(rename_lock);
    Ok(Globals { offsets, rename_lock })
}

/// The kernel's list of symbols is long: reading it takes as long as most of a start.
fn rename_lock() -> u64 {
    symbols::address_of(RENAME_LOCK_SYMBOL).unwrap_or_else(|error| {
        tracing::warn!(%error, "each open of a run takes a whole walk: the kernel's symbols do not tell {RENAME_LOCK_SYMBOL}");
        0
    })
}

fn offsets(btf: &Btf<'_>) -> Result<Vec<(&'static str, u32)>, FieldError> {
    let mut missing = Vec::new();
    let mut found = Vec::new();
    for field in FIELDS {
        match btf.member(field.structure, field.path) {
            Some(member) if outside_head(field, member) => {
                missing.push(format!("{} in the first {DENTRY_HEAD} bytes", full_name(field)));
            }
            Some(member) => found.push((field.global, member.offset)),
            None => missing.push(full_name(field)),
        }
    }
    let offset = |global| found.iter().find(|(name, _)| *name == global).map(|(_, at)| *at);
    for later in DENTRY_HEAD_LATER {
        if offset(DENTRY_HEAD_FIRST) >= offset(later) {
            missing.push(format!("{DENTRY_HEAD_FIRST} before {later}"));
        }
    }
    let backing_files = btf.size_of(BACKING_FILE_STRUCTURE).is_some();
    found.push((BACKING_FILES, u32::from(backing_files)));
    let (structure, encoding) = ENCODING_FIELD;
    let encoding = btf.member(structure, &[encoding]).map_or(0, |member| member.offset);
    found.push((ENCODING, encoding));
    let (structure, owner) = OWNER;
    let pointer = u32::try_from(size_of::<u64>()).ok();
    let owner = btf.member(structure, &[owner]).map(|member| member.size);
    found.push((OWNER_APART, u32::from(owner == pointer)));
    let (function, argument) = SETATTR;
    match btf.argument(function, argument) {
        Some(position) => found.push((SETATTR_DENTRY, position)),
        None => missing.push(format!("{function}({argument})")),
    }
    if missing.is_empty() { Ok(found) } else { Err(FieldError::Missing(missing)) }
}

/// Where btrfs keeps which tree an inode is in. Nothing where its types do not tell: then nothing on btrfs is granted.
fn trees(kernel: &Btf<'_>) -> Vec<(&'static str, u32)> {
    if let Some(found) = trees_of(kernel) {
        return found.to_vec();
    }
    let bytes = match std::fs::read(BTRFS_BTF) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            tracing::warn!(%error, "nothing on btrfs is granted: {BTRFS_BTF} cannot be read");
            return Vec::new();
        }
    };
    let found = Btf::of_module(kernel, &bytes).ok().and_then(|btrfs| trees_of(&btrfs));
    if found.is_none() {
        tracing::warn!("nothing on btrfs is granted: {BTRFS_BTF} does not tell its trees");
    }
    found.into_iter().flatten().collect()
}

fn trees_of(btf: &Btf<'_>) -> Option<[(&'static str, u32); 2]> {
    let offset = |(structure, path): (&str, &[&str])| Some(btf.member(structure, path)?.offset);
    let [from, to] = TREE_FIELDS.map(offset);
    let distance = to?.wrapping_sub(from?);
    Some([(TREE_OF_INODE, distance), (NUMBER_OF_TREE, offset(TREE_NUMBER_FIELD)?)])
}

/// Whether it is one of those that are read from the copy of a dentry's beginning, and does not lie there.
fn outside_head(field: &Field, member: Member) -> bool {
    field.structure == "dentry"
        && field.global != "DENTRY_SB"
        && member.offset.checked_add(member.size).is_none_or(|end| end > DENTRY_HEAD)
}

fn full_name(field: &Field) -> String {
    format!("{}.{}", field.structure, field.path.join("."))
}
