//! From bytes to raw records: where each begins and ends, continuation lines included.

use std::ops::Range;

use super::{mysql_error, postgres_stderr::Prefix, slow_log};
use crate::config::{Engine, LogConfig, LogFormat};

/// A record that has not ended after this many bytes is cut there, at a line's end if there is one.
pub const RECORD_BYTES_MAX: usize = 256 << 10;

/// How one file's records are told apart.
#[derive(Clone, Debug)]
pub enum Stitch {
    /// PostgreSQL's stderr.
    Stderr(Prefix),
    /// PostgreSQL's csvlog: a record ends where a line ends outside quotes.
    Csv,
    /// PostgreSQL's jsonlog: a line is a record.
    Json,
    /// The error log of MySQL or MariaDB.
    MysqlError,
    /// That of MySQL in JSON.
    MysqlJson,
    /// Their slow log.
    SlowLog,
}

impl Stitch {
    /// How the records of a file are told apart; `file` is its name, which tells in doubt.
    pub fn of(config: &LogConfig, file: &str) -> Stitch {
        match &config.format {
            LogFormat::Csvlog => Stitch::Csv,
            LogFormat::Jsonlog => Stitch::Json,
            LogFormat::ErrorLog | LogFormat::Auto if config.engine != Engine::Postgresql && file.ends_with(".json") => {
                Stitch::MysqlJson
            }
            LogFormat::ErrorLog => Stitch::MysqlError,
            LogFormat::SlowLog => Stitch::SlowLog,
            LogFormat::Auto | LogFormat::Stderr(None) if config.engine != Engine::Postgresql => Stitch::MysqlError,
            // with logging_collector one prefix setting comes with files of all three kinds
            LogFormat::Auto | LogFormat::Stderr(_) if file.ends_with(".csv") => Stitch::Csv,
            LogFormat::Auto | LogFormat::Stderr(_) if file.ends_with(".json") => Stitch::Json,
            LogFormat::Stderr(Some(prefix)) => Stitch::Stderr(Prefix::known(prefix)),
            LogFormat::Auto | LogFormat::Stderr(None) => Stitch::Stderr(Prefix::unknown()),
        }
    }

    /// The records in `bytes`, one after another without gaps, from the first byte on. What may still go on is left out,
    /// unless `is_all`: then a last record that ends with its line is taken too, and with `is_final` whatever there is.
    pub fn records(&self, bytes: &[u8], is_all: bool, is_final: bool) -> Vec<Range<usize>> {
        let mut records = Vec::new();
        let mut start = 0;
        let mut at = 0;
        let mut in_quotes = false;
        let mut in_deadlock = false;
        let mut before: Option<&[u8]> = None;
        while let Some(length) = bytes[at..].iter().position(|b| *b == b'\n') {
            let (line, next) = (&bytes[at..at + length], at + length + 1);
            match self {
                Stitch::Json => {
                    records.push(start..next);
                    start = next;
                }
                Stitch::Csv => {
                    in_quotes ^= line.iter().filter(|b| **b == b'"').count() % 2 == 1;
                    if !in_quotes || next - start > RECORD_BYTES_MAX {
                        records.push(start..next);
                        (start, in_quotes) = (next, false);
                    }
                }
                Stitch::Stderr(_) | Stitch::MysqlError | Stitch::MysqlJson | Stitch::SlowLog => {
                    let goes_on = in_deadlock && mysql_error::continues_deadlock(&head(line));
                    let begins = !goes_on && self.begins(line, before);
                    if at > start && (begins || next - start > RECORD_BYTES_MAX) {
                        records.push(start..at);
                        start = at;
                    }
                    if begins && matches!(self, Stitch::MysqlError | Stitch::MysqlJson) {
                        in_deadlock = mysql_error::begins_deadlock(&head(line));
                    }
                    in_deadlock &= !mysql_error::ends_deadlock(&head(line));
                }
            }
            (at, before) = (next, Some(line));
        }
        let complete = at > start && is_all && !in_quotes;
        if complete {
            records.push(start..at);
            start = at;
        }
        if is_final && start < bytes.len() || bytes.len() - start > 2 * RECORD_BYTES_MAX {
            records.push(start..bytes.len());
        }
        records
    }

    fn begins(&self, line: &[u8], before: Option<&[u8]>) -> bool {
        let line = head(line);
        match self {
            Stitch::Stderr(prefix) => prefix.begins_record(&line),
            Stitch::MysqlError => mysql_error::begins_record(&line),
            Stitch::SlowLog => slow_log::begins_record(&line, before.map(head).as_deref()),
            Stitch::Csv | Stitch::Json | Stitch::MysqlJson => true,
        }
    }
}

/// As much of a line as tells what it is.
fn head(line: &[u8]) -> String {
    String::from_utf8_lossy(&line[..line.len().min(1024)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts<'a>(stitch: &Stitch, text: &'a str, is_all: bool, is_final: bool) -> Vec<&'a str> {
        stitch.records(text.as_bytes(), is_all, is_final).into_iter().map(|r| &text[r]).collect()
    }

    #[test]
    fn a_record_ends_where_the_next_begins() {
        let stderr = Stitch::Stderr(Prefix::known("%p "));
        let text = "1 LOG:  a\n\tb\n1 DETAIL:  c\n2 LOG:  d\n3 LOG:  half";
        assert_eq!(texts(&stderr, text, false, false), ["1 LOG:  a\n\tb\n1 DETAIL:  c\n"]);
        assert_eq!(texts(&stderr, text, true, false), ["1 LOG:  a\n\tb\n1 DETAIL:  c\n", "2 LOG:  d\n"]);
        assert_eq!(texts(&stderr, text, true, true).concat(), text);
    }

    #[test]
    fn quotes_hold_a_csv_record_together() {
        assert_eq!(texts(&Stitch::Csv, "a,\"x\ny\"\nb,\"un", false, false), ["a,\"x\ny\"\n"]);
        assert_eq!(texts(&Stitch::Csv, "a,\"x\n", true, false), [""; 0]);
    }

    #[test]
    fn a_slow_log_record_goes_to_the_next_ones_head() {
        let head = "# User@Host: a[a] @ h []\n# Query_time: 1\n";
        let text = format!(
            "# Time: 261125 12:00:00\n{head}select 1;\n{head}select\n2;\n# Time: 261125 12:00:01\n{head}select 3;\n"
        );
        let records = texts(&Stitch::SlowLog, &text, true, false);
        assert_eq!(records.len(), 3, "{records:?}");
        assert!(records[1].ends_with("select\n2;\n") && records.concat() == text);
    }

    #[test]
    fn one_json_line_one_record() {
        assert_eq!(texts(&Stitch::Json, "{}\n{\"a\":1}\n{", false, false), ["{}\n", "{\"a\":1}\n"]);
    }

    #[test]
    fn a_deadlock_reported_in_several_records_is_one() {
        let at = "2026-11-25 12:00:00 5 [Note] InnoDB:";
        let text = format!(
            "{at} Transactions deadlock detected, dumping detailed information.\n{at} \n*** (1) TRANSACTION:\nTRANSACTION 5\n\
             {at} *** WAITING FOR THIS LOCK TO BE GRANTED:\nRECORD LOCKS\n{at} *** WE ROLL BACK TRANSACTION (1)\n{at} next\n"
        );
        let records = texts(&Stitch::MysqlError, &text, true, false);
        assert_eq!(records.len(), 2, "{records:?}");
        let json = |msg: &str| format!("{{ \"prio\" : 3, \"msg\" : \"{msg}\" }}\n");
        let text = [
            "Transactions deadlock detected, dumping",
            "*** (1) TRANSACTION:",
            "*** WE ROLL BACK TRANSACTION (1)",
            "x",
        ];
        let text = text.map(json).concat();
        assert_eq!(texts(&Stitch::MysqlJson, &text, true, false).len(), 2);
    }

    #[test]
    fn a_deadlock_report_is_one_record() {
        let text = "2026-11-25 12:00:00 5 [Note] InnoDB: Transactions deadlock\n*** (1) TRANSACTION:\nTRANSACTION 5\n\
                    2026-11-25 12:00:01 0 [Note] next\n";
        assert_eq!(texts(&Stitch::MysqlError, text, false, false).len(), 1);
        assert_eq!(texts(&Stitch::MysqlError, text, true, false).len(), 2);
    }
}
