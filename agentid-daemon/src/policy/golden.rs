//! Expected texts, kept in files so that a change of them is seen in review.

use std::{env, fs, path::Path};

/// Compares a text with a golden file. With `AGENTID_BLESS=1` in the environment the file is rewritten instead.
#[track_caller]
pub(crate) fn check(name: &str, actual: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden").join(name);
    if env::var_os("AGENTID_BLESS").is_some_and(|value| value == "1") {
        fs::write(&path, actual).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        expected == actual,
        "{} differs; run the tests with AGENTID_BLESS=1 if this is right:\n{actual}",
        path.display()
    );
}
