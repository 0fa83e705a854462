//! The embedded typeface: which glyph a character has, how wide it is, and what is taken along into a file.
//!
//! Two weights of Inter (`assets/fonts`), with Latin, Greek and Cyrillic, kerning and figures of one width. A character
//! that it does not have is shown as an empty box, whose text is still the character's own.

use std::collections::BTreeMap;

use subsetter::GlyphRemapper;
use ttf_parser::GlyphId;
use ttf_parser::Tag;
use ttf_parser::gpos::PairAdjustment;
use ttf_parser::gpos::PositioningSubtable;
use ttf_parser::gsub::SingleSubstitution;
use ttf_parser::gsub::SubstitutionSubtable;
use unicode_normalization::UnicodeNormalization;

use crate::billing::pdf::PdfError;

const REGULAR: &[u8] = include_bytes!("../../../assets/fonts/Inter-Regular.ttf");
const SEMIBOLD: &[u8] = include_bytes!("../../../assets/fonts/Inter-SemiBold.ttf");

/// Stands for a character that the typeface does not have.
const MISSING: char = '□';

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    Regular,
    SemiBold,
}

/// One weight of the typeface.
pub struct Font {
    pub face: ttf_parser::Face<'static>,
    pub name: &'static str,
    data: &'static [u8],
    kerning: Vec<PairAdjustment<'static>>,
    figures: Vec<SingleSubstitution<'static>>,
}

/// A character as it is set. Lengths are in thousandths of the font size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Glyph {
    pub id: GlyphId,
    pub of: char,
    pub advance: f32,
    /// What is added before the next one.
    pub kerning: f32,
    /// Whether it is a box instead of a character that the typeface does not have.
    pub is_missing: bool,
}

/// The glyphs that a file uses, in the order in which they were met, and what each stands for.
#[derive(Default)]
pub struct Used {
    pub glyphs: GlyphRemapper,
    pub texts: BTreeMap<u16, char>,
}

impl Weight {
    pub const ALL: [Self; 2] = [Self::Regular, Self::SemiBold];

    pub const fn index(self) -> usize {
        match self {
            Self::Regular => 0,
            Self::SemiBold => 1,
        }
    }
}

impl Font {
    pub fn open(weight: Weight) -> Result<Self, PdfError> {
        let (name, data) = match weight {
            Weight::Regular => ("Inter-Regular", REGULAR),
            Weight::SemiBold => ("Inter-SemiBold", SEMIBOLD),
        };
        let face = ttf_parser::Face::parse(data, 0)?;
        let lookups = |table: Option<ttf_parser::opentype_layout::LayoutTable<'static>>, feature: &[u8; 4]| {
            let feature = table.and_then(|table| table.features.find(Tag::from_bytes(feature)));
            let indices = feature.into_iter().flat_map(|feature| feature.lookup_indices);
            indices.filter_map(move |index| table?.lookups.get(index)).collect::<Vec<_>>()
        };
        let kerning = lookups(face.tables().gpos, b"kern").into_iter().flat_map(|lookup| {
            lookup.subtables.into_iter::<PositioningSubtable>().filter_map(|table| match table {
                PositioningSubtable::Pair(pairs) => Some(pairs),
                _ => None,
            })
        });
        let figures = lookups(face.tables().gsub, b"tnum").into_iter().flat_map(|lookup| {
            lookup.subtables.into_iter::<SubstitutionSubtable>().filter_map(|table| match table {
                SubstitutionSubtable::Single(single) => Some(single),
                _ => None,
            })
        });
        Ok(Self { kerning: kerning.collect(), figures: figures.collect(), face, name, data })
    }

    /// A text as glyphs; with figures of one width, if it is to stand above others. What has no shape of its own (line ends,
    /// marks of direction, joiners) is a space, or nothing.
    pub fn set(&self, text: &str, is_tabular: bool) -> Vec<Glyph> {
        let glyph = |of: char| self.glyph(of, is_tabular && of.is_ascii_digit());
        let mut glyphs: Vec<Glyph> = text.nfc().filter_map(visible).map(glyph).collect();
        for place in 1..glyphs.len() {
            let kerning = self.kerning(glyphs[place - 1].id, glyphs[place].id);
            glyphs[place - 1].kerning = kerning;
        }
        glyphs
    }

    /// Thousandths of the font size, from units of the font.
    pub fn thousandths(&self, units: f32) -> f32 {
        units * 1000.0 / f32::from(self.face.units_per_em())
    }

    pub fn advance(&self, id: GlyphId) -> f32 {
        self.thousandths(f32::from(self.face.glyph_hor_advance(id).unwrap_or_default()))
    }

    /// The font with nothing in it but these glyphs.
    pub fn subset(&self, used: &Used) -> Result<Vec<u8>, PdfError> {
        Ok(subsetter::subset(self.data, 0, &used.glyphs)?)
    }

    fn glyph(&self, of: char, is_tabular: bool) -> Glyph {
        let found = self.face.glyph_index(of);
        let id = found.or_else(|| self.face.glyph_index(MISSING)).unwrap_or_default();
        let figures = if is_tabular { self.figures.as_slice() } else { &[] };
        let id = figures.iter().find_map(|single| substituted(single, id)).unwrap_or(id);
        Glyph { id, of, advance: self.advance(id), kerning: 0.0, is_missing: found.is_none() }
    }

    fn kerning(&self, left: GlyphId, right: GlyphId) -> f32 {
        let adjusted = self.kerning.iter().find_map(|pairs| match pairs {
            PairAdjustment::Format1 { coverage, sets } => Some(sets.get(coverage.get(left)?)?.get(right)?.0),
            PairAdjustment::Format2 { coverage, classes, matrix } => {
                coverage.get(left)?;
                Some(matrix.get((classes.0.get(left), classes.1.get(right)))?.0)
            }
        });
        adjusted.map_or(0.0, |value| self.thousandths(f32::from(value.x_advance)))
    }
}

impl Used {
    /// The number that a glyph has in the file.
    pub fn take(&mut self, glyph: &Glyph) -> u16 {
        let number = self.glyphs.remap(glyph.id.0);
        let text = if glyph.is_missing { MISSING } else { glyph.of };
        self.texts.entry(number).or_insert(text);
        number
    }
}

fn substituted(single: &SingleSubstitution<'_>, id: GlyphId) -> Option<GlyphId> {
    match single {
        SingleSubstitution::Format1 { coverage, delta } => {
            coverage.get(id)?;
            Some(GlyphId(id.0.wrapping_add_signed(*delta)))
        }
        SingleSubstitution::Format2 { coverage, substitutes } => substitutes.get(coverage.get(id)?),
    }
}

/// What is left of a character: marks of direction and joiners would be boxes, or turn a name around.
fn visible(of: char) -> Option<char> {
    match of {
        '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' => None,
        '\u{fe00}'..='\u{fe0f}' | '\u{feff}' => None,
        of if of.is_control() || (of.is_whitespace() && of != '\u{a0}') => Some(' '),
        of => Some(of),
    }
}
