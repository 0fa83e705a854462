//! Against a model: whatever is done in whatever order, the invoices, the consumers' credit, prepaid credit and the ledger say the
//! same, `verify` finds nothing, and what is refused changes nothing.

use proptest::prelude::*;

use super::*;
use crate::domain::time::Zone;

const MONTHS: [&str; 8] =
    ["2013-02-01", "2013-03-01", "2013-04-01", "2013-05-01", "2013-06-01", "2013-07-01", "2013-08-01", "2013-09-01"];
const CARRIERS: [&str; 2] = ["AA", "UA"];

/// Something that somebody does; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Deed {
    Pay {
        invoice: usize,
        amount: Option<i64>,
    },
    PayFor {
        carrier: usize,
        amount: i64,
    },
    Credit {
        invoice: usize,
        line: Option<i64>,
        amount: Option<i64>,
        refund: bool,
    },
    Void {
        invoice: usize,
    },
    GiveUp {
        invoice: usize,
    },
    /// `expires`: with the end of which month, if it does.
    Grant {
        carrier: usize,
        amount: i64,
        source: Source,
        expires: Option<usize>,
    },
    VoidGrant {
        grant: usize,
    },
    Close,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let amount = || prop_oneof![-5_i64..20, 0_i64..30_000];
    let deed = prop_oneof![
        4 => (any::<usize>(), prop::option::of(amount())).prop_map(|(invoice, amount)| Deed::Pay { invoice, amount }),
        2 => (0..2_usize, amount()).prop_map(|(carrier, amount)| Deed::PayFor { carrier, amount }),
        4 => (any::<usize>(), prop::option::of(1..5_i64), prop::option::of(amount()), any::<bool>())
            .prop_map(|(invoice, line, amount, refund)| Deed::Credit { invoice, line, amount, refund }),
        1 => any::<usize>().prop_map(|invoice| Deed::Void { invoice }),
        1 => any::<usize>().prop_map(|invoice| Deed::GiveUp { invoice }),
        3 => (0..2_usize, 1..30_000_i64, any::<bool>(), prop::option::of(0..MONTHS.len())).prop_map(
            |(carrier, amount, bought, expires)| {
                let source = if bought { Source::Purchased } else { Source::Granted };
                Deed::Grant { carrier, amount, source, expires }
            }
        ),
        1 => any::<usize>().prop_map(|grant| Deed::VoidGrant { grant }),
        3 => Just(Deed::Close),
    ];
    prop::collection::vec(deed, 20..60)
}

/// What should be: of each invoice what is owed, of each carrier its credit, and what came in and was given up.
#[derive(Default)]
struct Model {
    /// Consumer, what is owed, what was credited with tax, and whether something was settled, in the order of numbers.
    invoices: Vec<(InvoiceId, &'static str, i64)>,
    dead: Vec<InvoiceId>,
    /// What of an invoice is given up, and was not paid after all.
    given_up: BTreeMap<InvoiceId, i64>,
    credit: BTreeMap<&'static str, i64>,
    grants: Vec<Granted>,
    bank: i64,
    bad_debt: i64,
    expired: i64,
}

/// A grant of prepaid credit, and what is left of it.
struct Granted {
    id: String,
    carrier: &'static str,
    left: i64,
    source: Source,
    expires: Option<usize>,
}

impl Model {
    fn owed(&mut self, id: &InvoiceId) -> &mut i64 {
        &mut self.invoices.iter_mut().find(|(known, ..)| known == id).expect("is known").2
    }

    /// New invoices use up credit and then prepaid credit; those below zero first become some. Then credit of the month expires.
    fn close(&mut self, month: usize, mut new: Vec<&Invoice>) {
        self.grants.sort_by_key(|grant| (grant.expires.is_none(), grant.expires, grant.source, grant.id.clone()));
        for carrier in CARRIERS {
            let had = self.credit.get(carrier).copied().unwrap_or(0);
            new.sort_by_key(|invoice| (!invoice.totals.total.is_negative(), invoice.number.ordinal));
            let mut left = had;
            for invoice in new.iter().filter(|invoice| invoice.consumer == carrier) {
                let total = invoice.totals.total.minor();
                let used = if total < 0 || had > 0 { left.min(total) } else { 0 };
                left -= used;
                let mut owed = total - used;
                let usable =
                    |grant: &&mut Granted| grant.carrier == carrier && grant.expires.is_none_or(|end| end >= month);
                for grant in self.grants.iter_mut().filter(usable) {
                    let drawn = grant.left.min(owed.max(0));
                    grant.left -= drawn;
                    owed -= drawn;
                }
                self.invoices.push((invoice.id.clone(), carrier, owed));
            }
            self.credit.insert(carrier, left);
        }
        for grant in self.grants.iter_mut().filter(|grant| grant.expires.is_some_and(|end| end <= month)) {
            let left = std::mem::take(&mut grant.left);
            self.expired += if grant.source == Source::Purchased { left } else { 0 };
        }
    }
}

async fn behaves(deeds: Vec<Deed>) {
    let (db, _folder) = crate::store::tests::sqlite().await;
    let metering = january(&db).await;
    let mut model = Model::default();
    let mut months = MONTHS.iter().enumerate();
    for (number, deed) in std::iter::once(Deed::Close).chain(deeds).enumerate() {
        let before = db.read().await.expect("begins").journal_head().await.expect("reads");
        let (known, _) = documents(&db).await;
        // A closing comes first.
        let of = |index: usize| &known[index % known.len()];
        let id = number.to_string();
        let done = match deed.clone() {
            Deed::Close => {
                if let Some((number, month)) = months.next() {
                    closed(&db, &metering, month).await;
                    let (all, _) = documents(&db).await;
                    let new =
                        all.iter().filter(|invoice| !model.invoices.iter().any(|(known, ..)| *known == invoice.id));
                    model.close(number, new.collect());
                }
                Ok(())
            }
            Deed::Pay { invoice, amount } => {
                let invoice = of(invoice);
                let request = payment(&id, Pays::Invoice(invoice.id.clone(), amount.map(usd)));
                settle::pay(&db, request, &today()).await.map(|paid| {
                    let credit = paid.payment.amount.minor();
                    let settled = match model.given_up.get_mut(&invoice.id).filter(|given_up| **given_up > 0) {
                        Some(given_up) => {
                            let settled = credit.min(*given_up);
                            *given_up -= settled;
                            model.bad_debt -= settled;
                            if *given_up == 0 {
                                model.dead.retain(|dead| *dead != invoice.id);
                            }
                            settled
                        }
                        None => {
                            let owed = model.owed(&invoice.id);
                            let settled = credit.min(*owed);
                            *owed -= settled;
                            settled
                        }
                    };
                    *model.credit.entry(if invoice.consumer == "AA" { "AA" } else { "UA" }).or_default() +=
                        credit - settled;
                    model.bank += credit;
                })
            }
            Deed::PayFor { carrier, amount } => {
                let carrier = CARRIERS[carrier];
                let request = payment(&id, Pays::Consumer(carrier.to_owned(), usd(amount)));
                settle::pay(&db, request, &today()).await.map(|_| {
                    let mut left = amount;
                    for invoice in known.iter().filter(|invoice| invoice.consumer == carrier) {
                        let owed = model.owed(&invoice.id);
                        let settled = left.min((*owed).max(0));
                        *owed -= settled;
                        left -= settled;
                    }
                    *model.credit.entry(carrier).or_default() += left;
                    model.bank += amount;
                })
            }
            Deed::Credit { invoice, line, amount, refund } => {
                let invoice = of(invoice);
                let wanted = match line {
                    None => credit_note::Wanted::Whole,
                    Some(line) => credit_note::Wanted::Lines(vec![(line, amount.map(usd))]),
                };
                settle::credit(&db, note(&id, &invoice.id, wanted, refund), &today()).await.map(|note| {
                    let owed = model.owed(&invoice.id);
                    let total = note.total.minor();
                    let settled = total.min(*owed);
                    *owed -= settled;
                    if refund {
                        model.bank -= total - settled;
                    } else {
                        *model.credit.entry(if invoice.consumer == "AA" { "AA" } else { "UA" }).or_default() +=
                            total - settled;
                    }
                })
            }
            Deed::Grant { carrier, amount, source, expires } => {
                let carrier = CARRIERS[carrier];
                let zone = Zone::named("America/New_York").expect("a zone");
                let end = expires.map(|month| Instant::parse_in(MONTHS[month], &zone).expect("a date"));
                prepaid::grant(&db, credit(&id, carrier, amount, source, end), &today()).await.map(|_| {
                    model.bank += if source == Source::Purchased { amount } else { 0 };
                    model.grants.push(Granted { id: id.clone(), carrier, left: amount, source, expires });
                })
            }
            Deed::VoidGrant { grant } => {
                let count = model.grants.len();
                let Some(grant) = model.grants.get_mut(grant % count.max(1)) else { continue };
                let known = GrantId::parse(&format!("cg_{}", grant.id)).expect("an id");
                prepaid::void(&db, &known, "moved away", &today()).await.map(|voided| {
                    assert!(voided.is_some());
                    let left = std::mem::take(&mut grant.left);
                    model.bank -= if grant.source == Source::Purchased { left } else { 0 };
                })
            }
            Deed::Void { invoice } => {
                let invoice = of(invoice);
                settle::void(&db, &invoice.id, "twice", &today()).await.map(|_| {
                    *model.owed(&invoice.id) = 0;
                    model.dead.push(invoice.id.clone());
                })
            }
            Deed::GiveUp { invoice } => {
                let invoice = of(invoice);
                settle::give_up(&db, &invoice.id, "bankrupt", &today()).await.map(|_| {
                    let owed = std::mem::take(model.owed(&invoice.id));
                    if owed > 0 {
                        model.bad_debt += owed;
                        model.given_up.insert(invoice.id.clone(), owed);
                        model.dead.push(invoice.id.clone());
                    }
                })
            }
        };
        if let Err(error) = &done {
            let after = db.read().await.expect("begins").journal_head().await.expect("reads");
            assert_eq!(after, before, "{deed:?} was refused ({error}) and changed something");
        }
        let (now, _) = documents(&db).await;
        for invoice in &now {
            assert_eq!(
                invoice.outstanding.minor(),
                *model.owed(&invoice.id),
                "{} after {deed:?}: {done:?}",
                invoice.number
            );
            let is_dead = matches!(invoice.state, InvoiceState::Void | InvoiceState::Uncollectible);
            assert_eq!(is_dead, model.dead.contains(&invoice.id), "{} after {deed:?}", invoice.number);
        }
        let balances = balances(&db).await;
        assert_eq!(balances.values().sum::<i64>(), 0, "after {deed:?}");
        assert_eq!(balance(&balances, "1000:USD"), model.bank, "after {deed:?}");
        assert_eq!(balance(&balances, "5200:USD"), model.bad_debt, "after {deed:?}");
        assert_eq!(balance(&balances, "4010:USD"), -model.expired, "after {deed:?}");
        for carrier in CARRIERS {
            let bought =
                model.grants.iter().filter(|grant| grant.carrier == carrier && grant.source == Source::Purchased);
            let bought: i64 = bought.map(|grant| grant.left).sum();
            assert_eq!(balance(&balances, &format!("2100:{carrier}:USD")), -bought, "after {deed:?}");
            let credit = model.credit.get(carrier).copied().unwrap_or(0);
            assert_eq!(balance(&balances, &format!("2110:{carrier}:USD")), -credit, "after {deed:?}");
            let owed: i64 = model.invoices.iter().filter(|(_, of, _)| *of == carrier).map(|(_, _, owed)| owed).sum();
            assert_eq!(balance(&balances, &format!("1100:{carrier}:USD")), owed, "after {deed:?}");
        }
    }
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
    #[test]
    fn invoices_credit_and_ledger_agree_after_whatever_is_done(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(behaves(deeds));
    }
}
