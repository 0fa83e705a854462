//! `journal.csv`: a row for each posting, with everything that is known of it and of its entry.

use crate::billing::csv::csv;
use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::store::journal::Booked;

const COLUMNS: [&str; 16] = [
    "number",
    "entry",
    "date",
    "recorded_at",
    "kind",
    "key",
    "description",
    "reverses",
    "account",
    "code",
    "account_name",
    "party",
    "purpose",
    "debit",
    "credit",
    "currency",
];

pub(super) fn text(entries: &[Booked]) -> String {
    csv(COLUMNS, entries.iter().flat_map(|booked| booked.entry.postings().iter().map(|posting| row(booked, posting))))
}

fn row(Booked { seq, entry }: &Booked, posting: &Posting) -> [String; 16] {
    let (heading, account) = (entry.heading(), &posting.account);
    let amount = posting.amount.decimal().to_string();
    let (debit, credit) = match posting.side {
        Side::Debit => (amount, String::new()),
        Side::Credit => (String::new(), amount),
    };
    [
        seq.to_string(),
        heading.id.to_string(),
        heading.effective_on.to_string(),
        heading.recorded_at.to_string(),
        heading.kind.to_string(),
        heading.key.clone(),
        heading.description.clone(),
        heading.reverses.as_ref().map(EntryId::to_string).unwrap_or_default(),
        account.to_string(),
        account.chart().code().to_string(),
        account.chart().name().to_owned(),
        account.party().unwrap_or_default().to_owned(),
        account.purpose().unwrap_or_default().to_owned(),
        debit,
        credit,
        account.currency().code().to_owned(),
    ]
}
