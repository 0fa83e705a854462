//! Events as a platform sends them, made from their numbers: cheap enough to be made while a server is measured.
//!
//! Any event can be made again from its number, so a duplicate is an exact resend of whatever came before, and a run
//! of any length keeps no list of what it has sent.

use std::ops::Range;

use crate::clock;
use crate::domain::time::Instant;

/// How many consumers there are.
pub const CONSUMERS: u64 = 10_000;
/// Percent of all events of each of the largest consumers: 90 together. The others share what is left.
const LARGEST_PERCENT: [usize; 10] = [35, 15, 10, 8, 6, 5, 4, 3, 2, 2];
const LARGEST_PERCENT_SUM: usize = 90;
/// Of a thousand events, this many arrive late.
const LATE_PER_MILLE: u64 = 10;
/// Half of the late events are later than this, half of those later than twice this, and so on: 94 % within two hours.
const LATE_HALF_MICROS: u64 = 30 * 60 * 1_000_000;
const LATE_MAX_MICROS: u64 = 24 * 60 * 60 * 1_000_000;
/// Of two thousand events sent, this many were sent before.
const DUPLICATES_PER_2000: u64 = 10;
/// Half of the duplicates repeat one of the newest events: a client that tries again.
const RECENT: u64 = 20_000;
/// All others are under way for less than this.
const UNDER_WAY_MICROS: u64 = 1_000_000;
/// How long the history is that can be sent ahead of a question about a month.
const HISTORY_MICROS: u64 = 30 * 24 * 60 * 60 * 1_000_000;
const GATEWAYS: &[u8; 4] = b"abcd";
const REGIONS: [&[u8]; 4] = [b"eu-west", b"eu-north", b"us-east", b"ap-south"];
/// One in 32 each: most requests go well.
const STATUSES: [(&[u8; 3], usize); 6] =
    [(b"200", 24), (b"201", 3), (b"304", 2), (b"404", 1), (b"429", 1), (b"500", 1)];
const HEX: &[u8; 16] = b"0123456789abcdef";

/// Numbers of events take this many bits of an id, and the seed the others, so that seeds never share an id.
const NUMBER_BITS: u32 = 40;
/// Seeds are below this.
pub const SEEDS: u64 = 1 << (u64::BITS - NUMBER_BITS);
/// The step of SplitMix64: odd, so that every multiple of it differs.
const GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// Makes the event of any number, always the same.
struct Generator {
    seed: u64,
    /// When event 0 happened. Each next one happened a microsecond later: a million a second.
    base: Instant,
    /// Events of these numbers happened anywhere in the month before `base`.
    history: Range<u64>,
    subjects: Vec<[u8; 5]>,
    /// A consumer for every percent.
    largest: [u16; LARGEST_PERCENT_SUM],
    statuses: [[u8; 3]; 32],
    line: Line,
    /// Seconds as they were last written, by their last two bits.
    seconds: [(i64, [u8; 19]); 4],
}

/// The start of an event's text, up to `"bytes":`; every part has the same place in each event.
struct Line {
    text: Vec<u8>,
    id: Range<usize>,
    gateway: usize,
    subject: Range<usize>,
    second: Range<usize>,
    millis: Range<usize>,
    status: Range<usize>,
}

/// The events of a run in the order in which they are sent, with late ones and duplicates.
pub struct Stream {
    generator: Generator,
    position: u64,
    totals: Totals,
}

/// What a stream has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Events that differ: their numbers are those below this.
    pub distinct: u64,
    /// Exact resends of earlier events.
    pub duplicates: u64,
    /// The sum of `data.bytes` of the events that differ.
    pub bytes: u64,
}

impl Stream {
    /// `seed` is taken below [`SEEDS`]. Different seeds never make the same id.
    pub fn new(seed: u64) -> Self {
        Self { generator: Generator::new(seed % SEEDS, clock::now()), position: 0, totals: Totals::default() }
    }

    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next `events` new events will have happened anywhere in the last month.
    pub fn history_next(&mut self, events: u64) {
        let next = self.totals.distinct;
        self.generator.history = next..next.saturating_add(events);
    }

    /// Writes the next events into a body that is emptied before, one a line.
    pub fn fill(&mut self, events: u64, body: &mut Vec<u8>) {
        body.clear();
        for _ in 0..events {
            self.push(body);
            body.push(b'\n');
        }
        body.pop();
    }

    fn push(&mut self, body: &mut Vec<u8>) {
        let Totals { distinct, duplicates, bytes } = &mut self.totals;
        self.position = self.position.wrapping_add(1);
        let drawn = mix(!self.generator.seed ^ self.position.wrapping_mul(GAMMA));
        let choice = drawn % 2_000;
        if choice < DUPLICATES_PER_2000 && *distinct > 0 {
            let is_recent = choice.is_multiple_of(2);
            let back = scaled(drawn, if is_recent { RECENT.min(*distinct) } else { *distinct });
            self.generator.write(*distinct - 1 - back, body);
            *duplicates += 1;
        } else {
            *bytes += self.generator.write(*distinct, body);
            *distinct += 1;
        }
    }
}

/// The consumer of this name, as `subject` has it.
pub fn consumer_name(consumer: u64) -> String {
    format!("tenant_{consumer:05}")
}

/// A consumer for a question; large ones are asked for as often as they send.
pub fn drawn_consumer(question: u64) -> u64 {
    let drawn = mix(question);
    match scaled(drawn, 100) {
        percent if percent < 90 => scaled(mix(drawn), 10),
        _ => scaled(mix(drawn), CONSUMERS),
    }
}

impl Generator {
    fn new(seed: u64, base: Instant) -> Self {
        let subjects = (0..CONSUMERS).map(digits::<5>).collect();
        let mut largest = [0; LARGEST_PERCENT_SUM];
        let shares = (0..).zip(LARGEST_PERCENT).flat_map(|(consumer, percent)| std::iter::repeat_n(consumer, percent));
        for (place, consumer) in largest.iter_mut().zip(shares) {
            *place = consumer;
        }
        let mut statuses = [*b"200"; 32];
        let shares = STATUSES.iter().flat_map(|(status, share)| std::iter::repeat_n(**status, *share));
        for (place, status) in statuses.iter_mut().zip(shares) {
            *place = status;
        }
        let seconds = [(i64::MIN, [b'0'; 19]); 4];
        Self { seed, base, history: 0..0, subjects, largest, statuses, line: Line::new(), seconds }
    }

    /// Appends the event's JSON, and gives back its `data.bytes`.
    fn write(&mut self, number: u64, out: &mut Vec<u8>) -> u64 {
        let id = mix((self.seed << NUMBER_BITS) | number);
        let (who, when, what) = (mix(id ^ 1), mix(id ^ 2), mix(id ^ 3));
        let at = self.base.micros().wrapping_add(number.cast_signed()).wrapping_sub(self.delay(number, when));
        let subject = self.subject(who);
        let second = self.second(at.div_euclid(1_000_000));
        let line = &mut self.line;
        for (pair, byte) in line.text[line.id.clone()].chunks_exact_mut(2).zip(id.to_be_bytes()) {
            pair.copy_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        line.text[line.gateway] = GATEWAYS[(who & 3) as usize];
        line.text[line.subject.clone()].copy_from_slice(&subject);
        line.text[line.second.clone()].copy_from_slice(&second);
        let millis = at.rem_euclid(1_000_000) / 1_000;
        line.text[line.millis.clone()].copy_from_slice(&digits::<3>(millis.unsigned_abs()));
        line.text[line.status.clone()].copy_from_slice(&self.statuses[(what >> 59) as usize]);
        out.extend_from_slice(&line.text);
        let bytes = (200 + (what & 1_023)) << (what >> 10 & 7);
        push_decimal(out, bytes);
        out.extend_from_slice(b",\"region\":\"");
        out.extend_from_slice(REGIONS[(what >> 13 & 3) as usize]);
        out.extend_from_slice(b"\",\"ms\":");
        push_decimal(out, 3 + (what >> 15 & 511));
        out.extend_from_slice(b"}}");
        bytes
    }

    fn subject(&self, drawn: u64) -> [u8; 5] {
        let rest = mix(drawn);
        let consumer = match self.largest.get(scaled(drawn, 100) as usize) {
            Some(consumer) => u64::from(*consumer),
            None => 10 + scaled(rest, CONSUMERS - 10),
        };
        self.subjects[consumer as usize]
    }

    /// How long an event was under way, in microseconds.
    fn delay(&self, number: u64, drawn: u64) -> i64 {
        let rest = mix(drawn);
        let delay = if self.history.contains(&number) {
            scaled(rest, HISTORY_MICROS)
        } else if drawn % 1_000 < LATE_PER_MILLE {
            let halves = u64::from(rest.leading_zeros());
            (halves * LATE_HALF_MICROS + scaled(mix(rest), LATE_HALF_MICROS)).min(LATE_MAX_MICROS)
        } else {
            scaled(rest, UNDER_WAY_MICROS)
        };
        delay.cast_signed()
    }

    /// `2026-11-24T10:20:30`. Neighbours in time share their second, so few are ever formatted.
    fn second(&mut self, second: i64) -> [u8; 19] {
        let known = &mut self.seconds[(second & 3) as usize];
        if known.0 != second {
            let text = Instant::from_micros(second.saturating_mul(1_000_000)).timestamp().to_string();
            if let Some(text) = text.as_bytes().first_chunk() {
                *known = (second, *text);
            }
        }
        known.1
    }
}

impl Line {
    fn new() -> Self {
        let mut text = Vec::new();
        let mut after = |before: &str, length: usize| {
            text.extend_from_slice(before.as_bytes());
            let start = text.len();
            text.resize(start + length, b'0');
            start..start + length
        };
        let id = after(r#"{"specversion":"1.0","id":""#, 16);
        let gateway = after(r#"","source":"/gateways/"#, 1).start;
        let subject = after(r#"","type":"api.request","subject":"tenant_"#, 5);
        let second = after(r#"","time":""#, 19);
        let millis = after(".", 3);
        let status = after(r#"Z","data":{"status":"#, 3);
        after(r#","bytes":"#, 0);
        Self { text, id, gateway, subject, second, millis, status }
    }
}

/// The finalizer of SplitMix64: every number to another one, none twice.
fn mix(number: u64) -> u64 {
    let number = (number ^ number >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ number >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ number >> 31
}

/// Something below `bound`, by the high bits of what was drawn.
fn scaled(drawn: u64, bound: u64) -> u64 {
    ((u128::from(drawn) * u128::from(bound)) >> 64) as u64
}

/// The last digits of a number.
fn digits<const N: usize>(mut number: u64) -> [u8; N] {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    digits
}

fn push_decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] += (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[start..]);
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::collections::HashSet;

    use super::*;
    use crate::domain::event::Event;

    const EVENTS: u64 = 200_000;

    fn body(stream: &mut Stream, events: u64) -> String {
        let mut body = Vec::new();
        stream.fill(events, &mut body);
        String::from_utf8(body).expect("text")
    }

    /// Whether a share of the events is within a tenth of what it should be.
    fn is_about(count: usize, of: u64, share: f64) -> bool {
        let found = count as f64 / of as f64;
        (found / share - 1.0).abs() < 0.1
    }

    #[test]
    fn an_event_is_a_valid_cloudevent_of_about_213_bytes() {
        let text = body(&mut Stream::new(1), EVENTS);
        let length = text.len() as f64 / EVENTS as f64;
        assert!((211.0..215.0).contains(&length), "{length} bytes, its line's end included");
        for line in text.lines() {
            let event = Event::parse(line).unwrap_or_else(|faults| panic!("{line}: {faults:?}"));
            assert!(event.kind == "api.request" && event.time.is_some() && event.subject.is_some());
        }
    }

    #[test]
    fn the_largest_consumer_has_35_percent_and_the_ten_largest_90() {
        let text = body(&mut Stream::new(2), EVENTS);
        let mut counts: HashMap<String, usize> = HashMap::new();
        for event in text.lines().map(|line| Event::parse(line).expect("an event")) {
            *counts.entry(event.subject.expect("a subject").into_owned()).or_default() += 1;
        }
        let mut sorted: Vec<usize> = counts.values().copied().collect();
        sorted.sort_unstable_by(|a, b| b.cmp(a));
        assert!(is_about(sorted[0], EVENTS, 0.35), "{}", sorted[0]);
        assert!(is_about(sorted[..10].iter().sum(), EVENTS, 0.90), "{:?}", &sorted[..10]);
        assert!(sorted[10] < 20, "the others are alike: {}", sorted[10]);
        assert_eq!(counts[&consumer_name(0)], sorted[0]);
    }

    #[test]
    fn one_in_a_hundred_is_late_by_up_to_a_day_and_most_of_those_by_less_than_two_hours() {
        let mut stream = Stream::new(3);
        let base = stream.generator.base.micros();
        let text = body(&mut stream, EVENTS);
        let times = text.lines().map(|line| Event::parse(line).expect("an event").time.expect("a time").micros());
        let behind: Vec<i64> =
            times.map(|time| base + EVENTS.cast_signed() - time).filter(|late| *late > 2_000_000).collect();
        assert!(is_about(behind.len(), EVENTS, 0.01), "{} are late", behind.len());
        let within = behind.iter().filter(|late| **late < 2 * 3_600_000_000).count();
        assert!(is_about(within, behind.len() as u64, 0.94), "{within} of {} within two hours", behind.len());
        assert!(behind.iter().all(|late| *late <= 86_402_000_000), "none is more than a day late");
        assert!(behind.iter().any(|late| *late > 4 * 3_600_000_000), "some are hours late");
    }

    #[test]
    fn one_in_two_hundred_is_an_exact_resend_and_all_others_are_new() {
        let mut stream = Stream::new(4);
        let text = body(&mut stream, EVENTS);
        let mut ids: HashMap<String, &str> = HashMap::new();
        let (mut duplicates, mut bytes) = (0, 0);
        for line in text.lines() {
            let id = Event::parse(line).expect("an event").id.into_owned();
            match ids.insert(id, line) {
                Some(first) => {
                    assert_eq!(first, line);
                    duplicates += 1;
                }
                None => {
                    let event: serde_json::Value = serde_json::from_str(line).expect("JSON");
                    bytes += event["data"]["bytes"].as_u64().expect("a number");
                }
            }
        }
        assert!(is_about(duplicates, EVENTS, 0.005), "{duplicates} duplicates");
        let totals = Totals { distinct: ids.len() as u64, duplicates: duplicates as u64, bytes };
        assert_eq!(stream.totals(), totals);
    }

    #[test]
    fn a_seed_repeats_its_ids_and_shares_none_with_another() {
        let ids = |seed: u64| -> HashSet<String> {
            let text = body(&mut Stream::new(seed), 20_000);
            text.lines().map(|line| Event::parse(line).expect("an event").id.into_owned()).collect()
        };
        let first = ids(5);
        assert_eq!(first, ids(5));
        assert!(first.is_disjoint(&ids(6)));
        assert_eq!(first, ids(5 + SEEDS), "seeds begin again after the last");
    }

    #[test]
    fn a_history_lies_in_the_month_before() {
        let mut stream = Stream::new(7);
        stream.history_next(10_000);
        let base = stream.generator.base.micros();
        let days: HashSet<i64> = body(&mut stream, 10_000)
            .lines()
            .map(|line| (base - Event::parse(line).expect("an event").time.expect("a time").micros()) / 86_400_000_000)
            .collect();
        assert_eq!(days, (0..30).collect());
    }
}
