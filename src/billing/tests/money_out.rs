//! Rewards, payouts, what comes back, what is taken back and what is netted, in whatever order: after each step the statements,
//! the payouts, the invoices and the ledger say the same, what is refused changes nothing, and `verify` finds nothing.

use proptest::prelude::*;

use super::late::flight;
use super::late::retraction;
use super::late::send;
use super::netting::netting_book;
use super::payouts::on_file;
use super::payouts::open;
use super::*;
use crate::billing::payouts::act;
use crate::billing::payouts::propose;
use crate::billing::settle;
use crate::billing::settle::Act;
use crate::billing::settle::PaymentRequest;
use crate::billing::settle::Pays;
use crate::domain::ids::PaymentId;
use crate::domain::money::Money;
use crate::domain::payout::Action;
use crate::domain::payout::Note;
use crate::domain::payout::Signed;
use crate::domain::payout::State;
use crate::store::payouts::Sought;

const MONTHS: [&str; 8] =
    ["2013-02-01", "2013-03-01", "2013-04-01", "2013-05-01", "2013-06-01", "2013-07-01", "2013-08-01", "2013-09-01"];
const CARRIERS: [&str; 2] = ["AA", "UA"];

/// Something that somebody does; numbers choose among what there is.
#[derive(Clone, Debug)]
enum Deed {
    /// On time, so many months before the one that is open.
    Fly {
        carrier: usize,
        before: usize,
    },
    Retract {
        flight: usize,
    },
    Close,
    /// With this much money all invoices are paid, and the next ones too.
    PayFor {
        carrier: usize,
        amount: i64,
    },
    Propose,
    Step {
        payout: usize,
        action: usize,
        by: bool,
    },
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        3 => (0..2_usize, 0..3_usize).prop_map(|(carrier, before)| Deed::Fly { carrier, before }),
        1 => any::<usize>().prop_map(|flight| Deed::Retract { flight }),
        3 => Just(Deed::Close),
        1 => (0..2_usize, 1..90_000_i64).prop_map(|(carrier, amount)| Deed::PayFor { carrier, amount }),
        2 => Just(Deed::Propose),
        6 => (any::<usize>(), 0..Action::ALL.len(), any::<bool>())
            .prop_map(|(payout, action, by)| Deed::Step { payout, action, by }),
    ];
    prop::collection::vec(deed, 30..70)
}

/// What the documents, the statements and the payouts say, and what stands on the accounts.
async fn agrees(db: &Db, after: &str) {
    let (invoices, statements) = documents(db).await;
    let mut tx = db.read().await.expect("begins");
    let payouts = tx.payouts_of_money(Sought::Page { after: None, limit: 1_000 }).await.expect("reads");
    let free = tx.available(None).await.expect("reads");
    let totals = tx.trial_balance(AsOf::NOW).await.expect("reads");
    let owed = |account: &str| -> i64 {
        let of = totals.iter().filter(|total| total.account.to_string() == account);
        of.map(|total| total.credit.minor() - total.debit.minor()).sum()
    };
    assert_eq!(totals.iter().map(|total| total.credit.minor() - total.debit.minor()).sum::<i64>(), 0, "{after}");
    let in_state = |state: State, of: Option<&str>| -> i64 {
        let found = payouts.iter().filter(|payout| payout.state == state && of.is_none_or(|of| payout.consumer == of));
        found.map(|payout| payout.amount.minor()).sum()
    };
    assert_eq!(owed("2020:USD"), in_state(State::Approved, None), "{after}");
    assert_eq!(owed("1020:USD"), in_state(State::Sent, None), "{after}");
    let paid_in = tx.payments(crate::store::settlements::Wanted::Page { consumer: None, before: None, limit: 1_000 });
    let paid_in: i64 = paid_in.await.expect("reads").iter().map(|payment| payment.amount.minor()).sum();
    assert_eq!(owed("1000:USD"), in_state(State::Paid, None) - paid_in, "{after}");
    for carrier in CARRIERS {
        let of = |chart: &str| owed(&format!("{chart}:{carrier}:USD"));
        let available: i64 = free.iter().filter(|of| of.consumer == carrier).map(|of| of.total.minor()).sum();
        assert_eq!(of("2010") + of("1200"), available + in_state(State::Proposed, Some(carrier)), "{carrier} {after}");
        assert!(of("2010") >= 0 && of("1200") <= 0 && of("2110") >= 0, "{carrier} {after}");
        let holds = statements.iter().filter(|of| of.consumer == carrier).flat_map(|of| &of.holds);
        let held: i64 = holds.filter(|hold| hold.passed_at.is_none()).map(|hold| hold.amount.minor()).sum();
        assert_eq!(of("2000"), held, "{carrier} {after}");
        let outstanding = invoices.iter().filter(|invoice| invoice.consumer == carrier);
        let outstanding: i64 = outstanding.map(|invoice| invoice.outstanding.minor()).sum();
        assert_eq!(of("1100"), -outstanding, "{carrier} {after}");
    }
}

async fn behaves(deeds: Vec<Deed>) {
    let (db, _folder) = crate::store::tests::sqlite().await;
    let metering = january_under(&db, netting_book()).await;
    for carrier in CARRIERS {
        on_file(&db, carrier, &open()).await;
    }
    let (mut month, mut flown) = (0, Vec::new());
    for (number, deed) in (1_u32..).zip(deeds) {
        let before = db.read().await.expect("begins").journal_head().await.expect("reads");
        let at = Instant::from_micros(NOW.micros() + i64::from(number) * 1_000_000);
        let signed = |by: &str| Signed { at, by: by.to_owned() };
        let refused: Option<String> = match deed.clone() {
            Deed::Fly { carrier, before } => {
                let time = format!("2013-{:02}-10T12:00:00Z", month + 1 - before.min(month));
                send(&metering, &[flight(CARRIERS[carrier], number, &time, 1)]).await;
                flown.push((CARRIERS[carrier], number));
                None
            }
            Deed::Retract { flight } => {
                if !flown.is_empty() {
                    let (carrier, number) = flown.remove(flight % flown.len());
                    send(&metering, &[retraction(carrier, number)]).await;
                }
                None
            }
            Deed::Close => {
                if let Some(through) = MONTHS.get(month) {
                    closed(&db, &metering, through).await;
                    month += 1;
                }
                None
            }
            Deed::PayFor { carrier, amount } => {
                let amount = Money::from_minor(amount, Currency::from_code("USD").expect("USD exists"));
                let request = PaymentRequest {
                    id: PaymentId::parse(&format!("pmt_{number}")).expect("an id"),
                    pays: Pays::Consumer(CARRIERS[carrier].to_owned(), amount),
                    method: "bank".to_owned(),
                    reference: String::new(),
                    stripe_fee: None,
                };
                let done = settle::pay(&db, request, &Act { by: "key_1".to_owned(), on: None, now: at }).await;
                done.err().map(|error| error.to_string())
            }
            Deed::Propose => {
                propose::run(&db, &metering.versions(), None, &signed("maker")).await.expect("runs");
                None
            }
            Deed::Step { payout, action, by } => {
                let known = Sought::Page { after: None, limit: 1_000 };
                let known = db.read().await.expect("begins").payouts_of_money(known).await.expect("reads");
                if known.is_empty() {
                    continue;
                }
                let (id, by) = (known[payout % known.len()].id.as_str(), if by { "maker" } else { "checker" });
                let step = (signed(by), Note::default());
                let done = act(&db, &metering.versions(), id, Action::ALL[action], step).await;
                done.err().map(|error| error.to_string())
            }
        };
        if let Some(refused) = refused {
            let after = db.read().await.expect("begins").journal_head().await.expect("reads");
            assert_eq!(after, before, "{deed:?} was refused ({refused}) and changed something");
        }
        agrees(&db, &format!("after {deed:?}")).await;
    }
    assert_eq!(words(&verified(&db, &metering).await), [""; 0]);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(
        std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12)) })]
    #[test]
    fn statements_payouts_invoices_and_ledger_agree_after_whatever_is_done(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(behaves(deeds));
    }
}
