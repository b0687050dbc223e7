//! A task that ends with its owner.

use tokio::task::JoinHandle;

/// A task. It is aborted when this is dropped.
pub(crate) struct Task(JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(tokio::spawn(future))
    }

    /// Aborts it, and waits until it has ended.
    pub(crate) async fn stop(mut self) {
        self.0.abort();
        // It ends as aborted, or just ended.
        drop((&mut self.0).await);
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}
