//! What a login says: which server, and what both sides can do. Nothing else of it is kept.

use super::field::{Fields, name};
use crate::model::DbSystem;

/// What is known of a session.
#[derive(Debug)]
pub(super) struct Session {
    /// Which of those that speak so it is; `None` where nothing has shown it.
    pub(super) system: Option<DbSystem>,
    /// The default database; `None` where it is not known, or there is none.
    pub(super) namespace: Option<std::sync::Arc<str>>,
    /// EOF comes after definitions; `None` where the login was not seen and no result has shown it.
    pub(super) has_eof: Option<bool>,
    /// It is compressed once the login is over.
    pub(super) is_compressed: bool,
    /// A backslash is a character like any other.
    pub(super) is_plain_backslash: bool,
}

impl Session {
    pub(super) fn new() -> Self {
        Session {
            system: None,
            namespace: None,
            has_eof: None,
            is_compressed: false,
            is_plain_backslash: false,
        }
    }

    /// What the server's status says of its SQL.
    pub(super) fn follow(&mut self, status: u16) {
        const NO_BACKSLASH_ESCAPES: u16 = 0x0200;
        self.is_plain_backslash = status & NO_BACKSLASH_ESCAPES != 0;
    }
}

pub(super) const PROTOCOL_VERSION: u8 = 10;
/// Every server of MySQL says so; one of MariaDB does not, and says what more it can in bytes that MySQL's leaves empty.
const MYSQL: u32 = 1;
pub(super) const CONNECT_WITH_DB: u32 = 1 << 3;
const COMPRESS: u32 = 1 << 5;
pub(super) const PROTOCOL_41: u32 = 1 << 9;
const SSL: u32 = 1 << 11;
pub(super) const SECURE_CONNECTION: u32 = 1 << 15;
pub(super) const LENENC_AUTH: u32 = 1 << 21;
const DEPRECATE_EOF: u32 = 1 << 24;
const ZSTD: u32 = 1 << 26;

/// Bytes of a server's version.
pub(super) const VERSION_MAX: usize = 128;

/// The server's first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Greeting {
    pub(super) system: DbSystem,
    pub(super) capabilities: u32,
    pub(super) status: u16,
}

/// Reads it ("Protocol::HandshakeV10").
pub(super) fn greeting(payload: &[u8]) -> Option<Greeting> {
    let mut fields = Fields::of(payload);
    fields.byte().filter(|version| *version == PROTOCOL_VERSION)?;
    let version = fields.until_nul()?;
    fields.take(4 + 8 + 1)?;
    let low = fields.u16()?;
    fields.byte()?;
    let status = fields.u16()?;
    let high = fields.u16()?;
    let capabilities = u32::from(low) | u32::from(high) << 16;
    let more = fields.take(1 + 6).and_then(|_| fields.u32());
    let is_maria = version.windows(7).any(|part| part.eq_ignore_ascii_case(b"mariadb"))
        || capabilities & MYSQL == 0 && more.is_some_and(|more| more != 0);
    let system = if is_maria { DbSystem::MariaDb } else { DbSystem::MySql };
    Some(Greeting { system, capabilities, status })
}

/// What a client answers to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Login {
    /// TLS comes next ("Protocol::SSLRequest").
    Tls,
    /// Who logs in.
    User {
        /// EOF comes after definitions.
        has_eof: bool,
        is_compressed: bool,
        namespace: Option<Box<str>>,
    },
}

/// Bytes before the user's name.
pub(super) const FIXED: usize = 32;

/// Reads it ("Protocol::HandshakeResponse41"). `None`: that of a client from before 4.1, or none at all.
pub(super) fn login(payload: &[u8], server: u32) -> Option<Login> {
    let mut fields = Fields::of(payload);
    let capabilities = fields.u32()?;
    if capabilities & PROTOCOL_41 == 0 {
        return None;
    }
    fields.take(FIXED - 4)?;
    if capabilities & SSL != 0 && fields.rest.is_empty() {
        return Some(Login::Tls);
    }
    let both = capabilities & server;
    Some(Login::User {
        has_eof: both & DEPRECATE_EOF == 0,
        is_compressed: both & (COMPRESS | ZSTD) != 0,
        namespace: (capabilities & CONNECT_WITH_DB != 0).then(|| database(fields, capabilities)).flatten(),
    })
}

fn database(mut fields: Fields<'_>, capabilities: u32) -> Option<Box<str>> {
    fields.until_nul()?;
    if capabilities & LENENC_AUTH != 0 {
        fields.string()?;
    } else if capabilities & SECURE_CONNECTION != 0 {
        let n = fields.byte()?;
        fields.take(usize::from(n))?;
    } else {
        fields.until_nul()?;
    }
    name(fields.until_nul()?)
}

/// The database in COM_CHANGE_USER, behind the command's byte.
pub(super) fn changed_user(payload: &[u8]) -> Option<Box<str>> {
    database(Fields::of(payload), SECURE_CONNECTION)
}
