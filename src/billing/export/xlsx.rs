//! Workbooks: the few parts of Office Open XML that a spreadsheet program needs, in a zip.
//!
//! Text is written as text, so that none is read as a formula. A formula comes with its value, which is shown where
//! nothing is recalculated. The same sheets make the same bytes.

use std::fmt::Write as _;
use std::io;
use std::io::Write as _;

use flate2::Compression;
use flate2::Crc;
use flate2::write::DeflateEncoder;
use jiff::Unit;
use jiff::civil::Date;
use jiff::civil::date;
use rust_decimal::Decimal;

use crate::domain::money::Money;

pub(super) enum Cell {
    Empty,
    Text(String),
    /// Text in bold.
    Label(String),
    Date(Date),
    Number(Decimal),
    Money(Money),
    /// A formula and what it comes to.
    Formula(String, Money),
    /// The same, in bold below a line.
    Sum(String, Money),
}

pub(super) struct Sheet {
    pub name: &'static str,
    /// Names of the columns, and how many characters wide they are. They stay in sight.
    pub columns: Vec<(&'static str, u32)>,
    pub rows: Vec<Vec<Cell>>,
}

/// Spreadsheets count days from here.
const DAY_ZERO: Date = date(1899, 12, 30);
/// More digits than a number of a spreadsheet keeps.
const DIGITS_MAX: usize = 15;

/// Places in the list of styles: see [`styles`]. Those of money follow by decimals.
const PLAIN: u32 = 0;
const HEADER: u32 = 1;
const LABEL: u32 = 2;
const DATE: u32 = 3;
const MONEY: u32 = 4;
const TOTAL: u32 = 9;
/// A currency has at most four decimals.
const MONEY_FORMATS: [&str; 5] = ["#,##0", "#,##0.0", "#,##0.00", "#,##0.000", "#,##0.0000"];
const FIRST_FORMAT: u32 = 164;

const XML: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const MAIN: &str = "http://schemas.openxmlformats.org/spreadsheetml/2006/main";
const RELATIONS: &str = "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";
const TYPES: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";

pub(super) fn workbook(sheets: &[Sheet]) -> io::Result<Vec<u8>> {
    let mut zip = Zip::default();
    let (mut types, mut listed, mut related) = (String::new(), String::new(), String::new());
    for (number, sheet) in (1..).zip(sheets) {
        let part = format!("worksheets/sheet{number}.xml");
        let _ = write!(types, "<Override PartName=\"/xl/{part}\" ContentType=\"{TYPES}.worksheet+xml\"/>");
        let _ = write!(listed, "<sheet name=\"{}\" sheetId=\"{number}\" r:id=\"r{number}\"/>", sheet.name);
        let _ = write!(related, "<Relationship Id=\"r{number}\" Type=\"{RELATIONS}/worksheet\" Target=\"{part}\"/>");
    }
    zip.add(
        "[Content_Types].xml",
        &format!(
            "{XML}<Types xmlns=\"{PACKAGE}/content-types\">\
             <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
             <Override PartName=\"/xl/workbook.xml\" ContentType=\"{TYPES}.sheet.main+xml\"/>\
             <Override PartName=\"/xl/styles.xml\" ContentType=\"{TYPES}.styles+xml\"/>{types}</Types>"
        ),
    )?;
    zip.add(
        "_rels/.rels",
        &format!(
            "{XML}<Relationships xmlns=\"{PACKAGE}/relationships\">\
             <Relationship Id=\"r1\" Type=\"{RELATIONS}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
        ),
    )?;
    zip.add(
        "xl/workbook.xml",
        &format!("{XML}<workbook xmlns=\"{MAIN}\" xmlns:r=\"{RELATIONS}\"><sheets>{listed}</sheets></workbook>"),
    )?;
    zip.add(
        "xl/_rels/workbook.xml.rels",
        &format!(
            "{XML}<Relationships xmlns=\"{PACKAGE}/relationships\">{related}\
             <Relationship Id=\"s\" Type=\"{RELATIONS}/styles\" Target=\"styles.xml\"/></Relationships>"
        ),
    )?;
    zip.add("xl/styles.xml", &styles())?;
    for (number, sheet) in (1..).zip(sheets) {
        zip.add(&format!("xl/worksheets/sheet{number}.xml"), &sheet_xml(sheet))?;
    }
    zip.finish()
}

/// The name of a cell, both counted from 0: `B7` is (1, 6). There are at most 26 columns.
pub(super) fn at(column: usize, row: usize) -> String {
    let letter = u8::try_from(column).map_or('?', |column| char::from(b'A'.saturating_add(column)));
    format!("{letter}{}", row.saturating_add(1))
}

fn styles() -> String {
    let formats: String = (FIRST_FORMAT..)
        .zip(MONEY_FORMATS.into_iter().chain(["yyyy\\-mm\\-dd"]))
        .map(|(id, code)| format!("<numFmt numFmtId=\"{id}\" formatCode=\"{code}\"/>"))
        .collect();
    let style = |format: u32, font: u32, fill: u32, border: u32| {
        format!(
            "<xf numFmtId=\"{format}\" fontId=\"{font}\" fillId=\"{fill}\" borderId=\"{border}\" xfId=\"0\" \
             applyNumberFormat=\"1\" applyFont=\"1\" applyFill=\"1\" applyBorder=\"1\"/>"
        )
    };
    let money = FIRST_FORMAT..FIRST_FORMAT + 5;
    let mut all = vec![style(0, 0, 0, 0), style(0, 1, 2, 0), style(0, 1, 0, 0), style(money.end, 0, 0, 0)];
    all.extend(money.clone().map(|format| style(format, 0, 0, 0)));
    all.extend(money.map(|format| style(format, 1, 0, 1)));
    format!(
        "{XML}<styleSheet xmlns=\"{MAIN}\"><numFmts count=\"6\">{formats}</numFmts>\
         <fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/></font>\
         <font><b/><sz val=\"11\"/><name val=\"Calibri\"/></font></fonts>\
         <fills count=\"3\"><fill><patternFill patternType=\"none\"/></fill><fill><patternFill patternType=\"gray125\"/></fill>\
         <fill><patternFill patternType=\"solid\"><fgColor rgb=\"FFE7EAEE\"/></patternFill></fill></fills>\
         <borders count=\"2\"><border/><border><left/><right/><top style=\"thin\"/><bottom/></border></borders>\
         <cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/></cellStyleXfs>\
         <cellXfs count=\"{}\">{}</cellXfs>\
         <cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/></cellStyles></styleSheet>",
        all.len(),
        all.concat()
    )
}

fn sheet_xml(sheet: &Sheet) -> String {
    let mut xml = format!(
        "{XML}<worksheet xmlns=\"{MAIN}\"><sheetViews><sheetView workbookViewId=\"0\">\
         <pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/></sheetView></sheetViews><cols>"
    );
    for (number, (_, width)) in (1..).zip(&sheet.columns) {
        let _ = write!(xml, "<col min=\"{number}\" max=\"{number}\" width=\"{width}\" customWidth=\"1\"/>");
    }
    xml.push_str("</cols><sheetData><row r=\"1\">");
    for (column, (name, _)) in sheet.columns.iter().enumerate() {
        write_text(&mut xml, &at(column, 0), HEADER, name);
    }
    xml.push_str("</row>");
    for (number, row) in (1..).zip(&sheet.rows) {
        let _ = write!(xml, "<row r=\"{}\">", number + 1);
        for (column, cell) in row.iter().enumerate() {
            write_cell(&mut xml, &at(column, number), cell);
        }
        xml.push_str("</row>");
    }
    xml.push_str("</sheetData></worksheet>");
    xml
}

fn write_cell(xml: &mut String, at: &str, cell: &Cell) {
    let mut number = |style: u32, value: &dyn std::fmt::Display| {
        let _ = write!(xml, "<c r=\"{at}\" s=\"{style}\"><v>{value}</v></c>");
    };
    match cell {
        Cell::Empty => {}
        Cell::Text(text) => write_text(xml, at, PLAIN, text),
        Cell::Label(text) => write_text(xml, at, LABEL, text),
        Cell::Date(date) => match DAY_ZERO.until((Unit::Day, *date)) {
            Ok(days) => number(DATE, &days.get_days()),
            Err(_) => write_text(xml, at, PLAIN, &date.to_string()),
        },
        Cell::Number(decimal) => {
            let text = decimal.normalize().to_string();
            match text.bytes().filter(u8::is_ascii_digit).count() {
                ..=DIGITS_MAX => number(PLAIN, &text),
                _ => write_text(xml, at, PLAIN, &text),
            }
        }
        Cell::Money(money) => number(MONEY + money.currency().exponent(), &money.decimal()),
        Cell::Formula(formula, money) | Cell::Sum(formula, money) => {
            let first = if matches!(cell, Cell::Sum(..)) { TOTAL } else { MONEY };
            let style = first + money.currency().exponent();
            let formula = escaped(formula);
            let _ = write!(xml, "<c r=\"{at}\" s=\"{style}\"><f>{formula}</f><v>{}</v></c>", money.decimal());
        }
    }
}

fn write_text(xml: &mut String, at: &str, style: u32, text: &str) {
    let text = escaped(text);
    let _ =
        write!(xml, "<c r=\"{at}\" s=\"{style}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>");
}

/// Without what XML cannot hold at all.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\t' | '\n' => escaped.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => escaped.push(' '),
            c => escaped.push(c),
        }
    }
    escaped
}

/// A zip of a few files, none of them near four gigabytes (PKWARE, APPNOTE.TXT, 4.3).
#[derive(Default)]
struct Zip {
    files: Vec<u8>,
    directory: Vec<u8>,
    count: u16,
}

/// Version 2.0, no flags, deflate, and 1980-01-01 00:00 as the time of every file.
const ZIP_ENTRY: [u8; 10] = [20, 0, 0, 0, 8, 0, 0, 0, 0x21, 0];

impl Zip {
    fn add(&mut self, name: &str, text: &str) -> io::Result<()> {
        let mut deflated = DeflateEncoder::new(Vec::new(), Compression::default());
        deflated.write_all(text.as_bytes())?;
        let deflated = deflated.finish()?;
        let mut crc = Crc::new();
        crc.update(text.as_bytes());
        let mut about = ZIP_ENTRY.to_vec();
        about.extend(crc.sum().to_le_bytes());
        about.extend(size(deflated.len())?);
        about.extend(size(text.len())?);
        about.extend(u16::try_from(name.len()).map_err(io::Error::other)?.to_le_bytes());
        about.extend([0; 2]);

        self.directory.extend(*b"PK\x01\x02\x14\0");
        self.directory.extend(&about);
        self.directory.extend([0; 10]);
        self.directory.extend(size(self.files.len())?);
        self.directory.extend(name.as_bytes());

        self.files.extend(*b"PK\x03\x04");
        self.files.extend(&about);
        self.files.extend(name.as_bytes());
        self.files.extend(deflated);
        self.count = self.count.checked_add(1).ok_or_else(|| io::Error::other("too many files"))?;
        Ok(())
    }

    fn finish(self) -> io::Result<Vec<u8>> {
        let Self { files: mut zip, directory, count } = self;
        let begins = size(zip.len())?;
        zip.extend(&directory);
        zip.extend(*b"PK\x05\x06\0\0\0\0");
        zip.extend(count.to_le_bytes());
        zip.extend(count.to_le_bytes());
        zip.extend(size(directory.len())?);
        zip.extend(begins);
        zip.extend([0; 2]);
        Ok(zip)
    }
}

fn size(bytes: usize) -> io::Result<[u8; 4]> {
    Ok(u32::try_from(bytes).map_err(io::Error::other)?.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_never_a_formula() {
        let mut xml = String::new();
        write_cell(&mut xml, "A2", &Cell::Text("=1+1".to_owned()));
        write_cell(&mut xml, "B2", &Cell::Label("@SUM(A1)\r".to_owned()));
        assert_eq!(xml.matches("t=\"inlineStr\"").count(), 2);
        assert!(!xml.contains("<f>") && !xml.contains('\r'), "{xml}");
    }
}
