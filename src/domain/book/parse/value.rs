//! What values may look like: texts, decimals, names, dates, choices, lists and tables.

use std::num::NonZero;
use std::ops::Range;
use std::ops::RangeInclusive;

use jiff::civil::Date;
use rust_decimal::Decimal;
use toml::de::DeValue;

use crate::domain::book::mistake::either;
use crate::domain::book::mistake::nearest;
use crate::domain::book::parse::reader::Source;
use crate::domain::book::parse::reader::Table;
use crate::domain::money::Currency;
use crate::domain::time::Zone;

/// Numbers in a book are smaller than this and have at most `DECIMALS_MAX` decimals, so that every one of them
/// is exact in 28 digits.
const NUMBER_LIMIT: Decimal = Decimal::from_parts(3_567_587_328, 232, 0, false, 0);
const DECIMALS_MAX: u32 = 15;
/// Years outside are slips of the pen.
const YEARS: RangeInclusive<i16> = 1970..=2999;
const ID_BYTES_MAX: usize = 64;

/// A value under a key, or in a list under a key.
#[derive(Clone)]
pub struct Value<'a> {
    pub source: Source<'a>,
    pub key: &'a str,
    pub span: Range<usize>,
    pub raw: &'a DeValue<'a>,
}

impl<'a> Value<'a> {
    /// Notes a mistake here. Always `None`, so that a reader can end with it.
    pub fn wrong<T>(&self, code: &'static str, message: String, fix: impl Into<String>) -> Option<T> {
        self.source.note(self.span.clone(), self.key, code, message, fix);
        None
    }

    /// Notes a mistake in some bytes of its `text`. Always `None`.
    pub fn wrong_at<T>(
        &self,
        text: &str,
        at: Range<usize>,
        code: &'static str,
        message: String,
        fix: String,
    ) -> Option<T> {
        let written = self.source.file.text.get(self.span.clone());
        // Where the text is written with escapes, the whole value is meant.
        let span = written.and_then(|written| written.find(text)).map_or(self.span.clone(), |opening| {
            let start = self.span.start.saturating_add(opening);
            start.saturating_add(at.start)..start.saturating_add(at.end)
        });
        self.source.note(span, self.key, code, message, fix);
        None
    }

    pub fn text(self) -> Option<&'a str> {
        match self.raw {
            DeValue::String(text) if text.trim().is_empty() => {
                self.wrong("empty_text", format!("`{}` is empty", self.key), "give it a value, or leave it out")
            }
            DeValue::String(text) => Some(text),
            DeValue::Datetime(date) => self.wrong_kind("a text", format!("put it in quotes: \"{date}\"")),
            _ => self.wrong_kind("a text", "put it in quotes"),
        }
    }

    /// Where it stands: `meters/api.toml:3`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.source.file.path, self.source.line(self.span.start))
    }

    /// The text as it stands, without a word about it if it is none.
    pub fn raw_text(&self) -> Option<String> {
        self.raw.as_str().map(str::to_owned)
    }

    /// A text that may hold a number: a bare number is refused, since it would pass through a float.
    pub fn scalar(self) -> Option<&'a str> {
        match self.raw {
            DeValue::Integer(number) => self.bare_number(&number.to_string()),
            DeValue::Float(number) => self.bare_number(number.as_str()),
            _ => self.text(),
        }
    }

    pub fn owned_text(self) -> Option<String> {
        self.text().map(str::to_owned)
    }

    pub fn flag(self) -> Option<bool> {
        self.raw.as_bool().or_else(|| self.wrong_kind("true or false", "write true or false, without quotes"))
    }

    pub fn id(self) -> Option<&'a str> {
        self.clone().text().filter(|id| self.is_id(id))
    }

    /// The key itself, where it names something.
    pub fn key_as_id(&self) -> Option<&'a str> {
        Some(self.key).filter(|id| self.is_id(id))
    }

    fn is_id(&self, text: &str) -> bool {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "_.-".contains(c);
        let fits = text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(known);
        if fits && text.len() <= ID_BYTES_MAX {
            return true;
        }
        let fix = "use a small letter, then up to 63 small letters, digits, `_`, `.` or `-`";
        self.wrong::<()>("invalid_id", format!("`{text}` cannot be an id"), fix);
        false
    }

    /// An exact number. It is a text in the file, since a bare TOML number would pass through a float.
    pub fn decimal(self) -> Option<Decimal> {
        let text = match self.raw {
            DeValue::String(text) => text.as_ref(),
            DeValue::Integer(number) => return self.bare_number(&number.to_string()),
            DeValue::Float(number) => return self.bare_number(number.as_str()),
            _ => return self.wrong_kind("a decimal in quotes", "write it like \"0.25\""),
        };
        if !is_plain_decimal(text) {
            let message = format!("`{}` is \"{text}\", which is not a decimal", self.key);
            return self.wrong("not_a_decimal", message, "write digits with at most one point, like \"1234.50\"");
        }
        let number = Decimal::from_str_exact(text).ok();
        number.filter(|number| number.abs() < NUMBER_LIMIT && number.scale() <= DECIMALS_MAX).or_else(|| {
            let message = format!("`{}` is {text}, which is too large or too fine to be exact", self.key);
            let fix = format!("keep it below 10^12 and within {DECIMALS_MAX} decimals");
            self.wrong("decimal_out_of_range", message, fix)
        })
    }

    /// A price or a quantity: never below zero.
    pub fn not_negative(self) -> Option<Decimal> {
        let number = self.clone().decimal()?;
        if !number.is_sign_negative() || number.is_zero() {
            return Some(number);
        }
        let message = format!("`{}` is {number}, below zero", self.key);
        self.wrong("negative_number", message, "what the platform pays is a component of kind \"reward\"")
    }

    pub fn above_zero(self) -> Option<Decimal> {
        let number = self.clone().decimal()?;
        if number > Decimal::ZERO {
            return Some(number);
        }
        let message = format!("`{}` is {number}", self.key);
        self.wrong("not_above_zero", message, "it must be above zero")
    }

    /// A whole number above zero.
    pub fn whole(self) -> Option<u64> {
        let number = self.clone().above_zero()?;
        match u64::try_from(number) {
            Ok(whole) if number.fract().is_zero() => Some(whole),
            _ => self.wrong("not_whole", format!("{number} is not a whole number"), "write a number such as \"3\""),
        }
    }

    /// A whole number from 1 to `most`.
    pub fn whole_up_to(self, most: u16) -> Option<NonZero<u16>> {
        let number = self.clone().whole()?;
        match u16::try_from(number).ok().filter(|number| *number <= most).and_then(NonZero::new) {
            Some(number) => Some(number),
            None => self.wrong("number_out_of_range", format!("{number} is above {most}"), "write a smaller number"),
        }
    }

    /// Days as `14d`, up to `most`.
    pub fn days(self, most: u32) -> Option<u32> {
        let text = self.clone().text()?;
        let days = text.strip_suffix('d').filter(|days| days.bytes().all(|byte| byte.is_ascii_digit()));
        days.and_then(|days| days.parse().ok()).filter(|days| *days <= most).or_else(|| {
            let message = format!("`{}` is \"{text}\", which is not a number of days", self.key);
            self.wrong("not_a_duration", message, format!("write it like \"14d\", at most {most} days"))
        })
    }

    pub fn percent(self) -> Option<Decimal> {
        let number = self.clone().not_negative()?;
        if number <= Decimal::ONE_HUNDRED {
            return Some(number);
        }
        let message = format!("`{}` is {number}, more than a hundred percent", self.key);
        self.wrong("percent_out_of_range", message, "write 21 percent as \"21\"")
    }

    /// An amount that stands on a document by itself, so that it has no more decimals than its currency (which is
    /// nothing where that has a mistake).
    pub fn money(self, currency: Option<Currency>) -> Option<Decimal> {
        let amount = self.clone().not_negative()?;
        match currency.filter(|currency| amount.normalize().scale() > currency.exponent()) {
            None => Some(amount),
            Some(currency) => {
                let message =
                    format!("`{}` is {amount}, and {currency} has {} decimals", self.key, currency.exponent());
                self.wrong("too_many_decimals", message, "round it: it is a whole amount, not a price per unit")
            }
        }
    }

    pub fn currency(self) -> Option<Currency> {
        let text = self.clone().text()?;
        if let Some(currency) = Currency::from_code(text) {
            return Some(currency);
        }
        let upper = text.to_uppercase();
        let fix = match Currency::from_code(&upper) {
            Some(_) => format!("write it in capitals: \"{upper}\""),
            None => "use an ISO 4217 code such as \"EUR\" or \"USD\"".to_owned(),
        };
        self.wrong("unknown_currency", format!("`{text}` is not a currency"), fix)
    }

    pub fn zone(self) -> Option<Zone> {
        let text = self.clone().text()?;
        if let Some(zone) = Zone::named(text) {
            return Some(zone);
        }
        let names: Vec<_> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let fix = match nearest(text, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean \"{name}\"?"),
            None => "use an IANA name such as \"Europe/Amsterdam\" or \"UTC\"".to_owned(),
        };
        self.wrong("unknown_time_zone", format!("`{text}` is not a time zone"), fix)
    }

    pub fn date(self) -> Option<Date> {
        let text = self.clone().text()?;
        let date: Option<Date> = text.parse().ok().filter(|_| text.len() == "2013-01-01".len());
        date.filter(|date| YEARS.contains(&date.year())).or_else(|| {
            let message = format!("`{}` is \"{text}\", which is not a date", self.key);
            self.wrong("not_a_date", message, "write year, month and day, like \"2026-01-31\"")
        })
    }

    /// One of some names. `later` are names of the format that this version cannot read yet.
    pub fn one_of<T: Copy>(self, options: &[(&'static str, T)], later: &[&'static str]) -> Option<T> {
        let text = self.clone().text()?;
        if let Some((_, meaning)) = options.iter().find(|(name, _)| *name == text) {
            return Some(*meaning);
        }
        let names = options.iter().map(|(name, _)| *name);
        if later.contains(&text) {
            let message = format!("this version does not know {} `{text}` yet", self.key);
            return self.wrong("not_supported_yet", message, format!("it knows {}", either(names)));
        }
        self.unknown_name("unknown_value", format!("`{}` cannot be \"{text}\"", self.key), text, names)
    }

    /// Notes a name that is none of the known ones.
    pub fn unknown_name<'n, T>(
        &self,
        code: &'static str,
        message: String,
        name: &str,
        known: impl Iterator<Item = &'n str> + Clone,
    ) -> Option<T> {
        let fix = match (nearest(name, known.clone()), known.clone().next()) {
            (Some(near), _) => format!("did you mean \"{near}\"?"),
            (None, Some(_)) => format!("use {}", either(known)),
            (None, None) => "add it first: there is none yet".to_owned(),
        };
        self.wrong(code, message, fix)
    }

    /// The items of a list, each under the key of the list.
    pub fn items(self) -> Option<Vec<Self>> {
        match self.raw {
            DeValue::Array(items) => {
                let item = |item: &'a toml::Spanned<DeValue<'a>>| Self {
                    span: item.span(),
                    raw: item.get_ref(),
                    ..self.clone()
                };
                Some(items.iter().map(item).collect())
            }
            DeValue::Table(_) => self.wrong_kind("a list", format!("write `[[{}]]` or `[ {{ … }} ]`", self.key)),
            _ => self.wrong_kind("a list", "put it in brackets: [ … ]"),
        }
    }

    /// The keys and values of a table in which any key is allowed.
    pub fn pairs(self) -> Option<Vec<Self>> {
        let DeValue::Table(entries) = self.raw else {
            return self.wrong_kind("a table", "write it as { name = … }");
        };
        let pair = |(key, value): (&'a toml::Spanned<toml::de::DeString<'a>>, &'a toml::Spanned<DeValue<'a>>)| Self {
            source: self.source,
            key: key.get_ref(),
            span: value.span(),
            raw: value.get_ref(),
        };
        Some(entries.iter().map(pair).collect())
    }

    /// Reads a table, `what` in messages.
    pub fn table<T>(self, what: &'static str, read: impl FnOnce(&mut Table<'a>) -> Option<T>) -> Option<T> {
        match self.raw {
            DeValue::Table(entries) => Table::read(self.source, what, self.span.clone(), entries, read),
            DeValue::Array(_) => {
                self.wrong_kind("a table", format!("there is one: write `[{}]`, not a list", self.key))
            }
            _ => self.wrong_kind("a table", "write it as { key = … }"),
        }
    }

    fn bare_number<T>(&self, number: &str) -> Option<T> {
        let message = format!("`{}` is a bare number, which cannot be kept exactly", self.key);
        self.wrong("not_a_decimal_string", message, format!("put it in quotes: \"{number}\""))
    }

    fn wrong_kind<T>(&self, wanted: &str, fix: impl Into<String>) -> Option<T> {
        let is = match self.raw {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) | DeValue::Float(_) => "a number",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a bare date or time",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.wrong("wrong_type", format!("`{}` is {is}, not {wanted}", self.key), fix)
    }
}

/// Digits, at most one point with digits on both sides, and perhaps a minus: no exponent, no separators.
fn is_plain_decimal(text: &str) -> bool {
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    match unsigned.split_once('.') {
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => digits(unsigned),
    }
}
