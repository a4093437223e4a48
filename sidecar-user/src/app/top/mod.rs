//! `sidecar top`: rate, errors and duration of requests while they happen, asked of a daemon that runs.

mod answer;
mod screen;
mod view;

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use hyper::StatusCode;
use sidecar_core::config::AdminListen;
use tokio::{runtime, time::Instant};

pub(super) use self::answer::to_json;
use self::{
    answer::Answer,
    view::{HEADERS, Line, Rows, View},
};
use super::ask::{self, AskError};
use crate::{admin::client, cli::Top};

/// Why it ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum TopError {
    /// Nobody can be asked from here.
    #[error("start the runtime")]
    Runtime(#[source] io::Error),
    /// The daemon was not reached, or its answer was none.
    #[error("ask the daemon")]
    Ask(#[source] AskError),
    /// The terminal does not take what is drawn.
    #[error("write to the terminal")]
    Write(#[source] io::Error),
}

/// Shows it until it is ended: the exit status.
///
/// # Errors
/// [`TopError`]
pub(super) fn show(top: &Top) -> Result<u8, TopError> {
    let admin = match ask::admin(top.admin.as_deref(), top.config.as_deref()) {
        Ok(admin) => admin,
        Err(status) => return Ok(status),
    };
    let view = View { by: top.by, sort: top.sort, filter: top.filter.clone() };
    let interval = Duration::from_secs(top.interval);
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(TopError::Runtime)?;
    let shown = if top.count.is_none() && io::stdout().is_terminal() {
        runtime.block_on(screen::run(&admin, view, interval))
    } else {
        runtime.block_on(print(&admin, &view, interval, top.count))
    };
    match shown {
        // Whoever reads has had enough.
        Err(TopError::Write(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(0),
        shown => shown.map(|()| 0),
    }
}

/// Tables as text, one an interval.
async fn print(
    admin: &AdminListen,
    view: &View,
    interval: Duration,
    count: Option<u64>,
) -> Result<(), TopError> {
    let mut before = look(admin).await.map_err(TopError::Ask)?;
    let mut at = Instant::now();
    for n in 0..count.unwrap_or(u64::MAX) {
        tokio::time::sleep_until(at + interval).await;
        let now = look(admin).await.map_err(TopError::Ask)?;
        let took = at.elapsed();
        at = Instant::now();
        let lines = view.lines(&before, &now, took);
        let between = if n > 0 { "\n" } else { "" };
        let mut out = io::stdout().lock();
        write!(out, "{between}{}", table(&lines)).and_then(|()| out.flush()).map_err(TopError::Write)?;
        before = now;
    }
    Ok(())
}

/// All rows, as the daemon has them now.
async fn look(admin: &AdminListen) -> Result<Rows, AskError> {
    let (status, body) = client::get(admin, "/top", "application/json").await.map_err(AskError::Client)?;
    let rows = Answer::read(&body).filter(|_| status == StatusCode::OK);
    rows.ok_or_else(|| AskError::Client(client::AskError::odd(admin, "no such table")))
}

/// As wide as it must be.
fn table(lines: &[Line]) -> String {
    let rows: Vec<[String; HEADERS.len()]> = lines.iter().map(Line::cells).collect();
    let mut widths = HEADERS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: [&str; HEADERS.len()]| {
        let cell = |(n, (cell, width)): (usize, (&str, &usize))| match n {
            0..4 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        };
        let cells = cells.into_iter().zip(&widths).enumerate().map(cell);
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    let rows = rows.iter().map(|row| line(row.each_ref().map(String::as_str)));
    [line(HEADERS)].into_iter().chain(rows).collect()
}

#[cfg(test)]
mod tests;
