//! Laws of rating, over many random inputs.

use std::collections::BTreeMap;

use jiff::ToSpan;
use jiff::civil::Date;
use proptest::prelude::*;
use rust_decimal::Decimal;

use crate::domain::book::plan::ByEvent;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Inner;
use crate::domain::book::plan::Matrix;
use crate::domain::book::plan::MatrixRate;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::book::program::Exhausted;
use crate::domain::money::Money;
use crate::domain::rating::Marginal;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::caps;
use crate::domain::rating::caps::Life;
use crate::domain::rating::caps::Limit;
use crate::domain::rating::examples::Case;
use crate::domain::rating::examples::hour;
use crate::domain::rating::examples::program;
use crate::domain::rating::examples::usage;
use crate::domain::rating::examples::usd;
use crate::domain::rating::line::Explanation;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::Usage;
use crate::domain::rating::models::price;
use crate::domain::rating::modifiers::Part;
use crate::domain::rating::modifiers::Previous;
use crate::domain::rating::modifiers::part;
use crate::domain::rating::percentage::Events;
use crate::domain::rating::seats::Change;
use crate::domain::rating::seats::Seats;
use crate::domain::rating::settle_budget;
use crate::domain::time::Zone;

/// A decimal of three places, not negative.
fn decimal(below: i64) -> impl Strategy<Value = Decimal> {
    (0..below).prop_map(|thousandths| Decimal::new(thousandths, 3))
}

/// Tiers with or without flat amounts and packages, the last one open.
fn tiers(flat_below: i64) -> impl Strategy<Value = Tiers> {
    let tier = (1_i64..200_000, decimal(5_000), decimal(flat_below));
    prop::collection::vec(tier, 1..5).prop_map(|parts| {
        let mut bound = Decimal::ZERO;
        let count = parts.len();
        let tier = |(index, (width, unit_amount, flat_amount)): (usize, (i64, Decimal, Decimal))| {
            bound += Decimal::new(width, 3);
            let up_to = (index + 1 < count).then_some(bound);
            Tier { up_to, unit_amount, flat_amount, package_size: None, max_amount: None }
        };
        Tiers::new(parts.into_iter().enumerate().map(tier).collect()).expect("bounds rise")
    })
}

fn model() -> impl Strategy<Value = Model> {
    let round = prop_oneof![Just(Rounding::Up), Just(Rounding::Down)];
    prop_oneof![
        decimal(50_000).prop_map(|amount| Model::Flat { amount }),
        decimal(5_000).prop_map(|unit_amount| Model::PerUnit { unit_amount }),
        (1_i64..90_000, decimal(50_000), round).prop_map(|(size, package_amount, round)| Model::Package {
            package_size: Decimal::new(size, 3),
            package_amount,
            round
        }),
        tiers(50_000).prop_map(Model::Graduated),
        tiers(50_000).prop_map(Model::Volume),
        tiers(50_000).prop_map(Model::GraduatedPercentage),
        tiers(50_000).prop_map(Model::Stairstep),
        decimal(5_000).prop_map(|multiplier| Model::Dynamic { multiplier }),
    ]
}

/// The models that price more of the usage than its sum, on the meter `miles` with its dimension `origin`.
fn model_along_usage() -> impl Strategy<Value = Model> {
    let each = prop_oneof![Just(Each::Bucket), Just(Each::Day), Just(Each::Week), Just(Each::Month)];
    let inner = (model(), decimal(20_000)).prop_map(|(model, free_quantity)| Box::new(Inner { model, free_quantity }));
    prop_oneof![
        (decimal(9_000), decimal(5_000)).prop_map(|(rate, fixed_amount)| {
            Model::Percentage(Percentage { rate, fixed_amount, by_event: ByEvent::default() })
        }),
        matrix().prop_map(Model::Matrix),
        (each, inner).prop_map(|(per, inner)| Model::PerBucket { per, inner }),
        (decimal(90_000), decimal(50_000), decimal(50_000)).prop_map(|(up_to, amount, beyond)| {
            let limits = BTreeMap::from([("miles".to_owned(), up_to)]);
            let last = CapacityTier { limits: BTreeMap::new(), amount: beyond };
            Model::Capacity(vec![CapacityTier { limits, amount }, last])
        }),
    ]
}

fn matrix() -> impl Strategy<Value = Matrix> {
    let rate = (prop::sample::subsequence(vec!["EWR", "JFK", "LGA"], 1..=3), decimal(5_000));
    (prop::collection::vec(rate, 0..4), prop::option::of(decimal(5_000))).prop_map(|(rates, default_unit_amount)| {
        let rate = |(origins, unit_amount): (Vec<&str>, Decimal)| MatrixRate {
            when: BTreeMap::from([("origin".to_owned(), origins.into_iter().map(str::to_owned).collect())]),
            unit_amount,
        };
        Matrix { rates: rates.into_iter().map(rate).collect(), default_unit_amount }
    })
}

/// Any model that can be rated on `miles`, with modifiers that a book may give it.
fn priced() -> impl Strategy<Value = (Model, Modifiers)> {
    (prop_oneof![model(), model_along_usage()], modifiers()).prop_map(|(model, mut modifiers)| {
        if !model.is_of_quantity() && !matches!(model, Model::Percentage(_)) {
            modifiers.free_quantity = Decimal::ZERO;
        }
        (model, modifiers)
    })
}

fn modifiers() -> impl Strategy<Value = Modifiers> {
    let option = |below| prop::option::of(decimal(below));
    let commitment = (decimal(90_000), decimal(3_000), any::<bool>());
    let commitment =
        commitment.prop_map(|(amount, overage_factor, true_up)| Commitment { amount, overage_factor, true_up });
    let commitment = prop::option::of(commitment);
    (decimal(20_000), decimal(9_000), 0_i64..=100, commitment, option(300_000), option(90_000)).prop_map(
        |(free_quantity, base_amount, percent, commitment, maximum_amount, minimum_amount)| Modifiers {
            commitment,
            transform: None,
            free_quantity,
            base_amount,
            percentage_discount: Decimal::from(percent),
            maximum_amount,
            minimum_amount,
            minimum_prorate: Prorate::None,
        },
    )
}

fn window() -> impl Strategy<Value = CapWindow> {
    prop_oneof![Just(CapWindow::Day), Just(CapWindow::Week), Just(CapWindow::Month), Just(CapWindow::Period)]
}

/// Rows within January and February 2013 (hours 0 to 1,415), some in the same bucket.
fn rows() -> impl Strategy<Value = Vec<Usage>> {
    let row = (0_i64..1_416, decimal(60_000), 0_usize..3);
    prop::collection::vec(row, 0..40).prop_map(|rows| {
        rows.into_iter().map(|(at, value, origin)| usage(at, value, ["EWR", "JFK", "LGA"][origin])).collect()
    })
}

fn first_day_of(per: CapWindow, day: Date) -> Option<Date> {
    match per {
        CapWindow::Day => Some(day),
        CapWindow::Week => Some(day - i64::from(day.weekday().to_monday_zero_offset()).days()),
        CapWindow::Month => Some(day.first_of_month()),
        CapWindow::Period | CapWindow::Lifetime => None,
    }
}

fn sums(per: CapWindow, zone: &Zone, marginals: &[Marginal]) -> BTreeMap<Option<Date>, Decimal> {
    let mut sums = BTreeMap::new();
    for marginal in marginals {
        *sums.entry(first_day_of(per, marginal.at.date_in(zone))).or_default() += marginal.amount;
    }
    sums
}

fn sum(marginals: &[Marginal]) -> Decimal {
    marginals.iter().map(|marginal| marginal.amount).sum()
}

proptest! {
    /// Without flat amounts a graduated price never falls, and never jumps: one unit more costs at most the dearest
    /// unit price.
    #[test]
    fn a_graduated_price_is_monotone_and_continuous(tiers in tiers(1), from in decimal(900_000), more in decimal(50_000)) {
        let dearest = tiers.iter().map(|tier| tier.unit_amount).max().expect("there is a tier");
        let model = Model::Graduated(tiers);
        let (low, high) = (price(&model, from, None).expect("fits"), price(&model, from + more, None).expect("fits"));
        prop_assert!(low <= high && high - low <= more * dearest, "{low} to {high}");
    }

    /// Of what two components count together, exactly the allowance is included or all there is, however it comes and goes and
    /// whatever is grouped.
    #[test]
    fn an_allowance_is_used_up_once(rows in rows(), taken in prop::collection::vec((0_i64..1_416, 0_i64..60_000, 0_usize..3), 0..20), units in decimal(900_000), grouped: bool) {
        let mut case = Case::new(Model::PerUnit { unit_amount: Decimal::ONE });
        case.plan.allowances = BTreeMap::from([("shared".to_owned(), units)]);
        case.component.allowance = Some("shared".to_owned());
        let mut second = case.component.clone();
        second.id = "second".to_owned();
        case.plan.components = vec![Component::Usage(second)];
        case.group_by_origin(grouped);
        let taken = taken.into_iter().map(|(at, milli, origin)| usage(at, Decimal::new(-milli, 3), ["EWR", "JFK", "LGA"][origin]));
        let rows: Vec<Usage> = rows.into_iter().chain(taken).collect();
        let lines = case.rate(&rows).lines;
        // The second component has no groups.
        let quantity: Decimal = lines.iter().map(|line| line.quantity).sum();
        let exact = |line: &Line| {
            let price = line.explanation.steps.iter().find(|step| step.step == StepKind::Price).expect("is priced");
            price.after
        };
        let paid: Vec<Decimal> = lines.iter().map(exact).collect();
        prop_assert!(paid.iter().all(|paid| !paid.is_sign_negative()));
        prop_assert_eq!(paid.into_iter().sum::<Decimal>(), (quantity - units).max(Decimal::ZERO));
    }

    /// Per-unit prices of the parts of a quantity sum to the price of the whole.
    #[test]
    fn splitting_a_quantity_never_changes_a_per_unit_total(parts in prop::collection::vec(decimal(9_000_000), 0..20), unit_amount in decimal(90_000)) {
        let model = Model::PerUnit { unit_amount };
        let of_parts: Decimal = parts.iter().map(|part| price(&model, *part, None).expect("fits")).sum();
        prop_assert_eq!(of_parts, price(&model, parts.iter().sum(), None).expect("fits"));
    }

    /// A price by the day is the sum of the prices of the days, whatever a day's quantity does to its price.
    #[test]
    fn a_price_by_day_is_the_sum_of_the_days(inner in model(), free_quantity in decimal(20_000), rows in rows()) {
        let mut days: BTreeMap<Date, Decimal> = BTreeMap::new();
        for row in &rows {
            *days.entry(row.bucket.date_in(&Zone::utc())).or_default() += row.value.decimal().expect("fits");
        }
        let of_day = |quantity: &Decimal| price(&inner, (*quantity - free_quantity).max(Decimal::ZERO), None).expect("fits");
        let expected: Decimal = days.values().filter(|quantity| !quantity.is_zero()).map(of_day).sum();
        let inner = Box::new(Inner { model: inner.clone(), free_quantity });
        let line = one_line(Model::PerBucket { per: Each::Day, inner }, &rows);
        prop_assert_eq!(line.amount, Money::round(expected, usd()).expect("fits"));
    }

    /// Under a matrix every unit has the price that its values choose, and what has none is not billed.
    #[test]
    fn a_matrix_prices_every_unit_by_its_values(matrix in matrix(), rows in rows()) {
        let of_row = |row: &Usage| {
            let rate = matrix.rate_for(&row.dimensions).map(|rate| matrix.rates[rate].unit_amount);
            row.value.decimal().expect("fits") * rate.or(matrix.default_unit_amount).unwrap_or_default()
        };
        let expected: Decimal = rows.iter().map(of_row).sum();
        let line = one_line(Model::Matrix(matrix.clone()), &rows);
        prop_assert_eq!(line.amount, Money::round(expected, usd()).expect("fits"));
    }

    /// Units that are there from the beginning to the end cost what a graduated price says; who comes and goes in the same
    /// moment costs the flat amounts of what was entered, and nobody who comes makes it cheaper.
    #[test]
    fn units_that_stay_cost_their_graduated_price(tiers in tiers(50_000), changes in prop::collection::vec((-90_000_i64..90_000, 0_i64..=30), 0..12), units in decimal(900_000)) {
        let whole = Decimal::from(30);
        let mut seats = Seats::new(&tiers);
        seats.change(Change { units, left: whole, whole }).expect("fits");
        prop_assert_eq!(seats.amount().expect("fits"), price(&Model::Graduated(tiers.clone()), units, None).expect("fits"));
        seats.change(Change { units: -units, left: whole, whole }).expect("fits");
        let flat: Decimal = seats.steps().map(|step| step.expect("fits").flat_amount).sum();
        prop_assert_eq!(seats.amount().expect("fits"), flat);
        for (units, left) in changes {
            let before = seats.amount().expect("fits");
            let units = Decimal::new(units, 3);
            seats.change(Change { units, left: Decimal::from(left), whole }).expect("fits");
            // Who comes never makes it cheaper.
            prop_assert!(units.is_sign_negative() || seats.amount().expect("fits") >= before);
        }
    }

    /// Without anything that needs single events, they sum to the percentage of the whole. Free events and a least and a
    /// most for each never lead out of what these allow.
    #[test]
    fn a_percentage_by_event_sums_to_that_of_the_whole(money in prop::collection::vec(decimal(900_000), 0..20), rate in decimal(9_000), fixed_amount in decimal(900), free_events in prop::option::of(0_u64..9), free_amount in prop::option::of(decimal(2_000_000)), least in decimal(900), more in decimal(90_000)) {
        let mut percentage = Percentage { rate, fixed_amount, by_event: ByEvent::default() };
        let amount = |percentage: &Percentage| {
            let mut events = Events::new(percentage);
            money.iter().try_for_each(|money| events.add(*money)).expect("fits");
            (events.amount, events.free, events.charged)
        };
        let whole = money.iter().sum::<Decimal>() * rate / Decimal::ONE_HUNDRED + fixed_amount * Decimal::from(money.len());
        prop_assert_eq!(amount(&percentage), (whole, 0, money.len() as u64));
        percentage.by_event = ByEvent { free_events, free_amount, minimum: None, maximum: None };
        let (some_free, free, charged) = amount(&percentage);
        prop_assert!(some_free <= whole && free + charged == money.len() as u64 && free_events.is_none_or(|most| free <= most));
        percentage.by_event.minimum = Some(least);
        percentage.by_event.maximum = Some(least + more);
        let (limited, free_too, charged_too) = amount(&percentage);
        prop_assert_eq!((free, charged), (free_too, charged_too));
        prop_assert!(limited >= least * Decimal::from(charged) && limited <= (least + more) * Decimal::from(charged));
    }

    /// However a period is cut into parts, the parts sum to the period billed at once, minimum and maximum included.
    #[test]
    fn parts_billed_one_after_the_other_sum_to_the_whole(model in model(), modifiers in modifiers(), parts in prop::collection::vec(decimal(100_000), 1..8)) {
        let mut previous: Option<Previous> = None;
        let (mut billed, mut quantity) = (Decimal::ZERO, Decimal::ZERO);
        for (index, of_part) in parts.iter().enumerate() {
            let is_last = index + 1 == parts.len();
            let input = Part { quantity: *of_part, tier_quantity: None, previous, is_last };
            billed += part(&model, &modifiers, &input).expect("fits").amount;
            quantity += *of_part;
            previous = Some(Previous { quantity, billed: None });
        }
        let whole = Part { quantity, tier_quantity: None, previous: None, is_last: true };
        prop_assert_eq!(billed, part(&model, &modifiers, &whole).expect("fits").amount);
    }

    /// The direction decides only which document a line ends up on: a reward is what the charge would be.
    #[test]
    fn a_charge_and_a_reward_come_to_the_same((model, modifiers) in priced(), rows in rows(), most in prop::option::of(decimal(90_000)), per in window(), grouped: bool) {
        let mut case = Case::new(model);
        case.component.modifiers = modifiers;
        // Without a cap a charge is computed from its last quantity alone, and a reward from every bucket.
        most.into_iter().for_each(|most| case.cap_amount(most, per));
        // A capacity has one line: a book refuses to group it.
        case.group_by_origin(grouped && !matches!(case.component.model, Model::Capacity(_)));
        let charges = case.rate(&rows).lines;
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        let rewards = settle_budget(&program(None), None, keyed(case.rate(&rows).rewards)).expect("settles");
        let told = |line: &Line| (line.dimensions.clone(), line.quantity, line.amount, line.explanation.clone());
        let of_rewards: Vec<_> = rewards.iter().map(|(_, line)| told(line)).collect();
        // A reward of nothing for nothing has no line. Less than a cent is not nothing before it is rounded.
        let is_rounded_away = |step: &Step| step.step == StepKind::Rounding && !step.before.is_zero();
        let is_something = |line: &&Line| {
            let Explanation { buckets, steps, .. } = &line.explanation;
            *buckets > 0 || !line.amount.is_zero() || steps.iter().any(is_rounded_away)
        };
        let of_charges: Vec<_> = charges.iter().filter(is_something).map(told).collect();
        prop_assert_eq!(of_charges, of_rewards);
    }

    /// In every window of every cap, what is let through is within the limit, whatever is added or taken back;
    /// and a cap never lets through more than came.
    #[test]
    fn caps_are_never_exceeded_in_any_window(
        added in prop::collection::vec((0_i64..1_416, -40_000_i64..60_000), 0..60),
        limits in prop::collection::vec((decimal(200_000), window()), 1..4),
        cut in 0_usize..60,
    ) {
        let zone = Zone::named("America/New_York").expect("a zone");
        let mut marginals: Vec<Marginal> = added.into_iter().map(|(at, milli)| Marginal { at: hour(at), amount: Decimal::new(milli, 3) }).collect();
        marginals.sort_by_key(|marginal| marginal.at);
        let came = sum(&marginals);
        let (left, right) = marginals.split_at(cut.min(marginals.len()));
        let mut lines = [left.to_vec(), right.to_vec()];
        let limits: Vec<Limit> = limits.into_iter().map(|(most, per)| Limit { most, per }).collect();
        caps::apply(&limits, &zone, &mut lines, &mut Life::default()).expect("fits");
        let through = lines.concat();
        for limit in &limits {
            for (window, sum) in sums(limit.per, &zone, &through) {
                prop_assert!(sum <= limit.most, "{sum} in {window:?} is above {limit:?}");
            }
        }
        if let [limit] = limits.as_slice() {
            let expected: Decimal = sums(limit.per, &zone, &marginals).values().map(|sum| *sum.min(&limit.most)).sum();
            prop_assert_eq!(sum(&through), expected);
        }
        prop_assert!(sum(&through) <= came);
    }

    /// A line's marginals sum to its exact amount, each step begins where the one before it ended, and the last one
    /// ends at the amount of the line.
    #[test]
    fn an_explanation_leads_to_the_amount((model, modifiers) in priced(), rows in rows(), units in decimal(90_000), most in decimal(90_000), per in window()) {
        let mut case = Case::new(model);
        case.component.modifiers = modifiers;
        if case.component.model.is_of_quantity() {
            case.cap_units(units, per);
        }
        case.cap_amount(most, per);
        for line in case.rate(&rows).lines {
            let steps = &line.explanation.steps;
            for pair in steps.windows(2) {
                prop_assert_eq!(pair[0].after, pair[1].before, "{:?}", steps);
            }
            prop_assert_eq!(steps.last().expect("there is a price").after, line.amount.decimal(), "{:?}", steps);
        }
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        for reward in case.rate(&rows).rewards {
            prop_assert_eq!(sum(&reward.marginals), reward.exact);
        }
    }

    /// The lines are at least the plan's minimum, and exactly it where there is a true-up.
    #[test]
    fn the_lines_sum_to_the_plans_minimum_or_more((model, _) in priced(), rows in rows(), minimum in 0_i64..100_000) {
        let mut case = Case::new(model);
        case.plan.minimum = Some(Decimal::new(minimum, 2));
        let lines = case.rate(&rows).lines;
        let total = Money::sum(usd(), lines.iter().map(|line| line.amount)).expect("fits").minor();
        prop_assert!(if lines.len() > 1 { total == minimum } else { total >= minimum }, "{total}");
    }

    /// The order of the rows of usage does not matter.
    #[test]
    fn the_order_of_rows_does_not_matter((model, _) in priced(), (rows, shuffled) in rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())), units in decimal(90_000)) {
        let mut case = Case::new(model);
        if case.component.model.is_of_quantity() {
            case.cap_units(units, CapWindow::Week);
        }
        case.group_by_origin(true);
        prop_assert_eq!(case.rate(&rows), case.rate(&shuffled));
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        prop_assert_eq!(case.rate(&rows), case.rate(&shuffled));
    }

    /// Together the rewards never exceed what is left of the budget. Where they would have, a partial budget is given
    /// to the last cent; where they would not, everybody gets what he earned, to the rounding. The order in which the
    /// rewards come does not matter.
    #[test]
    fn a_budget_is_never_exceeded_and_given_whole(
        parties in prop::collection::vec(rows(), 1..6), (model, _) in priced(), left in 0_i64..60_000, partial: bool,
    ) {
        let mut case = Case::new(model);
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        case.group_by_origin(true);
        let rewards = keyed(parties.iter().flat_map(|rows| case.rate(rows).rewards).collect());
        let wanted: Decimal = rewards.iter().map(|(_, reward)| reward.exact).sum();
        let mut program = program(None);
        program.exhausted = if partial { Exhausted::Partial } else { Exhausted::Stop };
        let left = Money::from_minor(left, usd());
        let lines = settle_budget(&program, Some(left), rewards.clone()).expect("settles");
        let given = Money::sum(usd(), lines.iter().map(|(_, line)| line.amount)).expect("fits");
        prop_assert!(given.minor() <= left.minor(), "{given} of {left}");
        prop_assert!(lines.iter().all(|(_, line)| !line.amount.is_negative()));
        if wanted > left.decimal() && partial {
            prop_assert_eq!(given, left);
        }
        if wanted <= left.decimal() {
            let cent = Decimal::new(1, 2);
            let earned = |((_, line), (_, reward)): (&(usize, Line), &(usize, UnbudgetedReward))| {
                (line.amount.decimal() - reward.exact).abs() <= cent
                    && line.explanation.steps.iter().all(|step| step.step != StepKind::Budget)
            };
            prop_assert!(lines.iter().zip(&rewards).all(earned));
        }
        let reversed = rewards.into_iter().rev().collect();
        prop_assert_eq!(lines, settle_budget(&program, Some(left), reversed).expect("settles"));
    }
}

fn one_line(model: Model, rows: &[Usage]) -> Line {
    let mut lines = Case::new(model).rate(rows).lines;
    assert_eq!(lines.len(), 1);
    lines.remove(0)
}

fn keyed(rewards: Vec<UnbudgetedReward>) -> Vec<(usize, UnbudgetedReward)> {
    rewards.into_iter().enumerate().collect()
}
