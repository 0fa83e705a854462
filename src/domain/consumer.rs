//! Consumers: who is charged, paid, or both.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::meter::Path;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::time::Instant;

/// The id is the platform's own: the subject of its events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumer {
    pub id: String,
    pub name: String,
    pub email: Option<String>,
    /// Every plan that the consumer subscribes to is in it.
    pub currency: Currency,
    /// The `[[tax]]` of the price book that the consumer is subject to.
    pub tax: Option<String>,
    pub tags: BTreeMap<String, String>,
    /// What it is not meant to spend more than, in a billing period of each of its subscriptions together.
    #[serde(default)]
    pub spend_cap: Option<Money>,
    /// Percentages of the cap at which somebody wants to know, rising.
    #[serde(default)]
    pub alerts: Vec<Decimal>,
    pub created_at: Instant,
    pub updated_at: Instant,
}

impl Consumer {
    /// What a program's condition on `consumer.…` looks at.
    pub fn field(&self, path: &Path) -> Option<String> {
        let parts: Vec<&str> = path.parts().iter().map(String::as_str).collect();
        match parts.as_slice() {
            ["consumer", "id"] => Some(self.id.clone()),
            ["consumer", "name"] => Some(self.name.clone()),
            ["consumer", "email"] => self.email.clone(),
            ["consumer", "currency"] => Some(self.currency.code().to_owned()),
            ["consumer", "tax"] => self.tax.clone(),
            // A tag's name may itself hold dots.
            ["consumer", "tags", tag @ ..] => self.tags.get(&tag.join(".")).cloned(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_find_tags_and_nothing_that_is_not_there() {
        let at = Instant::from_micros(0);
        let consumer = Consumer {
            id: "UA".to_owned(),
            name: "United".to_owned(),
            email: None,
            currency: Currency::from_code("USD").expect("USD exists"),
            tax: None,
            tags: BTreeMap::from([("tier".to_owned(), "gold".to_owned()), ("a.b".to_owned(), "c".to_owned())]),
            spend_cap: None,
            alerts: Vec::new(),
            created_at: at,
            updated_at: at,
        };
        let field = |path: &str| consumer.field(&Path::parse(path).expect("a path"));
        assert_eq!(field("consumer.tags.tier").as_deref(), Some("gold"));
        assert_eq!(field("consumer.tags.a.b").as_deref(), Some("c"));
        assert_eq!(field("consumer.id").as_deref(), Some("UA"));
        for missing in ["consumer.tags.x", "consumer.email", "consumer", "data.tier"] {
            assert_eq!(field(missing), None, "{missing}");
        }
    }
}
