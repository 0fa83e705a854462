//! What banks know accounts and each other by: IBAN and BIC, and the letters that a SEPA message may hold.

use std::fmt;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use thiserror::Error;

/// The shortest and the longest that any country has (ISO 13616).
const IBAN_CHARS: std::ops::RangeInclusive<usize> = 15..=34;

/// The number of an account, whose check digits are right. Without spaces, in capitals.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Iban(String);

/// The code of a bank, of 8 or 11 characters (ISO 9362).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Bic(String);

/// An account at a bank, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BankAccount {
    pub name: String,
    pub iban: Iban,
    #[serde(default)]
    pub bic: Option<Bic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotAnAccount {
    #[error("an IBAN is two letters, two digits, and 11 to 30 letters or digits")]
    NotAnIban,
    #[error("the check digits of the IBAN are wrong: at least one character is not as it should be")]
    CheckDigits,
    #[error("a BIC is four letters or digits of a bank, two letters of a country, and two or five letters or digits")]
    NotABic,
}

impl Iban {
    /// Reads an IBAN, with or without spaces, and checks it: the number that it stands for leaves 1 when divided by 97.
    pub fn parse(text: &str) -> Result<Self, NotAnAccount> {
        let iban: String = text.chars().filter(|c| *c != ' ').map(|c| c.to_ascii_uppercase()).collect();
        let plain = iban.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !plain || !IBAN_CHARS.contains(&iban.len()) {
            return Err(NotAnAccount::NotAnIban);
        }
        let (country, rest) = iban.split_at(2);
        let (digits, own) = rest.split_at(2);
        let is_of = |text: &str, test: fn(&u8) -> bool| text.as_bytes().iter().all(test);
        if !is_of(country, u8::is_ascii_uppercase) || !is_of(digits, u8::is_ascii_digit) {
            return Err(NotAnAccount::NotAnIban);
        }
        match remainder([own, country, digits]) {
            Some(1) => Ok(Self(iban)),
            _ => Err(NotAnAccount::CheckDigits),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// All but its ends, for those who need not know it: `DE89…3000`.
    pub fn shortened(&self) -> String {
        let end = self.0.len().saturating_sub(4);
        format!("{}…{}", self.0.get(..4).unwrap_or_default(), self.0.get(end..).unwrap_or_default())
    }
}

/// Of the digits, with letters as numbers from 10 to 35, divided by 97.
fn remainder(parts: [&str; 3]) -> Option<u32> {
    let digits = parts.into_iter().flat_map(str::chars).map(|c| c.to_digit(36));
    digits.into_iter().try_fold(0_u32, |rest, digit| {
        let digit = digit?;
        let shift = if digit < 10 { 10 } else { 100 };
        rest.checked_mul(shift)?.checked_add(digit)?.checked_rem(97)
    })
}

impl Bic {
    pub fn parse(text: &str) -> Result<Self, NotAnAccount> {
        let bic = text.trim().to_ascii_uppercase();
        let plain = bic.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let country = bic.get(4..6).is_some_and(|country| country.bytes().all(|byte| byte.is_ascii_uppercase()));
        if plain && country && matches!(bic.len(), 8 | 11) { Ok(Self(bic)) } else { Err(NotAnAccount::NotABic) }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Iban {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Bic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

impl fmt::Display for Iban {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text in the letters that every SEPA bank takes (EPC217-08), at most `chars` of them. Accents are dropped, and what
/// has no likeness becomes a point.
pub fn plain_letters(text: &str, chars: usize) -> String {
    let letters = text.trim().chars().flat_map(|c| match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '/' | '-' | '?' | ':' | '(' | ')' | '.' | ',' | '\'' | '+' | ' ' => vec![c],
        'à'..='å' | 'ā' | 'ă' | 'ą' => vec!['a'],
        'À'..='Å' | 'Ā' | 'Ă' | 'Ą' => vec!['A'],
        'è'..='ë' | 'ē' | 'ę' | 'ě' => vec!['e'],
        'È'..='Ë' | 'Ē' | 'Ę' | 'Ě' => vec!['E'],
        'ì'..='ï' | 'ī' | 'ı' => vec!['i'],
        'Ì'..='Ï' | 'Ī' | 'İ' => vec!['I'],
        'ò'..='ö' | 'ø' | 'ō' | 'ő' => vec!['o'],
        'Ò'..='Ö' | 'Ø' | 'Ō' | 'Ő' => vec!['O'],
        'ù'..='ü' | 'ū' | 'ů' | 'ű' => vec!['u'],
        'Ù'..='Ü' | 'Ū' | 'Ů' | 'Ű' => vec!['U'],
        'ç' | 'ć' | 'č' => vec!['c'],
        'Ç' | 'Ć' | 'Č' => vec!['C'],
        'ñ' | 'ń' | 'ň' => vec!['n'],
        'Ñ' | 'Ń' | 'Ň' => vec!['N'],
        'ś' | 'š' | 'ş' | 'ș' => vec!['s'],
        'Ś' | 'Š' | 'Ş' | 'Ș' => vec!['S'],
        'ź' | 'ż' | 'ž' => vec!['z'],
        'Ź' | 'Ż' | 'Ž' => vec!['Z'],
        'ý' | 'ÿ' => vec!['y'],
        'ł' => vec!['l'],
        'Ł' => vec!['L'],
        'ř' => vec!['r'],
        'ß' => vec!['s', 's'],
        'æ' => vec!['a', 'e'],
        'Æ' => vec!['A', 'E'],
        '&' => vec!['+'],
        '_' => vec!['-'],
        _ => vec!['.'],
    });
    letters.take(chars).collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_iban_is_right_to_the_last_digit() {
        for good in
            ["NL91ABNA0417164300", "de89 3704 0044 0532 0130 00", "NO9386011117947", "MT84MALT011000012345MTLCAST001S"]
        {
            let iban = Iban::parse(good).unwrap_or_else(|why| panic!("{good}: {why}"));
            assert_eq!(iban.as_str(), good.replace(' ', "").to_uppercase());
        }
        for wrong in ["DE88370400440532013000", "DE89370400440532013001", "NL19ABNA0417164300"] {
            assert_eq!(Iban::parse(wrong), Err(NotAnAccount::CheckDigits), "{wrong}");
        }
        for none in ["", "DE89", "89DE370400440532013000", "DEXX370400440532013000", "DE89-3704-0044-0532-0130-00", "é"]
        {
            assert_eq!(Iban::parse(none), Err(NotAnAccount::NotAnIban), "{none}");
        }
        assert_eq!(Iban::parse("NL91ABNA0417164300").map(|iban| iban.shortened()).as_deref(), Ok("NL91…4300"));
    }

    #[test]
    fn a_bic_has_its_country_in_the_middle() {
        for good in ["ABNANL2A", "deutdeff500"] {
            assert!(Bic::parse(good).is_ok(), "{good}");
        }
        for wrong in ["", "ABNANL2", "ABNA122A", "ABNANL2A5", "ABNANL2A50é"] {
            assert_eq!(Bic::parse(wrong), Err(NotAnAccount::NotABic), "{wrong}");
        }
    }

    #[test]
    fn names_are_written_in_letters_that_banks_take() {
        assert_eq!(plain_letters("Jürgen Größe & Søn_1 <日本>", 70), "Jurgen Grosse + Son-1 ....");
        assert_eq!(plain_letters("abcdef", 3), "abc");
    }

    proptest! {
        /// No single character can be changed, and no two neighbours swapped, without it being seen.
        #[test]
        fn one_slip_is_always_seen(at in 4_usize..22, to in "[0-9]") {
            let good = "DE89370400440532013000";
            let mut changed = good.to_owned();
            changed.replace_range(at..at + 1, &to);
            prop_assert_eq!(Iban::parse(&changed).is_ok(), changed == good);
            if at + 1 < good.len() {
                let mut swapped = good.as_bytes().to_vec();
                swapped.swap(at, at + 1);
                let swapped = String::from_utf8(swapped).expect("ASCII");
                prop_assert_eq!(Iban::parse(&swapped).is_ok(), swapped == good);
            }
        }
    }
}
