//! Figures that a test has measured, shown also when it passes.

use std::{
    fmt,
    io::{self, Write as _},
};

/// Says something past the test runner, which keeps what a test that passes has said to itself.
pub fn note(text: fmt::Arguments<'_>) {
    // Nobody may be there to read it, which is no failure.
    writeln!(io::stderr().lock(), "{text}").unwrap_or_default();
}
