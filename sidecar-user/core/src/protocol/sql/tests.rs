use proptest::collection::vec;
use proptest::prelude::*;

use super::Dialect::{MySql, MySqlNoBackslash, PostgreSql};
use super::*;

/// `summary | operation | collection | statements`, `-` for what is not known.
fn told(summary: &Summary) -> String {
    let or = |text: &Option<Box<str>>| text.as_deref().unwrap_or("-").to_owned();
    let statements = summary.statements.map_or("-".to_owned(), |n| n.to_string());
    [or(&summary.summary), or(&summary.operation), or(&summary.collection), statements].join(" | ")
}

fn check(dialect: Dialect, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        let whole = summarize(text.as_bytes(), dialect);
        assert_eq!(told(&whole), *expected, "{dialect:?} {text}");
        let shown = shown(text.as_bytes(), dialect);
        let as_shown = summarize(&shown, dialect);
        assert_eq!((as_shown, shown.len()), (whole.clone(), text.len()), "{text}: {}", shown.escape_ascii());
        for at in 0..=text.len() {
            let mut pieces = Summarizer::new(dialect);
            pieces.push(&text.as_bytes()[..at]);
            pieces.push(&text.as_bytes()[at..]);
            assert_eq!(pieces.finish(), whole, "{text} split at {at}");
        }
    }
}

const NOTHING: &str = "- | - | - | -";

#[test]
fn the_examples_of_the_conventions() {
    check(
        PostgreSql,
        &[
            (
                "SELECT *\nFROM wuser_table\nWHERE username = ?",
                "SELECT wuser_table | SELECT | wuser_table | 1",
            ),
            (
                "INSERT INTO shipping_details\n (order_id,\n address)\nSELECT order_id,\n address\nFROM orders\nWHERE order_id = ?",
                "INSERT shipping_details SELECT orders | - | - | 1",
            ),
            (
                "SELECT *\nFROM songs,\n artists\nWHERE songs.artist_id == artists.id",
                "SELECT songs artists | SELECT | - | 1",
            ),
            (
                "SELECT order_date\nFROM (SELECT *\n FROM orders o\n JOIN customers c\n ON o.customer_id = c.customer_id)",
                "SELECT SELECT orders customers | - | - | 1",
            ),
            // The conventions show the literal.
            ("SELECT *\nFROM \"song list\",\n 'artists'", "SELECT \"song list\" | SELECT | - | 1"),
            ("call some_stored_procedure", "CALL some_stored_procedure | CALL | - | 1"),
        ],
    );
}

#[test]
fn statements_of_both() {
    for dialect in [PostgreSql, MySql, MySqlNoBackslash] {
        check(
            dialect,
            &[
                ("", "- | - | - | 0"),
                (" ;; -- nothing\n ; /* nor here */", "- | - | - | 0"),
                ("select 1", "SELECT | SELECT | - | 1"),
                ("select 1;", "SELECT | SELECT | - | 1"),
                ("SELECT a FROM s.t AS x WHERE b = 'c'", "SELECT s.t | SELECT | s.t | 1"),
                ("SELECT a FROM s . t", "SELECT s.t | SELECT | s.t | 1"),
                ("SELECT a FROM t x, u JOIN v ON x.a = v.a, w", "SELECT t u v w | SELECT | - | 1"),
                ("SELECT a FROM t a JOIN t b USING (id)", "SELECT t t | SELECT | t | 1"),
                (
                    "SELECT a FROM (t JOIN u USING (a, b)) LEFT JOIN v ON f(a, b)",
                    "SELECT t u v | SELECT | - | 1",
                ),
                ("SELECT a FROM ((t))", "SELECT t | SELECT | t | 1"),
                ("SELECT a FROM ((SELECT 1) x JOIN t)", "SELECT SELECT t | - | - | 1"),
                ("(SELECT a FROM t) UNION ALL (SELECT b FROM u)", "SELECT t SELECT u | - | - | 1"),
                ("SELECT a FROM t UNION SELECT b FROM u ORDER BY a, b", "SELECT t SELECT u | - | - | 1"),
                ("SELECT extract(year FROM d), trim(FROM x) FROM t", "SELECT t | SELECT | t | 1"),
                ("SELECT a IS DISTINCT FROM b FROM t", "SELECT t | SELECT | t | 1"),
                ("SELECT a FROM t WHERE b IN (SELECT c FROM u) AND d, e", "SELECT t SELECT u | - | - | 1"),
                ("SELECT a, b AS select_ FROM t GROUP BY a, b LIMIT 3, 4", "SELECT t | SELECT | t | 1"),
                ("SELECT a FROM t ORDER BY a, b FOR UPDATE", "SELECT t | SELECT | t | 1"),
                ("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')", "INSERT t | INSERT | t | 1"),
                ("insert into t values (1)", "INSERT t | INSERT | t | 1"),
                ("INSERT INTO t VALUES ((SELECT max(a) FROM u))", "INSERT t SELECT u | - | - | 1"),
                ("REPLACE INTO t SELECT a FROM u", "REPLACE t SELECT u | - | - | 1"),
                ("UPDATE t SET a = a + 1 WHERE b = 2", "UPDATE t | UPDATE | t | 1"),
                ("UPDATE t SET a = (SELECT b FROM u)", "UPDATE t SELECT u | - | - | 1"),
                ("DELETE FROM t WHERE a = 1", "DELETE t | DELETE | t | 1"),
                ("DELETE FROM t USING u JOIN v USING (a) WHERE b", "DELETE t u v | DELETE | - | 1"),
                (
                    "MERGE INTO t USING (SELECT a FROM u) s ON (t.a = s.a) WHEN MATCHED THEN UPDATE SET b = 1",
                    "MERGE t SELECT u | - | - | 1",
                ),
                ("WITH x AS (SELECT a FROM t) SELECT * FROM x", "SELECT t SELECT | - | - | 1"),
                (
                    "WITH x (a) AS (SELECT a FROM x), y AS (SELECT 1) SELECT * FROM X JOIN y ON 1 JOIN s.x",
                    "SELECT x SELECT SELECT s.x | - | - | 1",
                ),
                (
                    "WITH RECURSIVE x AS (SELECT 1 UNION SELECT a FROM x) DELETE FROM t",
                    "SELECT SELECT DELETE t | - | - | 1",
                ),
                (
                    "SELECT * FROM (WITH x AS (SELECT 1) SELECT * FROM x) a, x",
                    "SELECT SELECT SELECT x | - | - | 1",
                ),
                ("INSERT INTO t WITH x AS (SELECT 1) SELECT * FROM x", "INSERT t SELECT SELECT | - | - | 1"),
                (
                    "CREATE TABLE IF NOT EXISTS t (a int, b text DEFAULT 'x')",
                    "CREATE TABLE t | CREATE TABLE | t | 1",
                ),
                ("CREATE TEMPORARY TABLE t AS SELECT a FROM u", "CREATE TABLE t SELECT u | - | - | 1"),
                ("CREATE OR REPLACE VIEW v AS SELECT a FROM u", "CREATE VIEW v SELECT u | - | - | 1"),
                ("CREATE UNIQUE INDEX i ON t (a)", "CREATE INDEX i | CREATE INDEX | - | 1"),
                ("ALTER TABLE s.t ADD COLUMN c int", "ALTER TABLE s.t | ALTER TABLE | s.t | 1"),
                ("DROP TABLE IF EXISTS t, u CASCADE", "DROP TABLE t u | DROP TABLE | - | 1"),
                ("DROP DATABASE d", "DROP DATABASE d | DROP DATABASE | - | 1"),
                ("CREATE USER bob PASSWORD 'x'", "CREATE USER | CREATE USER | - | 1"),
                ("ALTER USER bob IDENTIFIED BY 'x'", "ALTER USER | ALTER USER | - | 1"),
                ("GRANT SELECT ON t TO bob", "GRANT | GRANT | - | 1"),
                ("TRUNCATE TABLE t", "TRUNCATE t | TRUNCATE | t | 1"),
                ("CALL s.p(1, 'x')", "CALL s.p | CALL | - | 1"),
                ("EXECUTE p", "EXECUTE | EXECUTE | - | 1"),
                ("SET x = 'y'", "SET | SET | - | 1"),
                ("SHOW x", "SHOW | SHOW | - | 1"),
                ("BEGIN", "BEGIN | BEGIN | - | 1"),
                ("START TRANSACTION READ ONLY", "START TRANSACTION | START TRANSACTION | - | 1"),
                ("COMMIT WORK", "COMMIT | COMMIT | - | 1"),
                ("ROLLBACK", "ROLLBACK | ROLLBACK | - | 1"),
                ("ROLLBACK TO SAVEPOINT s", "ROLLBACK TO | ROLLBACK TO | - | 1"),
                ("SAVEPOINT s", "SAVEPOINT | SAVEPOINT | - | 1"),
                ("BEGIN; UPDATE t SET a = 1; COMMIT", "BEGIN UPDATE t COMMIT | - | - | 3"),
                ("EXPLAIN SELECT a FROM t", "EXPLAIN SELECT t | - | - | 1"),
                ("SELECT /* FROM u */ a -- FROM v\nFROM t", "SELECT t | SELECT | t | 1"),
                ("SELECT a FROM \u{fc}ber", "SELECT \u{fc}ber | SELECT | \u{fc}ber | 1"),
                // What nobody knows, or that has no end, is not understood.
                ("FROBNICATE t", NOTHING),
                ("SELECT a FROM t WHERE b = 'c", NOTHING),
                ("SELECT a FROM t /* b", NOTHING),
                ("SELECT 1; FROBNICATE t", NOTHING),
                ("'x'", NOTHING),
            ],
        );
    }
}

#[test]
fn statements_of_postgresql() {
    check(
        PostgreSql,
        &[
            ("SELECT a FROM \"My \"\"T\"\"\"", "SELECT \"My \"\"T\"\"\" | SELECT | \"My \"\"T\"\"\" | 1"),
            ("SELECT a FROM s.\"T\" x", "SELECT s.\"T\" | SELECT | s.\"T\" | 1"),
            ("SELECT a FROM U&\"d\\0061t\"", "SELECT U&\"d\\0061t\" | SELECT | U&\"d\\0061t\" | 1"),
            ("SELECT u&1 FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT E'it\\'s FROM x' FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT 'it''s FROM x' FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT $$ FROM x $$, $a$ FROM $$ $b$ $a$ FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT $1, a$b FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT 1 /* a /* b */ FROM x */ FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT '{}'::jsonb #> '{a}' FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT 'c:\\\\' FROM t", "SELECT t | SELECT | t | 1"),
            // By `standard_conforming_strings`, which is not known.
            ("SELECT 'c:\\' FROM t", NOTHING),
            ("SELECT a INTO TEMP u FROM t", "SELECT u t | SELECT | - | 1"),
            (
                "SELECT * FROM generate_series(1, 3) g, LATERAL f(g) x",
                "SELECT generate_series f | SELECT | - | 1",
            ),
            ("SELECT * FROM ROWS FROM (f(1), g(2)) AS x(a, b)", "SELECT f g | SELECT | - | 1"),
            ("SELECT * FROM ONLY t, (VALUES (1), (2)) v(a)", "SELECT t VALUES | - | - | 1"),
            ("UPDATE t SET a = u.a FROM u WHERE b", "UPDATE t u | UPDATE | - | 1"),
            (
                "INSERT INTO t (a) VALUES ($1) ON CONFLICT (a) DO UPDATE SET b = 1 RETURNING a",
                "INSERT t | INSERT | t | 1",
            ),
            (
                "WITH x AS MATERIALIZED (DELETE FROM t RETURNING *) INSERT INTO u SELECT * FROM x",
                "DELETE t INSERT u SELECT | - | - | 1",
            ),
            ("COPY t (a, b) FROM STDIN", "COPY t | COPY | t | 1"),
            ("COPY (SELECT a FROM t) TO STDOUT", "COPY SELECT t | - | - | 1"),
            ("EXPLAIN (ANALYZE, FORMAT JSON) UPDATE t SET a = 1", "EXPLAIN UPDATE t | - | - | 1"),
            ("vacuum analyze pgbench_branches", "VACUUM pgbench_branches | VACUUM | pgbench_branches | 1"),
            ("VACUUM (FULL) t (a), u", "VACUUM t u | VACUUM | - | 1"),
            ("REFRESH MATERIALIZED VIEW v", "REFRESH v | REFRESH | v | 1"),
            (
                "CREATE MATERIALIZED VIEW v AS TABLE t",
                "CREATE MATERIALIZED VIEW v | CREATE MATERIALIZED VIEW | v | 1",
            ),
            ("CREATE INDEX CONCURRENTLY ON t (a)", "CREATE INDEX | CREATE INDEX | - | 1"),
            ("CREATE OPERATOR CLASS x FOR TYPE int4", "CREATE OPERATOR | CREATE OPERATOR | - | 1"),
            ("ALTER SYSTEM SET x = 'y'", "ALTER | ALTER | - | 1"),
            ("ALTER ROLE bob IN DATABASE d SET x TO y", "ALTER ROLE | ALTER ROLE | - | 1"),
            (
                "CREATE FUNCTION f() RETURNS int AS $$ SELECT a FROM t; $$ LANGUAGE sql; SELECT f()",
                "CREATE FUNCTION f SELECT | - | - | 2",
            ),
            (
                "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT a FROM t; END",
                "CREATE FUNCTION f | CREATE FUNCTION | - | 1",
            ),
            ("DO $$ BEGIN SELECT a FROM t; END $$", "DO | DO | - | 1"),
            ("DECLARE c CURSOR FOR SELECT a FROM t", "DECLARE SELECT t | - | - | 1"),
            ("PREPARE TRANSACTION 'x'", "PREPARE TRANSACTION | PREPARE TRANSACTION | - | 1"),
            ("COMMIT PREPARED 'x'", "COMMIT PREPARED | COMMIT PREPARED | - | 1"),
            ("SET SESSION AUTHORIZATION bob", "SET | SET | - | 1"),
            ("TABLE t", "TABLE t | TABLE | t | 1"),
            ("LOCK TABLE t IN EXCLUSIVE MODE", "LOCK t | LOCK | t | 1"),
            ("NOTIFY c, 'x'", "NOTIFY | NOTIFY | - | 1"),
            ("SELECT interval'1 day', b'01', x'ff', n'a' FROM t", "SELECT t | SELECT | t | 1"),
        ],
    );
}

#[test]
fn statements_of_mysql() {
    check(
        MySql,
        &[
            ("SELECT a FROM `my ``t` WHERE b = \"FROM x\"", "SELECT `my ``t` | SELECT | `my ``t` | 1"),
            ("SELECT a FROM `d`.`t`", "SELECT `d`.`t` | SELECT | `d`.`t` | 1"),
            ("SELECT 'it\\'s FROM x', \"\\\" FROM y\" FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT 1 # FROM x\nFROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT 5--3 FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT a INTO @secret FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT a FROM t INTO OUTFILE '/x'", "SELECT t | SELECT | t | 1"),
            ("SELECT @secret, @@version", "SELECT | SELECT | - | 1"),
            ("SELECT /*+ BKA(t) */ a FROM t", "SELECT t | SELECT | t | 1"),
            ("/*!40101 SET NAMES utf8 */", "SET | SET | - | 1"),
            ("SELECT a /*! FROM t */", "SELECT t | SELECT | t | 1"),
            ("SELECT a /*!80000 FROM t */", NOTHING),
            ("SELECT a /*M! FROM t */", NOTHING),
            ("SELECT a /* x /* y */ FROM t", "SELECT t | SELECT | t | 1"),
            ("SELECT a FROM t USE INDEX FOR JOIN (i, j), u", "SELECT t u | SELECT | - | 1"),
            ("SELECT STRAIGHT_JOIN a FROM t STRAIGHT_JOIN u", "SELECT t u | SELECT | - | 1"),
            ("SELECT a FROM \"x\"", "SELECT | SELECT | - | 1"),
            ("INSERT IGNORE INTO t SET a = 1, b = 2", "INSERT t | INSERT | t | 1"),
            ("INSERT t VALUES (1) ON DUPLICATE KEY UPDATE a = (VALUES(a) + 1)", "INSERT t | INSERT | t | 1"),
            ("UPDATE t JOIN u ON t.a = u.a SET t.b = 1", "UPDATE t u | UPDATE | - | 1"),
            ("DELETE t, u FROM t JOIN u ON 1", "DELETE t u | DELETE | - | 1"),
            ("DELETE FROM t.* USING t JOIN u", "DELETE t t u | DELETE | - | 1"),
            ("LOAD DATA LOCAL INFILE '/x' INTO TABLE t", "LOAD DATA t | LOAD DATA | t | 1"),
            ("USE shop", "USE shop | USE | - | 1"),
            ("LOCK TABLES t READ, u WRITE", "LOCK t u | LOCK | - | 1"),
            (
                "CREATE DEFINER=`root`@`localhost` PROCEDURE p() BEGIN SELECT a FROM t; END",
                "CREATE PROCEDURE p | CREATE PROCEDURE | - | 1",
            ),
            (
                "CREATE ALGORITHM=MERGE DEFINER=root@localhost SQL SECURITY DEFINER VIEW v AS SELECT 1",
                "CREATE VIEW v SELECT | - | - | 1",
            ),
            ("SET PASSWORD FOR 'bob'@'h' = 'x'", "SET | SET | - | 1"),
            ("BEGIN NOT ATOMIC SELECT 1; END", "BEGIN | BEGIN | - | 1"),
            ("ANALYZE FORMAT=JSON SELECT a FROM t", "ANALYZE SELECT t | - | - | 1"),
        ],
    );
    check(MySqlNoBackslash, &[("SELECT 'c:\\' FROM t", "SELECT t | SELECT | t | 1")]);
}

#[test]
fn a_summary_is_cut_between_words_and_what_is_cut_off_is_not_guessed() {
    let tables: Vec<_> = (0..100).map(|n| format!("table_{n:03}")).collect();
    let text = format!("SELECT a FROM {}", tables.join(", "));
    let whole = summarize(text.as_bytes(), PostgreSql);
    let summary = whole.summary.as_deref().expect("understood");
    assert_eq!(summary, format!("SELECT {}", tables[..24].join(" ")));
    let cut = |text: &str| {
        let mut summarizer = Summarizer::new(PostgreSql);
        summarizer.push(text.as_bytes());
        told(&summarizer.cut())
    };
    assert_eq!(cut(&text[..text.len() - 200]), format!("{summary} | - | - | -"));
    assert_eq!(cut("INSERT INTO t VALUES (1), "), NOTHING);
    let long = format!("SELECT a FROM {}", "x".repeat(256));
    assert_eq!(told(&summarize(long.as_bytes(), PostgreSql)), "SELECT | SELECT | - | 1");
}

#[test]
fn half_characters_are_no_backslashes() {
    // A character of GBK whose second byte is a backslash, and one of Latin-1 before a real one.
    let cases: [(&[u8], Dialect, &str); 5] = [
        (b"SELECT '\xbf\\' FROM secret, ' FROM t", MySql, NOTHING),
        (b"SELECT E'\xbf\\' FROM secret, ' FROM t", PostgreSql, NOTHING),
        (b"SELECT a FROM `\x95`` WHERE b = `secret`", MySql, NOTHING),
        (b"SELECT '\xe9' FROM t", MySql, "SELECT t | SELECT | t | 1"),
        (b"SELECT a FROM caf\xe9", MySql, "SELECT | SELECT | - | 1"),
    ];
    for (text, dialect, expected) in cases {
        assert_eq!(told(&summarize(text, dialect)), expected, "{}", text.escape_ascii());
    }
}

/// Literals with a secret in them that have no end.
fn endless(dialect: Dialect) -> &'static [&'static str] {
    match dialect {
        PostgreSql => &[
            "'CANARY",
            "E'\\'CANARY",
            "/* CANARY",
            "/* /* */ CANARY",
            "-- CANARY",
            "$a$CANARY",
            "$a$ $CANARY",
        ],
        MySql | MySqlNoBackslash => {
            &["'CANARY", "\"CANARY", "/* CANARY", "-- CANARY", "# CANARY", "@'CANARY"]
        }
    }
}

/// Literals with a secret in them.
fn literals(dialect: Dialect) -> Vec<&'static str> {
    let of_both = [
        "'CANARY'",
        "'a''CANARY'",
        "/* CANARY */",
        "-- CANARY\n",
        "1CANARY",
        "0xCANARY",
        "'FROM CANARY'",
        "'; SELECT * FROM CANARY; '",
        "N'CANARY'",
        "x'CANARY'",
    ];
    let own: &[_] = match dialect {
        PostgreSql => &[
            "E'a\\'CANARY'",
            "e'\\\\' 'CANARY'",
            "$$CANARY$$",
            "$$ ' FROM CANARY $$",
            "$a$ $$ FROM CANARY $a$",
            "U&'CANARY'",
            "/* /* */ FROM CANARY */",
            "'a\\' FROM CANARY '",
            "E'a'\n'\\' FROM CANARY '",
            "date'CANARY'",
        ],
        MySql => &[
            "\"CANARY\"",
            "\"a\"\"CANARY\"",
            "'a\\' FROM CANARY '",
            "\"a\\\" FROM CANARY \"",
            "_utf8'CANARY'",
            "# CANARY\n",
            "@CANARY",
            "@'CANARY'",
            "'\u{e9}\\' FROM CANARY '",
        ],
        MySqlNoBackslash => &["\"CANARY\"", "'a\\' 'CANARY'", "# CANARY\n"],
    };
    of_both.into_iter().chain(own.iter().copied()).collect()
}

const SHAPES: &[&str] = &[
    "SELECT # FROM t",
    "SELECT a FROM #",
    "SELECT a FROM t, # JOIN u",
    "SELECT a FROM t WHERE b = # AND c IN (#, #)",
    "SELECT a FROM t JOIN # USING (a)",
    "SELECT a FROM t AS #",
    "SELECT a AS # FROM t",
    "SELECT a FROM t LIMIT #",
    "SELECT a FROM f(#)",
    "SELECT a FROM s.#",
    "INSERT INTO t VALUES (#, #), (#)",
    "INSERT INTO # VALUES (1)",
    "UPDATE t SET a = #, b = # WHERE c = #",
    "UPDATE # SET a = 1",
    "DELETE FROM t WHERE a = #",
    "WITH x AS (SELECT #) SELECT * FROM x",
    "WITH # AS (SELECT 1) SELECT * FROM #",
    "CREATE USER bob PASSWORD #",
    "CREATE ROLE bob LOGIN PASSWORD #",
    "ALTER ROLE bob WITH PASSWORD #",
    "ALTER USER bob IDENTIFIED BY #",
    "CREATE USER bob IDENTIFIED WITH x AS #",
    "SET PASSWORD = #",
    "SET x = #",
    "GRANT ALL ON t TO bob IDENTIFIED BY #",
    "CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (password #)",
    "CREATE SUBSCRIPTION s CONNECTION # PUBLICATION p",
    "CREATE TABLE t (a text DEFAULT #)",
    "CREATE DATABASE #",
    "COMMENT ON TABLE t IS #",
    "COPY t FROM #",
    "COPY # FROM STDIN",
    "LOAD DATA INFILE # INTO TABLE t FIELDS TERMINATED BY #",
    "CALL p(#, #)",
    "CALL #",
    "USE #",
    "EXECUTE p(#)",
    "NOTIFY c, #",
    "DO #",
    "PREPARE TRANSACTION #",
    "KILL #",
    "EXPLAIN SELECT #",
    "# SELECT a FROM t",
    "#",
    "SELECT a #; # SELECT #",
];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_literal_leaks(
        dialect in proptest::sample::select(vec![PostgreSql, MySql, MySqlNoBackslash]),
        shapes in vec(proptest::sample::select(SHAPES), 1..4),
        picks in vec(any::<proptest::sample::Index>(), 12),
        end in any::<proptest::sample::Index>(),
        odd in any::<u8>(),
    ) {
        let literals = literals(dialect);
        let mut picks = picks.iter().cycle();
        let mut text = String::new();
        for piece in shapes.join("; ").split_inclusive('#') {
            text.push_str(piece.trim_end_matches('#'));
            if piece.ends_with('#') {
                let pick = picks.next().expect("a cycle").index(literals.len());
                text.push_str(literals[pick]);
            }
        }
        let endless = endless(dialect);
        text.push(' ');
        text.push_str(endless.get(end.index(endless.len() + 1)).unwrap_or(&""));
        let with_odd: Vec<u8> = text.bytes().map(|byte| if byte == b'a' { odd } else { byte }).collect();
        // An odd byte may be a quote, and turn the text inside out: then a literal is none.
        let is_quote = b"'\"`$\\/*-#@eEuUnNxXbB&".contains(&odd) || odd.is_ascii_alphanumeric();
        for (text, holds) in [(text.as_bytes(), true), (with_odd.as_slice(), !is_quote)] {
            let summary = summarize(text, dialect);
            let said = told(&summary);
            prop_assert!(!holds || !said.contains("CANARY"), "{}: {said}", text.escape_ascii());
            prop_assert!(summary.summary.as_ref().is_none_or(|summary| summary.len() <= SUMMARY_MAX));
            let shown = shown(text, dialect);
            prop_assert!(!holds || !shown.windows(6).any(|six| six == b"CANARY"), "{}", shown.escape_ascii());
            // What is not well-formed may have none, but never another.
            let as_shown = Some(summarize(&shown, dialect)).filter(|shown| *shown != Summary::default());
            prop_assert!(as_shown.is_none_or(|as_shown| as_shown == summary), "{}: {}", text.escape_ascii(), shown.escape_ascii());
            prop_assert_eq!(shown.len(), text.len());
        }
    }

    #[test]
    fn any_bytes_in_any_pieces(text in vec(any::<u8>(), 0..300), at in any::<proptest::sample::Index>(), words in vec(proptest::sample::select(SHAPES), 0..3)) {
        let text = [words.join(" ").as_bytes(), &text].concat();
        for dialect in [PostgreSql, MySql, MySqlNoBackslash] {
            let mut pieces = Summarizer::new(dialect);
            let (first, second) = text.split_at(at.index(text.len() + 1));
            pieces.push(first);
            pieces.push(second);
            prop_assert!(pieces.held() < 16 * 1024);
            let summary = summarize(&text, dialect);
            prop_assert_eq!(&pieces.finish(), &summary);
            let shown = shown(&text, dialect);
            // What is not well-formed may have none, but never another.
            let as_shown = Some(summarize(&shown, dialect)).filter(|shown| *shown != Summary::default());
            prop_assert!(as_shown.is_none_or(|as_shown| as_shown == summary), "{}: {}", text.escape_ascii(), shown.escape_ascii());
            prop_assert_eq!(shown.len(), text.len());
        }
    }
}

#[test]
fn nesting_and_length_are_bounded() {
    for word in ["(", "((SELECT a FROM ", "WITH a AS (", "a.", "x ", "'", "\"", "$", "/*", ",", "FROM t, "] {
        for dialect in [PostgreSql, MySql] {
            let mut summarizer = Summarizer::new(dialect);
            summarizer.push(b"SELECT a FROM ");
            for _ in 0..20_000 {
                summarizer.push(word.as_bytes());
                assert!(summarizer.held() < 16 * 1024, "{word}: {}", summarizer.held());
            }
            let _ = summarizer.finish();
        }
    }
}
