//! The tables of `docs/streams.md`, read from the document itself.

use crate::state::State;

const DOCUMENT: &str = include_str!("../../docs/streams.md");

/// The least number of rows in the document, so that the test cannot pass because it finds no table.
const ROWS_MIN: usize = 70;

/// An operation, with its result in each state.
pub(crate) struct Row {
    pub(crate) operation: String,
    pub(crate) results: Vec<String>,
}

/// The rows of all tables of results.
///
/// # Panics
///
/// When the columns of a table are not the states in order, or a row does not have one cell for each.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut in_table = false;
    for line in DOCUMENT.lines() {
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            in_table = false;
            continue;
        };
        let mut cells = cells.split('|').map(|cell| cell.trim().replace('`', ""));
        let first = cells.next().expect("a row has a cell");
        let rest: Vec<String> = cells.collect();
        if first == "operation" {
            assert_eq!(rest, State::ALL.map(State::name), "the columns are the states");
            in_table = true;
        } else if in_table && !first.starts_with("---") {
            assert_eq!(rest.len(), State::ALL.len(), "one cell for each state: {line}");
            rows.push(Row { operation: first, results: rest });
        }
    }
    assert!(rows.len() >= ROWS_MIN, "the document has only {} rows", rows.len());
    rows
}
