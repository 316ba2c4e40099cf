//! One connection by way of the relay.

use super::frames::{Direction, Walker};
use super::{Cut, Manner, Shared};
use futures_util::future::try_join;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::time::sleep;

/// Tells of the end, however the connection ends.
struct Told(usize, Arc<Shared>);

impl Drop for Told {
    fn drop(&mut self) {
        if let Some(watch) = &self.1.watch {
            watch.ended(self.0);
        }
    }
}

/// Why a connection is over though neither side has closed it.
enum Ended {
    Broken,
    Reset,
}

pub(super) async fn pass(mut client: TcpStream, to: String, number: usize, shared: Arc<Shared>) {
    if shared.manner.borrow().mute {
        // For as long as the client bears it.
        let mut octets = [0; 1024];
        while let Ok(1..) = client.read(&mut octets).await {}
        return;
    }
    // Where the broker is down the client is hung up on, as it would be by the broker's machine.
    let Ok(mut broker) = TcpStream::connect(to).await else { return };
    let _told = Told(number, Arc::clone(&shared));
    let _ = client.set_nodelay(true);
    let _ = broker.set_nodelay(true);
    let ended = {
        let ((from_client, to_client), (from_broker, to_broker)) = (client.split(), broker.split());
        let up = pump(from_client, to_broker, Direction::ToBroker, number, &shared);
        let down = pump(from_broker, to_client, Direction::ToClient, number, &shared);
        try_join(up, down).await
    };
    if let Err(Ended::Reset) = ended {
        let _ = client.set_zero_linger();
        let _ = broker.set_zero_linger();
    }
}

async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    number: usize,
    shared: &Shared,
) -> Result<(), Ended> {
    let mut walker = Walker::new(direction);
    let mut octets = vec![0; 64 * 1024];
    let forged = shared.forged.lock().unwrap().clone().filter(|_| direction == Direction::ToClient);
    let mut part = Vec::new();
    loop {
        let length = from.read(&mut octets).await.map_err(|_| Ended::Broken)?;
        let manner = not_stalled(shared).await;
        if length == 0 {
            let _ = to.shutdown().await;
            return Ok(());
        }
        let read = &octets[..length];
        let frames = walker.frames();
        let end = walker.walk(read, |channel, said| {
            if let Some(watch) = &shared.watch {
                watch.said(number, channel, said);
            }
        });
        shared.frames[direction as usize].fetch_add(walker.frames() - frames, Ordering::Relaxed);
        if let Some((place, cut)) = due(shared, direction, length, end) {
            let _ = to.write_all(&read[..place]).await;
            return Err(match cut {
                Cut::Reset => Ended::Reset,
                Cut::InFrame => Ended::Broken,
            });
        }
        let whole = match &forged {
            None => Vec::new(),
            Some((octets, by)) => {
                let mut whole = std::mem::take(&mut part);
                part.extend_from_slice(&read[end.unwrap_or_default()..]);
                whole.extend_from_slice(&read[..end.unwrap_or_default()]);
                if end.is_none() {
                    part.splice(..0, whole.drain(..));
                }
                forge(&mut whole, octets, by);
                whole
            }
        };
        let read = if forged.is_some() { &whole } else { read };
        if !manner.latency.is_zero() {
            sleep(manner.latency).await;
        }
        if manner.slices {
            for octet in read.chunks(1) {
                to.write_all(octet).await.map_err(|_| Ended::Broken)?;
            }
        } else {
            to.write_all(read).await.map_err(|_| Ended::Broken)?;
        }
    }
}

fn forge(whole: &mut [u8], octets: &[u8], by: &[u8]) {
    let mut at = 0;
    while let Some(found) = whole[at..].windows(octets.len()).position(|window| window == octets) {
        at += found;
        whole[at..at + by.len()].copy_from_slice(by);
        at += by.len();
    }
}

/// Where in these octets the connection is to be cut, if it is.
fn due(shared: &Shared, direction: Direction, length: usize, end_of_frame: Option<usize>) -> Option<(usize, Cut)> {
    let mut armed = shared.cut.lock().unwrap();
    let (of, left, cut) = armed.as_mut()?;
    if *of != direction {
        return None;
    }
    if *left >= length {
        *left -= length;
        return None;
    }
    let place = match cut {
        Cut::Reset => *left,
        // The shortest frame has eight octets, so three before its end are within it; and where none ends, every
        // octet but the first is.
        Cut::InFrame => end_of_frame.map_or(length / 2, |end| end.saturating_sub(3)),
    };
    let cut = *cut;
    *armed = None;
    Some((place, cut))
}

/// Waits while nothing passes; gives how it goes on.
async fn not_stalled(shared: &Shared) -> Manner {
    let mut manner = shared.manner.subscribe();
    let passes = manner.wait_for(|manner| !manner.stalls).await.map(|manner| *manner);
    match passes {
        Ok(manner) => manner,
        // The relay is gone, and this connection is about to be.
        Err(_) => pending().await,
    }
}
