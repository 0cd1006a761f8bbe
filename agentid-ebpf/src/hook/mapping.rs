//! May this run execute what it maps of this file, and map anything of a file at all?
//!
//! `int mmap_file(struct file *file, unsigned long reqprot, unsigned long prot, unsigned long flags)`, from 6.1 to 7.3
//! (`file__nullable` there): mm/util.c, `vm_mmap_pgoff`, which the kernel's own loader goes through too; ipc/shm.c,
//! `do_shmat`; mm/mmap.c, `remap_file_pages`.
//! `int file_mprotect(struct vm_area_struct *vma, unsigned long reqprot, unsigned long prot)`, from 6.1 to 7.3:
//! mm/mprotect.c, `do_mprotect_pkey`, for each mapping in the range.
//! `prot` is what the mapping will have, with what the personality `READ_IMPLIES_EXEC` adds to `reqprot`.
//!
//! Memory that is no file's is free, because compilers work there. Memory of files that lie nowhere, such as a memfd
//! and shared memory, is not, nor is anonymous memory that the kernel keeps in such a file (`MAP_SHARED` made executable
//! afterwards, `MAP_HUGETLB`), nor a file without a name, or whose last name was taken away.
//! A file that is open may be mapped otherwise for as long as the run lives, as it may be read; a mapping that is let
//! through for that is not counted.
//! On overlayfs `mmap_file` is given the file that was opened. From 6.5 on `file_mprotect` finds the layer's file
//! instead, which tells nothing about the overlay: it is judged as a file in the layer's own folder.
//! Cannot see: code that is copied into memory of the run's own, and what was mapped before a file was moved away or
//! the run ended.

use agentid_common::{decide::lifecycle::may_go_on, file::Rights, tag::Tag, verdict::Hook};
use aya_ebpf::{macros::lsm, programs::LsmContext};

use super::name::may_execute;
use crate::{
    facts::Live,
    kfield::{Area, nullable_file},
    object::{Asked, Object},
    settle::{Allowed, conclude, hold},
    subject,
};

/// include/uapi/asm-generic/mman-common.h
const PROT_EXEC: u64 = 4;

#[lsm(hook = "mmap_file")]
pub fn mmap_file(ctx: LsmContext) -> i32 {
    if !is_executable(ctx.arg(2)) {
        return match subject::run() {
            None => 0,
            Some(tag) => read(&ctx, tag),
        };
    }
    match nullable_file(&ctx) {
        Ok(None) => 0,
        Ok(Some(file)) => {
            let object = Object::File(Asked { file, want: Rights::EXEC });
            hold(Hook::MmapFile, Allowed::Counted, object, |tag| may_execute(tag, file))
        }
        Err(fault) => hold(Hook::MmapFile, Allowed::Counted, Object::None, |_| Err(fault.into())),
    }
}

#[lsm(hook = "file_mprotect")]
pub fn file_mprotect(ctx: LsmContext) -> i32 {
    if !is_executable(ctx.arg(2)) {
        return 0;
    }
    let file = Area(ctx.arg(0)).file();
    if file.is_null() {
        return 0;
    }
    let object = Object::Spelled(Asked { file, want: Rights::EXEC });
    hold(Hook::FileMprotect, Allowed::Counted, object, |tag| may_execute(tag, file))
}

/// A mapping that nothing is executed from. Memory that is no file's is free.
#[inline(always)]
fn read(ctx: &LsmContext, tag: &Tag) -> i32 {
    let (object, answer) = match nullable_file(ctx) {
        Ok(None) => return 0,
        Ok(Some(file)) => (Object::File(Asked { file, want: Rights::READ }), may_go_on(&Live, tag)),
        Err(fault) => (Object::None, Err(fault.into())),
    };
    if answer.is_ok() {
        return 0;
    }
    conclude(Hook::MmapFile, Allowed::Counted, &object, tag, answer)
}

/// Asked first, because most mappings of the host have their answer here.
#[inline(always)]
fn is_executable(protections: u64) -> bool {
    protections & PROT_EXEC != 0
}
