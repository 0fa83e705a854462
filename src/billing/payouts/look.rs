//! Looks where the money of a payout statement is.

use crate::billing::payouts::PayoutError;
use crate::billing::payouts::payee_of;
use crate::domain::document::payout::Payout as Statement;
use crate::domain::payout::due::Why;
use crate::domain::payout::due::next;
use crate::domain::payout::due::obstacles;
use crate::domain::payout::standing::Known;
use crate::domain::payout::standing::Standing;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store::Tx;
use crate::store::payouts::Sought;

/// Where it is, and why it is not further.
pub async fn standing<Mode>(
    tx: &mut Tx<Mode>,
    versions: &Versions,
    statement: &Statement,
    now: Instant,
) -> Result<Standing, PayoutError> {
    let (consumer, currency) = (statement.consumer.as_str(), statement.total.currency());
    let payouts = tx.payouts_of_money(Sought::OfStatement(&statement.id)).await?;
    let netted = tx.netted_of(&statement.id).await?;
    let zone = versions.zone_at(now);
    let mut why = Vec::new();
    let available = tx.available(Some(consumer)).await?.into_iter().find(|of| of.total.currency() == currency);
    if let Some((available, version)) = available.zip(versions.at(now)) {
        let terms = &version.book.payouts;
        why = obstacles(available.total, &payee_of(tx, consumer).await?, terms);
        let last = tx.last_payouts(Some(consumer)).await?;
        let last = last.get(&(consumer.to_owned(), currency.code().to_owned())).copied();
        why.extend(next(terms, &zone, last, now)?.map(|next| Why::NotYet { next, zone: zone.clone() }));
    }
    let (statement, holds) = (statement.id.as_str(), statement.holds.as_slice());
    Ok(Known { statement, holds, netted: &netted, payouts: &payouts, why: &why, zone: &zone, now }.standing())
}
