//! Problems: how every error is answered (RFC 9457). The only translator from the rooms' errors.

use axum::http::HeaderValue;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::http::header::RETRY_AFTER;
use axum::http::header::WWW_AUTHENTICATE;
use axum::response::IntoResponse;
use axum::response::Json;
use axum::response::Response;
use serde::Serialize;
use serde::Serializer;
use utoipa::ToSchema;

use crate::metering;
use crate::metering::ingest::Faulty;
use crate::store;

/// Seconds after which trying again makes sense when the server is busy.
const RETRY_AFTER_SECONDS: &str = "1";

/// What went wrong, where, and what to do about it.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// Where it is explained.
    #[serde(rename = "type")]
    #[schema(value_type = String, example = "/docs#invalid_events")]
    kind: Kind,
    #[schema(example = "Unprocessable Entity")]
    title: &'static str,
    #[schema(example = 422)]
    status: u16,
    /// For programs; never changes its meaning.
    #[schema(example = "invalid_events")]
    code: &'static str,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    fix: Option<Box<str>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Place>,
}

/// A code, shown as the place of the reading page that it is explained at.
#[derive(Clone, Debug)]
struct Kind(&'static str);

impl Serialize for Kind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("/docs#{}", self.0))
    }
}

/// One of the things that are wrong with what was sent.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Place {
    /// A JSON pointer, a parameter, or `file:line`.
    #[schema(example = "/2/data/bytes")]
    pub at: String,
    pub code: String,
    pub detail: String,
    pub fix: String,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: Kind(code),
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            fix: None,
            errors: Vec::new(),
        }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn fix(mut self, fix: impl Into<Box<str>>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// Names a place of what was sent.
    #[must_use]
    pub fn at(mut self, at: &str, code: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        let place = Place { at: at.to_owned(), code: code.to_owned(), detail: detail.into(), fix: fix.into() };
        self.errors.push(place);
        self
    }

    #[must_use]
    pub fn with(mut self, places: impl IntoIterator<Item = Place>) -> Self {
        self.errors.extend(places);
        self
    }

    /// Something that only the operator can look into: its log says more than the answer.
    pub fn internal() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server met something it did not expect")
            .fix("try again; if it stays, the server's log says more")
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub fn code(&self) -> &'static str {
        self.code
    }

    pub fn title(&self) -> &'static str {
        self.title
    }

    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub fn remedy(&self) -> Option<&str> {
        self.fix.as_deref()
    }

    pub fn places(&self) -> &[Place] {
        &self.errors
    }
}

impl Place {
    pub fn new(at: &str, code: &str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { at: at.to_owned(), code: code.to_owned(), detail: detail.into(), fix: fix.into() }
    }

    /// What is wrong with one event of a body, each with the event's index before its pointer.
    pub fn of_event(faulty: Faulty) -> Vec<Self> {
        let Faulty { index, errors } = faulty;
        let place = |fault: crate::domain::event::Fault| {
            Self::new(&format!("/{index}{}", fault.at), fault.code, fault.detail, fault.fix)
        };
        errors.into_iter().map(place).collect()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        // For the page that a person gets instead.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Missing => Self::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing"),
            store::Error::Taken => Self::new(StatusCode::CONFLICT, "exists_already", "this exists already"),
            store::Error::Unavailable(_) | store::Error::InUse(_) => {
                tracing::error!("{error}");
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "the store cannot be used right now")
                    .fix("try again; nothing of this call was kept")
            }
            store::Error::Refused(_) | store::Error::Damaged(_) => {
                tracing::error!("{error}");
                Self::internal()
            }
        }
    }
}

impl From<metering::Error> for Problem {
    fn from(error: metering::Error) -> Self {
        match error {
            metering::Error::Invalid(faulty) => {
                let detail = format!("{} events cannot be taken; nothing of this body was stored", faulty.len());
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_events", detail)
                    .fix("mend the events named below, or send with ?invalid=quarantine")
                    .with(faulty.into_iter().flat_map(Place::of_event))
            }
            metering::Error::Busy => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", "more events wait than can be written at once")
                    .fix("send this body again after the time that Retry-After says")
            }
            metering::Error::Store(error) => error.into(),
            metering::Error::Archive(unreadable) => {
                tracing::error!("{unreadable}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "archive_unreadable", unreadable.to_string())
                    .fix("the operator puts the file back, or says where the archive is with serve --archive")
            }
            metering::Error::UnknownMeter(meter) => {
                Self::new(StatusCode::NOT_FOUND, "unknown_meter", format!("there is no meter `{meter}`"))
                    .fix("check its id; /v1/pricing/versions has every meter")
            }
            metering::Error::TooManyWindows => {
                Self::new(StatusCode::BAD_REQUEST, "too_many_windows", error.to_string())
                    .fix("ask about a shorter time, or in wider windows")
            }
            metering::Error::Replaying => Self::new(StatusCode::CONFLICT, "replaying_already", error.to_string())
                .fix("one replay runs at a time; ask for this one when the other is done"),
            metering::Error::Damaged(_)
            | metering::Error::Seen(_)
            | metering::Error::Thread(_)
            | metering::Error::TooLarge(_)
            | metering::Error::Book(_)
            | metering::Error::Fenced => {
                tracing::error!("{error}");
                Self::internal()
            }
            metering::Error::Stopped => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "stopping", "the server is stopping").fix("try again")
            }
        }
    }
}
