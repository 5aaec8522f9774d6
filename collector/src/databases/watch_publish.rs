//! What the main task says of the instance itself: whether it is up, where it stands, and what reading it costs.

use proto::{
    EventsBuilder, Table,
    samples::{STALE_MARKER_BITS, SamplesBuilder},
};

use super::{
    connection::{Connection, Cost},
    metrics::Base,
    watch::Watch,
};
use crate::config::Engine;

impl Watch {
    /// Labels of this instance's metrics.
    pub(super) fn base(&self) -> Base {
        Base::new(&self.instance, self.template().as_deref().map_or(self.engine.job(), |t| t.job()))
    }

    pub(super) fn publish_up(&self, up: bool) {
        let now_ms = self.context.clock.now_ms();
        let (base, mut out) = (self.base(), SamplesBuilder::default());
        let value = f64::from(u8::from(up));
        base.push(&mut out, "up", [], now_ms, value);
        let template = self.template().or_else(|| self.config.template.clone());
        let own = match template.as_ref().and_then(|t| t.job.as_deref()) {
            Some(job) => format!("{job}_up"),
            None if self.engine == Engine::Postgresql => "pg_up".to_owned(),
            None => "mysql_up".to_owned(),
        };
        base.push(&mut out, &own, [], now_ms, value);
        self.push_info(&mut out, now_ms, 1.0);
        self.context.outlet.send_samples(out);
    }

    /// Where it stands, as labels.
    fn push_info(&self, out: &mut SamplesBuilder, now_ms: i64, value: f64) {
        let Some(identity) = &self.identity else { return };
        let template = identity.template(&self.config);
        let address = self.config.address.to_string();
        let or = |configured: &Option<std::sync::Arc<str>>, found: &Option<String>| {
            configured.as_deref().or(found.as_deref()).unwrap_or("").to_owned()
        };
        let cluster = or(&self.config.cluster, &identity.place.cluster);
        let shard = or(&self.config.shard, &identity.place.shard);
        let labels = [
            ("engine", template.kind()),
            ("template", &*template.name),
            ("version", identity.version_text.as_str()),
            ("address", address.as_str()),
            ("host", &*self.context.host),
            ("cluster", cluster.as_str()),
            ("shard", shard.as_str()),
            ("role", identity.place.role_word()),
            ("node", identity.place.node.as_ref().map_or("", |n| n.name.as_str())),
            ("environment", self.config.environment.as_deref().unwrap_or("")),
        ];
        let labels = labels.into_iter().filter(|(name, value)| *name != "node" || !value.is_empty());
        self.base().push(out, "tidewatch_target_info", labels, now_ms, value);
    }

    /// It stands elsewhere from now on: the series that says so ends.
    pub(super) fn publish_info_end(&self) {
        let mut out = SamplesBuilder::default();
        self.push_info(&mut out, self.context.clock.now_ms(), f64::from_bits(STALE_MARKER_BITS));
        self.context.outlet.send_samples(out);
    }

    /// The instance is no longer watched.
    pub(super) fn publish_end(&self) {
        let (base, mut out) = (self.base(), SamplesBuilder::default());
        let now_ms = self.context.clock.now_ms();
        base.push(&mut out, "up", [], now_ms, f64::from_bits(STALE_MARKER_BITS));
        self.push_info(&mut out, now_ms, f64::from_bits(STALE_MARKER_BITS));
        self.context.outlet.send_samples(out);
    }

    pub(super) fn publish_cost(&mut self, connection: &mut Option<Connection>) {
        if let Some(connection) = connection {
            self.add_cost(connection.take_cost());
        }
        let side = std::mem::take(&mut *self.shared.cost.lock());
        self.add_cost(side);
        let now_ms = self.context.clock.now_ms();
        let manners = self.shared.own.manners();
        let (share, left_s) = manners.budget();
        let (base, mut out) = (self.base(), SamplesBuilder::default());
        for (name, value) in [
            ("tidewatch_collector_target_seconds_total", self.cost.seconds),
            ("tidewatch_collector_target_queries_total", self.cost.queries as f64),
            ("tidewatch_collector_target_budget_ratio", share),
            ("tidewatch_collector_target_budget_left_seconds", left_s),
            ("tidewatch_collector_target_pauses_total", manners.trips() as f64),
            ("tidewatch_collector_target_paused", f64::from(u8::from(manners.pause_left().is_some()))),
        ] {
            base.push(&mut out, name, [], now_ms, value);
        }
        for (reason, count) in &self.skipped {
            let labels = [("reason", *reason)];
            base.push(&mut out, "tidewatch_collector_target_skipped_total", labels, now_ms, *count as f64);
        }
        for (class, count) in &self.errors {
            base.push(&mut out, "tidewatch_collector_target_errors_total", [("class", *class)], now_ms, *count as f64);
        }
        self.context.outlet.send_samples(out);
    }

    /// Adds what queries cost.
    pub(super) fn add_cost(&mut self, cost: Cost) {
        self.cost.queries += cost.queries;
        self.cost.seconds += cost.seconds;
    }

    /// Who it is and where it stands, as a row of objects.
    pub(super) fn publish_target(&self) {
        let Some(identity) = &self.identity else { return };
        let template = identity.template(&self.config);
        let place = &identity.place;
        let mut rows = EventsBuilder::new(Table::Objects);
        let attributes = serde_json::json!({
            "engine": template.kind(), "template": &*template.name, "version": identity.version_text,
            "role": place.role_word(), "configured_role": self.config.role.as_deref(),
            "cluster": self.config.cluster.as_deref().or(place.cluster.as_deref()),
            "shard": self.config.shard.as_deref().or(place.shard.as_deref()),
            "environment": self.config.environment.as_deref(),
            "server_id": identity.server_id, "started_ms": identity.started_ms, "host": &*self.context.host,
            "node": place.node.as_ref().map(|n| n.name.as_str()),
            "state": place.node.as_ref().map(|n| n.state.as_str()),
            "members": place.node.as_ref().map(|n| n.members.iter().collect::<Vec<_>>()),
        });
        rows.row(
            &self.instance,
            self.context.clock.now_ms(),
            [
                ("engine", template.kind().into()),
                ("kind", "target".into()),
                ("name", (&*self.instance).into()),
                ("change", "seen".into()),
                ("value", self.config.address.to_string().into()),
                ("attributes", attributes.to_string().into()),
            ],
        );
        self.context.outlet.send_events(rows.build());
    }
}
