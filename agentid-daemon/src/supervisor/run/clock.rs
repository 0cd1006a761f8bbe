//! What time it is, by both clocks that the daemon goes by.

use std::time::{SystemTime, UNIX_EPOCH};

use super::super::step::Now;

/// How far apart two looks at the clocks may be, in nanoseconds, to be of one moment.
const MOMENT_NS: u64 = 200_000;
/// How often they are looked at for that. On a host that interrupts each look the best of them has to do.
const LOOKS: u32 = 8;

/// Both clocks at one moment: a deadline is shown by the distance between them, and would wander if the daemon were
/// interrupted between one and the other.
pub fn now(boot_ns: impl Fn() -> u64) -> Now {
    best(|| {
        let before = boot_ns();
        let now = Now { boot_ns: before, wall_ms: wall_ms() };
        (boot_ns().saturating_sub(before), now)
    })
}

/// The first look that took a moment, or the shortest of them.
fn best(mut look: impl FnMut() -> (u64, Now)) -> Now {
    let (mut shortest, mut now) = look();
    for _ in 1..LOOKS {
        if shortest <= MOMENT_NS {
            break;
        }
        let (took, another) = look();
        if took < shortest {
            (shortest, now) = (took, another);
        }
    }
    now
}

/// Milliseconds since 1970.
pub fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(boot_ns: u64) -> Now {
        Now { boot_ns, wall_ms: 0 }
    }

    #[test]
    fn an_interrupted_look_is_not_taken() {
        let mut looks = [(900_000, at(1)), (100_000, at(2)), (50_000, at(3))].into_iter();
        assert_eq!(best(|| looks.next().expect("no look is left")), at(2));
        assert_eq!(looks.len(), 1, "the first short one is good enough");
    }

    #[test]
    fn the_shortest_of_interrupted_looks_is_taken() {
        let mut took = 10 * MOMENT_NS;
        let mut looks = 0;
        let now = best(|| {
            looks += 1;
            took = if looks == 5 { took / 2 } else { took + 1 };
            (took, at(looks.into()))
        });
        assert_eq!((now, looks), (at(5), LOOKS));
    }
}
