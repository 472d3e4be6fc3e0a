//! Containers and extras: where a field may stand, and which of several decides. Lines V018 to V030 of the list.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use server::{Limits, Offer};
use tests::Server;
use tests::openai::{Part, asking, cosmos3_card, get, job, path, post, post_form};
use tests::puppet::Puppet;

use crate::videos_create::{cosmos3, decided, roomy};

const CONTAINERS: [&str; 4] = ["extra_body", "extra_json", "extra_args", "extra_params"];

/// What is decided for a form on Cosmos3's card.
async fn decided_of_form(parts: &[Part<'_>]) -> Result<pipeline::world::ClipAsk> {
    let (server, mut strings) = cosmos3()?;
    post_form(server.address, "/v1/videos", &[&[Part::Text("prompt", "a")], parts].concat()).await?.expect(200)?;
    strings.asked().await
}

/// V018.
#[tokio::test]
async fn extra_params_may_be_an_object_or_text() -> Result<()> {
    for extra in [json!({ "flow_shift": 6 }), json!("{\"flow_shift\": 6}")] {
        let (_, ask) = decided(json!({ "extra_params": extra })).await?;
        ensure!(ask.settings.flow_shift == Some(6.0), "{ask:?}");
    }
    Ok(())
}

/// V019.
#[tokio::test]
async fn each_container_alone_delivers_fields_and_extras_to_videos_and_images() -> Result<()> {
    let extras = json!({ "use_system_prompt": true, "flow_shift": 6 });
    for container in CONTAINERS {
        let (_, ask) = decided(json!({ container: extras })).await?;
        ensure!(ask.settings.flow_shift == Some(6.0) && ask.settings.use_system_prompt == Some(true), "{container}");
        let (server, mut strings) = cosmos3()?;
        let asked = post(server.address, "/v1/images/generations", asking(json!({ container: extras })));
        let ask = tokio::select! {
            ask = strings.asked() => ask?,
            answer = asked => anyhow::bail!("{:?}", answer?),
        };
        ensure!(ask.settings.flow_shift == Some(6.0) && ask.settings.use_system_prompt == Some(true), "{container}");
    }
    Ok(())
}

/// V020.
#[tokio::test]
async fn the_first_of_one_order_that_has_the_name_decides() -> Result<()> {
    let mut body = json!({ "flow_shift": 1.5 });
    for (at, name) in CONTAINERS.into_iter().enumerate() {
        body[name] = json!({ "flow_shift": at as f64 + 2.5 });
    }
    for (at, name) in ["flow_shift"].into_iter().chain(CONTAINERS).enumerate() {
        let (_, ask) = decided(body.clone()).await?;
        ensure!(ask.settings.flow_shift == Some(at as f64 + 1.5), "{body}");
        body.as_object_mut().context("an object")?.remove(name);
    }
    Ok(())
}

/// V021. V022.
#[tokio::test]
async fn null_hides_nothing_and_a_container_takes_over_what_is_inside_it() -> Result<()> {
    let (_, ask) = decided(json!({ "flow_shift": null, "extra_body": { "flow_shift": 2.5 } })).await?;
    ensure!(ask.settings.flow_shift == Some(2.5), "{ask:?}");
    let inside =
        json!({ "flow_shift": 3, "extra_params": { "flow_shift": 4, "use_system_prompt": true, "guardrails": true } });
    let (server, _strings) = cosmos3()?;
    // That guardrails inside gave use_guardrails is seen by its refusal: there are none here.
    let message = post(server.address, "/v1/videos", asking(json!({ "extra_body": inside }))).await?.error(400)?;
    ensure!(message == "guardrails requested but not available", "{message}");
    let (_, ask) = decided(json!({ "use_guardrails": false, "extra_body": inside })).await?;
    ensure!(ask.settings.flow_shift == Some(3.0) && ask.settings.use_system_prompt == Some(true), "{ask:?}");
    Ok(())
}

/// V023. V024.
#[tokio::test]
async fn guardrails_are_switched_by_either_name_and_by_words() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let taken = async |body: Value| anyhow::Ok(post(server.address, "/v1/videos", asking(body)).await?.status);
    ensure!(taken(json!({ "guardrails": false })).await? == 200);
    ensure!(taken(json!({ "guardrails": false, "use_guardrails": true })).await? == 400, "the second name wins");
    for off in [json!("false"), json!(0), json!("0"), json!("off"), json!("NO"), json!("")] {
        ensure!(taken(json!({ "use_guardrails": off })).await? == 200, "{off}");
    }
    for on in [json!("true"), json!(1), json!("yes"), json!("maybe"), json!(2), json!([])] {
        ensure!(taken(json!({ "use_guardrails": on })).await? == 400, "{on}");
    }
    let parts = [Part::Text("prompt", "a"), Part::Text("use_guardrails", "0")];
    post_form(server.address, "/v1/videos", &parts).await?.expect(200)?;
    Ok(())
}

/// V025.
#[tokio::test]
async fn a_container_that_is_no_json_object_is_refused_by_its_name() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    for container in CONTAINERS {
        for (text, says) in [("{bad", "is not valid JSON"), ("[1]", "must be an object")] {
            let expected = format!("{container} {says}");
            let message = post(server.address, "/v1/videos", asking(json!({ container: text }))).await?.error(400)?;
            ensure!(message == expected, "{message}");
            let parts = [Part::Text("prompt", "a"), Part::Text(container, text)];
            let message = post_form(server.address, "/v1/videos", &parts).await?.error(400)?;
            ensure!(message == expected, "{message}");
        }
    }
    Ok(())
}

/// V026. V027.
#[tokio::test]
async fn brackets_of_a_form_rebuild_structure_and_prompts_stay_text() -> Result<()> {
    let ask = decided_of_form(&[Part::Text("extra_params[use_duration_template]", "false")]).await?;
    ensure!(ask.settings.use_duration_template == Some(false), "{ask:?}");
    let interval = [Part::Text("guidance_interval[]", "400"), Part::Text("guidance_interval[]", "900")];
    let ask = decided_of_form(&interval).await?;
    ensure!(ask.settings.guidance_interval == Some([400.0, 900.0]), "{ask:?}");
    let (server, mut strings) = cosmos3()?;
    let parts = [Part::Text("prompt", "{\"caption\":\"x\"}"), Part::Text("negative_prompt", "{\"n\":1}")];
    let job = post_form(server.address, "/v1/videos", &parts).await?.expect(200)?;
    ensure!(job["prompt"] == "{\"caption\":\"x\"}", "{job}");
    ensure!(strings.asked().await?.settings.negative_prompt.as_deref() == Some("{\"n\":1}"));
    Ok(())
}

/// V029. The line before it asks for Cosmos3's tokens.
#[tokio::test]
async fn containers_five_deep_are_refused() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let nested = |levels: usize| (0..levels).fold(json!({ "seed": 1 }), |inside, _| json!({ "extra_params": inside }));
    let four = job(&server, asking(nested(4))).await?;
    ensure!(four["seed"] == 1, "{four}");
    post(server.address, "/v1/videos", asking(nested(5))).await?.error(400)?;
    Ok(())
}

/// V030.
#[tokio::test]
async fn the_schema_lists_the_stable_fields_and_no_extra() -> Result<()> {
    let (server, _strings) = cosmos3()?;
    let page = get(server.address, "GET /openapi.json").await?.expect(200)?;
    let fields = &page["components"]["schemas"]["VideoRequest"]["properties"];
    for name in ["prompt", "size", "max_sequence_length", "flow_shift"] {
        ensure!(fields[name].is_object(), "{name}");
    }
    for extra in [
        "use_duration_template",
        "use_system_prompt",
        "use_guardrails",
        "guidance_interval",
        "camera_actions",
        "prompts",
    ] {
        ensure!(fields.get(extra).is_none(), "{extra}");
    }
    Ok(())
}

/// The operator's choice stands between the request's and the world's.
#[tokio::test]
async fn the_operator_says_the_usual_shift_and_the_largest_picture() -> Result<()> {
    let offer = Offer { flow_shift: Some(7.5), pixels: Some(832 * 480) };
    let puppet = Puppet { card: cosmos3_card(), ..Puppet::on_strings() };
    let (server, mut strings) = Server::limited(puppet, Limits { offer, ..roomy() })?;
    for (body, shift, size) in [
        (json!({}), 7.5, "832x464"),
        (json!({ "flow_shift": 6, "size": "832x480" }), 6.0, "832x480"),
        (json!({ "num_frames": 1, "size": "64x64" }), 7.5, "64x64"),
    ] {
        let queued = job(&server, asking(body)).await?;
        let asked = strings.asked().await?;
        ensure!(asked.settings.flow_shift == Some(shift) && queued["size"] == size, "{queued} {asked:?}");
        get(server.address, &format!("DELETE {}", path(&queued, ""))).await?.expect(200)?;
    }
    let large = post(server.address, "/v1/videos", asking(json!({ "size": "1280x720" }))).await?.error(400)?;
    ensure!(large.contains("1280x720") && large.contains("up to 399360 pixels"), "{large}");
    let told = get(server.address, "GET /v1/models").await?.expect(200)?["data"][0]["causeway"].clone();
    ensure!(told["sizes"]["pixels_max"] == 832 * 480 && told["default_size"] == "832x464", "{told}");
    ensure!(told["clips"]["knobs"]["flow_shift"] == json!({ "video": 7.5, "picture": 7.5 }), "{told}");
    Ok(())
}

#[tokio::test]
async fn a_world_that_cannot_be_offered_so_is_not_served() -> Result<()> {
    let check = async |offer: Offer, said: &str| {
        let (server, _strings) = Server::limited(Puppet::default(), Limits { offer, ..roomy() })?;
        let error = format!("{:#}", server.ended().err().context("it ends")?);
        ensure!(error.contains(said), "{error}");
        Ok(())
    };
    check(Offer { flow_shift: Some(3.0), ..Offer::default() }, "puppet has no such setting").await?;
    check(Offer { pixels: Some(3), ..Offer::default() }, "--pixels 3").await
}
