//! Which form of an answer a caller likes best (RFC 9110, section 12.5.1), or asks for by `format`.

use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header::ACCEPT;

use crate::http::problem::Problem;
use crate::http::query::invalid;

pub const JSON: &str = "application/json";
pub const HTML: &str = "text/html";
pub const CSV: &str = "text/csv";
pub const PDF: &str = "application/pdf";

/// A form that a thing can have: what `format` calls it, and its media type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Json,
    Csv,
    Html,
    Pdf,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Html => "html",
            Self::Pdf => "pdf",
        }
    }

    const fn media_type(self) -> &'static str {
        match self {
            Self::Json => JSON,
            Self::Csv => CSV,
            Self::Html => HTML,
            Self::Pdf => PDF,
        }
    }
}

/// Which of its forms is asked for: by `format` whatever `Accept` says, else by `Accept`. `what` it is: `a statement`.
pub fn form(headers: &HeaderMap, asked: Option<&str>, what: &str, forms: &[Form]) -> Result<Form, Problem> {
    let named = |named: fn(Form) -> &'static str| listed(forms.iter().map(|form| named(*form)));
    if let Some(asked) = asked {
        let known = forms.iter().find(|form| asked == form.name());
        return known.copied().ok_or_else(|| {
            invalid("format", &format!("`{asked}` is not a form of {what}"), &format!("ask for {}", named(Form::name)))
        });
    }
    let offers: Vec<&str> = forms.iter().map(|form| form.media_type()).collect();
    let liked = best(headers, &offers).and_then(|liked| forms.iter().find(|form| form.media_type() == liked));
    liked.copied().ok_or_else(|| {
        let detail = format!("{what} has none of the forms that `Accept` names");
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
            .fix(format!("accept {}", named(Form::media_type)))
    })
}

/// `json, csv or html`
fn listed<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// Whether it is rather a person with a browser than a program: programs take what they are given, or ask for JSON.
pub fn is_for_people(headers: &HeaderMap) -> bool {
    best(headers, &[JSON, HTML]) == Some(HTML)
}

/// The offer that is liked best, the earlier one of two that are liked equally; `None` if none is taken at all.
pub fn best<'o>(headers: &HeaderMap, offers: &[&'o str]) -> Option<&'o str> {
    let accept: Vec<&str> = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    if accept.is_empty() {
        return offers.first().copied();
    }
    let ranges: Vec<(&str, u32)> = accept.iter().flat_map(|list| list.split(',')).map(range).collect();
    let mut liked: Option<(&str, u32)> = None;
    for offer in offers {
        let weight = weight(&ranges, offer);
        if weight > liked.map_or(0, |(_, most)| most) {
            liked = Some((offer, weight));
        }
    }
    liked.map(|(offer, _)| offer)
}

/// A media range and its weight in thousandths.
fn range(text: &str) -> (&str, u32) {
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    let weight = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
    (name, weight.map_or(1000, thousandths))
}

/// `0.85` is 850. What cannot be read weighs nothing.
fn thousandths(text: &str) -> u32 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<3.3}");
    digits.parse().map_or(0, |thousandths: u32| thousandths.min(1000))
}

/// What the most specific range that holds the offer says.
fn weight(ranges: &[(&str, u32)], offer: &str) -> u32 {
    let kind = offer.split_once('/').map_or(offer, |(kind, _)| kind);
    let specificity = |name: &str| match name.split_once('/') {
        _ if name.eq_ignore_ascii_case(offer) => Some(2),
        Some((of, "*")) if of.eq_ignore_ascii_case(kind) => Some(1),
        Some(("*", "*")) => Some(0),
        _ => None,
    };
    let holding = ranges.iter().filter_map(|(name, weight)| Some((specificity(name)?, *weight)));
    holding.max().map_or(0, |(_, weight)| weight)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &'static str) -> Option<&'static str> {
        let headers = HeaderMap::from_iter([(ACCEPT, axum::http::HeaderValue::from_static(accept))]);
        best(&headers, &[JSON, CSV, HTML])
    }

    #[test]
    fn browsers_get_pages_and_programs_get_json_unless_they_say_otherwise() {
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        assert_eq!(chosen(browser), Some(HTML));
        assert_eq!(chosen("*/*"), Some(JSON));
        assert_eq!(best(&HeaderMap::new(), &[JSON, CSV]), Some(JSON));
        assert_eq!(chosen("text/csv"), Some(CSV));
        assert_eq!(chosen("text/*;q=0.5, text/html;q=0.4"), Some(CSV));
        assert_eq!(chosen("application/json;q=0, */*;q=0.1"), Some(CSV));
        assert_eq!(chosen("image/png"), None);
    }
}
