//! Sentences that describe a world: a small grammar with many words for each thing, so that ordinary sentences work.
//!
//! Biome and time are always said; weather when it is fog, a landmark when one is in view, the rest by chance. Some
//! phrases carry no meaning ("cinematic"). People write them, so they must change nothing.

use crate::landmark::Landmark;
use crate::look::{Biome, Look, Time, Weather};
use crate::random::Draws;

/// A sentence for a look and the landmarks in view.
pub fn prompt(look: Look, landmarks: &[Landmark], draws: &mut Draws) -> String {
    let (adjectives, nouns, details) = place(look.biome);
    let mut scene = draws.pick(nouns).to_owned();
    if draws.chance(0.55) {
        scene = format!("{} {scene}", draws.pick(adjectives));
    }
    if draws.chance(0.45) {
        scene = format!("{scene} with {}", draws.pick(details));
    }
    let article = if scene.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    let scene = format!("{article} {scene}");
    let mut rest = vec![time(look.time, draws).to_owned()];
    match look.weather {
        Weather::Fog => rest.push(draws.pick(FOG).to_owned()),
        Weather::Clear if draws.chance(0.3) => rest.push(draws.pick(CLEAR).to_owned()),
        Weather::Clear => {}
    }
    if !landmarks.is_empty() && draws.chance(0.7) {
        let landmark = landmarks[draws.below(landmarks.len())];
        rest.push(format!(
            "{} {}",
            draws.pick(&["near", "beside", "not far from", "with"]),
            draws.pick(name(landmark))
        ));
    }
    let order = draws.below(4);
    let body = match order {
        0 => format!("{scene}, {}", rest.join(", ")),
        1 => format!("{scene} {}", rest.join(", ")),
        2 => format!("{}, {scene}{}", rest[0], rest[1..].iter().map(|r| format!(", {r}")).collect::<String>()),
        _ => {
            let verb = draws.pick(&[
                "walking through",
                "exploring",
                "wandering across",
                "strolling through",
                "a walk through",
                "travelling through",
            ]);
            format!("{verb} {scene} {}", rest.join(", "))
        }
    };
    let mut sentence = body;
    if draws.chance(0.25) {
        sentence = format!("{} {sentence}", draws.pick(OPENINGS));
    }
    if draws.chance(0.25) {
        sentence = format!("{sentence}, {}", draws.pick(EXTRAS));
    }
    if draws.chance(0.35) {
        let mut letters = sentence.chars();
        let first = letters.next().expect("a sentence has letters");
        sentence = format!("{}{}.", first.to_uppercase(), letters.as_str());
    }
    sentence
}

/// Adjectives, nouns and details of a biome.
fn place(biome: Biome) -> (&'static [&'static str], &'static [&'static str], &'static [&'static str]) {
    match biome {
        Biome::Meadow => (
            &["green", "lush", "grassy", "rolling", "peaceful", "sunlit", "quiet", "pastoral", "verdant", "gentle"],
            &[
                "meadow",
                "grassland",
                "green valley",
                "countryside",
                "pasture",
                "field of grass",
                "prairie",
                "farmland",
                "set of rolling hills",
                "grassy hillside",
            ],
            &[
                "round trees",
                "a winding path",
                "scattered trees",
                "a small pond",
                "soft hills",
                "green bushes",
                "oaks and pines",
                "grassy fields",
                "hills and trees",
            ],
        ),
        Biome::Snow => (
            &["snowy", "frozen", "icy", "wintry", "cold", "white", "alpine", "frosty", "arctic"],
            &[
                "mountain pass",
                "snowfield",
                "winter forest",
                "mountain valley",
                "tundra",
                "pine forest in winter",
                "snow-covered slope",
                "glacier valley",
                "winter landscape",
                "snowy mountain range",
            ],
            &[
                "snow-capped peaks",
                "pine trees",
                "fir trees under snow",
                "a frozen lake",
                "jagged mountains",
                "deep snow",
                "dark firs",
                "mountains",
                "snowy firs and pines",
            ],
        ),
        Biome::Desert => (
            &["sandy", "dry", "arid", "barren", "hot", "golden", "dusty", "sun-baked", "orange"],
            &[
                "desert",
                "desert canyon",
                "badlands",
                "dune field",
                "mesa country",
                "wild west landscape",
                "sea of sand",
                "rocky desert",
                "wasteland of sand",
            ],
            &[
                "cacti",
                "red mesas",
                "sand dunes",
                "tall cactus plants",
                "sandstone cliffs",
                "buttes on the horizon",
                "red rock",
                "mesas and cacti",
                "dunes",
            ],
        ),
        Biome::Islands => (
            &["tropical", "sunny", "sandy", "exotic", "lush", "remote", "turquoise", "coastal"],
            &[
                "island",
                "beach",
                "seaside",
                "tropical coast",
                "lagoon",
                "archipelago",
                "shore",
                "paradise island",
                "ocean bay",
                "chain of islands",
                "sandy beach",
            ],
            &[
                "palm trees",
                "blue water",
                "white sand",
                "clear sea",
                "green palms",
                "the ocean all around",
                "coconut palms",
                "islands in the sea",
                "a bright beach",
            ],
        ),
        Biome::City => (
            &["modern", "busy", "urban", "futuristic", "big", "empty", "concrete", "cyberpunk"],
            &[
                "city",
                "city street",
                "downtown",
                "metropolis",
                "skyline of skyscrapers",
                "town centre",
                "avenue",
                "urban canyon",
                "business district",
                "neon city",
                "street between buildings",
            ],
            &[
                "tall buildings",
                "skyscrapers",
                "glass towers",
                "lit windows",
                "crosswalks",
                "a small park",
                "office blocks",
                "neon windows",
            ],
        ),
        Biome::Volcano => (
            &["volcanic", "scorched", "black", "burning", "hellish", "infernal", "charred", "ashen", "fiery"],
            &[
                "lava field",
                "volcano",
                "volcanic wasteland",
                "land of fire",
                "lava landscape",
                "ash plain",
                "magma valley",
                "volcanic plain",
            ],
            &[
                "glowing lava",
                "rivers of lava",
                "black rock",
                "molten rock",
                "dead trees",
                "ember-coloured spires",
                "lava",
                "a volcano on the horizon",
            ],
        ),
        Biome::Crystal => (
            &["alien", "purple", "magical", "glowing", "otherworldly", "violet", "strange", "fantasy", "luminous"],
            &[
                "crystal planet",
                "crystal field",
                "alien world",
                "crystal valley",
                "alien landscape",
                "land of crystals",
                "fantasy world",
                "extraterrestrial plain",
            ],
            &[
                "glowing crystals",
                "pink and cyan crystals",
                "giant mushrooms",
                "a planet in the sky",
                "shining gems",
                "crystal spires",
                "luminous shards",
                "crystals",
            ],
        ),
        Biome::Autumn => (
            &["autumn", "golden", "colourful", "orange", "autumnal", "rustic", "october", "colorful"],
            &[
                "forest in autumn colours",
                "autumn forest",
                "woodland in fall",
                "fall landscape",
                "autumn grove",
                "japanese garden in autumn",
                "forest in autumn colors",
                "forest of maples",
                "autumn park",
            ],
            &[
                "orange trees",
                "red and yellow leaves",
                "fallen leaves",
                "golden foliage",
                "maple trees",
                "red maples",
                "a quiet pond",
                "trees in fall colors",
            ],
        ),
    }
}

fn time(time: Time, draws: &mut Draws) -> &'static str {
    let phrases: &[&'static str] = match time {
        Time::Dawn => &[
            "at dawn",
            "at sunrise",
            "in the early morning",
            "at daybreak",
            "at first light",
            "in soft morning light",
            "early in the morning",
        ],
        Time::Noon => &[
            "at noon",
            "in bright daylight",
            "at midday",
            "on a sunny day",
            "in the daytime",
            "under the midday sun",
            "in full daylight",
            "by day",
        ],
        Time::Sunset => &[
            "at sunset",
            "at dusk",
            "in the evening",
            "at golden hour",
            "as the sun goes down",
            "in the evening light",
            "at twilight",
            "late in the evening",
        ],
        Time::Night => &[
            "at night",
            "under the moonlight",
            "by moonlight",
            "in the dark",
            "at midnight",
            "under the stars",
            "on a starry night",
            "in the dead of night",
        ],
    };
    phrases[draws.below(phrases.len())]
}

const FOG: &[&str] = &[
    "in thick fog",
    "in the mist",
    "on a foggy day",
    "light fog",
    "with mist in the air",
    "foggy",
    "misty",
    "shrouded in fog",
    "hazy",
    "dense fog",
    "fog everywhere",
    "in a haze",
    "with low visibility",
];
const CLEAR: &[&str] = &[
    "clear sky",
    "clear weather",
    "with a few clouds",
    "no fog",
    "crisp air",
    "under an open sky",
    "good visibility",
    "fine weather",
];
const OPENINGS: &[&str] = &[
    "a first-person view of",
    "first person view of",
    "a picture of",
    "a low-poly rendering of",
    "a game world showing",
    "a scene of",
    "a video of",
    "a view over",
    "a wide shot of",
    "the camera moves through",
    "imagine",
    "show me",
];
const EXTRAS: &[&str] = &[
    "cinematic",
    "low poly",
    "stylised",
    "beautiful lighting",
    "highly detailed",
    "4k",
    "video game style",
    "atmospheric",
    "calm mood",
    "smooth camera motion",
    "wide angle",
    "dramatic light",
    "minimalist",
    "long shadows",
    "vivid colours",
    "peaceful mood",
    "realtime",
];

fn name(landmark: Landmark) -> &'static [&'static str] {
    match landmark {
        Landmark::Windmill => &["a windmill", "an old windmill", "a white mill"],
        Landmark::Cottage => &["a cottage", "a farmhouse", "a small house"],
        Landmark::StandingStones => &["a stone circle", "standing stones", "ancient stones"],
        Landmark::Cabin => &["a log cabin", "a mountain hut", "a wooden cabin", "a chalet"],
        Landmark::Watchtower => &["a watchtower", "a stone tower", "an old tower", "a castle tower"],
        Landmark::Arch => &["a rock arch", "a natural arch", "a stone arch"],
        Landmark::Pyramid => &["a pyramid", "an ancient pyramid", "a desert tomb"],
        Landmark::Columns => &["ruins", "ancient columns", "a ruined temple", "ruined pillars"],
        Landmark::Lighthouse => &["a lighthouse", "a red and white lighthouse"],
        Landmark::StiltHut => &["a hut on stilts", "a beach hut", "a fishing hut"],
        Landmark::RadioTower => &["a radio tower", "a television tower", "a red tower"],
        Landmark::Monument => &["a triumphal arch", "a monument", "a grand arch"],
        Landmark::Gate => &["a dark gate", "an ancient gate", "a mysterious portal"],
        Landmark::Pillars => &["basalt columns", "rock pillars", "a basalt tower"],
        Landmark::GiantCrystal => &["a giant crystal", "a huge crystal", "a towering crystal"],
        Landmark::FloatingOrb => &["a floating orb", "a levitating sphere", "a hovering orb"],
        Landmark::Torii => &["a torii gate", "a red gate", "a shrine gate"],
        Landmark::Pagoda => &["a pagoda", "a temple", "a japanese temple"],
    }
}
