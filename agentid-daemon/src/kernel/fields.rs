//! Where the running kernel keeps what the programs read.

use agentid_common::params::{
    BACKING_FILE_STRUCTURE, BACKING_FILES, DENTRY_HEAD, DENTRY_HEAD_FIRST, DENTRY_HEAD_LATER,
    FIELDS, Field, OWNER, OWNER_APART, RENAME_LOCK_SYMBOL, SETATTR, SETATTR_DENTRY,
};

use super::{
    btf::{Btf, Malformed, Member},
    symbols,
};

/// The kernel's own description of its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

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
    let offsets = offsets(btf)?;
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

/// Whether it is one of those that are read from the copy of a dentry's beginning, and does not lie there.
fn outside_head(field: &Field, member: Member) -> bool {
    field.structure == "dentry"
        && field.global != "DENTRY_SB"
        && member.offset.checked_add(member.size).is_none_or(|end| end > DENTRY_HEAD)
}

fn full_name(field: &Field) -> String {
    format!("{}.{}", field.structure, field.path.join("."))
}
