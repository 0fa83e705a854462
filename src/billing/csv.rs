//! CSV: rows of text under the names of their columns.

use csv::Writer;

#[expect(clippy::expect_used, reason = "memory takes whatever is written, and rows of one length")]
pub(in crate::billing) fn csv<const N: usize>(
    columns: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let mut writer = Writer::from_writer(Vec::new());
    let write = |writer: &mut Writer<Vec<u8>>| {
        writer.write_record(columns)?;
        rows.into_iter().try_for_each(|row| writer.write_record(row))?;
        writer.flush().map_err(csv::Error::from)
    };
    write(&mut writer).expect("rows are written to memory");
    let bytes = writer.into_inner().expect("memory is flushed");
    String::from_utf8(bytes).expect("text makes text")
}
