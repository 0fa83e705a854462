//! CSV: rows of text under the names of their columns, safe to open in a spreadsheet.
//!
//! A cell that a spreadsheet would take for a formula gets an apostrophe before it, as OWASP advises. Whoever imports it
//! reads text with an apostrophe; numbers stay numbers, also those below zero.

use std::borrow::Cow;

use csv::Writer;
use rust_decimal::Decimal;

/// What formulas begin with, also in the width of Chinese and Japanese, and what lets one begin further on.
const BEGINS_FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

#[expect(clippy::expect_used, reason = "memory takes whatever is written, and rows of one length")]
pub(in crate::billing) fn csv<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    let write = |writer: &mut Writer<Vec<u8>>| {
        writer.write_record(columns)?;
        rows.into_iter().try_for_each(|row| writer.write_record(row.iter().map(|cell| harmless(cell).into_owned())))?;
        writer.flush().map_err(csv::Error::from)
    };
    write(&mut writer).expect("rows are written to memory");
    let bytes = writer.into_inner().expect("memory is flushed");
    String::from_utf8(bytes).expect("text makes text")
}

/// A cell that no spreadsheet takes for a formula.
pub fn harmless(cell: &str) -> Cow<'_, str> {
    if cell.starts_with(BEGINS_FORMULA) && cell.parse::<Decimal>().is_err() {
        return Cow::Owned(format!("'{cell}"));
    }
    Cow::Borrowed(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_begins_like_a_formula_is_text_and_numbers_stay_numbers() {
        for cell in ["=1+1", "+cmd|' /C calc'!A0", "-1+1", "-", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-1.5 EUR"]
        {
            assert_eq!(harmless(cell), format!("'{cell}"), "{cell:?}");
        }
        for cell in ["", "-12.34", "+5", "0", "-0.0001", "UA", "a=1", "2013-01-31", "'=1"] {
            assert_eq!(harmless(cell), cell);
        }
        let text = csv(["name", "amount"], [["=\"a\",b".to_owned(), "-1.50".to_owned()]]);
        assert_eq!(text, "name,amount\n\"'=\"\"a\"\",b\",-1.50\n");
    }
}
