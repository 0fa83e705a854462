//! Manual journals on both engines: drafted whole, decided on once and by another key, and posted only then.

use jiff::civil::date;

use super::journal::ACCOUNTS;
use super::journal::JANUARY;
use super::journal::batch_row;
use super::journal::entry_row;
use super::journal::eur;
use super::journal::filled;
use super::journal::head;
use super::journal::post;
use super::journal::postings;
use super::journal::refuses;
use super::locks::finance;
use super::*;
use crate::domain::ids::JournalId;
use crate::domain::ids::KeyId;
use crate::domain::ledger::account::Account;
use crate::domain::ledger::account::Side;
use crate::domain::ledger::entry::Posting;
use crate::domain::ledger::manual::Decision;
use crate::domain::ledger::manual::JournalState;
use crate::domain::ledger::manual::ManualJournal;
use crate::domain::ledger::templates::manual::manual_journal;
use crate::domain::time::Instant;

fn id(name: &str) -> JournalId {
    JournalId::parse(&format!("mj_{name}")).expect("an id")
}

fn journal(name: &str, made_by: &KeyId) -> ManualJournal {
    let posting =
        |side, account| Posting { account: Account::parse(account).expect("an account"), side, amount: eur(5) };
    ManualJournal {
        id: id(name),
        effective_on: JANUARY,
        description: "Bank charges".to_owned(),
        postings: vec![posting(Side::Credit, "1000:EUR"), posting(Side::Debit, "5100:EUR")],
        reverses: None,
        made_by: made_by.clone(),
        made_at: Instant::from_micros(1),
        state: JournalState::Draft,
    }
}

fn by(key: &KeyId) -> Decision {
    Decision { by: key.clone(), at: Instant::from_micros(2_000_000) }
}

async fn add(db: &Db, journal: &ManualJournal) -> Result<()> {
    let mut tx = db.write().await?;
    tx.add_manual_journal(journal).await?;
    tx.commit().await
}

async fn decide(db: &Db, name: &str, state: &JournalState) -> Result<bool> {
    let mut tx = db.write().await?;
    let decided = tx.decide_manual_journal(&id(name), state).await?;
    tx.commit().await?;
    Ok(decided)
}

async fn a_journal_is_drafted_and_decided_on_once_by_another_key(db: Db) {
    let (maker, checker) = (finance(&db, 1).await, finance(&db, 2).await);
    for name in ["a", "b", "c"] {
        add(&db, &journal(name, &maker)).await.expect("is kept");
    }
    assert!(matches!(add(&db, &journal("a", &maker)).await, Err(Error::Taken | Error::Refused(_))));
    let own = decide(&db, "a", &JournalState::Posted(by(&maker))).await;
    assert!(matches!(own, Err(Error::Refused(_))), "the database refuses the maker: {own:?}");
    let rejected = JournalState::Rejected { decision: by(&checker), reason: "twice".to_owned() };
    assert!(decide(&db, "a", &JournalState::Posted(by(&checker))).await.expect("is decided"));
    assert!(decide(&db, "b", &rejected).await.expect("is decided"));
    for name in ["a", "b", "nothing"] {
        assert!(!decide(&db, name, &rejected).await.expect("reads"), "{name} is no draft");
    }
    let posted = ManualJournal { state: JournalState::Posted(by(&checker)), ..journal("a", &maker) };
    let turned_down = ManualJournal { state: rejected, ..journal("b", &maker) };
    let mut tx = db.read().await.expect("begins");
    let all = tx.manual_journals(None, None, 10).await.expect("reads");
    assert_eq!(all, [posted.clone(), turned_down.clone(), journal("c", &maker)]);
    assert_eq!(tx.manual_journals(Some("draft"), None, 10).await.expect("reads"), all[2..]);
    assert_eq!(tx.manual_journals(None, Some(&id("a")), 1).await.expect("reads"), [turned_down]);
    assert_eq!(tx.manual_journal(&id("a")).await.expect("reads"), Some(posted));
    assert_eq!(tx.manual_journal(&id("nothing")).await.expect("reads"), None);
}

async fn the_database_refuses_what_is_not_a_journal(db: Db) {
    let maker = finance(&db, 1).await;
    let with = |change: &dyn Fn(&mut ManualJournal)| {
        let mut changed = journal("a", &maker);
        change(&mut changed);
        changed
    };
    let floor =
        |account: &str| with(&|journal| journal.postings[0].account = Account::parse(account).expect("an account"));
    for refused in [
        with(&|journal| journal.postings[0].amount = eur(4)),
        with(&|journal| journal.reverses = Some(id("nothing"))),
        with(&|journal| journal.made_by = KeyId::new(Instant::from_micros(0), [9; 10])),
        floor("2010:UA:EUR"),
        floor("2100:UA:EUR"),
        floor("2110:UA:EUR"),
    ] {
        let added = add(&db, &refused).await;
        assert!(matches!(added, Err(Error::Refused(_))), "{refused:?}: {added:?}");
    }
    add(&db, &journal("a", &maker)).await.expect("is kept");
    let line = "insert into manual_journal_line (journal, line, account, currency, side, amount)";
    for (reason, statement) in [
        ("only appended", format!("{line} values ('mj_a', 3, '1000:EUR', 'EUR', 'debit', 1)")),
        ("foreign key", format!("{line} values ('mj_z', 1, '1000:EUR', 'EUR', 'debit', 1)")),
        ("check", format!("{line} values ('mj_z', 1, '1000:EUR', 'USD', 'debit', 1)")),
        ("only appended", "update manual_journal_line set amount = 6".to_owned()),
        ("only appended", "delete from manual_journal_line".to_owned()),
        ("only appended", "update manual_journal set description = 'x'".to_owned()),
        ("only appended", "delete from manual_journal".to_owned()),
        ("check", format!("update manual_journal set state = 'posted', decided_by = '{maker}', decided_at = 1")),
    ] {
        let said = refused(&db, &[&statement]).await.to_lowercase();
        assert!(said.contains(reason), "{statement}: {said}");
    }
}

async fn only_what_was_approved_is_posted(db: Db) {
    filled(&db).await;
    sent(&db, &[ACCOUNTS]).await.expect("are new");
    let (maker, checker) = (finance(&db, 1).await, finance(&db, 2).await);
    add(&db, &journal("a", &maker)).await.expect("is kept");
    let entry = manual_journal(&journal("a", &maker), None, by(&checker).at).expect("balances");
    let posted = post(&db, std::slice::from_ref(&entry)).await;
    assert!(matches!(posted, Err(Error::Refused(reason)) if reason.contains("not approved")), "a draft");
    let head = head(&db).await;
    for key in ["manual:mj_none", "mj_a", "raw"] {
        let rows = postings(5, &[("1000:EUR", "debit", 1), ("4000:miles:EUR", "credit", 1)]);
        let entry = entry_row(5, 3, key, "null").replace("invoice_finalized", "manual_journal");
        refuses(&db, "not approved", &[entry, rows, batch_row(3, 5, 5, &head)]).await;
    }
    assert!(decide(&db, "a", &JournalState::Posted(by(&checker))).await.expect("is decided"));
    post(&db, std::slice::from_ref(&entry)).await.expect("is approved");

    // It is taken back once, by its mirror.
    let mut reversal =
        ManualJournal { reverses: Some(id("a")), effective_on: date(2013, 2, 1), ..journal("r", &maker) };
    reversal.postings.iter_mut().for_each(|posting| posting.side = posting.side.opposite());
    add(&db, &reversal).await.expect("is kept");
    assert!(matches!(add(&db, &ManualJournal { id: id("s"), ..reversal.clone() }).await, Err(Error::Taken)));
    let of_a_draft = ManualJournal { id: id("s"), reverses: Some(id("r")), ..reversal.clone() };
    assert!(matches!(add(&db, &of_a_draft).await, Err(Error::Refused(_))), "only what was posted");
    assert!(decide(&db, "r", &JournalState::Posted(by(&checker))).await.expect("is decided"));
    let mirror = manual_journal(&reversal, Some(entry.id().clone()), by(&checker).at).expect("balances");
    post(&db, &[mirror]).await.expect("is approved");
    assert_eq!(db.read().await.expect("begins").verify_journal().await.expect("reads"), []);
}

both_engines!(
    a_journal_is_drafted_and_decided_on_once_by_another_key,
    the_database_refuses_what_is_not_a_journal,
    only_what_was_approved_is_posted,
);
