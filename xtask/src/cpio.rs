//! Archives in the format that the kernel unpacks as its first root ("newc").

use std::collections::BTreeMap;

/// A tree of files, by path without a leading slash.
#[derive(Debug, Default, Clone)]
pub struct Tree {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone)]
struct Entry {
    /// Kind and permissions, as in `st_mode`.
    mode: u32,
    owner: u32,
    content: Vec<u8>,
}

const FOLDER: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
/// What lies in this home belongs to its user.
pub const HOME: &str = "home/dev";
pub const HOME_UID: u32 = 1000;

impl Tree {
    /// A folder; those above it are made as needed.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.put(path, FOLDER | mode, Vec::new());
    }

    pub fn file(&mut self, path: &str, mode: u32, content: impl Into<Vec<u8>>) {
        self.put(path, FILE | mode, content.into());
    }

    pub fn link(&mut self, path: &str, target: &str) {
        self.put(path, LINK | 0o777, target.as_bytes().to_vec());
    }

    /// The same tree below `folder`.
    pub fn below(self, folder: &str) -> Self {
        let mut tree = Self::default();
        tree.folder(folder, 0o755);
        let moved =
            self.entries.into_iter().map(|(path, entry)| (format!("{folder}/{path}"), entry));
        tree.entries.extend(moved);
        tree
    }

    pub fn merge(&mut self, other: Self) {
        self.entries.extend(other.entries);
    }

    fn put(&mut self, path: &str, mode: u32, content: Vec<u8>) {
        let path = path.trim_matches('/');
        for (end, _) in path.match_indices('/') {
            if let Some(above) = path.get(..end) {
                self.entries.entry(above.to_owned()).or_insert_with(|| Entry {
                    mode: FOLDER | 0o755,
                    owner: owner(above),
                    content: Vec::new(),
                });
            }
        }
        self.entries.insert(path.to_owned(), Entry { mode, owner: owner(path), content });
    }

    /// The archive. Folders sort before what they hold, as the kernel needs it.
    pub fn archive(&self) -> Vec<u8> {
        let size: usize = self.entries.values().map(|entry| entry.content.len() + 256).sum();
        let mut bytes = Vec::with_capacity(size);
        for (number, (path, entry)) in self.entries.iter().enumerate() {
            append(&mut bytes, number + 1, path, entry);
        }
        let end = Entry { mode: 0, owner: 0, content: Vec::new() };
        append(&mut bytes, 0, "TRAILER!!!", &end);
        bytes
    }
}

fn owner(path: &str) -> u32 {
    let below = path.strip_prefix(HOME);
    if below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) { HOME_UID } else { 0 }
}

fn append(bytes: &mut Vec<u8>, inode: usize, path: &str, entry: &Entry) {
    let links = if entry.mode & FOLDER == 0 { 1 } else { 2 };
    let header = [
        inode,
        entry.mode as usize,
        entry.owner as usize,
        entry.owner as usize,
        links,
        0, // time of change
        entry.content.len(),
        0, // device, device of a device node
        0,
        0,
        0,
        path.len() + 1,
        0, // checksum, unused in this format
    ];
    bytes.extend_from_slice(b"070701");
    for field in header {
        bytes.extend_from_slice(format!("{field:08x}").as_bytes());
    }
    bytes.extend_from_slice(path.as_bytes());
    bytes.push(0);
    pad(bytes);
    bytes.extend_from_slice(&entry.content);
    pad(bytes);
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::Tree;

    #[test]
    fn writes_headers_and_padding() {
        let mut tree = Tree::default();
        tree.file("a/b", 0o644, *b"hello");
        let archive = tree.archive();
        assert_eq!(archive.len() % 4, 0);
        // The folder above comes first: header (110), "a\0", to a multiple of four.
        assert_eq!(&archive[..14], b"07070100000001");
        assert_eq!(&archive[14..22], b"000041ed");
        assert_eq!(&archive[110..112], b"a\0");
        let file = &archive[112..];
        assert_eq!(&file[14..22], b"000081a4");
        assert_eq!(&file[54..62], b"00000005");
        assert_eq!(&file[110..121], b"a/b\0\0\0hello"[..11].as_ref());
        let end = String::from_utf8_lossy(&archive);
        assert!(end.contains("TRAILER!!!"));
    }

    #[test]
    fn gives_the_home_to_its_user() {
        let mut tree = Tree::default();
        tree.file("home/dev/x", 0o600, *b"");
        tree.file("home/developer/x", 0o600, *b"");
        let owners: Vec<u32> = tree.entries.values().map(|entry| entry.owner).collect();
        assert_eq!(owners, [0, 1000, 1000, 0, 0]);
    }

    #[test]
    fn moves_below_a_folder() {
        let mut tree = Tree::default();
        tree.link("etc/x", "/dev/null");
        let paths: Vec<String> = tree.below("payload").entries.into_keys().collect();
        assert_eq!(paths, ["payload", "payload/etc", "payload/etc/x"]);
    }
}
