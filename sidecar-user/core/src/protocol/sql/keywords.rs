//! Words that begin statements, and those that follow them.

/// A word that begins a statement.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) word: &'static str,
    pub(super) then: Then,
}

/// What follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    Select,
    Update,
    Delete,
    Merge,
    /// One name, after any of these words; what a query may follow.
    Into(&'static [&'static str]),
    /// Names, after any of these words.
    Names(&'static [&'static str]),
    /// A name that is no table's.
    Called,
    /// Nothing that is looked at but a query.
    Query,
    /// Nothing that is looked at.
    Ignored,
    /// The statement that it is about.
    Explain,
    /// Common table expressions; no operation itself.
    With,
    /// The kind of thing that is created, altered or dropped.
    Kind,
    /// A file's content into a table.
    Load,
    /// One of these words may be part of the operation: the first of a pair leads to the second.
    Second(&'static [&'static str]),
}

const fn row(word: &'static str, then: Then) -> Row {
    Row { word, then }
}

const INSERT: Then = Then::Into(&["INTO", "LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "IGNORE"]);
const NONE: &[&str] = &[];

/// By the words, so that they can be looked up.
const ROWS: &[Row] = &[
    row("ABORT", Then::Ignored),
    row("ALTER", Then::Kind),
    row("ANALYZE", Then::Names(&["VERBOSE", "TABLE", "LOCAL", "NO_WRITE_TO_BINLOG", "FORMAT", "JSON"])),
    row("BEGIN", Then::Ignored),
    row("BINLOG", Then::Ignored),
    row("CALL", Then::Called),
    row("CHECK", Then::Names(&["TABLE"])),
    row("CHECKPOINT", Then::Ignored),
    row("CHECKSUM", Then::Names(&["TABLE"])),
    row("CLOSE", Then::Ignored),
    row("CLUSTER", Then::Into(&["VERBOSE"])),
    row("COMMENT", Then::Ignored),
    row("COMMIT", Then::Second(&["PREPARED"])),
    row("COPY", Then::Into(NONE)),
    row("CREATE", Then::Kind),
    row("DEALLOCATE", Then::Ignored),
    row("DECLARE", Then::Query),
    row("DELETE", Then::Delete),
    row("DESC", Then::Explain),
    row("DESCRIBE", Then::Explain),
    row("DISCARD", Then::Ignored),
    row("DO", Then::Ignored),
    row("DROP", Then::Kind),
    row("END", Then::Ignored),
    row("EXECUTE", Then::Ignored),
    row("EXPLAIN", Then::Explain),
    row("FETCH", Then::Ignored),
    row("FLUSH", Then::Ignored),
    row("GET", Then::Ignored),
    row("GRANT", Then::Ignored),
    row("HANDLER", Then::Ignored),
    row("HELP", Then::Ignored),
    row("IMPORT", Then::Ignored),
    row("INSERT", INSERT),
    row("INSTALL", Then::Ignored),
    row("KILL", Then::Ignored),
    row("LISTEN", Then::Ignored),
    row("LOAD", Then::Load),
    row("LOCK", Then::Names(&["TABLE", "TABLES", "ONLY"])),
    row("MERGE", Then::Merge),
    row("MOVE", Then::Ignored),
    row("NOTIFY", Then::Ignored),
    row("OPTIMIZE", Then::Names(&["TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"])),
    row("PREPARE", Then::Second(&["TRANSACTION"])),
    row("PURGE", Then::Ignored),
    row("REASSIGN", Then::Ignored),
    row("REFRESH", Then::Names(&["MATERIALIZED", "VIEW", "CONCURRENTLY"])),
    row("REINDEX", Then::Ignored),
    row("RELEASE", Then::Ignored),
    row("RENAME", Then::Ignored),
    row("REPAIR", Then::Names(&["TABLE", "LOCAL", "NO_WRITE_TO_BINLOG"])),
    row("REPLACE", INSERT),
    row("RESET", Then::Ignored),
    row("RESIGNAL", Then::Ignored),
    row("REVOKE", Then::Ignored),
    row("ROLLBACK", Then::Second(&["PREPARED", "TO"])),
    row("SAVEPOINT", Then::Ignored),
    row("SECURITY", Then::Ignored),
    row("SELECT", Then::Select),
    row("SET", Then::Query),
    row("SHOW", Then::Ignored),
    row("SHUTDOWN", Then::Ignored),
    row("SIGNAL", Then::Ignored),
    row("START", Then::Second(&["TRANSACTION"])),
    row("TABLE", Then::Names(&["ONLY"])),
    row("TRUNCATE", Then::Names(&["TABLE", "ONLY"])),
    row("UNINSTALL", Then::Ignored),
    row("UNLISTEN", Then::Ignored),
    row("UNLOCK", Then::Ignored),
    row("UPDATE", Then::Update),
    row("USE", Then::Called),
    row("VACUUM", Then::Names(&["FULL", "FREEZE", "VERBOSE", "ANALYZE"])),
    row("VALUES", Then::Query),
    row("WITH", Then::With),
    row("XA", Then::Ignored),
];

/// The row of a word in upper case.
pub(super) fn row_of(word: &str) -> Option<&'static Row> {
    ROWS.binary_search_by(|row| row.word.cmp(word)).ok().map(|at| &ROWS[at])
}

impl Row {
    /// It may follow EXPLAIN.
    pub(super) fn is_explained(&self) -> bool {
        self.is_query() || matches!(self.word, "REPLACE" | "EXECUTE" | "DECLARE" | "CREATE" | "REFRESH")
    }

    /// It may be what a common table expression is, or is for.
    pub(super) fn is_query(&self) -> bool {
        let is_dml = matches!(self.word, "INSERT" | "UPDATE" | "DELETE" | "MERGE" | "VALUES" | "TABLE");
        is_dml || matches!(self.then, Then::Select | Then::With)
    }
}

/// What is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Its name is shown, and is a collection.
    Table,
    /// Its name is shown.
    Called,
    /// Its name is not shown: it is somebody's, or of no use.
    Hidden,
    /// Its name is shown; what follows is a program, to the end of the text in MySQL.
    Program,
}

/// The words that say what is created.
const KINDS: &[(&str, Kind)] = &[
    ("TABLE", Kind::Table),
    ("VIEW", Kind::Table),
    ("DATABASE", Kind::Called),
    ("DOMAIN", Kind::Called),
    ("EXTENSION", Kind::Called),
    ("INDEX", Kind::Called),
    ("SCHEMA", Kind::Called),
    ("SEQUENCE", Kind::Called),
    ("TYPE", Kind::Called),
    ("EVENT", Kind::Program),
    ("FUNCTION", Kind::Program),
    ("PACKAGE", Kind::Program),
    ("PROCEDURE", Kind::Program),
    ("TRIGGER", Kind::Program),
    ("AGGREGATE", Kind::Hidden),
    ("CAST", Kind::Hidden),
    ("COLLATION", Kind::Hidden),
    ("CONVERSION", Kind::Hidden),
    ("GROUP", Kind::Hidden),
    ("OPERATOR", Kind::Hidden),
    ("POLICY", Kind::Hidden),
    ("PUBLICATION", Kind::Hidden),
    ("ROLE", Kind::Hidden),
    ("RULE", Kind::Hidden),
    ("SERVER", Kind::Hidden),
    ("STATISTICS", Kind::Hidden),
    ("SUBSCRIPTION", Kind::Hidden),
    ("TABLESPACE", Kind::Hidden),
    ("USER", Kind::Hidden),
];

pub(super) fn kind_of(word: &str) -> Option<(&'static str, Kind)> {
    KINDS.iter().find(|(kind, _)| *kind == word).copied()
}

/// Words between CREATE, ALTER or DROP and the kind.
pub(super) fn is_modifier(word: &str) -> bool {
    matches!(
        word,
        "OR" | "REPLACE"
            | "GLOBAL"
            | "LOCAL"
            | "TEMP"
            | "TEMPORARY"
            | "UNLOGGED"
            | "UNIQUE"
            | "FULLTEXT"
            | "SPATIAL"
            | "MATERIALIZED"
            | "FOREIGN"
            | "RECURSIVE"
            | "CONSTRAINT"
            | "ONLINE"
            | "OFFLINE"
            | "IGNORE"
            | "SQL"
            | "SECURITY"
            | "INVOKER"
            | "DEFINER"
            | "ALGORITHM"
            | "UNDEFINED"
            | "MERGE"
            | "TEMPTABLE"
    )
}

/// Words between a kind and the name.
pub(super) const BEFORE_NAME: &[&str] = &["IF", "NOT", "EXISTS", "CONCURRENTLY", "ONLY"];

/// Words that a table's name in a list may come after.
pub(super) const BEFORE_TABLE: &[&str] = &["ONLY", "LATERAL", "INTO", "LOW_PRIORITY", "IGNORE"];

/// Words that cannot be a table's name without quotes, in either dialect.
pub(super) fn is_reserved(word: &str) -> bool {
    matches!(
        word,
        "ALL"
            | "AND"
            | "AS"
            | "CASE"
            | "CROSS"
            | "DISTINCT"
            | "ELSE"
            | "FOR"
            | "FROM"
            | "GROUP"
            | "HAVING"
            | "IN"
            | "INNER"
            | "INTO"
            | "JOIN"
            | "LEFT"
            | "LIMIT"
            | "NATURAL"
            | "NOT"
            | "NULL"
            | "ON"
            | "OR"
            | "ORDER"
            | "RIGHT"
            | "SELECT"
            | "TABLE"
            | "THEN"
            | "TO"
            | "UNION"
            | "USING"
            | "WHEN"
            | "WHERE"
            | "WITH"
    )
}

/// Words after which a list of tables is over.
pub(super) fn ends_tables(word: &str) -> bool {
    matches!(
        word,
        "WHERE"
            | "GROUP"
            | "HAVING"
            | "ORDER"
            | "LIMIT"
            | "OFFSET"
            | "FETCH"
            | "FOR"
            | "UNION"
            | "INTERSECT"
            | "EXCEPT"
            | "WINDOW"
            | "RETURNING"
            | "WHEN"
            | "INTO"
            | "LOCK"
            | "PROCEDURE"
    )
}

/// Whether a word is looked at, anywhere; in upper or lower case.
pub(super) fn is_known(word: &str) -> bool {
    /// Those that are in no list.
    const OTHERS: &[&str] = &[
        "ATOMIC",
        "BY",
        "DATA",
        "EXISTS",
        "IF",
        "IS",
        "KEY",
        "LATERAL",
        "LIKE",
        "RECURSIVE",
        "ROWS",
        "SET",
        "STDIN",
        "STDOUT",
        "STRAIGHT_JOIN",
        "TRANSACTION",
        "WORK",
        "XML",
    ];
    let word = word.to_ascii_uppercase();
    let word = word.as_str();
    let follows = |row: &Row| match row.then {
        Then::Into(words) | Then::Names(words) | Then::Second(words) => words.contains(&word),
        _ => false,
    };
    row_of(word).is_some()
        || ROWS.iter().any(follows)
        || kind_of(word).is_some()
        || is_modifier(word)
        || is_reserved(word)
        || ends_tables(word)
        || !kept(word).is_empty()
        || [OTHERS, BEFORE_NAME, BEFORE_TABLE].iter().any(|list| list.contains(&word))
}

/// Words that change what comes next.
pub(super) fn kept(word: &str) -> &'static str {
    match word {
        "AS" => "AS",
        "DISTINCT" => "DISTINCT",
        "FOR" => "FOR",
        "INDEX" => "INDEX",
        "KEY" => "KEY",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_are_in_order() {
        assert!(ROWS.is_sorted_by(|a, b| a.word < b.word));
    }
}
