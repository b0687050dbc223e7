//! The gateway over HTTP/2, without TLS: many requests at a time on one connection.

use bytes::Bytes;
use exesdb_tests::{Host, PATIENCE};
use http::{Request, Response, StatusCode};
use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt as _, Either, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::Value;
use tokio::net::TcpStream;

type Body = Either<Empty<Bytes>, Channel<Bytes>>;

async fn connect(host: &Host) -> SendRequest<Body> {
    let address = host.http.address();
    let socket = TcpStream::connect(address).await.expect("the host accepts");
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(socket));
    let (sender, connection) = handshake.await.expect("the host speaks HTTP/2");
    tokio::spawn(connection);
    sender
}

/// Begins a pipeline of appends.
async fn pipeline(connection: &mut SendRequest<Body>, host: &Host) -> (Sender<Bytes>, Response<Incoming>) {
    let (appends, body) = Channel::new(1);
    let request = Request::post(format!("http://{}/v1/stores/main/append", host.http.address()))
        .header("content-type", "application/x-ndjson")
        .body(Either::Right(body))
        .expect("a request");
    let response = connection.send_request(request).await.expect("the host responds");
    assert_eq!(response.status(), StatusCode::OK);
    (appends, response)
}

async fn lines(response: Response<Incoming>) -> Vec<Value> {
    let body = response.into_body().collect().await.expect("the response has an end").to_bytes();
    let line = |line: &[u8]| serde_json::from_slice(line).expect("answers are JSON");
    body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(line).collect()
}

async fn append(appends: &mut Sender<Bytes>, stream: &str, number: usize) {
    let line = format!(
        "{{\"stream\":\"{stream}\",\"events\":[{{\"id\":\"{number}\",\"type\":\"t\",\"data\":1}}]}}\n"
    );
    appends.send_data(line.into()).await.expect("the host reads");
}

#[test]
fn pipelines_and_short_requests_share_a_connection() {
    const APPENDS: usize = 500;
    let host = Host::start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let work = async {
        let mut connection = connect(&host).await;
        let (mut to_a, from_a) = pipeline(&mut connection, &host).await;
        let (mut to_b, from_b) = pipeline(&mut connection, &host).await;
        for number in 0..APPENDS {
            append(&mut to_a, "a", number).await;
            append(&mut to_b, "b", number).await;
        }
        let info = format!("http://{}/v1/stores/main/streams", host.http.address());
        let request = Request::get(info).body(Either::Left(Empty::new())).expect("a request");
        let response = connection.send_request(request).await.expect("the host responds");
        assert_eq!(response.status(), StatusCode::OK);
        drop((to_a, to_b));
        for answers in [lines(from_a).await, lines(from_b).await] {
            let versions: Vec<u64> =
                answers.iter().filter_map(|answer| answer["last_version"].as_u64()).collect();
            assert_eq!(versions, (0..APPENDS as u64).collect::<Vec<_>>());
        }
    };
    runtime.block_on(async { tokio::time::timeout(PATIENCE, work).await }).expect("it ends in time");
    assert_eq!((host.http.read("a").len(), host.http.read("b").len()), (APPENDS, APPENDS));
}
