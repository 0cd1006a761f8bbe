//! Every series: name, help, labels.

use agentid_common::verdict::{Fault, Hook, Reason, Verdict};
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// Results of a request or a launch.
pub const RESULTS: [&str; 3] = ["ok", "refused", "failed"];
/// What became of a question for a name.
pub const NAMES: [&str; 6] = ["granted", "denied", "limited", "crowded", "stranger", "rebound"];
/// Who can lose events.
pub const SINKS: [&str; 1] = ["follower"];

/// From a tenth of a millisecond, about one map update, to the ten seconds after which a reply no longer waits.
const LATENCIES: [f64; 16] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// The closed labels that others define.
#[derive(Clone, Debug)]
pub struct Labels {
    pub postures: Vec<&'static str>,
    pub states: Vec<&'static str>,
    pub endings: Vec<&'static str>,
    pub verbs: Vec<&'static str>,
}

/// All series of the daemon. Those of [`Kernel`] are set at each scrape, the others as things happen.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub posture: IntGaugeVec,
    pub instances: IntGaugeVec,
    pub unsaved: IntGaugeVec,
    pub launches: IntCounterVec,
    pub endings: IntCounterVec,
    pub revocations: IntCounter,
    pub revocation_denied: Histogram,
    pub revocation_stopped: Histogram,
    pub requests: IntCounterVec,
    pub names: IntCounterVec,
    pub undecoded: IntCounter,
    pub dropped: IntCounterVec,
    pub kernel: Kernel,
}

/// What the kernel itself counts.
#[derive(Debug)]
pub struct Kernel {
    pub verdicts: IntCounterVec,
    pub denials: IntCounterVec,
    pub faults: IntCounterVec,
    pub guarded: IntCounterVec,
    pub lost: IntCounter,
    pub hooks: IntGaugeVec,
    pub entries: IntGaugeVec,
    pub capacity: IntGaugeVec,
}

impl Metrics {
    /// Registers everything, with every closed label at zero.
    pub fn new(labels: &Labels, version: &str, abi: u32) -> Result<Self, prometheus::Error> {
        let list = List(Registry::new());
        let metrics = Self {
            posture: list.gauges(
                "posture",
                "1 for what this host really enforces now.",
                &["posture"],
            )?,
            instances: list.gauges("instances", "Runs that hold a slot.", &["state"])?,
            unsaved: list.gauges(
                "unsaved_runs",
                "Runs whose records the disk has not taken yet.",
                &[],
            )?,
            launches: list.counters("launches_total", "Launches by their result.", &["result"])?,
            endings: list.counters(
                "endings_total",
                "Runs that have ended, by why.",
                &["ending"],
            )?,
            revocations: list
                .counter("revocations_total", "Runs ended by an operator or their owner.")?,
            revocation_denied: list.latency(
                "revocation_denied_seconds",
                "From the request to the kernel denying the run everything.",
            )?,
            revocation_stopped: list.latency(
                "revocation_stopped_seconds",
                "From the request to the last task of the run being gone.",
            )?,
            requests: list.counters(
                "control_requests_total",
                "Requests on the control socket.",
                &["verb", "result"],
            )?,
            names: list.counters(
                "names_total",
                "Questions of runs for names, and answers that were no addresses for them.",
                &["result"],
            )?,
            undecoded: list
                .counter("records_undecoded_total", "Records that could not be read.")?,
            dropped: list.counters(
                "events_dropped_total",
                "Events that a full queue did not take.",
                &["sink"],
            )?,
            kernel: Kernel::new(&list)?,
            registry: list.0.clone(),
        };
        let build = list.gauges("build_info", "1, with the version.", &["version", "abi"])?;
        build.with_label_values(&[version, &abi.to_string()]).set(1);
        metrics.zero(labels);
        Ok(metrics)
    }

    /// The text of all series.
    pub fn text(&self) -> Result<String, prometheus::Error> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }

    #[cfg(test)]
    pub(super) fn registry(&self) -> &Registry {
        &self.registry
    }

    fn zero(&self, labels: &Labels) {
        for posture in &labels.postures {
            self.posture.with_label_values(&[*posture]).set(0);
        }
        for state in &labels.states {
            self.instances.with_label_values(&[*state]).set(0);
        }
        let none: [&str; 0] = [];
        self.unsaved.with_label_values(&none).set(0);
        for ending in &labels.endings {
            self.endings.with_label_values(&[*ending]).reset();
        }
        for result in RESULTS {
            self.launches.with_label_values(&[result]).reset();
            for verb in &labels.verbs {
                self.requests.with_label_values(&[*verb, result]).reset();
            }
        }
        for result in NAMES {
            self.names.with_label_values(&[result]).reset();
        }
        for sink in SINKS {
            self.dropped.with_label_values(&[sink]).reset();
        }
    }
}

impl Kernel {
    fn new(list: &List) -> Result<Self, prometheus::Error> {
        let kernel = Self {
            verdicts: list.counters(
                "verdicts_total",
                "Answers to tagged tasks.",
                &["hook", "verdict"],
            )?,
            denials: list.counters(
                "denials_total",
                "Denials of tagged tasks by reason, audited ones included.",
                &["hook", "reason"],
            )?,
            faults: list.counters(
                "faults_total",
                "Denials because no decision could be made.",
                &["hook", "fault"],
            )?,
            guarded: list.counters(
                "guarded_total",
                "Operations of untagged tasks refused to protect agentid's own objects.",
                &["hook"],
            )?,
            lost: list.counter("records_lost_total", "Records that found the ring full.")?,
            hooks: list.gauges(
                "hooks_attached",
                "1 where our program is attached, 0 where it should be; none where no run needs it.",
                &["hook"],
            )?,
            entries: list.gauges("map_entries", "Elements in a kernel map.", &["map"])?,
            capacity: list.gauges("map_capacity", "Most elements of a kernel map.", &["map"])?,
        };
        kernel.zero();
        Ok(kernel)
    }

    fn zero(&self) {
        for hook in Hook::ALL.iter().map(|hook| hook.name()) {
            for verdict in Verdict::ALL {
                self.verdicts.with_label_values(&[hook, verdict.name()]).reset();
            }
            for reason in reasons() {
                self.denials.with_label_values(&[hook, reason.name()]).reset();
            }
            for fault in faults() {
                self.faults.with_label_values(&[hook, fault.name()]).reset();
            }
            self.guarded.with_label_values(&[hook]).reset();
        }
    }
}

/// The reasons that a denial can have.
pub fn reasons() -> impl Iterator<Item = Reason> {
    Reason::ALL.iter().copied().filter(|reason| *reason != Reason::None)
}

/// The faults that there can be.
pub fn faults() -> impl Iterator<Item = Fault> {
    Fault::ALL.iter().copied().filter(|fault| *fault != Fault::None)
}

/// Registers series under the common prefix.
struct List(Registry);

impl List {
    fn counter(&self, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
        let counter = IntCounter::with_opts(options(name, help))?;
        self.0.register(Box::new(counter.clone()))?;
        Ok(counter)
    }

    fn counters(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntCounterVec, prometheus::Error> {
        let counters = IntCounterVec::new(options(name, help), labels)?;
        self.0.register(Box::new(counters.clone()))?;
        Ok(counters)
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> Result<IntGaugeVec, prometheus::Error> {
        let gauges = IntGaugeVec::new(options(name, help), labels)?;
        self.0.register(Box::new(gauges.clone()))?;
        Ok(gauges)
    }

    fn latency(&self, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
        let options = HistogramOpts::from(options(name, help)).buckets(LATENCIES.to_vec());
        let histogram = Histogram::with_opts(options)?;
        self.0.register(Box::new(histogram.clone()))?;
        Ok(histogram)
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("agentid")
}
