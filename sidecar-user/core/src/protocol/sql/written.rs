//! The summary as it grows.

use super::{SUMMARY_MAX, Summary};

#[derive(Debug, Default)]
pub(super) struct Written {
    text: String,
    /// Something did not fit.
    is_full: bool,
    operation: String,
    n_operations: u32,
    collection: Collection,
    n_statements: u32,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Collection {
    #[default]
    None,
    One(String),
    /// More than one, or one that cannot be shown.
    Other,
}

impl Written {
    pub(super) fn statement(&mut self) {
        self.n_statements = self.n_statements.saturating_add(1);
    }

    /// An operation; of one or of two words.
    pub(super) fn operation(&mut self, words: [&str; 2]) {
        self.n_operations = self.n_operations.saturating_add(1);
        let begins_at = self.text.len();
        self.word(words[0]);
        if !words[1].is_empty() {
            self.word(words[1]);
        }
        if self.n_operations == 1 {
            self.text[begins_at..].clone_into(&mut self.operation);
        }
    }

    /// What an operation is on; `None` cannot be shown.
    pub(super) fn target(&mut self, name: Option<&str>, is_collection: bool) {
        if let Some(name) = name {
            self.word(name);
        }
        self.collection = match (std::mem::take(&mut self.collection), name.filter(|_| is_collection)) {
            (Collection::None, Some(name)) => Collection::One(name.to_owned()),
            (Collection::One(one), Some(name)) if one == name => Collection::One(one),
            _ => Collection::Other,
        };
    }

    fn word(&mut self, word: &str) {
        let space = usize::from(!self.text.is_empty());
        self.is_full |= self.text.len() + space + word.len() > SUMMARY_MAX;
        if self.is_full {
            return;
        }
        if space == 1 {
            self.text.push(' ');
        }
        self.text.push_str(word);
    }

    pub(super) fn finish(self) -> Summary {
        let is_lone = self.n_operations == 1;
        let collection = match self.collection {
            Collection::One(name) if is_lone => Some(name.into()),
            _ => None,
        };
        Summary {
            operation: is_lone.then(|| self.operation.into()),
            collection,
            summary: Some(self.text).filter(|text| !text.is_empty()).map(Into::into),
            statements: Some(self.n_statements),
        }
    }

    /// What holds whatever follows.
    pub(super) fn cut(self) -> Summary {
        let summary = Some(self.text).filter(|_| self.is_full).map(Into::into);
        Summary { summary, ..Summary::default() }
    }

    pub(super) fn held(&self) -> usize {
        let collection = match &self.collection {
            Collection::One(name) => name.capacity(),
            Collection::None | Collection::Other => 0,
        };
        self.text.capacity() + self.operation.capacity() + collection
    }
}
