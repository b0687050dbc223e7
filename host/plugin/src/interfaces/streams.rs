//! `exesdb:store/streams` as gateways see it: each call goes to an instance of the store's streams component.

use std::sync::Arc;

use crate::bindings::streams::{AppendRequest, AppendResult, EventPage, Host, StreamInfo, StreamPage};
use crate::bindings::types::{Direction, Error};
use crate::names;
use crate::persistence::{StreamsCall, StreamsPool};
use crate::state::State;

/// Requests of one `append` call: as many as a component is handed at once.
const REQUESTS_MAX: usize = 256;

impl State {
    fn streams(&self, name: &str) -> Result<Arc<StreamsPool>, Error> {
        self.tenancy
            .registry
            .get(name)
            .ok_or_else(|| Error::Restarting("the store is being restarted".into()))
    }

    fn stream_readers(&self) -> Result<Arc<StreamsPool>, Error> {
        self.streams(&names::readers(&self.tenancy.store))
    }
}

impl Host for State {
    async fn append(&mut self, requests: Vec<AppendRequest>) -> Vec<Result<AppendResult, Error>> {
        if requests.len() > REQUESTS_MAX {
            let error = Error::TooLarge(format!("one call takes at most {REQUESTS_MAX} append requests"));
            return vec![Err(error); requests.len()];
        }
        let writers = match self.streams(&names::writers(&self.tenancy.store)) {
            Ok(writers) => writers,
            Err(error) => return vec![Err(error); requests.len()],
        };
        let answers = requests.into_iter().map(|request| {
            let request = Arc::new(request);
            let (writers, caller) = (&writers, self.caller());
            async move {
                writers
                    .call(&request.stream_id, caller, |reply| StreamsCall::Append {
                        request: request.clone(),
                        reply,
                    })
                    .await
            }
        });
        // Polled in order, so requests for one stream enter its mailbox in the order of the list.
        futures_util::future::join_all(answers).await
    }

    async fn read_stream(
        &mut self,
        stream_id: String,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let readers = self.stream_readers()?;
        readers
            .call_any(self.caller(), |reply| StreamsCall::ReadStream {
                stream_id,
                from,
                count,
                direction,
                reply,
            })
            .await
    }

    async fn read_all(
        &mut self,
        from: Option<u64>,
        count: u32,
        direction: Direction,
    ) -> Result<EventPage, Error> {
        let readers = self.stream_readers()?;
        readers.call_any(self.caller(), |reply| StreamsCall::ReadAll { from, count, direction, reply }).await
    }

    async fn list_streams(
        &mut self,
        prefix: String,
        after: Option<String>,
        count: u32,
    ) -> Result<StreamPage, Error> {
        let readers = self.stream_readers()?;
        readers
            .call_any(self.caller(), |reply| StreamsCall::ListStreams { prefix, after, count, reply })
            .await
    }

    async fn get_stream_info(&mut self, stream_id: String) -> Result<StreamInfo, Error> {
        let readers = self.stream_readers()?;
        readers.call_any(self.caller(), |reply| StreamsCall::StreamInfo { stream_id, reply }).await
    }
}
