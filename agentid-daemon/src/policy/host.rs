//! The host name in a `[[net]]` rule.
//!
//! ```text
//!   api.example.org     that name
//!   *.example.org       every name below example.org, however deep, and not example.org itself
//! ```

use std::fmt;

use super::error::Flaw;

/// Most letters of a name, without the dot at its end, and of one label (RFC 1035 section 2.3.4).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Which names are meant. Names are compared as DNS does, without regard to case: patterns are in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host {
    domain: String,
    /// Every name below, and not the domain itself.
    below: bool,
}

impl Host {
    pub(super) fn parse(text: &str) -> Result<Self, Flaw> {
        let (domain, below) = match text.strip_prefix("*.") {
            Some(domain) => (domain, true),
            None => (text, false),
        };
        let flaw = |what: &str| Flaw::new(format!("`{text}` is no host name: {what}"));
        if !domain.is_ascii() {
            return Err(flaw("it has letters that DNS has not").help("write it as `xn--…`"));
        }
        if let Some(domain) = text.strip_suffix('.') {
            return Err(flaw("it ends with a dot").help(format!("write `{domain}`")));
        }
        if domain.len() > MAX_NAME {
            return Err(flaw(&format!("it is longer than {MAX_NAME} letters")));
        }
        for label in domain.split('.') {
            if label.is_empty() {
                return Err(flaw("between two dots is nothing"));
            }
            if label.len() > MAX_LABEL {
                return Err(flaw(&format!("a part of it is longer than {MAX_LABEL} letters")));
            }
            if label.contains('*') {
                return Err(flaw("`*` stands for all names below a domain")
                    .help("write `*.` at the beginning, and nowhere else"));
            }
            if let Some(sign) = label.chars().find(|sign| !is_of_names(*sign)) {
                return Err(flaw(&format!("`{sign}` is in no name")));
            }
        }
        Ok(Self { domain: domain.to_ascii_lowercase(), below })
    }

    /// Whether it means this name, which is in lower case and has no dot at its end.
    pub fn means(&self, name: &str) -> bool {
        if self.below { is_below(name, &self.domain) } else { name == self.domain }
    }

    /// Whether it means every name that the other one means.
    pub fn covers(&self, other: &Self) -> bool {
        match (self.below, other.below) {
            (false, false) => self.domain == other.domain,
            (false, true) => false,
            (true, false) => is_below(&other.domain, &self.domain),
            (true, true) => {
                other.domain == self.domain || is_below(&other.domain, &self.domain)
            }
        }
    }

    /// Those that mean this name, the narrowest first, as far as there are any.
    pub fn around(name: &str) -> impl Iterator<Item = Self> {
        let exact = Self { domain: name.to_owned(), below: false };
        let above = name.match_indices('.').filter_map(|(dot, _)| name.get(dot + 1..));
        let above = above.map(|domain| Self { domain: domain.to_owned(), below: true });
        std::iter::once(exact).chain(above)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}{}", if self.below { "*." } else { "" }, self.domain)
    }
}

/// Letters, digits and `-`, and `_`, which names of services begin with.
fn is_of_names(sign: char) -> bool {
    sign.is_ascii_alphanumeric() || sign == '-' || sign == '_'
}

fn is_below(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.len() > 1 && rest.ends_with('.'))
}
