//! Reading and writing, whatever carries the bytes. An idle connection holds no buffer.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::server::TlsStream;
use wire::identity::Sender;

use super::ending::Ending;
use crate::intake::Intake;
use crate::queue::{PIECE_KIB, Ticket};

/// What is read at once: a piece.
const PIECE_BYTES: usize = PIECE_KIB << 10;
/// A larger buffer than this is not kept for later.
const KEPT_BYTES: usize = 4 << 10;
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {
    /// Waits until something may be read. It may find nothing then, but never misses anything.
    fn poll_come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
}

impl Carrier for TcpStream {
    fn poll_come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_read_ready(context)
    }
}

impl Carrier for TlsStream<TcpStream> {
    fn poll_come(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (tcp, session) = self.get_ref();
        if session.wants_read() { tcp.poll_read_ready(context) } else { Poll::Ready(Ok(())) }
    }
}

/// TCP, or TLS over it.
pub(super) type Stream = Box<dyn Carrier>;

thread_local! {
    /// Everybody's bytes pass through the buffer of the thread that happens to read them.
    static PASSAGE: RefCell<Box<[u8]>> = RefCell::new(vec![0; PIECE_BYTES].into_boxed_slice());
}

/// Waits for bytes and puts them behind those that are there; 0 at the end of the stream. Nothing is lost when it is dropped.
pub(super) async fn read(stream: &mut Stream, input: &mut BytesMut) -> io::Result<usize> {
    poll_fn(|context| poll_piece(stream, input, context)).await
}

/// What was read in turn.
pub(super) struct Piece {
    pub(super) bytes: usize,
    pub(super) ticket: Ticket,
    /// How long the bytes waited for their turn: not the client's time.
    pub(super) waited: Duration,
}

/// As `read`, but what has come stays with its sender until there is room for it and few others are ahead. `patience` is for the
/// client's bytes, not for the turn.
pub(super) async fn read_in_turn(
    stream: &mut Stream,
    input: &mut BytesMut,
    (intake, sender): (&Intake, &Sender),
    patience: (Instant, Ending),
) -> Result<Piece, Ending> {
    loop {
        let come = timeout_at(patience.0, poll_fn(|context| stream.poll_come(context))).await;
        come.map_err(|_| patience.1)?.map_err(|_| Ending::Lost)?;
        let come_at = Instant::now();
        let ticket = intake.ticket(sender).await.map_err(|_| Ending::Unavailable)?;
        let waited = come_at.elapsed();
        let read = poll_fn(|context| Poll::Ready(poll_piece(stream, input, context))).await;
        if let Poll::Ready(read) = read {
            return read.map(|bytes| Piece { bytes, ticket, waited }).map_err(|_| Ending::Lost);
        }
    }
}

fn poll_piece(stream: &mut Stream, input: &mut BytesMut, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
    PASSAGE.with_borrow_mut(|passage| {
        let mut come = ReadBuf::new(passage);
        ready!(Pin::new(stream).poll_read(context, &mut come))?;
        input.extend_from_slice(come.filled());
        Poll::Ready(Ok(come.filled().len()))
    })
}

/// Sends everything that waits, within the time given.
pub(super) async fn write(stream: &mut Stream, out: &mut BytesMut, within: Duration) -> Result<(), Ending> {
    if out.is_empty() {
        return Ok(());
    }
    let sending = async {
        stream.write_all(out).await?;
        stream.flush().await
    };
    let sent = timeout(within, sending).await;
    if out.capacity() > KEPT_BYTES {
        *out = BytesMut::new()
    } else {
        out.clear()
    }
    match sent {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(Ending::Lost),
        Err(_) => Err(Ending::SlowReader),
    }
}

/// Ends the connection as politely as the peer allows.
pub(super) async fn close(stream: &mut Stream) {
    // The peer may be gone already.
    let _ = timeout(CLOSE_TIMEOUT, stream.shutdown()).await;
}
