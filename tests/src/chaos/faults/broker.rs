//! Faults of the broker, and what its operator does to it.

use super::Struck;
use crate::chaos::SIDE;
use crate::chaos::stage::{LIMIT, PASSWORD, Stage, USER, add_vhost, declare_side};
use std::time::{Duration, Instant};

impl Stage {
    pub(super) async fn node_down(&mut self, verb: &str) -> Struck {
        let node = self.nodes[0].clone();
        let begun = self.begin().await;
        node.control(verb).await;
        node.control("start").await;
        let struck = self.over(begun, None).await;
        if let Some(recovery) = struck.recovery.filter(|recovery| *recovery > Duration::from_secs(10)) {
            self.problem(format!("consuming again {recovery:.1?} after the restart: more than 10 s"));
        }
        struck
    }

    pub(super) async fn closed_by_operator(&mut self) -> Struck {
        let begun = self.begin().await;
        let vhost = self.vhost.clone();
        for node in self.nodes.clone() {
            // Each node knows its own connections.
            node.ctl(&["close_all_connections", "--vhost", &vhost, "chaos"]).await;
        }
        self.over(begun, None).await
    }

    pub(super) async fn queue_deleted(&mut self) -> Struck {
        let (_, epochs) = self.accepted_and_epochs();
        let cancelled = "cancelled the consumer";
        let before = self.worker.printed().matches(cancelled).count();
        self.nodes[0].ctl(&["delete_queue", SIDE, "-p", &self.side_vhost]).await;
        let what = "the route reports it";
        self.wait(what, LIMIT, |stage| stage.worker.printed().matches(cancelled).count() > before).await;
        declare_side(&self.addresses[0], &self.side_vhost).await;
        self.probe_works("queue").await;
        self.undisturbed(epochs);
        Struck::default()
    }

    pub(super) async fn ack_timeout(&mut self) -> Struck {
        let set = |timeout: &str, tick: &str| {
            format!(
                "application:set_env(rabbit,consumer_timeout,{timeout}), \
                 application:set_env(rabbit,channel_tick_interval,{tick})."
            )
        };
        self.nodes[0].ctl(&["eval", &set("3000", "1000")]).await;
        // A channel knows the time that it began with.
        let mut faults = self.another_channel().await.faults;
        self.hold_one().await;
        let begun = self.begin().await;
        self.wait("the broker closes the channel", LIMIT, |stage| stage.ledger.read().epochs() > begun.epochs).await;
        self.hold(false);
        let struck = self.over(begun, None).await;
        self.nodes[0].ctl(&["eval", &set("1800000", "60000")]).await;
        faults.extend(self.another_channel().await.faults);
        faults.extend(struck.faults);
        Struck { faults, ..struck }
    }

    async fn another_channel(&mut self) -> Struck {
        let begun = self.begin().await;
        self.cut_now().await;
        self.over(begun, None).await
    }

    pub(super) async fn alarm(&mut self, raise: &[&str], clear: &[&str]) -> Struck {
        let (_, epochs) = self.accepted_and_epochs();
        self.wait("there is something to handle", LIMIT, |stage| stage.ledger.read().backlog() > 1_000).await;
        let unknown = self.ledger.read().counts().unknown;
        self.nodes[0].ctl(raise).await;
        let settled = self.ledger.read().counts().settled;
        self.wait("acks still flow", LIMIT, |stage| stage.ledger.read().counts().settled > settled + 500).await;
        self.wait("a publish fails by its deadline", LIMIT, |stage| stage.ledger.read().counts().unknown > unknown)
            .await;
        let confirmed = self.ledger.read().counts().confirmed;
        self.nodes[0].ctl(clear).await;
        let since = Instant::now();
        self.wait("publishing goes on", LIMIT, |stage| stage.ledger.read().counts().confirmed > confirmed).await;
        self.undisturbed(epochs);
        Struck { recovery: Some(since.elapsed()), ..Struck::default() }
    }

    pub(super) async fn password_changed(&mut self) -> Struck {
        let begun = self.begin().await;
        let failures = self.failures("main");
        self.nodes[0].ctl(&["change_password", USER, "another"]).await;
        self.nodes[0].ctl(&["close_all_user_connections", USER, "chaos"]).await;
        self.wait("it tries again and again", LIMIT, |stage| stage.failures("main") >= failures + 4).await;
        let epochs = self.ledger.read().epochs();
        if epochs != begun.epochs {
            self.problem("it consumed with a password that is not right any more");
        }
        self.nodes[0].ctl(&["change_password", USER, PASSWORD]).await;
        self.over(begun, None).await
    }

    pub(super) async fn vhost_deleted(&mut self) -> Struck {
        let (_, epochs) = self.accepted_and_epochs();
        let failures = self.failures("side");
        let vhost = self.side_vhost.clone();
        self.nodes[0].ctl(&["delete_vhost", &vhost]).await;
        self.wait("it tries again and again", LIMIT, |stage| stage.failures("side") >= failures + 3).await;
        add_vhost(&self.nodes[0], &vhost).await;
        declare_side(&self.addresses[0], &vhost).await;
        let recovery = Some(self.probe_works("vhost").await);
        self.undisturbed(epochs);
        Struck { recovery, ..Struck::default() }
    }
}
