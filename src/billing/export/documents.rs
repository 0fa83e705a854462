//! `invoices.csv` and `payouts.csv`: a row for each document, dated as it is in the ledger.

use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::billing::booking;
use crate::billing::csv::csv;
use crate::billing::export::Range;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::ids::SubscriptionId;
use crate::domain::ledger::lock::Locks;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::metering::versions::Versions;
use crate::store;
use crate::store::Read;
use crate::store::Tx;
use crate::store::documents::Wanted;

/// A document, its accounting date, and the zone of its plan.
pub(super) struct Dated<T> {
    pub on: Date,
    pub zone: Zone,
    pub document: T,
}

/// Documents of a range, in the order in which they fell due.
pub(super) struct Documents {
    pub invoices: Vec<Dated<Invoice>>,
    pub payouts: Vec<Dated<Payout>>,
    /// What their consumers are called, by id.
    pub names: BTreeMap<String, String>,
    /// What moved accounting dates to days that were open.
    pub locks: Locks,
}

const INVOICE_COLUMNS: [&str; 19] = [
    "number",
    "invoice",
    "date",
    "issued_at",
    "consumer",
    "name",
    "subscription",
    "occasion",
    "from",
    "to",
    "state",
    "currency",
    "net",
    "tax",
    "total",
    "due",
    "outstanding",
    "taxes",
    "book_version",
];

const PAYOUT_COLUMNS: [&str; 15] = [
    "number",
    "payout",
    "date",
    "issued_at",
    "consumer",
    "name",
    "subscription",
    "from",
    "to",
    "state",
    "held_until",
    "currency",
    "total",
    "held",
    "book_version",
];

/// The documents whose accounting date is in the range.
pub(super) async fn of_range(tx: &mut Tx<Read>, versions: &Versions, range: Range<'_>) -> store::Result<Documents> {
    let subscriptions = tx.subscriptions(range.consumer, None, i64::MAX).await?;
    let dates = Dates { versions, plans: subscriptions.into_iter().map(|known| (known.id.clone(), known)).collect() };
    let is_wanted = |consumer: &str| range.consumer.is_none_or(|wanted| wanted == consumer);
    let locks = tx.ledger_locks().await?;
    let (mut invoices, mut payouts) = (Vec::new(), Vec::new());
    for closing in tx.closings().await? {
        // An accounting date is at most the day beside the one of UTC.
        let due = closing.due_at.date_in(&Zone::utc());
        let (first, last) = (due.saturating_sub(2.days()), due.saturating_add(2.days()));
        let (first, last) = (locks.open_day(first, closing.closed_at), locks.open_day(last, closing.closed_at));
        if last < range.from || first >= range.to {
            continue;
        }
        for document in tx.invoices(Wanted::Closing(closing.seq)).await? {
            let zone = dates.zone(&document.subscription, document.period, &document.book_version);
            let on = locks.open_day(booking::invoiced_on(&document, closing.due_at, &zone), document.issued_at);
            if range.contains(on) && is_wanted(&document.consumer) {
                invoices.push(Dated { on, zone, document });
            }
        }
        for document in tx.payouts(Wanted::Closing(closing.seq)).await? {
            let zone = dates.zone(&document.subscription, document.period, &document.book_version);
            let on = locks.open_day(booking::last_day(document.period, &zone), document.issued_at);
            if range.contains(on) && is_wanted(&document.consumer) {
                payouts.push(Dated { on, zone, document });
            }
        }
    }
    let consumers = invoices.iter().map(|invoice| &*invoice.document.consumer);
    let consumers: BTreeSet<&str> = consumers.chain(payouts.iter().map(|payout| &*payout.document.consumer)).collect();
    let named = tx.consumers_named(&consumers.into_iter().collect::<Vec<_>>()).await?;
    let names = named.into_iter().map(|(id, consumer)| (id, consumer.name)).collect();
    Ok(Documents { invoices, payouts, names, locks })
}

/// What accounting dates depend on.
struct Dates<'a> {
    versions: &'a Versions,
    plans: BTreeMap<SubscriptionId, Subscription>,
}

impl Dates<'_> {
    /// The zone of the plan that a document was made under.
    fn zone(&self, subscription: &SubscriptionId, period: Period, version: &str) -> Zone {
        let version = self.versions.by_id(version);
        let plan = version
            .zip(self.plans.get(subscription))
            .and_then(|(version, subscription)| version.book.plans.get(subscription.plan_at(period.from())));
        plan.map_or_else(|| self.versions.zone_at(period.from()), |plan| plan.calendar.zone.clone())
    }
}

impl Documents {
    pub fn name(&self, consumer: &str) -> &str {
        self.names.get(consumer).map(String::as_str).unwrap_or_default()
    }
}

pub(super) fn invoices(documents: &Documents) -> String {
    let row = |Dated { on, document, .. }: &Dated<Invoice>| {
        let totals = &document.totals;
        let taxes = totals
            .taxes
            .iter()
            .map(|taxed| format!("{} {}%: {}", taxed.jurisdiction, taxed.rate.normalize(), taxed.amount.decimal()));
        [
            document.number.to_string(),
            document.id.to_string(),
            on.to_string(),
            document.issued_at.to_string(),
            document.consumer.clone(),
            documents.name(&document.consumer).to_owned(),
            document.subscription.to_string(),
            document.occasion.as_str().to_owned(),
            document.period.from().to_string(),
            document.period.to().to_string(),
            document.state.as_str().to_owned(),
            totals.currency().code().to_owned(),
            totals.net.decimal().to_string(),
            totals.tax.decimal().to_string(),
            totals.total.decimal().to_string(),
            document.due_on.map(|due| due.to_string()).unwrap_or_default(),
            document.outstanding.decimal().to_string(),
            taxes.collect::<Vec<_>>().join("; "),
            document.book_version.clone(),
        ]
    };
    csv(INVOICE_COLUMNS, documents.invoices.iter().map(row))
}

pub(super) fn payouts(documents: &Documents) -> Result<String, MoneyError> {
    let row = |Dated { on, document, .. }: &Dated<Payout>| {
        let (state, held_until): (_, Option<Instant>) = match document.state {
            PayoutState::Held { held_until } => ("held", Some(held_until)),
            PayoutState::Available => ("available", None),
        };
        let currency = document.total.currency();
        let waiting = document.holds.iter().filter(|hold| hold.passed_at.is_none());
        let held = Money::sum(currency, waiting.map(|hold| hold.amount))?;
        Ok([
            document.number.to_string(),
            document.id.to_string(),
            on.to_string(),
            document.issued_at.to_string(),
            document.consumer.clone(),
            documents.name(&document.consumer).to_owned(),
            document.subscription.to_string(),
            document.period.from().to_string(),
            document.period.to().to_string(),
            state.to_owned(),
            held_until.map(|until| until.to_string()).unwrap_or_default(),
            currency.code().to_owned(),
            document.total.decimal().to_string(),
            held.decimal().to_string(),
            document.book_version.clone(),
        ])
    };
    Ok(csv(PAYOUT_COLUMNS, documents.payouts.iter().map(row).collect::<Result<Vec<_>, MoneyError>>()?))
}
