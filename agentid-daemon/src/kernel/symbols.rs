//! Where the running kernel keeps its own variables.

use std::{
    fs::File,
    io::{self, BufRead, BufReader},
};

const SYMBOLS: &str = "/proc/kallsyms";

/// The address of the kernel's only variable of this name, those of modules left out.
pub fn address_of(name: &str) -> io::Result<u64> {
    read(BufReader::new(File::open(SYMBOLS)?), name)
}

/// Each line is an address, a kind and a name, and of a module the module's name (kernel/kallsyms.c: `s_show`).
fn read(symbols: impl BufRead, name: &str) -> io::Result<u64> {
    let mut found = None;
    for line in symbols.lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace();
        let (address, _, symbol) = (words.next(), words.next(), words.next());
        if symbol != Some(name) || words.next().is_some() {
            continue;
        }
        let address = address.and_then(|text| u64::from_str_radix(text, 16).ok());
        match (address, found) {
            // Zeros stand for what this process may not know (`kernel.kptr_restrict`).
            (Some(address), None) if address != 0 => found = Some(address),
            _ => return Err(io::Error::other(format!("{SYMBOLS} hides {name}, or has it twice"))),
        }
    }
    found.ok_or_else(|| io::Error::other(format!("{SYMBOLS} does not have {name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<u64> {
        read(text.as_bytes(), "rename_lock").ok()
    }

    #[test]
    fn finds_the_kernels_own_variable_and_no_other() {
        let others = "ffffffff81000000 T rename_lock_held\nffffffffc0000000 d rename_lock\t[odd]\n";
        assert_eq!(
            of(&format!("{others}ffffffff82000040 D rename_lock\n")),
            Some(0xffff_ffff_8200_0040)
        );
        assert_eq!(of(others), None);
    }

    #[test]
    fn takes_neither_a_hidden_address_nor_one_of_two() {
        assert_eq!(of("0000000000000000 D rename_lock\n"), None);
        assert_eq!(of("ffffffff82000040 D rename_lock\nffffffff82000080 d rename_lock\n"), None);
    }
}
