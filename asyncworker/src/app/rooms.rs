//! Rooms in the life of an app.

use super::App;
use crate::error::Error;
use crate::room::{RoomBridge, Rooms};
use crate::service::IntoService;

impl App {
    /// Shares the app's [`Rooms`], which it has as a state, with all processes whose apps name the same exchange: what is
    /// said in one reaches the members in all, and who is in a room is known in all. [`RoomBridge`] has the options.
    ///
    /// ```
    /// use asyncworker::Rooms;
    /// use asyncworker::prelude::*;
    ///
    /// let app = App::new().connect(Amqp::new("127.0.0.1")).state(Rooms::new()).bridge_rooms("chat");
    /// ```
    ///
    /// The exchange is declared, so the start waits for the broker. What goes over the bridge is transient and there once
    /// at the most: while a process has no connection, those in it hear each other and nobody else, and when it is back,
    /// each learns who is there by now, and not what was said. A message keeps its place among those of the same process.
    /// Whoever may publish to the exchange may say anything as anybody, so it belongs in a virtual host of one's own.
    #[must_use]
    pub fn bridge_rooms(mut self, bridge: impl Into<RoomBridge>) -> Self {
        if self.room_bridge.replace(bridge.into()).is_some() {
            self.mistake.get_or_insert(Error::configuration("the app's rooms are bridged twice"));
        }
        self
    }

    /// Adds what the bridge is made of.
    pub(super) fn install_bridge(&mut self) -> Result<(), Error> {
        let Some(bridge) = self.room_bridge.take() else { return Ok(()) };
        let Some(rooms) = self.state.get::<Rooms>() else {
            return Err(Error::configuration(
                "the app's rooms are bridged, and it has none; add them by `.state(Rooms::new())`",
            ));
        };
        let parts = bridge.parts(&rooms)?;
        self.declarations.extend(parts.declarations);
        self.routes.push(parts.route);
        // It stops last: until then services may say something.
        self.services.add_first(parts.service.into_service());
        Ok(())
    }
}
