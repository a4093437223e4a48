//! A statement as others may see it, in as many bytes: its known words, what separates them, and the names that are in its summary.
//! Its summary is the same.

use super::keywords;
use super::lexer::{Lexer, Token};
use super::{Dialect, SUMMARY_MAX, Summary, summarize};

/// In the place of a name's letters: no word, and no prefix of a literal, is made of it.
const NAME: u8 = b'z';
/// The same where a name was not shown and is not to be.
const HIDDEN_NAME: u8 = 0x01;
const HIDDEN_WORD: u8 = 0x80;
/// In the place of what is in a literal.
const LITERAL: u8 = b'x';
/// Symbols that are shown. Others, and two of which something else may begin, are `+`.
const SYMBOLS: &[u8] = b"();,.@=<>+*%!|^~:&?[]{}";

/// The text without literals, comments, and names that are not in its summary. Where it is in no encoding that is known it may
/// have no summary any more.
#[must_use]
pub fn shown(text: &[u8], dialect: Dialect) -> Vec<u8> {
    let summary = summarize(text, dialect);
    if summary.statements.is_none() {
        return not_understood(text);
    }
    let shown = sifted(text, dialect, &summary);
    if summarize(&shown, dialect) == summary { shown } else { not_understood(text) }
}

fn sifted(text: &[u8], dialect: Dialect, summary: &Summary) -> Vec<u8> {
    let names = names(summary, dialect);
    let is_shown = |word: &str| keywords::is_known(word) || names.iter().any(|name| name == word);
    let mut shown = vec![b' '; text.len()];
    let mut lexer = Lexer::new(dialect);
    let mut end = 0;
    let mut show = |token: Token<'_>, span: std::ops::Range<usize>| {
        between_tokens(&text[end..span.start], &mut shown[end..span.start], dialect);
        end = span.end;
        let (from, to) = (&text[span.clone()], &mut shown[span]);
        match token {
            Token::Word(word) | Token::Name(word) if is_shown(word) => to.copy_from_slice(from),
            Token::Word(_) => to.fill(NAME),
            Token::Name(_) => between_quotes(from, to, NAME),
            Token::Hidden if from.contains(&b'"') || from.contains(&b'`') => {
                between_quotes(from, to, if from.len() > SUMMARY_MAX { NAME } else { HIDDEN_NAME });
            }
            Token::Hidden => to.fill(HIDDEN_WORD),
            Token::Literal => literal(from, to),
            Token::Symbol(symbol) => to.fill(if SYMBOLS.contains(&symbol) { symbol } else { b'+' }),
        }
    };
    lexer.push(text, &mut show);
    lexer.finish(&mut show);
    between_tokens(&text[end..], &mut shown[end..], dialect);
    shown
}

/// White space, and comments without what is in them.
fn between_tokens(from: &[u8], to: &mut [u8], dialect: Dialect) {
    let mut at = 0;
    while let Some(byte) = from.get(at) {
        let rest = &from[at..];
        let line = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        // How much of it is shown, at its beginning and at its end, and its length.
        let (first, last, len) = match rest {
            [b'/', b'*', b'!', version @ ..] if dialect != Dialect::PostgreSql => {
                let n = 3 + version.iter().take_while(|byte| byte.is_ascii_digit()).count();
                (n, 0, n)
            }
            [b'/', b'*', ..] => (2, 2, comment(rest, dialect)),
            [b'*', b'/', ..] => (2, 0, 2),
            [b'-', b'-', ..] => (2, 0, line),
            [b'#', ..] => (1, 0, line),
            _ => (usize::from(byte.is_ascii_whitespace()), 0, 1),
        };
        let (rest, to) = (&rest[..len], &mut to[at..at + len]);
        to[..first].copy_from_slice(&rest[..first]);
        to[len - last..].copy_from_slice(&rest[len - last..]);
        at += len;
    }
}

/// The length of a comment that bytes begin with: PostgreSQL's may have others in them.
fn comment(bytes: &[u8], dialect: Dialect) -> usize {
    let (mut depth, mut at) = (1, 2);
    while depth > 0 {
        at += match bytes.get(at..at + 2) {
            Some(b"*/") => {
                depth -= 1;
                2
            }
            Some(b"/*") if dialect == Dialect::PostgreSql => {
                depth += 1;
                2
            }
            Some(_) => 1,
            None => return bytes.len(),
        };
    }
    at
}

/// Words and names in a summary.
fn names(summary: &Summary, dialect: Dialect) -> Vec<String> {
    let mut names = Vec::new();
    let mut lexer = Lexer::new(dialect);
    let mut add = |token: Token<'_>, _| {
        if let Token::Word(name) | Token::Name(name) = token {
            names.push(name.to_owned());
        }
    };
    lexer.push(summary.summary.as_deref().unwrap_or_default().as_bytes(), &mut add);
    lexer.finish(&mut add);
    names
}

fn between_quotes(from: &[u8], to: &mut [u8], filler: u8) {
    let begins = from.iter().position(|byte| matches!(byte, b'"' | b'`')).map_or(0, |quote| quote + 1);
    to.fill(filler);
    to[..begins].copy_from_slice(&from[..begins]);
    if let (Some(from), Some(to)) = (from.last(), to.last_mut()) {
        *to = *from;
    }
}

fn literal(from: &[u8], to: &mut [u8]) {
    let is_number = from.iter().find(|byte| **byte != b'$').is_none_or(u8::is_ascii_digit);
    match to {
        [first, inside @ .., last] if !is_number || from.ends_with(b"$") => {
            inside.fill(LITERAL);
            (*first, *last) = (b'\'', b'\'');
        }
        _ => to.fill(b'0'),
    }
}

/// What has no summary either, and begins as the text does.
fn not_understood(text: &[u8]) -> Vec<u8> {
    let begins = text.len() - text.trim_ascii_start().len();
    let word = text[begins..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    let mut shown = vec![b'+'; text.len()];
    shown[..begins].fill(b' ');
    let is_all = begins + word == text.len();
    let (first, rest) = shown[begins..].split_at_mut(word);
    let is_known = std::str::from_utf8(&text[begins..begins + word]).is_ok_and(keywords::is_known);
    match is_known && !is_all {
        true => first.copy_from_slice(&text[begins..begins + word]),
        false => first.fill(NAME),
    }
    // An end that does not come.
    if let Some(first) = rest.first_mut().filter(|_| is_known) {
        *first = b'\'';
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, PostgreSql};

    #[test]
    fn statements() {
        for (dialect, text, expected) in [
            (
                PostgreSql,
                "SELECT secret, 'secret', 12.5 FROM items i WHERE i.id = $1 -- secret\n",
                "SELECT zzzzzz, 'xxxxxx', 0000 FROM items z WHERE z.zz = 00 --       \n",
            ),
            (PostgreSql, "SELECT $$secret$$ FROM \"t t\"", "SELECT 'xxxxxxxx' FROM \"t t\""),
            (PostgreSql, "SELECT \"secret\", e'sec\\'ret'", "SELECT \"zzzzzz\", 'xxxxxxxxx'"),
            (
                MySql,
                "SELECT /*!40001 SQL_NO_CACHE */ a FROM `t` WHERE b IN ('it''s', \"secret\") # secret",
                "SELECT /*!40001 zzzzzzzzzzzz */ z FROM `t` WHERE z IN ('xxxxx', 'xxxxxx') #       ",
            ),
            (PostgreSql, "secret is no statement", "zzzzzz++++++++++++++++"),
            (PostgreSql, "SELECT 'secret", "SELECT'+++++++"),
            (MySql, "use shop", "use shop"),
            (PostgreSql, "", ""),
            (PostgreSql, " /* secret */ ", " /*        */ "),
            (PostgreSql, "/* a /* b */ c */ BEGIN", "/*             */ BEGIN"),
        ] {
            let told = String::from_utf8_lossy(&shown(text.as_bytes(), dialect)).into_owned();
            assert_eq!(told, expected, "{text}");
        }
    }
}
