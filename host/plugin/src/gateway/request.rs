//! The life of a request to a gateway that speaks `wasi:http`: admission, the guest's call, and what can end it early.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use wasmtime_wasi_http::WasiHttpView;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use super::body::{ArrivingBody, Client, Completion, GatewayBody, InstanceBody};
use super::error::GatewayError;
use super::instances::Exports;
use super::steps::LimitedBody;
use super::worker::{GatewayWorker, Listed, Running};
use crate::admission::NotAdmitted;
use crate::crash::Crash;
use crate::metered_call::MeteredCall;
use crate::request_control::{Overdue, RequestControl};
use crate::state::State;
use crate::trace::Trace;

/// How long a guest that was requested to finish, because its client is gone or the host stops, may take before its call is cut
/// off. Less than a worker has to shut down.
const FINISH_GRACE: Duration = Duration::from_secs(4);

/// Where the response, or the error in its place, is sent; empty once it was.
type ResponseSender = Arc<Mutex<Option<oneshot::Sender<Result<Response<HyperOutgoingBody>, GatewayError>>>>>;

impl GatewayWorker {
    /// Serves a request. The response's body arrives as the gateway writes it; dropping it tells the gateway that the client
    /// has left.
    ///
    /// # Errors
    ///
    /// See [`GatewayError`].
    pub async fn handle<B>(
        self: &Arc<Self>,
        request: Request<B>,
    ) -> Result<Response<GatewayBody>, GatewayError>
    where
        B: LimitedBody + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        if self.has_steps {
            let response = self.handle_in_steps(request).await?;
            return Ok(response.map(GatewayBody::Steps));
        }
        let response = self.handle_in_one_call(request).await?;
        Ok(response.map(GatewayBody::Instance))
    }

    async fn handle_in_one_call<B>(
        self: &Arc<Self>,
        request: Request<B>,
    ) -> Result<Response<InstanceBody>, GatewayError>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let permit = self.admission.enter().await.map_err(|error| match error {
            NotAdmitted::Full => GatewayError::Overloaded,
            NotAdmitted::Closed => GatewayError::Restarting,
        })?;
        let trace = Trace::of(request.headers());
        let control = Arc::new(RequestControl::new(trace, self.long.clone()));
        let (sender, response) = oneshot::channel();
        let (completion, completed) = oneshot::channel();
        let sender: ResponseSender = Arc::new(Mutex::new(Some(sender)));
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        {
            // Under the lock: a worker that stops either sees the request or refuses it.
            let mut requests = self.requests.lock();
            if self.stopping.load(Ordering::Acquire) {
                return Err(GatewayError::Restarting);
            }
            let request = request.map(|body| ArrivingBody { body, control: control.clone() });
            let serving = self.clone().serve(number, request, sender, completion, control.clone());
            let serving = async move {
                serving.await;
                drop(permit);
            };
            let task = tokio::spawn(serving).abort_handle();
            requests.insert(number, Running { task, control: control.clone() });
        }
        let client = Client(control.clone());
        let response = response.await.unwrap_or(Err(GatewayError::Restarting))?;
        client.0.body_taken();
        let (head, body) = response.into_parts();
        let is_bounded = head.headers.contains_key(http::header::CONTENT_LENGTH) || body.is_end_stream();
        let mut body = InstanceBody::new(body, completed, client);
        // A response with a known length becomes a long one only if it is not taken soon.
        if !is_bounded && !control.enter_long() {
            body = body.if_short().await.ok_or_else(|| GatewayError::TooManyLong(self.long.max()))?;
        }
        Ok(Response::from_parts(head, body))
    }

    async fn serve<B>(
        self: Arc<Self>,
        number: u64,
        request: Request<B>,
        sender: ResponseSender,
        completion: Completion,
        control: Arc<RequestControl>,
    ) where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let _listed = Listed { worker: &self, number };
        let outcome = self.call(number, request, &sender, completion, &control).await;
        if let Err(error) = outcome
            && let Some(sender) = sender.lock().take()
        {
            // The client may be gone.
            drop(sender.send(Err(error)));
        }
    }

    async fn call<B>(
        &self,
        number: u64,
        request: Request<B>,
        sender: &ResponseSender,
        completion: Completion,
        control: &Arc<RequestControl>,
    ) -> Result<(), GatewayError>
    where
        B: Body<Data = Bytes> + Unpin + Send + 'static,
        B::Error: Into<wasmtime_wasi_http::Error>,
    {
        let mut warm = self.instances.take(number).await.map_err(|_| GatewayError::Unavailable)?;
        let store = &mut warm.store;
        State::begin_call(store, vec![control.trace.clone()]);
        store.data_mut().request = Some(control.clone());
        let store_name = self.context.store.clone();
        let no_response = move |why: &dyn std::fmt::Display| {
            tracing::warn!(store = store_name, why = %why, "a gateway component gave no answer");
            GatewayError::NoResponse
        };
        let unusable = |error: wasmtime::Error| no_response(&error);
        let request =
            store.data_mut().http().new_incoming_request(Scheme::Http, request).map_err(unusable)?;
        let (waiting, responding, empty) = (sender.clone(), control.clone(), no_response.clone());
        let respond = move |response: Result<_, ErrorCode>| {
            responding.response_began();
            if let Some(sender) = waiting.lock().take() {
                let error = |code| empty(&format_args!("it said {code:?}"));
                // The client may be gone.
                drop(sender.send(response.map_err(error)));
            }
        };
        let outparam =
            store.data_mut().http().new_response_outparam_from_callback(respond).map_err(unusable)?;
        let yield_state = store.data().meter.yield_state();
        let wall = Duration::from_millis(self.context.limits.response_wall_ms);
        let Exports::Http(proxy) = &warm.exports else {
            return Err(no_response(&"it does not speak wasi:http"));
        };
        let handler = proxy.wasi_http_incoming_handler();
        let served = tokio::select! {
            served = MeteredCall::new(handler.call_handle(&mut *store, request, outparam), yield_state) => served,
            (crash, error) = self.cut_off(control) => {
                store.data().report(&crash);
                return Err(error);
            }
            () = control.no_response_within(wall) => {
                let crash = Crash::no_response(self.context.limits.response_wall_ms);
                store.data().report(&crash);
                return Err(GatewayError::Crashed { crash: Box::new(crash) });
            }
        };
        match served {
            Ok(()) => {
                // The client may have left with the response's last byte.
                let _ = completion.send(());
                self.instances.give_back(warm);
                let has_responded = sender.lock().is_none();
                if has_responded {
                    Ok(())
                } else {
                    Err(no_response(&"it returned without setting a response"))
                }
            }
            Err(error) => {
                let crash = store.data().crash(&error);
                store.data().report(&crash);
                Err(GatewayError::Crashed { crash: Box::new(crash) })
            }
        }
    }

    /// Completes when the call has to be cut off, with the crash for the operator and the error for a client without a
    /// response.
    async fn cut_off(&self, control: &RequestControl) -> (Crash, GatewayError) {
        let unfinished = async {
            control.closed().await;
            tokio::time::sleep(FINISH_GRACE).await;
        };
        tokio::select! {
            () = unfinished => {
                (Crash::cut_off("the guest did not finish when it was asked to"), GatewayError::Restarting)
            }
            overdue = control.overdue() => match overdue {
                Overdue::Stalled => {
                    (Crash::cut_off("the client took nothing of the answer for too long"), GatewayError::Restarting)
                }
                Overdue::LongShareFull => {
                    let message = "the request or its response took long, and there were as many of those as there may be";
                    (Crash::cut_off(message), GatewayError::TooManyLong(self.long.max()))
                }
            },
        }
    }
}
