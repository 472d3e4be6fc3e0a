//! A world as its operator offers it: its sizes under a bound, and the usual value of a knob.
//!
//! The card is changed once, when the world is loaded. All that a client is told, and all that is checked, follows from it.

use std::sync::Arc;

use anyhow::{anyhow, bail};
use pipeline::world::{
    ByMode, Card, Clip, ClipAsk, ClipBytes, DeviceMemory, Init, Knob, Origin, Rollout, RolloutBytes, Size, Sizes,
    StateBytes, WarmUp, World, WorldError,
};

use super::thread::LoadWorld;

/// What an operator changes of a world. By default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Offer {
    /// The most pixels of a frame. A world that draws fewer keeps its own bound.
    pub pixels: Option<u64>,
    /// `flow_shift` of requests that say none, for clips and for pictures. 0.1 to 100.
    pub flow_shift: Option<f64>,
}

impl Offer {
    /// The same world, as it is offered. It is not loaded if it cannot be offered so.
    pub(crate) fn of(self, load: LoadWorld) -> LoadWorld {
        if self == Offer::default() {
            return load;
        }
        Box::new(move || {
            let own = load()?;
            let card = Arc::new(self.card(own.card())?);
            Ok(Box::new(Offered { own, card }))
        })
    }

    /// The card of a world with this card of its own.
    fn card(self, own: &Card) -> anyhow::Result<Card> {
        let mut card = own.clone();
        if let Some(shift) = self.flow_shift {
            match &mut card.clips.knobs.flow_shift {
                Some(Knob { usual, free: true }) => *usual = ByMode { video: shift, picture: shift },
                Some(_) => bail!("--flow-shift {shift}: the checkpoint of {} fixes it", own.name),
                None => bail!("--flow-shift {shift}: {} has no such setting", own.name),
            }
        }
        let Some(most) = self.pixels else { return Ok(card) };
        let none = || anyhow!("--pixels {most}: {} draws {}", own.name, own.sizes);
        match &mut card.sizes {
            Sizes::Only(sizes) => {
                sizes.retain(|size| size.pixels() <= most);
                let largest = *sizes.iter().max_by_key(|size| size.pixels()).ok_or_else(none)?;
                for usual in [&mut card.default_size, &mut card.clips.picture_size] {
                    if usual.pixels() > most {
                        *usual = largest;
                    }
                }
            }
            Sizes::MultiplesOf { multiple, pixels_max } => {
                *pixels_max = most.min(*pixels_max);
                let (multiple, least) = (*multiple, card.clips.side_min);
                for usual in [&mut card.default_size, &mut card.clips.picture_size] {
                    *usual = shrunk(*usual, most, multiple, least).ok_or_else(none)?;
                }
            }
        }
        Ok(card)
    }
}

/// A size in the shape of `size` with `most` pixels at most, as large as it goes: so a client that names no size is served.
/// `None` if no size has so few, whose sides are multiples of `multiple` and at least `least`.
fn shrunk(size: Size, most: u64, multiple: u32, least: u32) -> Option<Size> {
    if size.pixels() <= most {
        return Some(size);
    }
    // Films have even sides.
    let multiple = if multiple.is_multiple_of(2) { multiple } else { 2 * multiple };
    let scale = (most as f64 / size.pixels() as f64).sqrt();
    let side = |side: u32| (f64::from(side) * scale) as u32 / multiple * multiple;
    let least = least.next_multiple_of(multiple);
    let (mut width, mut height) = (side(size.width).max(least), side(size.height).max(least));
    // Where one side is the least already, only the other can give way.
    let other = (most / u64::from(least)) as u32 / multiple * multiple;
    if u64::from(width) * u64::from(height) > most {
        (width, height) = (width.min(other), height.min(other));
    }
    Some(Size { width, height }).filter(|size| width.min(height) >= least && size.pixels() <= most)
}

/// A world behind another card.
struct Offered {
    own: Box<dyn World>,
    card: Arc<Card>,
}

impl World for Offered {
    fn card(&self) -> &Arc<Card> {
        &self.card
    }

    fn origin(&self) -> Origin {
        self.own.origin()
    }

    fn rollout_bytes(&self) -> RolloutBytes {
        self.own.rollout_bytes()
    }

    fn state_bytes(&self) -> Option<StateBytes> {
        self.own.state_bytes()
    }

    fn device_memory(&self) -> Option<DeviceMemory> {
        self.own.device_memory()
    }

    fn open(&self, init: Init) -> Result<Box<dyn Rollout>, WorldError> {
        self.own.open(init)
    }

    fn open_at(&self, init: Init, packed: &[u8]) -> Result<Box<dyn Rollout>, WorldError> {
        self.own.open_at(init, packed)
    }

    fn clip_bytes(&self) -> ClipBytes {
        self.own.clip_bytes()
    }

    fn warm_up(&self) -> Result<Option<WarmUp>, WorldError> {
        self.own.warm_up()
    }

    fn clip(&self, ask: ClipAsk) -> Result<Box<dyn Clip>, WorldError> {
        self.own.clip(ask)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pipeline::testcard::Testcard;

    use super::*;

    fn size(text: &str) -> Size {
        text.parse().expect("WxH")
    }

    /// A world with this `flow_shift`, whose sides are multiples of 16 and at least 64.
    fn own(shift: Option<Knob<f64>>) -> Card {
        let mut card = Card::clone(Testcard::new(Duration::ZERO).card());
        card.sizes = Sizes::MultiplesOf { multiple: 16, pixels_max: 1920 * 1088 };
        (card.default_size, card.clips.picture_size, card.clips.side_min) = (size("1280x720"), size("1024x1024"), 64);
        card.clips.knobs.flow_shift = shift;
        card
    }

    fn offered(own: &Card, pixels: Option<u64>, flow_shift: Option<f64>) -> Result<Card, String> {
        Offer { pixels, flow_shift }.card(own).map_err(|error| error.to_string())
    }

    #[test]
    fn the_operator_s_shift_is_the_usual_one_of_a_world_that_lets_it_be_chosen() {
        let usual = ByMode { video: 10.0, picture: 3.0 };
        let free = own(Some(Knob { usual, free: true }));
        let card = offered(&free, None, Some(7.5)).expect("it has the knob");
        let expected = ByMode { video: 7.5, picture: 7.5 };
        assert_eq!(card.clips.knobs.flow_shift, Some(Knob { usual: expected, free: true }));
        assert_eq!(offered(&free, None, None).map(|card| card.clips), Ok(free.clips.clone()));
        let fixed = own(Some(Knob { usual, free: false }));
        assert!(offered(&fixed, None, Some(7.5)).is_err_and(|why| why.contains("fixes it")));
        assert!(offered(&own(None), None, Some(7.5)).is_err_and(|why| why.contains("no such setting")));
    }

    #[test]
    fn a_bound_on_pixels_is_the_smaller_of_the_operator_s_and_the_world_s() {
        let check = |pixels, largest, usual: &str, picture: &str| {
            let card = offered(&own(None), Some(pixels), None).expect("there are such sizes");
            assert_eq!(card.sizes, Sizes::MultiplesOf { multiple: 16, pixels_max: largest });
            assert_eq!((card.default_size, card.clips.picture_size), (size(usual), size(picture)), "{pixels}");
        };
        check(1 << 40, 1920 * 1088, "1280x720", "1024x1024");
        check(1_000_000, 1_000_000, "1280x720", "992x992");
        check(832 * 480, 832 * 480, "832x464", "624x624");
        check(64 * 64, 64 * 64, "64x64", "64x64");
        assert!(offered(&own(None), Some(64 * 64 - 1), None).is_err_and(|why| why.contains("--pixels 4095")));
    }

    #[test]
    fn of_single_sizes_those_that_fit_are_left() {
        let mut few = own(None);
        few.sizes = Sizes::Only(vec![size("96x64"), size("192x128")]);
        (few.default_size, few.clips.picture_size) = (size("192x128"), size("192x128"));
        let card = offered(&few, Some(10_000), None).expect("one fits");
        assert_eq!((card.sizes, card.default_size), (Sizes::Only(vec![size("96x64")]), size("96x64")));
        assert!(offered(&few, Some(1000), None).is_err_and(|why| why.contains("192x128")));
    }
}
