//! ISO weeks (ISO 8601) in Asia/Shanghai: Monday to Sunday; a week belongs to the year of its Thursday.

use std::fmt;

use chrono::{Datelike, Days, NaiveDate, Weekday};
use serde::{Serialize, Serializer};

use crate::calendar::Day;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Week {
    monday: Day,
}

impl Week {
    pub fn of(day: Day) -> Week {
        Week { monday: day.week(Weekday::Mon).first_day() }
    }

    /// As it is written: `2019-W45`.
    pub fn read(text: &str) -> Option<Week> {
        let (year, week) = text.split_once("-W")?;
        let monday = NaiveDate::from_isoywd_opt(year.parse().ok()?, week.parse().ok()?, Weekday::Mon)?;
        Some(Week { monday }).filter(|week| (1970..=9997).contains(&monday.year()) && week.to_string() == text)
    }

    pub fn from(self) -> Day {
        self.monday
    }

    pub fn to(self) -> Day {
        self.monday.checked_add_days(Days::new(6)).unwrap_or(self.monday)
    }

    pub fn days(self) -> impl Iterator<Item = Day> {
        self.monday.iter_days().take(7)
    }

    /// So many weeks before this one.
    pub fn before(self, weeks: u32) -> Week {
        Week { monday: self.monday.checked_sub_days(Days::new(7 * u64::from(weeks))).unwrap_or(self.monday) }
    }

    pub fn after(self) -> Week {
        Week { monday: self.monday.checked_add_days(Days::new(7)).unwrap_or(self.monday) }
    }
}

impl fmt::Display for Week {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let week = self.monday.iso_week();
        write!(f, "{:04}-W{:02}", week.year(), week.week())
    }
}

impl Serialize for Week {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_case::day;

    #[test]
    fn a_week_runs_from_monday_to_sunday_and_belongs_to_the_year_of_its_thursday() {
        let week = Week::read("2019-W45").unwrap();
        assert_eq!((week.from(), week.to()), (day("2019-11-04"), day("2019-11-10")));
        assert_eq!(week.days().last(), Some(week.to()));
        assert_eq!(Week::of(day("2019-12-30")).to_string(), "2020-W01");
        assert_eq!(Week::of(day("2021-01-03")).to_string(), "2020-W53");
        assert_eq!(Week::of(day("2020-01-05")).before(1).to_string(), "2019-W52");
        assert_eq!(Week::read("2020-W53").unwrap().after().to_string(), "2021-W01");
    }

    #[test]
    fn only_one_way_of_writing_a_week_is_read() {
        for text in ["2019-W00", "2019-W53", "2019-w45", "2019-W5", "19-W45", "2019W45", "2019-W45 ", "+2019-W45", "2019-W+5", "-W1", ""] {
            assert_eq!(Week::read(text), None, "{text}");
        }
    }
}
