//! The scenario file, as the oracle's manual defines it. Unknown keys are errors.

use serde::Deserialize;
use serde_json::Value;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub format: u64,
    pub name: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "tags")]
    _tags: Vec<String>,
    pub root: Node,
    pub steps: Vec<Step>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Type {
    #[default]
    Worker,
    Supervisor,
}

/// A worker or a supervisor; what is left out has the default of its type.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    pub id: String,
    #[serde(default, rename = "type")]
    pub kind: Type,
    #[serde(default)]
    pub restart: exesdb_supervisor::Restart,
    pub shutdown: Option<Value>,
    #[serde(default)]
    pub significant: bool,
    #[serde(default = "one_ok")]
    pub start: Vec<String>,
    #[serde(default = "one_ok")]
    pub stop: Vec<String>,
    pub strategy: Option<exesdb_supervisor::Strategy>,
    pub intensity: Option<u32>,
    pub period: Option<u64>,
    #[serde(default)]
    pub auto_shutdown: exesdb_supervisor::AutoShutdown,
    #[serde(default)]
    pub children: Vec<Node>,
    pub template: Option<Box<Node>>,
}

fn one_ok() -> Vec<String> {
    vec!["ok".to_owned()]
}

/// A step, or an item of a batch, which has no `sup` of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub op: String,
    #[serde(default, rename = "note")]
    _note: Value,
    pub path: Option<String>,
    pub reason: Option<String>,
    pub sup: Option<String>,
    pub id: Option<String>,
    pub instance: Option<String>,
    pub spec: Option<Node>,
    pub start: Option<Vec<String>>,
    pub stop: Option<Vec<String>>,
    pub ms: Option<u64>,
    #[serde(default)]
    pub items: Vec<Step>,
}

impl Step {
    /// What the trace calls `target`.
    pub fn target(&self) -> Option<String> {
        if let Some(path) = &self.path {
            return Some(path.clone());
        }
        let sup = self.sup.clone()?;
        let child = self.spec.as_ref().map(|spec| &spec.id).or(self.id.as_ref()).or(self.instance.as_ref());
        Some(match child {
            Some(child) => format!("{sup}/{child}"),
            None => sup,
        })
    }
}

/// Entry `n` of a script, the last one after its end.
pub fn nth(script: &[String], n: u64) -> &str {
    let index = usize::try_from(n).expect("a small number") - 1;
    &script[index.min(script.len() - 1)]
}
