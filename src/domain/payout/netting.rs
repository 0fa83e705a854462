//! Rewards that pay for their consumer's own invoices. Pure.
//!
//! What is used comes to no more than is available all in all: what was taken back and not made up for stays for that. The
//! oldest statement is used up first, for what was due first.

use crate::domain::document::settlement::SettlementError;
use crate::domain::document::settlement::allocate;
use crate::domain::ids::InvoiceId;
use crate::domain::money::Money;
use crate::domain::payout::Part;

/// What of the parts that are available, which come to `total`, pays for which of the invoices, of each of which something is
/// owed.
pub fn net(
    parts: &[Part],
    total: Money,
    owed: &[(InvoiceId, Money)],
) -> Result<Vec<(InvoiceId, Vec<Part>)>, SettlementError> {
    if total.minor() <= 0 {
        return Ok(Vec::new());
    }
    let mut free: Vec<Part> = parts.iter().rev().filter(|part| part.amount.minor() > 0).cloned().collect();
    let mut netted = Vec::new();
    for (invoice, amount) in allocate(total, owed)? {
        let mut left = amount;
        let mut used = Vec::new();
        while left.minor() > 0
            && let Some(part) = free.pop()
        {
            let taken = Money::from_minor(part.amount.minor().min(left.minor()), left.currency());
            left = left.checked_sub(taken)?;
            let rest = part.amount.checked_sub(taken)?;
            if !rest.is_zero() {
                free.push(Part { amount: rest, ..part.clone() });
            }
            used.push(Part { amount: taken, ..part });
        }
        netted.push((invoice, used));
    }
    Ok(netted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::ids::PayoutId;
    use crate::domain::payout::tests::eur;

    fn part(at: usize, minor: i64) -> Part {
        let statement = PayoutId::parse(&format!("po_{at}")).expect("an id");
        Part { statement, program: "loyalty".to_owned(), amount: eur(minor) }
    }

    fn invoice(at: usize) -> InvoiceId {
        InvoiceId::parse(&format!("inv_{at}")).expect("an id")
    }

    #[test]
    fn the_oldest_statement_pays_for_what_was_due_first() {
        let parts = [part(1, 500), part(2, -100), part(3, 300)];
        let owed = [(invoice(1), eur(550)), (invoice(2), eur(700))];
        let netted = net(&parts, eur(700), &owed).expect("fits");
        let expected = [(invoice(1), vec![part(1, 500), part(3, 50)]), (invoice(2), vec![part(3, 150)])];
        assert_eq!(netted, expected);
        assert_eq!(net(&parts[1..2], eur(-100), &owed), Ok(Vec::new()));
    }

    proptest! {
        /// What is used comes to what is available or to what is owed, whichever is less; no part gives more than it has, and no
        /// invoice gets more than is owed of it.
        #[test]
        fn no_more_is_used_than_is_there_and_than_is_owed(
            amounts in prop::collection::vec(-300_i64..500, 0..6),
            owed in prop::collection::vec(1_i64..400, 0..5),
        ) {
            let parts: Vec<Part> = amounts.iter().enumerate().map(|(at, minor)| part(at, *minor)).collect();
            let invoices: Vec<_> = owed.iter().enumerate().map(|(at, minor)| (invoice(at), eur(*minor))).collect();
            let total: i64 = amounts.iter().sum();
            let netted = net(&parts, eur(total), &invoices).expect("fits");
            let sum: i64 = netted.iter().flat_map(|(_, used)| used).map(|part| part.amount.minor()).sum();
            prop_assert_eq!(sum, total.max(0).min(owed.iter().sum()));
            for part in &parts {
                let used = netted.iter().flat_map(|(_, used)| used).filter(|used| used.statement == part.statement);
                prop_assert!(used.map(|used| used.amount.minor()).sum::<i64>() <= part.amount.minor().max(0));
            }
            for (invoice, outstanding) in &invoices {
                let of_invoice = netted.iter().filter(|(id, _)| id == invoice).flat_map(|(_, used)| used);
                prop_assert!(of_invoice.map(|used| used.amount.minor()).sum::<i64>() <= outstanding.minor());
            }
        }
    }
}
