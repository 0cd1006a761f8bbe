//! What the kernel's maps hold: made from a policy and the shape of the filesystem, pure and readable.
//!
//! ```text
//!   Policy + Terrain ──compile──▶ CompiledPolicy ──bind(params)──▶ Binding
//!                                      │ ops                          │ ops
//!                                      ▼                              ▼
//!                                   [MapOp]  ──────────apply──────▶ kernel maps, and Image, their copy here
//! ```

mod assumed;
mod automaton;
mod bind;
pub mod compare;
mod compile;
mod diff;
mod emit;
mod file;
mod globs;
mod hosts;
#[allow(clippy::module_inception, reason = "the module is about its main type")]
mod image;
mod leftover;
mod makers;
mod net;
mod numbers;
mod place;
mod pool;
mod supposed;
mod tail;
mod terrain;
mod text;

#[cfg(test)]
mod tests;

pub use assumed::Assumed;
pub use bind::{BindError, Binding};
pub use compile::{CompileError, CompiledPolicy, compile, prefixes};
pub use diff::{MapOp, SlotRules};
pub use hosts::{HostRules, Hosts, is_public};
pub use image::{Image, View};
pub use leftover::Leftover;
pub use makers::{Laid, Makers};
pub use numbers::{Full, Held, Need, Numbers};
pub use place::{AbstractName, HostPlace, Level, NamedPlace};
pub use supposed::Supposed;
pub use terrain::{Folder, Ground, Mount, Terrain};
pub use text::Readable;
