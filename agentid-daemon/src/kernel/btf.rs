//! As much of a kernel's BTF as we ask it: where a member lies, how large it is, whether a function exists, and where
//! its arguments are.
//!
//! The format is that of Documentation/bpf/btf.rst. aya reads it too, but keeps members to itself.

mod spell;

/// The kernel's types, or those of an object.
pub struct Btf<'a> {
    /// What these types and strings are numbered on from: those of the kernel, where they are a module's.
    base: Option<&'a Btf<'a>>,
    strings: &'a [u8],
    /// Without a base type 0 is void.
    types: Vec<Type<'a>>,
    /// Structures and functions: place of the name, number of the type. Few are ever asked for, so that to look through
    /// all of them costs less than an index.
    named: Vec<(Kind, u32, usize)>,
}

/// Why it could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("BTF is malformed at byte {0}")]
pub struct Malformed(usize);

/// A member of a structure, flattened through anonymous ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// In bytes from the start of the outermost structure.
    pub offset: u32,
    /// In bytes.
    pub size: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Structure,
    Function,
}

struct Type<'a> {
    /// Place of the name.
    name: u32,
    info: u32,
    /// Size, or number of the type that this one refers to.
    size_or_type: u32,
    body: &'a [u8],
}

/// Documentation/bpf/btf.rst, "Type Encoding".
mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FORWARD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

const MAGIC: u16 = 0xeb9f;
/// Types may refer to types; a kernel's never do so deeply.
const MAX_NESTING: u32 = 32;

impl<'a> Btf<'a> {
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_on(None, bytes)
    }

    /// The types of a module, which refer to those of the kernel.
    pub fn of_module(kernel: &'a Self, bytes: &'a [u8]) -> Result<Self, Malformed> {
        Self::parse_on(Some(kernel), bytes)
    }

    fn parse_on(base: Option<&'a Self>, bytes: &'a [u8]) -> Result<Self, Malformed> {
        let word = |at: usize| read_u32(bytes, at).ok_or(Malformed(at));
        if bytes.get(..2) != Some(&MAGIC.to_ne_bytes()) {
            return Err(Malformed(0));
        }
        let header = word(4)? as usize;
        let section = |offset: usize, length: usize| {
            let start = header.checked_add(word(offset)? as usize).ok_or(Malformed(offset))?;
            let end = start.checked_add(word(length)? as usize).ok_or(Malformed(length))?;
            bytes.get(start..end).ok_or(Malformed(start))
        };
        let types = section(8, 12)?;
        let strings = section(16, 20)?;
        let void = Type { name: 0, info: 0, size_or_type: 0, body: &[] };
        let types_of_void = if base.is_some() { Vec::new() } else { vec![void] };
        let mut btf = Self { base, strings, types: types_of_void, named: Vec::new() };
        let mut at = 0;
        while at < types.len() {
            at = btf.take(types, at)?;
        }
        Ok(btf)
    }

    /// Takes the type at `at`; gives the place of the next one.
    fn take(&mut self, types: &'a [u8], at: usize) -> Result<usize, Malformed> {
        let word = |at: usize| read_u32(types, at).ok_or(Malformed(at));
        let (name, info, size_or_type) = (word(at)?, word(at + 4)?, word(at + 8)?);
        let count = (info & 0xffff) as usize;
        let size = match info >> 24 & 0x1f {
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => count * 12,
            kind::ENUM | kind::FUNC_PROTO => count * 8,
            kind::PTR..=kind::TYPE_TAG => 0,
            _ => return Err(Malformed(at)),
        };
        let body = types.get(at + 12..at + 12 + size).ok_or(Malformed(at))?;
        let found = Type { name, info, size_or_type, body };
        let index = self.first_type() + self.types.len();
        let by_kind = match found.kind() {
            kind::STRUCT => Some(Kind::Structure),
            kind::FUNC => Some(Kind::Function),
            _ => None,
        };
        if let Some(by_kind) = by_kind {
            self.named.push((by_kind, name, index));
        }
        self.types.push(found);
        Ok(at + 12 + size)
    }

    /// Whether the kernel has this LSM hook for programs.
    pub fn has_hook(&self, name: &str) -> bool {
        self.index(Kind::Function, &format!("bpf_lsm_{name}")).is_some()
    }

    /// The position of an argument among a function's arguments, from 0.
    pub fn argument(&self, function: &str, argument: &str) -> Option<u32> {
        let found = self.at(self.index(Kind::Function, function)?)?;
        let prototype = self.at(found.size_or_type as usize)?;
        if prototype.kind() != kind::FUNC_PROTO {
            return None;
        }
        let is_it = |parameter: &[u8]| {
            read_u32(parameter, 0).is_some_and(|name| self.name(name) == argument.as_bytes())
        };
        let position = prototype.body.chunks_exact(8).position(is_it)?;
        u32::try_from(position).ok()
    }

    /// The size of a structure, in bytes.
    pub fn size_of(&self, structure: &str) -> Option<u32> {
        let index = self.index(Kind::Structure, structure)?;
        self.at(index).map(|found| found.size_or_type)
    }

    /// The number of the first type that is not the base's.
    fn first_type(&self) -> usize {
        self.base.map_or(0, |base| base.first_type() + base.types.len())
    }

    /// The place of the first string that is not the base's.
    fn first_string(&self) -> usize {
        self.base.map_or(0, |base| base.first_string() + base.strings.len())
    }

    fn at(&self, index: usize) -> Option<&Type<'a>> {
        match index.checked_sub(self.first_type()) {
            Some(own) => self.types.get(own),
            None => self.base?.at(index),
        }
    }

    /// The strings from a place on.
    fn strings_from(&self, at: usize) -> Option<&'a [u8]> {
        match at.checked_sub(self.first_string()) {
            Some(own) => self.strings.get(own..),
            None => self.base?.strings_from(at),
        }
    }

    /// The first type of this kind and name.
    fn index(&self, kind: Kind, name: &str) -> Option<usize> {
        let is_it = |at: u32| {
            let rest = self.strings_from(at as usize).unwrap_or_default();
            rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0))
        };
        let found = |&&(of, at, _): &&(Kind, u32, usize)| of == kind && is_it(at);
        self.named.iter().find(found).map(|&(.., index)| index)
    }

    /// Where a member lies; `path` leaves anonymous members out.
    pub fn member(&self, structure: &str, path: &[&str]) -> Option<Member> {
        let index = self.index(Kind::Structure, structure)?;
        let mut offset = 0;
        let mut at = index as u32;
        for name in path {
            let (bits, target) = self.find(at, name.as_bytes(), 0)?;
            // No bit field has an address.
            offset += if bits % 8 == 0 { bits / 8 } else { return None };
            at = self.resolve(target)?;
        }
        Some(Member { offset, size: self.bytes(at)? })
    }

    /// A member by name, in this structure or in its anonymous ones: its offset in bits, and its type.
    fn find(&self, structure: u32, wanted: &[u8], nesting: u32) -> Option<(u32, u32)> {
        let found = self.at(structure as usize)?;
        if nesting > MAX_NESTING || !matches!(found.kind(), kind::STRUCT | kind::UNION) {
            return None;
        }
        // With the kind flag set, the upper byte is the width of a bit field.
        let mask = if found.info >> 31 == 1 { 0x00ff_ffff } else { u32::MAX };
        found.body.chunks_exact(12).find_map(|member| {
            let name = self.name(read_u32(member, 0)?);
            let target = read_u32(member, 4)?;
            let offset = read_u32(member, 8)? & mask;
            if name == wanted {
                Some((offset, target))
            } else if name.is_empty() {
                let inner = self.find(self.resolve(target)?, wanted, nesting + 1)?;
                Some((offset + inner.0, inner.1))
            } else {
                None
            }
        })
    }

    /// The type behind typedefs and qualifiers.
    fn resolve(&self, mut index: u32) -> Option<u32> {
        for _ in 0..MAX_NESTING {
            let found = self.at(index as usize)?;
            match found.kind() {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    index = found.size_or_type;
                }
                _ => return Some(index),
            }
        }
        None
    }

    fn bytes(&self, index: u32) -> Option<u32> {
        let found = self.at(self.resolve(index)? as usize)?;
        match found.kind() {
            kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => {
                Some(found.size_or_type)
            }
            kind::PTR => Some(8),
            kind::ARRAY => {
                let element = self.bytes(read_u32(found.body, 0)?)?;
                element.checked_mul(read_u32(found.body, 8)?)
            }
            _ => None,
        }
    }

    fn name(&self, offset: u32) -> &'a [u8] {
        let rest = self.strings_from(offset as usize).unwrap_or_default();
        rest.split(|&byte| byte == 0).next().unwrap_or_default()
    }
}

impl Type<'_> {
    fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at.checked_add(4)?)?.try_into().ok().map(u32::from_ne_bytes)
}
