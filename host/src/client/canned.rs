//! A gateway for tests that answers with what it was given, one answer for each connection, and keeps the requests.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::Client;

/// A gateway with canned answers.
pub(crate) struct Canned {
    pub(crate) client: Client,
    /// Gives the requests when all answers were given.
    pub(crate) requests: JoinHandle<Vec<String>>,
}

/// An answer with a JSON body.
pub(crate) fn json(status: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The beginning of an event stream; it ends with the connection.
pub(crate) fn event_stream(messages: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: text/event-stream\r\n\r\n{messages}")
}

impl Canned {
    /// Serves the answers in order.
    pub(crate) async fn start(answers: Vec<String>) -> Canned {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = tokio::spawn(async move {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = Vec::new();
                while !is_complete(&request) {
                    assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut off");
                }
                requests.push(String::from_utf8(request).unwrap());
                stream.write_all(answer.as_bytes()).await.unwrap();
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
