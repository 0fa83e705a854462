//! Sets a sheet on pages: one column, one accent, hairlines, amounts under each other.

use pdf_writer::types::StructRole;

use crate::billing::pdf::PdfError;
use crate::billing::pdf::canvas::Canvas;
use crate::billing::pdf::canvas::Color;
use crate::billing::pdf::canvas::PAGE_HEIGHT;
use crate::billing::pdf::canvas::PAGE_WIDTH;
use crate::billing::pdf::canvas::Style;
use crate::billing::pdf::canvas::Tag;
use crate::billing::pdf::font::Weight;
use crate::billing::pdf::sheet::Fact;
use crate::billing::pdf::sheet::Figure;
use crate::billing::pdf::sheet::Note;
use crate::billing::pdf::sheet::Row;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Sum;
use crate::billing::pdf::sheet::Table;

const LEFT: f32 = 56.0;
const RIGHT: f32 = PAGE_WIDTH - 56.0;
const WIDTH: f32 = RIGHT - LEFT;
const TOP: f32 = 56.0;
/// Where the text of a page ends; below it is the foot.
const BOTTOM: f32 = PAGE_HEIGHT - 84.0;
const FOOT: f32 = PAGE_HEIGHT - 44.0;
/// Where the text of a later page begins, below its running head.
const TOP_AGAIN: f32 = 92.0;

/// Everything but the table stands in four columns.
const COLUMNS: usize = 4;
const GUTTER: f32 = 16.0;
const COLUMN: f32 = (WIDTH - GUTTER * 3.0) / 4.0;
const SECOND: f32 = LEFT + COLUMN + GUTTER;
const THIRD: f32 = SECOND + COLUMN + GUTTER;
/// Between a description and a number, and between numbers.
const CELL_GAP: f32 = 20.0;
const ROW_PADDING: f32 = 6.0;
/// Below a table.
const TABLE_GAP: f32 = 16.0;
/// Between a text and what it is of.
const DETAIL_GAP: f32 = 7.0;
/// A row begins on a page if this much of it fits.
const ROW_BEGINNING_MAX: f32 = 64.0;

/// Those of the pages that people see on a screen.
const INK: Color = Color(0.122, 0.106, 0.086);
const MUTED: Color = Color(0.400, 0.369, 0.325);
const LINE: Color = Color(0.886, 0.863, 0.824);
const SOFT: Color = Color(0.980, 0.970, 0.953);
const ACCENT: Color = Color(0.541, 0.294, 0.071);

const fn style(weight: Weight, size: f32, leading: f32, color: Color) -> Style {
    Style { weight, size, leading, tracking: 0.0, is_tabular: false, color }
}

const TITLE: Style = Style { tracking: -0.65, ..style(Weight::SemiBold, 28.0, 34.0, INK) };
const NAME: Style = Style { tracking: -0.1, ..style(Weight::Regular, 13.0, 18.0, MUTED) };
const FIGURE: Style = Style { tracking: -0.45, ..style(Weight::SemiBold, 22.0, 27.0, INK) };
const CURRENCY: Style = style(Weight::Regular, 12.0, 16.0, MUTED);
const HEADING: Style = style(Weight::SemiBold, 10.5, 15.0, INK);
const LABEL: Style = style(Weight::Regular, 7.5, 11.0, MUTED);
const BODY: Style = style(Weight::Regular, 9.0, 13.5, INK);
const STRONG: Style = style(Weight::SemiBold, 9.0, 13.5, INK);
const TOTAL: Style = style(Weight::SemiBold, 11.0, 16.0, INK);
const SMALL: Style = style(Weight::Regular, 7.5, 11.0, MUTED);
const NUMBER: Style = Style { is_tabular: true, ..BODY };
const TOTAL_NUMBER: Style = Style { is_tabular: true, ..TOTAL };
const BRAND: Style = style(Weight::SemiBold, 10.0, 14.0, INK);

struct Setter<'s> {
    canvas: Canvas,
    sheet: &'s Sheet,
    /// The top of what comes next.
    y: f32,
}

/// The right edges of the columns of numbers, and the width that is left for descriptions.
struct Columns {
    quantity: f32,
    text: f32,
}

/// The pages of a sheet.
pub fn set(sheet: &Sheet) -> Result<Canvas, PdfError> {
    let mut setter = Setter { canvas: Canvas::new()?, sheet, y: TOP };
    setter.head();
    setter.facts();
    setter.figure(&sheet.figure);
    for (place, table) in sheet.tables.iter().enumerate() {
        let is_last = place + 1 == sheet.tables.len();
        setter.table(table, if is_last { TABLE_GAP + height_of(&sheet.sums) } else { 0.0 });
    }
    setter.sums(&sheet.sums);
    for note in &sheet.notes {
        setter.note(note);
    }
    setter.feet();
    Ok(setter.canvas)
}

impl Setter<'_> {
    fn head(&mut self) {
        let document = self.canvas.document();
        self.canvas.fill((LEFT, TOP - 16.0), (22.0, 3.0), 0.0, ACCENT);
        let name = self.sheet.issuer.first().map_or("", String::as_str);
        let tag = self.canvas.tag(document, StructRole::P);
        self.lines(tag, name, BRAND, (LEFT, WIDTH));
        self.y += 40.0;
        let tag = self.canvas.tag(document, StructRole::H1);
        self.lines(tag, &self.sheet.title, TITLE, (LEFT, WIDTH));
        self.y += 1.0;
        let tag = self.canvas.tag(document, StructRole::P);
        self.lines(tag, &self.sheet.name, NAME, (LEFT, WIDTH));
        self.y += 20.0;
    }

    /// Labels and texts in columns, then from whom and for whom.
    fn facts(&mut self) {
        for facts in self.sheet.facts.chunks(COLUMNS) {
            let blocks = facts.iter().map(|Fact { label, text }| (label.as_str(), vec![text.as_str()]));
            self.side_by_side(blocks, COLUMN, BODY);
        }
        let parties = [("For", &self.sheet.party), ("From", &self.sheet.issuer)];
        let parties = parties.map(|(label, lines)| (label, lines.iter().map(String::as_str).collect()));
        self.side_by_side(parties.into_iter(), COLUMN * 2.0 + GUTTER, STRONG);
        self.y += 8.0;
    }

    /// Blocks of a label and lines, of which the first has a style of its own.
    fn side_by_side<'t>(&mut self, blocks: impl Iterator<Item = (&'t str, Vec<&'t str>)>, width: f32, first: Style) {
        let top = self.y;
        let mut lowest = top;
        for (place, (label, lines)) in blocks.enumerate() {
            let x = LEFT + (0..place).map(|_| width + GUTTER).sum::<f32>();
            self.y = top;
            let document = self.canvas.document();
            let tag = self.canvas.tag(document, StructRole::P);
            self.lines(tag, label, LABEL, (x, width));
            self.y += 2.0;
            for (place, line) in lines.into_iter().enumerate() {
                self.lines(tag, line, if place == 0 { first } else { BODY }, (x, width));
            }
            lowest = lowest.max(self.y);
        }
        self.y = lowest + 16.0;
    }

    /// What matters most, on a soft ground.
    fn figure(&mut self, figure: &Figure) {
        const PADDING: f32 = 16.0;
        let height = LABEL.leading + FIGURE.leading + PADDING * 2.0 - 4.0;
        let top = self.y;
        self.canvas.fill((LEFT, top), (WIDTH, height), 5.0, SOFT);
        let document = self.canvas.document();
        let tag = self.canvas.tag(document, StructRole::P);
        self.y = top + PADDING - 2.0;
        self.lines(tag, &figure.label, LABEL, (LEFT + PADDING, WIDTH));
        let base = self.y + FIGURE.leading * 0.80;
        let x = LEFT + PADDING;
        self.canvas.text(Some(tag), (x, base), FIGURE, &figure.amount);
        let x = x + self.canvas.width(&figure.amount, FIGURE) + 6.0;
        self.canvas.text(Some(tag), (x, base), CURRENCY, &figure.currency);
        let x = x + self.canvas.width(&figure.currency, CURRENCY) + GUTTER;
        let lines = self.canvas.wrapped(&figure.remark, BODY, RIGHT - PADDING - x);
        let from = lines.len() as f32 - 1.0;
        for (place, line) in lines.iter().enumerate() {
            let y = base - (from - place as f32) * BODY.leading;
            self.canvas.text_to(Some(tag), (RIGHT - PADDING, y), BODY, line);
        }
        self.y = top + height + 28.0;
    }

    fn table(&mut self, table: &Table, below: f32) {
        let document = self.canvas.document();
        if let Some(title) = &table.title {
            self.need(HEADING.leading + ROW_BEGINNING_MAX);
            let tag = self.canvas.tag(document, StructRole::H2);
            self.lines(tag, title, HEADING, (LEFT, WIDTH));
            self.y += 6.0;
        }
        let columns = self.columns(table);
        let tag = self.canvas.tag(document, StructRole::Table);
        let row = self.canvas.tag(tag, StructRole::TR);
        let cells = [(); 3].map(|()| Some(self.canvas.tag(row, StructRole::TH)));
        self.table_head(table, &columns, cells);
        for (place, row) in table.rows.iter().enumerate() {
            // The last row goes along with what it adds up to.
            let is_last = place + 1 == table.rows.len();
            self.row(table, row, &columns, (tag, if is_last { below } else { 0.0 }));
        }
        self.y += TABLE_GAP;
    }

    /// As wide as the numbers ask for; the rest is for descriptions.
    fn columns(&self, table: &Table) -> Columns {
        let widest = |label: &str, texts: &mut dyn Iterator<Item = &str>| {
            texts.map(|text| self.canvas.width(text, NUMBER)).fold(self.canvas.width(label, LABEL), f32::max)
        };
        let [_, quantity, amount] = &table.columns;
        let sums = self.sheet.sums.iter().map(|sum| sum.amount.as_str());
        let amounts = widest(amount, &mut table.rows.iter().map(|row| row.amount.as_str()).chain(sums));
        let quantities = widest(quantity, &mut table.rows.iter().map(|row| row.quantity.as_str()));
        let right = RIGHT - amounts - CELL_GAP;
        Columns { quantity: right, text: (right - quantities - CELL_GAP - LEFT).max(WIDTH / 4.0) }
    }

    /// Once for the structure, and again as an artifact at the top of each page that the table goes on to.
    fn table_head(&mut self, table: &Table, columns: &Columns, cells: [Option<Tag>; 3]) {
        let base = self.y + LABEL.size;
        let [text, quantity, amount] = &table.columns;
        self.canvas.text(cells[0], (LEFT, base), LABEL, text);
        self.canvas.text_to(cells[1], (columns.quantity, base), LABEL, quantity);
        self.canvas.text_to(cells[2], (RIGHT, base), LABEL, amount);
        self.y += LABEL.leading + 3.0;
        self.canvas.rule((LEFT, RIGHT), self.y, 0.8, INK);
    }

    fn row(&mut self, table: &Table, row: &Row, columns: &Columns, (tag, below): (Tag, f32)) {
        let text = self.canvas.wrapped(&row.text, BODY, columns.text);
        let details = row.details.join(" · ");
        // Details stand beside the text if there is room for them, else below it.
        let beside = text.last().map_or(0.0, |line| self.canvas.width(line, BODY) + DETAIL_GAP);
        let are_beside = beside + self.canvas.width(&details, SMALL) <= columns.text;
        let mut small = if are_beside { Vec::new() } else { self.canvas.wrapped(&details, SMALL, columns.text) };
        small.extend(self.canvas.wrapped(&row.reasons, SMALL, columns.text));
        let height = text.len().max(1) as f32 * BODY.leading + small.len() as f32 * SMALL.leading + ROW_PADDING * 2.0;
        if self.need(height.min(ROW_BEGINNING_MAX) + below) {
            self.table_head(table, columns, [None; 3]);
        }
        let row_tag = self.canvas.tag(tag, StructRole::TR);
        let [text_tag, quantity_tag, amount_tag] = [(); 3].map(|()| self.canvas.tag(row_tag, StructRole::TD));
        self.y += ROW_PADDING;
        let base = self.y + BODY.size;
        self.canvas.text_to(Some(quantity_tag), (columns.quantity, base), NUMBER, &row.quantity);
        self.canvas.text_to(Some(amount_tag), (RIGHT, base), NUMBER, &row.amount);
        if text.is_empty() {
            self.y += BODY.leading;
        }
        for (line, style) in text.iter().map(|line| (line, BODY)).chain(small.iter().map(|line| (line, SMALL))) {
            if self.need(style.leading) {
                self.table_head(table, columns, [None; 3]);
                self.y += ROW_PADDING;
            }
            self.canvas.text(Some(text_tag), (LEFT, self.y + style.size), style, line);
            self.y += style.leading;
            if are_beside && style == BODY && text.last().is_some_and(|last| std::ptr::eq(last, line)) {
                let base = self.y - BODY.leading + BODY.size;
                self.canvas.text(Some(text_tag), (LEFT + beside, base), SMALL, &details);
            }
        }
        self.y += ROW_PADDING - 2.0;
        self.canvas.rule((LEFT, RIGHT), self.y, 0.5, LINE);
    }

    /// At the right, under the amounts of the table above.
    fn sums(&mut self, sums: &[Sum]) {
        self.need(height_of(sums));
        let document = self.canvas.document();
        let table = self.canvas.tag(document, StructRole::Table);
        for sum in sums {
            let (style, number) = if sum.is_total { (TOTAL, TOTAL_NUMBER) } else { (BODY, NUMBER) };
            if sum.is_total {
                self.y += 5.0;
                self.canvas.rule((THIRD, RIGHT), self.y, 1.2, ACCENT);
                self.y += 7.0;
            }
            let row = self.canvas.tag(table, StructRole::TR);
            let (label, amount) = (self.canvas.tag(row, StructRole::TD), self.canvas.tag(row, StructRole::TD));
            let base = self.y + style.size;
            self.canvas.text_to(Some(amount), (RIGHT, base), number, &sum.amount);
            let most = RIGHT - THIRD - CELL_GAP - self.canvas.width(&sum.amount, number);
            self.lines(label, &sum.label, style, (THIRD, most));
            self.y += if sum.is_total { 2.0 } else { 4.0 };
        }
        self.y += 20.0;
    }

    fn note(&mut self, note: &Note) {
        let most = RIGHT - SECOND;
        let lines: usize = note.lines.iter().map(|line| self.canvas.wrapped(line, BODY, most).len()).sum();
        self.need((lines as f32 * BODY.leading + 24.0).min(BOTTOM - TOP_AGAIN));
        self.canvas.rule((LEFT, RIGHT), self.y, 0.5, LINE);
        self.y += 12.0;
        let document = self.canvas.document();
        let tag = self.canvas.tag(document, StructRole::H2);
        self.canvas.text(Some(tag), (LEFT, self.y + STRONG.size), STRONG, &note.title);
        let tag = self.canvas.tag(document, StructRole::P);
        for line in &note.lines {
            self.lines(tag, line, BODY, (SECOND, most));
        }
        self.y += 14.0;
    }

    /// What stands at the foot of each page, when it is known how many there are.
    fn feet(&mut self) {
        let count = self.canvas.pages.len();
        for page in 0..count {
            self.canvas.turn_to(page);
            self.canvas.rule((LEFT, RIGHT), FOOT - 14.0, 0.5, LINE);
            let number = format!("Page {} of {count}", page + 1);
            let most = WIDTH - self.canvas.width(&number, SMALL) - CELL_GAP * 2.0;
            for (place, line) in self.canvas.wrapped(&self.sheet.footer, SMALL, most).iter().take(2).enumerate() {
                self.canvas.text(None, (LEFT, FOOT + place as f32 * SMALL.leading), SMALL, line);
            }
            self.canvas.text_to(None, (RIGHT, FOOT), SMALL, &number);
        }
    }

    /// Lines from the top down, on further pages if they do not fit on this one.
    fn lines(&mut self, tag: Tag, text: &str, style: Style, (x, width): (f32, f32)) {
        for line in self.canvas.wrapped(text, style, width) {
            self.need(style.leading);
            self.canvas.text(Some(tag), (x, self.y + style.size), style, &line);
            self.y += style.leading;
        }
    }

    /// Turns to a new page if there is less room than this; says whether it did.
    fn need(&mut self, height: f32) -> bool {
        if self.y + height <= BOTTOM {
            return false;
        }
        self.canvas.add_page();
        let running = format!("{} {}", self.sheet.title, self.sheet.name);
        let issuer = self.sheet.issuer.first().map_or("", String::as_str);
        let one = |canvas: &Canvas, text: &str| canvas.wrapped(text, SMALL, WIDTH / 2.0 - GUTTER).into_iter().next();
        if let Some(line) = one(&self.canvas, &running) {
            self.canvas.text(None, (LEFT, TOP), SMALL, &line);
        }
        if let Some(line) = one(&self.canvas, issuer) {
            self.canvas.text_to(None, (RIGHT, TOP), SMALL, &line);
        }
        self.y = TOP_AGAIN;
        true
    }
}

fn height_of(sums: &[Sum]) -> f32 {
    sums.iter().map(|sum| if sum.is_total { TOTAL.leading + 14.0 } else { BODY.leading + 4.0 }).sum()
}
