//! `tidewatch-collector check`: tries everything a target is configured for, once, and says what is missing.

use super::{
    connection::{Connection, OwnStatements},
    identity::{Identity, grant_for},
    mysql_statements::MysqlStatements,
    postgres_statements::PostgresStatements,
    template::Template,
    trouble::{Class, Trouble},
};
use crate::config::{DatabaseConfig, Engine};

/// One thing that was tried on a target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// Connection, right, statements, or a group of metrics.
    pub what: String,
    /// What came of it; the error says what is wrong.
    pub outcome: Result<String, String>,
    /// What to do about it.
    pub remedy: Option<String>,
}

/// Tries a target. The identity is there if it could be connected to.
pub async fn attempt(config: &DatabaseConfig) -> (Option<Identity>, Vec<Tried>) {
    let mut tried = Vec::new();
    let own = OwnStatements::default();
    let met = async {
        let mut connection = Connection::open(config, None, &own).await?;
        let identity = Identity::read(&mut connection, config).await?;
        Ok::<_, Trouble>((connection, identity))
    };
    let (mut connection, identity) = match met.await {
        Ok(met) => met,
        Err(trouble) => {
            let remedy = (trouble.class == Class::AuthFailed).then(|| {
                format!("tidewatch-collector grants --engine {} prints how to make an account", config.engine)
            });
            tried.push(Tried { what: "connection".into(), outcome: Err(trouble.to_string()), remedy });
            return (None, tried);
        }
    };
    let said = format!("{} {} ({})", identity.engine, identity.version_text, identity.role_word());
    tried.push(Tried { what: "connection".into(), outcome: Ok(said), remedy: None });
    for (right, grant) in &identity.missing_rights {
        let text = format!("{} lacks {right}: sessions and statements of others are hidden", config.user);
        tried.push(Tried { what: right.clone(), outcome: Err(text), remedy: Some(grant.clone()) });
    }
    let statements = match identity.engine {
        Engine::Postgresql => PostgresStatements::default().read(&mut connection, 0, &own).await.map(drop),
        _ => MysqlStatements::default().read(&mut connection, 0, &own).await.map(drop),
    };
    let remedy = match &statements {
        Err(t) if t.class == Class::MissingExtension => Some(
            "shared_preload_libraries = 'pg_stat_statements', restart, then CREATE EXTENSION pg_stat_statements;"
                .into(),
        ),
        Err(t) if t.class == Class::InstrumentationOff => Some("performance_schema = ON, restart".into()),
        _ => None,
    };
    let outcome = statements.map(|()| "readable".into()).map_err(|t| t.to_string());
    tried.push(Tried { what: "statement statistics".into(), outcome, remedy });
    match Template::shipped(identity.engine) {
        Ok(template) => {
            let mut works = 0;
            for group in template.groups_for(identity.version, identity.role) {
                let mut result = connection.read(&group.sql).await;
                if let (Err(t), Some(other)) = (&result, &group.sql_else)
                    && t.class == Class::MissingObject
                {
                    result = connection.read(other).await;
                }
                match result {
                    Ok(_) => works += 1,
                    Err(trouble) => tried.push(Tried {
                        what: format!("metrics {}", group.name),
                        outcome: Err(trouble.to_string()),
                        remedy: group.grant.as_ref().map(|g| grant_for(identity.engine, g, &config.user) + ";"),
                    }),
                }
            }
            tried.push(Tried { what: "metrics".into(), outcome: Ok(format!("{works} groups readable")), remedy: None });
        }
        Err(error) => tried.push(Tried { what: "template".into(), outcome: Err(error.to_string()), remedy: None }),
    }
    connection.close().await;
    (Some(identity), tried)
}
