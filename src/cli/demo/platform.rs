//! The demo's platform: who is on it, and what they do. The same numbers come out whenever it is run on the same day.

use std::fmt::Write;

use jiff::ToSpan;
use jiff::civil::Date;

use crate::domain::time::Instant;

/// Somebody on the platform, and about how much of everything they do in a month.
pub struct Member {
    pub id: &'static str,
    pub name: &'static str,
    pub plan: &'static str,
    pub tax: Option<&'static str>,
    pub requests: u32,
    pub imports: u32,
    pub verified: u32,
    pub corrected: u32,
}

const NOBODY: Member =
    Member { id: "", name: "", plan: "", tax: None, requests: 0, imports: 0, verified: 0, corrected: 0 };

const STANDARD: Option<&str> = Some("nl-standard");

pub const MEMBERS: [Member; 12] = [
    Member {
        id: "utrecht",
        name: "Gemeente Utrecht",
        plan: "pro",
        tax: STANDARD,
        requests: 61_000,
        imports: 3,
        ..NOBODY
    },
    Member {
        id: "zorgwijzer",
        name: "Zorgwijzer BV",
        plan: "pro",
        tax: STANDARD,
        requests: 6_000,
        imports: 9,
        ..NOBODY
    },
    Member {
        id: "sozialkarte",
        name: "Sozialkarte GmbH",
        plan: "pro",
        tax: Some("nl-reverse-charge"),
        requests: 3_000,
        imports: 2,
        ..NOBODY
    },
    Member { id: "buurtapp", name: "Buurtapp", plan: "community", requests: 14_500, imports: 6, ..NOBODY },
    Member { id: "wijkteam-west", name: "Wijkteam West", plan: "community", requests: 10_800, imports: 12, ..NOBODY },
    Member { id: "taalcafe", name: "Taalcafé Rotterdam", plan: "community", requests: 2_300, imports: 1, ..NOBODY },
    Member { id: "voedselbank", name: "Voedselbank Oost", plan: "community", requests: 700, imports: 8, ..NOBODY },
    Member { id: "anouk", name: "Anouk de Vries", plan: "contributor", verified: 310, corrected: 140, ..NOBODY },
    Member { id: "bilal", name: "Bilal Yıldız", plan: "contributor", verified: 640, corrected: 20, ..NOBODY },
    Member { id: "chantal", name: "Chantal Visser", plan: "contributor", verified: 120, corrected: 210, ..NOBODY },
    Member { id: "daan", name: "Daan Bakker", plan: "contributor", verified: 85, corrected: 15, ..NOBODY },
    Member { id: "esra", name: "Esra Demir", plan: "contributor", verified: 35, corrected: 60, ..NOBODY },
];

const ROUTES: [&str; 4] = ["/services", "/services/{id}", "/organizations", "/search"];
const REGIONS: [&str; 4] = ["Utrecht", "Rotterdam", "Groningen", "Zeeland"];
/// In how many of a hundred cases an hour of the day is the one: nights are quiet.
const HOURS: [u64; 24] = [1, 0, 0, 0, 1, 1, 2, 4, 7, 9, 9, 8, 6, 8, 9, 8, 7, 5, 4, 4, 3, 2, 1, 1];
const SECONDS_A_DAY: u64 = 86_400;

/// Numbers that look random and are the same every time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides.max(1)
    }

    fn second_of_day(&mut self) -> u64 {
        let mut at = self.roll(HOURS.iter().sum());
        let hour = HOURS.iter().position(|weight| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        });
        hour.unwrap_or(12) as u64 * 3_600 + self.roll(3_600)
    }
}

/// The events of one day, one a line; none of them after `now`.
pub fn events_of(day: Date, months_since_start: u32, now: Instant) -> String {
    let seed = day.year().unsigned_abs() as u64 * 372
        + day.month().unsigned_abs() as u64 * 31
        + day.day().unsigned_abs() as u64;
    let mut dice = Dice(seed);
    let weekend = matches!(day.weekday(), jiff::civil::Weekday::Saturday | jiff::civil::Weekday::Sunday);
    let mut text = String::new();
    for member in &MEMBERS {
        // Use grows by a twentieth a month; weekends are half as busy; days differ by up to a fifth.
        let about = |monthly: u32, dice: &mut Dice| {
            let daily =
                u64::from(monthly) * u64::from(20 + months_since_start) * if weekend { 5 } else { 10 } / (20 * 265);
            let chance = u64::from(monthly) * 10 % 265 > dice.roll(265);
            daily * (90 + dice.roll(21)) / 100 + u64::from(chance && daily < 10)
        };
        for (kind, monthly) in [
            ("api.request", member.requests),
            ("import.completed", member.imports),
            ("listing.verified", member.verified),
            ("service.updated", member.corrected),
        ] {
            for number in 0..about(monthly, &mut dice) {
                event(&mut text, &mut dice, (day, kind, member.id, number), now);
            }
        }
    }
    text
}

fn event(text: &mut String, dice: &mut Dice, (day, kind, who, number): (Date, &str, &str, u64), now: Instant) {
    let second = dice.second_of_day().min(SECONDS_A_DAY - 1);
    let data = match kind {
        "api.request" => {
            let route = ROUTES[dice.roll(4) as usize];
            let status = if dice.roll(200) == 0 { 503 } else { 200 };
            format!(r#"{{"route":"{route}","status":{status},"duration_ms":{}}}"#, 8 + dice.roll(90))
        }
        "import.completed" => {
            let records = 200 + dice.roll(9_000);
            format!(
                r#"{{"file":"services-{day}-{number}.csv","format":"csv","records":{records},"rejected":{}}}"#,
                dice.roll(9)
            )
        }
        "listing.verified" => {
            let method = if dice.roll(5) == 0 { "visit" } else { "phone" };
            let region = REGIONS[dice.roll(4) as usize];
            let (listing, corrections) = (dice.roll(90_000), dice.roll(4));
            format!(
                r#"{{"listing":"lst-{listing}","method":"{method}","region":"{region}","corrections":{corrections}}}"#
            )
        }
        _ => {
            let (service, organization) = (dice.roll(50_000), dice.roll(9_000));
            format!(r#"{{"service":"svc-{service}","organization":"org-{organization}","fields":["phone"]}}"#)
        }
    };
    let time = day.to_datetime(jiff::civil::Time::midnight()).saturating_add((second as i64).seconds());
    let Ok(at) = jiff::tz::TimeZone::UTC.to_timestamp(time) else { return };
    if Instant::from(at) > now {
        return;
    }
    // Writing to a String cannot fail.
    let _ = writeln!(
        text,
        r#"{{"specversion":"1.0","id":"{kind}-{who}-{day}-{number}","source":"/demo","type":"{kind}","subject":"{who}","time":"{at}","data":{data}}}"#
    );
}
