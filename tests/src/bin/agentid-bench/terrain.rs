//! The files and ports that are measured on.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::operation::FIRSTS;
use crate::situation::PROCESSES;

/// What the policy grants, and with it the programs that a held worker executes.
pub const GRANTED: &str = "/bench-granted";
/// What no policy names.
const OTHER: &str = "/bench-other";

/// Files eight names below the root of their filesystem.
pub const GRANTED_FILE: &str = "/bench-granted/2/3/4/5/6/7/file";
pub const OTHER_FILE: &str = "/bench-other/2/3/4/5/6/7/file";

/// This program, where a held worker may be executed.
pub const WORKER: &str = "/bench-granted/bin/agentid-bench";
/// A program that ends at once.
pub const TRUE: &str = "/bench-granted/bin/true";

/// Where the root is mounted once more for whom it must not be the first one.
pub const ROOT: &str = "/bench-root";

/// Below the ports that the kernel gives out by itself.
pub const GRANTED_PORT: u16 = 7801;
pub const OTHER_PORT: u16 = 7802;

/// Folders that further rules are about.
pub fn ruled_folder(number: u16) -> String {
    format!("/bench-rules/{number}")
}

/// A file eight names below the root, in a folder of its own.
pub fn file_in(number: u32) -> String {
    format!("/bench-granted/2/3/4/5/6/of-{number}/file")
}

/// Makes all of it.
pub fn build() -> Result<()> {
    let firsts = (0..PROCESSES * FIRSTS).map(file_in);
    for file in [GRANTED_FILE, OTHER_FILE].map(str::to_owned).into_iter().chain(firsts) {
        let folder = Path::new(&file).parent().unwrap_or(Path::new(OTHER));
        fs::create_dir_all(folder).with_context(|| format!("failed to create {file}"))?;
        fs::write(&file, "x").with_context(|| format!("failed to write {file}"))?;
    }
    fs::create_dir_all(format!("{GRANTED}/bin"))?;
    fs::copy("/proc/self/exe", WORKER).context("failed to copy this program")?;
    fs::write(TRUE, smallest_program()).with_context(|| format!("failed to write {TRUE}"))?;
    fs::set_permissions(TRUE, fs::Permissions::from_mode(0o755))?;
    fs::create_dir_all(ROOT)?;
    for number in 0..crate::rules::MOST {
        let folder = ruled_folder(number);
        fs::create_dir_all(&folder).with_context(|| format!("failed to create {folder}"))?;
    }
    Ok(())
}

/// An executable that does nothing but exit: what it did of its own would hide what starting it costs.
fn smallest_program() -> Vec<u8> {
    const ADDRESS: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    // xor edi, edi; mov eax, 60 (exit); syscall
    const CODE: [u8; 9] = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let size = u64::from(HEADERS) + CODE.len() as u64;
    let mut file = Vec::new();
    // Elf64_Ehdr: an executable (2) for x86-64 (62), one program header behind it.
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend([2_u16, 62].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([ADDRESS + u64::from(HEADERS), 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 0, 0, 0].map(u16::to_le_bytes).concat());
    // Elf64_Phdr: load (1) all of the file, to be read and executed (5).
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend([0, ADDRESS, ADDRESS, size, size, 0x1000].map(u64::to_le_bytes).concat());
    file.extend(CODE);
    file
}
