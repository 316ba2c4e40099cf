//! The faults of three nodes with quorum queues.

use super::Struck;
use crate::chaos::stage::{LIMIT, Stage};
use std::time::{Duration, Instant};

/// How long nodes stay stopped: long enough for heartbeats and elections, too short for the nodes to give each other up,
/// which a node that has never lost its majority settles by restarting.
const FROZEN: Duration = Duration::from_secs(12);

impl Stage {
    /// The number of the node that leads the main queue, as the others have it.
    async fn leader_of_queue(&mut self) -> usize {
        let end = Instant::now() + LIMIT;
        loop {
            let arguments = ["list_queues", "-q", "--no-table-headers", "-p", &self.vhost, "name", "leader"];
            let listed = self.nodes[0].try_ctl(&arguments).await.unwrap_or_default();
            let leader = listed.lines().find_map(|line| line.strip_prefix(&*self.queue)?.strip_prefix('\t'));
            if let Some(found) = self.names.iter().position(|name| Some(&**name) == leader.map(str::trim)) {
                return found;
            }
            if Instant::now() > end {
                // It is rabbitmqctl that does not answer, which is no verdict on the worker: any node will do.
                eprintln!("chaos: no leader of {} is among {:?}: {listed:?}", self.queue, self.names);
                return self.random.usize(..self.nodes.len());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Ends or freezes the leader: the other two go on without it.
    pub(super) async fn leader(&mut self, verb: &str) -> Struck {
        let leader = self.leader_of_queue().await;
        let node = self.nodes[leader].clone();
        let begun = self.begin().await;
        node.control(verb).await;
        let since = Instant::now();
        let line = self.ledger.read().line();
        self.wait("the others go on", LIMIT, |stage| stage.ledger.read().last_accepted() > line + 500).await;
        let recovery = Some(since.elapsed());
        if verb == "pause" {
            tokio::time::sleep(FROZEN.saturating_sub(since.elapsed())).await;
            node.control("resume").await;
        } else {
            node.control("start").await;
        }
        self.end(begun, false).await;
        Struck { faults: vec![begun.fault], recovery, noticed: None }
    }

    /// Ends or freezes two of three: nothing can be confirmed, every publish fails by its deadline, or sooner where the
    /// node that is left says so, and all goes on when a node returns.
    pub(super) async fn majority(&mut self, verb: &str) -> Struck {
        let spared = self.random.usize(..self.nodes.len());
        let others: Vec<usize> = (0..self.nodes.len()).filter(|node| *node != spared).collect();
        let begun = self.begin().await;
        let failed = self.ledger.read().counts().failed();
        for node in &others {
            self.nodes[*node].control(verb).await;
        }
        let since = Instant::now();
        self.insist(true);
        self.wait("publishes fail", LIMIT, |stage| stage.ledger.read().counts().failed() > failed).await;
        self.insist(false);
        if verb == "pause" {
            tokio::time::sleep(FROZEN.saturating_sub(since.elapsed())).await;
        }
        let back = if verb == "pause" { "resume" } else { "start" };
        for node in others {
            self.nodes[node].control(back).await;
        }
        let recovery = Some(self.end(begun, false).await);
        Struck { faults: vec![begun.fault], recovery, noticed: None }
    }
}
