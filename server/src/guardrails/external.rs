//! Classifiers that run elsewhere, asked over HTTP: about each prompt, and about drawn frames.

use std::time::Duration;

use axum::http::StatusCode;
use pipeline::world::Frames;
use serde_json::Value;
use tokio::time::timeout;
use url::Url;

use super::guard::{FrameGuardrail, TextGuardrail, Verdict};
use super::rules::answer::{Dialect, Opinion, frames_opinion, frames_question};
use crate::media::{first_frame, pictures};
use crate::post::{Post, Said};

/// Time for one prompt, connecting included: a player waits for the answer.
const PROMPT_WITHIN: Duration = Duration::from_secs(2);

/// Time for the frames of one latent frame, four at most.
const FRAMES_WITHIN: Duration = Duration::from_secs(5);

/// Bytes of an answer without pictures. A verdict is some dozens.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// JPEG of the frames that a classifier looks at: nothing that it could see is lost.
const QUALITY: u8 = 95;

/// A classifier of prompts at a URL of the operator's.
pub struct External {
    service: Service,
    dialect: Dialect,
}

impl External {
    /// At this URL, which is of http or https.
    pub fn new(url: Url, dialect: Dialect) -> anyhow::Result<External> {
        External::within(PROMPT_WITHIN, url, dialect)
    }

    fn within(within: Duration, url: Url, dialect: Dialect) -> anyhow::Result<External> {
        Ok(External { service: Service::new("--guardrail-url", url, within)?, dialect })
    }
}

impl TextGuardrail for External {
    fn name(&self) -> &'static str {
        "classifier"
    }

    fn check(&self, prompt: &str) -> Verdict {
        let opinion = self.service.ask(&self.dialect.question(prompt), ANSWER_BYTES_MAX).and_then(|answer| {
            self.dialect.opinion(&answer).map_err(|reason| format!("its answer is not understood: {reason}"))
        });
        verdict(opinion)
    }
}

/// A classifier of frames at a URL of the operator's. It may give other pictures in their place, as one does that makes
/// faces unknowable.
pub struct ExternalFrames {
    service: Service,
}

impl ExternalFrames {
    /// At this URL, which is of http or https.
    pub fn new(url: Url) -> anyhow::Result<ExternalFrames> {
        Ok(ExternalFrames { service: Service::new("--frame-guardrail-url", url, FRAMES_WITHIN)? })
    }

    fn ask(&self, frames: &mut Frames) -> Result<Opinion, String> {
        let (size, bytes) = (frames.size, frames.size.frame_bytes() as usize);
        let jpeg = |rgb: &[u8]| pictures::jpeg(rgb, size, QUALITY).map_err(|error| format!("{error:#}"));
        let files = frames.rgb.chunks_exact(bytes).map(jpeg).collect::<Result<Vec<_>, _>>()?;
        // Its pictures may be larger than the pixels are, and base64 adds a third.
        let answer = self.service.ask(&frames_question(&files), ANSWER_BYTES_MAX + 2 * frames.rgb.len())?;
        let (opinion, changed) = frames_opinion(&answer, frames.count)
            .map_err(|reason| format!("its answer is not understood: {reason}"))?;
        for (rgb, file) in frames.rgb.chunks_exact_mut(bytes).zip(changed) {
            let Some(file) = file else { continue };
            let picture =
                first_frame::read(&file, size).map_err(|reason| format!("a picture of its answer {reason}"))?;
            rgb.copy_from_slice(&picture.rgb);
        }
        Ok(opinion)
    }
}

impl FrameGuardrail for ExternalFrames {
    fn name(&self) -> &'static str {
        "frame_classifier"
    }

    fn process(&self, frames: &mut Frames) -> Verdict {
        verdict(self.ask(frames))
    }
}

fn verdict(opinion: Result<Opinion, String>) -> Verdict {
    match opinion {
        Ok(Opinion::Safe) => Verdict::Allow,
        Ok(Opinion::Unsafe { category }) => Verdict::Block { code: category.unwrap_or_else(|| "unsafe".into()) },
        Err(reason) => Verdict::Error { reason },
    }
}

/// JSON to a URL, and the answer.
struct Service {
    post: Post,
    within: Duration,
}

impl Service {
    fn new(flag: &str, url: Url, within: Duration) -> anyhow::Result<Service> {
        Ok(Service { post: Post::new(flag, url)?, within })
    }

    /// On a thread for blocking work, with a small runtime of its own: the command line has no other. `Err`: why there is no
    /// answer, for the log.
    fn ask(&self, question: &Value, answer_max: usize) -> Result<Vec<u8>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| error.to_string())?;
        let said = Said { body: question.to_string().into(), content_type: "application/json", bearer: None };
        let answer = runtime.block_on(async { timeout(self.within, self.post.send(said, answer_max)).await });
        // A look-up of a name cannot be cut short, and is not waited for.
        runtime.shutdown_background();
        match answer {
            Ok(Ok((StatusCode::OK, answer))) => Ok(answer),
            Ok(Ok((status, _))) => Err(format!("it answered {}", status.as_u16())),
            Ok(Err(error)) => Err(format!("{error:#}")),
            Err(_elapsed) => Err(format!("no answer within {} s", self.within.as_secs_f64())),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use pipeline::world::Size;
    use serde_json::json;

    use super::*;

    /// A classifier for one question: gives `answer`, word for word, and what it was asked. `None`: it only listens.
    fn classifier(answer: Option<&'static str>) -> (Url, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/check?v=1", listener.local_addr().expect("bound"));
        let thread = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("a question");
            let (mut asked, mut piece) = (String::new(), [0; 4096]);
            while !asked.contains('}') {
                let read = stream.read(&mut piece).expect("bytes");
                asked.push_str(std::str::from_utf8(&piece[..read]).expect("text"));
            }
            match answer {
                Some(answer) => stream.write_all(answer.as_bytes()).expect("written"),
                // Until the other side has given up.
                None => _ = stream.read(&mut piece),
            }
            asked
        });
        (Url::parse(&url).expect("a URL"), thread)
    }

    fn asked(answer: Option<&'static str>) -> (Verdict, String) {
        let (url, thread) = classifier(answer);
        let external = External::within(Duration::from_millis(300), url, Dialect::Verdict).expect("http");
        let verdict = external.check("a \"quiet\" road");
        (verdict, thread.join().expect("it answered"))
    }

    #[test]
    fn a_prompt_is_posted_as_json_and_the_answer_decides() {
        let (allowed, posted) = asked(Some("HTTP/1.1 200 OK\r\ncontent-length: 14\r\n\r\n{\"safe\": true}"));
        assert_eq!(allowed, Verdict::Allow);
        assert!(
            posted.starts_with("POST /check?v=1 HTTP/1.1\r\n") && posted.ends_with(r#"{"prompt":"a \"quiet\" road"}"#)
        );
        let no = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"safe\": false, \"category\": \"violence\"}";
        assert_eq!(asked(Some(no)).0, Verdict::Block { code: "violence".into() });
    }

    #[test]
    fn what_cannot_tell_is_an_error_that_says_why() {
        let error = |answer| match asked(answer).0 {
            Verdict::Error { reason } => reason,
            other => panic!("{other:?}"),
        };
        assert!(error(Some("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")).contains("503"));
        assert!(error(Some("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")).contains("not understood"));
        assert!(error(Some("no HTTP\r\n\r\n")).len() > 3);
        assert!(error(None).contains("no answer within 0.3 s"));
        let nobody = External::new("http://127.0.0.1:1/".parse().expect("a URL"), Dialect::Verdict).expect("http");
        assert!(matches!(nobody.check("p"), Verdict::Error { reason } if reason.contains("connecting")));
        assert!(External::new("file:///etc".parse().expect("a URL"), Dialect::Verdict).is_err());
    }

    /// Two frames of 4x4 in one colour, and what becomes of them.
    fn looked_at(answer: String) -> (Verdict, Frames, String) {
        let size = Size { width: 4, height: 4 };
        let mut frames = Frames { size, count: 2, rgb: vec![200; 2 * 48] };
        let (url, thread) = classifier(Some(answer.leak()));
        let verdict = ExternalFrames::new(url).expect("http").process(&mut frames);
        (verdict, frames, thread.join().expect("it answered"))
    }

    fn ok(body: &str) -> String {
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn frames_are_posted_as_pictures_and_the_answer_may_change_them() {
        let (verdict, frames, asked) = looked_at(ok(r#"{"safe": true}"#));
        assert_eq!((verdict, frames.rgb), (Verdict::Allow, vec![200; 96]));
        let body: Value = serde_json::from_str(asked.split("\r\n\r\n").nth(1).expect("a body")).expect("JSON");
        let first = STANDARD.decode(body["frames"][0].as_str().expect("text")).expect("base64");
        assert!(first.starts_with(&[0xff, 0xd8]) && body["frames"].as_array().is_some_and(|frames| frames.len() == 2));

        let black = STANDARD.encode(pictures::png(&[0; 48], Size { width: 4, height: 4 }).expect("a PNG"));
        let (verdict, frames, _) = looked_at(ok(&json!({ "safe": true, "frames": [null, black] }).to_string()));
        assert_eq!((verdict, frames.rgb), (Verdict::Allow, [vec![200; 48], vec![0; 48]].concat()));
        let (verdict, ..) = looked_at(ok(r#"{"safe": false, "category": "blood"}"#));
        assert_eq!(verdict, Verdict::Block { code: "blood".into() });
        let (verdict, ..) = looked_at(ok(&json!({ "safe": true, "frames": ["aaaa", null] }).to_string()));
        assert!(matches!(verdict, Verdict::Error { reason } if reason.contains("a picture of its answer")));
    }
}
