//! What a document looks like in its parts: texts, widths, pages. That readers accept the whole is tested on the server.

use jiff::civil::date;
use proptest::prelude::*;

use crate::billing::pdf::Around;
use crate::billing::pdf::bytes;
use crate::billing::pdf::canvas::Canvas;
use crate::billing::pdf::canvas::Color;
use crate::billing::pdf::canvas::Style;
use crate::billing::pdf::font::Font;
use crate::billing::pdf::font::Weight;
use crate::billing::pdf::invoice;
use crate::billing::pdf::layout;
use crate::billing::pdf::payout;
use crate::billing::pdf::sheet::Row;
use crate::billing::pdf::sheet::Sheet;
use crate::billing::pdf::sheet::Table;
use crate::billing::pdf::statement;
use crate::domain::book::Issuer;
use crate::domain::book::Tax;
use crate::domain::consumer::Consumer;
use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::credit_note;
use crate::domain::document::credit_note::CreditNote;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::invoice::Totals;
use crate::domain::document::invoice::tests::line;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::document::payout::PayoutState;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Means;
use crate::domain::document::settlement::Settlement;
use crate::domain::document::statement::Contents;
use crate::domain::document::statement::Statement;
use crate::domain::document::statement::StatementState;
use crate::domain::ids::CreditNoteId;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::PayoutId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

const BODY: Style = Style {
    weight: Weight::Regular,
    size: 10.0,
    leading: 14.0,
    tracking: 0.0,
    is_tabular: false,
    color: Color(0.0, 0.0, 0.0),
};

fn at(text: &str) -> Instant {
    Instant::parse(text).expect("a time")
}

fn january() -> Period {
    Period::new(at("2013-01-01T00:00:00Z"), at("2013-02-01T00:00:00Z")).expect("a period")
}

fn money(minor: i64, code: &str) -> Money {
    Money::from_minor(minor, Currency::from_code(code).expect("a currency"))
}

fn charge(minor: i64, code: &str) -> Line {
    Line {
        from: january().from(),
        to: january().to(),
        amount: money(minor, code),
        ..line("Requests", LineKind::Charge, 0)
    }
}

fn issuer() -> Issuer {
    Issuer { name: "Air".to_owned(), bank: vec!["IBAN NL91ABNA0417164300".to_owned()], ..Issuer::default() }
}

fn consumer(name: &str) -> Consumer {
    Consumer {
        id: "UA".to_owned(),
        name: name.to_owned(),
        email: Some("pay@united.example".to_owned()),
        currency: Currency::from_code("USD").expect("USD exists"),
        tax: None,
        tags: [].into(),
        spend_cap: None,
        alerts: Vec::new(),
        created_at: at("2013-01-01T00:00:00Z"),
        updated_at: at("2013-01-01T00:00:00Z"),
    }
}

fn invoice_of(lines: Vec<Line>, tax: Option<&Tax>) -> Invoice {
    let currency = lines.first().expect("a line").amount.currency();
    let totals = Totals::of(currency, lines, tax).expect("fits");
    Invoice {
        id: InvoiceId::parse("inv_1").expect("an id"),
        number: Number { prefix: "INV-".to_owned(), ordinal: 42 },
        consumer: "UA".to_owned(),
        subscription: SubscriptionId::parse("sub_1").expect("an id"),
        occasion: Occasion::Closing,
        period: january(),
        state: InvoiceState::Open,
        outstanding: totals.total,
        settlements: Vec::new(),
        due_on: Some(date(2013, 3, 3)),
        totals,
        book_version: "v1".to_owned(),
        issued_at: at("2013-02-01T09:00:00Z"),
    }
}

/// Does something with what stands around a document for this consumer.
fn around<T>(name: &str, then: impl FnOnce(Around<'_>) -> T) -> T {
    then(Around { issuer: &issuer(), consumer: &consumer(name), zone: &Zone::utc() })
}

fn sums(sheet: &Sheet) -> Vec<(&str, &str)> {
    sheet.sums.iter().map(|sum| (sum.label.as_str(), sum.amount.as_str())).collect()
}

#[test]
fn an_invoice_shows_amounts_with_the_decimals_of_its_currency() {
    let shown = |minor: i64, code: &str| {
        let invoice = invoice_of(vec![charge(minor, code), charge(-5, code)], None);
        let sheet = around("United", |around| invoice::composed(&invoice, around));
        let amounts = sheet.tables[0].rows.iter().map(|row| row.amount.clone()).collect::<Vec<_>>();
        (amounts.join(" "), format!("{} {} {}", sheet.figure.label, sheet.figure.amount, sheet.figure.currency))
    };
    let of = |amounts: &str, figure: &str| (amounts.to_owned(), figure.to_owned());
    assert_eq!(shown(123_456, "EUR"), of("1,234.56 −0.05", "Amount due 1,234.51 EUR"));
    assert_eq!(shown(123_456, "JPY"), of("123,456 −5", "Amount due 123,451 JPY"));
    assert_eq!(shown(123_456, "KWD"), of("123.456 −0.005", "Amount due 123.451 KWD"));
    assert_eq!(shown(-100, "EUR"), of("−1.00 −0.05", "In your favour 1.05 EUR"));
    assert_eq!(shown(5, "EUR"), of("0.05 −0.05", "Nothing is due 0.00 EUR"));
}

#[test]
fn an_invoice_adds_up_and_says_how_to_pay_what_is_due() {
    let tax = Tax { id: "nl".to_owned(), jurisdiction: "NL".to_owned(), rate: "21.0".parse().expect("a decimal") };
    let composed = |lines, tax| around("United", |around| invoice::composed(&invoice_of(lines, tax), around));
    let taxed = composed(vec![charge(10_000, "EUR")], Some(&tax));
    assert_eq!(sums(&taxed), [("Net", "100.00"), ("Tax, 21 % NL", "21.00"), ("Total in EUR", "121.00")]);
    assert_eq!(taxed.notes[0].lines, ["IBAN NL91ABNA0417164300", "Please name INV-000042 with your payment."]);
    let facts: Vec<&str> = taxed.facts.iter().map(|fact| fact.text.as_str()).collect();
    assert_eq!(facts, ["1 February 2013", "3 March 2013", "January 2013", "UA"]);
    assert_eq!(taxed.figure.remark, "by 3 March 2013");
    let untaxed = composed(vec![charge(-10_000, "EUR")], None);
    assert_eq!(sums(&untaxed), [("Total in EUR", "−100.00")]);
    assert!(untaxed.notes.is_empty(), "nothing is to be paid");
}

#[test]
fn an_invoice_shows_what_was_settled_and_what_is_still_due() {
    let settled = |cents: i64, state: InvoiceState| {
        let mut invoice = invoice_of(vec![charge(10_000, "EUR")], None);
        invoice.settlements = vec![Settlement {
            means: Means::Payment,
            amount: money(cents, "EUR"),
            source: None,
            reason: None,
            effective_on: date(2013, 2, 20),
            recorded_at: at("2013-02-20T09:00:00Z"),
            recorded_by: None,
        }];
        (invoice.outstanding, invoice.state) = (money(10_000 - cents, "EUR"), state);
        around("United", |around| invoice::composed(&invoice, around))
    };
    let partly = settled(4_000, InvoiceState::Open);
    let shown = [("Total in EUR", "100.00"), ("Payment, 20 February 2013", "−40.00"), ("Still due in EUR", "60.00")];
    assert_eq!(sums(&partly), shown);
    assert_eq!((partly.figure.label.as_str(), partly.figure.amount.as_str()), ("Amount due", "60.00"));
    let paid = settled(10_000, InvoiceState::Paid);
    assert_eq!((paid.figure.label.as_str(), paid.figure.amount.as_str()), ("Paid", "100.00"));
    assert!(paid.notes.is_empty(), "nothing is to be paid");
}

#[test]
fn a_credit_note_says_what_of_which_invoice_it_takes_back_and_where_the_money_went() {
    let tax = Tax { id: "nl".to_owned(), jurisdiction: "NL".to_owned(), rate: "21.0".parse().expect("a decimal") };
    let invoice = invoice_of(vec![charge(10_000, "EUR"), charge(20_000, "EUR")], Some(&tax));
    let wanted = credit_note::Wanted::Lines(vec![(2, Some(money(5_000, "EUR")))]);
    let amounts = credit_note::amounts(&invoice, &[], &wanted).expect("can be credited");
    let note = CreditNote {
        id: CreditNoteId::parse("cn_1").expect("an id"),
        number: Number { prefix: credit_note::PREFIX.to_owned(), ordinal: 3 },
        invoice: invoice.id.clone(),
        consumer: "UA".to_owned(),
        lines: amounts.lines,
        net: amounts.net,
        taxes: amounts.taxes,
        tax: amounts.tax,
        total: amounts.total,
        settled: money(4_000, "EUR"),
        credited: money(0, "EUR"),
        refunded: money(2_050, "EUR"),
        reason: "outage".to_owned(),
        effective_on: date(2013, 2, 20),
        recorded_at: at("2013-02-20T09:00:00Z"),
        recorded_by: "key_1".to_owned(),
    };
    let sheet = around("United", |around| super::credit_note::composed(&note, &invoice, around));
    assert_eq!(sums(&sheet), [("Net", "50.00"), ("Tax, 21 % NL", "10.50"), ("Total in EUR", "60.50")]);
    let facts: Vec<&str> = sheet.facts.iter().map(|fact| fact.text.as_str()).collect();
    assert_eq!(facts, ["20 February 2013", "INV-000042 of 1 February 2013", "January 2013", "UA"]);
    let [row] = &*sheet.tables[0].rows else { panic!("one line: {sheet:?}") };
    assert_eq!((row.details[0].as_str(), row.quantity.as_str(), row.amount.as_str()), ("line 2", "200.00", "50.00"));
    let went = ["40.00 EUR: taken off what invoice INV-000042 still owed", "20.50 EUR: sent back to you"];
    assert_eq!(
        (&sheet.notes[0].lines[..], &sheet.notes[1].lines[..]),
        (&went.map(str::to_owned)[..], &["outage".to_owned()][..])
    );
}

#[test]
fn a_line_says_why_but_for_what_its_columns_say_and_not_at_any_length() {
    let step =
        |step, text: &str| Step { step, text: text.to_owned(), before: 0.into(), after: 1.into(), tiers: Vec::new() };
    let mut priced = charge(100, "EUR");
    priced.explanation.steps = vec![
        step(StepKind::Usage, "requests: 10 counted"),
        step(StepKind::Price, "10 units at 0.1 EUR = 1.00 EUR"),
        step(StepKind::Discount, "less 10 %"),
        step(StepKind::Rounding, "rounded to 1.00 EUR"),
    ];
    priced.to = at("2013-01-16T00:00:00Z");
    let mut long = charge(100, "EUR");
    long.explanation.steps = vec![step(StepKind::Price, &"ä".repeat(10_000))];
    let sheet = around("United", |around| invoice::composed(&invoice_of(vec![priced, long], None), around));
    let rows = &sheet.tables[0].rows;
    assert_eq!(rows[0].reasons, "10 units at 0.1 EUR = 1.00 EUR; less 10 %");
    assert_eq!(rows[0].details, ["1 January to 15 January 2013"]);
    assert!(rows[1].reasons.chars().count() < 1000 && rows[1].reasons.ends_with('…'));
}

#[test]
fn a_payout_statement_says_until_when_what_is_held() {
    let held_until = at("2013-03-01T00:00:00Z");
    let payout = |passed_at| {
        let holds = vec![Hold { program: "punctuality".to_owned(), amount: money(450, "USD"), held_until, passed_at }];
        let payout = Payout {
            id: PayoutId::parse("po_1").expect("an id"),
            number: Number { prefix: "PAY-".to_owned(), ordinal: 7 },
            consumer: "UA".to_owned(),
            subscription: SubscriptionId::parse("sub_1").expect("an id"),
            period: january(),
            state: PayoutState::of(&holds),
            lines: vec![charge(450, "USD")],
            holds,
            total: money(450, "USD"),
            book_version: "v1".to_owned(),
            issued_at: at("2013-02-01T09:00:00Z"),
        };
        around("United", |around| payout::composed(&payout, around))
    };
    let held = payout(None);
    assert_eq!((held.figure.label.as_str(), held.figure.remark.as_str()), ("You earned", "held until 1 March 2013"));
    assert_eq!(held.notes[0].lines, ["4.50 USD of punctuality: held until 1 March 2013"]);
    let passed = payout(Some(at("2013-03-01T01:00:00Z")));
    assert_eq!(passed.figure.remark, "can be paid out");
    assert_eq!(passed.notes[0].lines, ["4.50 USD of punctuality: can be paid out since 1 March 2013"]);
}

#[test]
fn a_statement_counts_from_the_side_of_who_owes() {
    let statement = |charged: i64, rewarded: i64, state| {
        let contents = Contents {
            charges: vec![charge(charged, "USD")],
            taxes: vec![money(210, "USD")],
            rewards: vec![charge(rewarded, "USD")],
            documents: Vec::new(),
        };
        let currency = money(0, "USD").currency();
        let statement =
            Statement::of("UA", currency, (january(), Zone::utc()), state, contents, Vec::new()).expect("fits");
        around("United", |around| statement::composed(&statement, around))
    };
    let owed = statement(1000, 300, StatementState::Closed);
    assert_eq!(sums(&owed), [("Charges", "10.00"), ("Tax", "2.10"), ("Rewards", "−3.00"), ("You owe, USD", "9.10")]);
    let titles: Vec<_> = owed.tables.iter().map(|table| table.title.as_deref().unwrap_or_default()).collect();
    assert_eq!((titles, owed.notes.len()), (vec!["Charges", "Rewards"], 0));
    let earned = statement(1000, 3000, StatementState::Open);
    assert_eq!(
        sums(&earned),
        [("Charges", "−10.00"), ("Tax", "−2.10"), ("Rewards", "30.00"), ("We owe you, USD", "17.90")]
    );
    assert_eq!((earned.figure.label.as_str(), earned.notes.len()), ("We owe you so far", 1));
    let credited = statement(-1000, -3000, StatementState::Closed);
    assert_eq!(sums(&credited)[0], ("Charges", "−10.00"));
    assert_eq!(sums(&credited)[2], ("Rewards", "30.00"), "rewards that are taken back are owed");
}

#[test]
fn the_same_document_is_the_same_bytes() {
    let set = |name: &str| {
        around(name, |around| invoice::invoice(&invoice_of(vec![charge(100, "EUR")], None), around)).expect("is set")
    };
    let (one, again, other) = (set("United"), set("United"), set("Delta"));
    assert!(one.starts_with(b"%PDF-1.7") && one.ends_with(b"%%EOF"));
    assert!(one == again && one != other);
    assert!(one.len() < 40_000, "{} bytes: the typeface is cut to what is used", one.len());
}

#[test]
fn a_long_table_goes_on_over_pages_and_its_last_row_stays_with_the_sums() {
    let rows = |count: usize| {
        let row = Row { text: "Requests".to_owned(), amount: "1.00".to_owned(), ..Row::default() };
        let table = Table { rows: vec![row; count], ..Table::default() };
        layout::set(&Sheet { tables: vec![table], ..Sheet::default() }).expect("is set").pages.len()
    };
    assert_eq!([1, 15, 80, 800].map(rows), [1, 1, 4, 30]);
    let note = Sheet { footer: "foot ".repeat(100), ..Sheet::default() };
    assert_eq!(layout::set(&note).expect("is set").pages.len(), 1);
}

#[test]
fn figures_that_stand_above_each_other_have_one_width() {
    let canvas = Canvas::new().expect("a canvas");
    let width = |text: &str, is_tabular| canvas.width(text, Style { is_tabular, ..BODY });
    assert!(width("111", false) < width("888", false));
    let widths: Vec<f32> = (0..10).map(|figure| width(&figure.to_string().repeat(3), true)).collect();
    assert!(widths.iter().all(|width| (width - widths[0]).abs() < 0.01), "{widths:?}");
    assert!(width("AVAT", false) < "AVAT".chars().map(|letter| width(&letter.to_string(), false)).sum(), "kerning");
}

#[test]
fn names_of_other_scripts_are_letters_or_visible_boxes() {
    let font = Font::open(Weight::Regular).expect("a font");
    let missing = |text: &str| font.set(text, false).iter().filter(|glyph| glyph.is_missing).count();
    assert_eq!(missing("Łódź İstanbul Nguyễn Ærø «Дорога» Κοινωνικό ₴ € ¥ – “ ” …"), 0);
    assert_eq!(missing("Cafe\u{301} A\u{30a}"), 0, "letters that are put together of two");
    assert_eq!(missing("北京 Food"), 2);
    let shown: String = font.set("a\u{202e}b\u{200d}\nc\u{feff}", false).iter().map(|glyph| glyph.of).collect();
    assert_eq!(shown, "ab c", "marks that turn a text around are left out");
    let drawn = |glyph: char| font.set(&glyph.to_string(), false)[0].advance;
    assert!(drawn('京') > 0.0);
}

/// A pair of letters is drawn closer together only while both stand on one line.
#[test]
fn what_a_line_is_cut_after_is_as_wide_as_it_is_alone() {
    let canvas = Canvas::new().expect("a canvas");
    let (cut, most) = ("KVHmHтpBkTtOyZччhhTбф miEзWihN", 23.532_572);
    for line in canvas.wrapped(cut, BODY, most) {
        assert!(canvas.width(&line, BODY) <= most, "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Whatever a name is, no line is wider than its column, and together the lines say all of it.
    #[test]
    fn a_text_is_wrapped_whole(text in "\\PC{0,60}|[a-zA-Zа-я ]{0,200}", most in 20.0_f32..300.0) {
        let canvas = Canvas::new().expect("a canvas");
        let lines = canvas.wrapped(&text, BODY, most);
        for line in &lines {
            let is_one_letter = line.chars().count() == 1;
            prop_assert!(is_one_letter || canvas.width(line, BODY) <= most + 0.5, "{line}: {most}");
        }
        let letters = |text: &str| {
            let glyphs = canvas.fonts[0].set(text, false);
            glyphs.into_iter().map(|glyph| glyph.of).filter(|of| *of != ' ').collect::<String>()
        };
        prop_assert_eq!(letters(&lines.concat()), letters(&text));
    }

    /// Whatever a document says, it can be set.
    #[test]
    fn any_text_can_be_set(text in "\\PC{0,80}|.{0,200}", count in 0_usize..8) {
        let row = Row {
            text: text.clone(),
            details: vec![text.clone()],
            reasons: text.repeat(count),
            quantity: text.chars().take(30).collect(),
            amount: text.chars().take(30).collect(),
        };
        let table = Table { title: Some(text.clone()), columns: [text.clone(), text.clone(), text.clone()], rows: vec![row; 3] };
        let texts = vec![text.clone(); 3];
        let sheet = Sheet {
            title: text.clone(), name: text.clone(), issuer: texts.clone(), party: texts, footer: text.clone(),
            tables: vec![table], ..Sheet::default()
        };
        prop_assert!(bytes(&sheet).expect("is set").starts_with(b"%PDF"));
    }
}
