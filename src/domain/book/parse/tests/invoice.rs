//! How invoices are numbered, when they are due, and when consumers are reminded.

use super::*;

const BOOK: &str = r#"
name = "Flights"
currency = "USD"
timezone = "America/New_York"
[invoice]
prefix = "F-"
due_after = "14d"
reminders = ["3d", "10d"]
"#;

#[test]
fn an_invoice_is_due_after_some_days_and_reminded_of_after_more() {
    let book = parse(&with("book.toml", BOOK)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!((&*book.invoice_prefix, book.due_days, book.reminders), ("F-", 14, vec![3, 10]));
    let plain = BOOK.split("[invoice]").next().expect("a beginning");
    let book = parse(&with("book.toml", plain)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    assert_eq!((&*book.invoice_prefix, book.due_days, book.reminders.len()), ("INV-", 30, 0));
}

#[test]
fn days_that_cannot_be_are_named() {
    for (instead, code) in [
        (r#"due_after = "2 weeks""#, "not_a_duration"),
        (r#"due_after = "367d""#, "not_a_duration"),
        (r#"reminders = ["10d", "3d"]"#, "reminders_out_of_order"),
        (r#"reminders = ["3d", "3d"]"#, "reminders_out_of_order"),
        (r#"reminders = ["soon"]"#, "not_a_duration"),
        (r#"reminders = "3d""#, "wrong_type"),
    ] {
        let text = BOOK.replace(r#"reminders = ["3d", "10d"]"#, "").replace(r#"due_after = "14d""#, instead);
        let mistakes = parse(&with("book.toml", &text)).expect_err(instead);
        assert_eq!(mistakes.iter().map(|mistake| mistake.code).collect::<Vec<_>>(), [code], "{instead}: {mistakes:?}");
    }
}
