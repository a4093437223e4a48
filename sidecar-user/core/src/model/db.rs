//! Operations of databases.

/// An operation. No value, key, literal or credential is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Db {
    /// Which database.
    pub system: DbSystem,
    /// `SELECT`, `GET`, `EXECUTE`: the operation, in upper case, where there is one and it is known; at most 64 bytes.
    pub operation: Option<Box<str>>,
    /// Table or the like, where the operation is on one only and that is known; at most 255 bytes.
    pub collection: Option<Box<str>>,
    /// Operations and what they are on, in order, without any literal; at most 255 bytes. `None`: not known, as of a
    /// statement that was prepared before the connection was met.
    pub summary: Option<Box<str>>,
    /// Database, or its number, where it is known; at most 255 bytes.
    pub namespace: Option<Box<str>>,
    /// What the server says by code where it says one: SQLSTATE, error number, or an error's first word.
    pub status: Option<Box<str>>,
    /// The server says that it failed.
    pub is_error: bool,
    /// Rows that were returned, where the server tells or they were all seen.
    pub rows: Option<u64>,
    /// Operations in it, where it is a batch of 2 or more.
    pub batch: Option<u32>,
    /// Bytes of the request's messages, headers included; `None` where not all were seen.
    pub request_bytes: Option<u64>,
    /// The same of what came back.
    pub response_bytes: Option<u64>,
}

/// A database, by `db.system.name` of the semantic conventions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are the databases")]
pub enum DbSystem {
    /// One of several that speak alike: which has not shown.
    OtherSql,
    PostgreSql,
    MySql,
    MariaDb,
    Redis,
    Memcached,
}

impl Db {
    /// An operation of which nothing is known yet.
    #[must_use]
    pub fn new(system: DbSystem) -> Self {
        Db {
            system,
            operation: None,
            collection: None,
            summary: None,
            namespace: None,
            status: None,
            is_error: false,
            rows: None,
            batch: None,
            request_bytes: None,
            response_bytes: None,
        }
    }
}
