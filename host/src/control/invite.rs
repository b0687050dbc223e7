//! Tokens with which other nodes join the cluster that this host is a node of.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::host::Host;
use super::protocol::{Refusal, Response};

/// Makes tokens. A node of a cluster registers it under [`Inviter::NAME`].
pub struct Inviter {
    make: Box<dyn Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync>,
}

impl Inviter {
    /// Its name in the registry.
    pub const NAME: &str = "cluster/inviter";

    /// `make` gives a token as one line of text, or says why there is none.
    pub fn new(
        make: impl Fn() -> BoxFuture<'static, Result<String, String>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self { make: Box::new(make) })
    }
}

impl std::fmt::Debug for Inviter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inviter").finish_non_exhaustive()
    }
}

/// Makes a token. It is in no log: it is a password.
pub(super) async fn invite(host: &Host) -> Result<Response, Refusal> {
    let Some(inviter) = host.registry.get::<Inviter>(Inviter::NAME) else {
        let detail = "this host is in no cluster, or is not far enough with its start; `exesdb cluster init` makes it the first \
                      node of one";
        return Err(Refusal::Declined { detail: detail.to_owned() });
    };
    tracing::info!("a token for a node that joins was asked for over the control socket");
    let token = (inviter.make)().await.map_err(|detail| Refusal::Failed { detail })?;
    Ok(Response::Invited { token })
}
