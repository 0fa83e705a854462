//! Conditions on fields: the same for the events of a meter and for the consumers of a program.

use rust_decimal::Decimal;

use crate::domain::book::meter::Operand;
use crate::domain::book::meter::Operation;

/// The value of a field. Text that holds a decimal counts as that number where the other side is one too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field<'a> {
    Text(&'a str),
    Number(Decimal),
    Bool(bool),
}

/// Whether the condition holds. Of a missing field only `exists = false` and `ne` do.
pub fn holds(operation: &Operation, value: Option<Field<'_>>) -> bool {
    let Some(field) = value else {
        return matches!(operation, Operation::Exists(false) | Operation::Ne(_));
    };
    let number = |holds: fn(&Decimal, &Decimal) -> bool, bound| field.number().is_some_and(|n| holds(&n, bound));
    match operation {
        Operation::Eq(operand) => field.equals(operand),
        Operation::Ne(operand) => !field.equals(operand),
        Operation::In(operands) => operands.iter().any(|operand| field.equals(operand)),
        Operation::Gt(bound) => number(Decimal::gt, bound),
        Operation::Ge(bound) => number(Decimal::ge, bound),
        Operation::Lt(bound) => number(Decimal::lt, bound),
        Operation::Le(bound) => number(Decimal::le, bound),
        Operation::Exists(wanted) => *wanted,
        Operation::Prefix(prefix) => field.compare_text(|text| text.starts_with(prefix.as_str())),
    }
}

impl Field<'_> {
    fn number(self) -> Option<Decimal> {
        match self {
            Self::Number(number) => Some(number),
            Self::Text(text) => Decimal::from_str_exact(text).or_else(|_| Decimal::from_scientific(text)).ok(),
            Self::Bool(_) => None,
        }
    }

    fn compare_text(self, compare: impl FnOnce(&str) -> bool) -> bool {
        match self {
            Self::Text(text) => compare(text),
            Self::Number(number) => compare(&number.to_string()),
            Self::Bool(true) => compare("true"),
            Self::Bool(false) => compare("false"),
        }
    }

    fn equals(self, operand: &Operand) -> bool {
        // Only an operand that is a number makes it worth reading the field as one.
        match operand.number.and_then(|wanted| Some((wanted, self.number()?))) {
            Some((wanted, number)) => wanted == number,
            None => self.compare_text(|text| text == operand.text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eq(text: &str) -> Operation {
        Operation::Eq(Operand::new(text))
    }

    #[test]
    fn numbers_are_compared_as_numbers_and_everything_else_as_text() {
        assert!(holds(&eq("12"), Some(Field::Number(Decimal::new(1200, 2)))));
        assert!(holds(&eq("12.0"), Some(Field::Text("12"))));
        assert!(!holds(&eq("12"), Some(Field::Text("12 miles"))));
        assert!(holds(&eq("gold"), Some(Field::Text("gold"))) && !holds(&eq("gold"), Some(Field::Text("Gold"))));
        assert!(holds(&eq("true"), Some(Field::Bool(true))) && !holds(&eq("1"), Some(Field::Bool(true))));
        let either = Operation::In(vec![Operand::new("gold"), Operand::new("7")]);
        assert!(holds(&either, Some(Field::Number(Decimal::from(7)))) && !holds(&either, Some(Field::Text("tin"))));
    }

    #[test]
    fn bounds_hold_for_numbers_only() {
        let bound = Decimal::from(10);
        for (operation, at_bound, above) in [
            (Operation::Gt(bound), false, true),
            (Operation::Ge(bound), true, true),
            (Operation::Lt(bound), false, false),
            (Operation::Le(bound), true, false),
        ] {
            assert_eq!(holds(&operation, Some(Field::Text("10.0"))), at_bound, "{operation:?}");
            assert_eq!(holds(&operation, Some(Field::Number(Decimal::from(11)))), above, "{operation:?}");
            assert!(!holds(&operation, Some(Field::Text("many"))), "{operation:?}");
        }
    }

    #[test]
    fn a_prefix_is_of_the_text_as_it_was_written() {
        let prefix = Operation::Prefix("01".to_owned());
        assert!(holds(&prefix, Some(Field::Text("0123"))) && !holds(&prefix, Some(Field::Text("123"))));
    }

    #[test]
    fn of_a_missing_field_only_its_absence_and_its_difference_hold() {
        let operand = Operand::new("1");
        assert!(holds(&Operation::Exists(false), None) && !holds(&Operation::Exists(true), None));
        assert!(holds(&Operation::Exists(true), Some(Field::Text(""))));
        assert!(!holds(&Operation::Exists(false), Some(Field::Text(""))));
        assert!(holds(&Operation::Ne(operand.clone()), None) && !holds(&Operation::Eq(operand.clone()), None));
        assert!(!holds(&Operation::In(vec![operand]), None) && !holds(&Operation::Lt(Decimal::ONE), None));
        assert!(!holds(&Operation::Prefix(String::new()), None));
    }
}
