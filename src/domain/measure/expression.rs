//! Value expressions, computed.
//!
//! Arithmetic is decimal, to 28 digits; the result is rounded once, half away from zero, to the nine decimals that a
//! measured number keeps. There is a result for every input, or one of two faults of the event.

use rust_decimal::Decimal;
use rust_decimal::RoundingStrategy::MidpointAwayFromZero;
use thiserror::Error;

use crate::domain::book::expression::Expression;
use crate::domain::book::expression::Function;
use crate::domain::book::expression::Node;
use crate::domain::book::expression::Operator;
use crate::domain::measure::nano::NANO_DECIMALS;

/// Why an event's fields give no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ExpressionFault {
    #[error("it divides by zero")]
    DividedByZero,
    #[error("a number in it is larger than can be kept exactly")]
    TooLarge,
}

impl Expression {
    /// The number, from the fields in the order of [`Expression::paths`].
    pub fn eval(&self, fields: &[Decimal]) -> Result<Decimal, ExpressionFault> {
        let exact = eval(&self.root, fields)?;
        Ok(exact.round_dp_with_strategy(NANO_DECIMALS, MidpointAwayFromZero).normalize())
    }
}

fn eval(node: &Node, fields: &[Decimal]) -> Result<Decimal, ExpressionFault> {
    match node {
        Node::Number(number) => Ok(*number),
        // Every path has a field: that is the caller's side of the bargain.
        Node::Field(number) => fields.get(*number).copied().ok_or(ExpressionFault::TooLarge),
        Node::Negated(inner) => Decimal::ZERO.checked_sub(eval(inner, fields)?).ok_or(ExpressionFault::TooLarge),
        Node::Of(operator, left, right) => {
            let (left, right) = (eval(left, fields)?, eval(right, fields)?);
            let result = match operator {
                Operator::Add => left.checked_add(right),
                Operator::Subtract => left.checked_sub(right),
                Operator::Multiply => left.checked_mul(right),
                Operator::Divide if right.is_zero() => return Err(ExpressionFault::DividedByZero),
                Operator::Divide => left.checked_div(right),
            };
            result.ok_or(ExpressionFault::TooLarge)
        }
        Node::Call(function, arguments) => {
            let numbers = arguments.iter().map(|argument| eval(argument, fields)).collect::<Result<Vec<_>, _>>()?;
            let result = match (function, numbers.as_slice()) {
                (Function::Clamp, [number, low, high]) => Some((*number).min(*high).max(*low)),
                (Function::Min | Function::Clamp, numbers) => numbers.iter().copied().reduce(Decimal::min),
                (Function::Max, numbers) => numbers.iter().copied().reduce(Decimal::max),
            };
            result.ok_or(ExpressionFault::TooLarge)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn eval(text: &str, fields: &[&str]) -> Result<String, ExpressionFault> {
        let decimal = |text: &&str| Decimal::from_str_exact(text).expect("a decimal");
        let fields: Vec<Decimal> = fields.iter().map(decimal).collect();
        Expression::parse(text).expect("an expression").eval(&fields).map(|number| number.to_string())
    }

    #[test]
    fn numbers_are_computed_as_on_paper() {
        for (text, fields, result) in [
            ("data.amount * 0.029 + 0.30", &["100"][..], "3.2"),
            ("max(data.a - data.b, 0)", &["2", "5"], "0"),
            ("clamp(data.a, 1, 10)", &["11.5"], "10"),
            ("clamp(data.a, 10, 1)", &["5"], "10"),
            ("2 - 3 - data.a", &["4"], "-5"),
            ("12 / data.a / 2 * 3", &["2"], "9"),
            ("-data.a * -(1 + 2)", &["2"], "6"),
            ("min(data.a, data.b, 0.5)", &["0.7", "0.6"], "0.5"),
            ("data.a / 3", &["2"], "0.666666667"),
            ("data.a / 2", &["-0.000000001"], "-0.000000001"),
        ] {
            assert_eq!(eval(text, fields).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn what_has_no_number_is_a_fault() {
        assert_eq!(eval("1 / (data.a - data.a)", &["5"]), Err(ExpressionFault::DividedByZero));
        let large = "999999999999";
        assert_eq!(eval("data.a * data.a * data.a", &[large]), Err(ExpressionFault::TooLarge));
    }

    /// A number as an exact fraction of whole numbers, the denominator above zero.
    type Fraction = (i128, i128);

    /// The text of an expression, and what it comes to; nothing where it divides by zero.
    type Sample = (String, Option<Fraction>);

    fn fraction(numerator: i128, denominator: i128) -> Option<Fraction> {
        let sign = denominator.signum();
        (denominator != 0).then(|| {
            let (mut a, mut b) = (numerator.abs(), denominator.abs());
            while b != 0 {
                (a, b) = (b, a % b);
            }
            (sign * numerator / a.max(1), sign * denominator / a.max(1))
        })
    }

    fn both(a: &Sample, b: &Sample, result: impl Fn(Fraction, Fraction) -> Option<Fraction>) -> Option<Fraction> {
        a.1.zip(b.1).and_then(|(a, b)| result(a, b))
    }

    fn less(a: Fraction, b: Fraction) -> bool {
        a.0 * b.1 < b.0 * a.1
    }

    /// Fields `data.a` = 7, `data.b` = -3/2, `data.c` = 0.
    fn samples() -> impl Strategy<Value = Sample> {
        let leaf = prop_oneof![
            Just(("data.a".to_owned(), Some((7, 1)))),
            Just(("data.b".to_owned(), Some((-3, 2)))),
            Just(("data.c".to_owned(), Some((0, 1)))),
            (0_i128..200).prop_map(|tenths| (Decimal::new(tenths as i64, 1).to_string(), fraction(tenths, 10))),
        ];
        leaf.clone().prop_recursive(3, 16, 3, move |inner| {
            let (a, b, c) = (inner.clone(), inner.clone(), inner);
            prop_oneof![
                (a.clone(), b.clone()).prop_map(|(a, b)| {
                    let sum = both(&a, &b, |a, b| fraction(a.0 * b.1 + b.0 * a.1, a.1 * b.1));
                    (format!("({} + {})", a.0, b.0), sum)
                }),
                (a.clone(), b.clone()).prop_map(|(a, b)| {
                    let difference = both(&a, &b, |a, b| fraction(a.0 * b.1 - b.0 * a.1, a.1 * b.1));
                    (format!("({} - {})", a.0, b.0), difference)
                }),
                (a.clone(), b.clone()).prop_map(|(a, b)| {
                    let product = both(&a, &b, |a, b| fraction(a.0 * b.0, a.1 * b.1));
                    (format!("{} * {}", in_parentheses(&a.0), in_parentheses(&b.0)), product)
                }),
                // Divided by a leaf only: what was rounded is never a divisor, where it could decide about zero.
                (a.clone(), leaf.clone()).prop_map(|(a, b)| {
                    let quotient = both(&a, &b, |a, b| fraction(a.0 * b.1, a.1 * b.0));
                    (format!("{} / {}", in_parentheses(&a.0), b.0), quotient)
                }),
                a.clone().prop_map(|a| (format!("-{}", in_parentheses(&a.0)), a.1.map(|a| (-a.0, a.1)))),
                (a.clone(), b.clone()).prop_map(|(a, b)| {
                    let least = both(&a, &b, |a, b| Some(if less(a, b) { a } else { b }));
                    (format!("min({}, {})", a.0, b.0), least)
                }),
                (a, b, c).prop_map(|(a, b, c)| {
                    let inner = both(&a, &c, |a, c| Some(if less(c, a) { c } else { a }));
                    let clamped = both(&(String::new(), inner), &b, |a, b| Some(if less(a, b) { b } else { a }));
                    (format!("clamp({}, {}, {})", a.0, b.0, c.0), clamped)
                }),
            ]
        })
    }

    fn in_parentheses(text: &str) -> String {
        format!("({text})")
    }

    proptest! {
        /// An expression comes to what exact fractions come to, rounded half away from zero to nine decimals; where a
        /// division did not end, its 28th digit may decide about the last one.
        #[test]
        fn expressions_agree_with_exact_fractions((text, exact) in samples()) {
            let text = format!("{text} + data.a + data.b + data.c");
            let fields = [Decimal::from(7), Decimal::new(-15, 1), Decimal::ZERO];
            let expression = Expression::parse(&text).expect("an expression");
            let by_name = |path: &crate::domain::book::meter::Path| match path.to_string().as_str() {
                "data.a" => fields[0],
                "data.b" => fields[1],
                _ => fields[2],
            };
            let inputs: Vec<Decimal> = expression.paths().iter().map(by_name).collect();
            let got = expression.eval(&inputs);
            let Some((numerator, denominator)) = exact else {
                prop_assert_eq!(got, Err(ExpressionFault::DividedByZero));
                return Ok(());
            };
            // Plus 7 - 3/2 + 0, in billionths.
            let (numerator, denominator) = (1_000_000_000 * (2 * numerator + 11 * denominator), 2 * denominator);
            let (whole, rest) = (numerator / denominator, numerator % denominator);
            let away = if 2 * rest.abs() >= denominator { rest.signum() } else { 0 };
            let expected = Decimal::from_i128_with_scale(whole + away, 9);
            let off = (got.expect("has a number") - expected).abs();
            let allowed = if text.contains('/') { Decimal::new(1, 9) } else { Decimal::ZERO };
            prop_assert!(off <= allowed, "{} is {}, off by {}", text, expected, off);
        }
    }
}
