//! Sending, against servers that are up to something.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::Uri;
use hyper::body::Bytes;
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::delivery::client::Attempt;
use crate::delivery::client::Client;
use crate::delivery::client::system_resolver;
use crate::domain::webhook::retry::Answer;

const TIMEOUT: Duration = Duration::from_millis(500);

fn client(allowed: &[&str], resolve: crate::delivery::client::Resolve) -> Client {
    let allowed: Vec<IpNet> = allowed.iter().map(|net| net.parse().expect("a network")).collect();
    Client::new(allowed.into(), TIMEOUT, resolve)
}

/// A server that says the same to whoever connects, and then keeps the connection open; and how many connected.
async fn server(says: &'static [u8]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("has an address");
    let connected = Arc::new(AtomicUsize::new(0));
    let counter = connected.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut request = [0; 4_096];
                let _ = stream.read(&mut request).await;
                let _ = stream.write_all(says).await;
                // For ever, as far as the client is concerned.
                while stream.read(&mut request).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    (address, connected)
}

async fn post(client: &Client, uri: &str) -> Attempt {
    let uri: Uri = uri.parse().expect("a URI");
    client.post(&uri, &[("webhook-id", "msg_1".to_owned())], Bytes::from_static(b"{}")).await
}

#[tokio::test]
async fn what_is_answered_is_told() {
    let (address, _) = server(b"HTTP/1.1 503 Busy\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n").await;
    let attempt = post(&client(&["127.0.0.0/8"], system_resolver), &format!("http://{address}/")).await;
    assert_eq!(attempt.answer, Answer::Status { code: 503, retry_after: Some(7) });
    assert_eq!(attempt.failure, "it answered 503");
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (there, connected) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let says: &'static str = Box::leak(
        format!("HTTP/1.1 307 Moved\r\nlocation: http://{there}/\r\ncontent-length: 0\r\n\r\n").into_boxed_str(),
    );
    let (here, _) = server(says.as_bytes()).await;
    let attempt = post(&client(&["127.0.0.0/8"], system_resolver), &format!("http://{here}/")).await;
    assert_eq!(attempt.answer, Answer::Status { code: 307, retry_after: None });
    assert_eq!(connected.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn nobody_is_waited_for_longer_than_that() {
    let client = client(&["127.0.0.0/8"], system_resolver);
    // No answer, half a head, and a body that does not end.
    for says in [&b""[..], b"HTTP/1.1 20", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let (address, _) = server(says).await;
        let attempt = post(&client, &format!("http://{address}/")).await;
        assert_eq!((attempt.answer, attempt.failure.as_str()), (Answer::None, "it did not answer in time"));
    }
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("has an address");
    let attempt = post(&client, &format!("http://{nobody}/")).await;
    assert_eq!((attempt.answer, attempt.failure.as_str()), (Answer::None, "no connection could be made"));
}

#[tokio::test]
async fn an_answer_without_end_is_an_answer() {
    static ENDLESS: [u8; 64 << 10] = [b'x'; 64 << 10];
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n";
    let says: &'static [u8] = Box::leak([&head[..], &ENDLESS[..]].concat().into_boxed_slice());
    let (address, _) = server(says).await;
    let attempt = post(&client(&["127.0.0.0/8"], system_resolver), &format!("http://{address}/")).await;
    assert_eq!(attempt.answer, Answer::Status { code: 200, retry_after: None });
}

/// Addresses are looked at where the connection is made: a name that means a public address when it is looked at, and another
/// one when it is connected to, is looked at again.
#[tokio::test]
async fn a_name_that_changes_its_mind_gets_nowhere() {
    static ASKED: AtomicUsize = AtomicUsize::new(0);
    let (address, connected) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client(&[], |host| {
        assert_eq!(host, "rebinding.example");
        ASKED.fetch_add(1, Ordering::SeqCst);
        Box::pin(async { Ok(vec![SocketAddr::from(([127, 0, 0, 1], 0))].into_iter()) })
    });
    assert!(!client.is_blocked("rebinding.example"), "by its name alone it could be anybody");
    let attempt = post(&client, &format!("http://rebinding.example:{}/", address.port())).await;
    assert_eq!((attempt.answer, attempt.failure.as_str()), (Answer::None, "its address may not be contacted"));
    assert_eq!(ASKED.load(Ordering::SeqCst), 1);
    assert_eq!(connected.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_bad_address_among_good_ones_is_enough() {
    let client = client(&[], |_| {
        let found = ["93.184.215.14:0", "10.0.0.1:0"].map(|address| address.parse().expect("an address"));
        Box::pin(async move { io::Result::Ok(Vec::from(found).into_iter()) })
    });
    let attempt = post(&client, "http://mixed.example/").await;
    assert_eq!(attempt.failure, "its address may not be contacted");
}

#[tokio::test]
async fn an_address_in_a_url_is_looked_at_too() {
    let (address, connected) = server(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let client = client(&[], system_resolver);
    // The second is an address only to the system's resolver.
    for host in ["127.0.0.1", "2130706433", "127.1", "0x7f.1", "localhost", "[::1]", "[::ffff:127.0.0.1]"] {
        let attempt = post(&client, &format!("http://{host}:{}/", address.port())).await;
        assert_eq!(attempt.failure, "its address may not be contacted", "{host}");
    }
    assert_eq!(connected.load(Ordering::SeqCst), 0);
}
