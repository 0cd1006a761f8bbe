//! Reads typed values out of a TOML table and collects what is wrong with them.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeString, DeTable, DeValue},
};

use super::{
    error::{Flaw, PolicyError, place},
    nearest::nearest,
};

/// Byte positions in the document.
pub(super) type Span = Range<usize>;

/// The document's text, and its mistakes so far.
pub(super) struct Reader<'t> {
    file: &'t str,
    text: &'t str,
    errors: Vec<PolicyError>,
}

impl<'t> Reader<'t> {
    pub(super) fn new(file: &'t str, text: &'t str) -> Self {
        Self { file, text, errors: Vec::new() }
    }

    /// All mistakes, in the order of the document.
    pub(super) fn into_errors(mut self) -> Vec<PolicyError> {
        self.errors.sort_by_key(|error| (error.line, error.column));
        self.errors
    }

    pub(super) fn flaw(&mut self, span: &Span, flaw: Flaw) {
        let (line, column) = place(self.text, span.start);
        let file = self.file.to_owned();
        self.errors.push(PolicyError {
            file,
            line,
            column,
            message: flaw.message,
            help: flaw.help,
        });
    }

    pub(super) fn syntax(&mut self, fault: &toml::de::Error) {
        let span = fault.span().unwrap_or(0..0);
        self.flaw(&span, Flaw::new(fault.message().lines().collect::<Vec<_>>().join(", ")));
    }

    /// The value when there is no flaw in it; otherwise the flaw is noted.
    pub(super) fn check<T>(&mut self, span: &Span, result: Result<T, Flaw>) -> Option<T> {
        result.map_err(|flaw| self.flaw(span, flaw)).ok()
    }

    fn wrong_type<T>(&mut self, value: &Spanned<DeValue<'_>>, wanted: &str) -> Option<T> {
        let found = value.get_ref().type_str();
        self.flaw(&value.span(), Flaw::new(format!("{wanted} is expected, not {found}")));
        None
    }

    pub(super) fn string(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Spanned<String>> {
        match value.get_ref() {
            DeValue::String(text) => Some(Spanned::new(value.span(), text.to_string())),
            _ => self.wrong_type(value, "a string"),
        }
    }

    pub(super) fn truth(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Spanned<bool>> {
        match value.get_ref() {
            DeValue::Boolean(truth) => Some(Spanned::new(value.span(), *truth)),
            _ => self.wrong_type(value, "true or false"),
        }
    }

    /// Elements of a wrong type are noted and left out.
    pub(super) fn strings(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Vec<Spanned<String>>> {
        match value.get_ref() {
            DeValue::Array(array) => {
                Some(array.iter().filter_map(|item| self.string(item)).collect())
            }
            _ => self.wrong_type(value, "an array of strings"),
        }
    }

    pub(super) fn integer(&mut self, value: &Spanned<DeValue<'_>>) -> Option<Spanned<i64>> {
        let DeValue::Integer(number) = value.get_ref() else {
            return self.wrong_type(value, "a number");
        };
        match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Some(Spanned::new(value.span(), number)),
            Err(_) => {
                self.flaw(&value.span(), Flaw::new("the number is too large"));
                None
            }
        }
    }

    /// The table of `[name]`.
    pub(super) fn table<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Option<(Span, &'v DeTable<'i>)> {
        match value.get_ref() {
            DeValue::Table(table) => Some((value.span(), table)),
            _ => self.wrong_type(value, "a table"),
        }
    }

    /// Line and column, from 1.
    pub(super) fn place(&self, span: &Span) -> (usize, usize) {
        place(self.text, span.start)
    }

    /// The tables of `[[name]]`.
    pub(super) fn tables<'v, 'i>(
        &mut self,
        value: &'v Spanned<DeValue<'i>>,
    ) -> Vec<(Span, &'v DeTable<'i>)> {
        let DeValue::Array(array) = value.get_ref() else {
            return self.wrong_type(value, "an array of tables").unwrap_or_default();
        };
        let mut tables = Vec::new();
        for item in array {
            match item.get_ref() {
                DeValue::Table(table) => tables.push((item.span(), table)),
                _ => self.wrong_type(item, "a table").unwrap_or_default(),
            }
        }
        tables
    }
}

/// One table whose fields are asked for by name; what was not asked for is unknown.
pub(super) struct Fields<'v, 'i> {
    table: &'v DeTable<'i>,
    known: Vec<&'static str>,
    /// Fields that one may look for here, and what to do without them.
    elsewhere: Vec<(&'static str, &'static str)>,
}

impl<'v, 'i> Fields<'v, 'i> {
    pub(super) fn new(table: &'v DeTable<'i>) -> Self {
        Self { table, known: Vec::new(), elsewhere: Vec::new() }
    }

    pub(super) fn get(&mut self, name: &'static str) -> Option<&'v Spanned<DeValue<'i>>> {
        self.known.push(name);
        self.table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value)
    }

    pub(super) fn elsewhere(&mut self, name: &'static str, what: &'static str) {
        self.elsewhere.push((name, what));
    }

    /// Notes every field that nobody asked for.
    pub(super) fn finish(self, reader: &mut Reader<'_>) {
        for (key, _) in self.table {
            if !self.known.iter().any(|known| key.get_ref() == known) {
                reader.flaw(&key.span(), self.unknown(key.get_ref()));
            }
        }
    }

    fn unknown(&self, key: &DeString<'_>) -> Flaw {
        if let Some((name, what)) = self.elsewhere.iter().find(|(name, _)| key == name) {
            return Flaw::new(format!("there is no `{name}` here: {what}")).help("leave it out");
        }
        let flaw = Flaw::new(format!("unknown field `{key}`"));
        match nearest(key, self.known.iter().copied()) {
            Some(near) => flaw.help(format!("did you mean `{near}`?")),
            None => flaw.help(format!("known here: {}", self.known.join(", "))),
        }
    }
}
