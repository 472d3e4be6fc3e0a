//! The book of jobs, at times that a test says.

use std::sync::Arc;

use bytes::Bytes;
use pipeline::testcard::Testcard;
use pipeline::world::{Picture, Size, World};
use serde_json::Value;

use super::super::Body;
use super::super::ask::Ask;
use super::super::job::FailureCode;
use super::super::resolve::{Resolved, Rules};
use super::super::values::Route;
use super::*;

const BOUNDS: Bounds = Bounds { waiting: 16, of_account: 16, bytes: 1 << 20, ttl: Duration::from_secs(3600) };

fn at(seconds: u64) -> Now {
    Now { since_start: Duration::from_secs(seconds), unix: 1_796_000_000 + seconds }
}

/// A job of 10 frames of 96x64: 184 320 raw bytes, so an estimate of 23 040 and a frame's 18 432.
fn facts() -> Facts {
    let testcard = Testcard::new(Duration::ZERO);
    let body = r#"{"prompt":"p","num_frames":10,"size":"96x64"}"#;
    let body = Body::read(None, &Bytes::from_static(body.as_bytes())).expect("a body");
    let ask = Ask::read(body, Route::Video, testcard.card()).expect("an ask");
    let resolved = Resolved::new(ask, testcard.card(), Rules { clip_frames: 481 }).expect("it can be drawn");
    Facts { resolved, read: None, picture: None, model: "testcard".into(), remixed_from: None, is_image: false }
}

fn enter(jobs: &mut Jobs, id: &str, now: Now) -> Result<(), Full> {
    jobs.enter(id, None, facts(), true, now)
}

fn output(bytes: usize) -> Output {
    let size = Size { width: 1, height: 1 };
    let first_frame = Arc::new(Picture { size, rgb: vec![0; 3] });
    Output { bytes: vec![0; bytes].into(), content_type: "video/mp4", first_frame }
}

fn complete(jobs: &mut Jobs, id: &str, bytes: usize, now: Now) {
    jobs.begin(id, now);
    jobs.complete(id, vec![output(bytes)], Costs::default(), now);
}

fn field(jobs: &mut Jobs, id: &str, name: &str, now: Now) -> Value {
    jobs.get(id, &None, now).map_or(Value::Null, |job| job[name].clone())
}

fn ids(page: &Page) -> Vec<&str> {
    page.jobs.iter().map(|job| job["id"].as_str().expect("an id")).collect()
}

#[test]
fn a_job_is_queued_then_in_progress_then_completed_and_its_progress_never_falls() {
    let mut jobs = Jobs::new(BOUNDS);
    enter(&mut jobs, "a", at(0)).expect("there is room");
    assert_eq!(field(&mut jobs, "a", "status", at(0)), "queued");
    assert_eq!(field(&mut jobs, "a", "queue_position", at(0)), 1);
    assert!(jobs.begin("a", at(1)));
    assert_eq!(field(&mut jobs, "a", "queue_position", at(1)), Value::Null);
    for (done, percent) in [(0.0, 0), (0.5, 50), (0.3, 50), (1.0, 99), (f64::NAN, 99), (-1.0, 99)] {
        jobs.progress("a", done);
        assert_eq!(field(&mut jobs, "a", "progress", at(2)), percent, "{done}");
        assert_eq!(field(&mut jobs, "a", "status", at(2)), "in_progress");
    }
    jobs.complete("a", vec![output(10)], Costs::default(), at(3));
    assert_eq!(field(&mut jobs, "a", "progress", at(3)), 100);
    assert_eq!(field(&mut jobs, "a", "completed_at", at(3)), at(3).unix);
    assert_eq!(field(&mut jobs, "a", "expires_at", at(3)), at(3).unix + 3600);
    assert_eq!(field(&mut jobs, "a", "url", at(3)), "/v1/videos/a/content");
}

#[test]
fn what_ended_is_forgotten_after_its_time() {
    let mut jobs = Jobs::new(BOUNDS);
    enter(&mut jobs, "a", at(0)).expect("there is room");
    enter(&mut jobs, "b", at(0)).expect("there is room");
    complete(&mut jobs, "a", 10, at(5));
    assert!(jobs.get("a", &None, at(3604)).is_some());
    assert!(jobs.get("a", &None, at(3605)).is_none());
    assert!(jobs.get("b", &None, at(1_000_000)).is_some(), "what has not ended stays");
}

#[test]
fn a_job_that_is_gone_is_never_written_to_again() {
    let mut jobs = Jobs::new(BOUNDS);
    enter(&mut jobs, "a", at(0)).expect("there is room");
    jobs.begin("a", at(0));
    jobs.remove("a");
    assert!(!jobs.begin("a", at(0)));
    complete(&mut jobs, "a", 10, at(1));
    jobs.fail("a", Failure { code: FailureCode::Internal, message: String::new() }, at(1));
    assert_eq!(jobs.levels(at(1)), Levels::default());
    enter(&mut jobs, "b", at(1)).expect("there is room");
    jobs.fail("b", Failure { code: FailureCode::Internal, message: "m".into() }, at(1));
    complete(&mut jobs, "b", 10, at(2));
    assert_eq!(field(&mut jobs, "b", "status", at(2)), "failed", "what has failed stays so");
}

#[test]
fn so_many_wait_and_so_many_of_one_account() {
    let mut jobs = Jobs::new(Bounds { waiting: 3, of_account: 2, ..BOUNDS });
    let account = |name: &str| Some(Arc::from(name));
    let mut ask = |id: &str, of: &str| jobs.enter(id, account(of), facts(), true, at(0));
    assert_eq!(ask("1", "alice"), Ok(()));
    assert_eq!(ask("2", "alice"), Ok(()));
    assert_eq!(ask("3", "alice"), Err(Full::Account { waiting: 2 }));
    assert_eq!(ask("4", "bob"), Ok(()));
    assert_eq!(ask("5", "carol"), Err(Full::Queue { waiting: 3 }));
    jobs.begin("1", at(0));
    assert_eq!(jobs.enter("5", account("carol"), facts(), false, at(0)), Ok(()), "what is drawn does not wait");
    assert_eq!(jobs.enter("6", account("carol"), facts(), false, at(0)), Err(Full::Queue { waiting: 3 }));
}

#[test]
fn where_nothing_may_wait_one_may_still_be_drawn() {
    let mut jobs = Jobs::new(Bounds { waiting: 0, ..BOUNDS });
    assert_eq!(enter(&mut jobs, "a", at(0)), Ok(()));
    assert_eq!(enter(&mut jobs, "b", at(0)), Err(Full::Queue { waiting: 1 }));
    jobs.begin("a", at(0));
    assert_eq!(enter(&mut jobs, "b", at(0)), Err(Full::Queue { waiting: 0 }));
}

#[test]
fn results_have_room_for_so_many_bytes() {
    let mut jobs = Jobs::new(Bounds { bytes: 100_000, ..BOUNDS });
    assert_eq!(enter(&mut jobs, "a", at(0)), Ok(()));
    assert_eq!(enter(&mut jobs, "b", at(0)), Ok(()));
    assert_eq!(enter(&mut jobs, "c", at(0)), Err(Full::Storage { retry: Duration::from_secs(1) }), "3 × 41 472");
    complete(&mut jobs, "a", 30_000, at(100));
    assert_eq!(enter(&mut jobs, "c", at(101)), Err(Full::Storage { retry: Duration::from_secs(3599) }));
    assert_eq!(jobs.enter("sync", None, facts(), false, at(101)), Ok(()), "nothing of a sync clip is kept");
    jobs.remove("a");
    assert_eq!(enter(&mut jobs, "c", at(102)), Ok(()));
    let mut small = Jobs::new(Bounds { bytes: 1000, ..BOUNDS });
    assert_eq!(enter(&mut small, "a", at(0)), Err(Full::TooLarge { needed: 41_472, bytes: 1000 }));
}

#[test]
fn a_result_larger_than_expected_pushes_out_what_ended_first() {
    let mut jobs = Jobs::new(Bounds { bytes: 130_000, ..BOUNDS });
    for id in ["a", "b", "c"] {
        enter(&mut jobs, id, at(0)).expect("there is room");
    }
    complete(&mut jobs, "a", 20_000, at(1));
    complete(&mut jobs, "b", 20_000, at(2));
    complete(&mut jobs, "c", 100_000, at(3));
    assert!(jobs.get("a", &None, at(3)).is_none());
    assert!(jobs.get("c", &None, at(3)).is_some() && jobs.levels(at(3)).bytes <= 130_000);
}

#[test]
fn the_list_is_newest_first_and_paging_meets_each_job_once() {
    let mut jobs = Jobs::new(BOUNDS);
    for id in ["a", "b", "c", "d", "e"] {
        enter(&mut jobs, id, at(0)).expect("there is room");
    }
    jobs.enter("sync", None, facts(), false, at(0)).expect("there is room");
    jobs.enter("theirs", Some("alice".into()), facts(), true, at(0)).expect("there is room");
    for (ascending, expected) in [(false, "edcba"), (true, "abcde")] {
        for limit in 1..=6 {
            let (mut met, mut after): (String, Option<String>) = (String::new(), None);
            loop {
                let page = jobs.list(&None, after.as_deref(), limit, ascending, at(0));
                met.extend(ids(&page));
                after = ids(&page).last().map(|&id| id.to_owned()).or(after);
                if !page.has_more {
                    break;
                }
            }
            assert_eq!(met, expected, "pages of {limit}");
        }
    }
    assert_eq!(jobs.list(&None, Some("nope"), 20, false, at(0)), Page { jobs: Vec::new(), has_more: false });
    assert_eq!(ids(&jobs.list(&Some("alice".into()), None, 20, false, at(0))), ["theirs"]);
    assert!(jobs.get("theirs", &None, at(0)).is_none() && jobs.get("sync", &None, at(0)).is_none());
    assert!(jobs.content("theirs", &None, false, at(0)).is_none());
}

#[test]
fn work_of_a_connection_leaves_nothing_behind() {
    let mut jobs = Jobs::new(BOUNDS);
    jobs.enter("sync", None, facts(), false, at(0)).expect("there is room");
    assert_eq!((jobs.levels(at(0)).waiting, jobs.queue_position("sync")), (1, Some(1)));
    complete(&mut jobs, "sync", 10, at(1));
    assert_eq!(jobs.levels(at(1)), Levels::default());
}

#[test]
fn a_thousand_records_are_kept() {
    let mut jobs = Jobs::new(Bounds { bytes: u64::MAX, ..BOUNDS });
    for number in 0..=RECORDS_MAX {
        let id = number.to_string();
        enter(&mut jobs, &id, at(0)).expect("there is room");
        complete(&mut jobs, &id, 1, at(1));
    }
    assert!(jobs.get("0", &None, at(2)).is_none() && jobs.get("1", &None, at(2)).is_some());
}

#[test]
fn a_client_is_told_to_ask_again_after_a_tenth_of_what_is_left() {
    let mut jobs = Jobs::new(BOUNDS);
    enter(&mut jobs, "a", at(0)).expect("there is room");
    assert_eq!(jobs.poll_after("a", at(0)), Duration::from_millis(250));
    jobs.begin("a", at(0));
    jobs.progress("a", 0.5);
    assert_eq!(jobs.poll_after("a", at(20)), Duration::from_secs(2));
    assert_eq!(jobs.poll_after("a", at(2000)), Duration::from_secs(5));
    assert_eq!(jobs.poll_after("nope", at(0)), Duration::from_millis(250));
}
