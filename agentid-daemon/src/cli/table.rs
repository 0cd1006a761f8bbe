//! Columns of text, as wide as there is room for.

use rustix::termios::{Winsize, tcgetwinsize};

use super::render::clean;

/// How much of a name is worth showing.
const ENOUGH: usize = 10;
/// How much is left of it at least.
const LEAST: usize = 4;
const GAP: usize = 2;

/// Columns of the terminal that this is written to; `None` where it is none, which takes lines of any length.
pub fn room(out: &(impl std::os::fd::AsFd + std::io::IsTerminal)) -> Option<usize> {
    if !out.is_terminal() {
        return None;
    }
    match tcgetwinsize(out) {
        Ok(Winsize { ws_col: columns, .. }) if columns > 0 => Some(columns.into()),
        // A terminal that does not know is as wide as most have been.
        _ => Some(80),
    }
}

/// A column, and what may become of it where there is little room.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    /// Its texts may be cut.
    names: bool,
    /// It may be left out: the highest first.
    spare: u8,
}

impl Column {
    /// Short, and always shown whole.
    pub const fn new(title: &'static str) -> Self {
        Self { title, names: false, spare: 0 }
    }

    /// Texts of any length.
    pub const fn names(title: &'static str) -> Self {
        Self { title, names: true, spare: 0 }
    }

    pub const fn spare(self, spare: u8) -> Self {
        Self { spare, ..self }
    }
}

/// Rows under their titles. In `room` columns, names are cut, and what can be spared is left out; without it all is shown.
pub fn table(columns: &[Column], rows: &[Vec<String>], room: Option<usize>) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| clean(cell)).collect()).collect();
    let natural: Vec<usize> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let cells = rows.iter().filter_map(|row| row.get(index)).map(|cell| length(cell));
            cells.fold(length(column.title), usize::max)
        })
        .collect();
    let widths = fit(columns, &natural, room);
    let titles: Vec<String> = columns.iter().map(|column| column.title.to_owned()).collect();
    let mut text = String::new();
    for row in [&titles].into_iter().chain(&rows) {
        let cells = row.iter().zip(&widths).filter_map(|(cell, width)| {
            let width = (*width)?;
            Some(format!("{:width$}", cut(cell, width)))
        });
        let line: Vec<String> = cells.collect();
        text += line.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// The width of each column; `None` for those that are left out.
fn fit(columns: &[Column], natural: &[usize], room: Option<usize>) -> Vec<Option<usize>> {
    let mut shown: Vec<Option<usize>> = natural.iter().copied().map(Some).collect();
    let Some(room) = room else { return shown };
    // With names cut to what is enough of them, does it fit?
    let squeezed = |shown: &[Option<usize>]| {
        let least = columns.iter().zip(shown).filter_map(|(column, width)| {
            width.map(|width| if column.names { width.min(ENOUGH) } else { width })
        });
        total(least) <= room
    };
    while !squeezed(&shown) {
        let present = columns.iter().zip(&shown).enumerate();
        let spare = present.filter(|(_, (column, width))| column.spare > 0 && width.is_some());
        let Some((index, _)) = spare.max_by_key(|(_, (column, _))| column.spare) else { break };
        shown[index] = None;
    }
    // The widest name gives, a sign at a time.
    while total(shown.iter().copied().flatten()) > room {
        let widest = columns
            .iter()
            .zip(&mut shown)
            .filter(|(column, _)| column.names)
            .filter_map(|(column, width)| Some((column, width.as_mut()?)))
            .filter(|(column, width)| **width > LEAST.max(length(column.title)))
            .max_by_key(|(_, width)| **width);
        match widest {
            Some((_, width)) => *width -= 1,
            None => break,
        }
    }
    shown
}

fn total(widths: impl Iterator<Item = usize>) -> usize {
    widths.map(|width| width + GAP).sum::<usize>().saturating_sub(GAP)
}

fn length(text: &str) -> usize {
    text.chars().count()
}

/// So much of a text, and a sign that there is more.
fn cut(text: &str, width: usize) -> String {
    if length(text) <= width {
        return text.to_owned();
    }
    let kept: String = text.chars().take(width.saturating_sub(1)).collect();
    kept + "…"
}

/// A text after a first mark, in lines of `room` columns that begin below it. A word that is longer stays whole.
pub fn wrapped(mark: &str, text: &str, room: Option<usize>) -> String {
    let indent = length(mark);
    let mut lines = String::from(mark);
    let mut at = indent;
    for word in clean(text).split(' ') {
        let fits = room.is_none_or(|room| at + 1 + length(word) <= room);
        if at > indent && fits {
            lines.push(' ');
            at += 1;
        } else if at > indent {
            lines = format!("{}\n{:indent$}", lines.trim_end(), "");
            at = indent;
        }
        lines += word;
        at += length(word);
    }
    lines.push('\n');
    lines
}
