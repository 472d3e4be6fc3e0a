//! Who watches a session, and who steers it: the player's shares, the viewers that came by them, and the reins.
//!
//! A share's role says what its viewers may hold. The camera and the prompt each have one holder. The player holds both
//! at first. A director gets the prompt when it comes, if the player holds it; what a viewer of the role `control` gets,
//! the player says. What a viewer held is the player's again when the viewer leaves.

use std::collections::BTreeMap;

use pipeline::world::Refusal;

use crate::engine::turns::event::{Event, EventPart};
use crate::realtime::wire::fields::refuse;
use crate::realtime::wire::sharing::{Reins, Role};
use crate::realtime::wire::watch::Guest;

/// Shares of a session at once: one for each role and for some friends by name.
pub const SHARES_MAX: usize = 16;

/// Viewers that may be handed something, and are named to the player: a message of some kilobytes.
pub const GUESTS_MAX: usize = 64;

/// The viewers of one session, and its shares.
#[derive(Debug, Default)]
pub struct Company {
    /// By their numbers, which are counted from 1.
    shares: BTreeMap<u32, Role>,
    last_share: u32,
    viewers: BTreeMap<u32, (u32, Role)>,
    last_viewer: u32,
    reins: Reins,
}

impl Company {
    /// Who steers.
    pub fn reins(&self) -> Reins {
        self.reins
    }

    /// How many watch.
    pub fn count(&self) -> usize {
        self.viewers.len()
    }

    /// The viewers that may be handed something, the oldest first.
    pub fn guests(&self) -> Vec<Guest> {
        let guests = self.viewers.iter().filter(|(_, (_, role))| *role != Role::View);
        guests.map(|(&viewer_id, &(share_id, role))| Guest { viewer_id, role: role.name(), share_id }).collect()
    }

    /// A new share. Gives its number.
    pub fn share(&mut self, role: Role) -> Result<u32, Refusal> {
        if self.shares.len() == SHARES_MAX {
            let reason = format!("{SHARES_MAX} tokens exist already: unshare one of them first");
            return Err(refuse("kind", reason));
        }
        self.last_share += 1;
        self.shares.insert(self.last_share, role);
        Ok(self.last_share)
    }

    /// End a share. Gives the viewers that came by it: they are here no longer.
    pub fn unshare(&mut self, share: u32) -> Result<Vec<u32>, Refusal> {
        self.shares.remove(&share).ok_or_else(|| refuse("share_id", format!("there is no share {share}")))?;
        let gone: Vec<u32> =
            self.viewers.iter().filter(|(_, (by, _))| *by == share).map(|(&viewer, _)| viewer).collect();
        gone.iter().for_each(|&viewer| self.leave(viewer));
        Ok(gone)
    }

    /// A viewer comes by a share. Gives its number and role; `None`: there is no such share any more.
    pub fn enter(&mut self, share: u32) -> Option<(u32, Role)> {
        let &role = self.shares.get(&share)?;
        self.last_viewer += 1;
        self.viewers.insert(self.last_viewer, (share, role));
        if role == Role::Director && self.reins.prompt == Reins::PLAYER {
            self.reins.prompt = self.last_viewer;
        }
        Some((self.last_viewer, role))
    }

    /// Whether there is a share of this number.
    pub fn has(&self, share: u32) -> bool {
        self.shares.contains_key(&share)
    }

    /// Whether another viewer of this role can be named to the player.
    pub fn has_room_for(&self, share: u32) -> bool {
        let named = self.viewers.values().filter(|(_, role)| *role != Role::View).count();
        self.shares.get(&share) == Some(&Role::View) || named < GUESTS_MAX
    }

    /// A viewer leaves.
    pub fn leave(&mut self, viewer: u32) {
        self.viewers.remove(&viewer);
        for rein in [&mut self.reins.camera, &mut self.reins.prompt] {
            if *rein == viewer {
                *rein = Reins::PLAYER;
            }
        }
    }

    /// The player hands a viewer what its role allows.
    pub fn hand_over(&mut self, to: u32) -> Result<(), Refusal> {
        match self.viewers.get(&to) {
            None => return Err(refuse("viewer_id", format!("there is no viewer {to}"))),
            Some((_, Role::View)) => {
                let reason = format!("viewer {to} came with a token of the role view: it can hold nothing");
                return Err(refuse("viewer_id", reason));
            }
            Some((_, Role::Director)) => self.reins.prompt = to,
            Some((_, Role::Control)) => {
                self.reins.camera = to;
                // A director keeps the prompt while another walks.
                let director = matches!(self.viewers.get(&self.reins.prompt), Some((_, Role::Director)));
                if !director {
                    self.reins.prompt = to;
                }
            }
        }
        Ok(())
    }

    /// The player holds everything again.
    pub fn take_back(&mut self) {
        self.reins = Reins::default();
    }

    /// Whether a viewer may say this. `Err` says why not.
    pub fn may(&self, viewer: u32, event: &Event) -> Result<(), Refusal> {
        let Some((_, role)) = self.viewers.get(&viewer) else { return Err(refuse("kind", "this viewer has left")) };
        if *role == Role::View {
            return Err(viewer_cannot("steer"));
        }
        if leads_camera(event) && *role == Role::Director {
            return Err(refuse("camera_actions", "a director cannot steer the camera: its token is for the prompt"));
        }
        may(self.reins, viewer, event)
    }
}

/// To a viewer whose token is for watching alone.
pub fn viewer_cannot(what: &str) -> Refusal {
    refuse("kind", format!("a viewer cannot {what}: its token is for watching alone"))
}

/// Whether the camera is steered by this.
pub fn leads_camera(event: &Event) -> bool {
    event.parts.iter().any(|part| !matches!(part, EventPart::Prompt { .. }))
}

/// Whether `who` holds all that this event changes.
pub fn may(reins: Reins, who: u32, event: &Event) -> Result<(), Refusal> {
    let is_with = |holder: u32| match (who, holder) {
        (Reins::PLAYER, holder) => format!("is with viewer {holder}: take_back takes it back"),
        (_, Reins::PLAYER) => "is with the player, who has not handed it over".to_owned(),
        (_, holder) => format!("is with viewer {holder}"),
    };
    if leads_camera(event) && reins.camera != who {
        return Err(refuse("camera_actions", format!("the camera {}", is_with(reins.camera))));
    }
    let prompts = event.parts.iter().any(|part| matches!(part, EventPart::Prompt { .. }));
    if prompts && reins.prompt != who {
        return Err(refuse("prompt", format!("the prompt {}", is_with(reins.prompt))));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> Event {
        Event { id: Some(1), parts: vec![EventPart::State(vec![Default::default()])] }
    }

    fn prompt() -> Event {
        Event { id: Some(2), parts: vec![EventPart::prompt("night")] }
    }

    fn refused(result: Result<(), Refusal>) -> &'static str {
        result.expect_err("it is not allowed").field
    }

    fn came(company: &mut Company, role: Role) -> u32 {
        let share = company.share(role).expect("there is room");
        company.enter(share).expect("it was made just now").0
    }

    #[test]
    fn a_viewer_cannot_steer_and_nothing_can_be_handed_to_it() {
        let mut company = Company::default();
        let viewer = came(&mut company, Role::View);
        let refusal = company.may(viewer, &keys()).expect_err("it watches");
        assert!(refusal.field == "kind" && refusal.reason.starts_with("a viewer cannot steer"), "{refusal}");
        assert_eq!(refused(company.hand_over(viewer)), "viewer_id");
        assert_eq!(refused(company.hand_over(99)), "viewer_id");
        assert_eq!(company.reins(), Reins::default());
        assert!(may(Reins::default(), Reins::PLAYER, &keys()).is_ok());
        assert!(company.guests().is_empty());
    }

    #[test]
    fn a_director_holds_the_prompt_from_its_arrival_and_never_the_camera() {
        let mut company = Company::default();
        let director = came(&mut company, Role::Director);
        assert_eq!(company.reins(), Reins { camera: Reins::PLAYER, prompt: director });
        assert_eq!(company.may(director, &prompt()), Ok(()));
        assert_eq!(refused(company.may(director, &keys())), "camera_actions");
        assert_eq!(refused(may(company.reins(), Reins::PLAYER, &prompt())), "prompt");
        assert_eq!(may(company.reins(), Reins::PLAYER, &keys()), Ok(()));
        let second = came(&mut company, Role::Director);
        assert_eq!(company.reins().prompt, director, "the first one keeps it");
        assert_eq!(refused(company.may(second, &prompt())), "prompt");
        company.hand_over(second).expect("it is a director");
        assert_eq!((company.may(second, &prompt()), company.reins().prompt), (Ok(()), second));
        company.leave(second);
        assert_eq!(company.reins(), Reins::default(), "the player has it again");
    }

    #[test]
    fn control_is_handed_over_taken_back_and_back_with_the_player_when_its_holder_leaves() {
        let mut company = Company::default();
        let walker = came(&mut company, Role::Control);
        assert_eq!(refused(company.may(walker, &keys())), "camera_actions");
        company.hand_over(walker).expect("its role allows it");
        assert_eq!(company.reins(), Reins { camera: walker, prompt: walker });
        assert_eq!((company.may(walker, &keys()), company.may(walker, &prompt())), (Ok(()), Ok(())));
        assert_eq!(refused(may(company.reins(), Reins::PLAYER, &keys())), "camera_actions");
        company.take_back();
        assert_eq!(refused(company.may(walker, &keys())), "camera_actions");
        company.hand_over(walker).expect("its role allows it");
        company.leave(walker);
        assert_eq!(company.reins(), Reins::default());
    }

    #[test]
    fn a_director_keeps_the_prompt_while_another_walks() {
        let mut company = Company::default();
        let director = came(&mut company, Role::Director);
        let walker = came(&mut company, Role::Control);
        company.hand_over(walker).expect("its role allows it");
        assert_eq!(company.reins(), Reins { camera: walker, prompt: director });
        let both = Event { id: None, parts: [keys().parts, prompt().parts].concat() };
        assert_eq!(refused(company.may(walker, &both)), "prompt");
        let guests: Vec<(u32, &str)> = company.guests().iter().map(|guest| (guest.viewer_id, guest.role)).collect();
        assert_eq!(guests, [(director, "director"), (walker, "control")]);
    }

    #[test]
    fn a_share_that_ended_lets_nobody_in_and_sends_away_who_came_by_it() {
        let mut company = Company::default();
        let (kept, ended) = (company.share(Role::View).expect("room"), company.share(Role::Control).expect("room"));
        let (stays, _) = company.enter(kept).expect("a share");
        let (goes, _) = company.enter(ended).expect("a share");
        company.hand_over(goes).expect("its role allows it");
        assert_eq!(company.unshare(ended), Ok(vec![goes]));
        assert_eq!((company.reins(), company.count()), (Reins::default(), 1));
        assert!(company.enter(ended).is_none() && company.unshare(ended).is_err());
        company.leave(stays);
        assert_eq!(company.count(), 0);
    }

    #[test]
    fn as_many_shares_and_guests_there_are_as_there_is_room_for() {
        let mut company = Company::default();
        let view = company.share(Role::View).expect("room");
        for _ in 1..SHARES_MAX {
            company.share(Role::Control).expect("room");
        }
        assert!(company.share(Role::View).is_err());
        for _ in 0..GUESTS_MAX {
            assert!(company.has_room_for(2));
            company.enter(2).expect("a share");
        }
        assert!(!company.has_room_for(2) && company.has_room_for(view));
    }
}
