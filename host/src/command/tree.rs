//! `exesdb tree`: the supervision tree as it is now, or live.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;
use exesdb_supervisor::{Node, NodeState, Reason};
use jiff::Timestamp;

use super::connection::ControlOptions;
use crate::control::{ControlClient, ControlError, Request, Response};
use crate::output::{Output, printable};

/// Time between two pictures of `--watch`.
const WATCH_PERIOD: Duration = Duration::from_secs(1);
/// Moves the cursor to the upper left corner.
const HOME: &str = "\x1b[H";
/// Clears the rest of the line.
const CLEAR_LINE: &str = "\x1b[K";
/// Clears the rest of the screen.
const CLEAR_BELOW: &str = "\x1b[J";
/// Maximum length of an exit reason in the table, in characters. That of a trap can be long.
const LAST_EXIT_CHARS: usize = 60;
const SECONDS_PER_DAY: u64 = 86_400;

/// Options of `tree`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  exesdb tree
  exesdb tree --watch
  exesdb tree --json | jq -r '.. | objects | select(.restarts? > 0) | .path'

INTENSITY is the number of restarts in the supervisor's period, of those that it allows: one more than allowed,
and it gives up and ends itself.")]
pub struct TreeOptions {
    /// Draw the tree again every second, until Ctrl-C.
    #[arg(long, short)]
    pub watch: bool,

    /// Print the tree as JSON (with --watch: one line every second).
    #[arg(long)]
    pub json: bool,

    /// The host.
    #[command(flatten)]
    pub control: ControlOptions,
}

/// Prints the tree.
pub async fn run(options: TreeOptions) -> anyhow::Result<()> {
    let mut output = Output::stdout();
    let picture = |tree: Node| -> anyhow::Result<Vec<String>> {
        if options.json {
            return Ok(vec![serde_json::to_string(&tree)?]);
        }
        let mut lines = render(&tree, now_micros());
        // Long lines would wrap, and a picture that is redrawn in place must not.
        if !options.watch {
            add_troubles(&mut lines, &tree);
        }
        Ok(lines)
    };
    let first = picture(ask(&options).await?)?;
    if !options.watch {
        first.iter().try_for_each(|line| output.line(line))?;
        return output.flush();
    }
    let in_place = !options.json && std::io::stdout().is_terminal();
    if in_place {
        output.bytes(format!("{HOME}{CLEAR_BELOW}").as_bytes())?;
    }
    let mut lines = first;
    loop {
        draw(&mut output, &lines, in_place)?;
        tokio::time::sleep(WATCH_PERIOD).await;
        // Watching includes waiting for a host that is being restarted.
        lines = match ask(&options).await {
            Ok(tree) => picture(tree)?,
            Err(error) if options.json => return Err(error.into()),
            Err(error) => vec![printable(&error.to_string())],
        };
    }
}

async fn ask(options: &TreeOptions) -> Result<Node, ControlError> {
    let mut client = ControlClient::connect(&options.control.data).await?;
    match client.ask(&Request::Tree {}).await? {
        Response::Tree { tree } => Ok(tree),
        other => Err(client.unexpected(&other)),
    }
}

fn draw(output: &mut Output, lines: &[String], in_place: bool) -> anyhow::Result<()> {
    if in_place {
        output.bytes(HOME.as_bytes())?;
    }
    for line in lines {
        output.line(if in_place { format!("{line}{CLEAR_LINE}") } else { line.clone() })?;
    }
    if in_place {
        output.bytes(CLEAR_BELOW.as_bytes())?;
    }
    output.flush()
}

fn now_micros() -> u64 {
    u64::try_from(Timestamp::now().as_microsecond()).unwrap_or(0)
}

const COLUMNS: usize = 7;
const HEADER: [&str; COLUMNS] =
    ["CHILD", "STATE", "RESTARTS", "UPTIME", "STRATEGY", "INTENSITY", "LAST EXIT"];

/// The tree as a table for people, with a header.
fn render(tree: &Node, now_micros: u64) -> Vec<String> {
    let mut rows = vec![HEADER.map(str::to_owned)];
    add_rows(&mut rows, tree, "", "", now_micros);
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: [String; COLUMNS]| {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.into_iter().map(line).collect()
}

/// Adds the rows of a node and its children. `branch` is drawn before the node, `trunk` before its children.
fn add_rows(rows: &mut Vec<[String; COLUMNS]>, node: &Node, branch: &str, trunk: &str, now_micros: u64) {
    let uptime = match node.started_at_micros {
        0 => "-".to_owned(),
        started => duration(now_micros.saturating_sub(started) / 1_000_000),
    };
    let intensity = node.intensity.map_or("-".to_owned(), |intensity| {
        let period = Duration::from_millis(intensity.period_ms);
        format!("{}/{} in {period:?}, {} left", intensity.used, intensity.restarts, intensity.left)
    });
    let last_exit = trouble(node).unwrap_or_else(|| "-".to_owned());
    rows.push([
        format!("{branch}{}", printable(&node.id)),
        state(node.state).to_owned(),
        node.restarts.to_string(),
        uptime,
        node.strategy.map_or("-", |strategy| strategy.name()).to_owned(),
        intensity,
        last_exit.chars().take(LAST_EXIT_CHARS).collect(),
    ]);
    let last = node.children.len().saturating_sub(1);
    for (index, child) in node.children.iter().enumerate() {
        let (fork, below) = if index == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        add_rows(rows, child, &format!("{trunk}{fork}"), &format!("{trunk}{below}"), now_micros);
    }
}

/// What is wrong with a child now, or else the reason of its last exit.
fn trouble(node: &Node) -> Option<String> {
    let trouble = node.note.clone().or_else(|| Some(root_cause(node.last_exit.as_deref()?)))?;
    Some(printable(&trouble))
}

/// Adds the full text of what is wrong with children that are parked or refuse calls, where the table cuts it off.
fn add_troubles(lines: &mut Vec<String>, node: &Node) {
    let is_in_trouble = node.state == NodeState::Parked || node.note.is_some();
    let trouble = trouble(node).filter(|trouble| is_in_trouble && trouble.chars().count() > LAST_EXIT_CHARS);
    if let Some(trouble) = trouble {
        lines.push(format!("{}: {trouble}", printable(&node.path)));
    }
    node.children.iter().for_each(|child| add_troubles(lines, child));
}

/// The cause of an exit, without the reports of the supervisors above that their child did not start.
fn root_cause(exit: &str) -> String {
    match exit.parse::<Reason>() {
        Ok(reason) if exit.starts_with("shutdown:failed_to_start_child(") => {
            format!("error:{}", reason.message())
        }
        _ => exit.to_owned(),
    }
}

fn state(state: NodeState) -> &'static str {
    match state {
        NodeState::Starting => "starting",
        NodeState::Running => "running",
        NodeState::Stopping => "stopping",
        NodeState::Restarting => "restarting",
        NodeState::Undefined => "undefined",
        NodeState::Parked => "parked",
    }
}

/// A duration in its two largest units.
fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / SECONDS_PER_DAY, seconds % SECONDS_PER_DAY);
    let (hours, minutes, seconds) = (rest / 3_600, rest / 60 % 60, rest % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {seconds}s"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{add_troubles, duration, render, root_cause};
    use exesdb_supervisor::{Intensity, Kind, Node, NodeState, Strategy};

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m 0s"),
            (3_599, "59m 59s"),
            (3_600, "1h 0m"),
            (86_399, "23h 59m"),
            (86_400, "1d 0h"),
            (u64::MAX, "213503982334601d 7h"),
        ];
        for (seconds, expected) in cases {
            assert_eq!(duration(seconds), expected);
        }
    }

    fn node(id: &str, children: Vec<Node>) -> Node {
        let supervisor = !children.is_empty();
        Node {
            id: id.to_owned(),
            path: String::new(),
            kind: if supervisor { Kind::Supervisor } else { Kind::Worker },
            state: NodeState::Running,
            restarts: 0,
            started_at_micros: 1_000_000,
            last_exit: None,
            note: None,
            strategy: supervisor.then_some(Strategy::RestForOne),
            intensity: supervisor.then_some(Intensity { restarts: 3, period_ms: 5_000, used: 1, left: 2 }),
            detail: None,
            children,
        }
    }

    #[test]
    fn a_reason_that_the_table_cuts_off_is_printed_below_it() {
        let long = "because ".repeat(10);
        let troubles = |state, note: Option<&str>, last_exit: Option<&str>| {
            let mut child = node("c", vec![]);
            child.path = "host/c".to_owned();
            (child.state, child.note, child.last_exit) =
                (state, note.map(str::to_owned), last_exit.map(str::to_owned));
            let mut lines = Vec::new();
            add_troubles(&mut lines, &node("host", vec![child]));
            lines
        };
        let whole = [format!("host/c: {long}")];
        assert_eq!(troubles(NodeState::Parked, Some(&long), None), whole);
        assert_eq!(troubles(NodeState::Running, Some(&long), None), whole);
        assert_eq!(
            troubles(NodeState::Parked, None, Some(&format!("error:{long}"))),
            [format!("host/c: error:{long}")]
        );
        assert!(troubles(NodeState::Running, None, Some(&long)).is_empty(), "it runs again");
        assert!(troubles(NodeState::Parked, Some("short"), None).is_empty(), "the table has it");
    }

    #[test]
    fn the_tree_is_a_table() {
        let mut parked = node("store\x1b", vec![]);
        parked.state = NodeState::Parked;
        parked.started_at_micros = 0;
        parked.restarts = 12;
        parked.last_exit = Some("error:x".to_owned());
        let tree = node("host", vec![node("a", vec![parked]), node("b", vec![])]);
        assert_eq!(root_cause("shutdown:failed_to_start_child(a,error:why)"), "error:why");
        assert_eq!(
            render(&tree, 63_000_000),
            [
                "CHILD              STATE    RESTARTS  UPTIME  STRATEGY      INTENSITY          LAST EXIT",
                "host               running  0         1m 2s   rest_for_one  1/3 in 5s, 2 left  -",
                "├─ a               running  0         1m 2s   rest_for_one  1/3 in 5s, 2 left  -",
                "│  └─ store\\u{1b}  parked   12        -       -             -                  error:x",
                "└─ b               running  0         1m 2s   -             -                  -",
            ]
        );
    }
}
