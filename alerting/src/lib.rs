//! Says when something is wrong, how bad it is, why, and tells whoever should know.
//!
//! Rules are loaded and checked (`rule_file`), evaluated at their slots, and their readings go through a pure state
//! machine (`state`). What changes is written to the ledger, table `alert_events`, and handed to the pipeline: route,
//! group, inhibit, silence, dedup (`dispatch`), then onto disk (`outbox`) and out (`deliver`).
//!
//! This room never evaluates a query itself (that is `query`'s), never judges a cause (`diagnosis`), and never lets a
//! message wait for evidence.
//!
//! Reading order: `level`, `fingerprint`, `state`, `flapping` · `rule`, `rule_file`, `builtin`, `template` · `config`, `matcher` ·
//! `active`, `sight`, `forecast`, `evaluate`, `group`, `rule_numbers` · `message`, `dispatch`, `mute`, `inhibit`,
//! `silence`, `dedup`, `gate`, `digest`, `told` · `silences`, `acknowledge`, `journal`, `outside` (alerts of others) ·
//! `outbox`, `deliver`, `content`, `known` · `webhook`, `mail`, `mail_body`, `sms`, `robot`, `dingtalk`, `wecom`, `feishu`, `slack` ·
//! `exchange`, `answer_codes`, `signing`, `secret` · `ledger`, `history`, `why`, `evidence`, `asked`, `trees` ·
//! `prometheus_json`, `alertmanager_json` · `alerting` (all of it at work) · `unit_test` (rules tried on a virtual clock).

pub mod acknowledge;
pub mod active;
mod alerting;
pub mod alertmanager_json;
pub mod answer_codes;
mod asked;
pub mod builtin;
pub mod config;
pub mod content;
mod dedup;
pub mod deliver;
pub mod digest;
pub mod dingtalk;
pub mod dispatch;
pub mod evaluate;
pub mod evidence;
pub mod exchange;
pub mod feishu;
pub mod fingerprint;
pub mod flapping;
pub mod forecast;
pub mod gate;
pub mod group;
mod history;
mod inhibit;
mod journal;
pub mod known;
mod ledger;
pub mod level;
pub mod mail;
mod mail_body;
pub mod matcher;
pub mod message;
pub mod mute;
pub mod outbox;
pub mod outside;
pub mod prometheus_json;
pub mod robot;
pub mod rows;
pub mod rule;
pub mod rule_file;
pub mod rule_numbers;
pub mod secret;
pub mod sight;
mod signing;
pub mod silence;
pub mod silences;
pub mod slack;
pub mod sms;
pub mod state;
pub mod template;
pub mod told;
pub mod trees;
pub mod unit_test;
pub mod webhook;
pub mod wecom;
pub mod why;

pub use alerting::{AcknowledgeError, Alerting, AlertsFilter, Clock, StartError};
pub use config::{Config, ConfigError, Settings};
pub use level::Level;
pub use prometheus_json::RulesFilter;
pub use silence::Silence;
