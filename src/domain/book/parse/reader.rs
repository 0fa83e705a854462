//! A cursor over TOML that knows where everything stands.
//!
//! Whatever is wrong is noted with its place and reading goes on, so that one pass finds all mistakes. A value
//! with a mistake reads as absent (`None`): that is safe because a book with any mistake is never made.
//! A key that no reader asks for is a mistake too, so the readers themselves are the list of what is allowed.

use std::ops::Range;

use toml::de::DeTable;

use crate::domain::book::SourceFile;
use crate::domain::book::mistake::Mistake;
use crate::domain::book::mistake::Mistakes;
use crate::domain::book::mistake::either;
use crate::domain::book::mistake::nearest;
use crate::domain::book::parse::value::Value;

/// A file that is being read, and where to note what is wrong in it.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub file: &'a SourceFile,
    pub mistakes: &'a Mistakes,
}

/// A table, and which of its keys have been asked for.
pub struct Table<'a> {
    source: Source<'a>,
    /// What it is, for messages: `meter`, `tier`.
    what: &'static str,
    span: Range<usize>,
    entries: &'a DeTable<'a>,
    asked: Vec<&'static str>,
    /// Keys that must be there and are not, with what to do.
    missing: Vec<(&'static str, String)>,
    rest_accepted: bool,
}

impl<'a> Source<'a> {
    /// Notes a mistake at some bytes of the file.
    pub fn note(&self, span: Range<usize>, key: &str, code: &'static str, message: String, fix: impl Into<String>) {
        let text = &self.file.text;
        let start = text.floor_char_boundary(span.start.min(text.trim_end().len()));
        let end = text.floor_char_boundary(span.end).max(start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
        let meant = text[start..end].lines().next().unwrap_or_default();
        self.mistakes.note(Mistake {
            file: self.file.path.clone(),
            line: self.line(start),
            column: before[line_start..].chars().count().saturating_add(1),
            width: meant.trim_end().chars().count().max(1),
            key: key.to_owned(),
            code,
            message,
            fix: Some(fix.into()),
        });
    }

    /// Notes a mistake of the file as a whole.
    pub fn note_file(&self, code: &'static str, message: String, fix: &str) {
        self.note(0..0, "", code, message, fix);
    }

    /// The line, from 1, of a byte.
    pub fn line(&self, at: usize) -> usize {
        let before = self.file.text.as_bytes().iter().take(at);
        before.filter(|byte| **byte == b'\n').count().saturating_add(1)
    }
}

impl<'a> Table<'a> {
    /// Reads a table, then notes the keys that were not asked for and those that are missing.
    pub fn read<T>(
        source: Source<'a>,
        what: &'static str,
        span: Range<usize>,
        entries: &'a DeTable<'a>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut table =
            Self { source, what, span, entries, asked: Vec::new(), missing: Vec::new(), rest_accepted: false };
        let made = read(&mut table);
        table.note_keys();
        made
    }

    /// The value of a key, if it is there.
    pub fn get(&mut self, key: &'static str) -> Option<Value<'a>> {
        self.asked.push(key);
        let (found, value) = self.entries.get_key_value(key)?;
        Some(Value { source: self.source, key: found.get_ref(), span: value.span(), raw: value.get_ref() })
    }

    /// Reads a key that may be left out.
    pub fn optional<T>(&mut self, key: &'static str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        self.get(key).and_then(read)
    }

    /// Reads a key that must be there.
    pub fn required<T>(&mut self, key: &'static str, read: impl FnOnce(Value<'a>) -> Option<T>) -> Option<T> {
        let value = self.get(key);
        if value.is_none() {
            self.lacks(key, format!("add `{key} = …`"));
        }
        value.and_then(read)
    }

    /// Reads a key that may be left out, where a mistake (`None`) is not the same as nothing (`Some(None)`).
    pub fn optional_exact<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(Value<'a>) -> Option<T>,
    ) -> Option<Option<T>> {
        match self.get(key) {
            Some(value) => read(value).map(Some),
            None => Some(None),
        }
    }

    /// Reads every item of a list that may be left out.
    pub fn each<T>(&mut self, key: &'static str, read: impl FnMut(Value<'a>) -> Option<T>) -> Vec<T> {
        let items = self.optional(key, Value::items).unwrap_or_default();
        items.into_iter().filter_map(read).collect()
    }

    /// Notes, at the end, that a key is missing.
    pub fn lacks(&mut self, key: &'static str, fix: String) {
        self.missing.push((key, fix));
    }

    /// Refuses a key that other tables of this kind may have.
    pub fn refuse(&mut self, key: &'static str, code: &'static str, why: &str, fix: &str) {
        if let Some((known, _)) = self.entries.get_key_value(key) {
            self.asked.push(key);
            self.source.note(known.span(), key, code, format!("`{key}`: {why}"), fix);
        }
    }

    /// Refuses keys of the format that this version does not read yet.
    pub fn not_yet(&mut self, keys: &[&'static str]) {
        for key in keys {
            self.refuse(key, "not_supported_yet", "this version does not know it yet", "leave it out");
        }
    }

    /// Calls the table by a more exact name in messages.
    pub fn call_it(&mut self, what: &'static str) {
        self.what = what;
    }

    pub fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Accepts whatever else there is: what it ought to be is not known because of a mistake already noted.
    pub fn accept_rest(&mut self) {
        self.rest_accepted = true;
    }

    /// Notes a mistake of the table as a whole, under the key it is about.
    pub fn note(&self, key: &str, code: &'static str, message: String, fix: impl Into<String>) {
        self.source.note(self.span.clone(), key, code, message, fix);
    }

    /// Notes unknown and missing keys: as one mistake where an unknown one is likely to be the missing one misnamed.
    fn note_keys(mut self) {
        let missing: Vec<&str> = self.missing.iter().map(|(missing, _)| *missing).collect();
        let is_slip = |name: &str| nearest(name, missing.iter().copied()).is_some();
        let is_unknown = |name: &str| !self.asked.contains(&name) && (!self.rest_accepted || is_slip(name));
        let unknown: Vec<_> = self.entries.keys().filter(|key| is_unknown(key.get_ref())).collect();
        let alone = unknown.len() == 1 && self.missing.len() == 1;
        for key in unknown {
            let name = key.get_ref().as_ref();
            let absent = self.asked.iter().copied().filter(|known| !self.entries.contains_key(*known));
            let only_missing = self.missing.first().filter(|_| alone).map(|(missing, _)| *missing);
            let meant = nearest(name, absent).or(only_missing);
            self.missing.retain(|(missing, _)| Some(*missing) != meant);
            let fix = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("it may have {}", either(self.asked.iter().copied())),
            };
            let message = format!("unknown key `{name}` in this {}", self.what);
            self.source.note(key.span(), name, "unknown_key", message, fix);
        }
        for (key, fix) in &self.missing {
            self.note(key, "missing_key", format!("this {} has no `{key}`", self.what), fix);
        }
    }
}
