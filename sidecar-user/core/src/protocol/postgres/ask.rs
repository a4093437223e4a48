//! What a message of the client's asks of the server, without what it is asked with.

use std::borrow::Cow;

use crate::model::Ktime;
use crate::protocol::sql::Summary;

/// A message that has passed: when, and how long it was with its header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passed {
    pub(super) since: Ktime,
    pub(super) at: Ktime,
    pub(super) bytes: u64,
}

/// A name; `None` where it was not seen.
pub(super) type Name<'a> = Option<Cow<'a, [u8]>>;

#[derive(Clone, Debug)]
pub(super) enum Ask<'a> {
    Query(Box<Summary>),
    Function,
    Parse(Name<'a>, Box<Summary>),
    /// A portal of a statement.
    Bind(Option<[Cow<'a, [u8]>; 2]>),
    Describe,
    /// The portal's.
    Execute(Name<'a>),
    /// Of what kind, and its name.
    Close(Option<(u8, Cow<'a, [u8]>)>),
    Sync,
    /// Data of a COPY, or the end of it.
    Data {
        is_end: bool,
    },
}

impl Ask<'_> {
    /// The server answers everything up to it, then says that it is ready.
    pub(super) fn ends_group(&self) -> bool {
        matches!(self, Ask::Query(_) | Ask::Function | Ask::Sync)
    }

    /// It becomes an exchange.
    pub(super) fn is_request(&self) -> bool {
        matches!(self, Ask::Query(_) | Ask::Function | Ask::Execute(_))
    }

    pub(super) fn into_owned(self) -> Ask<'static> {
        let owned = |name: Cow<'_, [u8]>| Cow::Owned(name.into_owned());
        match self {
            Ask::Query(statement) => Ask::Query(statement),
            Ask::Function => Ask::Function,
            Ask::Parse(name, statement) => Ask::Parse(name.map(owned), statement),
            Ask::Bind(names) => Ask::Bind(names.map(|names| names.map(owned))),
            Ask::Describe => Ask::Describe,
            Ask::Execute(portal) => Ask::Execute(portal.map(owned)),
            Ask::Close(what) => Ask::Close(what.map(|(kind, name)| (kind, owned(name)))),
            Ask::Sync => Ask::Sync,
            Ask::Data { is_end } => Ask::Data { is_end },
        }
    }

    /// Bytes that it holds besides itself.
    pub(super) fn held(&self) -> usize {
        let name = |name: &Name<'_>| name.as_ref().map_or(0, |name| name.len());
        match self {
            Ask::Query(statement) => size_of::<Summary>() + statement.held(),
            Ask::Parse(of, statement) => name(of) + size_of::<Summary>() + statement.held(),
            Ask::Bind(names) => names.iter().flatten().map(|name| name.len()).sum(),
            Ask::Execute(portal) => name(portal),
            Ask::Close(what) => what.as_ref().map_or(0, |(_, name)| name.len()),
            Ask::Function | Ask::Describe | Ask::Sync | Ask::Data { .. } => 0,
        }
    }
}
