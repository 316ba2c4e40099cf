//! What is known of other processes.

use std::collections::HashMap;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What those here need to take what they hear from elsewhere. It comes in frames, each at once.
const PAUSE: Duration = Duration::from_millis(1);

/// The processes that were heard of within the lease.
pub(super) struct Peers {
    known: HashMap<u64, Peer>,
    lease: Duration,
    pace: Pace,
}

struct Peer {
    /// Of its last frame.
    number: u64,
    /// Of the last of its changes that was applied.
    version: u64,
    heard: Instant,
    asked: Option<Instant>,
}

/// How often what those here hear is paused for.
struct Pace {
    every: usize,
    left: usize,
}

impl Peers {
    /// `every` so many messages that are heard here there is a pause.
    pub(super) fn new(lease: Duration, every: usize) -> Self {
        let every = every.max(1);
        Self { known: HashMap::new(), lease, pace: Pace { every, left: every } }
    }

    pub(super) fn clear(&mut self) {
        self.known.clear();
    }

    /// A frame of a process has come. False for one that came before.
    pub(super) fn admit(&mut self, process: u64, number: u64) -> bool {
        let heard = Instant::now();
        let peer = self.known.entry(process).or_insert(Peer { number: 0, version: 0, heard, asked: None });
        let is_new = number > peer.number;
        if is_new {
            peer.number = number;
            peer.heard = heard;
        }
        is_new
    }

    /// Whether this change follows on those that were applied. Then it counts as applied.
    pub(super) fn follows(&mut self, process: u64, version: u64) -> bool {
        let Some(peer) = self.known.get_mut(&process) else { return false };
        let follows = version == peer.version + 1;
        peer.version += u64::from(follows);
        follows
    }

    /// Whether members after this change are news. Then they count as applied.
    pub(super) fn is_news(&mut self, process: u64, version: u64) -> bool {
        let Some(peer) = self.known.get_mut(&process) else { return false };
        let is_news = version > peer.version;
        peer.version = peer.version.max(version);
        is_news
    }

    /// Whether the process is to be asked, because it has told of more changes than were applied. It is asked again only
    /// when an answer should have come.
    pub(super) fn is_to_be_asked(&mut self, process: u64, version: u64) -> bool {
        let (now, pause) = (Instant::now(), heartbeat(self.lease));
        let Some(peer) = self.known.get_mut(&process) else { return false };
        let is = peer.version < version && peer.asked.is_none_or(|asked| now.duration_since(asked) >= pause);
        if is {
            peer.asked = Some(now);
        }
        is
    }

    pub(super) fn forget(&mut self, process: u64) {
        self.known.remove(&process);
    }

    /// Those that were not heard of within the lease; they are forgotten.
    pub(super) fn expired(&mut self) -> Vec<u64> {
        let now = Instant::now();
        let expired = self.known.extract_if(|_, peer| now.duration_since(peer.heard) >= self.lease);
        expired.map(|(process, _)| process).collect()
    }

    /// So many of those here hear something: those that send it to them get their turn now and then, or it would fill
    /// queues that nobody could have emptied.
    pub(super) async fn pace(&mut self, heard: usize) {
        if heard == 0 {
            return;
        }
        self.pace.left -= 1;
        if self.pace.left == 0 {
            self.pace.left = self.pace.every;
            sleep(PAUSE).await;
        }
    }

    /// What was waited for here is not held against those that were not listened to meanwhile.
    pub(super) fn excuse(&mut self, since: Instant) {
        if since.elapsed() >= heartbeat(self.lease) {
            let now = Instant::now();
            self.known.values_mut().for_each(|peer| peer.heard = now);
        }
    }
}

/// How often a process is heard of at the least.
pub(super) fn heartbeat(lease: Duration) -> Duration {
    lease / 3
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    const LEASE: Duration = Duration::from_secs(15);

    #[tokio::test(start_paused = true)]
    async fn what_comes_twice_is_known_and_a_gap_is_asked_about_once_a_heartbeat() {
        let mut peers = Peers::new(LEASE, 1);
        assert!(peers.admit(7, 3) && !peers.admit(7, 3) && !peers.admit(7, 2) && peers.admit(7, 5));
        assert!(peers.follows(7, 1) && !peers.follows(7, 1) && !peers.follows(7, 3));
        assert!(!peers.is_to_be_asked(7, 1), "all is known");
        assert!(peers.is_to_be_asked(7, 3) && !peers.is_to_be_asked(7, 3));
        advance(heartbeat(LEASE)).await;
        assert!(peers.is_to_be_asked(7, 3), "the answer was lost");
        assert!(peers.is_news(7, 4) && !peers.is_news(7, 4) && !peers.is_news(7, 3));
        assert!(peers.follows(7, 5));
    }

    #[tokio::test(start_paused = true)]
    async fn a_process_expires_with_its_lease_and_not_for_what_kept_this_one() {
        let mut peers = Peers::new(LEASE, 1);
        peers.admit(7, 1);
        advance(LEASE - Duration::from_millis(1)).await;
        assert_eq!(peers.expired(), [0; 0]);
        peers.admit(8, 1);
        advance(Duration::from_millis(1)).await;
        assert_eq!(peers.expired(), [7]);
        let since = Instant::now();
        advance(LEASE).await;
        peers.excuse(since);
        assert_eq!(peers.expired(), [0; 0]);
        advance(LEASE).await;
        assert_eq!(peers.expired(), [8]);
    }
}
