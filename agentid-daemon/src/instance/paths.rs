//! Paths in files of JSON, whose text is Unicode while a path's need not be.
//!
//! A path that is no text is its bytes in hexadecimal, behind a mark that no path of ours begins with.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fmt::Write as _,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize as _, Serializer, de::Error as _};

const MARK: &str = "bytes:";

pub fn serialize<S: Serializer>(paths: &BTreeSet<PathBuf>, to: S) -> Result<S::Ok, S::Error> {
    paths.iter().map(|path| text(path)).collect::<Vec<_>>().serialize(to)
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeSet<PathBuf>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    let path =
        |text: String| path(&text).ok_or_else(|| D::Error::custom("a path is no hexadecimal"));
    texts.into_iter().map(path).collect()
}

fn text(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.starts_with(MARK) => text.to_owned(),
        _ => path.as_os_str().as_bytes().iter().fold(MARK.to_owned(), |mut text, byte| {
            // Writing to a text does not fail.
            write!(text, "{byte:02x}").unwrap_or_default();
            text
        }),
    }
}

fn path(text: &str) -> Option<PathBuf> {
    let Some(digits) = text.strip_prefix(MARK) else { return Some(text.into()) };
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
    Some(OsStr::from_bytes(&bytes?).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_comes_back_as_it_was() {
        for bytes in
            [b"user.slice/x\xff".as_slice(), b"plain", b"bytes:41", b"", "\u{e4}".as_bytes()]
        {
            let before = PathBuf::from(OsStr::from_bytes(bytes));
            assert_eq!(path(&text(&before)), Some(before));
        }
        assert_eq!(text(Path::new("a/b")), "a/b");
        assert_eq!(path("bytes:4g"), None);
    }
}
