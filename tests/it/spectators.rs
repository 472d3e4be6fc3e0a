//! Spectators: viewers of a session, what they may say, and what none of them can do to the player. Lines C104 to C114.
//!
//! Over 400 lines: all of them begin with a player and its viewers, by the same few helpers.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use pipeline::testcard::Testcard;
use pipeline::world::ChunkInput;
use serde_json::{Value, json};
use server::Limits;
use tests::client::Client;
use tests::keyed::{Keyed, bearer};
use tests::message::{Close, Event, Init, Message, Refused, Shared, Stage, Viewers, Watch, Watching, resume};
use tests::puppet::{Puppet, Strings, held};
use tests::raw::Raw;
use tests::{Server, small};

/// A session whose player may let others watch.
fn shown() -> Init {
    small().format("jpeg").features(["spectators", "session"])
}

/// A player whose first chunk is being drawn, and how it comes back.
async fn play(server: &Server, init: Init) -> Result<(Client, String)> {
    let mut player = server.session(init).await?;
    let token = player.hello().await?.resume_token;
    Ok((player, token))
}

/// What the player is told next that `wanted` accepts, whatever frames come before.
async fn hear<T>(client: &mut Client, otherwise: &str, wanted: impl Fn(Message) -> Option<T>) -> Result<T> {
    let heard = async {
        loop {
            match client.next().await? {
                Message::Closed(close) => bail!("{otherwise}: closed, {} {:?}", close.code, close.reason),
                message => {
                    if let Some(found) = wanted(message) {
                        return Ok(found);
                    }
                }
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(20), heard).await.context(otherwise.to_owned())?
}

async fn share(player: &mut Client, role: &str) -> Result<Shared> {
    player.send(Event::share(role).id(1000)).await?;
    let shared = |message| if let Message::Shared(shared) = message { Some(shared) } else { None };
    let shared = hear(player, "nothing was shared", shared).await?;
    ensure!(shared.role == role && shared.event_id == Some(1000) && shared.token.starts_with("cwv_"), "{shared:?}");
    Ok(shared)
}

async fn counted(player: &mut Client, count: usize) -> Result<Viewers> {
    let viewers = move |message| match message {
        Message::Viewers(viewers) if viewers.count == count => Some(viewers),
        _ => None,
    };
    hear(player, "the player does not hear who watches", viewers).await
}

async fn stage(viewer: &mut Client, wanted: impl Fn(&Stage) -> bool) -> Result<Stage> {
    let stage = |message| if let Message::Stage(stage) = message { Some(stage).filter(&wanted) } else { None };
    hear(viewer, "the viewer does not hear of the player", stage).await
}

async fn watch(server: &Server, request: Watch) -> Result<(Client, Watching)> {
    let mut viewer = server.connect().await?;
    viewer.send(request).await?;
    let watching = |message| if let Message::Watching(watching) = message { Some(watching) } else { None };
    let watching = hear(&mut viewer, "the viewer is not let in", watching).await?;
    stage(&mut viewer, |_| true).await?;
    Ok((viewer, watching))
}

async fn refused(client: &mut Client) -> Result<Refused> {
    client.error().await
}

fn field(refused: &Refused) -> &str {
    refused.details.as_ref().map_or("", |details| &details.field)
}

/// C104, C105
#[tokio::test]
async fn a_viewer_is_sent_the_frames_of_the_player_and_in_another_form_those_of_all_viewers_of_it() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut player, _) = play(&server, shown().max_chunks(2)).await?;
    strings.began().await?;
    let token = share(&mut player, "view").await?.token;
    let (mut same, watching) = watch(&server, Watch::new(&token)).await?;
    ensure!((watching.width, watching.height, watching.fps, watching.chunk_frames) == (16, 16, 16, 12));
    ensure!((watching.viewer_id, &*watching.role, &*watching.world) == (1, "view", "puppet"));
    let raw = || Watch::new(&token).format("raw");
    let (mut raw_one, _) = watch(&server, raw()).await?;
    let (mut raw_two, _) = watch(&server, raw()).await?;
    ensure!(counted(&mut player, 3).await?.guests.is_empty(), "a viewer can be handed nothing");
    for chunk in 0..2 {
        // One at a time: a viewer that is slow, on a busy machine, goes on with the newest.
        strings.allow(1);
        let players = player.chunk().await?;
        let seen = same.chunk().await?;
        ensure!(players.frames() == seen.frames() && players.stats.request_id == seen.stats.request_id);
        ensure!(seen.batches[0].header.pts_ms.is_some(), "viewers are told when a frame is due");
        let frames = raw_one.chunk().await?.frames();
        ensure!(frames == raw_two.chunk().await?.frames());
        let size = pipeline::world::Size { width: 16, height: 16 };
        let count = if chunk == 0 { 9 } else { 12 };
        ensure!(frames.concat() == tests::puppet::picture(size, chunk, 0..count));
    }
    let complete = Close { code: 1000, reason: "generation complete".into() };
    for client in [&mut player, &mut same, &mut raw_one, &mut raw_two] {
        ensure!(client.closed().await? == complete);
    }
    Ok(())
}

/// C106
#[tokio::test]
async fn a_viewer_that_does_not_read_misses_whole_chunks_and_the_player_none() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    // A raw chunk of this size is 8 MB: more than a socket holds.
    let (mut player, _) = play(&server, shown().size(640, 360).max_chunks(8)).await?;
    strings.began().await?;
    let token = share(&mut player, "view").await?.token;
    let (mut viewer, _) = watch(&server, Watch::new(&token).format("raw")).await?;
    strings.allow(8);
    for chunk in 0..8 {
        ensure!(player.chunk().await?.stats.chunk_index == chunk);
    }
    ensure!(player.closed().await?.reason == "generation complete");
    let first = viewer.chunk().await?.stats.chunk_index;
    let skipped = |message| if let Message::Skipped(skipped) = message { Some(skipped) } else { None };
    let skipped = hear(&mut viewer, "it missed nothing", skipped).await?;
    ensure!(skipped.chunks >= 3 && skipped.next_chunk == first + 1 + skipped.chunks, "{skipped:?} after {first}");
    // The client's own checks: whole chunks, in order, from there on.
    ensure!(viewer.closed().await?.reason == "generation complete");
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    let counted = page.lines().find_map(|line| line.strip_prefix("causeway_viewer_skipped_chunks_total "));
    ensure!(
        counted.is_some_and(|count| count.parse::<u64>().is_ok_and(|count| count >= skipped.chunks)),
        "{counted:?}"
    );
    Ok(())
}

/// C106, its end: a viewer that takes nothing is dropped as every client is.
#[tokio::test]
async fn a_viewer_that_takes_nothing_is_dropped_at_the_deadline() -> Result<()> {
    let limits = Limits { write_deadline: Duration::from_millis(300), ..Limits::default() };
    let (server, mut strings) = Server::limited(Puppet::on_strings(), limits)?;
    let (mut player, _) = play(&server, shown().size(640, 360)).await?;
    strings.began().await?;
    let token = share(&mut player, "view").await?.token;
    let (_stalled, _) = watch(&server, Watch::new(&token).format("raw")).await?;
    counted(&mut player, 1).await?;
    strings.allow(1);
    counted(&mut player, 0).await?;
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    ensure!(page.contains("causeway_drops_total{reason=\"write_deadline\"} 1"), "{page}");
    ensure!(
        page.contains("causeway_viewers 0") && page.contains("causeway_memory_bytes{kind=\"viewers\"} 0"),
        "{page}"
    );
    Ok(())
}

/// C107
#[tokio::test]
async fn a_viewer_that_comes_to_a_film_begins_with_a_key_frame() -> Result<()> {
    let world = || Ok(Box::new(Testcard::new(Duration::from_millis(20))) as Box<dyn pipeline::world::World>);
    let server = Server::start(Box::new(world), Limits::default())?;
    let film = Init::new("a meadow").size(208, 128).format("h264").paced(48).features(["spectators", "session"]);
    let (mut player, _) = play(&server, film).await?;
    let token = share(&mut player, "view").await?.token;
    let player = tokio::spawn(async move { while player.chunk().await.is_ok() {} });
    for request in [Watch::new(&token), Watch::new(&token).format("h264").set("output_compression", 40)] {
        let (mut viewer, _) = watch(&server, request).await?;
        let chunk = viewer.chunk().await?;
        ensure!(chunk.stats.chunk_index > 0, "it came in the middle");
        ensure!(chunk.batches[0].header.key_frames.as_ref().is_some_and(|keys| keys.first() == Some(&0)));
        let next = viewer.chunk().await?;
        // On a busy machine it may have been told of a skip between the two.
        ensure!(next.stats.chunk_index > chunk.stats.chunk_index);
    }
    player.abort();
    Ok(())
}

/// A player that goes elsewhere between its steps, as large as asked.
async fn stepping(limits: Limits, width: u32, height: u32) -> Result<(Server, Client)> {
    let world = || Ok(Box::new(Testcard::new(Duration::ZERO)) as Box<dyn pipeline::world::World>);
    let server = Server::start(Box::new(world), limits)?;
    let init = small().size(width, height).features(["spectators", "session", "step", "rewind", "reset"]);
    let (player, _) = play(&server, init).await?;
    Ok((server, player))
}

async fn step(player: &mut Client, viewer: &mut Client) -> Result<tests::client::Chunk> {
    player.send(Event::step()).await?;
    player.chunk().await?;
    viewer.chunk().await
}

fn size_of(width: u32, height: u32) -> Event {
    Event::reset([("size", format!("{width}x{height}").into())])
}

async fn viewers_bytes(server: &Server) -> Result<u64> {
    let (_, page) = Raw::get(server.address, "/metrics").await?;
    let told = page.lines().find_map(|line| line.strip_prefix("causeway_memory_bytes{kind=\"viewers\"} "));
    Ok(told.context("a metric")?.parse()?)
}

/// C117
#[tokio::test]
async fn a_viewer_hears_where_the_video_goes_on_and_how_large_it_is_and_is_counted_by_that() -> Result<()> {
    let (server, mut player) = stepping(Limits::default(), 64, 48).await?;
    let token = share(&mut player, "view").await?.token;
    let (mut viewer, watching) = watch(&server, Watch::new(&token)).await?;
    ensure!((watching.width, watching.height) == (64, 48) && watching.features.is_empty(), "{watching:?}");
    for _ in 0..3 {
        ensure!(step(&mut player, &mut viewer).await?.timeline.is_none());
    }
    player.send(Event::rewind(1).id(7)).await?;
    let line = step(&mut player, &mut viewer).await?.timeline.context("it went back")?;
    ensure!((line.chunk_index, line.video_chunk, line.first_frame_index) == (3, 1, 9), "{line:?}");
    ensure!((line.width, line.height, line.event_id) == (Some(64), Some(48), None), "{line:?}");
    ensure!(step(&mut player, &mut viewer).await?.timeline.is_none());
    // Two chunks for a viewer of raw frames, and two that wait: of 12 frames each.
    let four_chunks = |width: u64, height: u64| 4 * 12 * 3 * width * height;
    ensure!(viewers_bytes(&server).await? == four_chunks(64, 48));
    player.send(size_of(32, 48)).await?;
    let line = step(&mut player, &mut viewer).await?.timeline.context("another video")?;
    ensure!((line.video_chunk, line.width, line.height) == (0, Some(32), Some(48)), "{line:?}");
    ensure!(viewers_bytes(&server).await? == four_chunks(32, 48));
    let (_second, watching) = watch(&server, Watch::new(&token)).await?;
    ensure!((watching.width, watching.height) == (32, 48), "{watching:?}");
    Ok(())
}

/// C118
#[tokio::test]
async fn viewers_for_whom_a_larger_video_leaves_no_memory_are_sent_away() -> Result<()> {
    let limits = Limits { viewer_bytes: 450_000, ..Limits::default() };
    let (server, mut player) = stepping(limits, 64, 96).await?;
    let token = share(&mut player, "view").await?.token;
    player.send(size_of(64, 48)).await?;
    player.send(Event::step()).await?;
    player.chunk().await?;
    let (mut viewer, _) = watch(&server, Watch::new(&token)).await?;
    step(&mut player, &mut viewer).await?;
    player.send(size_of(64, 96)).await?;
    let error = refused(&mut viewer).await?;
    ensure!(error.code.as_deref() == Some("viewers_full"), "{error}");
    ensure!(viewer.closed().await? == Close { code: 1008, reason: "busy".into() });
    player.send(Event::step()).await?;
    ensure!(player.chunk().await?.timeline.is_some(), "the player goes on");
    counted(&mut player, 0).await?;
    ensure!(viewers_bytes(&server).await? == 0);
    Ok(())
}

/// C108
#[tokio::test]
async fn what_a_viewer_says_is_refused_by_name_and_changes_nothing() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut player, _) = play(&server, shown()).await?;
    strings.began().await?;
    let token = share(&mut player, "view").await?.token;
    let (mut viewer, _) = watch(&server, Watch::new(&token)).await?;
    for event in [Event::hold("w"), Event::prompt("night"), Event::pause(), Event::share("view"), Event::new("jump", 1)]
    {
        viewer.send(event.id(7)).await?;
        let error = refused(&mut viewer).await?;
        // A pause has no id of its own.
        ensure!(error.code.as_deref() == Some("invalid_event") && error.event_id.is_none_or(|id| id == 7), "{error}");
        let details = error.details.context("details")?;
        ensure!(details.field == "kind" && details.reason.starts_with("a viewer cannot"), "{details:?}");
    }
    strings.allow(2);
    let (_, input) = strings.began().await?;
    ensure!(input.prompt.is_none() && held(&input).is_none(), "{input:?}");
    // A player that did not name the feature shares nothing. Its session is opened between chunks, so the first may go on.
    strings.allow(40);
    let mut other = server.session(small()).await?;
    other.send(Event::share("view")).await?;
    ensure!(field(&refused(&mut other).await?) == "kind");
    Ok(())
}

/// C109
#[tokio::test]
async fn a_token_that_ended_lets_nobody_in_and_sends_its_viewers_away() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut player, _) = play(&server, shown()).await?;
    strings.began().await?;
    let (ended, kept) = (share(&mut player, "view").await?, share(&mut player, "view").await?);
    ensure!(ended.token != kept.token && ended.share_id != kept.share_id);
    let (mut goes, _) = watch(&server, Watch::new(&ended.token)).await?;
    let (mut stays, _) = watch(&server, Watch::new(&kept.token)).await?;
    counted(&mut player, 2).await?;
    player.send(Event::unshare(ended.share_id)).await?;
    ensure!(goes.closed().await? == Close { code: 1008, reason: "no longer shared".into() });
    counted(&mut player, 1).await?;
    for token in [&*ended.token, "cwv_nobody", ""] {
        let mut client = server.connect().await?;
        client.send(Watch::new(token)).await?;
        let error = refused(&mut client).await?;
        ensure!(error.code.as_deref() == Some("invalid_watch_request") && field(&error) == "token", "{error}");
        ensure!(!error.to_string().contains("cwv_"), "{error}");
        // It may try again on the same connection.
        client.send(Watch::new(&kept.token)).await?;
        ensure!(matches!(client.next().await?, Message::Watching(_)));
    }
    player.send(Event::unshare(ended.share_id)).await?;
    ensure!(field(&refused(&mut player).await?) == "share_id");
    strings.allow(1);
    stays.chunk().await?;
    Ok(())
}

/// C110
#[tokio::test]
async fn a_director_holds_the_prompt_while_the_player_walks() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut player, _) = play(&server, shown()).await?;
    strings.began().await?;
    let token = share(&mut player, "director").await?.token;
    let (mut director, _) = watch(&server, Watch::new(&token)).await?;
    let viewers = counted(&mut player, 1).await?;
    ensure!((viewers.camera, viewers.prompt, viewers.guests[0].viewer_id) == (0, 1, 1), "{viewers:?}");
    director.send(Event::prompt("night").id(1)).await?;
    director.send(Event::hold("d").id(2)).await?;
    let error = refused(&mut director).await?;
    ensure!(field(&error) == "camera_actions" && error.event_id == Some(2), "{error}");
    player.send(Event::hold("w").id(3)).await?;
    player.send(Event::prompt("day").id(4)).await?;
    let error = refused(&mut player).await?;
    ensure!(field(&error) == "prompt" && error.event_id == Some(4), "{error}");
    let (mut prompts, mut keys) = (false, false);
    steered(&mut strings, |input| {
        prompts |= input.prompt.as_deref() == Some("night");
        keys |= held(input).as_deref() == Some("w w w");
        prompts && keys
    })
    .await?;
    drop(director);
    let viewers = counted(&mut player, 0).await?;
    ensure!(viewers.prompt == 0, "{viewers:?}");
    player.send(Event::prompt("day").id(5)).await?;
    steered(&mut strings, |input| input.prompt.as_deref() == Some("day")).await
}

/// One of the next chunks is drawn with this. A viewer's event comes to the session on a way of its own, so it may be the one
/// after the next.
async fn steered(strings: &mut Strings, mut wanted: impl FnMut(&ChunkInput) -> bool) -> Result<()> {
    let mut inputs = Vec::new();
    for _ in 0..4 {
        strings.allow(1);
        let (_, input) = strings.began().await?;
        if wanted(&input) {
            return Ok(());
        }
        inputs.push(input);
    }
    bail!("not among {inputs:?}")
}

/// C111
#[tokio::test]
async fn control_is_handed_over_and_taken_back() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let (mut player, _) = play(&server, shown()).await?;
    strings.began().await?;
    let (control, view) = (share(&mut player, "control").await?, share(&mut player, "view").await?);
    let (mut walker, watching) = watch(&server, Watch::new(&control.token)).await?;
    let (mut viewer, only) = watch(&server, Watch::new(&view.token)).await?;
    walker.send(Event::hold("w").id(1)).await?;
    ensure!(field(&refused(&mut walker).await?) == "camera_actions", "nothing was handed over yet");
    for nobody in [only.viewer_id, 99] {
        player.send(Event::hand_over(nobody)).await?;
        ensure!(field(&refused(&mut player).await?) == "viewer_id");
    }
    player.send(Event::hold("s").id(1)).await?;
    player.send(Event::hand_over(watching.viewer_id)).await?;
    for client in [&mut walker, &mut viewer] {
        stage(client, |stage| stage.camera == watching.viewer_id && stage.prompt == watching.viewer_id).await?;
    }
    walker.send(Event::hold("w").id(2)).await?;
    walker.ping().await?;
    player.send(Event::hold("a").id(3)).await?;
    let error = refused(&mut player).await?;
    ensure!(field(&error) == "camera_actions" && error.to_string().contains("take_back"), "{error}");
    steered(&mut strings, |input| held(input).as_deref() == Some("w w w")).await?;
    player.send(Event::take_back()).await?;
    stage(&mut walker, |stage| stage.camera == 0).await?;
    walker.send(Event::hold("d").id(4)).await?;
    ensure!(field(&refused(&mut walker).await?) == "camera_actions");
    // What the viewer held is let go.
    steered(&mut strings, |input| held(input).as_deref() == Some("- - -")).await?;
    player.send(Event::hold("a").id(5)).await?;
    steered(&mut strings, |input| held(input).as_deref() == Some("a a a")).await
}

/// C112
#[tokio::test]
async fn viewers_hear_that_the_player_is_away_or_rests_and_that_it_left() -> Result<()> {
    let (server, mut strings) = Server::with(Puppet::on_strings())?;
    let init = small().features(["spectators", "session", "pause"]);
    let (mut player, token) = play(&server, init).await?;
    strings.began().await?;
    let shared = share(&mut player, "view").await?.token;
    let (mut viewer, _) = watch(&server, Watch::new(&shared)).await?;
    player.send(Event::pause()).await?;
    stage(&mut viewer, |stage| stage.paused && stage.player == "here").await?;
    drop(player);
    stage(&mut viewer, |stage| stage.player == "away").await?;
    let mut player = server.connect().await?;
    player.send(resume(&token, None)).await?;
    player.hello().await?;
    stage(&mut viewer, |stage| stage.player == "here").await?;
    player.send(Event::resume()).await?;
    stage(&mut viewer, |stage| !stage.paused).await?;
    player.close().await?;
    ensure!(viewer.closed().await? == Close { code: 1000, reason: "the player left".into() });
    let mut late = server.connect().await?;
    late.send(Watch::new(&shared)).await?;
    ensure!(field(&refused(&mut late).await?) == "token", "a token ends with its session");
    Ok(())
}

/// C113
#[tokio::test]
async fn one_viewer_too_many_is_told_so_and_a_fifth_form_is_refused() -> Result<()> {
    let chunk_bytes = 12 * 3 * 16 * 16;
    // Two chunks wait to be encoded, and each encoded viewer counts one.
    let limits = Limits { viewers: 7, viewers_per_session: 6, viewer_bytes: 11 * chunk_bytes, ..Limits::default() };
    let (server, _strings) = Server::limited(Puppet::taking(Duration::from_millis(20)), limits)?;
    let (mut player, _) = play(&server, shown()).await?;
    let token = share(&mut player, "view").await?.token;
    let jpeg = |quality: u64| Watch::new(&token).format("jpeg").set("output_compression", quality);
    let mut viewers = Vec::new();
    for quality in [10, 20, 30, 40] {
        viewers.push(watch(&server, jpeg(quality)).await?.0);
    }
    let mut fifth = server.connect().await?;
    fifth.send(jpeg(60)).await?;
    ensure!(field(&refused(&mut fifth).await?) == "realtime_output_format");
    for _ in 0..2 {
        viewers.push(watch(&server, jpeg(10)).await?.0);
    }
    let too_many = async |server: &Server, request: Watch, why: &str| -> Result<()> {
        let mut client = server.connect().await?;
        client.send(request).await?;
        let error = refused(&mut client).await?;
        ensure!(error.code.as_deref() == Some("viewers_full") && error.to_string().contains(why), "{error}");
        ensure!(client.closed().await? == Close { code: 1008, reason: "busy".into() });
        Ok(())
    };
    too_many(&server, jpeg(10), "6 viewers watch this session already").await?;
    // Another session has a place for one more, and memory for none that is sent raw frames.
    let (mut second, _) = play(&server, shown()).await?;
    let other = share(&mut second, "view").await?.token;
    too_many(&server, Watch::new(&other).format("raw").set("output_compression", 1), "memory").await?;
    drop(viewers.pop());
    counted(&mut player, 5).await?;
    viewers.push(watch(&server, jpeg(10)).await?.0);
    // Tokens have a bound too.
    for _ in 1..16 {
        share(&mut player, "view").await?;
    }
    player.send(Event::share("view")).await?;
    ensure!(refused(&mut player).await?.to_string().contains("16 tokens"));
    Ok(())
}

/// C114
#[tokio::test]
async fn a_key_shares_the_sessions_of_its_account_and_a_viewer_needs_no_key() -> Result<()> {
    let keyed = Keyed::new()?;
    let mut player = keyed.connect(&keyed.key).await?;
    player.send(small().format("jpeg").paced(240)).await?;
    let id = player.chunk().await?.stats.session_id;
    let path = format!("/v1/realtime_video/sessions/{id}/shares");
    let ask = async |request: String, shown: &str, body: Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        keyed.ask(&request, &bearer(shown), &body).await
    };
    let token: Value = serde_json::from_str(&keyed.token(&keyed.key, Value::Null).await?.body)?;
    let token = token["token"].as_str().context("a token")?;
    ensure!(ask(format!("POST {path}"), token, Value::Null).await?.status == 403, "a token is no key");
    ensure!(ask(format!("POST {path}"), "cwk_wrong", Value::Null).await?.status == 401);
    let nobody = format!("POST /v1/realtime_video/sessions/{}/shares", "0".repeat(32));
    ensure!(ask(nobody, &keyed.key, Value::Null).await?.status == 404);
    let wrong = ask(format!("POST {path}"), &keyed.key, json!({ "role": "king" })).await?;
    ensure!(wrong.status == 400 && wrong.body.contains("view, director, control"), "{}", wrong.body);
    let shared: Value = serde_json::from_str(&ask(format!("POST {path}"), &keyed.key, Value::Null).await?.body)?;
    ensure!(shared["role"] == "view" && shared["share_id"] == 1, "{shared}");
    let request = Watch::new(shared["token"].as_str().context("a token")?);
    let (mut viewer, watching) = watch(&keyed.server, request).await?;
    ensure!(watching.session_id == id);
    viewer.chunk().await?;
    ensure!(ask(format!("DELETE {path}/1"), &keyed.key, Value::Null).await?.status == 204);
    ensure!(viewer.closed().await?.reason == "no longer shared");
    ensure!(ask(format!("DELETE {path}/1"), &keyed.key, Value::Null).await?.status == 404);
    let (open, _strings) = Server::with(Puppet::default())?;
    let answer = tests::keyed::ask(open.address, &open.address.to_string(), &format!("POST {path}"), "", "").await?;
    ensure!(answer.status == 404 && answer.body.contains("only the player"), "{}", answer.body);
    Ok(())
}
