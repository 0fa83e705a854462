//! What `[payouts]` says.

use crate::domain::bank::BankAccount;
use crate::domain::bank::Bic;
use crate::domain::book::facts::Facts;
use crate::domain::book::facts::word;
use crate::domain::book::payouts::Payouts;

pub(super) fn of(payouts: &Payouts) -> Facts {
    let Payouts { schedule, threshold, debtor, net_invoices } = payouts;
    let mut facts = Facts::default();
    facts.say_if_any("schedule", schedule.as_ref().map(word));
    for (currency, amount) in threshold {
        facts.say(format!("threshold {currency}"), amount);
    }
    if let Some(BankAccount { name, iban, bic }) = debtor {
        facts.say("debtor", name);
        facts.say("debtor iban", iban);
        facts.say_if_any("debtor bic", bic.as_ref().map(Bic::as_str));
    }
    if *net_invoices {
        facts.say("net_invoices", net_invoices);
    }
    facts
}
