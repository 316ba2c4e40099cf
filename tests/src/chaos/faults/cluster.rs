//! The faults of three nodes with quorum queues.

use super::Struck;
use crate::chaos::stage::{LIMIT, Stage};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How long nodes stay stopped at the least: long enough for heartbeats and elections.
const FROZEN: Duration = Duration::from_secs(12);

/// How long the nodes have to be whole before they count as so: one that was stopped finds out only afterwards that the
/// others have given it up.
const WHOLE: Duration = Duration::from_secs(3);

/// How long they may take to come together by themselves.
const PARTED: Duration = Duration::from_secs(20);

impl Stage {
    /// Ends what was done to these nodes then.
    async fn bring_back(&self, verb: &str, nodes: &[usize], since: Instant) {
        let back = if verb == "pause" { "resume" } else { "start" };
        if verb == "pause" {
            tokio::time::sleep(FROZEN.saturating_sub(since.elapsed())).await;
        }
        for node in nodes {
            self.nodes[*node].control(back).await;
        }
    }

    /// Waits until each node has all the others again, after this was done to these. Until then queues may change their
    /// leader, and give out again what is being handled. Nodes that were frozen for so long that the others have given them
    /// up stay apart, and are restarted then, as RabbitMQ's guide to network partitions asks of an operator.
    async fn whole(&mut self, verb: &str, nodes: &[usize]) {
        let mut frozen = if verb == "pause" { nodes } else { &[] };
        let began = Instant::now();
        let mut since = None;
        while since.is_none_or(|since: Instant| since.elapsed() < WHOLE) {
            let mut whole = true;
            for node in &self.nodes {
                let status = node.try_ctl(&["cluster_status", "--formatter", "json"]).await;
                whole &= status.is_ok_and(|status| is_whole(&status, self.nodes.len()));
            }
            since = if whole { since.or_else(|| Some(Instant::now())) } else { None };
            if began.elapsed() > PARTED {
                for node in std::mem::take(&mut frozen) {
                    self.nodes[*node].control("restart").await;
                }
            }
            if began.elapsed() > LIMIT {
                return self.problem(format!("not within {} s: the nodes are one cluster", LIMIT.as_secs()));
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

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
        let begun = self.begin().await;
        self.nodes[leader].control(verb).await;
        let since = Instant::now();
        let line = self.ledger.read().line();
        self.wait("the others go on", LIMIT, |stage| stage.ledger.read().last_accepted() > line + 500).await;
        let recovery = Some(since.elapsed());
        self.bring_back(verb, &[leader], since).await;
        self.whole(verb, &[leader]).await;
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
        self.bring_back(verb, &others, since).await;
        let since = Instant::now();
        self.works(0).await;
        let recovery = Some(since.elapsed());
        self.whole(verb, &others).await;
        self.end(begun, false).await;
        Struck { faults: vec![begun.fault], recovery, noticed: None }
    }
}

/// Whether a node sees so many, by its `cluster_status` in JSON.
fn is_whole(status: &str, nodes: usize) -> bool {
    let status: Value = serde_json::from_str(status).unwrap_or_default();
    let running = status["running_nodes"].as_array().map_or(0, Vec::len);
    let parted = &status["partitions"];
    running == nodes && (parted == &json!({}) || parted == &json!([]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_whole_when_all_run_and_none_is_parted() {
        assert!(is_whole(r#"{"running_nodes":["a","b"],"partitions":{}}"#, 2));
        assert!(!is_whole(r#"{"running_nodes":["a"],"partitions":{}}"#, 2));
        assert!(!is_whole(r#"{"running_nodes":["a","b"],"partitions":{"a":["b"]}}"#, 2));
        assert!(!is_whole("Error: the node is not running", 0));
    }
}
