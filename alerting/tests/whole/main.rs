//! The alerting room whole: real store, real HTTP and SMTP peers, real processes killed, Debian's promtool as the yardstick.
//! One program, because linking is what takes long.

#![allow(clippy::unwrap_used)]

mod evidence;
mod forecast;
mod mail;
mod outbox_kill;
mod pipeline;
mod promtool;
mod provider;
mod road;
mod robots;
mod rule_pack;
mod rule_tests;
mod rules;
mod sms;
mod stage;
mod trees;
mod webhook_shape;
