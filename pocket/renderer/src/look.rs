//! A look: the three independent choices of biome, time of day and weather.

use anyhow::{Result, bail};

use crate::random::Draws;

/// The choices of one kind, spelled the way the command line and the metadata spell them.
macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($variant:ident = $text:literal),+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($variant),+ }

        impl $name {
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            pub fn name(self) -> &'static str {
                match self { $($name::$variant => $text),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = anyhow::Error;
            fn from_str(text: &str) -> Result<$name> {
                match $name::ALL.iter().find(|choice| choice.name() == text) {
                    Some(choice) => Ok(*choice),
                    None => bail!("`{text}` is not one of {}", [$($text),+].join(", ")),
                }
            }
        }
    };
}

choice!(Biome {
    Meadow = "meadow", Snow = "snow", Desert = "desert", Islands = "islands",
    City = "city", Volcano = "volcano", Crystal = "crystal", Autumn = "autumn"
});
choice!(Time { Dawn = "dawn", Noon = "noon", Sunset = "sunset", Night = "night" });
choice!(Weather { Clear = "clear", Fog = "fog" });

/// One of the 64 ways a world can look. The seed only decides what stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Look {
    pub biome: Biome,
    pub time: Time,
    pub weather: Weather,
}

impl Look {
    pub fn all() -> impl Iterator<Item = Look> {
        Biome::ALL.iter().flat_map(|&biome| {
            Time::ALL
                .iter()
                .flat_map(move |&time| Weather::ALL.iter().map(move |&weather| Look { biome, time, weather }))
        })
    }

    /// A look for training: every biome and time alike, a quarter of them in fog.
    pub fn random(draws: &mut Draws) -> Look {
        Look {
            biome: Biome::ALL[draws.below(Biome::ALL.len())],
            time: Time::ALL[draws.below(Time::ALL.len())],
            weather: if draws.chance(0.25) { Weather::Fog } else { Weather::Clear },
        }
    }
}
