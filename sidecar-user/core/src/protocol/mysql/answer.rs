//! What answers a command: results, of definitions and rows, and what ends them. Goes by the packets' own form; what the
//! login said is not needed for it.

use super::command::{Reply, Rows};
use super::field::{Fields, name};
use super::packet::FULL;
use crate::model::DbSystem;

/// Bytes of a packet of the server that are looked at.
pub(super) const LOOKED_AT: usize = 512;

const OK: u8 = 0x00;
const MORE_DATA: u8 = 0x01;
const LOCAL_INFILE: u8 = 0xfb;
const EOF: u8 = 0xfe;
const ERR: u8 = 0xff;
/// Bytes of an EOF; an OK in its place has more, and a row that begins so has many more.
const EOF_LEN: u64 = 5;
const OK_MIN: u64 = 7;
/// The number of what is no error but a report of progress (MARIADB_CLIENT_PROGRESS).
const PROGRESS: u16 = 0xffff;
/// All definitions are of this catalog.
const DEFINITION: &[u8] = b"\x03def";
/// Errors that only MariaDB has.
const MARIADB_ERRORS: std::ops::RangeInclusive<u16> = 1900..=1999;
/// What is no statement, and what is said of it: whose manual is to be read, before anything of the statement.
const PARSE_ERROR: u16 = 1064;
const MANUAL: &[u8] = b"You have an error in your SQL syntax; check the manual that corresponds to your ";
const MANUALS: &[(&[u8], DbSystem)] =
    &[(b"MariaDB server version ", DbSystem::MariaDb), (b"MySQL server version ", DbSystem::MySql)];
const COLUMNS_MAX: u64 = 4096;

const MORE_RESULTS: u16 = 0x0008;
const CURSOR_EXISTS: u16 = 0x0040;
const SESSION_CHANGED: u16 = 0x4000;

/// An answer as far as it has come.
#[derive(Debug)]
pub(super) struct Answer {
    place: Place,
    pub(super) told: Told,
}

/// What of a packet may be shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Whole,
    /// So many bytes.
    First(usize),
    Ok,
    Error,
    /// A text.
    Hidden,
}

/// What it says.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Rows of its results, where it has any.
    pub(super) rows: Option<u64>,
    /// The error's number.
    pub(super) error: Option<u16>,
    /// Which database it is of, where an error is of one only.
    pub(super) system: Option<DbSystem>,
    /// The server's status.
    pub(super) status: Option<u16>,
    /// The database that is the default from here on.
    pub(super) schema: Option<Box<str>>,
    /// The number of the statement that was prepared.
    pub(super) statement: Option<u32>,
}

/// What a packet was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// How far the command has come.
    Progress,
    /// Part of it; sure where nothing but an answer looks so.
    Part { is_sure: bool },
    /// The client is to send a file.
    Infile,
    /// The client is asked to go on with the login.
    Asked,
    /// Its end.
    Over,
    /// Its end, unless an EOF follows.
    PerhapsOver,
    /// None of an answer to this command.
    Odd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Begin,
    /// So many definitions of columns are to come.
    Columns {
        left: u64,
    },
    /// An EOF, or the first row.
    BeforeRows,
    Rows,
    /// Definitions of a prepared statement: so many, and then so many of columns. An EOF may come before these.
    Prepared {
        left: u64,
        columns: u64,
        may_end: bool,
    },
    /// All of them were there: an EOF may follow.
    AfterPrepared,
}

impl Answer {
    pub(super) fn new() -> Self {
        Answer { place: Place::Begin, told: Told::default() }
    }

    /// What the next message is, which `take` is given then.
    pub(super) fn form(&self, reply: Reply, payload: &[u8], len: u64) -> Form {
        let Some(&first) = payload.first() else { return Form::Whole };
        let is_eof = Self::is_eof(payload, len);
        match (self.place, reply) {
            (_, _) if first == ERR => Form::Error,
            (_, _) if is_eof => Form::Whole,
            (Place::Begin, Reply::Simple) => Form::Ok,
            (Place::Begin, Reply::Text | Reply::None | Reply::Stream) => Form::Hidden,
            (Place::Begin, Reply::Login) => {
                if first == OK {
                    Form::Ok
                } else {
                    Form::First(1)
                }
            }
            (Place::Begin, Reply::Prepared) if len <= 13 => Form::Whole,
            (Place::Begin, Reply::Results(_)) if first == OK => Form::Ok,
            (Place::Begin, Reply::Results(_)) if columns(payload, len).is_some() => Form::Whole,
            (Place::Begin | Place::BeforeRows | Place::Rows, Reply::Rows | Reply::Results(_))
                if first == EOF && len < u64::from(FULL) =>
            {
                Form::Ok
            }
            (Place::Begin, Reply::Fields) if first == EOF && len < u64::from(FULL) => Form::Ok,
            (Place::Begin, Reply::Fields) | (Place::Columns { .. } | Place::Prepared { .. }, _) => {
                Form::First(if payload.starts_with(DEFINITION) { DEFINITION.len() } else { 0 })
            }
            _ => Form::First(1),
        }
    }

    /// What begins so is a row.
    pub(super) fn is_row(&self, payload: &[u8]) -> bool {
        self.place == Place::Rows && payload.first().is_some_and(|first| !matches!(*first, EOF | ERR))
    }

    /// An EOF alone.
    pub(super) fn is_eof(payload: &[u8], len: u64) -> bool {
        payload.first() == Some(&EOF) && len == EOF_LEN
    }

    /// The next message, of `len` bytes, of which `payload` are the first. Where it is known by now whether EOF comes after definitions,
    /// `has_eof` says so; else it is learned.
    pub(super) fn take(
        &mut self,
        reply: Reply,
        payload: &[u8],
        len: u64,
        has_eof: &mut Option<bool>,
    ) -> Said {
        let Some(&first) = payload.first() else {
            // A row of one empty text has a byte.
            return Said::Odd;
        };
        match (self.place, reply) {
            (_, Reply::None | Reply::Stream) => Said::Odd,
            (_, _) if first == ERR => self.error(reply, payload),
            (Place::Begin, Reply::Simple) => match first {
                EOF if len == EOF_LEN => Said::Over,
                OK | EOF => self.ok(payload, len).map_or(Said::Odd, |()| Said::Over),
                _ => Said::Odd,
            },
            (Place::Begin, Reply::Text) => Said::Over,
            (Place::Begin, Reply::Login) => match first {
                OK => self.ok(payload, len).map_or(Said::Odd, |()| Said::Over),
                EOF | MORE_DATA => Said::Asked,
                _ => Said::Odd,
            },
            (Place::Begin, Reply::Fields) => match first {
                EOF if len < u64::from(FULL) => Said::Over,
                _ => self.definition(payload),
            },
            (Place::Begin, Reply::Prepared) => self.prepared(payload, len),
            (Place::Begin, Reply::Results(_)) => self.result(reply, payload, len),
            (Place::Begin, Reply::Rows) => self.row(Rows::Binary, payload, len),
            (Place::Columns { left }, _) => {
                self.place = if left > 1 { Place::Columns { left: left - 1 } } else { Place::BeforeRows };
                self.definition(payload)
            }
            (Place::BeforeRows, _) => {
                self.place = Place::Rows;
                let is_eof = Self::is_eof(payload, len);
                *has_eof = Some(is_eof);
                match is_eof {
                    true if self.eof(payload) & CURSOR_EXISTS != 0 => self.end_of_result(),
                    true => Said::Part { is_sure: true },
                    false => self.row(rows_of(reply), payload, len),
                }
            }
            (Place::Rows, _) => self.row(rows_of(reply), payload, len),
            (Place::Prepared { left, columns, may_end }, _) => {
                if may_end && Self::is_eof(payload, len) {
                    *has_eof = Some(true);
                    self.place = Place::Prepared { left, columns, may_end: false };
                    return Said::Part { is_sure: true };
                }
                if may_end {
                    *has_eof = Some(false);
                }
                match self.definition(payload) {
                    Said::Part { .. } => self.more_prepared(left - 1, columns, *has_eof),
                    said => said,
                }
            }
            (Place::AfterPrepared, _) => match Self::is_eof(payload, len) {
                true => {
                    *has_eof = Some(true);
                    Said::Over
                }
                false => Said::Odd,
            },
        }
    }

    /// A definition of a column or a parameter.
    fn definition(&self, payload: &[u8]) -> Said {
        if payload.starts_with(DEFINITION) { Said::Part { is_sure: true } } else { Said::Odd }
    }

    fn error(&mut self, reply: Reply, payload: &[u8]) -> Said {
        let mut fields = Fields::of(&payload[1..]);
        let Some(number) = fields.u16() else { return Said::Odd };
        // Each has its SQLSTATE, but for what is told before a login.
        let has_state = fields.byte() == Some(b'#');
        match number {
            PROGRESS => Said::Progress,
            _ if has_state || reply == Reply::Login => {
                self.told.error = Some(number);
                self.told.system = system(number, fields.rest.get(5..).unwrap_or_default());
                Said::Over
            }
            _ => Said::Odd,
        }
    }

    /// OK, also in the place of an EOF. What has changed is told behind its text, which is without a length where nothing may be.
    fn ok(&mut self, payload: &[u8], len: u64) -> Option<()> {
        if len < OK_MIN {
            return None;
        }
        let mut fields = Fields::of(&payload[1..]);
        fields.int()?;
        fields.int()?;
        let status = fields.u16()?;
        fields.u16()?;
        self.told.status = Some(status);
        if status & SESSION_CHANGED != 0 && len == payload.len() as u64 {
            self.told.schema = schema(fields).or(self.told.schema.take());
        }
        Some(())
    }

    /// The status in an EOF.
    fn eof(&mut self, payload: &[u8]) -> u16 {
        let status = payload.get(3..5).map_or(0, |status| u16::from_le_bytes([status[0], status[1]]));
        self.told.status = Some(status);
        status
    }

    /// The first packet of a result.
    fn result(&mut self, reply: Reply, payload: &[u8], len: u64) -> Said {
        match payload[0] {
            OK if len >= OK_MIN => match self.ok(payload, len) {
                Some(()) => self.end_of_result(),
                None => Said::Odd,
            },
            LOCAL_INFILE if reply == Reply::Results(Rows::Text) => Said::Infile,
            _ => match columns(payload, len) {
                Some((left, is_defined)) => {
                    self.told.rows.get_or_insert(0);
                    self.place = if is_defined { Place::Columns { left } } else { Place::BeforeRows };
                    Said::Part { is_sure: false }
                }
                None => Said::Odd,
            },
        }
    }

    fn row(&mut self, rows: Rows, payload: &[u8], len: u64) -> Said {
        let first = payload[0];
        // A text row that begins so has a value that fills a packet.
        if first == EOF && len < u64::from(FULL) {
            if len == EOF_LEN {
                self.eof(payload);
            } else if self.ok(payload, len).is_none() {
                return Said::Odd;
            }
            return self.end_of_result();
        }
        if rows == Rows::Binary && first != 0 {
            return Said::Odd;
        }
        self.place = Place::Rows;
        let rows = self.told.rows.get_or_insert(0);
        *rows = rows.saturating_add(1);
        Said::Part { is_sure: false }
    }

    fn end_of_result(&mut self) -> Said {
        let status = self.told.status.unwrap_or_default();
        if status & MORE_RESULTS != 0 {
            self.place = Place::Begin;
            return Said::Part { is_sure: true };
        }
        // Rows of a cursor come when they are fetched.
        self.told.rows = self.told.rows.filter(|rows| *rows > 0 || status & CURSOR_EXISTS == 0);
        Said::Over
    }

    /// The first packet of what answers COM_STMT_PREPARE.
    fn prepared(&mut self, payload: &[u8], len: u64) -> Said {
        let mut fields = Fields::of(payload);
        let mut read = || Some((fields.byte()?, fields.u32()?, fields.u16()?, fields.u16()?, fields.byte()?));
        let Some((OK, statement, columns, parameters, 0)) = read() else { return Said::Odd };
        // With CLIENT_OPTIONAL_RESULTSET_METADATA a byte more says whether definitions follow.
        let is_defined = match len {
            12 => true,
            13 => payload.get(12) == Some(&1),
            _ => return Said::Odd,
        };
        self.told.statement = Some(statement);
        let (columns, parameters) = (u64::from(columns), u64::from(parameters));
        match (parameters, columns) {
            (0, 0) => Said::Over,
            _ if !is_defined => Said::Over,
            (0, _) => {
                self.place = Place::Prepared { left: columns, columns: 0, may_end: false };
                Said::Part { is_sure: false }
            }
            _ => {
                self.place = Place::Prepared { left: parameters, columns, may_end: false };
                Said::Part { is_sure: false }
            }
        }
    }

    /// So many definitions are left of those that are being sent.
    fn more_prepared(&mut self, left: u64, columns: u64, has_eof: Option<bool>) -> Said {
        let sure = Said::Part { is_sure: true };
        match (left, columns, has_eof) {
            (1.., _, _) => {
                self.place = Place::Prepared { left, columns, may_end: false };
                sure
            }
            (0, 1.., _) => {
                self.place = Place::Prepared { left: columns, columns: 0, may_end: has_eof != Some(false) };
                sure
            }
            (0, 0, Some(false)) => Said::Over,
            (0, 0, Some(true)) => {
                self.place = Place::AfterPrepared;
                sure
            }
            (0, 0, None) => {
                self.place = Place::AfterPrepared;
                Said::PerhapsOver
            }
        }
    }
}

impl Form {
    /// Of what nobody asked for.
    pub(super) fn of_error(payload: &[u8]) -> Form {
        if payload.first() == Some(&ERR) { Form::Error } else { Form::First(0) }
    }
}

/// How much of an error's text does no more than name a database.
pub(super) fn names_system(text: &[u8]) -> usize {
    let named = text.strip_prefix(MANUAL).and_then(|rest| {
        MANUALS.iter().find(|(whose, _)| rest.starts_with(whose)).map(|(whose, _)| whose.len())
    });
    named.map_or(0, |len| MANUAL.len() + len)
}

/// Which database an error is of, as its number or the beginning of its text shows.
fn system(number: u16, text: &[u8]) -> Option<DbSystem> {
    if MARIADB_ERRORS.contains(&number) {
        return Some(DbSystem::MariaDb);
    }
    let text = text.strip_prefix(MANUAL).filter(|_| number == PARSE_ERROR)?;
    MANUALS.iter().find(|(whose, _)| text.starts_with(whose)).map(|(_, system)| *system)
}

fn rows_of(reply: Reply) -> Rows {
    match reply {
        Reply::Results(rows) => rows,
        _ => Rows::Binary,
    }
}

/// How many columns a result has, and whether their definitions follow. Of MariaDB's and MySQL's ways to leave these out only one fits.
fn columns(payload: &[u8], len: u64) -> Option<(u64, bool)> {
    let bytes = payload.get(..usize::try_from(len).ok()?)?;
    let number = |bytes: &[u8]| {
        let mut fields = Fields::of(bytes);
        fields.int().filter(|n| fields.rest.is_empty() && (1..=COLUMNS_MAX).contains(n))
    };
    let flag = |byte: u8| (byte <= 1).then_some(byte == 1);
    if let Some(n) = number(bytes) {
        return Some((n, true));
    }
    let ((first, rest), (last, before)) = (bytes.split_first()?, bytes.split_last()?);
    number(before).zip(flag(*last)).or(number(rest).zip(flag(*first)))
}

/// The database that an OK says is the default now ("Session State Information").
fn schema(mut fields: Fields<'_>) -> Option<Box<str>> {
    const SCHEMA: u8 = 1;
    fields.string()?;
    let mut changes = Fields::of(fields.string()?);
    while let Some(kind) = changes.byte() {
        let mut change = Fields::of(changes.string()?);
        if kind == SCHEMA {
            return name(change.string()?);
        }
    }
    None
}
