//! HTTP connections, bounded in number and in every kind of waiting; `axum::serve` bounds neither.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use ingest::{Full, Places};
use observe::Metrics;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Sleep, sleep, timeout};
use tower_service::Service;

/// How long and how much a peer may go on sending after the last answer; twice the largest request.
const HEAR_OUT_TIME: Duration = Duration::from_secs(5);
const HEAR_OUT_BYTES: u64 = 16 << 20;

#[derive(Clone)]
pub struct HttpBounds {
    pub places: Places,
    /// For a request's header, from the opening of the connection or the end of the answer before.
    pub header_timeout: Duration,
    /// For a request's body.
    pub body_timeout: Duration,
    /// In which some of an answer must be taken.
    pub stall_timeout: Duration,
}

/// Serves until told to stop, then until the open requests are answered.
pub async fn serve(listener: TcpListener, router: Router, bounds: HttpBounds, metrics: Metrics, mut stopping: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    let connection = Connection { router: router.clone(), bounds: bounds.clone(), metrics: metrics.clone() };
                    connections.spawn(connection.serve(stream, peer, stopping.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: give the others time to end.
                    tracing::warn!(%error, "an HTTP connection could not be accepted");
                    sleep(Duration::from_millis(100)).await;
                }
            },
            Some(_) = connections.join_next() => {}
            () = stop_asked(&mut stopping) => break,
        }
    }
    while connections.join_next().await.is_some() {}
}

/// Ends when the service stops.
async fn stop_asked(stopping: &mut watch::Receiver<bool>) {
    // A sender that is gone means the same.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

struct Connection {
    router: Router,
    bounds: HttpBounds,
    metrics: Metrics,
}

/// What is known of a connection when it ends.
#[derive(Default)]
struct Course {
    /// Bytes have come since the last answer.
    heard: AtomicBool,
    body_late: AtomicBool,
    deaf: AtomicBool,
}

impl Connection {
    async fn serve(self, stream: TcpStream, peer: SocketAddr, mut stopping: watch::Receiver<bool>) {
        match self.bounds.places.take(peer.ip()) {
            Ok(_place) => {
                let _open = self.metrics.http_connection_open();
                let (reason, answered) = self.speak(stream, &mut stopping).await;
                self.count_end(peer, reason);
                if let Some(stream) = answered {
                    hear_out(stream, &mut stopping).await;
                }
            }
            Err(Full::InAll) => self.count_end(peer, "too_many"),
            Err(Full::OfAddress) => self.count_end(peer, "too_many_of_address"),
        }
    }

    fn count_end(&self, peer: SocketAddr, reason: &str) {
        self.metrics.http_connections_ended.with_label_values(&[reason]).inc();
        tracing::debug!(%peer, reason, "http connection ended");
    }

    /// Gives the label under which the end is counted, and the stream if the last word on it was an answer.
    async fn speak(&self, stream: TcpStream, stopping: &mut watch::Receiver<bool>) -> (&'static str, Option<TcpStream>) {
        // Small answers should not wait for more; a socket that refuses this is about to fail anyway.
        let _ = stream.set_nodelay(true);
        let course = Arc::new(Course::default());
        let guarded = Guarded { stream, course: course.clone(), stall_timeout: self.bounds.stall_timeout, stalled: None };
        let answer = service_fn(|request: hyper::Request<Incoming>| {
            let course = course.clone();
            let request = request.map(|body| Body::new(TimedBody { body, until: Box::pin(sleep(self.bounds.body_timeout)), course }));
            self.router.clone().call(request)
        });
        let mut builder = http1::Builder::new();
        builder.timer(TokioTimer::new()).header_read_timeout(self.bounds.header_timeout);
        let mut connection = builder.serve_connection(TokioIo::new(guarded), answer);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stop_asked(stopping) => {
                Pin::new(&mut connection).graceful_shutdown();
                (&mut connection).await
            }
        };
        let stream = connection.into_parts().io.into_inner().stream;
        let seen = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let answered = ended.as_ref().err().is_none_or(hyper::Error::is_parse).then_some(stream);
        let reason = match ended {
            _ if seen(&course.body_late) => "body_timeout",
            Ok(()) => "closed",
            Err(_) if seen(&course.deaf) => "slow_reader",
            Err(error) if error.is_timeout() && seen(&course.heard) => "header_timeout",
            Err(error) if error.is_timeout() => "idle",
            Err(error) if error.is_parse() => "malformed",
            Err(_) => "lost",
        };
        (reason, answered)
    }
}

/// Throws away what the peer still sends until it closes too. Closing while something is unread resets the connection, and what
/// the peer has not yet got of the answer is lost: a body that nobody wanted, or that came after its answer, is enough for that.
async fn hear_out(mut stream: TcpStream, stopping: &mut watch::Receiver<bool>) {
    // However it fails, there is nobody left to tell.
    let _ = stream.shutdown().await;
    let mut more = stream.take(HEAR_OUT_BYTES);
    let mut nowhere = tokio::io::sink();
    tokio::select! {
        biased;
        _ = timeout(HEAR_OUT_TIME, tokio::io::copy(&mut more, &mut nowhere)) => {}
        () = stop_asked(stopping) => {}
    }
}

/// A body that must have come by a certain time.
struct TimedBody {
    body: Incoming,
    until: Pin<Box<Sleep>>,
    course: Arc<Course>,
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.until.as_mut().poll(context).is_ready() {
            self.course.body_late.store(true, Ordering::Relaxed);
            return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::TimedOut, "it did not come in time"))));
        }
        Pin::new(&mut self.body).poll_frame(context).map_err(io::Error::other)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that fails when the peer takes nothing of an answer for too long.
struct Guarded {
    stream: TcpStream,
    course: Arc<Course>,
    stall_timeout: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl Guarded {
    fn guard<T>(&mut self, context: &mut Context<'_>, wrote: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if wrote.is_ready() {
            self.stalled = None;
            return wrote;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(self.stall_timeout)));
        ready!(stalled.as_mut().poll(context));
        self.course.deaf.store(true, Ordering::Relaxed);
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the answer is not taken")))
    }
}

impl AsyncRead for Guarded {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        if into.filled().len() > before {
            self.course.heard.store(true, Ordering::Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.course.heard.store(false, Ordering::Relaxed);
        self.guard(context, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::{Read, Write};

    use axum::routing::post;

    use super::*;

    /// More than the system holds on the way.
    const ANSWER_BYTES: usize = 16 << 20;

    /// A service whose answers are large and that reads no body, and a connection to it.
    async fn connected() -> (std::net::TcpStream, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let wait = Duration::from_secs(60);
        let bounds = HttpBounds { places: Places::new(9, 9), header_timeout: wait, body_timeout: wait, stall_timeout: wait };
        let router = Router::new().route("/", post(async || vec![b'x'; ANSWER_BYTES]));
        let (stop, stopping) = watch::channel(false);
        (stream, stop, tokio::spawn(serve(listener, router, bounds, Metrics::new(), stopping)))
    }

    /// Asks, and sends a part of the body after the answer has begun.
    fn ask(stream: &mut std::net::TcpStream) {
        stream.write_all(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").unwrap();
        stream.read_exact(&mut [0]).unwrap();
        stream.write_all(&[b'y'; 10_000]).unwrap();
    }

    fn rest(stream: &mut std::net::TcpStream) -> Vec<u8> {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        answer
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn an_answer_arrives_whole_although_nobody_reads_the_body_of_its_request() {
        let (mut stream, _stop, _serving) = connected().await;
        ask(&mut stream);
        assert!(rest(&mut stream).len() > ANSWER_BYTES);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn whoever_sends_nonsense_is_told_so_and_may_finish_it() {
        let (mut stream, _stop, _serving) = connected().await;
        stream.write_all(&[&b"nonsense\r\n\r\n"[..], &[b'z'; 30_000]].concat()).unwrap();
        assert!(rest(&mut stream).starts_with(b"HTTP/1.1 400"));
        (0..100).for_each(|_| stream.write_all(&[b'z'; 1_000]).unwrap());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_goes_on_sending_is_cut_off() {
        let (mut stream, _stop, _serving) = connected().await;
        ask(&mut stream);
        rest(&mut stream);
        let sent = (0..10_000).take_while(|_| stream.write_all(&[b'y'; 10_000]).is_ok()).count();
        assert!(sent < 10_000);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn who_is_heard_out_does_not_hold_up_the_stop() {
        let (mut stream, stop, serving) = connected().await;
        ask(&mut stream);
        rest(&mut stream);
        stop.send_replace(true);
        let ended = timeout(HEAR_OUT_TIME / 2, serving).await;
        assert!(ended.is_ok(), "although its peer has not closed");
    }
}
