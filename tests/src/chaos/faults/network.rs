//! Faults of the network, made by the relays; and a broker that falls silent.

use super::Struck;
use crate::chaos::HEARTBEAT;
use crate::chaos::stage::{LIMIT, Stage};
use crate::relay::{Cut, Direction, Manner, Relay};
use std::time::{Duration, Instant};

impl Stage {
    pub(super) async fn cut(&mut self, direction: Direction, cut: Cut) -> Struck {
        let begun = self.begin().await;
        let octets = self.random.usize(..20_000);
        self.cut_main(direction, octets, cut).await;
        self.over(begun, None).await
    }

    async fn cut_main(&mut self, direction: Direction, octets: usize, cut: Cut) {
        self.main.iter().for_each(|relay| relay.cut_after(direction, octets, cut));
        // Where several relays are armed, one has the connection.
        self.wait("it is cut", LIMIT, |stage| stage.main.iter().any(|relay| !relay.is_to_cut())).await;
        self.main.iter().for_each(Relay::disarm);
    }

    /// Cuts the main connection, in what it sends next: everything before that arrives.
    pub(super) async fn cut_now(&mut self) {
        self.cut_main(Direction::ToBroker, 0, Cut::InFrame).await;
    }

    pub(super) async fn publisher_reset(&mut self) -> Struck {
        for (direction, cut) in [
            (Direction::ToBroker, Cut::Reset),
            (Direction::ToClient, Cut::Reset),
            (Direction::ToBroker, Cut::InFrame),
            (Direction::ToClient, Cut::InFrame),
        ] {
            // What comes back is confirms: a few octets for many messages.
            let octets = self.random.usize(..if direction == Direction::ToBroker { 20_000 } else { 500 });
            self.publishing.iter().for_each(|relay| relay.cut_after(direction, octets, cut));
            let what = "the publisher is cut";
            self.wait(what, LIMIT, |stage| stage.publishing.iter().any(|relay| !relay.is_to_cut())).await;
            self.publishing.iter().for_each(Relay::disarm);
            let confirmed = self.ledger.read().counts().confirmed;
            let what = "it publishes again";
            self.wait(what, LIMIT, |stage| stage.ledger.read().counts().confirmed > confirmed).await;
        }
        Struck::default()
    }

    pub(super) async fn slow(&mut self, manner: Manner) -> Struck {
        let (before, epochs) = self.accepted_and_epochs();
        self.behave(manner);
        self.publishing.iter().for_each(|relay| relay.behave(manner));
        let until = Instant::now() + Duration::from_secs(2);
        self.wait("messages are handled", LIMIT, |stage| {
            Instant::now() > until && stage.ledger.read().counts().accepted > before + 200
        })
        .await;
        self.undisturbed(epochs);
        self.behave(Manner::default());
        self.publishing.iter().for_each(|relay| relay.behave(Manner::default()));
        Struck::default()
    }

    /// Waits until the worker has noticed a silence, which it must within three heartbeats.
    async fn noticed(&mut self, since: Instant, failures: u32) -> Option<Duration> {
        self.wait("the silence is noticed", LIMIT, |stage| stage.failures("main") > failures).await;
        let noticed = since.elapsed();
        if noticed > Duration::from_secs(3 * u64::from(HEARTBEAT)) {
            self.problem(format!("the silence was noticed after {noticed:.1?}: more than three heartbeats"));
        }
        Some(noticed)
    }

    pub(super) async fn frozen(&mut self) -> Struck {
        let node = self.nodes[0].clone();
        let begun = self.begin().await;
        let (failures, since) = (self.failures("main"), Instant::now());
        node.control("pause").await;
        let noticed = self.noticed(since, failures).await;
        node.control("resume").await;
        self.over(begun, noticed).await
    }

    pub(super) async fn black_hole(&mut self) -> Struck {
        let begun = self.begin().await;
        let (failures, since) = (self.failures("main"), Instant::now());
        self.behave(Manner { stalls: true, ..Manner::default() });
        let noticed = self.noticed(since, failures).await;
        self.behave(Manner::default());
        self.over(begun, noticed).await
    }

    pub(super) async fn mute_server(&mut self) -> Struck {
        let begun = self.begin().await;
        self.behave(Manner { mute: true, ..Manner::default() });
        let failures = self.failures("main");
        self.cut_now().await;
        self.wait("a connect is given up", LIMIT, |stage| stage.failures("main") >= failures + 2).await;
        let threads = self.worker.threads();
        self.wait("others are given up", LIMIT, |stage| stage.failures("main") >= failures + 4).await;
        let now = self.worker.threads();
        if now > threads + 2 {
            self.problem(format!("attempts to connect leak threads: {threads}, and then {now}"));
        }
        self.behave(Manner::default());
        // The attempt that waits for an answer now has to wait for its deadline.
        self.over(begun, None).await
    }
}
