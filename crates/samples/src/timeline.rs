//! The eighteen months that the events lie in, and how busy each hour of them is.

/// 2025-01-01T00:00:00Z, a Wednesday.
const START_S: i64 = 1_735_689_600;
/// To 2026-07-01T00:00:00Z.
const HOURS: usize = 546 * 24;
/// No session is longer; what starts this long before the end is over by then.
pub(crate) const SESSION_HOURS_MAX: usize = 2;
const WEEKDAY_OF_START: usize = 2;
const HOUR_US: i64 = 3_600_000_000;
const MILLISECOND_US: i64 = 1_000;

/// Events by hour of the day (UTC): a night's trough and two peaks.
const HOUR_WEIGHTS: [u64; 24] = [
    22, 17, 14, 12, 12, 15, 24, 40, 58, 72, 78, 76, 70, 74, 80, 82, 79, 74, 70, 74, 72, 60, 44, 31,
];
/// Events by day of the week, from Monday.
const DAY_WEIGHTS: [u64; 7] = [20, 21, 21, 20, 19, 13, 12];

/// Maps shares of all activity to instants.
pub(crate) struct Timeline {
    /// Activity up to the end of each hour.
    ends: Vec<u64>,
}

impl Timeline {
    pub(crate) fn new() -> Self {
        let mut end = 0;
        let ends = (0..HOURS - SESSION_HOURS_MAX)
            .map(|hour| {
                let day = hour / 24;
                // The service grows by half over the eighteen months.
                let growth = 1_000 + day as u64;
                end += HOUR_WEIGHTS[hour % 24] * DAY_WEIGHTS[(WEEKDAY_OF_START + day) % 7] * growth;
                end
            })
            .collect();
        Self { ends }
    }

    /// The instant before which `share` (in `[0, 1)`) of all sessions start: microseconds since
    /// 1970, in whole milliseconds, as browsers report them. Never falls when `share` grows.
    pub(crate) fn instant_us(&self, share: f64) -> i64 {
        let total = self.ends.last().copied().unwrap_or_default();
        let point = share * total as f64;
        let hour = self
            .ends
            .partition_point(|end| *end as f64 <= point)
            .min(self.ends.len() - 1);
        let from = if hour == 0 { 0 } else { self.ends[hour - 1] };
        let within = (point - from as f64) / (self.ends[hour] - from) as f64;
        let us = (within * HOUR_US as f64) as i64;
        START_S * 1_000_000 + hour as i64 * HOUR_US + us / MILLISECOND_US * MILLISECOND_US
    }
}

/// Months since January 2025 of an instant in microseconds.
pub(crate) fn month_number(instant_us: i64) -> u64 {
    let (year, month) = year_and_month(instant_us);
    ((year - 2025) * 12 + month - 1).max(0) as u64
}

/// `2025-01` of an instant in microseconds: what a Hive partition is called.
pub(crate) fn month_name(instant_us: i64) -> String {
    let (year, month) = year_and_month(instant_us);
    format!("{year:04}-{month:02}")
}

/// Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn year_and_month(instant_us: i64) -> (i64, i64) {
    let days = instant_us.div_euclid(24 * HOUR_US) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (era * 400 + year_of_era + i64::from(month <= 2), month)
}
