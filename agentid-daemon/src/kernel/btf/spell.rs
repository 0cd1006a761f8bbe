//! Prototypes as C writes them, for people.

use super::{Btf, Kind, MAX_NESTING, kind, read_u32};

impl Btf<'_> {
    /// The prototype of a hook for programs.
    pub fn prototype(&self, hook: &str) -> Option<String> {
        let function = self.at(self.index(Kind::Function, &format!("bpf_lsm_{hook}"))?)?;
        let prototype = self.at(function.size_or_type as usize)?;
        if prototype.kind() != kind::FUNC_PROTO {
            return None;
        }
        let argument = |bytes: &[u8]| {
            let name = String::from_utf8_lossy(self.name(read_u32(bytes, 0)?)).into_owned();
            Some(joined(&self.spelled(read_u32(bytes, 4)?, 0)?, &name))
        };
        let arguments: Option<Vec<_>> = prototype.body.chunks_exact(8).map(argument).collect();
        let result = self.spelled(prototype.size_or_type, 0)?;
        Some(joined(&result, &format!("{hook}({})", arguments?.join(", "))))
    }

    fn spelled(&self, index: u32, nesting: u32) -> Option<String> {
        if nesting > MAX_NESTING {
            return None;
        }
        if index == 0 {
            return Some("void".to_owned());
        }
        let found = self.at(index as usize)?;
        let name = || String::from_utf8_lossy(self.name(found.name)).into_owned();
        let inner = || self.spelled(found.size_or_type, nesting + 1);
        Some(match found.kind() {
            kind::INT | kind::TYPEDEF | kind::FLOAT => name(),
            kind::STRUCT => format!("struct {}", name()),
            kind::UNION => format!("union {}", name()),
            // The kind flag says that it is a union.
            kind::FORWARD if found.info >> 31 == 1 => format!("union {}", name()),
            kind::FORWARD => format!("struct {}", name()),
            kind::ENUM | kind::ENUM64 => format!("enum {}", name()),
            kind::PTR => joined(&inner()?, "*"),
            kind::CONST => match inner()? {
                pointer if pointer.ends_with('*') => pointer + "const",
                plain => format!("const {plain}"),
            },
            kind::VOLATILE | kind::RESTRICT | kind::TYPE_TAG => inner()?,
            _ => return None,
        })
    }
}

fn joined(kind: &str, name: &str) -> String {
    if kind.ends_with('*') { format!("{kind}{name}") } else { format!("{kind} {name}") }
}
