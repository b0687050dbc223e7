//! Timestamps as RFC 3339 text. Written by hand: `jiff` ends with the year 9999 where `created` is any `u64`, and this runs for every event.

use serde::{Serialize, Serializer};

use crate::{number, push_number};

const MICROS_PER_SECOND: u64 = 1_000_000;
const SECONDS_PER_DAY: u64 = 86_400;

/// Days in the 400 years after which the Gregorian calendar repeats.
const DAYS_PER_ERA: u64 = 146_097;

/// Days from 0000-03-01, where the eras begin, to 1970-01-01.
const EPOCH_DAYS: u64 = 719_468;

/// The year of `u64::MAX` microseconds.
const YEAR_MAX: u64 = 586_524;

/// Microseconds since 1970-01-01T00:00:00 UTC, which JSON holds as text.
#[derive(Clone, Copy, Debug)]
pub struct Timestamp(pub u64);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = Vec::with_capacity(32);
        push_rfc3339(&mut text, self.0);
        serializer.serialize_str(std::str::from_utf8(&text).expect("a timestamp is ASCII"))
    }
}

/// Appends microseconds since 1970-01-01T00:00:00 UTC as `2026-11-23T16:46:00.000001Z`.
///
/// Every `u64` can be written. Years after 9999 have more than four digits, which RFC 3339 does not allow.
pub(crate) fn push_rfc3339(out: &mut Vec<u8>, micros: u64) {
    let seconds = micros / MICROS_PER_SECOND;
    let (year, month, day) = civil_date(seconds / SECONDS_PER_DAY);
    let second_of_day = seconds % SECONDS_PER_DAY;
    let fraction = micros % MICROS_PER_SECOND;
    if year > 9_999 {
        push_number(out, year / 10_000);
    }
    let mut text = *b"0000-00-00T00:00:00.000000Z";
    for (place, number) in [
        (0, year / 100 % 100),
        (2, year % 100),
        (5, month),
        (8, day),
        (11, second_of_day / 3_600),
        (14, second_of_day / 60 % 60),
        (17, second_of_day % 60),
        (20, fraction / 10_000),
        (22, fraction / 100 % 100),
        (24, fraction % 100),
    ] {
        text[place] += (number / 10) as u8;
        text[place + 1] += (number % 10) as u8;
    }
    out.extend_from_slice(&text);
}

/// Parses a timestamp in UTC, with at most six decimals, into microseconds since 1970-01-01T00:00:00. It parses
/// everything that [`push_rfc3339`] writes, including years after 9999.
pub fn parse_rfc3339(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
    let [year, month, day] = parts::<3>(date, '-')?;
    if year.len() < 4 || month.len() != 2 || day.len() != 2 {
        return None;
    }
    let (time, fraction) = match time.split_once('.') {
        Some((time, fraction)) if (1..=6).contains(&fraction.len()) => (time, fraction),
        Some(_) => return None,
        None => (time, "0"),
    };
    let time = parts::<3>(time, ':')?;
    if time.iter().any(|part| part.len() != 2) {
        return None;
    }
    let [hour, minute, second] = [number(time[0])?, number(time[1])?, number(time[2])?];
    let days = days_of_date(number(year)?, number(month)?, number(day)?)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let micros = number(fraction)? * 10_u64.pow(6 - u32::try_from(fraction.len()).ok()?);
    let seconds = days.checked_mul(SECONDS_PER_DAY)?.checked_add(hour * 3_600 + minute * 60 + second)?;
    seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)
}

/// The `N` parts of a text between separators; none if it has another number of parts.
fn parts<const N: usize>(text: &str, separator: char) -> Option<[&str; N]> {
    let mut parts = text.split(separator);
    let mut found = [""; N];
    for slot in &mut found {
        *slot = parts.next()?;
    }
    if parts.next().is_none() { Some(found) } else { None }
}

/// The number of days from 1970-01-01 to a date; none if the date does not exist or is earlier.
fn days_of_date(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1_970..=YEAR_MAX).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Counted from March as in `civil_date`.
    let (year_from_march, month_from_march) =
        if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let year_of_era = year_from_march % 400;
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = year_from_march / 400 * DAYS_PER_ERA + day_of_era - EPOCH_DAYS;
    // A day that the month does not have converts back to another date.
    if civil_date(days) == (year, month, day) { Some(days) } else { None }
}

/// The year, month and day of the date `days` days after 1970-01-01.
///
/// Years are counted from March, so that the leap day is the last day of a year and the months before it follow a
/// linear pattern of 153 days in five months.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let days = days + EPOCH_DAYS;
    let era = days / DAYS_PER_ERA;
    let day_of_era = days % DAYS_PER_ERA;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{civil_date, days_of_date, parse_rfc3339, push_rfc3339};

    fn text(micros: u64) -> String {
        let mut out = Vec::new();
        push_rfc3339(&mut out, micros);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_timestamps_are_written_and_parsed() {
        for (micros, expected) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1, "1970-01-01T00:00:00.000001Z"),
            (999_999, "1970-01-01T00:00:00.999999Z"),
            (86_399_999_999, "1970-01-01T23:59:59.999999Z"),
            (68_169_600_000_000, "1972-02-29T00:00:00.000000Z"),
            (951_782_400_000_000, "2000-02-29T00:00:00.000000Z"),
            (951_868_800_000_000, "2000-03-01T00:00:00.000000Z"),
            (1_234_567_890_123_456, "2009-02-13T23:31:30.123456Z"),
            (1_709_164_800_000_000, "2024-02-29T00:00:00.000000Z"),
            (2_147_483_647_000_000, "2038-01-19T03:14:07.000000Z"),
            (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
            (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
            (253_402_300_800_000_000, "10000-01-01T00:00:00.000000Z"),
            (u64::MAX, "586524-01-19T08:01:49.551615Z"),
        ] {
            assert_eq!(text(micros), expected);
            assert_eq!(parse_rfc3339(expected), Some(micros));
        }
    }

    #[test]
    fn only_valid_timestamps_are_parsed() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("1970-01-01t00:00:01.5z", Some(1_500_000)),
            ("2000-02-29T00:00:00.000000Z", Some(951_782_400_000_000)),
            ("", None),
            ("Z", None),
            ("T", None),
            ("1970-01-01", None),
            ("1970-01-01T00:00:00", None),
            ("1970-01-01T00:00:00+00:00", None),
            ("1970-01-01 00:00:00Z", None),
            ("1969-12-31T23:59:59Z", None),
            ("1970-00-01T00:00:00Z", None),
            ("1970-13-01T00:00:00Z", None),
            ("1970-02-29T00:00:00Z", None),
            ("1970-01-32T00:00:00Z", None),
            ("1970-1-01T00:00:00Z", None),
            ("70-01-01T00:00:00Z", None),
            ("1970-01-01T24:00:00Z", None),
            ("1970-01-01T00:60:00Z", None),
            ("1970-01-01T00:00:60Z", None),
            ("1970-01-01T00:00:00.Z", None),
            ("1970-01-01T00:00:00.0000000Z", None),
            ("1970-01-01T00:00:00.+1Z", None),
            ("1970-01-01T00:00Z", None),
            ("1970-01-01T00:00:00:00Z", None),
            ("586524-01-19T08:01:49.551616Z", None),
            ("586525-01-01T00:00:00Z", None),
            ("99999999999999999999-01-01T00:00:00Z", None),
            ("1970-01-01T00:00:0\u{661}Z", None),
        ] {
            assert_eq!(parse_rfc3339(text), expected, "{text}");
        }
    }

    /// Compares eight centuries, day by day, with a calendar that knows only the lengths of months.
    #[test]
    fn every_day_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..300_000 {
            assert_eq!(civil_date(days), (year, month, day), "day {days}");
            assert_eq!(days_of_date(year, month, day), Some(days));
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let length = match month {
                2 if leap => 29,
                2 => 28,
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > length {
                (day, month) = (1, month + 1);
            }
            if month > 12 {
                (month, year) = (1, year + 1);
            }
        }
    }
}
