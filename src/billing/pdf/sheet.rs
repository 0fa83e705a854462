//! What a document shows, as plain texts: the same parts for an invoice, a payout statement and a statement.

use jiff::civil::Date;

/// Everything that is set on the pages of a document, in its order.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    /// What it is: `Invoice`.
    pub title: String,
    /// Which one it is: its number, or its period.
    pub name: String,
    /// Whom it is from; the first line is the name.
    pub issuer: Vec<String>,
    /// Whom it is for; the first line is the name.
    pub party: Vec<String>,
    pub facts: Vec<Fact>,
    pub figure: Figure,
    pub tables: Vec<Table>,
    /// What it comes to, below the last table.
    pub sums: Vec<Sum>,
    pub notes: Vec<Note>,
    /// At the foot of every page.
    pub footer: String,
    /// When it was made, if it says so.
    pub created: Option<Date>,
}

/// A label and what it says: `Issued`, `1 February 2013`.
#[derive(Clone, Debug)]
pub struct Fact {
    pub label: String,
    pub text: String,
}

impl Fact {
    pub fn new(label: &str, text: String) -> Self {
        Self { label: label.to_owned(), text }
    }
}

/// What matters most, in large letters.
#[derive(Clone, Debug, Default)]
pub struct Figure {
    pub label: String,
    pub amount: String,
    pub currency: String,
    /// What is to be known with it: `Due on 15 February 2013`.
    pub remark: String,
}

#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Left out where there is one table only.
    pub title: Option<String>,
    /// Of the description, the quantity and the amount.
    pub columns: [String; 3],
    pub rows: Vec<Row>,
}

#[derive(Clone, Debug, Default)]
pub struct Row {
    pub text: String,
    /// What it is of: `origin JFK`, or other days than the document's.
    pub details: Vec<String>,
    /// Why it is what it is.
    pub reasons: String,
    pub quantity: String,
    pub amount: String,
}

#[derive(Clone, Debug, Default)]
pub struct Sum {
    pub label: String,
    pub amount: String,
    /// Whether it is what the others come to.
    pub is_total: bool,
}

/// Something to be read at the end: how to pay.
#[derive(Clone, Debug, Default)]
pub struct Note {
    pub title: String,
    pub lines: Vec<String>,
}
