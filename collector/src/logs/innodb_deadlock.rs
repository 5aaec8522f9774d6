//! InnoDB's report of a deadlock taken apart: who was in it, with which statement, holding and waiting for which locks, and
//! who was rolled back.
//!
//! MySQL 5.5 to 8.4 number the sections of locks, MariaDB tells those of the other transaction as `CONFLICTING WITH`: a
//! lock belongs to the transaction whose id it bears. Statements are masked and bear their fingerprint.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::mask::{Mask, ends_statement, names_thread};
use crate::databases::fingerprint;

/// Most transactions taken from one report.
const PARTIES_MAX: usize = 8;
/// Most locks taken of one transaction.
const LOCKS_MAX: usize = 16;
/// Longest statement kept, bytes.
const STATEMENT_BYTES_MAX: usize = 2 << 10;

fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).unwrap_or_else(|e| panic!("{pattern}: {e}")) // written here
}

static PARTY: LazyLock<Regex> = LazyLock::new(|| regex(r"^\*\*\* \((\d+)\) TRANSACTION:"));
static TRANSACTION: LazyLock<Regex> =
    LazyLock::new(|| regex(r"^TRANSACTION (\w+), ACTIVE (?:\(PREPARED\) )?(\d+) sec"));
static THREAD: LazyLock<Regex> = LazyLock::new(|| regex(r"thread id (\d+), .*query id \d+ ?(.*)$"));
static LOCK: LazyLock<Regex> = LazyLock::new(|| {
    regex(r"^(RECORD LOCKS|TABLE LOCK) (?:.* index (\S+) of )?table (\S+) trx id (\w+) (lock.mode .*?)( waiting)?\s*$")
});
static VICTIM: LazyLock<Regex> = LazyLock::new(|| regex(r"^\*\*\* WE ROLL BACK TRANSACTION \((\d+)\)"));

/// One transaction of a report. Its statement still holds its literals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Party {
    /// Its number in the report, from 1.
    pub number: u32,
    /// InnoDB's id of it.
    pub id: String,
    /// How long it was open, seconds.
    pub active_s: Option<u64>,
    /// Connection id.
    pub thread: Option<i64>,
    /// Host, account and state, as the server writes them.
    pub session: String,
    /// What it ran last.
    pub statement: String,
    /// Locks it had.
    pub holds: Vec<Lock>,
    /// Locks it waited for.
    pub waits_for: Vec<Lock>,
}

/// A lock as a report names it.
#[derive(Clone, Debug, PartialEq)]
pub struct Lock {
    /// Schema and table.
    pub table: String,
    /// Of a record lock.
    pub index: Option<String>,
    /// `X locks rec but not gap`, `IX` ….
    pub mode: String,
}

/// A report.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Deadlock {
    /// In the order of their numbers.
    pub parties: Vec<Party>,
    /// Number of the one that was rolled back.
    pub victim: Option<u32>,
}

/// Takes the message of a record apart; `None`: it reports no deadlock.
pub fn parse(message: &str) -> Option<Deadlock> {
    let mut deadlock = Deadlock::default();
    let mut in_statement = false;
    let mut locks: Vec<Found> = Vec::new();
    for line in message.lines() {
        let line = line.strip_prefix("InnoDB: ").unwrap_or(line);
        if let Some(c) = PARTY.captures(line) {
            if deadlock.parties.len() == PARTIES_MAX {
                break;
            }
            let number = c[1].parse().unwrap_or(0);
            deadlock.parties.push(Party { number, ..Party::default() });
            in_statement = false;
            continue;
        }
        if let Some(c) = VICTIM.captures(line) {
            deadlock.victim = c[1].parse().ok();
            break;
        }
        let Some(party) = deadlock.parties.last_mut() else { continue };
        if let Some(c) = TRANSACTION.captures(line) {
            party.id = c[1].into();
            party.active_s = c[2].parse().ok();
        } else if names_thread(line) {
            if let Some(c) = THREAD.captures(line) {
                party.thread = c[1].parse().ok();
                party.session = c[2].trim().into();
            }
            in_statement = true;
        } else if ends_statement(line) {
            in_statement = false;
            if let Some(c) = LOCK.captures(line) {
                let lock = Lock {
                    table: c[3].replace('`', ""),
                    index: c.get(2).map(|m| m.as_str().replace('`', "")),
                    mode: c[5].trim_start_matches("lock_mode ").trim_start_matches("lock mode ").into(),
                };
                if locks.len() < LOCKS_MAX * PARTIES_MAX {
                    locks.push(Found {
                        transaction: c[4].into(),
                        told_of: party.number,
                        lock,
                        waits: c.get(6).is_some(),
                    });
                }
            }
        } else if in_statement && party.statement.len() < STATEMENT_BYTES_MAX {
            if !party.statement.is_empty() {
                party.statement.push('\n');
            }
            party.statement.push_str(line);
        }
    }
    locks.into_iter().for_each(|found| add(&mut deadlock.parties, found));
    (!deadlock.parties.is_empty()).then_some(deadlock)
}

/// A lock with the transaction it bears and the one it is told of.
struct Found {
    transaction: String,
    told_of: u32,
    lock: Lock,
    waits: bool,
}

/// Gives a lock to the transaction whose id it bears, wherever that one is told of, or else to the one it was told with.
fn add(parties: &mut [Party], found: Found) {
    let index = parties
        .iter()
        .position(|p| p.id == found.transaction)
        .or_else(|| parties.iter().position(|p| p.number == found.told_of));
    let Some(party) = index.and_then(|i| parties.get_mut(i)) else { return };
    let locks = if found.waits { &mut party.waits_for } else { &mut party.holds };
    if locks.len() < LOCKS_MAX && !locks.contains(&found.lock) {
        locks.push(found.lock);
    }
}

impl Deadlock {
    /// For `attributes`: transactions with masked statements and their fingerprints, and who was rolled back.
    pub fn to_json(&self, mask: &Mask) -> Vec<(&'static str, Value)> {
        let lock = |lock: &Lock| json!({"table": lock.table, "index": lock.index, "mode": lock.mode});
        let locks = |locks: &[Lock]| locks.iter().map(lock).collect::<Vec<_>>();
        let party = |party: &Party| {
            let statement = Some(party.statement.trim()).filter(|s| !s.is_empty());
            json!({
                "number": party.number,
                "id": party.id,
                "active_s": party.active_s,
                "thread": party.thread,
                "session": party.session,
                "statement": statement.map(|s| mask.sql(s)),
                "fingerprint": statement.map(|s| fingerprint(mask.dialect(), s).id.to_string()),
                "holds": locks(&party.holds),
                "waits_for": locks(&party.waits_for),
            })
        };
        let transactions = self.parties.iter().map(party).collect::<Vec<_>>();
        vec![("transactions", json!(transactions)), ("victim", json!(self.victim))]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::{Engine, Unmasked};

    const MYSQL: &str = "Transactions deadlock detected, dumping detailed information.\n\
*** (1) TRANSACTION:\n\
TRANSACTION 1801, ACTIVE 12 sec starting index read\n\
mysql tables in use 1, locked 1\n\
LOCK WAIT 3 lock struct(s), heap size 1128, 2 row lock(s)\n\
MySQL thread id 8, OS thread handle 1, query id 21 10.0.0.7 app updating\n\
update stock set n = 5\nwhere id = 'hush'\n\
*** (1) HOLDS THE LOCK(S):\n\
RECORD LOCKS space id 2 page no 4 n bits 72 index PRIMARY of table `shop`.`stock` trx id 1801 lock_mode X locks rec but not gap\n\
Record lock, heap no 2 PHYSICAL RECORD: n_fields 4; compact format; info bits 0\n 0: len 4; hex 80000001; asc ;;\n\
*** (1) WAITING FOR THIS LOCK TO BE GRANTED:\n\
RECORD LOCKS space id 2 page no 4 n bits 72 index by_name of table `shop`.`stock` trx id 1801 lock_mode X waiting\n\
*** (2) TRANSACTION:\n\
TRANSACTION 1802, ACTIVE 9 sec inserting\n\
MySQL thread id 9, OS thread handle 2, query id 22 localhost root update\n\
insert into stock values (7)\n\
*** (2) HOLDS THE LOCK(S):\n\
TABLE LOCK table `shop`.`stock` trx id 1802 lock mode IX\n\
*** (2) WAITING FOR THIS LOCK TO BE GRANTED:\n\
RECORD LOCKS space id 2 page no 4 n bits 72 index PRIMARY of table `shop`.`stock` trx id 1802 lock_mode X locks gap before rec insert intention waiting\n\
*** WE ROLL BACK TRANSACTION (2)\n";

    #[test]
    fn both_transactions_with_their_locks() {
        let deadlock = parse(MYSQL).unwrap();
        let [one, two] = &deadlock.parties[..] else { panic!("{deadlock:?}") };
        assert_eq!((deadlock.victim, one.id.as_str(), one.active_s, one.thread), (Some(2), "1801", Some(12), Some(8)));
        assert_eq!(
            (one.session.as_str(), one.statement.as_str()),
            ("10.0.0.7 app updating", "update stock set n = 5\nwhere id = 'hush'")
        );
        let lock = |index: Option<&str>, mode: &str| Lock {
            table: "shop.stock".into(),
            index: index.map(str::to_owned),
            mode: mode.into(),
        };
        assert_eq!(one.holds, [lock(Some("PRIMARY"), "X locks rec but not gap")]);
        assert_eq!(one.waits_for, [lock(Some("by_name"), "X")]);
        assert_eq!(two.holds, [lock(None, "IX")]);
        assert_eq!(two.waits_for, [lock(Some("PRIMARY"), "X locks gap before rec insert intention")]);
        let mask = Mask { engine: Engine::Mysql, unmasked: Unmasked::default() };
        let text = json!(deadlock.to_json(&mask)).to_string();
        assert!(!text.contains("hush") && text.contains("update stock set n = ?"), "{text}");
    }

    #[test]
    fn a_conflicting_lock_is_its_holders() {
        let mariadb = MYSQL
            .replace(
                "*** (1) HOLDS THE LOCK(S):\nRECORD LOCKS",
                "*** WAITING FOR THIS LOCK TO BE GRANTED:\nRECORD LOCKS",
            )
            .replace("*** (1) WAITING FOR THIS LOCK TO BE GRANTED:", "*** CONFLICTING WITH:")
            .replace("MySQL thread", "MariaDB thread")
            // told of the first, held by the second
            .replace("trx id 1801 lock_mode X waiting", "trx id 1802 lock_mode S");
        let deadlock = parse(&mariadb).unwrap();
        assert_eq!(deadlock.parties.len(), 2);
        assert!(deadlock.parties[1].holds.iter().any(|l| l.index.as_deref() == Some("by_name") && l.mode == "S"));
        assert_eq!(deadlock.parties[1].thread, Some(9));
        assert_eq!(parse("Aborting"), None);
    }
}
