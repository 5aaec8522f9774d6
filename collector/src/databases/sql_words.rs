//! Words that can't be names without quotes, by server: a quoted one keeps its quotes in a normalised text, so that the
//! text means the same when it is read again. Sources: PostgreSQL manual, appendix C (reserved and those that can't be a
//! table's name); MySQL reference manual §11.3; MariaDB knowledge base "Reserved Words". Sorted.

use super::sql_tokens::Dialect;

/// Whether a name that reads like this needs its quotes. Lower case.
pub(super) fn is_reserved(dialect: Dialect, word: &str) -> bool {
    let list = match dialect {
        Dialect::Postgresql => POSTGRESQL,
        Dialect::Mysql => MYSQL,
    };
    list.binary_search(&word).is_ok()
}

#[rustfmt::skip]
const POSTGRESQL: &[&str] = &[
    "all", "analyse", "analyze", "and", "any", "array", "as", "asc", "asymmetric", "authorization", "between", "binary",
    "both", "case", "cast", "check", "collate", "collation", "column", "concurrently", "constraint", "create", "cross",
    "current_catalog", "current_date", "current_role", "current_schema", "current_time", "current_timestamp",
    "current_user", "default", "deferrable", "desc", "distinct", "do", "else", "end", "except", "exists", "extract",
    "false", "fetch", "for", "foreign", "freeze", "from", "full", "grant", "group", "having", "ilike", "in",
    "initially", "inner", "intersect", "interval", "into", "is", "isnull", "join", "lateral", "leading", "left", "like",
    "limit", "localtime", "localtimestamp", "materialized", "natural", "not", "notnull", "null", "offset", "on", "only",
    "or", "order", "outer", "overlaps", "placing", "primary", "references", "returning", "right", "select",
    "session_user", "set", "similar", "some", "symmetric", "system_user", "table", "tablesample", "then", "to",
    "trailing", "true", "uescape", "union", "unique", "update", "user", "using", "values", "variadic", "verbose",
    "when", "where", "window", "with",
];

#[rustfmt::skip]
const MYSQL: &[&str] = &[
    "accessible", "add", "all", "alter", "analyze", "and", "as", "asc", "asensitive", "before", "between", "bigint",
    "binary", "blob", "both", "by", "call", "cascade", "case", "change", "char", "character", "check", "collate",
    "column", "condition", "constraint", "continue", "convert", "create", "cross", "current_date", "current_time",
    "current_timestamp", "current_user", "cursor", "database", "databases", "dec", "decimal", "declare", "default",
    "delayed", "delete", "desc", "describe", "deterministic", "distinct", "distinctrow", "div", "double", "drop",
    "dual", "each", "else", "elseif", "enclosed", "escaped", "except", "exists", "exit", "explain", "false", "fetch",
    "float", "for", "force", "foreign", "from", "fulltext", "generated", "grant", "group", "having", "high_priority",
    "if", "ignore", "in", "index", "infile", "inner", "inout", "insensitive", "insert", "int", "integer", "intersect",
    "interval", "into", "is", "iterate", "join", "key", "keys", "kill", "lateral", "leading", "leave", "left", "like",
    "limit", "linear", "lines", "load", "localtime", "localtimestamp", "lock", "long", "longblob", "longtext", "loop",
    "low_priority", "match", "mediumblob", "mediumint", "mediumtext", "mod", "natural", "not", "null", "numeric", "of",
    "on", "optimize", "option", "or", "order", "out", "outer", "outfile", "over", "partition", "precision", "primary",
    "procedure", "purge", "range", "read", "real", "recursive", "references", "regexp", "release", "rename", "repeat",
    "replace", "require", "resignal", "restrict", "return", "returning", "revoke", "right", "rlike", "row_number",
    "schema", "schemas", "select", "sensitive", "separator", "set", "show", "signal", "smallint", "spatial", "sql",
    "ssl", "starting", "straight_join", "table", "terminated", "then", "tinyblob", "tinyint", "tinytext", "to",
    "trailing", "trigger", "true", "undo", "union", "unique", "unlock", "unsigned", "update", "usage", "use", "using",
    "values", "varbinary", "varchar", "varying", "when", "where", "while", "window", "with", "write", "xor",
    "year_month", "zerofill",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_sorted() {
        assert!(POSTGRESQL.is_sorted() && MYSQL.is_sorted());
        assert!(is_reserved(Dialect::Postgresql, "user") && !is_reserved(Dialect::Mysql, "user"));
    }
}
