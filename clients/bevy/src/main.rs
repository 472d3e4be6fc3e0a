//! A world as a sprite in Bevy 0.16: W, A, S, D and the arrows walk.
//!
//! This example was written for Bevy's documented interface and was not compiled: Bevy is some hundreds of crates. What it
//! calls of `causeway-client` is compiled and tested.

use std::time::Duration;

use bevy::asset::RenderAssetUsages;
use bevy::prelude::*;
use bevy::render::render_resource::{Extent3d, TextureDimension, TextureFormat};
use causeway_client::{Event as Steering, Init, News, Walk};

const SIZE: (u32, u32) = (320, 192);
const KEYS: [(KeyCode, char); 8] = [
    (KeyCode::KeyW, 'w'),
    (KeyCode::KeyA, 'a'),
    (KeyCode::KeyS, 's'),
    (KeyCode::KeyD, 'd'),
    (KeyCode::ArrowUp, 'i'),
    (KeyCode::ArrowLeft, 'j'),
    (KeyCode::ArrowDown, 'k'),
    (KeyCode::ArrowRight, 'l'),
];

/// The walk, and what it was told last.
struct World {
    walk: Walk,
    held: String,
    picture: Handle<Image>,
}

fn main() {
    App::new().add_plugins(DefaultPlugins).add_systems(Startup, begin).add_systems(Update, (steer, show).chain()).run();
}

fn begin(world: &mut bevy::prelude::World) {
    let url = std::env::args().nth(1).unwrap_or("ws://127.0.0.1:30000/v1/realtime_video".to_owned());
    let init = Init::new("a meadow").size(SIZE.0, SIZE.1).paced(16);
    let walk = Walk::connect(&url, init).expect("a server listens there");
    let extent = Extent3d { width: SIZE.0, height: SIZE.1, depth_or_array_layers: 1 };
    let image = Image::new_fill(
        extent,
        TextureDimension::D2,
        &[0, 0, 0, 255],
        TextureFormat::Rgba8UnormSrgb,
        RenderAssetUsages::all(),
    );
    let picture = world.resource_mut::<Assets<Image>>().add(image);
    world.spawn(Camera2d);
    world.spawn(Sprite { image: picture.clone(), custom_size: Some(Vec2::new(960.0, 576.0)), ..default() });
    // A walk belongs to one thread at a time.
    world.insert_non_send_resource(World { walk, held: String::new(), picture });
}

fn steer(keys: Res<ButtonInput<KeyCode>>, mut world: NonSendMut<World>) {
    let held: String = KEYS.iter().filter(|(code, _)| keys.pressed(*code)).map(|(_, key)| *key).collect();
    if held != world.held {
        world.walk.send(Steering::hold(&held));
        world.held = held;
    }
}

fn show(mut world: NonSendMut<World>, mut images: ResMut<Assets<Image>>, mut exit: EventWriter<AppExit>) {
    let World { walk, picture, .. } = &mut *world;
    // One picture at most for each of the screen's: the server sends no more than are shown.
    loop {
        match walk.poll(Duration::ZERO) {
            Ok(Some(News::Frame(frame))) => {
                let Some(image) = images.get_mut(&*picture) else { return };
                image.data = Some(frame.data.chunks_exact(3).flat_map(|rgb| [rgb[0], rgb[1], rgb[2], 255]).collect());
                return;
            }
            Ok(Some(News::Complete)) => return drop(exit.write(AppExit::Success)),
            Ok(Some(other)) => info!("{other:?}"),
            Ok(None) => return,
            Err(error) => {
                error!("{error}");
                return drop(exit.write(AppExit::error()));
            }
        }
    }
}
