//! Operations of databases, by "Semantic Conventions for Database Client Calls" v1.44.0; a database's own in the same words.

use super::{Called, End, Error, Spoken, Word};
use crate::model::{Db, DbSystem, MetricDef, Role};
use crate::signal::{catalogue, key};

pub(super) const DURATION: [&MetricDef; 2] = {
    let mut defs = [&catalogue::DB_CLIENT_DURATION; 2];
    defs[Role::Server as usize] = &catalogue::DB_SERVER_DURATION;
    defs
};

const REFUSED: &str = "the server said that it failed, by this code";
const NO_CODE: &str = "_OTHER";

/// `db.system.name`.
fn system(system: DbSystem) -> &'static str {
    match system {
        DbSystem::OtherSql => "other_sql",
        DbSystem::PostgreSql => "postgresql",
        DbSystem::MySql => "mysql",
        DbSystem::MariaDb => "mariadb",
        DbSystem::Redis => "redis",
        DbSystem::Memcached => "memcached",
    }
}

pub(super) fn called<'a>(end: End<'a>, db: &'a Db) -> Called<'a> {
    let status = db.status.as_deref();
    let error = match db.is_error {
        true => Some(Error::new(status.unwrap_or(NO_CODE), REFUSED)),
        false => Error::of(end.exchange.outcome, end.role),
    };
    let own = [
        Word::text(system(db.system)),
        db.operation.as_deref().and_then(Word::text),
        db.collection.as_deref().and_then(Word::text),
        db.summary.as_deref().and_then(Word::text),
        db.namespace.as_deref().and_then(Word::text),
        status.and_then(Word::text),
        error.as_ref().and_then(|error| Word::text(error.text.clone())),
    ];
    let rows = db.rows.filter(|_| end.role == Role::Client);
    Called {
        duration: DURATION[end.role as usize],
        also: rows.map(|rows| (&catalogue::DB_CLIENT_ROWS, rows as f64)),
        words: end.words(own, end.server(None, None)),
        error,
    }
}

pub(super) fn spoken(db: &Db) -> Spoken<'_> {
    let mut attributes = Vec::new();
    attributes.extend(db.rows.map(|rows| (key::DB_ROWS, i64::try_from(rows).unwrap_or(i64::MAX).into())));
    attributes.extend(db.batch.map(|n| (key::DB_BATCH, i64::from(n).into())));
    let operation = db.summary.as_deref().or(db.operation.as_deref());
    Spoken {
        name: operation.unwrap_or(system(db.system)).into(),
        operation: operation.map(Into::into),
        status: db.status.as_deref().map(Into::into),
        attributes,
        bytes: [db.request_bytes, db.response_bytes],
    }
}

pub(super) fn errors() -> Vec<(String, String)> {
    vec![
        ("SQLSTATE or number".to_owned(), REFUSED.to_owned()),
        (NO_CODE.to_owned(), "the server said that it failed, and no code".to_owned()),
    ]
}
