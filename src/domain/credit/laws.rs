//! Laws of prepaid credit, over many random courses of events.

use std::collections::BTreeMap;

use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::domain::credit::Burned;
use crate::domain::credit::Grant;
use crate::domain::credit::Key;
use crate::domain::credit::MovementKind;
use crate::domain::credit::Refill;
use crate::domain::credit::Rollover;
use crate::domain::credit::Rules;
use crate::domain::credit::Source;
use crate::domain::credit::Standing;
use crate::domain::credit::Used;
use crate::domain::credit::burn_down;
use crate::domain::period::Interval;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// The days of this test, in quarters of a day so that things happen at the same time.
const QUARTERS: i64 = 40;

fn at(quarter: i64) -> Instant {
    Instant::from_micros(1_704_067_200_000_000 + quarter * 21_600_000_000)
}

fn moment() -> impl Strategy<Value = Instant> {
    (0..=QUARTERS).prop_map(at)
}

fn amount() -> impl Strategy<Value = Decimal> {
    (0_i64..50_000).prop_map(|milli| Decimal::new(milli, 3))
}

fn grants() -> impl Strategy<Value = Vec<Grant>> {
    let life = (moment(), prop::option::of(moment()), prop::option::of(moment()), moment());
    let refill = prop::option::of((prop_oneof![Just(Interval::Day), Just(Interval::Week)], moment()));
    let one = (amount(), 0_i64..3, any::<bool>(), life, refill, (amount(), amount()));
    prop::collection::vec(one, 0..6).prop_map(|all| {
        let grant = |(index, (amount, priority, is_bought, life, refill, rollover))| {
            let (effective_at, expires_at, voided_at, created_at) = life;
            let (least, most) = rollover;
            Grant {
                id: format!("grant {index}"),
                amount,
                priority,
                source: if is_bought { Source::Purchased } else { Source::Granted },
                created_at,
                effective_at,
                expires_at,
                voided_at,
                refill: Option::map(refill, |(interval, anchor)| Refill { interval, anchor }),
                rollover: Rollover { least, most },
            }
        };
        all.into_iter().enumerate().map(grant).collect()
    })
}

fn rules() -> impl Strategy<Value = Rules> {
    let keys = vec![Key::Priority, Key::Expiry, Key::Source, Key::Creation];
    let order = prop::sample::subsequence(keys, 0..=4).prop_shuffle();
    (order, any::<bool>(), any::<bool>()).prop_map(|(order, carries_overage, keeps_overage_at_reset)| Rules {
        order,
        carries_overage,
        keeps_overage_at_reset,
    })
}

fn used() -> impl Strategy<Value = Vec<Used>> {
    prop::collection::vec((moment(), amount()).prop_map(|(at, amount)| Used { at, amount }), 0..20)
}

fn run(
    grants: &[Grant],
    opening: Standing,
    span: (i64, i64),
    used: &[Used],
    resets: &[Instant],
    rules: &Rules,
) -> Burned {
    let span = (at(span.0), at(span.1));
    burn_down(grants, opening, span, used, resets, (rules, &Zone::utc())).expect("fits")
}

proptest! {
    /// Nothing is created: of every grant, what was given is what was drawn, what lapsed and what is left; no balance is
    /// below zero on the way; and what was used is what was drawn, what is uncovered and what was written off.
    #[test]
    fn nothing_is_created_and_nothing_is_lost(grants in grants(), used in used(), resets in prop::collection::vec(moment(), 0..4), rules in rules()) {
        let burned = run(&grants, Standing::default(), (0, QUARTERS), &used, &resets, &rules);
        let mut balances: BTreeMap<&str, Decimal> = BTreeMap::new();
        let mut drawn = Decimal::ZERO;
        for moved in &burned.movements {
            prop_assert!(moved.amount > Decimal::ZERO);
            let grant = grants.iter().find(|grant| grant.id == moved.grant).expect("is known");
            let balance = balances.entry(&moved.grant).or_default();
            match moved.kind {
                MovementKind::Given | MovementKind::Refilled => *balance += moved.amount,
                _ => *balance -= moved.amount,
            }
            prop_assert!(!balance.is_sign_negative(), "{moved:?}");
            if moved.kind == MovementKind::Drawn {
                prop_assert!(grant.is_active(moved.at), "{moved:?}");
                drawn += moved.amount;
            }
        }
        for grant in &grants {
            let left = burned.standing.balances.get(&grant.id).copied().unwrap_or_default();
            prop_assert_eq!(left, balances.get(grant.id.as_str()).copied().unwrap_or_default());
            prop_assert!(grant.is_active(at(QUARTERS)) || left.is_zero());
        }
        let all: Decimal = used.iter().filter(|used| used.at < at(QUARTERS)).map(|used| used.amount).sum();
        prop_assert_eq!(drawn + burned.standing.overage + burned.written_off, all);
    }

    /// The order is kept: nothing is drawn on while something that comes before it is active and has any left.
    #[test]
    fn what_comes_first_is_drawn_on_first(grants in grants(), used in used(), rules in rules()) {
        let burned = run(&grants, Standing::default(), (0, QUARTERS), &used, &[], &rules);
        let mut balances: BTreeMap<&str, Decimal> = BTreeMap::new();
        let known = |id: &str| grants.iter().find(|grant| grant.id == id).expect("is known");
        for moved in &burned.movements {
            if moved.kind == MovementKind::Drawn {
                let grant = known(&moved.grant);
                let passed_over = balances.iter().find(|(id, left)| {
                    let other = known(id);
                    !left.is_zero() && other.is_active(moved.at) && rules.compare(other, grant).is_lt()
                });
                prop_assert_eq!(passed_over, None, "{:?}", moved);
            }
            let balance = balances.entry(&moved.grant).or_default();
            match moved.kind {
                MovementKind::Given | MovementKind::Refilled => *balance += moved.amount,
                _ => *balance -= moved.amount,
            }
        }
    }

    /// Where overage is carried there is none while a grant has any left.
    #[test]
    fn overage_that_is_carried_means_that_nothing_is_left(grants in grants(), used in used(), resets in prop::collection::vec(moment(), 0..4), mut rules in rules()) {
        rules.carries_overage = true;
        let burned = run(&grants, Standing::default(), (0, QUARTERS), &used, &resets, &rules);
        prop_assert!(burned.standing.overage.is_zero() || burned.standing.balances.values().all(Decimal::is_zero));
    }

    /// A span that is cut in two comes to the same, and the order of usage does not matter.
    #[test]
    fn a_span_can_be_cut_in_two((used, shuffled) in used().prop_flat_map(|used| (Just(used.clone()), Just(used).prop_shuffle())), grants in grants(), resets in prop::collection::vec(moment(), 0..4), rules in rules(), cut in 0..=QUARTERS) {
        let whole = run(&grants, Standing::default(), (0, QUARTERS), &used, &resets, &rules);
        let first = run(&grants, Standing::default(), (0, cut), &shuffled, &resets, &rules);
        let second = run(&grants, first.standing, (cut, QUARTERS), &shuffled, &resets, &rules);
        prop_assert_eq!(&second.standing, &whole.standing);
        prop_assert_eq!(first.written_off + second.written_off, whole.written_off);
        let sums = |movements: &mut dyn Iterator<Item = crate::domain::credit::Movement>| {
            let mut sums: BTreeMap<(Instant, String, MovementKind), Decimal> = BTreeMap::new();
            movements.for_each(|moved| *sums.entry((moved.at, moved.grant, moved.kind)).or_default() += moved.amount);
            sums
        };
        let parts = sums(&mut first.movements.into_iter().chain(second.movements));
        prop_assert_eq!(parts, sums(&mut whole.movements.into_iter()));
    }
}
