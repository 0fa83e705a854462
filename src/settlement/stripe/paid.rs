//! What Stripe collected, as payments: each charge once, gross, with the fee that Stripe kept of it.
//!
//! An event says that an invoice was paid; what came of it is read from Stripe's balance, to the cent, and not reckoned.

use jiff::civil::Date;
use miniserde::Deserialize;
use stripe_billing::invoice::RetrieveInvoice;
use stripe_core::balance_transaction::ListBalanceTransaction;

use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::domain::document::settlement::SettlementError;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::STRIPE;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::asking::Said;
use crate::store::Db;
use crate::store::documents;
use crate::store::settlements::Wanted;

#[derive(Deserialize)]
struct Invoice {
    payments: Option<Payments>,
}

#[derive(Deserialize)]
struct Payments {
    data: Vec<Payment>,
}

#[derive(Deserialize)]
struct Payment {
    status: String,
    payment: By,
}

/// By a charge, or by a payment intent and its last charge; neither if it was paid elsewhere.
#[derive(Deserialize)]
struct By {
    charge: Option<String>,
    payment_intent: Option<Intent>,
}

#[derive(Deserialize)]
struct Intent {
    latest_charge: Option<String>,
}

#[derive(Deserialize)]
struct Transactions {
    data: Vec<Transaction>,
}

#[derive(Deserialize)]
struct Transaction {
    amount: i64,
    fee: i64,
    currency: String,
    created: i64,
}

impl Stripe {
    /// Records what was paid for an invoice by Stripe's invoice with this id.
    pub(in crate::settlement::stripe) async fn was_paid(
        &self,
        db: &Db,
        (invoice, of_stripe): (&InvoiceId, &str),
        now: Instant,
    ) -> Result<String, Error> {
        // Four levels deep: Stripe goes no further at once.
        let request = RetrieveInvoice::new(of_stripe).expand(["payments.data.payment.payment_intent".to_owned()]);
        let Invoice { payments } = known(self.ask(None, &request).await)?;
        let charges: Vec<String> = payments
            .into_iter()
            .flat_map(|payments| payments.data)
            .filter(|payment| payment.status == "paid")
            .filter_map(|Payment { payment: By { charge, payment_intent }, .. }| {
                charge.or_else(|| payment_intent.and_then(|intent| intent.latest_charge))
            })
            .collect();
        let mut recorded = Vec::new();
        for charge in &charges {
            let request = ListBalanceTransaction::new().source(charge.as_str());
            let transactions: Transactions = known(self.ask(None, &request).await)?;
            // It stands on the balance a moment later than it is paid: then the event is tried again.
            let transaction = transactions.data.into_iter().find(|transaction| transaction.amount > 0);
            let transaction = transaction.ok_or_else(|| Error::NotYet(charge.clone()))?;
            recorded.push(record(db, invoice, charge, &transaction, now).await?);
        }
        let said = if recorded.is_empty() { "it was not paid through Stripe".to_owned() } else { recorded.join(", ") };
        Ok(said)
    }
}

fn known<T>(said: Said<T>) -> Result<T, Error> {
    match said {
        Said::Done(done) => Ok(done),
        Said::Refused { reason, .. } | Said::Unknown(reason) => Err(Error::NotYet(reason)),
    }
}

async fn record(
    db: &Db,
    invoice: &InvoiceId,
    charge: &str,
    transaction: &Transaction,
    now: Instant,
) -> Result<String, Error> {
    let created = Instant::from_micros(transaction.created.saturating_mul(1_000_000));
    let id = PaymentId::derive(created, &[STRIPE, charge]);
    let mut tx = db.read().await?;
    if !tx.payments(Wanted::Id(id.as_str())).await?.is_empty() {
        return Ok(format!("known as {id}"));
    }
    let known = tx.invoices(documents::Wanted::Id(invoice.as_str())).await?.pop();
    let known = known.ok_or_else(|| Error::UnknownInvoice(invoice.clone()))?;
    drop(tx);
    let currency = Currency::from_code(&transaction.currency.to_uppercase());
    let Some(currency) = currency.filter(|currency| *currency == known.outstanding.currency()) else {
        let said = format!("{charge} came in as {}: book it with a manual journal", transaction.currency);
        tracing::warn!("{said}");
        return Ok(said);
    };
    let amount = Money::from_minor(transaction.amount, currency);
    let paid_on: Date = created.date_in(&Zone::utc());
    let act = Act { by: STRIPE.to_owned(), on: Some(paid_on), now };
    let request = |pays: Pays| PaymentRequest {
        id: id.clone(),
        pays,
        method: STRIPE.to_owned(),
        reference: charge.to_owned(),
        stripe_fee: Some(Money::from_minor(transaction.fee, currency)),
    };
    let paid = match settle::pay(db, request(Pays::Invoice(invoice.clone(), Some(amount))), &act).await {
        // It was settled otherwise meanwhile: the money is still the consumer's.
        Err(settle::Error::Settlement { source: SettlementError::NotOpen { .. }, .. }) => {
            settle::pay(db, request(Pays::Consumer(known.consumer, amount)), &act).await?
        }
        paid => paid?,
    };
    Ok(format!("recorded as {}", paid.payment.id))
}
