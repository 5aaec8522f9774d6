//! The program `tidewatch`: config, ports, command line, and the wiring of every other room.
//!
//! This room decides nothing about data: it admits by `ingest`, keeps by `storage`, answers by `query`, alerts by `alerting`,
//! and gives all of them the clock. It is the only room that may depend on every other; nothing depends on it.
//!
//! Reading order: `config` (what an operator may set) · `serve` (a running server, in the order things open and close) · `api`
//! (the HTTP routes and their handlers) · `pages` (the web pages inside the program) · `self_metrics`, `process_stats`,
//! `allocator`, `request_counts` (numbers about the server) · `query_log` (who asked what) · `reload` (rules and receivers read again) · `fresh_evidence` (collectors asked when an alert fires) · `cli` (the command line) · `up` (everything on one host, without config) ·
//! `ask` (questions from the command line) · `storage_commands` (the store from the command line) · `rule_commands` (rule files and their tests from the command line) · `notify` (test messages) · `why` (who was told, and why).

pub mod allocator;
pub mod api;
pub mod ask;
pub mod cli;
pub mod config;
pub mod fresh_evidence;
pub mod notify;
pub mod pages;
pub mod process_stats;
pub mod query_log;
pub mod reload;
pub mod request_counts;
pub mod rule_commands;
pub mod self_metrics;
pub mod serve;
pub mod storage_commands;
pub mod up;
pub mod why;
