//! The nodes that this one keeps connections to.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::link::Link;
use crate::node::Node;
use crate::task::Task;

pub(crate) struct Links {
    node: Arc<Node>,
    all: Mutex<BTreeMap<String, Arc<Link>>>,
    /// The task of each.
    tasks: Mutex<BTreeMap<String, Task>>,
}

impl Links {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, all: Mutex::default(), tasks: Mutex::default() }
    }

    pub(crate) fn get(&self, name: &str) -> Option<Arc<Link>> {
        self.all.lock().get(name).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Link>> {
        self.all.lock().values().cloned().collect()
    }

    /// Connects to these nodes, and no longer to others. This node itself is left out.
    pub(crate) fn set(&self, mut addresses: BTreeMap<String, Vec<String>>) {
        addresses.remove(&self.node.identity.name);
        let (mut all, mut tasks) = (self.all.lock(), self.tasks.lock());
        all.retain(|name, _| addresses.contains_key(name));
        tasks.retain(|name, _| addresses.contains_key(name));
        for (name, addresses) in addresses {
            if let Some(link) = all.get(&name) {
                link.set_addresses(addresses);
                continue;
            }
            let link = Link::new(Arc::clone(&self.node), name.clone(), addresses);
            tasks.insert(name.clone(), Task::spawn(Arc::clone(&link).run()));
            all.insert(name, link);
        }
    }

    /// Ends all connections, whoever still holds on to this.
    pub(crate) fn end(&self) -> Vec<Task> {
        self.all.lock().clear();
        std::mem::take(&mut *self.tasks.lock()).into_values().collect()
    }

    /// Ends all connections, and waits until they have ended.
    pub(crate) async fn stop(&self) {
        for task in self.end() {
            task.stop().await;
        }
    }
}
