//! The first message: what is accepted, what is refused, and that a refusal leaves the connection as it was.
//!
//! The reference finds a bad size, rate or seed only while it draws the first chunk, and then drops the connection. Here
//! everything is looked at when it is said, and one may try again.

use anyhow::{Result, ensure};
use base64::Engine as _;
use image::ImageFormat;
use pipeline::world::{Picture, Size};
use rmpv::Value;
use server::Limits;
use std::io::Cursor;
use std::time::Duration;
use tests::client::Client;
use tests::message::{Close, Event, Init, Message, map, script};
use tests::puppet::{Puppet, Strings, held};
use tests::{Server, refusal, small};

/// A connection is closed for more bad messages than this at once, so a longer list is said on several.
const PATIENCE: usize = 40;

/// A client that sends all these is told each time which field cannot be used, and may then send a good init.
async fn refuses(inits: impl IntoIterator<Item = (&'static str, Init)>) -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    for (said_so_far, (field, init)) in inits.into_iter().enumerate() {
        if said_so_far % PATIENCE == PATIENCE - 1 {
            client = server.connect().await?;
        }
        let said = format!("{init:?}");
        client.send(init).await?;
        let error = refusal(&mut client).await.map_err(|error| error.context(said.clone()))?;
        ensure!(error.to_string().contains(field), "{error:?} does not name {field}, after {said}");
    }
    ensure!(strings.so_far().is_empty(), "something was drawn");
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// A session that was accepted. Its fields are dropped in this order: a server whose client has left stops at once.
struct Opened {
    client: Client,
    _strings: Strings,
    _server: Server,
}

/// The init is accepted: one chunk comes. Returns what the world was asked for.
async fn opens(init: Init) -> Result<(pipeline::world::Init, Opened)> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let said = format!("{init:?}");
    let mut client = server.session(init.max_chunks(1)).await?;
    client.chunk().await.map_err(|error| error.context(said))?;
    Ok((strings.opened().await?, Opened { client, _strings: strings, _server: server }))
}

fn each(field: &'static str, values: impl IntoIterator<Item = Value>) -> Vec<(&'static str, Init)> {
    values.into_iter().map(|value| (field, small().set(field, value))).collect()
}

/// C08
#[tokio::test]
async fn a_prompt_is_enough_to_begin_at_the_worlds_own_size() -> Result<()> {
    let (init, _session) = opens(Init::new("p")).await?;
    ensure!(init.prompt == "p" && init.size == Size { width: 832, height: 480 });
    ensure!(init.seed == 42 && init.first_frame.is_none());
    ensure!((init.sink, init.window) == (3, 18));
    Ok(())
}

/// C09
#[tokio::test]
async fn an_init_without_a_prompt_is_refused_and_a_good_one_then_works() -> Result<()> {
    refuses([("prompt", small().without("prompt"))]).await
}

/// C10
#[tokio::test]
async fn an_event_before_the_init_is_refused() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    client.send(Event::hold("w")).await?;
    refusal(&mut client).await?;
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// C11
#[tokio::test]
async fn what_is_not_a_map_is_refused() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    // An array, nil, an integer, a byte that means nothing, nothing, a map cut short, two messages in one.
    for bytes in [&[0x91, 0x01][..], &[0xc0], &[0x05], &[0xc1], &[], &[0x82, 0xa1, b'a'], &[0x80, 0x80]] {
        client.send_bytes(bytes.to_vec()).await?;
        refusal(&mut client).await.map_err(|error| error.context(format!("after {bytes:02x?}")))?;
    }
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// C12
#[tokio::test]
async fn a_text_frame_before_the_init_is_refused_and_the_connection_stays_good() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.connect().await?;
    client.send_text(r#"{"type":"init","prompt":"p"}"#).await?;
    refusal(&mut client).await?;
    client.send(small().max_chunks(1)).await?;
    client.chunk().await?;
    Ok(())
}

/// C13
#[tokio::test]
async fn max_chunks_is_how_many_chunks_come_before_generation_complete() -> Result<()> {
    refuses(each("max_chunks", [0.into(), Value::from(-1)])).await?;
    let (server, _strings) = Server::with(Puppet::default())?;
    for chunks in [1, 3] {
        let mut client = server.session(small().max_chunks(chunks)).await?;
        for _ in 0..chunks {
            client.chunk().await?;
        }
        let Message::Closed(close) = client.next().await? else { anyhow::bail!("one chunk too many") };
        ensure!(close == Close { code: 1000, reason: "generation complete".into() }, "{close:?}");
    }
    Ok(())
}

/// C14
#[tokio::test]
async fn an_unknown_output_format_is_refused_and_none_means_raw() -> Result<()> {
    refuses(each("realtime_output_format", ["png".into(), "".into(), "JPEG".into(), 1.into()])).await?;
    let (server, _strings) = Server::with(Puppet::default())?;
    for init in [small(), small().set("realtime_output_format", Value::Nil), small().format("raw")] {
        let chunk = server.session(init).await?.chunk().await?;
        ensure!(chunk.stats.content_type == "application/x-raw-rgb");
    }
    Ok(())
}

/// C15
#[tokio::test]
async fn numbers_may_come_as_whole_floats_or_as_text() -> Result<()> {
    for fps in [Value::from(25), Value::F64(25.0), "25".into()] {
        opens(small().set("fps", fps)).await?;
    }
    ensure!(opens(small().set("seed", 100_000.0)).await?.0.seed == 100_000);
    ensure!(opens(small().set("seed", "7")).await?.0.seed == 7);
    let size = Value::Binary(b"16x16".to_vec());
    ensure!(opens(small().set("size", size)).await?.0.size == Size { width: 16, height: 16 });
    refuses(each("fps", [Value::F64(25.5), "fast".into()])).await
}

/// C16
#[tokio::test]
async fn enhance_prompt_is_refused() -> Result<()> {
    refuses(each("enhance_prompt", [true.into()])).await?;
    opens(small().set("enhance_prompt", false)).await?;
    Ok(())
}

/// C17. What the reference would write to its disk or load from it is among them.
#[tokio::test]
async fn unknown_fields_are_ignored() -> Result<()> {
    let path = std::env::temp_dir().join(format!("causeway-must-not-write-{}", std::process::id()));
    let path = path.to_str().expect("a temporary directory with a readable name");
    let init = small().set("colour", "blue").set("model", "another").set("quality", "lossless").set("width", 999);
    let init = init.set("output_path", path).set("perf_dump_path", path).set("profile", true);
    let (init, ..) = opens(init).await?;
    ensure!(init.size == Size { width: 16, height: 16 });
    ensure!(!std::path::Path::new(path).exists(), "{path} was written");
    Ok(())
}

#[tokio::test]
async fn nil_is_the_same_as_absent() -> Result<()> {
    let optional = ["first_frame", "fps", "seed", "num_frames", "condition_inputs", "realtime_output_pacing"];
    let init = optional.into_iter().fold(small(), |init, field| init.set(field, Value::Nil));
    ensure!(opens(init).await?.0.seed == 42);
    Ok(())
}

/// C18
#[tokio::test]
async fn a_first_frame_comes_as_a_file_or_as_a_data_url() -> Result<()> {
    let red = image::RgbImage::from_pixel(16, 16, image::Rgb([200, 30, 40]));
    let file = |format: ImageFormat| -> Result<Vec<u8>> {
        let mut file = Cursor::new(Vec::new());
        red.write_to(&mut file, format)?;
        Ok(file.into_inner())
    };
    let png = file(ImageFormat::Png)?;
    let in_base64 = base64::engine::general_purpose::STANDARD.encode(&png);
    let url = format!("data:image/png;base64,{in_base64}");
    for (what, first_frame) in [
        ("png", Value::Binary(png)),
        ("jpeg", Value::Binary(file(ImageFormat::Jpeg)?)),
        ("webp", Value::Binary(file(ImageFormat::WebP)?)),
        ("data url", url.into()),
    ] {
        let (init, ..) = opens(small().set("first_frame", first_frame)).await?;
        let Picture { size, rgb } = init.first_frame.expect("the world is given the picture");
        ensure!(size == Size { width: 16, height: 16 }, "{what}: {size}");
        // As far as JPEG may move a plain colour.
        let near = |(is, should): (&u8, &u8)| is.abs_diff(*should) <= 6;
        ensure!(rgb.iter().zip([200, 30, 40].iter().cycle()).all(near), "{what}: {:?}", &rgb[..3]);
    }
    Ok(())
}

#[tokio::test]
async fn a_world_that_needs_a_picture_refuses_to_begin_without_one() -> Result<()> {
    let mut puppet = Puppet::default();
    puppet.card.needs_first_frame = true;
    let (server, _strings) = Server::with(puppet)?;
    let mut client = server.session(small()).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("first_frame"), "{error}");
    Ok(())
}

/// C19
#[tokio::test]
async fn a_path_on_the_servers_disk_is_refused() -> Result<()> {
    // A picture that could be read, so that it is refused for being a path.
    let path = std::env::temp_dir().join(format!("causeway-first-frame-{}.png", std::process::id()));
    image::RgbImage::new(4, 4).save(&path)?;
    let there = path.to_str().expect("a temporary directory with a readable name").to_owned();
    let url = format!("file://{there}");
    let refused = refuses(each("first_frame", ["/etc/passwd".into(), there.into(), url.into(), "".into()])).await;
    std::fs::remove_file(path)?;
    refused
}

/// C20. The reference accepts a bad one, says the same words in its first chunk, and is gone; here one may try again.
#[tokio::test]
async fn a_size_is_two_numbers_around_an_x() -> Result<()> {
    let (init, mut session) = opens(small().set("size", " 64 X 48 ")).await?;
    ensure!(init.size == Size { width: 64, height: 48 });
    ensure!(session.client.closed().await?.code == 1000);

    let (server, _strings) = Server::with(Puppet::default())?;
    let mut client = server.session(small().set("size", "bogus")).await?;
    let error = refusal(&mut client).await?;
    ensure!(error.to_string().contains("size must be formatted as positive WIDTHxHEIGHT"), "{error}");
    Ok(())
}

/// C21, at the init.
#[tokio::test]
async fn a_negative_seed_or_no_frames_a_second_is_refused() -> Result<()> {
    refuses(each("seed", [Value::from(-1), Value::Array(vec![1.into()])])).await?;
    refuses(each("fps", [0.into(), Value::from(-16)])).await
}

/// C22: it is the length of the image condition, and the reference's own manual has it wrong.
#[tokio::test]
async fn num_frames_is_not_the_length_of_a_chunk() -> Result<()> {
    let (server, _strings) = Server::with(Puppet::default())?;
    for num_frames in [0, 9, 21, 45] {
        let mut client = server.session(small().set("num_frames", num_frames)).await?;
        let counts = [client.chunk().await?.stats.num_frames, client.chunk().await?.stats.num_frames];
        ensure!(counts == [9, 12], "{counts:?} with num_frames {num_frames}");
    }
    Ok(())
}

/// C23
#[tokio::test]
async fn a_first_script_that_is_not_a_list_of_lists_is_refused() -> Result<()> {
    let with = |actions: Value| ("camera_actions", small().set("condition_inputs", map([("camera_actions", actions)])));
    refuses([with("w".into()), with(Value::Array(vec!["w".into()])), with(5.into())]).await?;
    refuses(each("condition_inputs", [5.into(), "w".into()])).await
}

#[tokio::test]
async fn a_first_script_steers_from_the_first_chunk_on() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::default())?;
    let actions = map([("camera_actions", script(["w", "wl", "", "d"])), ("weather", "ignored".into())]);
    let mut client = server.session(small().set("condition_inputs", actions).max_chunks(3)).await?;
    for expected in ["w wl -", "d - -", "- - -"] {
        let (_, input) = strings.began().await?;
        ensure!(held(&input).as_deref() == Some(expected), "{input:?}, not {expected}");
    }
    client.closed().await?;
    Ok(())
}

/// C24, answered more strictly: no address is fetched unless the operator allows it, so nothing waits for one, and no seat.
#[tokio::test]
async fn a_first_frame_by_address_is_refused_at_once_without_a_connection_to_it_and_holds_no_seat() -> Result<()> {
    let elsewhere = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = elsewhere.local_addr()?;
    let addresses = [format!("http://{address}/a.png"), format!("HTTPS://{address}/a.png")];
    refuses(each("first_frame", addresses.clone().map(Value::from))).await?;

    // One seat, for which nobody waits.
    let limits = Limits { sessions: 1, busy_wait: Duration::ZERO, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::default(), limits)?;
    let mut asking = server.connect().await?;
    for address in addresses {
        asking.send(small().set("first_frame", address)).await?;
        refusal(&mut asking).await?;
        server.session(small().max_chunks(1)).await?.closed().await?;
    }
    let called = tokio::time::timeout(Duration::from_millis(50), elsewhere.accept()).await;
    ensure!(called.is_err(), "the server fetched the address");
    Ok(())
}

#[tokio::test]
async fn sink_and_window_are_what_the_client_asks_for() -> Result<()> {
    let init = small().set("realtime_causal_sink_size", 6).set("realtime_causal_kv_cache_num_frames", 12);
    let (init, ..) = opens(init).await?;
    ensure!((init.sink, init.window) == (6, 12));
    refuses(each("realtime_causal_kv_cache_num_frames", [0.into(), 2.into(), Value::from(-5), "x".into()])).await?;
    refuses(each("realtime_causal_sink_size", [Value::from(-1), 99.into(), 1.5.into()])).await
}

#[tokio::test]
async fn a_world_with_one_window_notes_what_the_client_asks_for_and_uses_its_own() -> Result<()> {
    let mut puppet = Puppet::default();
    puppet.card.window_is_fixed = true;
    let (server, mut strings) = Server::with(puppet)?;
    let init = small().set("realtime_causal_sink_size", 9).set("realtime_causal_kv_cache_num_frames", 45);
    let _client = server.session(init).await?;
    let init = strings.opened().await?;
    ensure!((init.sink, init.window) == (3, 18));
    Ok(())
}

/// The reference clamps, raises or loses the frames silently, depending on the format.
#[tokio::test]
async fn a_quality_that_is_none_is_refused() -> Result<()> {
    refuses(each("output_compression", [101.into(), 300.into(), Value::from(-1), "best".into()])).await?;
    refuses(each("output_quality", ["best".into(), 5.into()])).await
}

/// Any value of a wrong type, in each field that means something, is named and leaves the connection good.
#[tokio::test]
async fn a_wrong_type_in_any_field_is_refused_by_name() -> Result<()> {
    let list = || Value::Array(vec![]);
    let extension = || Value::Ext(5, vec![1, 2, 3]);
    let mut inits = Vec::new();
    for field in ["prompt", "size", "output_quality", "realtime_output_format"] {
        inits.extend(each(field, [map([]), list(), extension()]));
    }
    for field in [
        "fps",
        "seed",
        "max_chunks",
        "num_frames",
        "output_compression",
        "realtime_preview_max_width",
        "realtime_causal_sink_size",
        "realtime_causal_kv_cache_num_frames",
    ] {
        inits
            .extend(each(field, [map([]), list(), "a few".into(), Value::F64(f64::NAN), Value::F64(0.5), extension()]));
    }
    inits.extend(each("realtime_output_pacing", [map([]), list(), "perhaps".into(), 7.into()]));
    inits.extend(each("first_frame", [map([]), list(), 7.into(), true.into()]));
    inits.extend(each("prompt", [Value::Nil, 7.into()]));
    inits.extend(each("type", ["Init".into(), "start".into(), Value::Nil]));
    refuses(inits).await
}
