//! A proxy before a node, whose connections can be ended or held.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

pub struct Proxy {
    pub address: String,
    connections: Arc<Mutex<Vec<JoinHandle<()>>>>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    pub async fn start(target: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let connections: Arc<Mutex<Vec<JoinHandle<()>>>> = Arc::default();
        let (all, target) = (Arc::clone(&connections), target.to_owned());
        let accepting = tokio::spawn(async move {
            loop {
                let (mut from, _) = listener.accept().await.unwrap();
                let target = target.clone();
                all.lock().push(tokio::spawn(async move {
                    if let Ok(mut to) = TcpStream::connect(target).await {
                        drop(copy_bidirectional(&mut from, &mut to).await);
                    }
                }));
            }
        });
        Self { address, connections, accepting }
    }

    /// Ends all connections. Later ones are made as before.
    pub fn kill(&self) -> usize {
        let connections = std::mem::take(&mut *self.connections.lock());
        connections.iter().filter(|connection| !connection.is_finished()).inspect(|one| one.abort()).count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.kill();
        self.accepting.abort();
    }
}
