//! Commands of the client, and the form of what answers them.

use super::attributes::{self, Skip};

/// A command of a client.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) code: u8,
    /// Its name without `COM_`, or the statement of SQL that does the same.
    pub(super) name: &'static str,
    pub(super) reply: Reply,
}

/// What comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing.
    None,
    /// OK, EOF or ERR.
    Simple,
    /// A text without any form, or ERR.
    Text,
    /// Results, one or several; rows in text or binary.
    Results(Rows),
    /// Rows of a cursor.
    Rows,
    /// A statement's number, its parameters and columns.
    Prepared,
    /// Definitions of columns, without their number.
    Fields,
    /// What goes to and fro in a login.
    Login,
    /// A stream without an end.
    Stream,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rows {
    Text,
    Binary,
}

pub(super) const INIT_DB: u8 = 0x02;
pub(super) const QUERY: u8 = 0x03;
const PING: u8 = 0x0e;
pub(super) const CHANGE_USER: u8 = 0x11;
pub(super) const STMT_PREPARE: u8 = 0x16;
pub(super) const STMT_EXECUTE: u8 = 0x17;
pub(super) const STMT_SEND_LONG_DATA: u8 = 0x18;
pub(super) const STMT_CLOSE: u8 = 0x19;
pub(super) const STMT_RESET: u8 = 0x1a;
pub(super) const STMT_FETCH: u8 = 0x1c;
pub(super) const RESET_CONNECTION: u8 = 0x1f;
pub(super) const STMT_BULK_EXECUTE: u8 = 0xfa;

const fn command(code: u8, name: &'static str, reply: Reply) -> Command {
    Command { code, name, reply }
}

const COMMANDS: &[Command] = &[
    command(0x01, "QUIT", Reply::None),
    command(INIT_DB, "INIT_DB", Reply::Simple),
    command(QUERY, "QUERY", Reply::Results(Rows::Text)),
    command(0x04, "FIELD_LIST", Reply::Fields),
    command(0x05, "CREATE_DB", Reply::Simple),
    command(0x06, "DROP_DB", Reply::Simple),
    command(0x07, "REFRESH", Reply::Simple),
    command(0x08, "SHUTDOWN", Reply::Simple),
    command(0x09, "STATISTICS", Reply::Text),
    command(0x0a, "PROCESS_INFO", Reply::Results(Rows::Text)),
    command(0x0c, "PROCESS_KILL", Reply::Simple),
    command(0x0d, "DEBUG", Reply::Simple),
    command(PING, "PING", Reply::Simple),
    command(CHANGE_USER, "CHANGE_USER", Reply::Login),
    command(0x12, "BINLOG_DUMP", Reply::Stream),
    command(0x13, "TABLE_DUMP", Reply::Stream),
    command(0x15, "REGISTER_SLAVE", Reply::Simple),
    command(STMT_PREPARE, "PREPARE", Reply::Prepared),
    command(STMT_EXECUTE, "EXECUTE", Reply::Results(Rows::Binary)),
    command(STMT_SEND_LONG_DATA, "STMT_SEND_LONG_DATA", Reply::None),
    command(STMT_CLOSE, "STMT_CLOSE", Reply::None),
    command(STMT_RESET, "STMT_RESET", Reply::Simple),
    command(0x1b, "SET_OPTION", Reply::Simple),
    command(STMT_FETCH, "FETCH", Reply::Rows),
    command(0x1e, "BINLOG_DUMP_GTID", Reply::Stream),
    command(RESET_CONNECTION, "RESET_CONNECTION", Reply::Simple),
    command(0x20, "CLONE", Reply::Stream),
    command(0x21, "SUBSCRIBE_GROUP_REPLICATION_STREAM", Reply::Stream),
    command(STMT_BULK_EXECUTE, "EXECUTE", Reply::Results(Rows::Binary)),
];

/// The command that a payload's first byte names.
pub(super) fn of(code: u8) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.code == code)
}

/// Whether a payload of `len` bytes, of which `bytes` are the first, is one of a command that a place is found again by.
/// Rare ones are not, nor is a text that does not begin as SQL does.
pub(super) fn fits(bytes: &[u8], len: u64) -> bool {
    let Some((code, rest)) = bytes.split_first() else { return len > 0 };
    let at = |at: usize, fits: fn(u8) -> bool| rest.get(at).is_none_or(|byte| fits(*byte));
    match *code {
        INIT_DB => (2..=256).contains(&len) && rest.iter().all(|byte| *byte >= b' '),
        QUERY => match attributes::skip(rest) {
            Skip::Text(at) => is_sql(&rest[at..]),
            Skip::NeedMore => true,
            Skip::Malformed => false,
        },
        STMT_PREPARE => is_sql(rest),
        // A statement's number, flags, and always one iteration.
        STMT_EXECUTE => {
            len >= 10
                && at(4, |flags| flags < 0x10)
                && at(5, |once| once == 1)
                && (6..9).all(|index| at(index, |zero| zero == 0))
        }
        STMT_BULK_EXECUTE => len >= 7 && at(4, |flags| flags & 0x3f == 0) && at(5, |zero| zero == 0),
        STMT_CLOSE | STMT_RESET => len == 5,
        STMT_FETCH => len == 9,
        STMT_SEND_LONG_DATA => len >= 7,
        PING | RESET_CONNECTION => len == 1,
        _ => false,
    }
}

/// Words that statements begin with.
const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "CHECK",
    "COMMIT",
    "CREATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GRANT",
    "INSERT",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "RELEASE",
    "REPLACE",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TRUNCATE",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
    "XA",
];
const VERB_MAX: usize = 9;
/// So much of a text is looked at: what is in its literals is anybody's.
const LOOKED_AT: usize = 64;

/// Whether a text begins as statements do, as far as it is there.
fn is_sql(text: &[u8]) -> bool {
    let looked_at = &text[..text.len().min(LOOKED_AT)];
    if looked_at.iter().any(|byte| *byte < b' ' && !matches!(byte, b'\t' | b'\n' | b'\r')) {
        return false;
    }
    let is_before = |byte: &u8| byte.is_ascii_whitespace() || *byte == b'(';
    let begins = text.iter().position(|byte| !is_before(byte)).unwrap_or(text.len());
    let text = &text[begins..];
    if [&b"/*"[..], b"--", b"#"].iter().any(|comment| text.iter().zip(*comment).all(|(a, b)| a == b)) {
        return true;
    }
    let n = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let is_open = n == text.len();
    n <= VERB_MAX
        && VERBS.iter().any(|verb| {
            let (verb, word) = (verb.as_bytes(), &text[..n]);
            if is_open {
                verb.len() >= n && verb[..n].eq_ignore_ascii_case(word)
            } else {
                verb.eq_ignore_ascii_case(word)
            }
        })
}
