//! Pages to draw on. Lengths are in points, from the top left corner of a page.
//!
//! Everything that is drawn either has a place in the document's structure, which readers for the blind follow, or is an
//! artifact (rules, running heads, page numbers), which they leave out.

use pdf_writer::Content;
use pdf_writer::Name;
use pdf_writer::Str;
use pdf_writer::TextStr;
use pdf_writer::types::StructRole;

use crate::billing::pdf::PdfError;
use crate::billing::pdf::font::Font;
use crate::billing::pdf::font::Glyph;
use crate::billing::pdf::font::Used;
use crate::billing::pdf::font::Weight;

/// A4.
pub const PAGE_WIDTH: f32 = 595.28;
pub const PAGE_HEIGHT: f32 = 841.89;

/// How a font is called within a page.
pub const FONT_NAMES: [&[u8]; 2] = [b"F0", b"F1"];

/// Red, green and blue, from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Color(pub f32, pub f32, pub f32);

/// How a text is set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Style {
    pub weight: Weight,
    pub size: f32,
    /// From one line to the next.
    pub leading: f32,
    /// Added after each character.
    pub tracking: f32,
    /// Whether all figures have one width, so that they stand under each other.
    pub is_tabular: bool,
    pub color: Color,
}

/// A place in the structure of the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tag(pub usize);

/// A part of the structure, and what is drawn for it.
pub struct Node {
    pub role: StructRole,
    pub parent: Option<Tag>,
    pub kids: Vec<Kid>,
}

#[derive(Clone, Copy)]
pub enum Kid {
    Node(Tag),
    /// The so-manieth marked piece of a page.
    Piece {
        page: usize,
        piece: i32,
    },
}

pub struct Sheetful {
    pub content: Content,
    /// Whose each marked piece is.
    pub pieces: Vec<Tag>,
}

pub struct Canvas {
    pub fonts: [Font; 2],
    pub used: [Used; 2],
    pub pages: Vec<Sheetful>,
    pub nodes: Vec<Node>,
    /// On which page is drawn.
    at: usize,
}

impl Canvas {
    /// One empty page. The document itself is the first tag.
    pub fn new() -> Result<Self, PdfError> {
        let fonts = [Font::open(Weight::Regular)?, Font::open(Weight::SemiBold)?];
        let document = Node { role: StructRole::Document, parent: None, kids: Vec::new() };
        let mut canvas = Self { fonts, used: Default::default(), pages: Vec::new(), nodes: vec![document], at: 0 };
        canvas.add_page();
        Ok(canvas)
    }

    pub const fn document(&self) -> Tag {
        Tag(0)
    }

    /// Adds a page, and draws on it from now on.
    pub fn add_page(&mut self) {
        self.at = self.pages.len();
        self.pages.push(Sheetful { content: Content::new(), pieces: Vec::new() });
    }

    /// Draws on a page that there is.
    pub fn turn_to(&mut self, page: usize) {
        self.at = page.min(self.pages.len() - 1);
    }

    pub fn tag(&mut self, parent: Tag, role: StructRole) -> Tag {
        let tag = Tag(self.nodes.len());
        self.nodes.push(Node { role, parent: Some(parent), kids: Vec::new() });
        self.nodes[parent.0].kids.push(Kid::Node(tag));
        tag
    }

    pub fn width(&self, text: &str, style: Style) -> f32 {
        width(&self.fonts[style.weight.index()].set(text, style.is_tabular), style)
    }

    /// Draws a line of text that begins at `x`, on the base line `y`. It belongs to a tag, or is an artifact.
    pub fn text(&mut self, tag: Option<Tag>, (x, y): (f32, f32), style: Style, text: &str) {
        let glyphs = self.fonts[style.weight.index()].set(text, style.is_tabular);
        if glyphs.is_empty() {
            return;
        }
        self.begin(tag);
        let content = &mut self.pages[self.at].content;
        let Color(red, green, blue) = style.color;
        content.begin_text().set_fill_rgb(red, green, blue);
        content.set_font(Name(FONT_NAMES[style.weight.index()]), style.size);
        content.set_char_spacing(style.tracking);
        content.next_line(x, PAGE_HEIGHT - y);
        let used = &mut self.used[style.weight.index()];
        for run in glyphs.chunk_by(|a, b| a.is_missing == b.is_missing) {
            let is_missing = run.first().is_some_and(|glyph| glyph.is_missing);
            if is_missing {
                let real: String = run.iter().map(|glyph| glyph.of).collect();
                let mut span = content.begin_marked_content_with_properties(Name(b"Span"));
                span.properties().actual_text(TextStr(&real));
            }
            show(content, run, used);
            if is_missing {
                content.end_marked_content();
            }
        }
        content.end_text();
        content.end_marked_content();
    }

    /// Draws a line of text that ends at `x`.
    pub fn text_to(&mut self, tag: Option<Tag>, (x, y): (f32, f32), style: Style, text: &str) {
        let width = self.width(text, style);
        self.text(tag, (x - width, y), style, text);
    }

    /// Draws a horizontal rule.
    pub fn rule(&mut self, (from, to): (f32, f32), y: f32, thickness: f32, color: Color) {
        self.fill((from, y - thickness / 2.0), (to - from, thickness), 0.0, color);
    }

    /// Fills a rectangle, with round corners if they have a radius.
    pub fn fill(&mut self, (x, y): (f32, f32), (width, height): (f32, f32), radius: f32, color: Color) {
        // How far the handles of a cubic curve lie from its ends, to look like a quarter of a circle.
        const ROUND: f32 = 0.552_28;
        self.begin(None);
        let content = &mut self.pages[self.at].content;
        content.set_fill_rgb(color.0, color.1, color.2);
        let (left, right) = (x, x + width);
        let (top, bottom) = (PAGE_HEIGHT - y, PAGE_HEIGHT - y - height);
        if radius == 0.0 {
            content.rect(left, bottom, width, height);
        } else {
            let (r, h) = (radius, radius * (1.0 - ROUND));
            content.move_to(left + r, top).line_to(right - r, top);
            content.cubic_to(right - h, top, right, top - h, right, top - r).line_to(right, bottom + r);
            content.cubic_to(right, bottom + h, right - h, bottom, right - r, bottom).line_to(left + r, bottom);
            content.cubic_to(left + h, bottom, left, bottom + h, left, bottom + r).line_to(left, top - r);
            content.cubic_to(left, top - h, left + h, top, left + r, top).close_path();
        }
        content.fill_nonzero();
        content.end_marked_content();
    }

    /// The lines of a text that is no wider than `most`: broken at spaces, and within a word only where it is wider alone.
    pub fn wrapped(&self, text: &str, style: Style, most: f32) -> Vec<String> {
        let glyphs = self.fonts[style.weight.index()].set(text, style.is_tabular);
        let space = glyphs.iter().find(|glyph| glyph.of == ' ').map_or(0.0, |glyph| room(glyph, style));
        let mut lines = Vec::new();
        let (mut line, mut filled) = (String::new(), 0.0);
        for word in glyphs.split(|glyph| glyph.of == ' ').filter(|word| !word.is_empty()) {
            let width = width(word, style);
            if !line.is_empty() && filled + space + width <= most {
                line.push(' ');
                filled += space;
            } else if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                filled = 0.0;
            }
            for glyph in word {
                // Only a word that is alone on its line can be too wide.
                if filled + self::width(&[*glyph], style) > most && width > most && !line.is_empty() {
                    lines.push(std::mem::take(&mut line));
                    filled = 0.0;
                }
                line.push(glyph.of);
                filled += room(glyph, style);
            }
        }
        if !line.is_empty() {
            lines.push(line);
        }
        lines
    }

    fn begin(&mut self, tag: Option<Tag>) {
        let (at, page) = (self.at, &mut self.pages[self.at]);
        match tag {
            Some(tag) => {
                let piece = i32::try_from(page.pieces.len()).unwrap_or(i32::MAX);
                page.pieces.push(tag);
                let node = &mut self.nodes[tag.0];
                node.kids.push(Kid::Piece { page: at, piece });
                let mut begun = page.content.begin_marked_content_with_properties(node.role.to_name());
                begun.properties().identify(piece);
            }
            None => {
                page.content.begin_marked_content(Name(b"Artifact"));
            }
        }
    }
}

/// From the beginning of the first glyph to the end of the last: what comes between that one and a next is not part of it.
fn width(glyphs: &[Glyph], style: Style) -> f32 {
    let all: f32 = glyphs.iter().map(|glyph| room(glyph, style)).sum();
    all - glyphs.last().map_or(0.0, |last| last.kerning * style.size / 1000.0 + style.tracking)
}

/// From the beginning of a glyph to that of the next.
fn room(glyph: &Glyph, style: Style) -> f32 {
    (glyph.advance + glyph.kerning) * style.size / 1000.0 + style.tracking
}

/// Shows glyphs of one run, in pieces between which there is kerning.
fn show(content: &mut Content, run: &[Glyph], used: &mut Used) {
    let mut positioned = content.show_positioned();
    let mut items = positioned.items();
    let mut bytes: Vec<u8> = Vec::with_capacity(run.len() * 2);
    for glyph in run {
        bytes.extend(used.take(glyph).to_be_bytes());
        if glyph.kerning != 0.0 {
            items.show(Str(&bytes));
            items.adjust(-glyph.kerning);
            bytes.clear();
        }
    }
    if !bytes.is_empty() {
        items.show(Str(&bytes));
    }
}
