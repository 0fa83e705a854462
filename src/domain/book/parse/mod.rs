//! From the files of a price book to a [`Book`], or to every mistake in them.
//!
//! Sections are read in the order in which they refer to each other (catalog, meters, programs, plans), so that
//! each name is checked where it is used, with its place at hand.

mod calendar;
mod carry;
mod catalog;
mod commitment;
mod component;
#[cfg(test)]
mod example;
mod fields;
mod json;
mod meters;
mod milestones;
mod model;
mod named;
mod payouts;
mod plans;
mod programs;
mod reader;
mod settings;
mod share;
#[cfg(test)]
mod tests;
mod value;

use std::path::Path;

use toml::Spanned;
use toml::de::DeTable;

use crate::domain::book::Book;
use crate::domain::book::SourceFile;
use crate::domain::book::catalog::EventType;
use crate::domain::book::meter::Meter;
use crate::domain::book::mistake::Mistake;
use crate::domain::book::mistake::Mistakes;
use crate::domain::book::parse::json::JsonFiles;
use crate::domain::book::parse::named::Named;
use crate::domain::book::parse::reader::Source;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::settings::Settings;
use crate::domain::book::plan::Plan;
use crate::domain::book::program::Program;

/// Most often it is a quote.
const MEND_TOML: &str = "look for a quote or a bracket that is not closed, here or just before";

/// What a file is about, which its folder says. In the order in which they are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Section {
    Settings,
    Catalog,
    Meters,
    Programs,
    Plans,
}

/// A TOML file that could be read as TOML.
struct Document<'a> {
    section: Section,
    source: Source<'a>,
    entries: Spanned<DeTable<'a>>,
}

/// Everything read so far, by name.
struct Known {
    settings: Settings,
    event_types: Named<EventType>,
    meters: Named<Meter>,
    programs: Named<Program>,
    plans: Named<Plan>,
}

/// Mistakes of schemas and examples, at which older versions did not look. The event type is read all the same.
const OF_SCHEMAS: [&str; 3] = ["invalid_schema", "remote_reference", "example_breaks_schema"];

/// Reads a whole price book. Either it is right, or every mistake in it is returned, in the order of the files.
pub fn parse(files: &[SourceFile]) -> Result<Book, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let book = read(files, &mistakes);
    match book {
        Some(book) if mistakes.is_empty() => Ok(book),
        _ => Err(mistakes.into_sorted()),
    }
}

/// Reads a price book that is published. It cannot be mended, so schemas that would be mistakes now are let pass.
pub fn parse_published(files: &[SourceFile]) -> Result<Book, Vec<Mistake>> {
    let mistakes = Mistakes::default();
    let book = read(files, &mistakes);
    let mut mistakes = mistakes.into_sorted();
    mistakes.retain(|mistake| !OF_SCHEMAS.contains(&mistake.code));
    book.filter(|_| mistakes.is_empty()).ok_or(mistakes)
}

fn read(files: &[SourceFile], mistakes: &Mistakes) -> Option<Book> {
    let mut known = Known::default();
    let mut json = JsonFiles::read(files, mistakes);
    let documents = documents(files, mistakes, &mut known);
    for document in &documents {
        let Document { section, source, entries } = document;
        let span = 0..0;
        match section {
            Section::Settings => Table::read(*source, "book", span, entries.get_ref(), |root| {
                known.settings = Settings::read(root);
            }),
            Section::Catalog => Table::read(*source, "catalog file", span, entries.get_ref(), |root| {
                catalog::read(root, &mut json, &mut known.event_types);
            }),
            Section::Meters => Table::read(*source, "meters file", span, entries.get_ref(), |root| {
                meters::read(root, &known.event_types, &mut known.meters);
            }),
            Section::Programs => Table::read(*source, "programs file", span, entries.get_ref(), |root| {
                programs::read(root, &known.settings, &mut known.programs);
            }),
            Section::Plans => Table::read(*source, "plan file", span, entries.get_ref(), |root| {
                plans::read(root, &mut known);
            }),
        }
    }
    // What shares are of may be in any plan, so that is looked at when all are known.
    for Document { source, entries, .. } in documents.iter().filter(|document| document.section == Section::Plans) {
        Table::read(*source, "plan file", 0..0, entries.get_ref(), |root| share::check(root, &known));
    }
    json.note_unused(mistakes);
    known.into_book()
}

/// Parses the TOML files and sorts them into the order of reading.
fn documents<'a>(files: &'a [SourceFile], mistakes: &'a Mistakes, known: &mut Known) -> Vec<Document<'a>> {
    let mut documents = Vec::new();
    for file in files.iter().filter(|file| !is_json(file)) {
        let source = Source { file, mistakes };
        let Some(section) = section(&file.path) else {
            let message = format!("nothing is read from {}", file.path);
            source.note_file("misplaced_file", message, "put it into catalog/, meters/, plans/ or programs/");
            continue;
        };
        let (entries, errors) = DeTable::parse_recoverable(&file.text);
        if errors.is_empty() {
            documents.push(Document { section, source, entries });
            continue;
        }
        known.miss(section);
        for error in errors {
            let span = error.span().unwrap_or_default();
            source.note(span, "", "invalid_toml", format!("not TOML: {}", error.message()), MEND_TOML);
        }
    }
    if !files.iter().any(|file| file.path == "book.toml") {
        mistakes.note(no_book_file());
    }
    documents.sort_by(|a, b| (a.section, &a.source.file.path).cmp(&(b.section, &b.source.file.path)));
    documents
}

fn is_json(file: &SourceFile) -> bool {
    Path::new(&file.path).extension().is_some_and(|extension| extension == "json")
}

fn section(path: &str) -> Option<Section> {
    match path.split_once('/') {
        None => (path == "book.toml").then_some(Section::Settings),
        Some(("catalog", _)) => Some(Section::Catalog),
        Some(("meters", _)) => Some(Section::Meters),
        Some(("programs", _)) => Some(Section::Programs),
        Some(("plans", _)) => Some(Section::Plans),
        Some(_) => None,
    }
}

fn no_book_file() -> Mistake {
    Mistake {
        file: "book.toml".to_owned(),
        line: 1,
        column: 1,
        width: 1,
        key: String::new(),
        code: "missing_file",
        message: "the price book has no book.toml".to_owned(),
        fix: Some("add it, with `name`, `currency` and `timezone`".to_owned()),
    }
}

impl Default for Known {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            event_types: Named::new("event type", "unknown_event_type"),
            meters: Named::new("meter", "unknown_meter"),
            programs: Named::new("program", "unknown_program"),
            plans: Named::new("plan", "unknown_plan"),
        }
    }
}

impl Known {
    /// Remembers that a file of this section could not be read, so that its names are not called unknown.
    fn miss(&mut self, section: Section) {
        match section {
            Section::Catalog => self.event_types.complete = false,
            Section::Meters => self.meters.complete = false,
            Section::Programs => self.programs.complete = false,
            Section::Plans => self.plans.complete = false,
            Section::Settings => {}
        }
    }

    fn into_book(self) -> Option<Book> {
        let name = self.settings.name?;
        let mut issuer = self.settings.issuer;
        if issuer.name.is_empty() {
            issuer.name.clone_from(&name);
        }
        Some(Book {
            name,
            currency: self.settings.currency?,
            zone: self.settings.zone?,
            invoice_prefix: self.settings.invoice_prefix,
            due_days: self.settings.due_days,
            reminders: self.settings.reminders,
            issuer,
            taxes: self.settings.taxes.into_values()?,
            payouts: self.settings.payouts,
            event_types: self.event_types.into_values()?,
            meters: self.meters.into_values()?,
            plans: self.plans.into_values()?,
            programs: self.programs.into_values()?,
        })
    }
}
