//! Examples of whole periods with their numbers, and the small fixtures that the laws share.

use std::collections::BTreeMap;

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Fee;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Plan;
use crate::domain::book::plan::Prorate;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::Tiers;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::plan::When;
use crate::domain::book::program::AccountingClass;
use crate::domain::book::program::Exhausted;
use crate::domain::book::program::Program;
use crate::domain::days::BillingDays;
use crate::domain::measure::nano::Nano;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Anchor;
use crate::domain::period::Calendar;
use crate::domain::period::Period;
use crate::domain::period::Rhythm;
use crate::domain::quantity::Quantities;
use crate::domain::rating::Explained;
use crate::domain::rating::Inputs;
use crate::domain::rating::Rated;
use crate::domain::rating::RatingError;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::Usage;
use crate::domain::rating::rate;
use crate::domain::rating::settle_budget;
use crate::domain::subscription::Change;
use crate::domain::time::Bucket;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

pub fn usd() -> Currency {
    Currency::from_code("USD").expect("USD exists")
}

fn dec(text: &str) -> Decimal {
    Decimal::from_str_exact(text).expect("a decimal")
}

fn at(text: &str) -> Instant {
    Instant::parse(text).expect("a time")
}

fn period(from: &str, to: &str) -> Period {
    Period::new(at(from), at(to)).expect("not empty")
}

/// The `index`-th hour of 2013 in UTC.
pub fn hour(index: i64) -> Instant {
    Instant::from_micros(at("2013-01-01T00:00:00Z").micros() + index * Bucket::Hour.micros())
}

pub fn usage(index: i64, value: Decimal, origin: &str) -> Usage {
    let dimensions = BTreeMap::from([("origin".to_owned(), origin.to_owned())]);
    let value = Nano::from_decimal(value).expect("nine decimals");
    Usage { bucket: hour(index), dimensions, item: String::new(), value, count: 1 }
}

pub fn program(window: Option<Period>) -> Program {
    Program {
        id: "program".to_owned(),
        name: "On time 2013".to_owned(),
        currency: usd(),
        window: window.unwrap_or_else(|| period("2013-01-01T00:00:00Z", "2014-01-01T00:00:00Z")),
        budget: None,
        exhausted: Exhausted::Partial,
        hold_days: 14,
        accounting: AccountingClass::ContraRevenue,
        eligible: Vec::new(),
    }
}

/// A plan with one component on the meter `miles`, from January to the end of February 2013 in UTC.
#[derive(Debug)]
pub struct Case {
    pub plan: Plan,
    pub component: UsageComponent,
    pub aggregation: Aggregation,
    pub program: Program,
    pub period: Period,
    pub whole: Period,
    pub life_from: Instant,
    pub days: BillingDays,
    pub changes: Vec<Change>,
    pub quantities: Quantities,
}

impl Case {
    pub fn new(model: Model) -> Self {
        Self {
            plan: Plan {
                id: "airline".to_owned(),
                name: "Airline".to_owned(),
                currency: usd(),
                calendar: Calendar { rhythm: Rhythm::MONTH, anchor: Anchor::Calendar, zone: Zone::utc() },
                minimum: None,
                maximum: None,
                commitment: None,
                minimum_prorate: Prorate::None,
                trial_days: 0,
                allowances: BTreeMap::new(),
                components: Vec::new(),
            },
            component: UsageComponent {
                id: "miles".to_owned(),
                name: "Miles flown".to_owned(),
                direction: Direction::Charge,
                meter: "miles".to_owned(),
                model,
                milestones: None,
                modifiers: Modifiers::default(),
                caps: Vec::new(),
                allowance: None,
                carry_tiers: false,
                group_by: Vec::new(),
            },
            aggregation: Aggregation::Sum,
            program: program(None),
            period: period("2013-01-01T00:00:00Z", "2013-03-01T00:00:00Z"),
            whole: period("2013-01-01T00:00:00Z", "2013-03-01T00:00:00Z"),
            life_from: at("2013-01-01T00:00:00Z"),
            days: BillingDays::default(),
            changes: Vec::new(),
            quantities: Quantities::default(),
        }
    }

    pub fn cap_units(&mut self, most: Decimal, per: CapWindow) {
        self.component.caps.push(Cap { limit: CapLimit::Units(most), per });
    }

    pub fn cap_amount(&mut self, most: Decimal, per: CapWindow) {
        self.component.caps.push(Cap { limit: CapLimit::Amount(most), per });
    }

    pub fn group_by_origin(&mut self, grouped: bool) {
        self.component.group_by = if grouped { vec!["origin".to_owned()] } else { Vec::new() };
    }

    fn rewarded(mut self) -> Self {
        self.component.direction = Direction::Reward { program: "program".to_owned() };
        self
    }

    pub fn rate(&self, rows: &[Usage]) -> Rated {
        self.try_rate(rows).expect("rates")
    }

    fn try_rate(&self, rows: &[Usage]) -> Result<Rated, RatingError> {
        let mut plan = self.plan.clone();
        plan.components.push(Component::Usage(self.component.clone()));
        let meter = Meter::example(self.aggregation);
        let inputs = Inputs {
            plan: &plan,
            programs: &BTreeMap::from([("program".to_owned(), self.program.clone())]),
            meters: &BTreeMap::from([("miles".to_owned(), meter)]),
            period: self.period,
            whole: self.whole,
            life_from: self.life_from,
            carries_from: self.whole.from(),
            days: &self.days,
            changes: &self.changes,
            quantities: &self.quantities,
            usage: &BTreeMap::from([("miles".to_owned(), rows.to_vec())]),
        };
        let rated = rate(&inputs, Explained::Yes);
        // Whatever is rated, it comes to the same without explanations.
        if let (Ok(rated), Ok(unexplained)) = (&rated, rate(&inputs, Explained::No)) {
            assert_eq!(without_words(rated), without_words(&unexplained));
        }
        rated
    }
}

fn without_words(rated: &Rated) -> Rated {
    let mut rated = rated.clone();
    let rewards = rated.rewards.iter_mut().map(|reward| &mut reward.line);
    rated.lines.iter_mut().chain(rewards).for_each(|line| {
        line.description.clear();
        (line.explanation.meter, line.explanation.steps) = (None, Vec::new());
    });
    rated
}

fn per_unit(unit_amount: &str) -> Model {
    Model::PerUnit { unit_amount: dec(unit_amount) }
}

fn graduated(tiers: &[(Option<&str>, &str, &str)]) -> Model {
    let tier = |(up_to, unit, flat): &(Option<&str>, &str, &str)| Tier {
        up_to: up_to.map(dec),
        unit_amount: dec(unit),
        flat_amount: dec(flat),
        package_size: None,
        max_amount: None,
    };
    Model::Graduated(Tiers::new(tiers.iter().map(tier).collect()).expect("bounds rise"))
}

fn miles(rows: &[(i64, &str)]) -> Vec<Usage> {
    rows.iter().map(|(hour, value)| usage(*hour, dec(value), "EWR")).collect()
}

fn texts(line: &Line) -> Vec<&str> {
    line.explanation.steps.iter().map(|step| step.text.as_str()).collect()
}

fn amounts(lines: &[Line]) -> Vec<(&str, String)> {
    lines.iter().map(|line| (line.component.as_str(), line.amount.decimal().to_string())).collect()
}

#[test]
fn a_line_says_why_it_is_what_it_is() {
    let tiers = [(Some("100000"), "0.0100", "25"), (Some("1000000"), "0.0080", "0"), (None, "0.0050", "0")];
    let mut case = Case::new(graduated(&tiers));
    case.component.modifiers = Modifiers {
        free_quantity: dec("1000"),
        percentage_discount: dec("12.5"),
        minimum_amount: Some(dec("10")),
        ..Modifiers::default()
    };
    case.cap_units(dec("90000"), CapWindow::Day);
    case.cap_amount(dec("1100.005"), CapWindow::Month);
    let rated = case.rate(&miles(&[(1, "70000"), (2, "30000"), (30, "80000.5"), (60, "2")]));
    assert_eq!(
        texts(&rated.lines[0]),
        [
            "miles: 180,002.5, the sum of 4 events",
            "at most 90,000 units a day count: 170,002.5 of 180,002.5",
            "the first 1,000 are free, which leaves 169,002.5",
            "100,000 units at 0.01 USD and 25.00 USD + 69,002.5 units at 0.008 USD = 1,577.02 USD",
            "less 12.5 %",
            "at most 1,100.005 USD a month: 1,100.005 USD of 1,379.8925 USD",
            "rounded to 1,100.01 USD",
        ]
    );
    assert_eq!(rated.lines[0].amount, Money::from_minor(110_001, usd()));
    assert_eq!((rated.lines[0].explanation.buckets, rated.lines[0].explanation.events), (4, 4));
}

#[test]
fn components_share_an_allowance_oldest_bucket_first() {
    let mut case = Case::new(per_unit("1"));
    case.plan.allowances = BTreeMap::from([("hundred".to_owned(), dec("100"))]);
    case.component.allowance = Some("hundred".to_owned());
    let mut second = case.component.clone();
    second.id = "second".to_owned();
    second.group_by = vec!["origin".to_owned()];
    case.plan.components = vec![Component::Usage(second)];
    // Both components count the same usage here: each bucket twice, the second component first.
    let rated = case.rate(&miles(&[(1, "20"), (2, "15"), (3, "40")]));
    // 20 and 20, 15 and 15 are 70; of the next 40 there are 30 left, and of the last 40 none.
    assert_eq!(amounts(&rated.lines), [("second", "10.00".to_owned()), ("miles", "40.00".to_owned())]);
    assert_eq!(
        texts(&rated.lines[0]),
        [
            "miles: 75, the sum of 3 events",
            "65 units included in the allowance hundred, which leaves 10",
            "10 units at 1.00 USD = 10.00 USD"
        ]
    );
}

#[test]
fn the_minimum_of_a_part_of_a_period_is_whole_or_its_share() {
    let mut case = Case::new(per_unit("0.01"));
    case.plan.minimum = Some(dec("590"));
    case.period = period("2013-02-01T00:00:00Z", "2013-03-01T00:00:00Z");
    let true_up = |case: &Case| amounts(&case.rate(&miles(&[(800, "1000")])).lines)[1].1.clone();
    assert_eq!(true_up(&case), "580.00");
    case.plan.minimum_prorate = Prorate::Day;
    // The whole is January and February: 28 of 59 days.
    case.whole = period("2013-01-01T00:00:00Z", "2013-03-01T00:00:00Z");
    assert_eq!(true_up(&case), "270.00");
    let line = &case.rate(&miles(&[(800, "1000")])).lines[1];
    let said = ["for 28 of 59 days: 280.00 USD", "at least 280.00 USD a period: fees and charges came to 10.00 USD"];
    assert_eq!(texts(line), said);
}

#[test]
fn the_bounds_of_a_charge_are_whole_or_the_share_of_a_part() {
    let mut case = Case::new(per_unit("0.01"));
    case.period = period("2013-02-01T00:00:00Z", "2013-02-25T08:00:00Z");
    case.component.modifiers.minimum_amount = Some(dec("590"));
    case.component.modifiers.maximum_amount = Some(dec("590"));
    let line = |case: &Case, units| case.rate(&miles(&[(800, units)])).lines.remove(0);
    assert_eq!(line(&case, "1000").amount.minor(), 59_000);
    // The whole is January and February. The day within which the part ends is not of it.
    case.component.modifiers.minimum_prorate = Prorate::Day;
    assert_eq!(texts(&line(&case, "1000")).last(), Some(&"at least 240.00 USD for 24 of 59 days"));
    assert_eq!(texts(&line(&case, "100000")).last(), Some(&"at most 240.00 USD for 24 of 59 days"));
}

#[test]
fn fees_charges_and_the_minimum_come_in_order_and_rewards_apart() {
    let mut case = Case::new(per_unit("0.01"));
    case.plan.minimum = Some(dec("500"));
    let fee = |id: &str, when| {
        let (id, name, amount) = (id.to_owned(), "Gate".to_owned(), dec("100"));
        Component::Fee(Fee { id, name, amount, each: false, when, prorate: Prorate::Day })
    };
    case.plan.components = vec![fee("before", When::Advance), fee("after", When::Arrears)];
    let rated = case.rate(&miles(&[(1, "12345")]));
    let expected = [("after", "100.00"), ("miles", "123.45"), ("minimum", "176.55")];
    assert_eq!(amounts(&rated.lines), expected.map(|(id, amount)| (id, amount.to_owned())));
    assert_eq!(rated.lines[2].kind, LineKind::Minimum);
    assert_eq!(
        texts(&rated.lines[2]),
        ["at least 500.00 USD a period: fees and charges came to 323.45 USD"],
        "the fee in advance for this period counts"
    );
    assert_eq!(amounts(&case.rate(&miles(&[(1, "30000.4")])).lines).len(), 2);
    assert_eq!(case.rewarded().rate(&miles(&[(1, "12345")])).rewards[0].line.amount, Money::from_minor(12345, usd()));
}

#[test]
fn without_usage_there_is_what_is_due_anyway_or_a_zero_line_for_a_charge() {
    let due = |case: &Case| amounts(&case.rate(&[]).lines)[0].1.clone();
    let mut case = Case::new(graduated(&[(None, "1", "7")]));
    assert_eq!(due(&case), "7.00");
    case.component.model = per_unit("1");
    case.group_by_origin(true);
    assert_eq!(due(&case), "0.00");
    assert_eq!(case.rate(&[]).lines[0].quantity, Decimal::ZERO);
    case.component.modifiers.minimum_amount = Some(dec("3"));
    assert_eq!(due(&case), "3.00");
    let mut case = case.rewarded();
    assert_eq!(case.rate(&[]).rewards.len(), 1);
    case.component.modifiers.minimum_amount = None;
    assert_eq!(case.rate(&[]).rewards, []);
}

#[test]
fn what_is_due_anyway_is_earned_at_the_beginning_and_a_minimum_in_the_last_moment() {
    let mut case = Case::new(per_unit("1")).rewarded();
    case.component.modifiers =
        Modifiers { base_amount: dec("2"), minimum_amount: Some(dec("10")), ..Modifiers::default() };
    let marginals = case.rate(&miles(&[(1, "4")])).rewards.remove(0).marginals;
    let earned: Vec<(Instant, Decimal)> = marginals.iter().map(|marginal| (marginal.at, marginal.amount)).collect();
    let last_moment = at("2013-02-28T23:59:59.999999Z");
    assert_eq!(earned, [(hour(0), dec("2")), (hour(1), dec("4")), (last_moment, dec("4"))]);
}

#[test]
fn each_value_of_a_dimension_has_its_own_tiers_and_all_share_the_caps() {
    let mut case = Case::new(graduated(&[(Some("10"), "2", "0"), (None, "1", "0")]));
    case.group_by_origin(true);
    let rows = [(1, "15", "JFK"), (1, "8", "EWR"), (2, "4", "EWR")];
    let rows = rows.map(|(hour, value, origin)| usage(hour, dec(value), origin));
    let by_origin = |case: &Case| -> Vec<(String, String)> {
        let lines = case.rate(&rows).lines;
        lines.iter().map(|line| (line.dimensions["origin"].clone(), line.amount.decimal().to_string())).collect()
    };
    let expected = |ewr: &str, jfk: &str| vec![("EWR".to_owned(), ewr.to_owned()), ("JFK".to_owned(), jfk.to_owned())];
    assert_eq!(by_origin(&case), expected("22.00", "25.00"));
    // In hour 1 first 8 units of EWR, then 12 of JFK; nothing is left for hour 2.
    case.cap_units(dec("20"), CapWindow::Day);
    assert_eq!(by_origin(&case), expected("16.00", "22.00"));
    case.cap_amount(dec("30"), CapWindow::Period);
    assert_eq!(by_origin(&case), expected("16.00", "14.00"));
}

#[test]
fn a_maximum_is_the_largest_so_far_and_a_negative_sum_counts_as_zero() {
    let mut case = Case::new(per_unit("2"));
    let rows = miles(&[(5, "9"), (1, "3"), (3, "7"), (9, "4")]);
    case.aggregation = Aggregation::Max;
    assert_eq!(amounts(&case.rate(&rows).lines)[0].1, "18.00");
    case.aggregation = Aggregation::Sum;
    let line = case.rate(&miles(&[(1, "3"), (2, "-5")])).lines.remove(0);
    assert_eq!((line.amount.minor(), line.quantity), (0, Decimal::ZERO));
    assert_eq!(texts(&line)[0], "miles: -2, the sum of 2 events; less than nothing counts as zero");
}

#[test]
fn only_usage_within_the_period_counts_and_rewards_also_need_the_programs_window() {
    let mut case = Case::new(per_unit("1")).rewarded();
    case.period = Period::new(hour(0), hour(10)).expect("not empty");
    case.program = program(Some(Period::new(hour(5), hour(99)).expect("not empty")));
    let rows = miles(&[(-1, "1"), (0, "2"), (4, "4"), (5, "8"), (9, "16"), (10, "32")]);
    let reward = case.rate(&rows).rewards.remove(0);
    assert_eq!((reward.exact, reward.line.from, reward.line.to), (dec("24"), hour(5), hour(10)));
    case.component.direction = Direction::Charge;
    assert_eq!(amounts(&case.rate(&rows).lines)[0].1, "30.00");
    case.program = program(Some(Period::new(hour(10), hour(99)).expect("not empty")));
    case.component.model = Model::Flat { amount: dec("5") };
    assert_eq!(case.rewarded().rate(&rows).rewards, [], "not even a flat amount outside the window");
}

#[test]
fn what_has_no_price_is_refused_with_the_component() {
    let case = Case::new(graduated(&[(Some("10"), "2", "0")]));
    let error = case.try_rate(&miles(&[(1, "10.5")])).expect_err("is above the tiers");
    assert_eq!(error.to_string(), "component miles: 10.5 units are above the last tier, which ends at 10");
    let mut case = Case::new(per_unit("79228162514264337593543950335"));
    assert!(matches!(case.try_rate(&miles(&[(1, "10")])), Err(RatingError::Price { .. })));
    case.component.meter = "yards".to_owned();
    assert!(matches!(case.try_rate(&[]), Err(RatingError::UnknownMeter { .. })));
    case.component.meter = "miles".to_owned();
    case.component.direction = Direction::Reward { program: "none".to_owned() };
    assert!(matches!(case.try_rate(&[]), Err(RatingError::UnknownProgram { .. })));
}

fn earned(rows: &[(i64, &str)]) -> UnbudgetedReward {
    Case::new(per_unit("1")).rewarded().rate(&miles(rows)).rewards.remove(0)
}

fn settled(exhausted: Exhausted, left: i64, rewards: &[(&'static str, UnbudgetedReward)]) -> Vec<(&'static str, i64)> {
    let program = Program { exhausted, ..program(None) };
    let left = Some(Money::from_minor(left, usd()));
    let lines = settle_budget(&program, left, rewards.to_vec()).expect("settles");
    lines.iter().map(|(key, line)| (*key, line.amount.minor())).collect()
}

#[test]
fn the_bucket_in_which_a_budget_runs_out_is_shared_pro_rata_or_gets_nothing() {
    let rewards =
        [("AA", earned(&[(1, "10"), (2, "30"), (3, "99")])), ("UA", earned(&[(2, "60")])), ("DL", earned(&[(3, "1")]))];
    // 10 in hour 1; of hour 2's 90 there are 30 left; hour 3 gets nothing.
    assert_eq!(settled(Exhausted::Partial, 4_000, &rewards), [("AA", 2_000), ("DL", 0), ("UA", 2_000)]);
    assert_eq!(settled(Exhausted::Stop, 4_000, &rewards), [("AA", 1_000), ("DL", 0), ("UA", 0)]);
    assert_eq!(settled(Exhausted::Stop, 10_000, &rewards), [("AA", 4_000), ("DL", 0), ("UA", 6_000)]);
    assert_eq!(settled(Exhausted::Partial, 20_000, &rewards), [("AA", 13_900), ("DL", 100), ("UA", 6_000)]);
    assert_eq!(settled(Exhausted::Partial, 0, &rewards), [("AA", 0), ("DL", 0), ("UA", 0)]);
    assert_eq!(settled(Exhausted::Partial, -5, &rewards), [("AA", 0), ("DL", 0), ("UA", 0)]);
}

#[test]
fn a_shared_budget_is_given_to_the_last_cent_and_rounding_never_exceeds_it() {
    let thirds = [("AA", earned(&[(1, "5")])), ("DL", earned(&[(1, "5")])), ("UA", earned(&[(1, "5")]))];
    assert_eq!(settled(Exhausted::Partial, 1_000, &thirds), [("AA", 334), ("DL", 333), ("UA", 333)]);
    // 0.335 + 0.335 + 0.325 = 0.995 is within 1.00, but rounds to 1.01.
    let halves = [("AA", earned(&[(1, "0.335")])), ("DL", earned(&[(1, "0.335")])), ("UA", earned(&[(1, "0.325")]))];
    assert_eq!(settled(Exhausted::Stop, 100, &halves).iter().map(|(_, minor)| minor).sum::<i64>(), 100);
    assert_eq!(settled(Exhausted::Stop, 101, &halves), [("AA", 34), ("DL", 34), ("UA", 33)]);
}

#[test]
fn a_shortened_reward_says_so_and_one_in_another_currency_is_refused() {
    let rewards = vec![("AA", earned(&[(1, "100")]))];
    let left = |code| Some(Money::from_minor(3_333, Currency::from_code(code).expect("exists")));
    let lines = settle_budget(&program(None), left("USD"), rewards.clone()).expect("settles");
    assert_eq!(texts(&lines[0].1).last(), Some(&"the budget of On time 2013 ran out: 33.33 USD of 100.00 USD"));
    assert_eq!(lines[0].1.explanation.steps.last().map(|step| step.step), Some(StepKind::Budget));
    assert!(matches!(settle_budget(&program(None), left("EUR"), rewards), Err(RatingError::Money(_))));
}

#[test]
fn what_a_later_bucket_takes_back_does_not_compete_for_the_budget() {
    let mut volume = Case::new(per_unit("1")).rewarded();
    volume.component.model = match graduated(&[(Some("10"), "2", "0"), (None, "1", "0")]) {
        Model::Graduated(tiers) => Model::Volume(tiers),
        other => other,
    };
    // 20.00 after hour 1, but only 11.00 after hour 3.
    let reward = volume.rate(&miles(&[(1, "10"), (3, "1")])).rewards.remove(0);
    let rewards = [("AA", reward), ("UA", earned(&[(2, "5")]))];
    assert_eq!(settled(Exhausted::Stop, 1_600, &rewards), [("AA", 1_100), ("UA", 500)]);
}
