//! Memory that a process shares, by what `/proc` tells of it.

/// Whether a line of `maps` is of a mapping that others may have too.
pub fn is_shared(line: &[u8]) -> bool {
    let permissions = line.split(|it| *it == b' ').nth(1);
    permissions.is_some_and(|it| it.len() == 4 && it.ends_with(b"s"))
}

/// The first shared mapping in a text of `smaps` that may be written, now or after mprotect(2), and what it is of.
///
/// One that never may be is as good as a private one: either shows what the file holds when it is read, as the caches of the C
/// library do that many programs have mapped so.
pub fn writable_of(smaps: &str) -> Option<String> {
    let mut shared = None;
    for line in smaps.lines() {
        if let Some(flags) = line.strip_prefix("VmFlags:") {
            let may_write = flags.split_ascii_whitespace().any(|flag| flag == "mw");
            if let Some(what) = shared.take_if(|_| may_write) {
                return Some(what);
            }
        } else if is_head(line) {
            shared = is_shared(line.as_bytes()).then(|| kind(line));
        }
    }
    None
}

/// How large the tables of a process's pages are, in KiB, by a text of `status`: to tell what is written in them, the kernel
/// looks at each entry.
pub fn tables(status: &str) -> Option<u64> {
    let size = status.lines().find_map(|line| line.strip_prefix("VmPTE:"))?;
    size.trim().strip_suffix(" kB")?.trim().parse().ok()
}

/// Whether a line begins a mapping: all others begin with a name and a colon.
fn is_head(line: &str) -> bool {
    line.split(' ').next().is_some_and(|first| first.contains('-') && !first.ends_with(':'))
}

/// What it is called where its path is nobody's business.
fn kind(line: &str) -> String {
    let of = line.split_ascii_whitespace().nth(5).unwrap_or_default();
    let is_memory = ["/memfd:", "/dev/zero", "/SYSV"].iter().any(|start| of.starts_with(start));
    match of {
        "" => "memory".to_owned(),
        _ if is_memory => "memory".to_owned(),
        _ if of.starts_with('/') => "a file".to_owned(),
        _ => of.to_owned(),
    }
}
