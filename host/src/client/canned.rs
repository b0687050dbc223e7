//! A gateway for tests with canned responses, one for each connection. It keeps the requests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::http::Client;

/// A gateway with canned responses.
pub(crate) struct Canned {
    pub(crate) client: Client,
    /// Yields the requests once all responses were sent.
    pub(crate) requests: JoinHandle<Vec<String>>,
}

/// A response with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// A stream of server-sent events, which ends with the connection.
pub(crate) fn event_stream(messages: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{messages}")
}

impl Canned {
    /// Serves the responses in order.
    pub(crate) async fn start(responses: Vec<String>) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for response in responses {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_complete(&request) {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut off");
                }
                requests.push(String::from_utf8(request).unwrap());
                stream.write_all(response.as_bytes()).await.unwrap();
            }
            requests
        });
        Canned { client: Client::new(url.parse().unwrap(), "main"), requests }
    }
}

fn is_complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}
