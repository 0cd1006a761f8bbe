//! From the kernel's records to what is published: `bytes ─decode▶ Record ─enrich▶ Event ─export▶ followers`.

#![forbid(unsafe_code)]

pub mod decode;
pub mod enrich;
#[expect(clippy::module_inception, reason = "the schema is what the folder is named after")]
pub mod event;
pub mod export;
pub mod number;
pub mod sight;
#[cfg(test)]
mod tests;
