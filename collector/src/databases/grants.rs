//! `tidewatch-collector grants`: the least-privilege script of each engine.

use super::identity::grant_for;
use crate::config::Engine;

/// The script that makes the collector's account.
pub fn grants(engine: Engine, user: &str) -> String {
    let script = match engine {
        Engine::Postgresql => include_str!("../../grants/postgresql.sql"),
        Engine::Mariadb => include_str!("../../grants/mariadb.sql"),
        Engine::Mysql => include_str!("../../grants/mysql.sql"),
    };
    grant_for(engine, script, user)
}
