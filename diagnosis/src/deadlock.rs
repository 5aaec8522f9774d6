//! The statements of a deadlock, from the log record that tells of it.
//!
//! PostgreSQL's detail lists `Process 71: UPDATE …` for every session of the cycle; InnoDB prints each transaction with its
//! statement below `MariaDB thread id 71, …` (`MySQL thread id …`).

/// Most statements taken from one record.
const STATEMENTS_MAX: usize = 8;

/// Session and statement of each party, in the record's order.
pub(crate) fn parties(body: &str) -> Vec<(i64, String)> {
    let mut parties: Vec<(i64, String)> = Vec::new();
    let mut lines = body.lines().map(str::trim).peekable();
    while let Some(line) = lines.next() {
        let party = postgres(line).or_else(|| {
            let pid = innodb_thread(line)?;
            let statement =
                lines.peek().filter(|l| !l.is_empty() && !l.starts_with("***") && !l.starts_with("RECORD"))?;
            Some((pid, (*statement).to_string()))
        });
        let Some((pid, statement)) = party else { continue };
        if parties.len() < STATEMENTS_MAX && !parties.iter().any(|(p, _)| *p == pid) {
            parties.push((pid, statement));
        }
    }
    parties
}

fn postgres(line: &str) -> Option<(i64, String)> {
    let rest = &line[line.find("Process ")? + "Process ".len()..];
    let (pid, statement) = rest.split_once(": ")?;
    Some((pid.parse().ok()?, statement.trim().to_string()))
}

fn innodb_thread(line: &str) -> Option<i64> {
    let rest = &line[line.find("thread id ")? + "thread id ".len()..];
    rest.split([',', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_servers_name_their_statements() {
        // shape of PostgreSQL 15's record, masked
        let postgres = "deadlock detected\nDETAIL:  Process 71 waits for ShareLock on transaction 812; blocked by process 72.\n\
             Process 72 waits for ShareLock on transaction 811; blocked by process 71.\n\
             Process 71: UPDATE stock SET quantity = ? WHERE article_id = ?\nProcess 72: DELETE FROM stock\n\
             HINT:  See server log for query details.";
        // shape of MariaDB 10.11's record
        let innodb = "*** (1) TRANSACTION:\nTRANSACTION 44, ACTIVE 1 sec starting index read\nMariaDB thread id 9, OS thread handle 1, query id 7 localhost root Updating\n\
             UPDATE stock SET quantity = ?\n*** WAITING FOR THIS LOCK TO BE GRANTED:\n*** (2) TRANSACTION:\nMariaDB thread id 10, query id 8 localhost root\nDELETE FROM stock";
        for (body, found) in [
            (postgres, "71 UPDATE stock SET quantity = ? WHERE article_id = ?; 72 DELETE FROM stock"),
            (innodb, "9 UPDATE stock SET quantity = ?; 10 DELETE FROM stock"),
            ("deadlock detected", ""),
        ] {
            let said: Vec<String> = parties(body).iter().map(|(pid, text)| format!("{pid} {text}")).collect();
            assert_eq!(said.join("; "), found);
        }
    }
}
