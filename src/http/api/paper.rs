//! Documents as PDF files: what they need beside themselves is looked up here, and they are set off the request's thread.

use axum::http::header::CONTENT_DISPOSITION;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::response::Response;

use crate::billing::pdf;
use crate::billing::pdf::Around;
use crate::billing::pdf::PdfError;
use crate::domain::book::Issuer;
use crate::domain::consumer::Consumer;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::document::statement::Statement;
use crate::domain::ids::SubscriptionId;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::http::App;
use crate::http::accept;
use crate::http::api::consumers::unknown_consumer;
use crate::http::problem::Problem;
use crate::store::documents::Wanted;

/// What stands around a document.
struct Setting {
    issuer: Issuer,
    consumer: Consumer,
    zone: Zone,
}

impl Setting {
    fn around(&self) -> Around<'_> {
        Around { issuer: &self.issuer, consumer: &self.consumer, zone: &self.zone }
    }
}

pub async fn invoice(app: &App, invoice: Invoice) -> Result<Response, Problem> {
    let from = invoice.period.from();
    let setting = setting(app, &invoice.consumer, (&invoice.book_version, &invoice.subscription), from).await?;
    let name = invoice.number.to_string();
    file(&name, move || pdf::invoice(&invoice, setting.around())).await
}

/// With the setting of the invoice that it is for.
pub async fn credit_note(app: &App, note: CreditNote) -> Result<Response, Problem> {
    let found = app.db.read().await?.invoices(Wanted::Id(note.invoice.as_str())).await?.pop();
    let invoice = found.ok_or_else(|| {
        tracing::error!("invoice {} of credit note {} is not there", note.invoice, note.number);
        Problem::internal()
    })?;
    let from = invoice.period.from();
    let setting = setting(app, &invoice.consumer, (&invoice.book_version, &invoice.subscription), from).await?;
    let name = note.number.to_string();
    file(&name, move || pdf::credit_note(&note, &invoice, setting.around())).await
}

pub async fn payout(app: &App, payout: Payout) -> Result<Response, Problem> {
    let from = payout.period.from();
    let setting = setting(app, &payout.consumer, (&payout.book_version, &payout.subscription), from).await?;
    let name = payout.number.to_string();
    file(&name, move || pdf::payout(&payout, setting.around())).await
}

/// Of the issuer that the price book of its last moment names.
pub async fn statement(app: &App, statement: Statement, now: Instant) -> Result<Response, Problem> {
    let consumer = app.db.read().await?.consumer(&statement.consumer).await?;
    let consumer = consumer.ok_or_else(|| unknown_consumer(&statement.consumer))?;
    let versions = app.metering.versions();
    let book = versions.at(statement.period.to().min(now));
    let issuer = book.map(|version| version.book.issuer.clone()).unwrap_or_default();
    let setting = Setting { issuer, consumer, zone: statement.timezone.clone() };
    let name = name_of(&statement);
    file(&name, move || pdf::statement(&statement, setting.around())).await
}

/// How the file of a statement is called, without its ending.
pub fn name_of(statement: &Statement) -> String {
    let from = statement.period.from().date_in(&statement.timezone);
    format!("statement-{}-{from}", safe(&statement.consumer))
}

/// The issuer as the document's price book has it, and the zone of the plan that was billed.
async fn setting(
    app: &App,
    consumer_id: &str,
    (version, subscription): (&str, &SubscriptionId),
    at: Instant,
) -> Result<Setting, Problem> {
    let mut tx = app.db.read().await?;
    let consumer = tx.consumer(consumer_id).await?.ok_or_else(|| unknown_consumer(consumer_id))?;
    let subscription = tx.subscription(subscription).await?;
    drop(tx);
    let versions = app.metering.versions();
    let version = versions.by_id(version).ok_or_else(|| {
        tracing::error!("the price book {version} of a document is not there");
        Problem::internal()
    })?;
    let plan = subscription.and_then(|subscription| version.book.plans.get(subscription.plan_at(at)));
    let zone = plan.map_or(&version.book.zone, |plan| &plan.calendar.zone).clone();
    Ok(Setting { issuer: version.book.issuer.clone(), consumer, zone })
}

/// A long document takes milliseconds, during which the thread would answer nobody else.
async fn file(
    name: &str,
    set: impl FnOnce() -> Result<Vec<u8>, PdfError> + Send + 'static,
) -> Result<Response, Problem> {
    let set = tokio::task::spawn_blocking(set).await.map_err(|error| {
        tracing::error!("setting {name}: {error}");
        Problem::internal()
    })?;
    let bytes = set.map_err(|error| {
        tracing::error!("setting {name}: {error}");
        Problem::internal()
    })?;
    let shown = format!("inline; filename=\"{}.pdf\"", safe(name));
    let headers = [(CONTENT_TYPE, accept::PDF.to_owned()), (CONTENT_DISPOSITION, shown)];
    Ok((headers, bytes).into_response())
}

/// What a file can be called everywhere.
fn safe(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '.', "_")
}
