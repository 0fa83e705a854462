//! Every code that a problem can have, and what it means: the reading page shows them, and `type` leads there.

/// Never renamed: programs look at them.
pub const CODES: [(&str, &str); 109] = [
    (
        "account_has_a_floor",
        "What a party may be paid or may burn comes from documents alone: no manual journal is posted there.",
    ),
    (
        "anchor_day_is_fixed",
        "The periods of the plan begin on the calendar's own boundaries, or are of days or weeks: no billing day moves them.",
    ),
    (
        "archive_unreadable",
        "A file of the event archive is needed for this, and is missing or damaged. The detail names it.",
    ),
    ("body_cut_off", "The connection ended before the body did. Nothing of it was stored."),
    ("body_timeout", "The body paused for too long. Nothing of it was stored, and the connection is closed."),
    ("body_too_large", "The body is longer than this call takes. Send it in parts."),
    ("broken_encoding", "The body is not what `Content-Encoding` says, or a part of it is missing."),
    ("busy", "More is under way than the server has memory for. Nothing was stored; try again after `Retry-After`."),
    ("cannot_close", "A period cannot be closed because of what is named. Nothing of its group was kept."),
    (
        "cannot_credit",
        "Of a line no more is credited than it came to, and of an invoice no more than its total. The detail says what is left.",
    ),
    ("cannot_rate", "What is not closed yet cannot be priced because of what is named."),
    ("cannot_simulate", "The book cannot be tried on that time because of what is named."),
    (
        "changed_meanwhile",
        "Others change the same thing at the same time, again and again. Nothing was changed; try again.",
    ),
    ("closing_already", "Somebody else was closing at the same time. Closing again changes nothing that is closed."),
    ("currency_is_fixed", "A consumer with a subscription is billed in one currency for ever."),
    ("day_has_not_ended", "Books are closed through days that are over."),
    ("day_is_locked", "The books are closed through a later day: nothing is posted on this one."),
    (
        "destination_changed",
        "What is on file of a consumer is not where its payout was approved to go. Cancel it, and propose it again.",
    ),
    ("empty_name", "A name that stands on documents cannot be empty."),
    ("ends_before_it_starts", "An end is exclusive, and comes after the start."),
    ("exists_already", "Something with this id exists already."),
    ("forbidden", "The key's role does not allow this call."),
    ("from_elsewhere", "A page of another site tried to use the session of this browser."),
    ("idempotency_key_reused", "This idempotency key was used for another request. A new request needs a new key."),
    (
        "in_bank_file",
        "The bank may have this payout already, so it is not cancelled: it is sent, and fails if the bank does not take it.",
    ),
    ("internal", "The server met something that it did not expect. Its log says more."),
    ("invalid_address", "A part of the path is not percent-encoded UTF-8."),
    ("invalid_body", "The body is JSON, but not of the shape that this call takes."),
    ("invalid_endpoint", "An endpoint's URL or filters cannot be so. Each place says why, and what to do."),
    ("invalid_events", "At least one event cannot be taken; each is named. Nothing of the body was stored."),
    (
        "invalid_journal",
        "A manual journal needs a description, and postings that balance in each currency. Each fault is named.",
    ),
    ("invalid_json", "The body is not JSON. The place says where it ends to be."),
    ("invalid_parameter", "A query parameter cannot be read. The place names it."),
    ("invalid_time", "Neither a date nor an RFC 3339 time."),
    ("invoice_is_settled", "The invoice is paid, void or given up, or something of it is settled already."),
    ("journal_is_decided", "The journal was approved or rejected already, and stays as it is."),
    ("journal_is_not_posted", "Only a journal that was approved can be taken back."),
    ("journal_is_your_own", "Whoever drafts a journal does not decide on it."),
    ("needs_another_key", "Whoever proposes a payout does not approve it: that takes another key."),
    ("no_debtor", "The price book does not name the account that payouts are drawn on."),
    ("no_price_book", "No price book applies at that time."),
    (
        "no_webhook_key",
        "The server was started without a key for the secrets of endpoints, so it can make none and sign nothing.",
    ),
    ("not_acceptable", "The answer has none of the forms that `Accept` names."),
    ("not_after_the_last", "A price book takes effect after the one before it: published prices never change."),
    ("not_found", "There is no such thing."),
    ("not_on_the_hour", "Usage is kept by the hour, so prices and subscriptions begin and end on one."),
    ("not_yours", "A consumer's key sees this consumer only, whether another one exists or not."),
    (
        "nothing_to_export",
        "Every entry through that day is in a sealed batch of this kind already. Nothing was sealed.",
    ),
    ("nothing_to_send", "No approved payout waits for a bank file."),
    ("other_currency", "A consumer and its plans have one currency."),
    ("payout_blocked", "Something keeps the consumer from being paid out. Every reason is named."),
    (
        "payout_by_stripe",
        "Stripe carries this payout: its transfer is made or refused there, and nobody says so by hand.",
    ),
    (
        "payout_not_covered",
        "Something was taken back since the payout was proposed, so that less is available than it pays.",
    ),
    (
        "payout_not_ready",
        "The payout is not in the state for this step, or the statement is in no payout. The detail says how far it is.",
    ),
    ("period_is_closed", "What is closed of a subscription stays as it is; a change comes after it."),
    ("plan_goes", "A later price book has no such plan, and the subscription would still run on it then."),
    (
        "price_book_conflicts",
        "The price book changes what must stay: a published meter keeps its meaning, and a program its account.",
    ),
    ("price_book_has_mistakes", "The price book cannot be read. Every mistake is named with its file and line."),
    ("reason_is_missing", "Whoever opens days again that were locked, or turns a draft down, says why."),
    ("replaying_already", "One replay of history runs at a time."),
    ("simulating_already", "One simulation runs at a time. Try again when it is done."),
    ("stopping", "The server is stopping, and takes nothing new."),
    ("store_unavailable", "The store cannot be used right now. Nothing was kept; try again after `Retry-After`."),
    ("stripe_not_set_up", "This server has no key of Stripe: the operator sets TALLYSTICK_STRIPE_KEY."),
    ("stripe_refuses", "Stripe does not do it. The detail says why, in its words."),
    ("stripe_signature", "What was posted as an event of Stripe is not signed by it, or was signed long ago."),
    ("subscription_has_ended", "A change comes before the end of the subscription."),
    ("subscription_is_over", "The subscription has ended, and is closed to its end: nothing of it changes any more."),
    (
        "subscriptions_break",
        "The book would leave subscriptions that run without their plan, or in another currency. They are named.",
    ),
    ("taken_back_already", "A journal is taken back once."),
    ("too_many_events", "The body holds more events than one may. Send them in parts."),
    ("too_many_windows", "The meter has something to say in more windows of that time than one answer holds."),
    ("unauthorized", "There is no key with the call, or it is not valid, or it was revoked."),
    (
        "unclear_change",
        "A change of a subscription is a plan or a billing day with the time from which it applies, or an end.",
    ),
    ("unknown_account", "This is not the id of an account."),
    ("unknown_address", "Nothing has this address."),
    ("unknown_consumer", "Nobody has told about this consumer."),
    ("unknown_credit", "There is no such prepaid credit."),
    ("unknown_credit_note", "There is no such credit note."),
    ("unknown_currency", "Currencies are known by their ISO 4217 codes, in capitals."),
    ("unknown_endpoint", "There is no endpoint with this id, or it was removed."),
    ("unknown_event", "No event with this source and id is in the log."),
    ("unknown_event_type", "The catalog does not have this event type."),
    ("unknown_export", "There is no such export."),
    ("unknown_export_batch", "There is no such batch."),
    ("unknown_invoice", "There is no such invoice."),
    ("unknown_journal", "There is no such manual journal."),
    ("unknown_key", "There is no such key, or it is revoked already."),
    ("unknown_line", "The document does not have so many lines; they are counted from 1."),
    ("unknown_meter", "No published price book has this meter."),
    ("unknown_payment", "There is no such payment."),
    ("unknown_payout", "There is no such payout statement."),
    ("unknown_plan", "The price book of that time does not have this plan."),
    ("unknown_quarantined", "This event is not in quarantine, or not any more: it was taken or discarded."),
    (
        "unknown_replay",
        "No replay of this meter was asked for since the server started. What was replayed stays counted.",
    ),
    ("unknown_role", "A role is operator, finance, ingest, or consumer:ID."),
    ("unknown_source", "Credit is purchased or granted."),
    ("unknown_subscription", "There is no such subscription."),
    ("unknown_tax", "The price book does not have this tax."),
    ("unsupported_encoding", "Bodies may be compressed with gzip or zstd."),
    ("unsupported_media_type", "This call does not take bodies of this content type."),
    ("unusable_alert", "An alert is a percentage of the spend cap, above 0 and up to 1000, and stands there once."),
    ("unusable_amount", "An amount is above zero, and has no more decimals than its currency."),
    ("unusable_anchor_day", "A billing day is a day of the month, from 1 to 31."),
    ("unusable_id", "An id is at most 512 bytes long, and has no control characters."),
    (
        "unusable_payout_method",
        "A payout method is `manual`, `sepa` with a name and an IBAN whose check digits are right, in euros, or `stripe` with the id of an account.",
    ),
    ("unusable_quantity", "A quantity is a whole number from 0 to a billion."),
    ("unusable_text", "A text is empty that says why something was done, or one is longer than 1,000 bytes."),
    ("wrong_method", "This address takes other methods."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// What stands before a code in our sources: nothing but white space and commas lies between.
    const BEFORE: [&str; 3] = ["StatusCode::", "unprocessable(", "problem("];

    fn sources(folder: &Path, text: &mut String) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.is_dir() {
                true => sources(&path, text),
                false => text.push_str(&fs::read_to_string(&path).expect("text")),
            }
        }
    }

    /// The first text in quotes after `rest`, if it looks like a code; of `unprocessable` the second.
    fn code<'t>(before: &str, rest: &'t str) -> Option<&'t str> {
        let rest = rest.trim_start_matches(|c: char| c.is_ascii_uppercase() || c == '_');
        let mut quoted = rest.trim_start_matches(|c: char| c == ',' || c.is_whitespace()).strip_prefix('"')?.split('"');
        let first = quoted.next()?;
        let code = if before == "unprocessable(" { quoted.nth(1)? } else { first };
        (!code.is_empty() && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')).then_some(code)
    }

    #[test]
    fn every_code_that_is_answered_is_explained_and_every_other_is_not() {
        let mut text = String::new();
        sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http"), &mut text);
        let mut used: BTreeSet<&str> = BTreeSet::new();
        for before in BEFORE {
            used.extend(text.split(before).skip(1).filter_map(|rest| code(before, rest)));
        }
        // Chosen by a condition, so that they do not stand behind a status.
        used.extend([
            "invalid_body",
            "invalid_json",
            "unknown_credit",
            "unknown_credit_note",
            "unknown_endpoint",
            "unknown_invoice",
            "unknown_payment",
            "unknown_payout",
            "unusable_payout_method",
        ]);
        let explained: Vec<&str> = CODES.iter().map(|(code, _)| *code).collect();
        assert_eq!(explained, used.into_iter().collect::<Vec<_>>());
    }
}
