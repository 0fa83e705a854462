//! Mistakes in the files of a price book: what is wrong, where, and what to do about it.

use std::cell::RefCell;
use std::fmt;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeStruct;

/// One thing that a person has to mend.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// How many characters of the line are meant, at least 1.
    pub width: usize,
    /// The key it is about; empty where a file or a table as a whole is meant.
    pub key: String,
    /// For programs; never changes its meaning.
    pub code: &'static str,
    pub message: String,
    pub fix: Option<String>,
}

/// The mistakes found so far. Shared by everything that reads, so that no reader has to carry them home.
#[derive(Debug, Default)]
pub struct Mistakes(RefCell<Vec<Mistake>>);

impl Mistakes {
    pub fn note(&self, mistake: Mistake) {
        self.0.borrow_mut().push(mistake);
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// All of them, in the order of the files, each once.
    pub fn into_sorted(self) -> Vec<Mistake> {
        let mut mistakes = self.0.into_inner();
        mistakes.sort();
        mistakes.dedup();
        mistakes
    }
}

/// The known name that was most likely meant, if any is near enough to be a slip of the pen.
pub fn nearest<'n>(meant: &str, known: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    let slips_max = meant.chars().count().div_ceil(3).max(2);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(meant, name), name))
        .filter(|(slips, name)| *slips <= slips_max && *slips < name.chars().count())
        .min()
        .map(|(_, name)| name)
}

/// `a, b or c`, each in backticks.
pub fn either<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// `plans/airline.toml:12: unknown key `metre` in a charge; did you mean `meter`?`
impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.message)?;
        match &self.fix {
            Some(fix) => write!(f, "; {fix}"),
            None => Ok(()),
        }
    }
}

/// As the `errors` of a problem: `{"at": "plans/a.toml:12", "code", "detail", "fix"}`.
impl Serialize for Mistake {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Mistake", 4)?;
        fields.serialize_field("at", &format!("{}:{}", self.file, self.line))?;
        fields.serialize_field("code", self.code)?;
        fields.serialize_field("detail", &self.message)?;
        fields.serialize_field("fix", &self.fix)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_finds_its_name_and_another_word_does_not() {
        let known = ["unit_amount", "meter", "model", "name"];
        assert_eq!(nearest("metre", known), Some("meter"));
        assert_eq!(nearest("unit_ammount", known), Some("unit_amount"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn a_mistake_reads_as_one_line_and_serialises_as_a_problem_has_it() {
        let mistake = Mistake {
            file: "plans/a.toml".to_owned(),
            line: 12,
            column: 1,
            width: 5,
            key: "metre".to_owned(),
            code: "unknown_key",
            message: "unknown key `metre` in a charge".to_owned(),
            fix: Some("did you mean `meter`?".to_owned()),
        };
        assert_eq!(mistake.to_string(), "plans/a.toml:12: unknown key `metre` in a charge; did you mean `meter`?");
        assert_eq!(
            serde_json::to_value(&mistake).expect("serialises"),
            serde_json::json!({
                "at": "plans/a.toml:12", "code": "unknown_key",
                "detail": "unknown key `metre` in a charge", "fix": "did you mean `meter`?",
            })
        );
    }
}
