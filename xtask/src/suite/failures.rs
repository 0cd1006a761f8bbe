//! What a boot's output says of its failures, for the end of the run: the middle of a long output may not be kept.

/// Of the messages, and of the names.
const LINES: usize = 60;

/// The messages of the tests that have failed and their names; of a guest that died, the tests that it left open.
pub fn told(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim_end).collect();
    let heads: Vec<usize> = (0..lines.len()).filter(|at| lines[*at] == "failures:").collect();
    let [.., messages, names] = *heads.as_slice() else { return open(&lines) };
    let summary = (names..lines.len()).find(|at| lines[*at].starts_with("test result: "));
    let mut told = Vec::new();
    cut(&mut told, &lines[messages + 1..names]);
    cut(&mut told, &lines[names..summary.unwrap_or(lines.len())]);
    told.join("\n")
}

/// Tests that were begun and have not passed.
fn open(lines: &[&str]) -> String {
    let is_open = |line: &&&str| {
        line.starts_with("test ") && line.contains(" ...") && !line.ends_with("... ok")
    };
    let mut told = Vec::new();
    cut(&mut told, &lines.iter().filter(is_open).copied().collect::<Vec<_>>());
    told.join("\n")
}

fn cut(told: &mut Vec<String>, lines: &[&str]) {
    let lines: Vec<&&str> = lines.iter().filter(|line| !line.is_empty()).collect();
    told.extend(lines.iter().take(LINES).map(|line| (**line).to_owned()));
    if let more @ 1.. = lines.len().saturating_sub(LINES) {
        told.push(format!("and {more} lines more"));
    }
}
