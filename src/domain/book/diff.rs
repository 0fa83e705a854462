//! What changes from one price book to the next, in words, and what may not change.

use std::fmt;

use rust_decimal::Decimal;

use crate::domain::book::Book;
use crate::domain::book::facts;
use crate::domain::book::facts::Facts;
use crate::domain::book::facts::Subject;
use crate::domain::book::program::Program;

/// One difference between two books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Added { subject: Subject, facts: Facts },
    Removed { subject: Subject },
    Changed { subject: Subject, difference: Difference },
}

/// A fact that differs; nothing where one of the two books does not say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    pub fact: String,
    pub before: Option<String>,
    pub after: Option<String>,
}

/// What a newer book must leave as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Conflict {
    /// A published meter would mean something else: usage measured before and after could not be told apart.
    Meter { id: String, differences: Vec<Difference> },
    /// A program is gone, or booked otherwise: what comes late for it could not be booked where the rest was.
    Program { id: String, differences: Vec<Difference> },
}

/// Every difference, thing by thing. A thing that comes or goes is one change, with all its parts.
pub fn changes(old: &Book, new: &Book) -> Vec<Change> {
    let (old, new) = (facts::of(old), facts::of(new));
    let mut changes = Vec::new();
    for (subject, before) in &old {
        match new.get(subject) {
            Some(after) => changes.extend(
                differences(before, after)
                    .into_iter()
                    .map(|difference| Change::Changed { subject: subject.clone(), difference }),
            ),
            None if new.contains_key(&subject.whole()) || subject.is_whole() => {
                changes.push(Change::Removed { subject: subject.clone() });
            }
            None => {}
        }
    }
    for (subject, facts) in &new {
        if !old.contains_key(subject) && (old.contains_key(&subject.whole()) || subject.is_whole()) {
            changes.push(Change::Added { subject: subject.clone(), facts: facts.clone() });
        }
    }
    changes.sort_by(|a, b| a.subject().cmp(b.subject()));
    changes
}

/// What the newer book has otherwise and must not: the meaning of a meter, and whether and how a program is booked.
pub fn conflicts(old: &Book, new: &Book) -> Vec<Conflict> {
    let both = old.meters.iter().filter_map(|(id, before)| Some((id, before, new.meters.get(id)?)));
    let meters = both.filter(|(_, before, after)| before != after).map(|(id, before, after)| Conflict::Meter {
        id: id.clone(),
        differences: differences(&facts::meter(before), &facts::meter(after)),
    });
    let programs = old.programs.values().filter_map(|before| {
        let booked = |program: &Program| (program.currency, program.accounting);
        let after = new.programs.get(&before.id);
        if after.is_some_and(|after| booked(after) == booked(before)) {
            return None;
        }
        let mut differences =
            after.map_or_else(Vec::new, |after| differences(&facts::program(before), &facts::program(after)));
        differences.retain(|difference| ["currency", "accounting"].contains(&&*difference.fact));
        Some(Conflict::Program { id: before.id.clone(), differences })
    });
    meters.chain(programs).collect()
}

fn differences(before: &Facts, after: &Facts) -> Vec<Difference> {
    let gone = before.0.iter().filter(|(fact, _)| after.get(fact).is_none()).map(|(fact, _)| fact);
    let names = after.0.iter().map(|(fact, _)| fact).chain(gone);
    names
        .map(|fact| Difference {
            fact: fact.clone(),
            before: before.get(fact).map(str::to_owned),
            after: after.get(fact).map(str::to_owned),
        })
        .filter(|difference| !is_same(difference.before.as_deref(), difference.after.as_deref()))
        .collect()
}

/// `0.10` says what `0.1` says.
fn is_same(before: Option<&str>, after: Option<&str>) -> bool {
    let number = |value: Option<&str>| value.and_then(|text| Decimal::from_str_exact(text).ok());
    before == after || number(before).zip(number(after)).is_some_and(|(before, after)| before == after)
}

impl Subject {
    fn is_whole(&self) -> bool {
        self.part.is_empty()
    }

    fn whole(&self) -> Self {
        Self { part: String::new(), ..self.clone() }
    }
}

impl Change {
    pub fn subject(&self) -> &Subject {
        match self {
            Self::Added { subject, .. } | Self::Removed { subject } | Self::Changed { subject, .. } => subject,
        }
    }
}

/// `plan api: component requests`
impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.thing)?;
        if self.is_whole() { Ok(()) } else { write!(f, ": {}", self.part) }
    }
}

/// `unit_amount 0.0020 → 0.0018`
impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".to_owned());
        write!(f, "{} {} → {}", self.fact, said(&self.before), said(&self.after))
    }
}

/// `plan api: component requests tier 2 unit_amount 0.0020 → 0.0018`
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Changed { subject, difference } if subject.is_whole() => write!(f, "{subject}: {difference}"),
            Self::Changed { subject, difference } => write!(f, "{subject} {difference}"),
            Self::Removed { subject } => write!(f, "{subject} is removed"),
            Self::Added { subject, facts } => {
                let facts: Vec<String> = facts.0.iter().map(|(name, value)| format!("{name} {value}")).collect();
                write!(f, "{subject} is new: {}", facts.join(", "))
            }
        }
    }
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words =
            |differences: &[Difference]| differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        match self {
            Self::Meter { id, differences } => write!(
                f,
                "meter {id} is published and cannot change its meaning ({}); give the new meter a new id, such as \
                 {id}-2, and let the components name it",
                words(differences)
            ),
            Self::Program { id, differences } if differences.is_empty() => write!(
                f,
                "program {id} is removed, and what comes late for it could not be booked; keep it: its `to` may be over"
            ),
            Self::Program { id, differences } => write!(
                f,
                "program {id} cannot be booked otherwise ({}); give the new program a new id, such as {id}-2, and let \
                 the components name it",
                words(differences)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::SourceFile;
    use crate::domain::book::parse;

    const METERS: &str = r#"
[[meter]]
id = "requests"
event_type = "api.request"
aggregation = "count"
"#;

    const PLAN: &str = r#"
[plan]
id = "api"

[[plan.component]]
id = "base"
kind = "fee"
amount = "10.00"

[[plan.component]]
id = "requests"
kind = "charge"
meter = "requests"
model = "graduated"
free_quantity = "100"
tiers = [ { up_to = "1000", unit_amount = "0.0030" }, { unit_amount = "0.0020" } ]
"#;

    fn book(meters: &str, plan: &str) -> Book {
        let file = |path: &str, text: &str| SourceFile { path: path.to_owned(), text: text.to_owned() };
        parse(&[
            file("book.toml", "name = \"A\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"),
            file("catalog/a.toml", "[[event_type]]\ntype = \"api.request\"\n"),
            file("meters/a.toml", meters),
            file("plans/a.toml", plan),
        ])
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"))
    }

    fn words(old: &Book, new: &Book) -> Vec<String> {
        changes(old, new).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_book_does_not_differ_from_itself() {
        let book = book(METERS, PLAN);
        assert!(changes(&book, &book).is_empty() && conflicts(&book, &book).is_empty());
        assert!(changes(&book, &self::book(METERS, &PLAN.replace("0.0020", "0.002"))).is_empty());
    }

    #[test]
    fn changed_prices_are_said_before_and_after() {
        let new = PLAN.replace("0.0020", "0.0018").replace("id = \"api\"", "id = \"api\"\nminimum = \"5.00\"");
        assert_eq!(
            words(&book(METERS, PLAN), &book(METERS, &new.replace("free_quantity = \"100\"\n", ""))),
            [
                "plan api: minimum none → 5.00",
                "plan api: component requests tier 2 unit_amount 0.0020 → 0.0018",
                "plan api: component requests free_quantity 100 → none",
            ]
        );
    }

    #[test]
    fn another_validation_is_said_before_and_after() {
        let with = |policy: &str| {
            let text = format!("[[event_type]]\ntype = \"a\"\n{policy}schema = {{ type = \"object\" }}\n");
            let files = [
                ("book.toml", "name = \"A\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n".to_owned()),
                ("catalog/a.toml", text),
            ];
            parse(&files.map(|(path, text)| SourceFile { path: path.to_owned(), text })).expect("is right")
        };
        assert_eq!(words(&with(""), &with("validation = \"enforce\"\n")), ["event type a: validation off → enforce"]);
    }

    #[test]
    fn what_comes_and_goes_is_said_once() {
        let free = PLAN.replace("id = \"api\"", "id = \"free\"");
        assert_eq!(
            words(&book(METERS, PLAN), &book(METERS, &free)),
            [
                "plan api is removed",
                "plan free is new: name free, currency EUR, interval month, anchor calendar, timezone UTC",
            ]
        );
        let without_fee = PLAN.replace("id = \"base\"", "id = \"seat\"");
        assert_eq!(
            words(&book(METERS, PLAN), &book(METERS, &without_fee)),
            [
                "plan api: component base is removed",
                "plan api: component seat is new: name seat, kind fee, amount 10.00, when arrears, prorate none",
            ]
        );
    }

    #[test]
    fn a_published_meter_cannot_change_its_meaning() {
        let new = METERS.replace("\"count\"", "\"sum\"\nvalue = \"data.bytes\"");
        let conflicts = conflicts(&book(METERS, PLAN), &book(&new, PLAN));
        assert_eq!(
            conflicts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["meter requests is published and cannot change its meaning (aggregation count → sum, value none → \
              data.bytes); give the new meter a new id, such as requests-2, and let the components name it"]
        );
    }

    #[test]
    fn a_program_stays_and_is_booked_as_it_was() {
        let programs = |text: &str| {
            let files =
                [("book.toml", "name = \"n\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n"), ("programs/a.toml", text)];
            parse(&files.map(|(path, text)| SourceFile { path: path.to_owned(), text: text.to_owned() }))
                .expect("is right")
        };
        let growth = "[[program]]\nid = \"growth\"\nfrom = \"2013-01-01\"\nto = \"2014-01-01\"\n";
        let refused = |after: &str| {
            conflicts(&programs(growth), &programs(after)).iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(refused(&format!("{growth}budget = \"5\"\n")), [""; 0]);
        assert_eq!(
            refused(&format!("{growth}accounting = \"expense\"\n")),
            [
                "program growth cannot be booked otherwise (accounting contra_revenue → expense); give the new program a new \
              id, such as growth-2, and let the components name it"
            ]
        );
        assert!(refused("").concat().contains("program growth is removed"));
    }
}
