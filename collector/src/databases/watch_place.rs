//! Where the instance stands is looked at again and again: a promotion or a lost node ends no connection.

use tokio::time::Instant;

use super::{
    connection::Connection,
    place::{self, Place},
    trouble::{Class, Trouble, event},
    watch::Watch,
};

impl Watch {
    /// Asks for the place and says what changed and what is wrong with it.
    pub(super) async fn read_place(&mut self, connection: &mut Option<Connection>) -> Result<(), Trouble> {
        let (Some(identity), Some(open)) = (self.identity.clone(), connection.as_mut()) else { return Ok(()) };
        let place = match Place::read(open, &self.config, identity.engine, &identity.standing).await {
            Ok(place) => place,
            Err(trouble) if trouble.connection_lost() => return Err(trouble),
            Err(trouble) => {
                self.count_error(trouble.class);
                self.hold(&trouble, "place", None);
                return Ok(());
            }
        };
        self.clear(Class::QueryFailed, "place");
        if place != identity.place {
            self.publish_info_end();
            let (before, after) = (identity.place.role_word(), place.role_word());
            if before != after {
                let now_ms = self.context.clock.now_ms();
                let text = format!("its role was {before} and is {after}");
                let said = event(self.engine, &self.instance, now_ms, Class::RoleChanged, &text);
                self.context.outlet.send_events(said);
            }
            if identity.place.role != place.role {
                self.due.retain(|what, _| !what.starts_with("group ")); // other groups fit now
            }
            if let Some(identity) = &mut self.identity {
                identity.place = place.clone();
            }
            self.publish_target();
        }
        self.judge_place(&place);
        Ok(())
    }

    fn judge_place(&mut self, place: &Place) {
        let lost = match &place.node {
            Some(node) => self.members.observe(Instant::now(), node),
            None => Vec::new(),
        };
        for (class, what, text) in place::troubles(&self.config, place, &lost) {
            match text {
                Some(text) => self.hold(&Trouble::new(class, text), what, None),
                None => self.clear(class, what),
            }
        }
    }
}
