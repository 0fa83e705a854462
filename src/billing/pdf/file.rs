//! From pages to the bytes of a PDF file: fonts cut to what is used, structure, title and language.
//!
//! Promise: the same pages are the same bytes. There is no clock and no chance in them.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use jiff::civil::Date;
use pdf_writer::Filter;
use pdf_writer::Finish;
use pdf_writer::Name;
use pdf_writer::Pdf;
use pdf_writer::Rect;
use pdf_writer::Ref;
use pdf_writer::Settings;
use pdf_writer::Str;
use pdf_writer::TextStr;
use pdf_writer::types::CidFontType;
use pdf_writer::types::FontFlags;
use pdf_writer::types::StructRole;
use pdf_writer::types::SystemInfo;
use pdf_writer::types::TabOrder;
use pdf_writer::types::TableHeaderScope;
use pdf_writer::types::UnicodeCmap;
use sha2::Digest;
use sha2::Sha256;

use crate::billing::pdf::PdfError;
use crate::billing::pdf::canvas::Canvas;
use crate::billing::pdf::canvas::FONT_NAMES;
use crate::billing::pdf::canvas::Kid;
use crate::billing::pdf::canvas::Node;
use crate::billing::pdf::canvas::PAGE_HEIGHT;
use crate::billing::pdf::canvas::PAGE_WIDTH;
use crate::billing::pdf::canvas::Sheetful;
use crate::billing::pdf::font::Font;
use crate::billing::pdf::font::Used;
use crate::billing::pdf::font::Weight;
use crate::billing::pdf::sheet::Sheet;

const LANGUAGE: &str = "en";
const PRODUCER: &str = "Tallystick";
const IDENTITY: SystemInfo<'static> = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };

/// Hands out the numbers of objects.
struct Numbers(Ref);

/// Where the parts of a file are.
struct Places {
    catalog: Ref,
    tree: Ref,
    structure: Ref,
    /// By page, the owners of its marked pieces.
    owners: Vec<Ref>,
    pages: Vec<Ref>,
    nodes: Vec<Ref>,
    fonts: Vec<Ref>,
}

/// The file of these pages, which show this sheet.
pub fn bytes(canvas: Canvas, sheet: &Sheet) -> Result<Vec<u8>, PdfError> {
    let Canvas { fonts, used, pages, nodes, .. } = canvas;
    let mut numbers = Numbers(Ref::new(1));
    let places = Places {
        catalog: numbers.next(),
        tree: numbers.next(),
        structure: numbers.next(),
        owners: pages.iter().map(|_| numbers.next()).collect(),
        pages: pages.iter().map(|_| numbers.next()).collect(),
        nodes: nodes.iter().map(|_| numbers.next()).collect(),
        fonts: Weight::ALL.iter().map(|_| numbers.next()).collect(),
    };
    let mut pdf = Pdf::with_settings(Settings { pretty: false });
    let mut hash = Sha256::new();
    catalog(&mut pdf, &places);
    let mut info = pdf.document_info(numbers.next());
    let title = format!("{} {}", sheet.title, sheet.name);
    let author = sheet.issuer.first().map_or("", String::as_str);
    info.title(TextStr(&title)).author(TextStr(author)).producer(TextStr(PRODUCER));
    if let Some(created) = sheet.created.and_then(date) {
        info.creation_date(created).modified_date(created);
    }
    info.finish();
    hash.update(&title);
    structure(&mut pdf, &nodes, &pages, &places);
    for (place, (font, used)) in fonts.iter().zip(&used).enumerate() {
        embed(&mut pdf, font, used, places.fonts[place], &mut numbers)?;
    }
    pdf.pages(places.tree).kids(places.pages.iter().copied()).count(i32::try_from(pages.len()).unwrap_or(i32::MAX));
    for (place, page) in pages.into_iter().enumerate() {
        let written = page.content.finish();
        hash.update(written.as_slice());
        let content = numbers.next();
        pdf.stream(content, &compressed(written.as_slice())?).filter(Filter::FlateDecode);
        let mut dictionary = pdf.page(places.pages[place]);
        dictionary.parent(places.tree).media_box(Rect::new(0.0, 0.0, PAGE_WIDTH, PAGE_HEIGHT)).contents(content);
        dictionary.struct_parents(i32::try_from(place).unwrap_or(i32::MAX)).tab_order(TabOrder::StructureOrder);
        let mut resources = dictionary.resources();
        let mut named = resources.fonts();
        for (name, font) in FONT_NAMES.iter().zip(&places.fonts) {
            named.pair(Name(name), *font);
        }
    }
    let id = hash.finalize()[..16].to_vec();
    pdf.set_file_id((id.clone(), id));
    Ok(pdf.finish())
}

impl Numbers {
    fn next(&mut self) -> Ref {
        self.0.bump()
    }
}

fn catalog(pdf: &mut Pdf, places: &Places) {
    let mut catalog = pdf.catalog(places.catalog);
    catalog.pages(places.tree).lang(TextStr(LANGUAGE));
    catalog.viewer_preferences().display_doc_title(true);
    catalog.mark_info().marked(true);
    catalog.pair(Name(b"StructTreeRoot"), places.structure);
}

fn structure(pdf: &mut Pdf, nodes: &[Node], pages: &[Sheetful], places: &Places) {
    let mut root = pdf.indirect(places.structure).start::<pdf_writer::writers::StructTreeRoot<'_>>();
    root.child(places.nodes[0]);
    let mut parents = root.parent_tree();
    let mut numbered = parents.nums();
    for (key, owners) in (0..).zip(&places.owners) {
        numbered.insert(key, *owners);
    }
    numbered.finish();
    parents.finish();
    root.parent_tree_next_key(i32::try_from(pages.len()).unwrap_or(i32::MAX));
    root.finish();
    for (page, owners) in pages.iter().zip(&places.owners) {
        pdf.indirect(*owners).array().items(page.pieces.iter().map(|tag| places.nodes[tag.0]));
    }
    for (node, place) in nodes.iter().zip(&places.nodes) {
        let mut element = pdf.struct_element(*place);
        element.kind(node.role).parent(node.parent.map_or(places.structure, |parent| places.nodes[parent.0]));
        if node.role == StructRole::TH {
            element.attributes().push().table().scope(TableHeaderScope::Column);
        }
        let mut children = element.children();
        for kid in &node.kids {
            match kid {
                Kid::Node(tag) => {
                    children.struct_element(places.nodes[tag.0]);
                }
                Kid::Piece { page, piece } => {
                    children.marked_content_ref().page(places.pages[*page]).marked_content_id(*piece);
                }
            }
        }
    }
}

/// Writes a font with the glyphs that are used, and how they read as text.
fn embed(pdf: &mut Pdf, font: &Font, used: &Used, place: Ref, numbers: &mut Numbers) -> Result<(), PdfError> {
    let (descendant, descriptor, file, cmap) = (numbers.next(), numbers.next(), numbers.next(), numbers.next());
    let data = font.subset(used)?;
    // A file that is put together from several needs to tell their subsets apart.
    let letters = Sha256::digest(&data).iter().take(6).map(|byte| char::from(b'A' + byte % 26)).collect::<String>();
    let name = format!("{letters}+{}", font.name);
    pdf.type0_font(place)
        .base_font(Name(name.as_bytes()))
        .encoding_predefined(Name(b"Identity-H"))
        .descendant_font(descendant)
        .to_unicode(cmap);
    let mut cid = pdf.cid_font(descendant);
    cid.subtype(CidFontType::Type2).base_font(Name(name.as_bytes())).system_info(IDENTITY);
    cid.font_descriptor(descriptor).default_width(0.0).cid_to_gid_map_predefined(Name(b"Identity"));
    let advances = used.glyphs.remapped_gids().map(|glyph| font.advance(ttf_parser::GlyphId(glyph)));
    cid.widths().consecutive(0, advances);
    cid.finish();
    let face = &font.face;
    let thousandths = |units: i16| font.thousandths(f32::from(units));
    let bounds = face.global_bounding_box();
    pdf.font_descriptor(descriptor)
        .name(Name(name.as_bytes()))
        .flags(FontFlags::SYMBOLIC)
        .bbox(Rect::new(
            thousandths(bounds.x_min),
            thousandths(bounds.y_min),
            thousandths(bounds.x_max),
            thousandths(bounds.y_max),
        ))
        .italic_angle(0.0)
        .ascent(thousandths(face.ascender()))
        .descent(thousandths(face.descender()))
        .cap_height(thousandths(face.capital_height().unwrap_or_default()))
        .stem_v(if font.name.ends_with("SemiBold") { 120.0 } else { 80.0 })
        .font_file2(file);
    let length = i32::try_from(data.len()).unwrap_or(i32::MAX);
    pdf.stream(file, &compressed(&data)?).filter(Filter::FlateDecode).pair(Name(b"Length1"), length);
    let mut texts = UnicodeCmap::new(Name(b"Texts"), IDENTITY);
    for (glyph, text) in &used.texts {
        texts.pair(*glyph, *text);
    }
    pdf.stream(cmap, &compressed(texts.finish().as_slice())?).filter(Filter::FlateDecode);
    Ok(())
}

fn date(date: Date) -> Option<pdf_writer::Date> {
    let year = u16::try_from(date.year()).ok()?;
    Some(pdf_writer::Date::new(year).month(date.month().unsigned_abs()).day(date.day().unsigned_abs()))
}

fn compressed(bytes: &[u8]) -> Result<Vec<u8>, PdfError> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}
