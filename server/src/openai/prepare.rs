//! From a request's body to work that can wait for its turn: read, refuse, resolve, and decode the picture.

use std::sync::Arc;

use axum::http::StatusCode;
use bytes::Bytes;
use pipeline::first_frame::Target;
use pipeline::world::{Card, Picture, Spans};

use super::errors::ApiError;
use super::request::Body;
use super::request::ask::{Ask, Remix, Source};
use super::request::invalid::{Invalid, Kind, quoted};
use super::request::job::Facts;
use super::request::reading::{self, PromptRead};
use super::request::refuse::holds_video;
use super::request::resolve::Resolved;
use super::request::values::{PictureAnswer, Route};
use super::state::OpenAi;
use crate::guardrails::{Blocked, Guardrails, Switch};
use crate::observe::profile::{Profiled, Recorder};
use crate::phase::Phase;
use crate::realtime::wire::data_url;

/// Work that can wait for its turn.
pub(crate) struct Prepared {
    pub(crate) card: Arc<Card>,
    pub(crate) facts: Facts,
    /// Decoded, at the video's size.
    pub(crate) picture: Option<Picture>,
    /// How pictures are answered.
    pub(crate) answer: PictureAnswer,
    /// Records what its parts take, if its client asked for that.
    pub(crate) recorder: Option<Recorder>,
    /// What its frames must pass.
    pub(crate) guardrails: Guardrails,
    /// A guardrail does not let a prompt be drawn. The picture was not looked at then.
    pub(crate) blocked: bool,
}

fn spans_of(recorder: Option<&Recorder>) -> Spans {
    recorder.map(|recorder| recorder.spans().clone()).unwrap_or_default()
}

impl Prepared {
    /// For a route whose client waits: a blocked prompt is an error there. A job of it is made, and has failed.
    pub(crate) fn unblocked(self) -> Result<Prepared, ApiError> {
        if self.blocked {
            let message = format!("Input was blocked by {} guardrails.", self.card.clips.family);
            return Err(ApiError::new(StatusCode::BAD_REQUEST, "guardrail_blocked", message).about("prompt"));
        }
        Ok(self)
    }
}

impl OpenAi {
    /// The world, if new work can be taken.
    pub(crate) fn open_for_work(&self) -> Result<Arc<Card>, ApiError> {
        if *self.phase.borrow() >= Phase::Draining {
            return Err(ApiError::draining());
        }
        if self.engine_is_gone() {
            return Err(ApiError::engine_gone());
        }
        self.engine.card.borrow().clone().ok_or_else(ApiError::loading)
    }

    /// Make work of a request.
    pub(crate) async fn prepare(&self, body: Body, route: Route) -> Result<Prepared, ApiError> {
        let card = self.open_for_work()?;
        let ask = Ask::read(body, route, &card)?;
        let (source, answer) = (ask.picture.clone(), ask.answer);
        let (guardrails, recorder) = (self.guardrails_of(ask.guardrails)?, self.recorder(ask.profile)?);
        let resolved = Resolved::new(ask, &card, self.bounds.rules)?;
        self.check_memory(&resolved, &card)?;
        let spans = spans_of(recorder.as_ref());
        let blocked = self.blocks(&guardrails, &resolved, &spans).await;
        let (file, picture) = match source {
            Some(source) if !blocked => {
                let _place = self.picturing.acquire().await.expect("it is never closed");
                let file = self.picture_file(source, &card).await?;
                let picture = self.picture(Some(file.clone()), &resolved, &card, &spans).await?;
                (Some(file), picture)
            }
            _ => (None, None),
        };
        let read = self.read(&card, &resolved, file.is_some()).await?;
        let facts = Facts {
            resolved,
            read,
            picture: file,
            model: card.name.clone(),
            remixed_from: None,
            is_image: route == Route::Image,
        };
        Ok(Prepared { card, facts, picture, answer, recorder, guardrails, blocked })
    }

    /// The same work as of `old` with another prompt.
    pub(crate) async fn prepare_remix(&self, remix: Remix, mut old: Facts) -> Result<Prepared, ApiError> {
        let card = self.open_for_work()?;
        let Remix { prompt, guardrails, profile, ignored } = remix;
        let (guardrails, recorder) = (self.guardrails_of(guardrails)?, self.recorder(profile)?);
        (old.resolved.prompt, old.resolved.ignored) = (prompt, ignored);
        old.resolved.bound_ignored();
        old.read = self.read(&card, &old.resolved, old.picture.is_some()).await?;
        let facts = old;
        let spans = spans_of(recorder.as_ref());
        let blocked = self.blocks(&guardrails, &facts.resolved, &spans).await;
        let file = facts.picture.clone().filter(|_| !blocked);
        let picture = self.picture(file, &facts.resolved, &card, &spans).await?;
        let answer = PictureAnswer::default();
        Ok(Prepared { card, facts, picture, answer, recorder, guardrails, blocked })
    }

    /// The guardrails of a request that says this of them.
    fn guardrails_of(&self, asked: Option<bool>) -> Result<Guardrails, Invalid> {
        let checked = self.guardrails.switch(asked).map_err(|switch| {
            let kind = if switch == Switch::NotAvailable { Kind::Guardrails } else { Kind::Value };
            Invalid { kind, ..Invalid::value("use_guardrails", switch.to_string()) }
        })?;
        Ok(if checked { self.guardrails.clone() } else { Guardrails::default() })
    }

    /// What records a request that asks for this profile. An operator who wants none names no folder for them.
    fn recorder(&self, asked: Option<Profiled>) -> Result<Option<Recorder>, Invalid> {
        match asked {
            Some(_) if self.profile_dir.is_none() => {
                Err(Invalid::unsupported("profile", "profiling is not enabled on this server"))
            }
            asked => Ok(asked.map(Recorder::new)),
        }
    }

    /// How the world reads the prompts of a clip. Not on the loop: it looks for words that are spelt much the same.
    async fn read(
        &self,
        card: &Arc<Card>,
        resolved: &Resolved,
        has_picture: bool,
    ) -> Result<Option<Vec<PromptRead>>, ApiError> {
        if card.words.is_none() {
            return Ok(None);
        }
        let (card, resolved) = (Arc::clone(card), resolved.clone());
        let read = tokio::task::spawn_blocking(move || reading::read(&card, &resolved, has_picture)).await;
        read.map_err(|panic| {
            tracing::error!(error = %panic, "the prompts could not be read");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the prompts could not be read")
        })
    }

    /// Whether a guardrail blocks one of a request's prompts. The negative prompt is not asked about.
    async fn blocks(&self, guardrails: &Guardrails, resolved: &Resolved, spans: &Spans) -> bool {
        if guardrails.checks_no_text() {
            return false;
        }
        let _span = spans.begin(|| "text_guardrail".into());
        let later = resolved.prompts.iter().map(|switch| switch.prompt.clone());
        let prompts: Vec<String> = std::iter::once(resolved.prompt.clone()).chain(later).collect();
        let guardrails = guardrails.clone();
        match tokio::task::spawn_blocking(move || guardrails.check(prompts.iter().map(String::as_str))).await {
            Ok(Ok(())) => false,
            Ok(Err(Blocked { guardrail })) => {
                self.observer.blocked(guardrail);
                true
            }
            Err(panic) => {
                tracing::error!(error = %panic, "a guardrail panicked");
                true
            }
        }
    }

    /// A clip that would not fit even if it were alone.
    fn check_memory(&self, resolved: &Resolved, card: &Card) -> Result<(), ApiError> {
        let clip = resolved.clip(card, 0, None);
        self.engine.fits_clip(&clip).map_err(|(needed, budget)| {
            let message = format!(
                "size, num_frames: a clip of {} frames of {} takes {needed} bytes, and {budget} are there for all",
                resolved.frames, resolved.size
            );
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("size")
        })
    }

    /// The file of the picture to start from.
    async fn picture_file(&self, source: Source, card: &Card) -> Result<Bytes, ApiError> {
        let failed = |why: &str| {
            let message = format!("Failed to process image source: {}", quoted(why));
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("input_reference")
        };
        let file = match source {
            Source::File(file) => file,
            Source::Text(text) => {
                let begins = |with: &str| text.get(..with.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(with));
                if begins("http://") || begins("https://") {
                    self.fetcher.fetch(&text).await.map_err(|why| failed(&why))?.into()
                } else {
                    match data_url::read(&text) {
                        None => {
                            return Err(failed(
                                "Unsupported image url format: https://…, or data:image/TYPE;base64,DATA",
                            ));
                        }
                        Some(file) => Bytes::from(file.map_err(|why| failed(&format!("it {why}")))?),
                    }
                }
            }
        };
        if holds_video(&file) {
            let family = &card.clips.family;
            let message = format!("{family} video-to-video conditioning is not supported by Causeway yet.");
            return Err(Invalid::unsupported("input_reference", message).into());
        }
        if file.len() > self.bounds.picture_bytes {
            return Err(failed(&format!("it is longer than {} bytes", self.bounds.picture_bytes)));
        }
        // A slice of the body would keep all of it: the file is kept with its job.
        Ok(Bytes::copy_from_slice(&file))
    }

    async fn picture(
        &self,
        file: Option<Bytes>,
        resolved: &Resolved,
        card: &Card,
        spans: &Spans,
    ) -> Result<Option<Picture>, ApiError> {
        let Some(file) = file else { return Ok(None) };
        let _span = spans.begin(|| "image_preprocess".into());
        let read = self.pictures.read(file, Target { size: resolved.size, fit: card.clips.picture_fit }).await;
        read.map(Some).map_err(|why| {
            let message = format!("Failed to process image source: it {why}");
            ApiError::new(StatusCode::BAD_REQUEST, "invalid_value", message).about("input_reference")
        })
    }
}
