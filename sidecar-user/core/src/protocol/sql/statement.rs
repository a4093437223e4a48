//! Tokens to operations and targets. One pass, with a level for each parenthesis that is open.

use super::keywords::{self, Kind, Row, Then};
use super::lexer::Token;
use super::written::Written;
use super::{Dialect, SUMMARY_MAX, Summary};

/// Parentheses in each other; a text with more is not understood.
const LEVELS_MAX: usize = 64;
/// Names of common table expressions; a text with more is not understood.
const NAMES_MAX: usize = 16;

#[derive(Debug)]
pub(super) struct Statements {
    dialect: Dialect,
    written: Written,
    /// Those that are open; the first is the statement itself.
    levels: Vec<Level>,
    /// A target whose end has not come.
    target: Option<Target>,
    /// Names that are no tables.
    names: Vec<Box<str>>,
    /// The last word, where it matters.
    before: &'static str,
    /// The last token was a dot: what follows is part of a name.
    is_qualified: bool,
    /// The last token was `@`: what follows is a variable's name, or a host's.
    is_variable: bool,
    is_understood: bool,
}

#[derive(Debug)]
struct Level {
    place: Place,
    /// A target comes next.
    expects: bool,
    then: Then,
    /// A JOIN has come that may have its USING.
    has_joined: bool,
    /// Names of common table expressions outside of it.
    n_names: usize,
    /// The name of the common table expression that is being read.
    name: Box<str>,
}

/// Where the next token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// At the beginning of a statement, or of what is in parentheses.
    Fresh(Fresh),
    /// After an operation's first word, before its tables.
    Head,
    /// In a list of tables.
    Tables,
    /// Before or in a list of names; these words may come before each.
    Names(&'static [&'static str]),
    /// Before one name; what comes after it.
    Name { skips: &'static [&'static str], is_collection: bool, after: After },
    /// In what only a query matters of.
    Rest,
    /// In what nothing matters of, to the end of the statement.
    Ignored,
    /// The same, to the end of the text.
    Over,
    /// After WITH.
    With(With),
    /// After EXPLAIN.
    Explain,
    /// After CREATE, ALTER or DROP.
    Kind { verb: &'static str, is_materialized: bool, has_definer: bool },
    /// After a word that may be the first of an operation's two.
    Second { first: &'static str, seconds: &'static [&'static str] },
}

/// What may begin here, and what it is if none of that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fresh {
    Statement,
    /// What a common table expression stands for.
    Body,
    /// A query, or tables.
    Tables,
    /// A query, or anything.
    Expression,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    Rest,
    Head,
    Ignored,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum With {
    Name { is_recursive: bool },
    As { is_recursive: bool },
    Body { is_recursive: bool },
    Done { is_recursive: bool },
}

#[derive(Debug)]
struct Target {
    text: String,
    is_hidden: bool,
    is_qualified: bool,
    /// Its last token was a dot.
    is_open: bool,
}

impl Level {
    fn new(place: Place, n_names: usize) -> Self {
        Level { place, expects: false, then: Then::Ignored, has_joined: false, n_names, name: Box::default() }
    }
}

impl Statements {
    pub(super) fn new(dialect: Dialect) -> Self {
        Statements {
            dialect,
            written: Written::default(),
            levels: vec![Level::new(Place::Fresh(Fresh::Statement), 0)],
            target: None,
            names: Vec::new(),
            before: "",
            is_qualified: false,
            is_variable: false,
            is_understood: true,
        }
    }

    pub(super) fn token(&mut self, token: Token<'_>) {
        if !self.is_understood || self.level().place == Place::Over {
            return;
        }
        if self.target.is_some() && self.continue_target(token) {
            return;
        }
        let (is_qualified, is_variable) = (self.is_qualified, self.is_variable);
        self.is_qualified = token == Token::Symbol(b'.');
        self.is_variable = token == Token::Symbol(b'@');
        match token {
            Token::Symbol(b';') if self.levels.len() == 1 => self.end_statement(),
            Token::Symbol(b'(') => self.open(),
            Token::Symbol(b')') => self.close(),
            Token::Symbol(b',') => self.comma(),
            // Part of a name that nobody asked for.
            Token::Word(_) | Token::Name(_) | Token::Hidden | Token::Literal
                if is_qualified || is_variable => {}
            Token::Word(word) => self.word(word),
            Token::Name(_) | Token::Hidden | Token::Literal => self.other(token),
            Token::Symbol(_) => self.settle(),
        }
        if !matches!(token, Token::Word(_)) {
            self.before = "";
        }
    }

    pub(super) fn finish(mut self) -> Summary {
        if self.target.is_some() {
            self.end_target(Token::Symbol(b';'));
        }
        self.end_statement();
        if self.is_understood { self.written.finish() } else { Summary::default() }
    }

    pub(super) fn cut(self) -> Summary {
        if self.is_understood { self.written.cut() } else { Summary::default() }
    }

    pub(super) fn held(&self) -> usize {
        let names = |names: &[Box<str>]| names.iter().map(|name| name.len()).sum::<usize>();
        self.levels.capacity() * size_of::<Level>()
            + self.levels.iter().map(|level| level.name.len()).sum::<usize>()
            + self.names.capacity() * size_of::<Box<str>>()
            + names(&self.names)
            + self.target.as_ref().map_or(0, |target| target.text.capacity())
            + self.written.held()
    }

    fn level(&mut self) -> &mut Level {
        self.levels.last_mut().expect("the statement's own level is always there")
    }

    fn now(&mut self) -> (Place, bool) {
        let level = self.level();
        (level.place, level.expects)
    }

    fn at(&mut self, place: Place) {
        self.level().place = place;
    }

    fn end_statement(&mut self) {
        match self.levels[0].place {
            // `;` alone, or what only parentheses were of.
            Place::Fresh(_) => {}
            Place::Second { first, .. } => self.written.operation([first, ""]),
            Place::Kind { verb, .. } => self.written.operation([verb, ""]),
            _ => {}
        }
        self.levels.truncate(1);
        self.levels[0] = Level::new(Place::Fresh(Fresh::Statement), 0);
        self.names.clear();
        self.before = "";
    }

    /// What is in parentheses.
    fn open(&mut self) {
        if self.levels.len() >= LEVELS_MAX {
            self.is_understood = false;
            return;
        }
        let n_names = self.names.len();
        let level = self.level();
        let place = match level.place {
            Place::Fresh(fresh) => Place::Fresh(fresh),
            Place::Ignored => Place::Ignored,
            Place::Tables if level.expects => Place::Fresh(Fresh::Tables),
            Place::With(With::Body { .. }) => Place::Fresh(Fresh::Body),
            Place::Head
            | Place::Tables
            | Place::Names(_)
            | Place::Name { .. }
            | Place::Rest
            | Place::With(_)
            | Place::Explain
            | Place::Kind { .. }
            | Place::Second { .. }
            | Place::Over => Place::Fresh(Fresh::Expression),
        };
        self.levels.push(Level::new(place, n_names));
    }

    fn close(&mut self) {
        if self.levels.len() == 1 {
            return;
        }
        let n_names = self.level().n_names;
        self.levels.pop();
        self.names.truncate(n_names);
        let level = self.level();
        match level.place {
            Place::Tables => level.expects = false,
            Place::Fresh(Fresh::Tables) => level.place = Place::Tables,
            Place::Fresh(_) => level.place = Place::Rest,
            // COPY (SELECT …) TO.
            Place::Name { .. } => level.place = Place::Rest,
            Place::With(With::Body { is_recursive }) => {
                level.place = Place::With(With::Done { is_recursive });
                if !is_recursive {
                    self.add_name();
                }
            }
            _ => {}
        }
    }

    /// The common table expression's name is known from here on.
    fn add_name(&mut self) {
        let name = std::mem::take(&mut self.level().name);
        if self.names.len() >= NAMES_MAX {
            self.is_understood = false;
        } else if !name.is_empty() {
            self.names.push(name);
        }
    }

    fn comma(&mut self) {
        self.settle();
        let level = self.level();
        match level.place {
            Place::Tables => (level.expects, level.has_joined) = (true, false),
            Place::Names(_) => level.expects = true,
            Place::With(With::Done { is_recursive }) => {
                level.place = Place::With(With::Name { is_recursive })
            }
            _ => {}
        }
    }

    /// What is no query in parentheses is what it is otherwise.
    fn settle(&mut self) {
        let level = self.level();
        match level.place {
            Place::Fresh(Fresh::Statement) => self.is_understood = false,
            Place::Fresh(Fresh::Tables) => (level.place, level.expects) = (Place::Tables, true),
            Place::Fresh(Fresh::Body | Fresh::Expression) => level.place = Place::Rest,
            _ => {}
        }
    }

    /// A name in quotes, or one that is not shown, or a literal.
    fn other(&mut self, token: Token<'_>) {
        self.settle();
        let (place, expects) = self.now();
        match place {
            Place::Tables | Place::Names(_) if expects => self.begin_target(token),
            Place::Name { .. } => self.begin_target(token),
            Place::With(With::Name { is_recursive }) => self.name_with(token, is_recursive),
            _ => {}
        }
    }

    fn word(&mut self, word: &str) {
        let mut upper = [0; 24];
        let key = upper_case(word, &mut upper);
        let before = std::mem::replace(&mut self.before, keywords::kept(key));
        let (place, expects) = self.now();
        match place {
            Place::Fresh(fresh) => self.begin(fresh, word, key),
            // The body of a function, with statements of its own.
            Place::Ignored if key == "ATOMIC" => self.at(Place::Over),
            Place::Ignored | Place::Over => {}
            // A column may be called so.
            Place::Head if key == "SELECT" && before == "AS" => {}
            _ if key == "SELECT" => self.query("SELECT", Then::Select),
            Place::Head => self.in_head(key, before),
            Place::Tables => self.in_tables(word, key, before),
            Place::Names(skips) if expects && !skips.contains(&key) => {
                self.begin_target(Token::Word(word));
            }
            Place::Names(_) => {}
            Place::Name { skips, .. } if skips.contains(&key) => {}
            Place::Name { after, .. } if keywords::is_reserved(key) => {
                self.after(after);
            }
            Place::Name { .. } => self.begin_target(Token::Word(word)),
            Place::Rest if key == "WITH" && self.may_have_with(before) => {
                self.at(Place::With(With::Name { is_recursive: false }));
            }
            Place::Rest if key == "INTO" && self.level().then == Then::Load => {
                let place = Place::Name { skips: &["TABLE"], is_collection: true, after: After::Ignored };
                self.at(place);
            }
            Place::Rest => {}
            Place::With(with) => self.in_with(with, word, key),
            Place::Explain => {
                if let Some(row) = keywords::row_of(key).filter(|row| row.is_explained()) {
                    self.start(row);
                }
            }
            Place::Kind { verb, is_materialized, has_definer } => {
                self.kind(verb, key, is_materialized, has_definer);
            }
            Place::Second { first, seconds } => self.second(first, seconds, key),
        }
    }

    /// The first word of a statement, or in parentheses.
    fn begin(&mut self, fresh: Fresh, word: &str, key: &str) {
        let row = keywords::row_of(key);
        let row = match fresh {
            Fresh::Statement => {
                // What nobody knows may be anything.
                self.is_understood &= row.is_some();
                self.written.statement();
                row
            }
            Fresh::Body => row.filter(|row| row.is_query()),
            Fresh::Tables | Fresh::Expression => row.filter(|row| {
                matches!(row.then, Then::Select | Then::With)
                    || row.word == "VALUES" && self.dialect == Dialect::PostgreSql
            }),
        };
        match row {
            Some(row) => self.start(row),
            None => {
                self.settle();
                if self.is_understood {
                    self.word(word);
                }
            }
        }
    }

    /// An operation begins.
    fn start(&mut self, row: &'static Row) {
        let level = self.level();
        level.then = row.then;
        level.expects = false;
        level.has_joined = false;
        let one = |skips, is_collection, after| Place::Name { skips, is_collection, after };
        let (place, expects) = match row.then {
            Then::Select | Then::Delete => (Place::Head, false),
            Then::Update | Then::Merge => (Place::Tables, true),
            Then::Into(skips) => (one(skips, true, After::Rest), false),
            Then::Names(skips) => (Place::Names(skips), true),
            Then::Called => (one(NO_SKIPS, false, After::Ignored), false),
            Then::Query => (Place::Rest, false),
            Then::Ignored => (Place::Ignored, false),
            Then::Explain => (Place::Explain, false),
            Then::With => (Place::With(With::Name { is_recursive: false }), false),
            Then::Kind => (Place::Kind { verb: row.word, is_materialized: false, has_definer: false }, false),
            Then::Load => (Place::Second { first: row.word, seconds: &["DATA", "XML"] }, false),
            Then::Second(seconds) => (Place::Second { first: row.word, seconds }, false),
        };
        (level.place, level.expects) = (place, expects);
        if !matches!(row.then, Then::With | Then::Kind | Then::Load | Then::Second(_)) {
            self.written.operation([row.word, ""]);
        }
    }

    fn query(&mut self, word: &'static str, then: Then) {
        let level = self.level();
        (level.place, level.expects, level.then) = (Place::Head, false, then);
        self.written.operation([word, ""]);
    }

    fn in_head(&mut self, key: &str, before: &str) {
        let then = self.level().then;
        match key {
            "FROM" if before != "DISTINCT" => {
                let level = self.level();
                (level.place, level.expects, level.has_joined) = (Place::Tables, true, false);
            }
            // A table that is made of it. MySQL's INTO names variables and files.
            "INTO" if then == Then::Select && self.dialect == Dialect::PostgreSql => {
                let skips = &["TEMP", "TEMPORARY", "UNLOGGED", "TABLE", "LOCAL", "GLOBAL"];
                self.at(Place::Name { skips, is_collection: true, after: After::Head });
            }
            "WHERE" | "RETURNING" | "ORDER" | "LIMIT" => self.at(Place::Rest),
            _ => {}
        }
    }

    fn in_tables(&mut self, word: &str, key: &str, before: &str) {
        let is_change = matches!(self.level().then, Then::Delete | Then::Merge);
        let is_update = self.level().then == Then::Update;
        let level = self.level();
        match key {
            // MySQL: USE INDEX FOR JOIN (…).
            "FOR" if matches!(before, "INDEX" | "KEY") => {}
            "JOIN" if before == "FOR" => {}
            "JOIN" | "STRAIGHT_JOIN" => (level.expects, level.has_joined) = (true, true),
            "USING" if level.has_joined => level.has_joined = false,
            "USING" if is_change => level.expects = true,
            "SET" if is_update => (level.place, level.expects) = (Place::Head, false),
            _ if keywords::ends_tables(key) && !(level.expects && keywords::BEFORE_TABLE.contains(&key)) => {
                (level.place, level.expects) = (Place::Rest, false);
            }
            _ if !level.expects || keywords::BEFORE_TABLE.contains(&key) => {}
            // Functions and literals of tables.
            "TABLE" | "VALUES" => level.expects = false,
            _ if keywords::is_reserved(key) => {}
            _ => self.begin_target(Token::Word(word)),
        }
    }

    /// Whether WITH begins common table expressions here.
    fn may_have_with(&mut self, before: &str) -> bool {
        matches!(before, "AS" | "FOR") || matches!(self.level().then, Then::Into(_))
    }

    fn in_with(&mut self, with: With, word: &str, key: &str) {
        match with {
            With::Name { is_recursive: false } if key == "RECURSIVE" => {
                self.at(Place::With(With::Name { is_recursive: true }));
            }
            With::Name { is_recursive } => self.name_with(Token::Word(word), is_recursive),
            With::As { is_recursive } if key == "AS" => {
                self.at(Place::With(With::Body { is_recursive }));
                if is_recursive {
                    self.add_name();
                }
            }
            With::Done { .. } => {
                let row = keywords::row_of(key).filter(|row| row.is_query() || row.word == "REPLACE");
                if let Some(row) = row.filter(|row| row.then != Then::With) {
                    self.start(row);
                }
            }
            With::As { .. } | With::Body { .. } => {}
        }
    }

    /// The name of a common table expression.
    fn name_with(&mut self, token: Token<'_>, is_recursive: bool) {
        let name = match token {
            Token::Word(name) | Token::Name(name) => bare(name),
            Token::Hidden | Token::Literal | Token::Symbol(_) => "",
        };
        let level = self.level();
        level.name = name.into();
        level.place = Place::With(With::As { is_recursive });
    }

    fn kind(&mut self, verb: &'static str, key: &str, is_materialized: bool, has_definer: bool) {
        let Some((word, kind)) = keywords::kind_of(key) else {
            if keywords::is_modifier(key) || has_definer {
                let is_materialized = is_materialized || key == "MATERIALIZED";
                let has_definer = has_definer || key == "DEFINER";
                self.at(Place::Kind { verb, is_materialized, has_definer });
            } else {
                self.written.operation([verb, ""]);
                self.at(Place::Ignored);
            }
            return;
        };
        let is_made = verb == "CREATE";
        self.written.operation([verb, if is_materialized { "MATERIALIZED VIEW" } else { word }]);
        let after = match kind {
            Kind::Table if is_made => After::Rest,
            Kind::Program if is_made && self.dialect != Dialect::PostgreSql => After::Over,
            _ => After::Ignored,
        };
        match kind {
            Kind::Hidden => self.at(Place::Ignored),
            // A list of names may follow.
            Kind::Table if verb == "DROP" => {
                self.at(Place::Names(keywords::BEFORE_NAME));
                self.level().expects = true;
            }
            _ => {
                let is_collection = kind == Kind::Table;
                self.at(Place::Name { skips: keywords::BEFORE_NAME, is_collection, after });
            }
        }
    }

    fn second(&mut self, first: &'static str, seconds: &'static [&'static str], key: &str) {
        if matches!(key, "WORK" | "TRANSACTION") && !seconds.contains(&key) {
            return;
        }
        let second = seconds.iter().find(|second| **second == key);
        self.written.operation([first, second.copied().unwrap_or_default()]);
        self.at(if first == "LOAD" && second.is_some() { Place::Rest } else { Place::Ignored });
    }

    fn after(&mut self, after: After) {
        self.at(match after {
            After::Rest => Place::Rest,
            After::Head => Place::Head,
            After::Ignored => Place::Ignored,
            After::Over => Place::Over,
        });
    }

    fn begin_target(&mut self, first: Token<'_>) {
        self.level().expects = false;
        self.target =
            Some(Target { text: String::new(), is_hidden: false, is_qualified: false, is_open: false });
        self.add_to_target(first);
    }

    fn add_to_target(&mut self, part: Token<'_>) {
        let Some(target) = &mut self.target else { return };
        match part {
            Token::Word(name) | Token::Name(name) if target.text.len() + name.len() <= SUMMARY_MAX => {
                target.text.push_str(name);
            }
            Token::Symbol(b'.') if target.text.len() < SUMMARY_MAX => target.text.push('.'),
            _ => target.is_hidden = true,
        }
    }

    /// Another token of a target, if it is one.
    fn continue_target(&mut self, token: Token<'_>) -> bool {
        let Some(target) = &mut self.target else { return false };
        let was_open = std::mem::replace(&mut target.is_open, token == Token::Symbol(b'.'));
        match token {
            Token::Symbol(b'.') => {
                target.is_qualified = true;
                self.add_to_target(token);
            }
            Token::Word(_) | Token::Name(_) | Token::Hidden | Token::Literal if was_open => {
                self.add_to_target(token);
            }
            _ => {
                self.end_target(token);
                return false;
            }
        }
        true
    }

    fn end_target(&mut self, next: Token<'_>) {
        let Some(Target { text, is_hidden, is_qualified, .. }) = self.target.take() else { return };
        let text = text.trim_end_matches('.');
        let place = self.level().place;
        let is_function = next == Token::Symbol(b'(');
        match place {
            // ROWS FROM (f(), g()).
            Place::Tables
                if text.eq_ignore_ascii_case("rows")
                    && matches!(next, Token::Word(word) if word.eq_ignore_ascii_case("from")) =>
            {
                self.level().expects = true;
                return;
            }
            Place::Tables if !is_qualified && self.is_name(text) => return,
            Place::Name { after, .. } => self.after(after),
            _ => {}
        }
        let is_collection = match place {
            Place::Tables => !is_function,
            Place::Name { is_collection, .. } => is_collection,
            _ => true,
        };
        self.written.target(Some(text).filter(|_| !is_hidden), is_collection);
    }

    fn is_name(&self, text: &str) -> bool {
        self.names.iter().any(|name| name.eq_ignore_ascii_case(bare(text)))
    }
}

const NO_SKIPS: &[&str] = &[];

/// A name without its quotes.
fn bare(name: &str) -> &str {
    name.trim_matches(['"', '`'])
}

/// A word in upper case, if it is short enough to be a keyword.
fn upper_case<'a>(word: &str, into: &'a mut [u8; 24]) -> &'a str {
    let Some(upper) = into.get_mut(..word.len()) else { return "" };
    upper.copy_from_slice(word.as_bytes());
    upper.make_ascii_uppercase();
    std::str::from_utf8(upper).unwrap_or_default()
}
