//! What settles invoices, against a model of it: whatever happens in whatever order, the invoices, the consumers' credit and the
//! ledger say the same, `verify` finds nothing, and what is refused changes nothing.

use jiff::civil::Date;
use jiff::civil::date;
use proptest::prelude::*;

use super::*;
use crate::billing::prepaid;
use crate::billing::prepaid::GrantRequest;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::CreditNoteRequest;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::domain::credit::Source;
use crate::domain::document::credit_note;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::GrantId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;
use crate::domain::time::Zone;

const MONTHS: [&str; 8] =
    ["2013-02-01", "2013-03-01", "2013-04-01", "2013-05-01", "2013-06-01", "2013-07-01", "2013-08-01", "2013-09-01"];
const CARRIERS: [&str; 2] = ["AA", "UA"];

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
}

fn act(on: Date) -> Act {
    Act { by: "key_1".to_owned(), effective_on: on, now: NOW }
}

fn today() -> Act {
    act(date(2014, 5, 13))
}

fn payment(id: &str, pays: Pays) -> PaymentRequest {
    let id = PaymentId::parse(&format!("pmt_{id}")).expect("an id");
    PaymentRequest { id, pays, method: "bank".to_owned(), reference: "thanks".to_owned() }
}

fn note(id: &str, invoice: &InvoiceId, wanted: credit_note::Wanted, refund: bool) -> CreditNoteRequest {
    let id = CreditNoteId::parse(&format!("cn_{id}")).expect("an id");
    CreditNoteRequest { id, invoice: invoice.clone(), wanted, refund, reason: "outage".to_owned() }
}

fn credit(id: &str, carrier: &str, minor: i64, source: Source, expires_at: Option<Instant>) -> GrantRequest {
    GrantRequest {
        id: GrantId::parse(&format!("cg_{id}")).expect("an id"),
        consumer: carrier.to_owned(),
        amount: usd(minor),
        source,
        priority: 0,
        effective_at: at("2013-01-01T00:00:00Z"),
        expires_at,
        reference: "wire".to_owned(),
        reason: "a package".to_owned(),
    }
}

async fn balances(db: &Db) -> BTreeMap<String, i64> {
    let totals = db.read().await.expect("begins").trial_balance(AsOf::NOW).await.expect("reads");
    let balance = |total: AccountTotal| (total.account.to_string(), total.debit.minor() - total.credit.minor());
    totals.into_iter().map(balance).filter(|(_, minor)| *minor != 0).collect()
}

fn balance(balances: &BTreeMap<String, i64>, account: &str) -> i64 {
    balances.get(account).copied().unwrap_or(0)
}

/// INV-000002 of UA is 108.88 with 8.88 of tax; INV-000004 is 163.76.
async fn what_is_paid_too_much_pays_for_the_next_invoice(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-01-31").await;
    let (invoices, _) = documents(&db).await;
    let ua = invoices[1].id.clone();
    assert_eq!((invoices[1].state, invoices[1].due_on), (InvoiceState::Open, Some(date(2014, 6, 12))));

    let too_much = payment("1", Pays::Invoice(ua.clone(), Some(usd(15_000))));
    let paid = settle::pay(&db, too_much.clone(), &today()).await.expect("is paid");
    assert_eq!((paid.settled[0].amount, paid.credited), (usd(10_888), usd(4_112)));
    let again = settle::pay(&db, too_much, &today()).await.expect("is the same");
    assert_eq!(again, paid, "the same request makes nothing new");
    let other = payment("1", Pays::Invoice(ua.clone(), Some(usd(14_999))));
    assert!(matches!(settle::pay(&db, other, &today()).await, Err(settle::Error::OtherRequest(_))));
    let more = payment("2", Pays::Invoice(ua, None));
    assert!(matches!(settle::pay(&db, more, &today()).await, Err(settle::Error::Settlement { .. })));

    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let next = &invoices[3];
    assert_eq!((next.totals.total, next.outstanding, next.state), (usd(16_376), usd(12_264), InvoiceState::Open));
    assert_eq!((next.settlements[0].means, next.settlements[0].amount), (Means::Credit, usd(4_112)));
    let balances = balances(&db).await;
    assert_eq!((balance(&balances, "2110:UA:USD"), balance(&balances, "1100:UA:USD")), (0, 12_264));
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);

    // By consumer: what was due first is paid first.
    let rest = payment("3", Pays::Consumer("UA".to_owned(), usd(12_264)));
    let rest = settle::pay(&db, rest, &today()).await.expect("is paid");
    assert_eq!((rest.settled.len(), rest.credited), (1, usd(0)));
    assert_eq!(documents(&db).await.0[3].state, InvoiceState::Paid);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn credit_notes_take_back_lines_with_their_tax(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let ua = &invoices[3];
    // 10.00, 40.40 and 100.00, with 0.89, 3.59 and 8.88 of tax.
    let some = credit_note::Wanted::Lines(vec![(2, None), (3, Some(usd(5_000)))]);
    let first = settle::credit(&db, note("1", &ua.id, some, false), &today()).await.expect("is credited");
    assert_eq!((first.net, first.tax, first.total), (usd(9_040), usd(803), usd(9_843)));
    assert_eq!((first.number.to_string(), first.settled, first.credited), ("CN-000001".to_owned(), usd(9_843), usd(0)));
    settle::pay(&db, payment("1", Pays::Invoice(ua.id.clone(), None)), &today()).await.expect("is paid");
    let rest = settle::credit(&db, note("2", &ua.id, credit_note::Wanted::Whole, true), &today()).await;
    let rest = rest.expect("is credited");
    assert_eq!((rest.total, rest.settled, rest.refunded), (usd(16_376 - 9_843), usd(0), usd(16_376 - 9_843)));
    assert_eq!(rest.tax, usd(1_336 - 803));
    let more = settle::credit(&db, note("3", &ua.id, credit_note::Wanted::Whole, true), &today()).await;
    assert!(matches!(more, Err(settle::Error::CreditNote { .. })), "{more:?}");
    let balances = balances(&db).await;
    assert_eq!(balance(&balances, "1000:USD"), 0, "what came in went back");
    assert_eq!(balance(&balances, "1100:UA:USD"), 10_888, "the other invoice");
    assert_eq!(balance(&balances, "4095:USD"), 15_040);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

async fn an_invoice_is_voided_whole_or_given_up(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let [first, second, third, ..] = invoices.as_slice() else { panic!("{invoices:?}") };
    let void = settle::void(&db, &first.id, "twice", &today()).await.expect("is voided");
    assert_eq!((void.state, void.outstanding), (InvoiceState::Void, usd(0)));
    let again = settle::void(&db, &first.id, "twice", &today()).await.expect("is void");
    assert_eq!(again, void);
    settle::pay(&db, payment("1", Pays::Invoice(second.id.clone(), Some(usd(1)))), &today()).await.expect("is paid");
    let partly = settle::void(&db, &second.id, "twice", &today()).await;
    assert!(matches!(partly, Err(settle::Error::Settlement { .. })), "{partly:?}");
    let given_up = settle::give_up(&db, &second.id, "bankrupt", &today()).await.expect("is given up");
    assert_eq!((given_up.state, given_up.settlements[1].amount), (InvoiceState::Uncollectible, usd(10_887)));
    let future = settle::give_up(&db, &third.id, "bankrupt", &act(date(2014, 5, 15))).await;
    assert!(matches!(future, Err(settle::Error::Future(_))), "{future:?}");
    let balances = balances(&db).await;
    assert_eq!(balance(&balances, "5200:USD"), 10_887);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// January of UA comes to 108.88 and then 163.76, with tax.
async fn prepaid_credit_pays_expires_and_is_voided(db: Db) {
    let metering = january(&db).await;
    let march = Some(at("2013-03-01T05:00:00Z"));
    for request in [
        credit("1", "UA", 10_000, Source::Purchased, None),
        credit("2", "UA", 5_000, Source::Granted, march),
        credit("3", "UA", 30_000, Source::Purchased, march),
    ] {
        let once = prepaid::grant(&db, request.clone(), &today()).await.expect("is granted");
        let twice = prepaid::grant(&db, request.clone(), &today()).await.expect("is the same");
        assert_eq!(once, twice);
        let other = GrantRequest { amount: usd(1), ..request };
        assert!(matches!(prepaid::grant(&db, other, &today()).await, Err(settle::Error::OtherRequest(_))));
    }
    assert_eq!(balance(&balances(&db).await, "2100:UA:USD"), -40_000, "what was given is owed to nobody");
    closed(&db, &metering, "2013-02-01").await;
    let (invoices, _) = documents(&db).await;
    let ua: Vec<_> = invoices.iter().filter(|invoice| invoice.consumer == "UA").collect();
    assert!(ua.iter().all(|invoice| invoice.state == InvoiceState::Paid), "{ua:?}");
    assert_eq!((ua[1].settlements[0].means, ua[1].settlements[0].amount), (Means::Prepaid, usd(16_376)));
    // 50.00 of what was given went first, then 222.64 of what expires.
    let after = balances(&db).await;
    let left = 30_000 - (10_888 + 16_376 - 5_000);
    assert_eq!((balance(&after, "2100:UA:USD"), balance(&after, "4095:USD")), (-10_000 - left, 5_000));
    assert_eq!(balance(&after, "1100:UA:USD"), 0);

    // 119.77 of February: the rest of what expires with it, and some of what does not.
    assert_eq!(closed(&db, &metering, "2013-03-01").await.credits_expired, 0);
    assert_eq!(balance(&balances(&db).await, "2100:UA:USD"), -10_000 - left + 11_977);
    let id = GrantId::parse("cg_1").expect("an id");
    let voided = prepaid::void(&db, &id, "moved away", &today()).await.expect("is voided").expect("is known");
    assert_eq!((voided.left(), voided.movements.len()), (Ok(usd(0)), 2));
    assert_eq!(prepaid::void(&db, &id, "again", &today()).await.expect("is void"), Some(voided));
    assert_eq!(balance(&balances(&db).await, "1000:USD"), 40_000 - (10_000 + left - 11_977));

    let late = credit("4", "AA", 700, Source::Purchased, Some(at("2013-04-01T04:00:00Z")));
    prepaid::grant(&db, late, &today()).await.expect("is granted");
    assert_eq!(closed(&db, &metering, "2013-04-01").await.credits_expired, 1);
    assert_eq!(balance(&balances(&db).await, "4010:USD"), -700);
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

/// Of what is settled, what somebody changes behind our back is found.
async fn a_payment_that_is_not_in_the_ledger_is_found(db: Db) {
    let metering = january(&db).await;
    closed(&db, &metering, "2013-01-31").await;
    sent(
        &db,
        &["insert into payment (id, consumer, currency, amount, method, reference, received_on, recorded_at, recorded_by)
           values ('pmt_9', 'UA', 'USD', 5, 'bank', '', '2014-05-13', 0, 'key_1')"],
    )
    .await
    .expect("is let in");
    let found = words(&verified(&db, &metering).await);
    assert!(found.len() == 1 && found[0].contains("payment pmt_9"), "{found:?}");
}

both_engines!(
    what_is_paid_too_much_pays_for_the_next_invoice,
    credit_notes_take_back_lines_with_their_tax,
    an_invoice_is_voided_whole_or_given_up,
    prepaid_credit_pays_expires_and_is_voided,
    a_payment_that_is_not_in_the_ledger_is_found,
);

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
                    let (owed, credit) = (model.owed(&invoice.id), paid.payment.amount.minor());
                    let settled = credit.min(*owed);
                    *owed -= settled;
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
                    model.bad_debt += std::mem::take(model.owed(&invoice.id));
                    model.dead.push(invoice.id.clone());
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
