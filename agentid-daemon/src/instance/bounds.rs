//! What the tasks of a run may use of the host, and where they are held to that.

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What the tasks of a run, and of those below it, may use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Bytes.
    pub memory: Option<u64>,
    pub tasks: Option<u32>,
    /// Hundredths of a processor.
    pub cpu: Option<u32>,
}

impl Bounds {
    /// Whether nothing is bounded.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { memory, tasks, cpu } = self;
        let parts = [
            memory.map(|bytes| format!("memory {}", size(bytes))),
            tasks.map(|number| format!("tasks {number}")),
            cpu.map(|share| format!("cpu {share}%")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// The cgroup that a run has for itself from its launch on, by its place below the root of the hierarchy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enclosure {
    pub group: PathBuf,
    pub bounds: Bounds,
}

/// An amount of memory: as a policy says it where that is a whole number, else in tenths of a mebibyte.
pub fn size(bytes: u64) -> String {
    let units = [("TiB", 40), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    let whole = units.iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    match whole {
        Some((unit, shift)) if bytes >> shift < 10_000 || *unit != "KiB" => {
            format!("{}{unit}", bytes >> shift)
        }
        _ => format!("{}.{}MiB", bytes >> 20, ((bytes & 0xf_ffff) * 10) >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_read_as_a_policy_says_them() {
        for (bytes, text) in [
            (2 << 30, "2GiB"),
            (1536 << 20, "1536MiB"),
            (1 << 50, "1024TiB"),
            (12 << 10, "12KiB"),
            (20_000 << 10, "19.5MiB"),
            (5_000_001, "4.7MiB"),
            (0, "0.0MiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        let bounds = Bounds { memory: Some(1 << 30), tasks: None, cpu: Some(150) };
        assert_eq!(bounds.to_string(), "memory 1GiB, cpu 150%");
        assert!(Bounds::default().is_none() && !bounds.is_none());
    }
}
