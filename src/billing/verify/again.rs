//! Repeats every closing in order, and compares its documents with those that were recorded.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use crate::billing::close::CloseError;
use crate::billing::close::tax_of;
use crate::billing::schedule::period_under;
use crate::billing::verify::Difference;
use crate::billing::verify::Progress;
use crate::billing::verify::Verified;
use crate::billing::verify::VerifyError;
use crate::billing::verify::from_log;
use crate::billing::verify::history::Corrected;
use crate::billing::verify::history::History;
use crate::domain::book::Tax;
use crate::domain::book::version::BookVersion;
use crate::domain::document::Occasion;
use crate::domain::document::closing::Documents;
use crate::domain::document::closing::Due;
use crate::domain::document::closing::documents;
use crate::domain::document::closing::reaching_back;
use crate::domain::document::invoice;
use crate::domain::document::invoice::Invoice;
use crate::domain::document::payout;
use crate::domain::document::payout::Hold;
use crate::domain::document::payout::Payout;
use crate::domain::document::share::Share;
use crate::domain::document::share::Sharing;
use crate::domain::document::share::Terms;
use crate::domain::ids::SubscriptionId;
use crate::domain::measure::delta::Delta;
use crate::domain::measure::delta::Key;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::Usage;
use crate::domain::subscription::BillingPeriod;
use crate::domain::subscription::Subscription;
use crate::domain::time::Instant;
use crate::metering::versions::Versions;
use crate::store::Db;
use crate::store::Read;
use crate::store::Tx;
use crate::store::closings::ClosedPeriod;
use crate::store::closings::Closing;
use crate::store::documents::Wanted;
use crate::store::shares::Which;

/// What the closings so far came to.
#[derive(Default)]
struct Tally {
    /// What programs have granted.
    granted: BTreeMap<String, i64>,
    /// How far each subscription is closed.
    closed_through: BTreeMap<SubscriptionId, Instant>,
    /// Up to when its fees in advance were charged.
    advance_through: BTreeMap<SubscriptionId, Option<Instant>>,
    /// What was closed so far.
    history: History,
    /// What producers earned that is on no statement yet.
    waiting: Vec<Share>,
    /// The last number of each series.
    numbers: BTreeMap<String, i64>,
}

/// A closed period with what its rating depends on.
pub(super) struct Member {
    pub closed: ClosedPeriod,
    pub subscription: Arc<Subscription>,
    pub version: Arc<BookVersion>,
    tax: Option<Tax>,
    pub period: BillingPeriod,
    advance_through: Option<Instant>,
    next: Option<(BillingPeriod, Arc<BookVersion>)>,
    pub usage: BTreeMap<String, Vec<Usage>>,
    /// What corrects earlier periods of the same subscription.
    pub adjustments: Vec<Line>,
}

impl Member {
    /// An opening is due when its closing was: where its fees begin, or where its period does if it was made before trials
    /// were waited for.
    fn due(&self, closing: &Closing) -> Due<'_> {
        Due {
            subscription: &self.subscription,
            consumer: &self.closed.consumer,
            tax: self.tax.as_ref(),
            occasion: self.closed.occasion,
            at: match self.closed.occasion {
                Occasion::Opening => closing.due_at,
                Occasion::Closing => self.period.covered.to(),
            },
            period: self.period,
            version: &self.version,
            advance_through: self.advance_through,
            next: self.next.as_ref().map(|(period, version)| (*period, &**version)),
            adjustments: &self.adjustments,
            usage: &self.usage,
        }
    }
}

pub(super) async fn repeat(
    db: &Db,
    tx: &mut Tx<Read>,
    versions: &Versions,
    (mut of, mut usage): ((i64, i64), BTreeMap<Key, Delta>),
    verified: &mut Verified,
    progress: &mut impl FnMut(Progress),
) -> Result<(), VerifyError> {
    let subscriptions = tx.subscriptions(None, None, i64::MAX).await?;
    let subscriptions: BTreeMap<_, _> =
        subscriptions.into_iter().map(|known| (known.id.clone(), Arc::new(known))).collect();
    let mut tally = Tally::default();
    let closings = tx.closings().await?;
    verified.closings = closings.len();
    for (index, closing) in closings.iter().enumerate() {
        progress(Progress::Closings { closings: index, closings_total: closings.len() });
        let saw = (closing.usage_seq, closing.replayed);
        if saw != of {
            // What this closing saw. Closings made together saw the same, so this is rarely repeated.
            let Some(seen) = from_log(db, versions, saw, &mut verified.differences, progress).await? else {
                return Ok(());
            };
            (of, usage) = (saw, seen);
        }
        let closed = tx.closed_periods(closing.seq).await?;
        let invoices = tx.invoices(Wanted::Closing(closing.seq)).await?;
        let payouts = tx.payouts(Wanted::Closing(closing.seq)).await?;
        verified.documents += invoices.len() + payouts.len();
        tally.check_numbers(&invoices, &payouts, &mut verified.differences);
        let members = members(closed, &subscriptions, versions, &usage, &mut tally.advance_through);
        let terms = Terms::new(tx.sharers(closing.seq).await?);
        let recorded = Recorded { invoices, payouts, shares: tx.shares(Which::Earned(closing.seq)).await? };
        let repeated = members.and_then(|members| tally.close_again(closing, members, &usage, terms, recorded));
        let differences = match repeated {
            Ok(differences) => differences,
            Err(why) => vec![Difference::NotRepeatable { closing: closing.seq, why: why.to_string() }],
        };
        verified.differences.extend(differences);
    }
    verified.differences.extend(tally.check_subscriptions(closings.len(), &subscriptions));
    Ok(())
}

fn members(
    closed: Vec<ClosedPeriod>,
    subscriptions: &BTreeMap<SubscriptionId, Arc<Subscription>>,
    versions: &Versions,
    usage: &BTreeMap<Key, Delta>,
    advance_through: &mut BTreeMap<SubscriptionId, Option<Instant>>,
) -> Result<Vec<Member>, CloseError> {
    let mut members = Vec::with_capacity(closed.len());
    for closed in closed {
        let from = closed.period.from();
        let lost = |at| CloseError::NoBook { subscription: closed.subscription.clone(), at };
        let subscription = subscriptions.get(&closed.subscription).ok_or_else(|| lost(from))?.clone();
        let version = versions.by_id(&closed.book_version).ok_or_else(|| lost(from))?.clone();
        let over = subscription.is_over_at(from);
        let mut period = match over {
            true => BillingPeriod { covered: closed.period, whole: closed.period },
            false => period_under(&subscription, from, &version)?.ok_or_else(|| lost(from))?,
        };
        if closed.occasion == Occasion::Opening {
            // As it was known then; it may have ended sooner since.
            period.covered = closed.period;
        }
        let to = period.covered.to();
        let next = match &closed.next_book_version {
            Some(id) => {
                let version = versions.by_id(id).ok_or_else(|| lost(to))?.clone();
                let mut next = period_under(&subscription, to, &version)?.ok_or_else(|| lost(to))?;
                let known_end = closed.next_period_to.unwrap_or(next.covered.to());
                next.covered = Period::new(to, known_end)?;
                Some((next, version))
            }
            None => None,
        };
        let charged_through = match closed.occasion {
            Occasion::Opening => Some(to),
            Occasion::Closing => next.as_ref().map(|(next, _)| next.covered.to()),
        };
        let advance_through = advance_through.insert(closed.subscription.clone(), charged_through).flatten();
        let usage = match closed.occasion {
            Occasion::Opening => BTreeMap::new(),
            Occasion::Closing if over => BTreeMap::new(),
            Occasion::Closing => {
                let since = reaching_back(&subscription, from, &version)?;
                usage_of(usage, &version, (&subscription.consumer, period.covered), &since)
            }
        };
        let adjustments = Vec::new();
        let tax = tax_of(versions, &closed.consumer, &version)?.cloned();
        members.push(Member { closed, subscription, version, tax, period, advance_through, next, usage, adjustments });
    }
    Ok(members)
}

/// The same as [`crate::billing::usage`], from usage in memory.
pub(super) fn usage_of(
    usage: &BTreeMap<Key, Delta>,
    version: &BookVersion,
    (party, period): (&str, Period),
    since: &BTreeMap<&str, Instant>,
) -> BTreeMap<String, Vec<Usage>> {
    let at = |meter: &str, bucket| {
        let (meter, party, dimensions, item) = (meter.into(), party.into(), "".into(), "".into());
        Key { meter, party, bucket, dimensions, item }
    };
    let mut of_meters = BTreeMap::new();
    for id in version.book.meters.keys() {
        let from = since.get(id.as_str()).copied().unwrap_or(period.from()).min(period.from());
        let range = (Bound::Included(at(id, from)), Bound::Excluded(at(id, period.to())));
        let rows: Vec<Usage> = usage.range(range).map(|(key, delta)| Usage::of(key, *delta)).collect();
        if !rows.is_empty() {
            of_meters.insert(id.clone(), rows);
        }
    }
    of_meters
}

impl Tally {
    /// Rates a closing once more, and says how that differs from what was recorded.
    fn close_again(
        &mut self,
        closing: &Closing,
        mut members: Vec<Member>,
        usage: &BTreeMap<Key, Delta>,
        terms: Terms,
        recorded: Recorded,
    ) -> Result<Vec<Difference>, CloseError> {
        let Corrected { granted, shares } = self.history.adjust(&mut members, usage, &self.granted, &terms)?;
        let sharing = Sharing { terms, corrected: shares, waiting: std::mem::take(&mut self.waiting) };
        let due: Vec<Due<'_>> = members.iter().map(|member| member.due(closing)).collect();
        let mut differences: Vec<Difference> =
            members.iter().flat_map(|member| self.check_period(closing, member)).collect();
        let Recorded { invoices, payouts, shares } = recorded;
        let made = documents(&due, &granted, &sharing)?;
        differences.extend(share_differences(closing.seq, &shares, &made.shares));
        self.history.add_shares(&made.shares);
        let closed = members.iter().filter(|member| member.closed.occasion == Occasion::Closing);
        let paid: BTreeSet<&SubscriptionId> = closed.map(|member| &member.subscription.id).collect();
        self.waiting =
            sharing.waiting.into_iter().chain(made.shares).filter(|share| !paid.contains(&share.to)).collect();
        let mut found = Found::new(invoices, payouts);
        for (member, made) in members.iter().zip(made.documents) {
            self.history.add(closing.seq, member, &made);
            self.grant(&made)?;
            found.compare(closing, member, made, &mut differences);
        }
        differences.extend(found.left());
        Ok(differences)
    }

    fn grant(&mut self, made: &Documents) -> Result<(), CloseError> {
        for line in made.payout.iter().flat_map(|payout| &payout.lines) {
            let granted = self.granted.entry(line.program.clone().unwrap_or_default()).or_default();
            *granted = granted.checked_add(line.amount.minor()).ok_or(MoneyError::Overflow)?;
        }
        Ok(())
    }

    /// The period follows the one before it, and ends where the calendar says.
    fn check_period(&mut self, closing: &Closing, member: &Member) -> Vec<Difference> {
        let Member { closed, subscription, period, .. } = member;
        let difference = |what, stored: String, recomputed: String| {
            (stored != recomputed).then(|| Difference::Period {
                closing: closing.seq,
                subscription: subscription.id.clone(),
                what,
                stored,
                recomputed,
            })
        };
        let mut differences =
            vec![difference("the end of the period", closed.period.to().to_string(), period.covered.to().to_string())];
        if closed.occasion == Occasion::Closing && !subscription.is_over_at(period.covered.from()) {
            let before = self.closed_through.insert(subscription.id.clone(), closed.period.to());
            let follows = before.unwrap_or(subscription.starts_at).to_string();
            differences.push(difference("the start of the period", closed.period.from().to_string(), follows));
        }
        differences.into_iter().flatten().collect()
    }

    fn check_subscriptions(
        &self,
        closings: usize,
        subscriptions: &BTreeMap<SubscriptionId, Arc<Subscription>>,
    ) -> Vec<Difference> {
        let closing = i64::try_from(closings).unwrap_or(i64::MAX);
        let differs = |subscription: &&Arc<Subscription>| {
            let through = self.closed_through.get(&subscription.id).copied().unwrap_or(subscription.starts_at);
            subscription.closed_through != through
        };
        let difference = |subscription: &Arc<Subscription>| Difference::Period {
            closing,
            subscription: subscription.id.clone(),
            what: "the time that it is closed through",
            stored: subscription.closed_through.to_string(),
            recomputed: self.closed_through.get(&subscription.id).unwrap_or(&subscription.starts_at).to_string(),
        };
        subscriptions.values().filter(differs).map(difference).collect()
    }

    fn check_numbers(&mut self, invoices: &[Invoice], payouts: &[Payout], differences: &mut Vec<Difference>) {
        let invoices = invoices.iter().map(|invoice| ("invoice", &invoice.number));
        for (kind, number) in invoices.chain(payouts.iter().map(|payout| ("payout", &payout.number))) {
            let last = self.numbers.entry(format!("{kind} {}", number.prefix)).or_default();
            *last += 1;
            if number.ordinal != *last {
                differences.push(Difference::Document {
                    document: format!("{kind} {number}"),
                    what: "the count in its number".to_owned(),
                    stored: number.ordinal.to_string(),
                    recomputed: last.to_string(),
                });
                *last = number.ordinal;
            }
        }
    }
}

/// What a closing came to, as it was recorded.
struct Recorded {
    invoices: Vec<Invoice>,
    payouts: Vec<Payout>,
    shares: Vec<Share>,
}

/// What producers earned in a closing, as it was recorded and as it comes out now.
fn share_differences(closing: i64, stored: &[Share], made: &[Share]) -> Vec<Difference> {
    let of = |share: &Share| {
        let Share { charged, period, charge, to, component, .. } = share;
        format!("{to}.{component} of {charge} of {charged} from {}", period.from())
    };
    let what = |share: &Share| {
        format!("{} % of {} = {} by {}", share.rate.normalize(), share.base, share.amount, share.program)
    };
    let texts = |shares: &[Share]| -> BTreeMap<String, String> {
        shares.iter().map(|share| (of(share), what(share))).collect()
    };
    let (stored, made) = (texts(stored), texts(made));
    let places: BTreeSet<&String> = stored.keys().chain(made.keys()).collect();
    let difference = |place: &&String| {
        let text = |of: &BTreeMap<String, String>| of.get(*place).cloned().unwrap_or_else(|| "nothing".to_owned());
        let (stored, recomputed) = (text(&stored), text(&made));
        (stored != recomputed).then(|| Difference::Share { closing, of: (*place).clone(), stored, recomputed })
    };
    places.iter().filter_map(difference).collect()
}

/// The documents of a closing as they were recorded, by what they are for.
struct Found {
    invoices: BTreeMap<(SubscriptionId, Occasion), Invoice>,
    payouts: BTreeMap<SubscriptionId, Payout>,
}

impl Found {
    fn new(invoices: Vec<Invoice>, payouts: Vec<Payout>) -> Self {
        let of = |invoice: Invoice| ((invoice.subscription.clone(), invoice.occasion), invoice);
        Self {
            invoices: invoices.into_iter().map(of).collect(),
            payouts: payouts.into_iter().map(|payout| (payout.subscription.clone(), payout)).collect(),
        }
    }

    fn compare(&mut self, closing: &Closing, member: &Member, made: Documents, differences: &mut Vec<Difference>) {
        let subscription = &member.subscription.id;
        let missing = |document| Difference::DocumentMissing {
            document,
            subscription: subscription.clone(),
            closing: closing.seq,
        };
        let not_due = |document| Difference::DocumentNotDue { document };
        match (self.invoices.remove(&(subscription.clone(), member.closed.occasion)), made.invoice) {
            (Some(found), Some(made)) => differences.extend(invoice_differences(&found, &made)),
            (Some(found), None) => differences.push(not_due(format!("invoice {}", found.number))),
            (None, Some(_)) => differences.push(missing("an invoice")),
            (None, None) => {}
        }
        if member.closed.occasion == Occasion::Closing {
            match (self.payouts.remove(subscription), made.payout) {
                (Some(found), Some(made)) => differences.extend(payout_differences(&found, &made)),
                (Some(found), None) => differences.push(not_due(format!("payout {}", found.number))),
                (None, Some(_)) => differences.push(missing("a payout statement")),
                (None, None) => {}
            }
        }
    }

    fn left(self) -> impl Iterator<Item = Difference> {
        let invoices = self.invoices.into_values().map(|invoice| format!("invoice {}", invoice.number));
        let payouts = self.payouts.into_values().map(|payout| format!("payout {}", payout.number));
        invoices.chain(payouts).map(|document| Difference::DocumentNotDue { document })
    }
}

fn invoice_differences(found: &Invoice, made: &invoice::Draft) -> Vec<Difference> {
    let mut fields = Fields::of(format!("invoice {}", found.number), found.period);
    fields.compare("its id", &found.id, &made.id);
    fields.compare("the consumer", &found.consumer, &made.consumer);
    fields.compare("the price book", &found.book_version, &made.book_version);
    fields.compare("the end of the period", found.period.to(), made.period.to());
    fields.lines(&found.totals.lines, &made.totals.lines);
    fields.compare("the net", found.totals.net, made.totals.net);
    fields.compare("the number of taxes", found.totals.taxes.len(), made.totals.taxes.len());
    for (found, made) in found.totals.taxes.iter().zip(&made.totals.taxes) {
        fields.compare("the jurisdiction of the tax", &found.jurisdiction, &made.jurisdiction);
        fields.compare("the rate of the tax", found.rate.normalize(), made.rate.normalize());
        fields.compare("the tax", found.amount, made.amount);
    }
    fields.compare("the total", found.totals.total, made.totals.total);
    fields.differences
}

fn payout_differences(found: &Payout, made: &payout::Draft) -> Vec<Difference> {
    let mut fields = Fields::of(format!("payout {}", found.number), found.period);
    fields.compare("its id", &found.id, &made.id);
    fields.compare("the consumer", &found.consumer, &made.consumer);
    fields.compare("the price book", &found.book_version, &made.book_version);
    fields.compare("the end of the period", found.period.to(), made.period.to());
    fields.lines(&found.lines, &made.lines);
    fields.compare("the total", found.total, made.total);
    let said = |holds: &[Hold]| {
        let hold = |hold: &Hold| format!("{} of {} until {}", hold.amount, hold.program, hold.held_until);
        holds.iter().map(hold).collect::<Vec<_>>().join(", ")
    };
    fields.compare("what is held", said(&found.holds), said(&made.holds));
    fields.differences
}

/// The differences between two documents.
struct Fields {
    document: String,
    period: Period,
    differences: Vec<Difference>,
}

impl Fields {
    fn of(document: String, period: Period) -> Self {
        Self { document, period, differences: Vec::new() }
    }

    fn compare<T: PartialEq + ToString>(&mut self, what: &str, stored: T, recomputed: T) {
        if stored != recomputed {
            self.differences.push(Difference::Document {
                document: self.document.clone(),
                what: what.to_owned(),
                stored: stored.to_string(),
                recomputed: recomputed.to_string(),
            });
        }
    }

    fn lines(&mut self, found: &[Line], made: &[Line]) {
        self.compare("the number of lines", found.len(), made.len());
        for (number, (found, made)) in (1..).zip(found.iter().zip(made)) {
            let before = self.differences.len();
            let of = |what: &str| format!("{what} of line {number} ({})", found.component);
            self.compare(&of("the component"), &found.component, &made.component);
            self.compare(&of("the quantity"), found.quantity.normalize(), made.quantity.normalize());
            self.compare(&of("the amount"), found.amount, made.amount);
            let (found, mut made) = (without_words(found), without_words(made));
            if self.is_of_all_its_period(&found) {
                made.from = found.from;
            }
            if self.differences.len() == before && found != made {
                let shown = |line: &Line| serde_json::to_string(line).unwrap_or_default();
                self.compare(&of("the explanation"), shown(&found), shown(&made));
            }
        }
    }

    /// Before trials were waited for, a fee that follows one was said to be of all its period: the one that the document
    /// closes or opens, or the next.
    fn is_of_all_its_period(&self, line: &Line) -> bool {
        let follows_trial = line.explanation.steps.iter().any(|step| step.step == StepKind::Trial);
        follows_trial && (line.from == self.period.from() || line.from == self.period.to())
    }
}

fn without_words(line: &Line) -> Line {
    let mut line = line.clone();
    line.description.clear();
    for step in &mut line.explanation.steps {
        step.text.clear();
        step.tiers.iter_mut().for_each(|tier| tier.label.clear());
    }
    line
}
