//! Rows over time as bars, in SVG that scales to any width and holds no text of the data.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::facts::Month;
use super::html::Number;

/// Bars at most; a longer time is shown by year, and if that is too long its end.
const BARS_MAX: i32 = 120;

/// Rows over time.
pub(super) struct Chart {
    /// Each month or year from the first to the last, with its rows.
    pub(super) bars: Vec<(String, u64)>,
    /// What a bar is of.
    pub(super) unit: &'static str,
}

impl Chart {
    /// A chart of the span from the first to the last of `all`, with the rows that `months` has.
    pub(super) fn of(all: &BTreeMap<Month, u64>, months: &BTreeMap<Month, u64>) -> Option<Self> {
        let number = |(year, month): Month| i32::from(year) * 12 + i32::from(month) - 1;
        let first = number(*all.first_key_value()?.0);
        let last = number(*all.last_key_value()?.0);
        let (size, unit) = if last - first < BARS_MAX {
            (1, "month")
        } else {
            (12, "year")
        };
        let last = last.div_euclid(size);
        let first = first.div_euclid(size).max(last - BARS_MAX + 1);
        let mut rows: BTreeMap<i32, u64> = BTreeMap::new();
        for (month, count) in months {
            *rows.entry(number(*month).div_euclid(size)).or_default() += count;
        }
        let name = |bar: i32| match size {
            1 => format!("{:04}-{:02}", bar.div_euclid(12), bar.rem_euclid(12) + 1),
            _ => format!("{bar:04}"),
        };
        let bars = (first..=last).map(|bar| (name(bar), rows.get(&bar).copied().unwrap_or(0)));
        Some(Self {
            bars: bars.collect(),
            unit,
        })
    }

    /// The bar with the most rows.
    pub(super) fn top(&self) -> u64 {
        self.bars.iter().map(|(_, rows)| *rows).max().unwrap_or(0)
    }

    /// The bars. `label` says what they show, to those who can't see them.
    pub(super) fn svg(&self, class: &str, label: &str) -> String {
        let width = self.bars.len() * 10;
        let mut svg = format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} 100\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{label}\">"
        );
        let top = self.top().max(1);
        for (place, (name, rows)) in self.bars.iter().enumerate() {
            if *rows == 0 {
                continue;
            }
            // Never so low that it can't be seen.
            let height = (rows.saturating_mul(100) / top).max(2);
            // Writing to a String can't fail.
            let _written = write!(
                svg,
                "<rect x=\"{}\" y=\"{}\" width=\"8\" height=\"{height}\"><title>{name}: {}</title></rect>",
                place * 10 + 1,
                100 - height,
                Number(*rows)
            );
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_months_or_years_or_the_end_of_them() {
        let chart = |months: &[Month]| {
            let months = months.iter().map(|month| (*month, 2)).collect();
            Chart::of(&months, &months).unwrap()
        };
        let short = chart(&[(2023, 11), (2024, 2)]);
        let names: Vec<&str> = short.bars.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["2023-11", "2023-12", "2024-01", "2024-02"]);
        assert_eq!(short.svg("c", "x").matches("<rect").count(), 2);
        let long = chart(&[(2000, 1), (2024, 2)]);
        assert_eq!((long.bars.len(), long.unit, long.top()), (25, "year", 2));
        let longest = chart(&[(-9999, 1), (9999, 12)]);
        assert_eq!(
            (longest.bars.len(), longest.bars.last().unwrap().0.as_str()),
            (120, "9999")
        );
        assert!(Chart::of(&BTreeMap::new(), &BTreeMap::new()).is_none());
    }
}
