//! Whom documents are from.

use super::*;
use crate::domain::book::Issuer;

#[test]
fn documents_are_from_the_issuer_or_from_whom_the_book_is_named_after() {
    assert_eq!(parse(&files()).expect("is right").issuer, Issuer { name: "Air".to_owned(), ..Issuer::default() });
    let text = "[issuer]\nname = \"Air Ltd\"\naddress = [\"1 Road\", \"Town\"]\ntax_id = \"1\"\nfooter = \"Bye\"\n";
    let issuer = parse(&with("book.toml", &format!("{BOOK}{text}"))).expect("is right").issuer;
    assert_eq!(
        (issuer.name.as_str(), issuer.address.as_slice()),
        ("Air Ltd", ["1 Road".to_owned(), "Town".to_owned()].as_slice())
    );
    assert_eq!((issuer.tax_id.as_deref(), issuer.footer.as_deref()), (Some("1"), Some("Bye")));
    assert!(issuer.email.is_none() && issuer.bank.is_empty());
    let lines = ["\"line\""; 9].join(", ");
    let text = format!(
        "{BOOK}[issuer]\nbank = [{lines}] #! too_many_lines\nemail = \"\" #! empty_text\nphone = \"1\" #! unknown_key\n"
    );
    expect_marked("book.toml", &text);
}
