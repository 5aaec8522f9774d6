//! The rule pack on real states: servers, hosts and programs are brought into what each rule is about, and out of it again.
//!
//! `rules` takes the shipped rule files and shortens what only waits. `board` keeps when each rule's alert came and went.
//! `stage` starts the servers, `tidewatch` and the collectors; `host`, `postgres`, `mariadb`, `writes`, `own`
//! and `ahead` (what grows) make the states.
//! The program is `tests/src/bin/rule_states.rs`; its last table is kept in `docs/rule-pack.md`.

pub mod ahead;
pub mod board;
pub mod host;
pub mod mariadb;
pub mod own;
pub mod postgres;
pub mod rules;
pub mod stage;
pub mod writes;
