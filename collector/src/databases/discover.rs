//! Finds the databases of this host for `tidewatch up`: by explicit targets, by sockets, by ports, by processes; and tries
//! what the owner's own clients would use: environment, ~/.pgpass, ~/.my.cnf, the system account.
//!
//! `TIDEWATCH_PG` and `TIDEWATCH_MYSQL` name targets outright, as URLs separated by commas
//! (`postgresql://user:password@host:port/database?host=/socket/dir`, `mysql://user@host:port?socket=/path`); an engine
//! that is named is not searched for.

use std::{
    collections::{BTreeSet, HashSet},
    path::{Path, PathBuf},
};

use super::{
    attempt::{Tried, attempt},
    identity::Identity,
};
use crate::config::{Address, DatabaseConfig, Engine, Password};

/// Most places looked at.
const PLACES_MAX: usize = 32;

/// A database that was found.
#[derive(Clone, Debug)]
pub struct Discovered {
    /// How to watch it; with an instance name of its own.
    pub config: DatabaseConfig,
    /// Who answered; `None`: it is there, but did not let us in.
    pub identity: Option<Identity>,
    /// What is missing, each with its remedy.
    pub problems: Vec<Tried>,
}

/// What the search may look at; made by [`Surroundings::of_process`], or by a test.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Environment variables.
    pub env: Vec<(String, String)>,
    /// Home folder with .pgpass and .my.cnf.
    pub home: Option<PathBuf>,
    /// Name of the system account.
    pub account: String,
}

impl Surroundings {
    /// Those of this process.
    pub fn of_process() -> Surroundings {
        let env: Vec<(String, String)> = std::env::vars().collect();
        let var = |name: &str| env.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
        let uid = rustix::process::getuid().as_raw().to_string();
        let account = std::fs::read_to_string("/etc/passwd")
            .unwrap_or_default()
            .lines()
            .find_map(|l| {
                let mut parts = l.split(':');
                let name = parts.next()?;
                (parts.nth(1)? == uid).then(|| name.to_owned())
            })
            .or_else(|| var("USER"))
            .unwrap_or_else(|| "root".into());
        Surroundings { home: var("HOME").map(PathBuf::from), account, env }
    }

    fn var(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|(n, v)| n == name && !v.is_empty()).map(|(_, v)| v.as_str())
    }
}

/// Looks around and tries what it finds. One entry for each server, however many ways lead to it.
pub async fn discover(around: &Surroundings) -> Vec<Discovered> {
    let mut found: Vec<Discovered> = Vec::new();
    for candidates in places(around) {
        let mut last: Option<Discovered> = None;
        for config in candidates {
            let (identity, tried) = attempt(&config).await;
            let problems: Vec<Tried> = tried.into_iter().filter(|t| t.outcome.is_err()).collect();
            let there = identity.is_some();
            last = Some(Discovered { config, identity, problems });
            if there {
                break;
            }
        }
        let Some(mut discovered) = last else { continue };
        let known = |d: &Discovered| match (&d.identity, &discovered.identity) {
            // a replica has its primary's id, and both may have been started together
            (Some(a), Some(b)) => a.same_run(b) && a.role() == b.role(),
            _ => d.config.address == discovered.config.address,
        };
        if found.iter().any(known) {
            continue;
        }
        if let Some(identity) = &discovered.identity {
            discovered.config.engine = identity.engine;
        }
        found.push(discovered);
    }
    // A door that stayed shut beside one that opened is most likely the same house.
    let open: HashSet<Engine> = found.iter().filter(|d| d.identity.is_some()).map(|d| d.config.engine).collect();
    found.retain(|d| d.identity.is_some() || !open.iter().any(|e| e.job() == d.config.engine.job()));
    found
}

/// Each place with the accounts to try there, the likeliest first.
fn places(around: &Surroundings) -> Vec<Vec<DatabaseConfig>> {
    let mut places = Vec::new();
    match around.var("TIDEWATCH_PG") {
        Some(urls) => places.extend(explicit(urls, Engine::Postgresql, &around.account)),
        None => places.extend(postgres_places(around)),
    }
    match around.var("TIDEWATCH_MYSQL") {
        Some(urls) => places.extend(explicit(urls, Engine::Mysql, &around.account)),
        None => places.extend(mysql_places(around)),
    }
    places.truncate(PLACES_MAX);
    places
}

fn explicit(urls: &str, engine: Engine, account: &str) -> Vec<Vec<DatabaseConfig>> {
    let parse = |url: &str| match target_of_url(url.trim(), engine, account) {
        Some(config) => Some(vec![config]),
        None => {
            tracing::warn!(
                "a target's URL is not understood; expected scheme://user:password@host:port/database?option=value"
            );
            None
        }
    };
    urls.split(',').filter(|u| !u.trim().is_empty()).filter_map(parse).collect()
}

/// Reads a target's URL.
pub fn target_of_url(url: &str, engine: Engine, account: &str) -> Option<DatabaseConfig> {
    let (_, rest) = url.split_once("://")?;
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
    let (login, place) = authority.rsplit_once('@').unwrap_or(("", authority));
    let (user, password) = login.split_once(':').map_or((login, None), |(u, p)| (u, Some(p)));
    let default_port = if engine == Engine::Postgresql { 5432 } else { 3306 };
    let (host, mut port) = match place.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') => (host, port.parse().ok()?),
        _ => (place, default_port),
    };
    let mut socket = None;
    let mut name = None;
    for (key, value) in query.split('&').filter_map(|p| p.split_once('=')) {
        let value = decode(value);
        match key {
            "host" | "socket" if value.starts_with('/') => socket = Some(PathBuf::from(value)),
            "port" => port = value.parse().ok()?,
            "instance" => name = Some(value),
            _ => {}
        }
    }
    let address = match socket {
        Some(path) => Address::Socket { path, port: if engine == Engine::Postgresql { port } else { 0 } },
        None if host.is_empty() => return None,
        None => Address::Tcp { host: host.trim_matches(['[', ']']).to_owned(), port },
    };
    let user = if user.is_empty() { account.to_owned() } else { decode(user) };
    let mut config = DatabaseConfig::new(engine, address, &user);
    config.password = password.map_or(Password::None, |p| Password::Text(decode(p)));
    config.database = (!database.is_empty()).then(|| decode(database));
    config.instance = name.map(Into::into);
    Some(config)
}

/// Percent-decoding.
fn decode(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        match hex.and_then(|h| u8::from_str_radix(h, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn postgres_places(around: &Surroundings) -> Vec<Vec<DatabaseConfig>> {
    let mut addresses: Vec<Address> = Vec::new();
    let port = around.var("PGPORT").and_then(|p| p.parse().ok()).unwrap_or(5432);
    match around.var("PGHOST") {
        Some(host) if host.starts_with('/') => addresses.push(Address::Socket { path: host.into(), port }),
        Some(host) => addresses.push(Address::Tcp { host: host.into(), port }),
        None => {}
    }
    for path in listening_sockets() {
        if let (Some(dir), Some(name)) = (path.parent(), path.file_name().and_then(|n| n.to_str()))
            && let Some(port) = name.strip_prefix(".s.PGSQL.").and_then(|p| p.parse().ok())
        {
            addresses.push(Address::Socket { path: dir.into(), port });
        }
    }
    if listens(port) {
        addresses.push(Address::Tcp { host: "127.0.0.1".into(), port });
    }
    let mut users: Vec<String> = around.var("PGUSER").map(str::to_owned).into_iter().collect();
    users.extend([around.account.clone(), "tidewatch".into(), "postgres".into()]);
    let mut seen = BTreeSet::new();
    users.retain(|u| seen.insert(u.clone()));
    let configs = |address: Address| -> Vec<DatabaseConfig> {
        let with = |user: &String| {
            let mut config = DatabaseConfig::new(Engine::Postgresql, address.clone(), user);
            config.password = match around.var("PGPASSWORD") {
                Some(_) => Password::Env("PGPASSWORD".into()),
                None => pgpass(around, &address, user).map_or(Password::None, Password::Text),
            };
            config.database = around.var("PGDATABASE").map(str::to_owned);
            config
        };
        users.iter().map(with).collect()
    };
    distinct(addresses).into_iter().map(configs).collect()
}

fn mysql_places(around: &Surroundings) -> Vec<Vec<DatabaseConfig>> {
    let mut addresses: Vec<Address> = Vec::new();
    let file = around.home.as_ref().and_then(|h| std::fs::read_to_string(h.join(".my.cnf")).ok()).unwrap_or_default();
    let option = |name: &str| my_cnf(&file, name);
    let port = around.var("MYSQL_TCP_PORT").map(str::to_owned).or_else(|| option("port"));
    let port = port.and_then(|p| p.parse().ok()).unwrap_or(3306);
    if let Some(path) = around.var("MYSQL_UNIX_PORT").map(str::to_owned).or_else(|| option("socket")) {
        addresses.push(Address::Socket { path: path.into(), port: 0 });
    }
    if let Some(host) = around.var("MYSQL_HOST").map(str::to_owned).or_else(|| option("host")) {
        addresses.push(Address::Tcp { host, port });
    }
    let is_mysql = |p: &PathBuf| {
        p.file_name().and_then(|n| n.to_str()).is_some_and(|n| {
            let n = n.to_lowercase();
            n.ends_with(".sock") && (n.contains("mysql") || n.contains("mariadb"))
        })
    };
    addresses.extend(listening_sockets().into_iter().filter(is_mysql).map(|path| Address::Socket { path, port: 0 }));
    addresses.extend(process_sockets().into_iter().map(|path| Address::Socket { path, port: 0 }));
    if listens(port) {
        addresses.push(Address::Tcp { host: "127.0.0.1".into(), port });
    }
    let user = around.var("MYSQL_USER").map(str::to_owned).or_else(|| option("user"));
    let password = match around.var("MYSQL_PWD") {
        Some(_) => Password::Env("MYSQL_PWD".into()),
        None => option("password").map_or(Password::None, Password::Text),
    };
    let mut users: Vec<String> = user.into_iter().collect();
    users.extend([around.account.clone(), "tidewatch".into()]);
    let mut seen = BTreeSet::new();
    users.retain(|u| seen.insert(u.clone()));
    let configs = |address: Address| -> Vec<DatabaseConfig> {
        let with = |user: &String| {
            let mut config = DatabaseConfig::new(Engine::Mysql, address.clone(), user);
            config.password = password.clone();
            config
        };
        users.iter().map(with).collect()
    };
    distinct(addresses).into_iter().map(configs).collect()
}

fn distinct(addresses: Vec<Address>) -> Vec<Address> {
    let mut out: Vec<Address> = Vec::new();
    for address in addresses {
        let address = match address {
            Address::Socket { path, port } => Address::Socket { path: path.canonicalize().unwrap_or(path), port },
            other => other,
        };
        if !out.contains(&address) {
            out.push(address);
        }
    }
    out
}

/// Paths of Unix sockets that someone listens on and that stand where we can see them.
fn listening_sockets() -> Vec<PathBuf> {
    let Ok(entries) = procfs::net::unix() else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.into_iter().filter_map(|e| e.path).filter(|p| p.exists()).collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Sockets that running servers were told to use on their command line.
fn process_sockets() -> Vec<PathBuf> {
    let Ok(processes) = procfs::process::all_processes() else { return Vec::new() };
    let mut paths = Vec::new();
    for process in processes.flatten() {
        let Ok(stat) = process.stat() else { continue };
        if !matches!(stat.comm.as_str(), "mariadbd" | "mysqld") {
            continue;
        }
        for argument in process.cmdline().unwrap_or_default() {
            if let Some(path) = argument.strip_prefix("--socket=").map(Path::new).filter(|p| p.exists()) {
                paths.push(path.to_owned());
            }
        }
    }
    paths
}

/// Whether someone listens on a TCP port of this host.
fn listens(port: u16) -> bool {
    let entries = procfs::net::tcp().into_iter().chain(procfs::net::tcp6()).flatten();
    entries.into_iter().any(|e| e.local_address.port() == port && e.state == procfs::net::TcpState::Listen)
}

/// The password ~/.pgpass has for a place and role (PostgreSQL manual, "The Password File").
fn pgpass(around: &Surroundings, address: &Address, user: &str) -> Option<String> {
    let text = std::fs::read_to_string(around.home.as_ref()?.join(".pgpass")).ok()?;
    let (host, port) = match address {
        Address::Tcp { host, port } => (host.clone(), *port),
        Address::Socket { port, .. } => ("localhost".into(), *port),
    };
    let fits = |field: &str, value: &str| field == "*" || field == value;
    text.lines().filter(|l| !l.starts_with('#')).find_map(|line| {
        let fields = fields(line);
        let [h, p, _, u, password] = &fields[..] else { return None };
        let here = fits(h, &host) || (host == "127.0.0.1" && h == "localhost");
        (here && fits(p, &port.to_string()) && fits(u, user)).then(|| password.clone())
    })
}

/// Cuts at colons; a backslash takes the next character as it is.
fn fields(line: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            ':' if out.len() < 5 => out.push(String::new()),
            '\\' => out.last_mut().into_iter().for_each(|f| f.extend(chars.next())),
            c => out.last_mut().into_iter().for_each(|f| f.push(c)),
        }
    }
    out
}

/// An option of the [client] group (MariaDB knowledge base, "Configuring MariaDB with Option Files").
fn my_cnf(text: &str, name: &str) -> Option<String> {
    let mut inside = false;
    let mut found = None;
    for line in text.lines().map(str::trim) {
        if let Some(group) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            inside = matches!(group, "client" | "client-mariadb" | "mysql" | "mariadb-client");
        } else if inside
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == name
        {
            let value = value.trim();
            let quoted = value.len() >= 2 && value.starts_with(['"', '\'']) && value.ends_with(['"', '\'']);
            found = Some(if quoted { value[1..value.len() - 1].to_owned() } else { value.to_owned() });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_name_targets() {
        let c = target_of_url("postgresql://u%40x:p%2Fw@db:5433/app", Engine::Postgresql, "me").unwrap();
        assert_eq!((c.user.as_str(), c.database.as_deref()), ("u@x", Some("app")));
        assert_eq!(c.address, Address::Tcp { host: "db".into(), port: 5433 });
        assert_eq!(c.password, Password::Text("p/w".into()));
        let c = target_of_url("postgresql:///?host=/run/pg&port=6000&instance=shop", Engine::Postgresql, "me").unwrap();
        assert_eq!(c.address, Address::Socket { path: "/run/pg".into(), port: 6000 });
        assert_eq!((c.user.as_str(), c.instance.as_deref()), ("me", Some("shop")));
        let c = target_of_url("mysql://root@localhost?socket=/run/m.sock", Engine::Mysql, "me").unwrap();
        assert_eq!(c.address, Address::Socket { path: "/run/m.sock".into(), port: 0 });
        let c = target_of_url("mysql://root@[::1]:3307/", Engine::Mysql, "me").unwrap();
        assert_eq!(c.address, Address::Tcp { host: "::1".into(), port: 3307 });
        assert!(target_of_url("nothing", Engine::Mysql, "me").is_none());
        assert!(target_of_url("mysql://u@h:x/", Engine::Mysql, "me").is_none());
    }

    #[test]
    fn password_files_are_read_as_the_clients_do() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(".pgpass"), "# c\nother:*:*:*:no\nlocalhost:5432:*:a:s\\:x\n*:*:*:b:any\n")
            .unwrap();
        let around = Surroundings { home: Some(dir.path().into()), ..Surroundings::default() };
        let address = Address::Socket { path: "/run".into(), port: 5432 };
        assert_eq!(pgpass(&around, &address, "a").as_deref(), Some("s:x"));
        assert_eq!(pgpass(&around, &address, "b").as_deref(), Some("any"));
        assert_eq!(pgpass(&around, &address, "c"), None);
        let text = "[mysqld]\nuser=mysql\n[client]\nuser = me\npassword=\"a b\"\n";
        assert_eq!(my_cnf(text, "user").as_deref(), Some("me"));
        assert_eq!(my_cnf(text, "password").as_deref(), Some("a b"));
        assert_eq!(my_cnf(text, "port"), None);
    }
}
