//! What steers a camera, in an event and in an init: the keys of a transition, its time, rates, pose and lens.

use pipeline::world::{FOV_DEG, Intrinsics, Pose, Rates, Steering};
use rmpv::ValueRef;

use super::features::{Features, Offer};
use super::fields::{Fields, keys, list, number, refuse};
use crate::engine::turns::event::{Lens, Transition};
use pipeline::world::Refusal;

/// The latest time of a transition: as far as frame headers can say.
const AT_MS_MAX: f64 = u32::MAX as f64;

/// One transition of `camera_actions`.
pub(super) fn transition(value: ValueRef<'_>, features: &Features) -> Result<Transition, Refusal> {
    let mut fields = Fields::from_value("transitions", value)?;
    let held = fields.take("actions").map(|actions| keys("actions", actions)).transpose()?;
    // The value is not used, but an invalid one is still an error.
    fields.number("client_ts_ms")?;
    let mut open =
        |field: &'static str, offer: Offer| fields.take(field).map(|value| offer.open(field, value)).transpose();
    let rates = open("rates", features.rates)?.map(rates).transpose()?;
    let pose = open("pose", features.poses)?.map(pose).transpose()?;
    let lens = open("intrinsics", features.intrinsics)?.map(lens).transpose()?;
    let at_ms = open("at_ms", features.times())?.map(at_ms).transpose()?;
    if [held.is_none(), rates.is_none(), pose.is_none(), lens.is_none()] == [true; 4] {
        return Err(refuse("actions", "is missing"));
    }
    let walks = held.is_some_and(|held| !held.is_empty()) || rates.is_some_and(|rates| rates != Rates::default());
    if pose.is_some() && walks {
        return Err(refuse("pose", "must come without keys and rates: a camera is led, or walks by itself"));
    }
    Ok(Transition { at_ms, held, rates, pose, lens })
}

/// `intrinsics` of an init.
pub(super) fn first_lens(fields: &mut Fields<'_>, features: &Features) -> Result<Option<Lens>, Refusal> {
    let Some(value) = fields.take("intrinsics") else { return Ok(None) };
    features.intrinsics.open("intrinsics", value).and_then(lens).map(Some)
}

/// Which features of a client this world cannot follow.
pub(super) fn limit(features: Features, steering: &Steering) -> Features {
    Features {
        rates: features.rates.limited(steering.rates),
        poses: features.poses.limited(steering.poses.is_some()),
        intrinsics: features.intrinsics.limited(steering.intrinsics),
        ..features
    }
}

fn at_ms(value: ValueRef<'_>) -> Result<f64, Refusal> {
    let at = number("at_ms", &value)?;
    match (0.0..=AT_MS_MAX).contains(&at) {
        true => Ok(at),
        false => Err(refuse("at_ms", format!("is {at}: 0 to {AT_MS_MAX} is allowed"))),
    }
}

fn rates(value: ValueRef<'_>) -> Result<Rates, Refusal> {
    let mut fields = Fields::from_value("rates", value)?;
    let mut numbers = [0.0; 4];
    for (rate, name) in numbers.iter_mut().zip(Rates::NAMES) {
        *rate = fields.number(name)?.unwrap_or(0.0);
    }
    if let Some(name) = fields.left() {
        return Err(refuse("rates", format!("{name} is none: forward, strafe, yaw and pitch are allowed")));
    }
    Rates::new(numbers).map_err(|reason| refuse("rates", reason))
}

const POSE_FORM: &str = "must be 16 numbers, row by row, or 4 lists of 4";

fn pose(value: ValueRef<'_>) -> Result<Pose, Refusal> {
    let items = list("pose", value)?;
    let numbers = match items.len() {
        4 => items.into_iter().map(|row| list("pose", row)).collect::<Result<Vec<_>, _>>()?.concat(),
        _ => items,
    };
    let numbers = numbers.iter().map(|value| number("pose", value)).collect::<Result<Vec<_>, _>>()?;
    let (rows, rest) = numbers.as_chunks::<4>();
    let rows: &[[f64; 4]; 4] =
        rows.try_into().ok().filter(|_| rest.is_empty()).ok_or_else(|| refuse("pose", POSE_FORM))?;
    Pose::from_camera_from_world(rows).map_err(|reason| refuse("pose", reason))
}

fn lens(value: ValueRef<'_>) -> Result<Lens, Refusal> {
    let mut fields = Fields::from_value("intrinsics", value)?;
    let wide = fields.number("fov_x_deg")?;
    let mut numbers = [None; 4];
    for (number, name) in numbers.iter_mut().zip(["fx", "fy", "cx", "cy"]) {
        *number = fields.number(name)?;
    }
    match (wide, numbers) {
        (Some(degrees), [None, None, None, None]) => match FOV_DEG.contains(&degrees) {
            true => Ok(Lens::FieldOfView(degrees)),
            false => {
                let allowed = format!("{} to {}", FOV_DEG.start(), FOV_DEG.end());
                Err(refuse("fov_x_deg", format!("is {degrees}: {allowed} degrees are allowed")))
            }
        },
        (None, [Some(fx), Some(fy), Some(cx), Some(cy)]) => {
            Intrinsics::new(fx, fy, cx, cy).map(Lens::Pixels).map_err(|reason| refuse("intrinsics", reason))
        }
        _ => Err(refuse("intrinsics", "must be {fx, fy, cx, cy} in pixels, or {fov_x_deg} in degrees")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::turns::event::{Event, EventPart};
    use crate::realtime::wire::event::Asked;
    use crate::realtime::wire::message;

    fn all() -> Features {
        Features { rates: Offer::Open, poses: Offer::Open, intrinsics: Offer::Open, ..Features::default() }
    }

    fn read(transition: &str, features: Features) -> Result<Transition, Refusal> {
        let json = format!(
            r#"{{"type":"event","kind":"camera_actions","payload":{{"mode":"state","transitions":[{transition}]}}}}"#
        );
        match Asked::decode(&message(&json), features) {
            Ok(Asked::Steer(Event { parts, .. })) => match parts.as_slice() {
                [EventPart::State(transitions)] => Ok(transitions[0]),
                other => panic!("{other:?}"),
            },
            Ok(other) => panic!("{other:?}"),
            Err(invalid) => Err(invalid.refusal),
        }
    }

    #[test]
    fn a_transition_holds_what_it_says_and_leaves_the_rest_as_it_is() {
        let check = |json: &str, expected: Transition| assert_eq!(read(json, all()), Ok(expected), "{json}");
        let rates = Rates::new([1.0, 0.0, -0.5, 0.0]).ok();
        check(r#"{"rates":{"forward":1,"yaw":-0.5}}"#, Transition { rates, ..Transition::default() });
        let held = Some(pipeline::world::Held::from_tokens(["w"]));
        check(
            r#"{"actions":["w"],"rates":{"forward":1,"yaw":-0.5},"at_ms":312.5}"#,
            Transition { held, rates, at_ms: Some(312.5), ..Transition::default() },
        );
        let lens = Some(Lens::FieldOfView(60.0));
        check(r#"{"intrinsics":{"fov_x_deg":60}}"#, Transition { lens, ..Transition::default() });
        let lens = Intrinsics::new(500.0, 400.0, 32.0, 24.0).ok().map(Lens::Pixels);
        check(r#"{"intrinsics":{"fx":500,"fy":400,"cx":32,"cy":24}}"#, Transition { lens, ..Transition::default() });
        // A camera two to the right and turned to the left by 90°: what is on its right is ahead in the world.
        let pose = Pose::new([2.0, 0.0, 0.0], [0.5f64.sqrt(), 0.0, -(0.5f64.sqrt()), 0.0]).expect("a pose");
        for json in [
            r#"{"actions":[],"pose":[0,0,1,0, 0,1,0,0, -1,0,0,2, 0,0,0,1]}"#,
            r#"{"pose":[[0,0,1,0],[0,1,0,0],[-1,0,0,2],[0,0,0,1]]}"#,
        ] {
            let found = read(json, all()).expect(json).pose.expect("a pose");
            let off = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(off(&found.position(), &pose.position()) < 1e-12, "{found:?}");
            let (found, expected) = (found.camera_from_world(), pose.camera_from_world());
            assert!(off(found.as_flattened(), expected.as_flattened()) < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_allowed() {
        let check = |json: &str, field: &str, said: &str| {
            let refusal = read(json, all()).expect_err(json);
            assert!(refusal.field == field && refusal.reason.contains(said), "{json}: {refusal}");
        };
        check("{}", "actions", "is missing");
        check(r#"{"rates":{"forward":1.01}}"#, "rates", "forward is 1.01: −1 to 1 is allowed");
        check(r#"{"rates":{"forwards":1}}"#, "rates", "forwards is none");
        check(r#"{"rates":{"yaw":"fast"}}"#, "yaw", "must be a number");
        check(r#"{"rates":[1]}"#, "rates", "must be a map");
        check(r#"{"pose":[1,2,3]}"#, "pose", POSE_FORM);
        check(r#"{"pose":[1,0,0,0,0,1,0,0,0,0,2,0,0,0,0,1]}"#, "pose", "identity within 0.001");
        check(r#"{"pose":[1,0,0,9e9,0,1,0,0,0,0,1,0,0,0,0,1]}"#, "pose", "at most 1000000");
        check(r#"{"actions":["w"],"pose":[1,0,0,0,0,1,0,0,0,0,1,0,0,0,0,1]}"#, "pose", "without keys and rates");
        check(r#"{"intrinsics":{"fx":500}}"#, "intrinsics", "{fx, fy, cx, cy}");
        check(r#"{"intrinsics":{"fx":0,"fy":1,"cx":1,"cy":1}}"#, "intrinsics", "fx is 0");
        check(r#"{"intrinsics":{"fov_x_deg":180}}"#, "fov_x_deg", "1 to 179");
        check(r#"{"actions":[],"at_ms":-1}"#, "at_ms", "0 to 4294967295");
        check(r#"{"actions":[],"at_ms":"nan"}"#, "at_ms", "finite");
    }

    #[test]
    fn steering_is_for_a_client_that_named_it_in_a_world_that_follows_it() {
        let fields = [
            (r#"{"actions":[],"rates":{}}"#, "rates"),
            (r#"{"actions":[],"pose":[]}"#, "pose"),
            (r#"{"actions":[],"intrinsics":{}}"#, "intrinsics"),
            (r#"{"actions":[],"at_ms":1}"#, "at_ms"),
        ];
        let limited = limit(all(), &Steering::default());
        assert_eq!(limited.names(), Vec::<&str>::new());
        for (json, field) in fields {
            let refusal = read(json, Features::default()).expect_err("not named");
            assert!(refusal.field == field && refusal.reason.contains("protocol_features"), "{refusal}");
            let refusal = read(json, limited).expect_err("this world cannot");
            assert!(refusal.field == field && refusal.reason.contains("this world"), "{refusal}");
        }
        assert_eq!(limit(all(), &Steering::ALL), all());
    }
}
