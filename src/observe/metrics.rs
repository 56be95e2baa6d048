//! The one table of metrics. Never a device, gateway or voucher as label.

use prometheus::{Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder};

macro_rules! metrics {
    ($($field:ident: $kind:ident $name:literal $([$label:literal])? $help:literal;)*) => {
        #[derive(Clone)]
        pub struct Metrics {
            registry: Registry,
            $(pub $field: $kind,)*
        }

        impl Metrics {
            /// Names and kinds clash only by a mistake in the table below, which every start would show.
            pub fn new() -> Metrics {
                let registry = Registry::new();
                $(let $field = metrics!(@make $kind $name $([$label])? $help);)*
                $(registry.register(Box::new($field.clone())).expect("metric names are unique");)*
                let process = prometheus::process_collector::ProcessCollector::for_self();
                registry.register(Box::new(process)).expect("metric names are unique");
                Metrics { registry, $($field,)* }
            }

            /// Name and help of each, in the order of the table.
            pub const TABLE: &[(&str, &str)] = &[$(($name, $help),)*];
        }
    };
    (@make IntCounter $name:literal $help:literal) => { IntCounter::new($name, $help).expect("a sound metric") };
    (@make IntGauge $name:literal $help:literal) => { IntGauge::new($name, $help).expect("a sound metric") };
    (@make IntCounterVec $name:literal [$label:literal] $help:literal) => {
        IntCounterVec::new(Opts::new($name, $help), &[$label]).expect("a sound metric")
    };
    (@make Histogram $name:literal $help:literal) => {
        Histogram::with_opts(HistogramOpts::new($name, $help).buckets(prometheus::exponential_buckets(0.0005, 2.0, 15).expect("sound buckets")))
            .expect("a sound metric")
    };
}

metrics! {
    reports: IntCounterVec "shangyun_ingest_reports_total" ["outcome"] "Reports by outcome: accepted, duplicate, refused, unavailable.";
    carrier_messages: IntCounterVec "shangyun_ingest_carrier_messages_total" ["outcome"] "Carrier messages by outcome.";
    faults: IntCounterVec "shangyun_ingest_faults_total" ["code"] "Faults of refused reports by code.";
    unknown_fields: IntCounter "shangyun_ingest_unknown_fields_total" "Unknown fields that were ignored in reports.";
    panics: IntCounterVec "shangyun_ingest_panics_total" ["place"] "Mistakes of the service that took one message (reading) or one connection.";
    commit_seconds: Histogram "shangyun_ingest_commit_duration_seconds" "Time from taking a group of reports to its sync.";
    settle_seconds: Histogram "shangyun_ingest_settle_duration_seconds" "Time from handing a batch to the intake until its answers.";
    connections: IntGauge "shangyun_ingest_mqtt_connections" "Open MQTT connections.";
    connections_ended: IntCounterVec "shangyun_ingest_mqtt_connections_ended_total" ["reason"] "MQTT connections refused or ended, by reason.";
    subscriptions_refused: IntCounter "shangyun_ingest_mqtt_subscriptions_refused_total" "Subscriptions outside a gateway's own topics.";
    tls_reloads: IntCounterVec "shangyun_ingest_mqtt_tls_reloads_total" ["outcome"] "Changed files of mqtt.tls: taken, kept_former (not sound).";
    tls_expires: IntGauge "shangyun_ingest_mqtt_tls_certificate_expires_seconds" "When the door's own certificate ends, in seconds since 1970.";
    sessions_idle: IntGauge "shangyun_ingest_mqtt_idle_sessions" "MQTT sessions kept for clients that are away.";
    sessions_dropped: IntCounter "shangyun_ingest_mqtt_dropped_sessions_total" "MQTT sessions ended before their time because there were too many.";
    messages_dropped: IntCounterVec "shangyun_ingest_mqtt_dropped_messages_total" ["reason"] "Messages to clients that were dropped: queue_full, expired, too_large.";
    pubacks_unknown: IntCounter "shangyun_ingest_mqtt_unknown_pubacks_total" "PUBACKs of clients for packet ids that nothing was in flight with.";
    sparkplug_rebirths: IntCounter "shangyun_ingest_sparkplug_rebirth_requests_total" "Rebirths asked of Sparkplug edge nodes.";
    sparkplug_ignored: IntCounterVec "shangyun_ingest_sparkplug_ignored_metrics_total" ["reason"] "Metrics of Sparkplug messages that became no reading, by reason.";
    feed_dropped: IntCounter "shangyun_ingest_feed_dropped_messages_total" "Feed messages that the router did not take.";
    feed_rebuilt: IntCounter "shangyun_ingest_feed_rebuilds_total" "Times the feed router was built anew.";
    gap_reports: IntGauge "shangyun_ingest_gap_reports" "Numbers between 1 and the highest of each boot that no accepted report has, over all gateways.";
    gap_boots: IntGauge "shangyun_ingest_gap_boots" "Boots of gateways in which numbers are missing.";
    quarantine_replays: IntCounterVec "shangyun_ingest_quarantine_replays_total" ["outcome"] "Replayed entries of the quarantine by outcome: accepted, duplicate, refused.";
    quarantine_entries: IntGauge "shangyun_store_quarantine_entries" "Refused messages in the quarantine.";
    quarantine_bytes: IntGauge "shangyun_store_quarantine_bytes" "Size of the refused messages in the quarantine, with their faults.";
    quarantine_removed: IntCounterVec "shangyun_store_quarantine_removed_entries_total" ["reason"] "Entries removed from the quarantine: age (quarantine.keep_days), size (quarantine.mib_max).";
    log_blocks: IntGauge "shangyun_store_log_blocks" "Blocks of the evidence log.";
    log_failures: IntCounter "shangyun_store_log_failures_total" "Writes or syncs of the evidence log that failed.";
    log_damaged_blocks: IntGauge "shangyun_store_log_damaged_blocks" "Blocks behind the checkpoint that could not be read at the start.";
    sealed_segments: IntCounter "shangyun_store_sealed_segments_total" "Segments of the evidence log that were sealed.";
    sealed_raw_bytes: IntCounter "shangyun_store_sealed_raw_bytes_total" "Bytes of those segments before sealing.";
    sealed_bytes: IntCounter "shangyun_store_sealed_bytes_total" "Bytes of those segments after sealing.";
    damaged_segments: IntCounter "shangyun_store_damaged_segments_total" "Segments that were not sealed because a block is damaged.";
    checkpoint_seconds: Histogram "shangyun_store_checkpoint_duration_seconds" "Time to write a checkpoint of the facts.";
    checkpoint_failures: IntCounter "shangyun_store_checkpoint_failures_total" "Checkpoints that could not be written.";
    judgements: IntCounterVec "shangyun_monitor_judgements_total" ["verdict"] "Judgements by verdict.";
    results: IntCounter "shangyun_monitor_results_total" "New monitoring results.";
    judge_seconds: Histogram "shangyun_monitor_judge_duration_seconds" "Time to judge one voucher.";
    http_connections: IntGauge "shangyun_web_connections" "Open HTTP connections.";
    http_connections_ended: IntCounterVec "shangyun_web_connections_ended_total" ["reason"] "HTTP connections refused or ended, by reason.";
    requests: IntCounterVec "shangyun_web_requests_total" ["status"] "HTTP requests by status.";
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Counts an MQTT connection as open until what is given back is dropped, however its task ends.
    pub fn connection_open(&self) -> impl Drop + use<> {
        Open::count(&self.connections)
    }

    /// The same for an HTTP connection.
    pub fn http_connection_open(&self) -> impl Drop + use<> {
        Open::count(&self.http_connections)
    }

    /// The Prometheus text format.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        // Writing text to memory has no way to fail but a clash of names, which `new` excludes.
        let _ = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        String::from_utf8(text).unwrap_or_default()
    }
}

struct Open(IntGauge);

impl Open {
    fn count(gauge: &IntGauge) -> Open {
        gauge.inc();
        Open(gauge.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_is_exported_under_a_name_of_our_grammar() {
        let metrics = Metrics::new();
        metrics.reports.with_label_values(&["accepted"]).inc();
        let text = metrics.text();
        assert!(text.contains("shangyun_ingest_reports_total{outcome=\"accepted\"} 1"));
        for (name, _) in Metrics::TABLE {
            let room = name.strip_prefix("shangyun_").and_then(|rest| rest.split('_').next());
            assert!(["ingest", "store", "monitor", "web"].map(Some).contains(&room), "{name}");
        }
    }
}
