//! The table on a terminal: 80 columns are enough, no mouse, no characters but ASCII's of our own.

use std::{io, thread, time::Duration};

use ratatui::{
    DefaultTerminal, Frame,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
    layout::{Alignment, Constraint, Layout},
    style::{Modifier, Style},
    text::Text,
    widgets::{Cell, Paragraph, Row, Table},
};
use sidecar_core::config::AdminListen;
use tokio::{
    sync::mpsc::{Receiver, channel},
    time::Instant,
};

use super::{
    TopError, look,
    view::{HEADERS, Line, Rows, View},
};
use crate::{
    app::{logging::chain, plain::plain},
    cli::{By, Sort},
};

/// Keys that wait to be taken.
const KEYS: usize = 64;
/// Bytes of a filter.
const FILTER_MAX: usize = 64;
const HELP: &str = "q quit  p pause  s sort  g group  / filter  up/down scroll";

/// What is shown, and how.
struct Screen {
    view: View,
    before: Rows,
    now: Rows,
    took: Duration,
    /// What is shown does not change.
    is_paused: bool,
    /// A filter is being written.
    is_writing: bool,
    /// Rows that are scrolled past.
    past: usize,
    trouble: Option<String>,
}

/// Draws until somebody has seen enough.
pub(super) async fn run(admin: &AdminListen, view: View, interval: Duration) -> Result<(), TopError> {
    // Whether there is a daemon at all is said without a screen of its own.
    let now = look(admin).await.map_err(TopError::Ask)?;
    let mut terminal = ratatui::try_init().map_err(TopError::Write)?;
    let ended = draw(&mut terminal, admin, Screen::new(view, now), interval).await;
    ratatui::restore();
    ended
}

async fn draw(
    terminal: &mut DefaultTerminal,
    admin: &AdminListen,
    mut screen: Screen,
    interval: Duration,
) -> Result<(), TopError> {
    let mut keys = keys().map_err(TopError::Write)?;
    let mut at = Instant::now();
    loop {
        terminal.draw(|frame| screen.draw(frame)).map_err(TopError::Write)?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) if key.kind != KeyEventKind::Release && screen.press(key) => return Ok(()),
                Some(_) => {}
                // Nobody can end it by a key any more.
                None => return Ok(()),
            },
            () = tokio::time::sleep_until(at + interval) => {
                match look(admin).await {
                    Ok(rows) => screen.take(rows, at.elapsed()),
                    Err(error) => screen.trouble = Some(chain(&error).to_string()),
                }
                at = Instant::now();
            }
        }
    }
}

/// What is typed, by a thread that waits for it. It ends with the process.
fn keys() -> io::Result<Receiver<Event>> {
    let (sender, keys) = channel(KEYS);
    let read = move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read)?;
    Ok(keys)
}

impl Screen {
    fn new(view: View, now: Rows) -> Screen {
        let before = now.clone();
        let took = Duration::from_secs(1);
        Screen { view, before, now, took, is_paused: false, is_writing: false, past: 0, trouble: None }
    }

    /// The daemon answered.
    fn take(&mut self, rows: Rows, took: Duration) {
        self.trouble = None;
        if !self.is_paused {
            self.before = std::mem::replace(&mut self.now, rows);
            self.took = took;
        }
    }

    /// A key was pressed; `true`: that was enough.
    fn press(&mut self, key: KeyEvent) -> bool {
        let is_control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Char('c' | 'd') if is_control => return true,
            KeyCode::Enter if self.is_writing => self.is_writing = false,
            KeyCode::Esc if self.is_writing => {
                self.is_writing = false;
                self.view.filter.clear();
            }
            KeyCode::Backspace if self.is_writing => {
                self.view.filter.pop();
            }
            KeyCode::Char(c) if self.is_writing => self.write(c),
            KeyCode::Char('q') => return true,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('s') => self.view.sort = next_sort(self.view.sort),
            KeyCode::Char('g') => self.view.by = next_by(self.view.by),
            KeyCode::Char('/') => self.is_writing = true,
            KeyCode::Esc => self.view.filter.clear(),
            KeyCode::Down | KeyCode::Char('j') => self.past += 1,
            KeyCode::Up | KeyCode::Char('k') => self.past = self.past.saturating_sub(1),
            _ => {}
        }
        false
    }

    fn write(&mut self, c: char) {
        if self.view.filter.len() < FILTER_MAX && !c.is_control() {
            self.view.filter.push(c);
        }
    }

    fn draw(&mut self, frame: &mut Frame<'_>) {
        let lines = self.view.lines(&self.before, &self.now, self.took);
        self.past = self.past.min(lines.len().saturating_sub(1));
        let [head, body, foot] =
            Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(1)])
                .areas(frame.area());
        frame.render_widget(Paragraph::new(self.head(&lines)), head);
        frame.render_widget(table(&lines[self.past..]), body);
        let foot_text = match &self.trouble {
            Some(trouble) => plain(trouble).into_owned(),
            None => HELP.to_owned(),
        };
        frame.render_widget(Paragraph::new(foot_text), foot);
    }

    fn head(&self, lines: &[Line]) -> String {
        let rate = lines.iter().fold(0.0, |sum, line| sum + line.rate);
        let errors: u64 = lines.iter().map(|line| line.errors).sum();
        let filter = match (self.is_writing, self.view.filter.is_empty()) {
            (true, _) => format!("  filter: {}_", plain(&self.view.filter)),
            (false, false) => format!("  filter: {}", plain(&self.view.filter)),
            (false, true) => String::new(),
        };
        let paused = if self.is_paused { "  PAUSED" } else { "" };
        let (by, sort) = (word_by(self.view.by), word_sort(self.view.sort));
        format!(
            "sidecar top  {rate:.0} req/s  {errors} errors  {} rows  by {by}  sort {sort}{filter}{paused}",
            lines.len()
        )
    }
}

fn table(lines: &[Line]) -> Table<'static> {
    let cell = |(n, text): (usize, String)| {
        let alignment = if n < 4 { Alignment::Left } else { Alignment::Right };
        Cell::from(Text::from(text).alignment(alignment))
    };
    let rows = lines.iter().map(|line| {
        let style = if line.errors > 0 { Style::new().add_modifier(Modifier::BOLD) } else { Style::new() };
        Row::new(line.cells().into_iter().enumerate().map(cell)).style(style)
    });
    let header = HEADERS.map(str::to_owned).into_iter().enumerate().map(cell);
    let header = Row::new(header).style(Style::new().add_modifier(Modifier::REVERSED));
    let widths = [
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Fill(3),
        Constraint::Fill(2),
        Constraint::Length(6),
        Constraint::Length(5),
        Constraint::Length(6),
        Constraint::Length(6),
    ];
    Table::new(rows, widths).header(header).column_spacing(1)
}

fn next_by(by: By) -> By {
    match by {
        By::All => By::Protocol,
        By::Protocol => By::Route,
        By::Route => By::Peer,
        By::Peer => By::All,
    }
}

fn word_by(by: By) -> &'static str {
    match by {
        By::All => "all",
        By::Protocol => "protocol",
        By::Route => "route",
        By::Peer => "peer",
    }
}

fn next_sort(sort: Sort) -> Sort {
    match sort {
        Sort::Rate => Sort::Errors,
        Sort::Errors => Sort::P50,
        Sort::P50 => Sort::P99,
        Sort::P99 => Sort::Name,
        Sort::Name => Sort::Rate,
    }
}

fn word_sort(sort: Sort) -> &'static str {
    match sort {
        Sort::Rate => "rate",
        Sort::Errors => "errors",
        Sort::P50 => "p50",
        Sort::P99 => "p99",
        Sort::Name => "name",
    }
}
