//! A bad line between a client and a server: delay, jitter, a rate, a stall, a cut at any byte, each direction its own.
//!
//! What happens to a byte is a function of the seed and of its place in its direction, never of how many bytes the kernel
//! handed over at once: the same traffic meets the same line again.

use crate::chance::Chance;
use anyhow::Result;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Bytes that pass together: a packet on an Ethernet.
const SEGMENT: u64 = 1460;

/// Segments under way in one direction. The line holds 93 kB and no more, so a sender soon feels that its reader does not
/// read.
const UNDER_WAY: usize = 64;

/// Bytes of the kernel's own buffers at the line's ends, small for the same reason.
const KERNEL_BUFFER: u32 = 64 << 10;

/// One direction of a line. The default is a good one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shape {
    pub delay: Duration,
    /// A random delay up to this, drawn anew for every segment. The order of segments stays.
    pub jitter: Duration,
    pub bytes_per_second: Option<u64>,
    /// After so many bytes nothing passes for so long; then the rest does.
    pub stall: Option<(u64, Duration)>,
    pub cut: Option<Cut>,
}

/// A cut: the line ends, in both directions, after exactly so many bytes of this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    pub after_bytes: u64,
    pub how: How,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Both ends are told that nothing more will come.
    Closed,
    /// Both ends are told that something is wrong.
    Reset,
    /// Nobody is told anything: a cable that was pulled.
    Silent,
}

/// The line, for any number of connections, until it is dropped.
pub struct Shaper {
    /// Where clients connect instead.
    pub address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Shaper {
    /// `up` is from clients to the server, `down` from the server to them.
    pub async fn before(server: SocketAddr, up: Shape, down: Shape, seed: u64) -> Result<Shaper> {
        Shaper::at(SocketAddr::from(([127, 0, 0, 1], 0)), server, up, down, seed).await
    }

    /// The same at an address that clients know already.
    pub async fn at(address: SocketAddr, server: SocketAddr, up: Shape, down: Shape, seed: u64) -> Result<Shaper> {
        let socket = TcpSocket::new_v4()?;
        socket.set_reuseaddr(true)?;
        socket.set_recv_buffer_size(KERNEL_BUFFER)?;
        socket.bind(address)?;
        let listener = socket.listen(64)?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(accept(listener, server, up, down, seed));
        Ok(Shaper { address, accepting })
    }

    pub fn url(&self) -> String {
        format!("ws://{}/v1/realtime_video/generate", self.address)
    }
}

impl Drop for Shaper {
    fn drop(&mut self) {
        // The connections are in a set of its own, which goes with it.
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, server: SocketAddr, up: Shape, down: Shape, seed: u64) {
    let mut lines = JoinSet::new();
    let mut accepted = 0;
    while let Ok((client, _)) = listener.accept().await {
        let seed = Chance::at(seed, accepted).next();
        accepted += 1;
        lines.spawn(async move {
            // A server that is gone is a connection that ends.
            let _ = line(client, server, up, down, seed).await;
        });
    }
}

async fn line(client: TcpStream, server: SocketAddr, up: Shape, down: Shape, seed: u64) -> Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    let server = socket.connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let (say_cut, cut) = watch::channel(None);
    let ends = tokio::join!(
        direction(from_client, to_server, Schedule::new(up, seed), &say_cut),
        direction(from_server, to_client, Schedule::new(down, !seed), &say_cut),
    );
    let how = *cut.borrow();
    match how {
        None | Some(How::Closed) => {}
        Some(How::Reset) => {
            for (from, to) in [ends.0, ends.1] {
                from.as_ref().set_zero_linger()?;
                // Or dropping it would say goodbye first.
                to.forget();
            }
        }
        // Both sockets stay open and nobody reads them, until the shaper is dropped.
        Some(How::Silent) => std::future::pending().await,
    }
    Ok(())
}

/// Until it ends or is cut; gives the halves back, so that it is known here how they are closed.
async fn direction(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut schedule: Schedule,
    say_cut: &watch::Sender<Option<How>>,
) -> (OwnedReadHalf, OwnedWriteHalf) {
    let (segments, mut due) = mpsc::channel::<(Vec<u8>, Instant)>(UNDER_WAY);
    let mut cut = say_cut.subscribe();
    let read = async {
        // Its end goes with the reading, so that what was read before a cut is written, and then no more waited for.
        let segments = segments;
        loop {
            let mut segment = vec![0; schedule.room()];
            if segment.is_empty() {
                return schedule.shape.cut.map(|cut| cut.how);
            }
            match from.read(&mut segment).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => segment.truncate(length),
            }
            let departs = schedule.departs(Instant::now(), segment.len());
            if segments.send((segment, departs)).await.is_err() {
                return None;
            }
        }
    };
    let write = async {
        while let Some((segment, departs)) = due.recv().await {
            sleep_until(departs).await;
            if to.write_all(&segment).await.is_err() {
                return;
            }
        }
    };
    let both = async {
        let (how, ()) = tokio::join!(read, write);
        how
    };
    let ended = tokio::select! {
        ended = both => ended,
        _ = cut.wait_for(Option::is_some) => return (from, to),
    };
    match ended {
        Some(how) => drop(say_cut.send_replace(Some(how))),
        None => drop(to.shutdown().await),
    }
    (from, to)
}

/// Computes when each byte of a direction departs. It is given the time and reads no clock.
struct Schedule {
    shape: Shape,
    seed: u64,
    passed: u64,
    /// Nothing overtakes, and the line is busy until then.
    free: Option<Instant>,
}

impl Schedule {
    fn new(shape: Shape, seed: u64) -> Schedule {
        Schedule { shape, seed, passed: 0, free: None }
    }

    /// Bytes that may be read at once; none after a cut. A segment ends where anything changes.
    fn room(&self) -> usize {
        let segment_ends = (self.passed / SEGMENT + 1) * SEGMENT;
        let stall = self.shape.stall.map(|(after, _)| after).filter(|&after| after > self.passed);
        let cut = self.shape.cut.map(|cut| cut.after_bytes);
        let ends = [Some(segment_ends), stall, cut].into_iter().flatten().min().expect("there is the segment's");
        ends.saturating_sub(self.passed) as usize
    }

    fn departs(&mut self, arrived: Instant, length: usize) -> Instant {
        let jitter_nanos = self.shape.jitter.as_nanos() as usize;
        let jitter = Chance::at(self.seed, self.passed / SEGMENT).below(jitter_nanos + 1);
        let mut departs = arrived + self.shape.delay + Duration::from_nanos(jitter as u64);
        departs = self.free.map_or(departs, |free| free.max(departs));
        if let Some((after, pause)) = self.shape.stall
            && self.passed == after
        {
            departs += pause;
        }
        if let Some(rate) = self.shape.bytes_per_second {
            departs += Duration::from_secs_f64(length as f64 / rate.max(1) as f64);
        }
        self.passed += length as u64;
        self.free = Some(departs);
        departs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Departures in milliseconds of `bytes` that all arrive at once, in reads of `read` bytes.
    fn departures(shape: Shape, seed: u64, bytes: u64, read: usize) -> Vec<(u64, u128)> {
        let now = Instant::now();
        let mut schedule = Schedule::new(shape, seed);
        let mut departures = Vec::new();
        while schedule.passed < bytes && schedule.room() > 0 {
            let length = schedule.room().min(read);
            let departs = schedule.departs(now, length) - now;
            departures.push((schedule.passed, departs.as_millis()));
        }
        departures
    }

    #[test]
    fn a_rate_spreads_bytes_over_time_and_a_delay_shifts_them() {
        let slow = Shape { bytes_per_second: Some(14_600), delay: 7 * MS, ..Shape::default() };
        let at = departures(slow, 1, 4 * SEGMENT, usize::MAX);
        assert_eq!(at, [(1460, 107), (2920, 207), (4380, 307), (5840, 407)]);
    }

    #[test]
    fn jitter_belongs_to_a_place_in_the_stream_and_keeps_the_order() {
        let shape = Shape { jitter: 50 * MS, ..Shape::default() };
        let whole = departures(shape, 3, 200 * SEGMENT, usize::MAX);
        let ends = |departures: Vec<(u64, u128)>| -> Vec<_> {
            departures.into_iter().filter(|(passed, _)| passed % SEGMENT == 0).collect()
        };
        assert_eq!(ends(departures(shape, 3, 200 * SEGMENT, 100)), whole, "it depends on how much was read at once");
        assert_ne!(departures(shape, 4, 200 * SEGMENT, usize::MAX), whole, "another seed is the same line");
        assert!(whole.is_sorted_by_key(|&(_, at)| at));
        assert!(whole.iter().all(|&(_, at)| at <= 50));
    }

    #[test]
    fn a_stall_and_a_cut_are_at_their_byte() {
        let cut = Some(Cut { after_bytes: 2000, how: How::Closed });
        let shape = Shape { stall: Some((1000, 90 * MS)), cut, ..Shape::default() };
        assert_eq!(departures(shape, 1, 9000, usize::MAX), [(1000, 0), (1460, 90), (2000, 90)]);
    }

    /// A server that sends `bytes` and then waits, and what a client gets of it: how much, and how it ended.
    async fn through(down: Shape, bytes: usize) -> Result<(usize, &'static str)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = listener.local_addr()?;
        let sending = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await?;
            socket.write_all(&vec![7; bytes]).await?;
            socket.read_u8().await
        });
        let line = Shaper::before(server, Shape::default(), down, 5).await?;
        let mut client = TcpStream::connect(line.address).await?;
        let mut got = 0;
        let mut block = [0; 4096];
        let how = loop {
            match tokio::time::timeout(300 * MS, client.read(&mut block)).await {
                Err(_) => break "silence",
                Ok(Ok(0)) => break "closed",
                Ok(Ok(length)) => got += length,
                Ok(Err(_)) => break "reset",
            }
        };
        sending.abort();
        Ok((got, how))
    }

    #[tokio::test]
    async fn a_line_is_cut_at_the_byte_that_was_asked_for_and_in_the_way_that_was_asked_for() -> Result<()> {
        for after_bytes in [0, 1, 1459, 1460, 1461, 100_000] {
            let cut = |how| Shape { cut: Some(Cut { after_bytes, how }), ..Shape::default() };
            assert_eq!(through(cut(How::Closed), 300_000).await?, (after_bytes as usize, "closed"));
            assert_eq!(through(cut(How::Silent), 300_000).await?, (after_bytes as usize, "silence"));
            // A reset may overtake bytes that were not read yet.
            let (got, how) = through(cut(How::Reset), 300_000).await?;
            assert!(got <= after_bytes as usize && how == "reset", "{got} of {after_bytes}, {how}");
        }
        Ok(())
    }

    #[tokio::test]
    async fn a_good_line_passes_everything() -> Result<()> {
        assert_eq!(through(Shape::default(), 1_000_000).await?, (1_000_000, "silence"));
        Ok(())
    }
}
