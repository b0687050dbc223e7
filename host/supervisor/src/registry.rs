//! Maps names to typed values, which are looked up at the time of use.
//!
//! A restarted child is another child, and a handle to the old one is dead. So children find each other by name, each
//! time; a lookup costs a read lock and a hash.

use std::any::Any;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use parking_lot::RwLock;

/// The current registration of a name.
struct Entry {
    /// Distinguishes this registration from later ones of the same name.
    serial: u64,
    value: Arc<dyn Any + Send + Sync>,
}

#[derive(Default)]
struct Names {
    next_serial: u64,
    entries: HashMap<String, Entry>,
}

/// Maps names to typed values. Clones share one table.
#[derive(Clone, Default)]
pub struct Registry {
    names: Arc<RwLock<Names>>,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Registry {
        Registry::default()
    }

    /// Registers `value` until the returned guard is dropped.
    ///
    /// A registration of a name that is taken replaces the old one, so that a child does not fail because its predecessor
    /// is still being cleaned up. The old guard then removes nothing.
    pub fn register<T: Send + Sync + 'static>(&self, name: impl Into<String>, value: Arc<T>) -> Registration {
        let name = name.into();
        let mut names = self.names.write();
        let serial = names.next_serial;
        names.next_serial += 1;
        let replaced = names.entries.insert(name.clone(), Entry { serial, value });
        drop(names);
        // Outside the lock: the last handle's destructor may use the registry itself.
        drop(replaced);
        Registration { names: Arc::clone(&self.names), name, serial }
    }

    /// The value that is registered under `name`, if it is a `T`.
    pub fn get<T: Send + Sync + 'static>(&self, name: &str) -> Option<Arc<T>> {
        let value = Arc::clone(&self.names.read().entries.get(name)?.value);
        value.downcast().ok()
    }

    /// All names in use, sorted; for consoles and error messages.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.read().entries.keys().cloned().collect();
        names.sort();
        names
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("names", &self.names()).finish()
    }
}

/// Keeps a name registered. Dropping it removes the name, unless the name was registered anew.
#[must_use = "the name is removed when the registration is dropped"]
pub struct Registration {
    names: Arc<RwLock<Names>>,
    name: String,
    serial: u64,
}

impl Registration {
    /// The registered name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        let mut names = self.names.write();
        let removed = match names.entries.get(&self.name) {
            Some(entry) if entry.serial == self.serial => names.entries.remove(&self.name),
            _ => None,
        };
        drop(names);
        drop(removed);
    }
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("name", &self.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Registry;

    #[test]
    fn the_guard_removes_the_name() {
        let registry = Registry::new();
        let guard = registry.register("store", Arc::new(7_u32));
        assert_eq!(registry.get::<u32>("store").as_deref(), Some(&7));
        assert!(registry.get::<String>("store").is_none(), "another type is not found");
        drop(guard);
        assert!(registry.get::<u32>("store").is_none());
    }

    #[test]
    fn a_replaced_name_survives_the_old_guard() {
        let registry = Registry::new();
        let old = registry.register("store", Arc::new(1_u32));
        let _new = registry.register("store", Arc::new(2_u32));
        drop(old);
        assert_eq!(registry.get::<u32>("store").as_deref(), Some(&2));
    }
}
