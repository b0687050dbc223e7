//! How long each suite took.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

/// A table of suites with their times.
#[derive(Debug, Default)]
pub(super) struct Times {
    rows: Vec<Row>,
}

#[derive(Debug, PartialEq)]
struct Row {
    suite: String,
    time: Duration,
    remark: String,
}

impl Times {
    /// Adds the suites in a file of test results (JUnit's XML, as nextest writes it). The time of a suite is the sum of the
    /// times of its tests, although these run in parallel.
    pub(super) fn add_results(&mut self, file: &Path) -> Result<()> {
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        self.parse(&text).with_context(|| format!("cannot read the test results in {}", file.display()))
    }

    fn parse(&mut self, xml: &str) -> Result<()> {
        let document = roxmltree::Document::parse(xml)?;
        let mut suites: BTreeMap<&str, Vec<(f64, &str)>> = BTreeMap::new();
        for suite in document.descendants().filter(|node| node.has_tag_name("testsuite")) {
            let name = suite.attribute("name").context("a suite has no name")?;
            let tests = suites.entry(name).or_default();
            for test in suite.children().filter(|node| node.has_tag_name("testcase")) {
                let seconds: f64 = test.attribute("time").context("a test has no time")?.parse()?;
                tests.push((seconds, test.attribute("name").context("a test has no name")?));
            }
        }
        for (suite, tests) in suites {
            let seconds = tests.iter().map(|(seconds, _)| seconds).sum();
            let slowest = tests.iter().max_by(|one, other| one.0.total_cmp(&other.0));
            let slowest = slowest.map_or(String::new(), |(seconds, name)| format!("{name} {seconds:.1} s"));
            let remark = format!("{} tests; slowest: {slowest}", tests.len());
            self.add(suite, Duration::try_from_secs_f64(seconds)?, remark);
        }
        Ok(())
    }

    /// Adds a row.
    pub(super) fn add(&mut self, suite: &str, time: Duration, remark: String) {
        self.rows.push(Row { suite: suite.to_owned(), time, remark });
    }

    /// Prints the table, the longest time first.
    pub(super) fn print(&mut self) {
        self.rows.sort_by_key(|row| std::cmp::Reverse(row.time));
        for Row { suite, time, remark } in &self.rows {
            eprintln!("{:>8.1} s  {suite:<32}  {remark}", time.as_secs_f32());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Times;

    #[test]
    fn a_suite_has_the_sum_of_its_tests_times() {
        let xml = r#"<?xml version="1.0" encoding="UTF-8"?>
            <testsuites name="nextest-run" tests="3" time="9.0">
                <testsuite name="exesdb-tests::flow" tests="2">
                    <testcase name="read::pages" classname="exesdb-tests::flow" time="0.5"/>
                    <testcase name="append::one" classname="exesdb-tests::flow" time="1.250"><failure/></testcase>
                </testsuite>
                <testsuite name="xtask::bin/xtask" tests="1"><testcase name="a" time="0.1"/></testsuite>
            </testsuites>"#;
        let mut times = Times::default();
        times.parse(xml).unwrap();
        let rows: Vec<_> = times
            .rows
            .iter()
            .map(|row| (row.suite.as_str(), row.time.as_millis(), row.remark.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("exesdb-tests::flow", 1750, "2 tests; slowest: append::one 1.2 s"),
                ("xtask::bin/xtask", 100, "1 tests; slowest: a 0.1 s"),
            ]
        );
        assert!(times.parse("no results").is_err());
    }
}
