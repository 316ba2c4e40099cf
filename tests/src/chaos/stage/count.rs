//! The end of a run: quiet, and what an independent client finds then.

use super::{LIMIT, Stage, client, tail};
use crate::chaos::read_body;
use crate::raw::Raw;
use std::fs;
use std::time::{Duration, Instant};

impl Stage {
    /// Stops the publisher when all that it has attempted is confirmed, waits until nothing moves any more, and stops
    /// the worker.
    pub(in crate::chaos) async fn quiet(&mut self) {
        self.hold(false);
        self.tell_publisher("stop").await;
        let status = self.publisher.end(LIMIT).await;
        if status.code() != Some(0) {
            let printed = self.publisher.printed();
            self.problem(format!("the publisher ended with {status}: {printed}"));
        }
        self.feeder.abort();
        let counted = client(&self.addresses[0], &self.vhost).await;
        let (queue, dead) = (self.queue.clone(), format!("{}.dead", self.queue));
        let mut last = (0, 0, 0);
        let mut still = 0;
        let end = Instant::now() + LIMIT;
        // What waits, what is under way and what has been handled has been the same for a second.
        while still < 20 && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let now = (counted.ready(&queue).await, counted.ready(&dead).await, self.ledger.read().line());
            let none = now.0 == 0 && self.ledger.read().flow().1 == 0;
            still = if now == last && none { still + 1 } else { 0 };
            last = now;
        }
        if self.worker.runs() {
            let (code, took) = self.end_worker("TERM").await;
            self.drains.push(took);
            if code != Some(0) {
                let printed = self.worker.printed();
                self.problem(format!("the worker ended with {code:?}: {}", tail(&printed)));
            }
        }
        // What it could not settle has gone back.
        let expected = (self.ledger.read().counts().rejected + self.foreign) as usize;
        let end = Instant::now() + Duration::from_secs(20);
        while counted.ready(&dead).await < expected && Instant::now() < end {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        counted.close().await;
    }

    /// Takes what is left in the main queue and among the dead letters; gives the numbers of messages with and
    /// without an id.
    pub(in crate::chaos) async fn count_what_is_left(&mut self) -> [u64; 3] {
        let mut raw = Raw::connect_to(&self.addresses[0], &self.vhost).await;
        let (mut left, mut dead, mut foreign) = (0, 0, 0);
        while let Some(body) = raw.take(&self.queue).await {
            match read_body(&body) {
                Ok((id, _)) => left += u64::from(self.ledger.read().found(id, false)),
                Err(_) => self.problem("a message that is not whole is left in the main queue"),
            }
        }
        while let Some(body) = raw.take(&format!("{}.dead", self.queue)).await {
            match read_body(&body) {
                Ok((id, _)) => {
                    dead += 1;
                    self.ledger.read().found(id, true);
                }
                Err(_) => foreign += 1,
            }
        }
        [left, dead, foreign]
    }

    pub(in crate::chaos) async fn tear_down(self, keep: bool) {
        for vhost in [&self.vhost, &self.side_vhost] {
            let _ = self.nodes[0].try_ctl(&["delete_vhost", vhost]).await;
        }
        if keep {
            eprintln!("chaos: the logs are in {}", self.folder.display());
        } else {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}
