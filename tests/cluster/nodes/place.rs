//! Where nodes run.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::sync::Mutex;

use exesdb_tests::own_loopback;

/// Where a node runs.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// A program that runs its commands, such as one that enters a network namespace; empty for none.
    pub(crate) within: Vec<String>,
    /// Where it serves clients.
    pub(crate) clients: SocketAddr,
    /// Where it serves other nodes.
    pub(crate) peers: SocketAddr,
}

impl Place {
    /// Places on loopback with ports that are free.
    pub(crate) fn on_loopback(count: usize) -> Vec<Self> {
        let place = |_| Self { within: Vec::new(), clients: free_address(), peers: free_address() };
        (0..count).map(place).collect()
    }
}

/// An address that nobody listens on, and that no other test of this process was given.
pub(crate) fn free_address() -> SocketAddr {
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((own_loopback(1), 0)).expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        if GIVEN.lock().expect("nobody panics").insert(address) {
            return address;
        }
    }
}
