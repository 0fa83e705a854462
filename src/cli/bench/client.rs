//! Plain HTTP/1.1 over one connection that is kept: as little work as it takes, since it shares the server's cores.

use std::io::ErrorKind;
use std::io::IoSlice;
use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use anyhow::bail;
use tokio::net::TcpStream;

/// A server, and the key to talk to it with.
#[derive(Clone, Debug)]
pub struct Target {
    pub address: SocketAddr,
    pub key: String,
}

/// One connection. It sends a request and waits for the answer; there is never a second one under way.
pub struct Connection {
    stream: TcpStream,
    target: Target,
    head: Vec<u8>,
    /// Its length is what has been read or could be read into.
    received: Vec<u8>,
}

/// What the server answered.
pub struct Answer<'c> {
    pub status: u16,
    /// When to send the request again.
    pub retry_after: Option<Duration>,
    pub body: &'c [u8],
}

/// The start of an answer, without its body.
struct Head {
    length: usize,
    status: u16,
    retry_after: Option<Duration>,
    body_length: usize,
}

impl Connection {
    pub async fn open(target: &Target) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(target.address)
            .await
            .with_context(|| format!("the server at {} cannot be reached", target.address))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, target: target.clone(), head: Vec::new(), received: vec![0; 4_096] })
    }

    pub async fn get(&mut self, path: &str) -> anyhow::Result<Answer<'_>> {
        self.ask("GET", path, "", &[]).await
    }

    pub async fn post(&mut self, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Answer<'_>> {
        self.ask("POST", path, content_type, body).await
    }

    async fn ask(&mut self, method: &str, path: &str, content_type: &str, body: &[u8]) -> anyhow::Result<Answer<'_>> {
        let Target { address, key } = &self.target;
        self.head.clear();
        write!(self.head, "{method} {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {key}\r\n")?;
        if !body.is_empty() {
            write!(self.head, "Content-Type: {content_type}\r\nContent-Length: {}\r\n", body.len())?;
        }
        self.head.extend_from_slice(b"\r\n");
        self.send(body).await.context("the server does not take a request")?;
        self.receive().await
    }

    /// Writes head and body with as few calls as the socket allows.
    async fn send(&self, body: &[u8]) -> std::io::Result<()> {
        let mut parts = [IoSlice::new(&self.head), IoSlice::new(body)];
        let mut left = parts.as_mut_slice();
        // Takes away what is empty from the start.
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            match self.stream.try_write_vectored(left) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut left, written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn receive(&mut self) -> anyhow::Result<Answer<'_>> {
        let mut filled: usize = 0;
        let mut head: Option<Head> = None;
        loop {
            if let Some(head) = &head
                && filled >= head.length.saturating_add(head.body_length)
            {
                let body = &self.received[head.length..head.length.saturating_add(head.body_length)];
                return Ok(Answer { status: head.status, retry_after: head.retry_after, body });
            }
            if filled == self.received.len() {
                self.received.resize(filled.saturating_mul(2), 0);
            }
            self.stream.readable().await?;
            match self.stream.try_read(&mut self.received[filled..]) {
                Ok(0) => bail!("the server closed the connection before its answer was complete"),
                Ok(read) => filled = filled.saturating_add(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error).context("the server's answer cannot be read"),
            }
            if head.is_none() {
                head = Head::read(&self.received[..filled])?;
            }
        }
    }
}

impl Head {
    /// Reads the head of an answer, if all of it is there.
    fn read(received: &[u8]) -> anyhow::Result<Option<Self>> {
        let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
        let text = std::str::from_utf8(&received[..end]).context("the head of an answer is not text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("an answer begins with no status: {text}"))?;
        let (mut retry_after, mut body_length) = (None, None);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.eq_ignore_ascii_case("content-length") {
                body_length = value.trim().parse().ok();
            } else if name.eq_ignore_ascii_case("retry-after") {
                retry_after = value.trim().parse().ok().map(Duration::from_secs);
            }
        }
        let body_length = body_length.with_context(|| format!("an answer does not say its length: {text}"))?;
        Ok(Some(Self { length: end.saturating_add(4), status, retry_after, body_length }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_when_all_of_it_is_there() {
        let text = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 12\r\nRetry-After: 3\r\n\r\n{\"title\":\"\"}";
        assert!(Head::read(&text[..60]).expect("so far so good").is_none());
        let head = Head::read(text).expect("is right").expect("is all there");
        assert_eq!((head.status, head.retry_after), (429, Some(Duration::from_secs(3))));
        assert_eq!((head.length, head.body_length), (text.len() - 12, 12));
        assert!(Head::read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err(), "is not spoken here");
    }
}
