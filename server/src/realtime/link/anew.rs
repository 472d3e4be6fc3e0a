//! Another video in the same session: its picture is read, its prompt checked, its size held against what the session was
//! admitted with, and then it is opened in the place of the one before.

use std::sync::Arc;

use pipeline::world::{Card, Chunking, Init, Refusal};
use tokio::sync::oneshot;

use super::Realtime;
use super::seat::{Panicked, Seat, off_the_loop};
use super::share::{frames_held, spacing};
use crate::engine::elsewhere::Another;
use crate::engine::messages::Command;
use crate::engine::turns::conditions::Beginning;
use crate::engine::turns::rewinds::Spacing;
use crate::guardrails::{Blocked, Guardrails};
use crate::media::pictures::Encoding;
use crate::realtime::wire::control::Transport;
use crate::realtime::wire::error::ClientError;
use crate::realtime::wire::event::Invalid;
use crate::realtime::wire::features::{Features, Offer};
use crate::realtime::wire::init::{FirstFrame, Terms};
use crate::realtime::wire::reset::{NewPicture, Reset};

/// What a session will be once its next video has begun.
pub(super) struct Next {
    init: Init,
    encoding: Encoding,
    /// How its states are spaced to go back to.
    rewinds: Option<Spacing>,
}

impl Next {
    /// How it begins.
    pub(super) fn init(&self) -> &Init {
        &self.init
    }
}

/// A session's part in its next video.
pub(super) struct Session {
    /// How the video before began.
    begun: Arc<Init>,
    card: Arc<Card>,
    transport: Transport,
    guardrails: Guardrails,
    /// Bytes and pixels of a frame that it was admitted with.
    admitted: (u64, u64),
    features: Features,
    terms: Terms,
}

impl Seat {
    /// What is known of this session for its next video.
    pub(super) fn for_the_next(&self) -> Session {
        let begun = self.begun.clone().expect("kept for a client that may begin another video");
        Session {
            begun,
            card: self.card(),
            transport: self.transport,
            guardrails: self.guardrails.clone(),
            admitted: self.admitted,
            features: self.features,
            terms: self.terms,
        }
    }

    /// Open it, in the place of the one before. The receiver hears when that is done.
    pub(super) fn begin(&mut self, next: Next) -> (oneshot::Receiver<()>, Chunking) {
        let Next { init, encoding, rewinds } = next;
        let every_tap = self.features.steers();
        let beginning =
            Beginning { script: None, lens: self.lens, from: 0, fps: self.terms.fps, size: init.size, every_tap };
        // A transport that came meanwhile counts, if it can show this size.
        let encoding = self.transport.of(init.size).unwrap_or(encoding);
        (self.chunking, self.encoding, self.begun) =
            (init.chunking(&self.card()), encoding, Some(Arc::new(init.clone())));
        let (reply, answer) = oneshot::channel();
        self.command(Command::Reset(self.id, Box::new(Another { init, beginning, rewinds }), reply));
        (answer, self.chunking)
    }
}

/// Read and check all that the next video needs. `id`: of the event that asked for it.
pub(super) async fn prepare(
    realtime: &Realtime,
    session: Session,
    (id, mut reset): (Option<u32>, Box<Reset>),
) -> Result<Next, ClientError> {
    let wrong = |refusal| ClientError::invalid_event(Invalid { id, refusal });
    let picture = |reason| wrong(Refusal { field: "first_frame", reason });
    let mut init = reset.init(&session.begun, &session.card).map_err(wrong)?;
    let encoding = session.transport.of(init.size).map_err(wrong)?;
    let frames =
        frames_held(&session.card, &init, (session.features, realtime.moving.is_some()), session.terms, encoding);
    let (bytes, pixels) = (realtime.queue.bytes(&init, frames, 0), init.size.pixels());
    let (bytes_max, pixels_max) = session.admitted;
    let goes_back = session.features.rewind == Offer::Open;
    let left = bytes_max.checked_sub(bytes);
    let rewinds = left.filter(|_| goes_back).and_then(|left| spacing(realtime, &session.card, &init, left));
    let fits = left.is_some() && rewinds.is_some() == goes_back;
    if !fits || (session.terms.paced && pixels > pixels_max) {
        let reason = format!(
            "{} is more than this session was admitted with: a larger video needs a session of its own",
            init.size
        );
        return Err(wrong(Refusal { field: "size", reason }));
    }
    if let Some(prompt) = reset.prompt().map(str::to_owned)
        && !session.guardrails.checks_no_text()
    {
        let guardrails = session.guardrails.clone();
        match off_the_loop(move || guardrails.check([prompt.as_str()])).await {
            Ok(Ok(())) => {}
            Ok(Err(Blocked { guardrail })) => {
                realtime.observer.blocked(guardrail);
                return Err(ClientError::guardrail_blocked(id));
            }
            Err(Panicked) => return Err(ClientError::guardrail_blocked(id)),
        }
    }
    let file = match reset.take_picture() {
        None => None,
        Some(NewPicture::Without) => {
            init.first_frame = None;
            None
        }
        Some(NewPicture::Of(FirstFrame::File(file))) => Some(file),
        Some(NewPicture::Of(FirstFrame::At(url))) => Some(realtime.fetcher.fetch(&url).await.map_err(picture)?.into()),
    };
    if let Some(file) = file {
        init.first_frame = Some(realtime.pictures.read(file, init.size).await.map_err(picture)?);
    }
    if session.card.needs_first_frame && init.first_frame.is_none() {
        return Err(picture(format!("is missing: {} starts from a picture", session.card.name)));
    }
    Ok(Next { init, encoding, rewinds })
}
