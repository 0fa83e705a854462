//! `[payouts]`: as it is written, and what is wrong with it.

use super::*;
use crate::domain::money::Currency;
use crate::domain::period::Interval;

fn with_payouts(text: &str) -> String {
    format!("{BOOK}\n[payouts]\n{text}")
}

#[test]
fn payouts_have_a_rhythm_a_threshold_and_an_account() {
    let text = with_payouts(
        "schedule = \"month\"\nthreshold = { EUR = \"25.00\", JPY = \"3000\" }\n\
         debtor = { name = \"Platform\", iban = \"NL91 ABNA 0417 1643 00\", bic = \"ABNANL2A\" }\nnet_invoices = true",
    );
    let payouts = parse(&with("book.toml", &text)).expect("is right").payouts;
    let threshold = |code| payouts.threshold(Currency::from_code(code).expect("a currency")).minor();
    assert_eq!(
        (payouts.schedule, threshold("EUR"), threshold("JPY"), threshold("USD")),
        (Some(Interval::Month), 2500, 3000, 0)
    );
    assert!(payouts.net_invoices);
    assert_eq!(payouts.debtor.map(|debtor| debtor.iban.to_string()).as_deref(), Some("NL91ABNA0417164300"));
    assert_eq!(parse(&files()).expect("is right").payouts, Default::default());
}

#[test]
fn mistakes_of_payouts_stand_on_their_lines() {
    for (wrong, words) in [
        ("schedule = \"monthly\"", "`schedule` cannot be \"monthly\""),
        ("threshold = { EURO = \"25.00\" }", "`EURO` is not a currency"),
        ("threshold = { JPY = \"0.5\" }", "JPY has 0 decimals"),
        ("debtor = { name = \"P\", iban = \"NL92ABNA0417164300\" }", "check digits"),
        ("net_invoices = \"yes\"", "true or false"),
        ("debtor = { name = \"P\" }", "this debtor has no `iban`"),
        ("debtor = { name = \"P\", iban = \"NL91ABNA0417164300\", bic = \"X\" }", "a BIC is"),
    ] {
        let mistakes = parse(&with("book.toml", &with_payouts(wrong))).expect_err(wrong);
        assert_eq!(mistakes.len(), 1, "{wrong}: {mistakes:?}");
        assert!(mistakes[0].message.contains(words) && mistakes[0].line == 7, "{wrong}: {:?}", mistakes[0]);
    }
}
