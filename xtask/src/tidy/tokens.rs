//! Paths, strings and macro calls in a token stream: syn does not parse what stands between a macro's brackets.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Default)]
pub(super) struct Found {
    pub(super) paths: Vec<(Vec<String>, usize)>,
    pub(super) strings: Vec<(String, usize)>,
    pub(super) macros: Vec<(String, usize)>,
}

pub(super) fn read(stream: TokenStream) -> Found {
    let mut found = Found::default();
    read_into(stream, &mut found);
    found
}

/// Whether a token, at any depth, reads so.
pub(super) fn any(stream: TokenStream, word: &str) -> bool {
    stream.into_iter().any(|token| match token {
        TokenTree::Group(group) => any(group.stream(), word),
        other => other.to_string() == word,
    })
}

fn read_into(stream: TokenStream, found: &mut Found) {
    let tokens: Vec<TokenTree> = stream.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => read_into(group.stream(), found),
            TokenTree::Literal(literal) => {
                if let Some(text) = string(&literal.to_string()) {
                    found.strings.push((text, literal.span().start().line));
                }
            }
            TokenTree::Ident(first) => {
                let line = first.span().start().line;
                let (segments, last) = path(&tokens, at);
                if is_call(&tokens, last)
                    && let Some(name) = segments.last()
                {
                    found.macros.push((name.clone(), line));
                }
                // A lone word may be anything: a variable, a field of a log line.
                if segments.len() > 1 {
                    found.paths.push((segments, line));
                }
                at = last;
            }
            TokenTree::Punct(_) => {}
        }
        at += 1;
    }
}

/// The path that begins at `at`, and the index of its last word.
fn path(tokens: &[TokenTree], mut at: usize) -> (Vec<String>, usize) {
    let mut segments = vec![tokens[at].to_string()];
    while is_punct(tokens, at + 1, ':') && is_punct(tokens, at + 2, ':') {
        let Some(TokenTree::Ident(next)) = tokens.get(at + 3) else { break };
        segments.push(next.to_string());
        at += 3;
    }
    (segments, at)
}

fn is_call(tokens: &[TokenTree], name: usize) -> bool {
    let is_open =
        |token: &TokenTree| matches!(token, TokenTree::Group(g) if g.delimiter() != Delimiter::None);
    is_punct(tokens, name + 1, '!') && tokens.get(name + 2).is_some_and(is_open)
}

fn is_punct(tokens: &[TokenTree], at: usize, sign: char) -> bool {
    matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == sign)
}

fn string(literal: &str) -> Option<String> {
    match syn::parse_str(literal).ok()? {
        syn::Lit::Str(text) => Some(text.value()),
        syn::Lit::ByteStr(bytes) => Some(String::from_utf8_lossy(&bytes.value()).into_owned()),
        syn::Lit::CStr(text) => Some(text.value().to_string_lossy().into_owned()),
        _ => None,
    }
}
