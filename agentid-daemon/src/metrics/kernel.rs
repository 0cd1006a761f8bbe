//! The kernel's own numbers, as they stand at a scrape: a full ring cannot hide a denial from them.

use agentid_common::{
    counter,
    verdict::{Hook, Verdict},
};
use prometheus::IntCounter;

use super::series::{Kernel, faults, reasons};

/// What was read from the kernel for one scrape.
pub struct Reading<'a> {
    /// Value of the counter with this index.
    pub counter: &'a dyn Fn(u32) -> u64,
    /// Name of each hook that is needed now or attached, and whether our program is attached to it.
    pub hooks: Vec<(&'static str, bool)>,
    /// Name, elements and capacity of each map.
    pub fill: Vec<(&'static str, u64, u64)>,
}

impl Kernel {
    /// Takes a reading over.
    pub fn observe(&self, reading: &Reading<'_>) {
        let value = reading.counter;
        for &hook in Hook::ALL {
            let name = hook.name();
            for &verdict in Verdict::ALL {
                let series = self.verdicts.with_label_values(&[name, verdict.name()]);
                set(&series, value(counter::verdict(hook, verdict)));
            }
            for reason in reasons() {
                let series = self.denials.with_label_values(&[name, reason.name()]);
                set(&series, value(counter::denial(hook, reason)));
            }
            for fault in faults() {
                let series = self.faults.with_label_values(&[name, fault.name()]);
                set(&series, value(counter::fault(hook, fault)));
            }
            set(&self.guarded.with_label_values(&[name]), value(counter::guarded(hook)));
        }
        set(&self.lost, value(counter::lost()));
        self.hooks.reset();
        for (name, attached) in &reading.hooks {
            self.hooks.with_label_values(&[*name]).set(i64::from(*attached));
        }
        for (name, entries, capacity) in &reading.fill {
            let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            self.entries.with_label_values(&[*name]).set(gauge(*entries));
            self.capacity.with_label_values(&[*name]).set(gauge(*capacity));
        }
    }
}

/// The kernel counts, we only show: a counter takes over the kernel's value, whatever it showed before.
fn set(series: &IntCounter, value: u64) {
    series.reset();
    series.inc_by(value);
}
