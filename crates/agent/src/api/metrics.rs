//! `/metrics`: figures for Prometheus, of the site as this agent sees it and of the processes of its host.
//! Names and units follow prometheus.io's rules; each figure of a process is a row of one table.
//!
//! A process that is not seen any more disappears, as staleness demands it: a zero would be a lie.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;
use report::{Figures, RoleWord, StateWord};

use controller::facts::ProcessReport;
use controller::records::ProtectionWord;
use controller::scene::Scene;

/// The states of a VM's protection, each a label.
const STATES: [StateWord; 8] = [
    StateWord::Protected,
    StateWord::Starting,
    StateWord::NeedsBackup,
    StateWord::Suspended,
    StateWord::Unprotected,
    StateWord::Off,
    StateWord::Standing,
    StateWord::Unknown,
];

/// A figure of a process.
struct Row {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    value: fn(&Figures) -> f64,
}

/// A figure that only grows.
const fn counter(name: &'static str, help: &'static str, value: fn(&Figures) -> f64) -> Row {
    Row {
        name,
        help,
        is_counter: true,
        value,
    }
}

/// A figure that grows and shrinks.
const fn gauge(name: &'static str, help: &'static str, value: fn(&Figures) -> f64) -> Row {
    Row {
        name,
        help,
        is_counter: false,
        value,
    }
}

/// The figures of processes, with their labels `vm` and `pid`.
const ROWS: &[Row] = &[
    gauge("replica_epoch", "Epoch of the VM at its arbiter", |f| {
        f.epoch as f64
    }),
    gauge(
        "replica_up_seconds",
        "Time since the guest was started in this process",
        |f| f.up_s,
    ),
    counter("guest_steps", "Steps of the guest", |f| f.step as f64),
    gauge("guest_steps_per_second", "Steps of the guest a second", |f| {
        f.steps_per_second as f64
    }),
    gauge(
        "guest_speed_ratio",
        "Share of its speed at which the guest may run",
        |f| f64::from(f.speed_permille) / 1e3,
    ),
    counter("guest_stalled_seconds", "Time for which the guest stood", |f| {
        f.stalled_ms / 1e3
    }),
    counter(
        "guest_dropped_inputs",
        "Network frames dropped since the guest took none",
        |f| f.inputs_dropped as f64,
    ),
    counter("log_entries", "Entries of the log", |f| f.entries as f64),
    counter("log_bytes", "Bytes of the log", |f| f.log_bytes as f64),
    counter("digests", "Digests of the guest's state that were equal", |f| {
        f.digests as f64
    }),
    counter("channel_sent_bytes", "Bytes sent to the other side", |f| {
        f.wire_sent_bytes as f64
    }),
    counter(
        "channel_received_bytes",
        "Bytes received from the other side",
        |f| f.wire_received_bytes as f64,
    ),
    counter("channel_messages_sent", "Messages sent to the other side", |f| {
        f.messages_sent as f64
    }),
    counter(
        "channel_acknowledgements",
        "Acknowledgements of the other side",
        |f| f.acks as f64,
    ),
    gauge(
        "channel_round_trip_p99_seconds",
        "Round trip of a message, 99 of 100 are shorter",
        |f| f.round_trip.p99_us / 1e6,
    ),
    gauge(
        "channel_buffered_bytes",
        "Bytes that the other side has not acknowledged",
        |f| f.buffered_bytes as f64,
    ),
    gauge("lag_seconds", "Time by which the backup is behind", |f| {
        f.lag_ms / 1e3
    }),
    gauge("lag_steps", "Steps by which the backup is behind", |f| {
        f.lag_steps as f64
    }),
    counter("outputs", "Outputs of the guest", |f| f.outputs as f64),
    counter("outputs_released", "Outputs that have left", |f| {
        f.outputs_released as f64
    }),
    gauge("outputs_held", "Outputs that wait for the backup", |f| {
        f.outputs_held as f64
    }),
    gauge(
        "output_delay_p50_seconds",
        "Time for which an output waits, half of them less",
        |f| f.output_delay.p50_us / 1e6,
    ),
    gauge(
        "output_delay_p99_seconds",
        "Time for which an output waits, 99 of 100 less",
        |f| f.output_delay.p99_us / 1e6,
    ),
    gauge("disk_requests_in_flight", "Requests that are at the disks", |f| {
        f.disk_in_flight as f64
    }),
    counter("claims", "Claims at the arbiter", |f| f.claims as f64),
    gauge(
        "failover_detection_seconds",
        "Time from the last sign of life to the last suspicion",
        |f| f.detection_ms / 1e3,
    ),
    gauge(
        "failover_go_live_seconds",
        "Time from the last suspicion to being live",
        |f| f.go_live_ms / 1e3,
    ),
    gauge("replica_resident_memory_bytes", "Memory of the process", |f| {
        f.resident_bytes as f64
    }),
    counter(
        "console_lost_bytes",
        "Bytes of the guest's console that nobody read in time",
        |f| f.console_bytes_lost as f64,
    ),
    counter(
        "event_lines_lost",
        "Lines of the file of events that could not be written",
        |f| f.event_lines_lost as f64,
    ),
];

/// What is shown at one question.
#[derive(Debug)]
struct Shown {
    scene: Arc<Scene>,
    version: &'static str,
}

/// The text of `/metrics` for a scene.
///
/// # Errors
/// The text cannot be made.
pub fn text(scene: Arc<Scene>, version: &'static str) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("lockstep");
    registry.register_collector(Box::new(Shown { scene, version }));
    let mut shown = String::new();
    text::encode(&mut shown, &registry)?;
    Ok(shown)
}

/// Labels of a figure.
type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Writes one figure with all its labels and values.
fn family<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, MetricType),
    values: impl IntoIterator<Item = (Labels<'a>, f64)>,
) -> fmt::Result {
    let mut metric = encoder.encode_descriptor(name, help, None, kind)?;
    for (labels, value) in values {
        let mut one = metric.encode_family(&labels)?;
        match kind {
            MetricType::Counter => one.encode_counter::<NoLabelSet, f64, f64>(&value, None)?,
            _ => one.encode_gauge(&value)?,
        }
    }
    Ok(())
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.site(&mut encoder)?;
        self.vms(&mut encoder)?;
        self.processes(&mut encoder)
    }
}

impl Shown {
    fn site(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (scene, gauge) = (&self.scene, MetricType::Gauge);
        let version = vec![("version", self.version)];
        family(
            encoder,
            ("build_info", "Version of the agent", gauge),
            [(version, 1.0)],
        )?;
        let count = |is_wanted: &dyn Fn(&plan::Host) -> bool| {
            scene.hosts.iter().filter(|host| is_wanted(host)).count() as f64
        };
        let silent = count(&|host| host.is_silent(scene.now));
        let draining = count(&|host| !host.is_silent(scene.now) && host.draining.is_some());
        let ready = scene.hosts.len() as f64 - silent - draining;
        let states = [("ready", ready), ("draining", draining), ("silent", silent)];
        let hosts = states.map(|(state, count)| (vec![("state", state)], count));
        family(encoder, ("hosts", "Hosts of the site", gauge), hosts)?;
        let directory = flag(scene.directory_away.is_none());
        family(
            encoder,
            ("directory_up", "Can the directory be read?", gauge),
            [(Vec::new(), directory)],
        )?;
        let arbiter = flag(scene.arbiter_away.is_none());
        family(
            encoder,
            ("arbiter_up", "Does the arbiter answer?", gauge),
            [(Vec::new(), arbiter)],
        )
    }

    fn vms(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let (vms, gauge) = (&self.scene.vms, MetricType::Gauge);
        let label = |name: &'static str, vm| vec![("vm", vm), ("state", name)];
        let states = vms.iter().flat_map(|(name, vm)| {
            let state = vm.face.state;
            STATES.map(|word| (label(word.as_str(), name.as_str()), flag(word == state)))
        });
        family(
            encoder,
            ("vm_protection", "How the VM's protection stands", gauge),
            states,
        )?;
        let protected = vms.iter().map(|(name, vm)| {
            let is_protected = vm.face.state == StateWord::Protected;
            (vec![("vm", name.as_str())], flag(is_protected))
        });
        family(
            encoder,
            ("vm_protected", "Has the VM a backup?", gauge),
            protected,
        )?;
        let wanted = vms.iter().map(|(name, vm)| {
            let spec = vm.known.spec.as_ref();
            let is_wanted = spec.is_some_and(|spec| spec.value.protection == ProtectionWord::On);
            (vec![("vm", name.as_str())], flag(is_wanted))
        });
        let help = "Shall the VM have a backup?";
        family(encoder, ("vm_protection_wanted", help, gauge), wanted)?;
        let flags = vms.iter().flat_map(|(name, vm)| {
            let flags = vm.face.flags.iter();
            flags.map(|word| (vec![("vm", name.as_str()), ("flag", word.as_str())], 1.0))
        });
        let help = "What is not as it should be with the VM";
        family(encoder, ("vm_flag", help, gauge), flags)
    }

    /// The processes of this host, of which there is fresh news.
    fn processes(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let scene = &self.scene;
        let report = scene.heard.get(&scene.me).map(|heard| &heard.report);
        let all: Vec<(&ProcessReport, String)> = report
            .into_iter()
            .flat_map(|report| &report.processes)
            .map(|told| (told, told.status.pid.to_string()))
            .collect();
        let words: Vec<String> = all
            .iter()
            .map(|(told, _)| told.status.role.and_then(word).unwrap_or_else(|| "none".into()))
            .collect();
        let roles = all.iter().zip(&words).map(|((told, pid), role)| {
            let (vm, pid) = (told.status.name.as_str(), pid.as_str());
            (vec![("vm", vm), ("pid", pid), ("role", role.as_str())], 1.0)
        });
        let help = "What the process is to its VM";
        family(encoder, ("replica_role", help, MetricType::Gauge), roles)?;
        for row in ROWS {
            let kind = if row.is_counter {
                MetricType::Counter
            } else {
                MetricType::Gauge
            };
            let values = all.iter().filter_map(|(told, pid)| {
                let figures = told.status.figures.as_ref()?;
                let labels = vec![("vm", told.status.name.as_str()), ("pid", pid.as_str())];
                Some((labels, (row.value)(figures)))
            });
            family(encoder, (row.name, row.help, kind), values)?;
        }
        Ok(())
    }
}

/// The word of the stable format for what a process is.
fn word(role: RoleWord) -> Option<String> {
    serde_json::to_value(role).ok()?.as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use controller::scene::now;

    #[test]
    fn the_text_is_as_prometheus_reads_it() {
        let scene = Scene::empty(now(), plan::HostName::new("a"));
        let text = text(Arc::new(scene), "1.2.3").unwrap();
        assert!(
            text.contains("lockstep_build_info{version=\"1.2.3\"} 1"),
            "{text}"
        );
        assert!(text.contains("lockstep_directory_up 0"), "{text}");
        assert!(text.ends_with("# EOF\n"));
        assert!(text.contains("# TYPE lockstep_guest_steps counter"));
    }

    #[test]
    fn a_role_is_called_as_in_the_stable_format() {
        assert_eq!(word(RoleWord::Solo).as_deref(), Some("solo"));
        assert_eq!(word(RoleWord::Handing).as_deref(), Some("handing"));
    }

    #[test]
    fn each_figure_has_a_name_of_its_own() {
        let mut names: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), ROWS.len());
        for row in ROWS {
            // The encoder adds `_total` to a counter.
            assert!(!row.name.ends_with("_total"), "{}", row.name);
        }
    }
}
