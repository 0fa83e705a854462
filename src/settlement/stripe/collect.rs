//! Invoices as Stripe's invoices, which Stripe then collects: a customer, a draft, what is outstanding as its one item, and the
//! draft made final.
//!
//! Each step has one idempotency key and is written down before; the next step is asked for when the one before is answered.
//! What was cut off goes on by itself. That it was paid is told by an event ([`crate::settlement::stripe::paid`]).

use miniserde::Deserialize;
use stripe_billing::invoice::CreateInvoice;
use stripe_billing::invoice::CreateInvoicePendingInvoiceItemsBehavior;
use stripe_billing::invoice::FinalizeInvoiceInvoice;
use stripe_billing::invoice::ListInvoice;
use stripe_billing::invoice::RetrieveInvoice;
use stripe_billing::invoice_item::CreateInvoiceItem;
use stripe_billing::invoice_item::ListInvoiceItem;
use stripe_core::customer::CreateCustomer;

use crate::domain::document::invoice::Invoice;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::ids::EntryId;
use crate::domain::ids::InvoiceId;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::OTHER_UNITS;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::asking::Listed;
use crate::settlement::stripe::asking::METADATA;
use crate::settlement::stripe::asking::Made;
use crate::settlement::stripe::asking::Said;
use crate::settlement::stripe::asking::currency;
use crate::store::Db;
use crate::store::Tx;
use crate::store::Write;
use crate::store::documents::Wanted;
use crate::store::stripe::Answer;
use crate::store::stripe::Asked;
use crate::store::stripe::Call;
use crate::store::stripe::Kind;

/// As many as Stripe lists at once.
const LISTED_MAX: i64 = 100;

/// A customer as it was when it was asked for: the same key must come with the same words.
#[derive(serde::Serialize, serde::Deserialize)]
struct Customer {
    name: String,
    email: Option<String>,
}

#[derive(Deserialize)]
struct Standing {
    id: String,
    status: Option<String>,
}

impl Stripe {
    /// Has Stripe collect what is outstanding of an invoice. Gives Stripe's id of its invoice when that is final, and none while
    /// it is unknown how far it is. Asking again goes on where it is.
    pub async fn collect(
        &self,
        db: &Db,
        versions: &Versions,
        id: &InvoiceId,
        now: Instant,
    ) -> Result<Option<String>, Error> {
        loop {
            let mut tx = db.write().await?;
            tx.hold_journal().await?;
            let call = match next_step(&mut tx, id, now).await? {
                Step::Final(collected) => return Ok(Some(collected)),
                Step::Ask(call) => call,
            };
            tx.commit().await?;
            self.pursue(db, versions, &call, now).await?;
            match db.read().await?.stripe_calls(Asked::Id(&call.id)).await?.pop().map(|call| call.answer) {
                Some(Answer::Done(_)) => {}
                Some(Answer::Refused(reason)) => return Err(Error::Refused(reason)),
                Some(Answer::None) | None => return Ok(None),
            }
        }
    }

    /// Goes on with every invoice that was left between two steps.
    pub(in crate::settlement::stripe) async fn collect_on(
        &self,
        db: &Db,
        versions: &Versions,
        now: Instant,
    ) -> Result<(), Error> {
        let calls = db.read().await?.stripe_calls(Asked::NotFinal).await?;
        for id in calls.iter().filter_map(|call| InvoiceId::parse(&call.subject)) {
            if let Err(error) = self.collect(db, versions, &id, now).await {
                tracing::warn!("invoice {id} is not with Stripe yet: {error}");
            }
        }
        Ok(())
    }

    /// Asks for a step.
    pub(in crate::settlement::stripe) async fn bill(&self, db: &Db, call: &Call) -> Result<Said<String>, Error> {
        let (key, target) = (Some(call.id.as_str()), call.target.clone().unwrap_or_default());
        let metadata = [(METADATA.to_owned(), call.id.clone())];
        let made = match (call.kind, call.amount) {
            (Kind::Customer, _) => {
                let Ok(Customer { name, email }) = serde_json::from_str(&target) else { return Ok(Said::incomplete()) };
                let mut request = CreateCustomer::new().name(name).metadata(metadata);
                if let Some(email) = email {
                    request = request.email(email);
                }
                self.ask::<Made, _>(key, &request).await
            }
            (Kind::Invoice, Some(amount)) => {
                let request = CreateInvoice::new()
                    .customer(target)
                    .currency(currency(amount))
                    // Not before it is complete.
                    .auto_advance(false)
                    .pending_invoice_items_behavior(CreateInvoicePendingInvoiceItemsBehavior::Exclude)
                    .metadata(metadata);
                self.ask::<Made, _>(key, &request).await
            }
            (Kind::Item, Some(amount)) => {
                let calls = db.read().await?.stripe_calls(Asked::For(&call.subject)).await?;
                let drafted = calls.into_iter().find(|of| of.answer == Answer::Done(target.clone()));
                let Some(customer) = drafted.and_then(|drafted| drafted.target) else { return Ok(Said::incomplete()) };
                let request = CreateInvoiceItem::new()
                    .customer(customer)
                    .invoice(target)
                    .amount(amount.minor())
                    .currency(currency(amount))
                    .metadata(metadata);
                self.ask::<Made, _>(key, &request).await
            }
            (Kind::Finalize, _) => {
                self.ask::<Made, _>(key, &FinalizeInvoiceInvoice::new(target).auto_advance(true)).await
            }
            (Kind::Invoice | Kind::Item, None) | (Kind::Transfer | Kind::Reversal, _) => Said::incomplete(),
        };
        Ok(made.map(|made| made.id))
    }

    /// What Stripe did of a step, after it may have forgotten the key. What it did not do is asked for under another key.
    pub(in crate::settlement::stripe) async fn billed(&self, call: &Call) -> Said<String> {
        let target = call.target.clone().unwrap_or_default();
        let not_done = || Said::Refused { reason: "Stripe did not do it in a day".to_owned(), short: false };
        let listed = match call.kind {
            Kind::Invoice => {
                let request = ListInvoice::new().customer(target).limit(LISTED_MAX);
                self.ask::<Listed, _>(None, &request).await
            }
            Kind::Item => {
                let request = ListInvoiceItem::new().invoice(target).limit(LISTED_MAX);
                self.ask::<Listed, _>(None, &request).await
            }
            Kind::Finalize => {
                return match self.ask::<Standing, _>(None, &RetrieveInvoice::new(target)).await {
                    Said::Done(standing) if standing.status.as_deref() == Some("draft") => not_done(),
                    Said::Done(standing) => Said::Done(standing.id),
                    Said::Refused { reason, .. } | Said::Unknown(reason) => Said::Unknown(reason),
                };
            }
            // One too many does no harm, and Stripe cannot be asked for it for sure.
            Kind::Customer | Kind::Transfer | Kind::Reversal => return not_done(),
        };
        match listed {
            Said::Done(listed) => listed.of(&call.id).map_or_else(not_done, Said::Done),
            Said::Refused { reason, .. } | Said::Unknown(reason) => Said::Unknown(reason),
        }
    }
}

enum Step {
    /// Stripe's invoice is final.
    Final(String),
    /// This is written down, and to be asked for.
    Ask(Call),
}

/// Writes down the next step of an invoice.
async fn next_step(tx: &mut Tx<Write>, id: &InvoiceId, now: Instant) -> Result<Step, Error> {
    let invoice = tx.invoices(Wanted::Id(id.as_str())).await?.pop();
    let Invoice { consumer, state, outstanding, number, .. } =
        invoice.ok_or_else(|| Error::UnknownInvoice(id.clone()))?;
    let calls = tx.stripe_calls(Asked::For(id.as_str())).await?;
    let done = |kind: Kind| calls.iter().find(|call| call.kind == kind && matches!(call.answer, Answer::Done(_)));
    let object = |call: &Call| match &call.answer {
        Answer::Done(object) => object.clone(),
        Answer::None | Answer::Refused(_) => String::new(),
    };
    if let Some(call) = done(Kind::Finalize) {
        return Ok(Step::Final(object(call)));
    }
    if state != InvoiceState::Open {
        return Err(Error::NotOpen(number.to_string()));
    }
    if OTHER_UNITS.contains(&outstanding.currency().code()) {
        return Err(Error::OtherUnit(outstanding.currency()));
    }
    let drafted = done(Kind::Invoice);
    if drafted.is_some_and(|call| call.amount != Some(outstanding)) {
        return Err(Error::Settled(number.to_string()));
    }
    let (kind, target) = match (tx.stripe_customer(&consumer).await?, drafted.map(object)) {
        (None, _) => (Kind::Customer, String::new()),
        (Some(customer), None) => (Kind::Invoice, customer),
        (Some(_), Some(draft)) if done(Kind::Item).is_none() => (Kind::Item, draft),
        (Some(_), Some(draft)) => (Kind::Finalize, draft),
    };
    if kind == Kind::Customer {
        return customer(tx, &consumer, now).await;
    }
    if let Some(asked) = calls.iter().find(|call| call.kind == kind && call.answer == Answer::None) {
        return Ok(Step::Ask(asked.clone()));
    }
    let before = calls.iter().filter(|call| call.kind == kind).count();
    let amount = (kind != Kind::Finalize).then_some(outstanding);
    let call = Call::new(format!("{id}-{}-{}", kind.as_str(), before + 1), kind, id.as_str(), now);
    let call = Call { amount, target: Some(target), ..call };
    tx.ask_stripe(&call).await?;
    Ok(Step::Ask(call))
}

async fn customer(tx: &mut Tx<Write>, consumer: &str, now: Instant) -> Result<Step, Error> {
    // A consumer may be called like a document.
    let calls = tx.stripe_calls(Asked::For(consumer)).await?.into_iter();
    let calls: Vec<Call> = calls.filter(|call| call.kind == Kind::Customer).collect();
    if let Some(asked) = calls.iter().find(|call| call.answer == Answer::None) {
        return Ok(Step::Ask(asked.clone()));
    }
    let known = tx.consumer(consumer).await?;
    let known = known.ok_or_else(|| Error::Settings(format!("consumer {consumer} has not been described")))?;
    let words = serde_json::to_string(&Customer { name: known.name, email: known.email });
    // The consumer's own id may be longer than a key.
    let name = EntryId::derive(Instant::from_micros(0), &[consumer]);
    let call = Call::new(format!("customer-{name}-{}", calls.len() + 1), Kind::Customer, consumer, now);
    let call = Call { target: Some(words.map_err(|error| Error::Settings(error.to_string()))?), ..call };
    tx.ask_stripe(&call).await?;
    Ok(Step::Ask(call))
}
