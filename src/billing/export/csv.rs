//! `journal.csv`: a row for each posting, with everything that is known of it and of its entry.

use csv::Writer;

use crate::domain::ids::EntryId;
use crate::domain::ledger::account::Side;
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

#[expect(clippy::expect_used, reason = "memory takes whatever is written, and rows of one length")]
pub(super) fn text(entries: &[Booked]) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    let written = write(&mut writer, entries).and_then(|()| writer.flush().map_err(csv::Error::from));
    written.expect("rows are written to memory");
    let bytes = writer.into_inner().expect("memory is flushed");
    String::from_utf8(bytes).expect("text makes text")
}

fn write(writer: &mut Writer<Vec<u8>>, entries: &[Booked]) -> csv::Result<()> {
    writer.write_record(COLUMNS)?;
    for Booked { seq, entry } in entries {
        let heading = entry.heading();
        for posting in entry.postings() {
            let account = &posting.account;
            let amount = posting.amount.decimal().to_string();
            let (debit, credit) = match posting.side {
                Side::Debit => (&*amount, ""),
                Side::Credit => ("", &*amount),
            };
            writer.write_record([
                &*seq.to_string(),
                heading.id.as_str(),
                &heading.effective_on.to_string(),
                &heading.recorded_at.to_string(),
                heading.kind.as_str(),
                &heading.key,
                &heading.description,
                heading.reverses.as_ref().map_or("", EntryId::as_str),
                &account.to_string(),
                &account.chart().code().to_string(),
                account.chart().name(),
                account.party().unwrap_or_default(),
                account.purpose().unwrap_or_default(),
                debit,
                credit,
                account.currency().code(),
            ])?;
        }
    }
    Ok(())
}
