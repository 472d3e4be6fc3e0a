//! The door for HTTP: which headers are read, how a denial is answered, and the route that makes tokens.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::door::{Connected, Door, Lease, Pass, TOKEN_LIFE, TOKEN_LIFE_MAX, Weight};
use super::inbound::{Account, Inbound};
use super::listener::ConnectionPermit;
use super::metered::Meter;
use super::rules::address::Address;
use super::rules::denied::{Denied, whole_seconds};
use crate::observe::Observer;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

impl Denied {
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Denied::NoKey | Denied::WrongKey | Denied::Expired | Denied::KeyRemoved => StatusCode::UNAUTHORIZED,
            Denied::NotAKey | Denied::Origin | Denied::Host => StatusCode::FORBIDDEN,
            Denied::Full => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::TOO_MANY_REQUESTS,
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        let status = self.status();
        let mut response = (status, self.to_string()).into_response();
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.wait() {
            headers.insert(header::RETRY_AFTER, whole_seconds(wait).into());
        }
        response
    }
}

/// The door, and the observer that counts denials: all that HTTP needs to check a request.
#[derive(Clone)]
pub(crate) struct Entrance {
    /// Makes the decisions.
    pub(crate) door: Arc<Door>,
    /// Counts denials.
    pub(crate) observer: Arc<Observer>,
    /// What clients have sent and nobody has handled.
    pub(crate) inbound: Arc<Inbound>,
}

impl Entrance {
    /// The address and the account of a request that needs a key, if the server has keys; `None`: all clients are one.
    /// A light request counts a tenth of another.
    pub(crate) fn account(
        &self,
        peer: SocketAddr,
        headers: &HeaderMap,
        uri: &Uri,
        light: bool,
    ) -> Result<(Address, Option<Arc<str>>), Denied> {
        let (address, presented) = presented(&self.door, peer, headers, uri);
        let weight = if light { Weight::Light } else { Weight::Whole };
        match self.door.enter_as(address, presented, weight, Instant::now()) {
            Ok(pass) => Ok((address, pass.account())),
            Err(denied) => Err(self.refused(address, denied)),
        }
    }

    /// The account of a request that must show a key: a token made with one is not enough.
    pub(crate) fn account_of_key(&self, peer: SocketAddr, headers: &HeaderMap, uri: &Uri) -> Result<Arc<str>, Denied> {
        match knock(&self.door, peer, headers, uri) {
            (_, Ok(Pass::Key(key))) => Ok(key.name),
            (address, Ok(_)) => Err(self.refused(address, Denied::NotAKey)),
            (address, Err(denied)) => Err(self.refused(address, denied)),
        }
    }

    /// The credential of a request that needs one, if the server has keys.
    pub(crate) fn pass(&self, peer: SocketAddr, headers: &HeaderMap, uri: &Uri) -> Result<Pass, Denied> {
        let (address, entered) = knock(&self.door, peer, headers, uri);
        entered.map_err(|denied| self.refused(address, denied))
    }

    /// A token for one session on the account of this credential; `None`: all clients are one.
    ///
    /// # Errors
    /// If the system has no random numbers.
    pub(crate) fn token_of(&self, pass: &Pass, life: Duration) -> anyhow::Result<Option<String>> {
        pass.key().map(|key| self.door.mint(key, life, 1, Instant::now())).transpose()
    }

    /// Whether a page of this request's origin may use the server.
    pub(crate) fn check_origin(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let checked = self.door.check_origin(text(headers, &header::ORIGIN), text(headers, &header::HOST));
        checked.inspect_err(|denied| self.observer.denied(denied.reason()))
    }

    /// Whether the server answers to the name by which this request calls it.
    pub(crate) fn check_host(&self, headers: &HeaderMap) -> Result<(), Denied> {
        let checked = self.door.check_host(text(headers, &header::HOST));
        checked.inspect_err(|denied| self.observer.denied(denied.reason()))
    }

    /// Count a denial, and log it without the credential.
    fn refused(&self, address: Address, denied: Denied) -> Denied {
        self.observer.denied(denied.reason());
        tracing::info!(%address, code = denied.code(), why = %denied, "denied");
        denied
    }
}

/// Middleware for routes of the operator: they need a key, if the server has keys.
pub(crate) async fn need_key(
    State(entrance): State<Entrance>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
    next: Next,
) -> Response {
    match knock(&entrance.door, peer, request.headers(), request.uri()) {
        (_, Ok(_pass)) => next.run(request).await,
        (address, Err(denied)) => entrance.refused(address, denied).into_response(),
    }
}

/// A request's address, and the credential in its header or URL.
fn knock(door: &Door, peer: SocketAddr, headers: &HeaderMap, uri: &Uri) -> (Address, Result<Pass, Denied>) {
    let (address, presented) = presented(door, peer, headers, uri);
    (address, door.enter(address, presented, Instant::now()))
}

fn presented<'a>(door: &Door, peer: SocketAddr, headers: &'a HeaderMap, uri: &'a Uri) -> (Address, Option<&'a str>) {
    let address = door.address(peer.ip(), headers.get_all(FORWARDED_FOR).iter().map(HeaderValue::as_bytes));
    // A proxy may ask for credentials of its own on another line.
    let bearer = headers.get_all(header::AUTHORIZATION).iter().find_map(|value| {
        let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(credentials.trim())
    });
    // No byte of a key or a token needs escaping in a URL.
    let query = || uri.query()?.split('&').find_map(|pair| pair.strip_prefix("key="));
    (address, bearer.or_else(query))
}

/// The value of a header that has one. A header that is not text, or stands there twice, counts as present, but matches
/// no host and no origin.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut lines = headers.get_all(name).iter();
    let first = lines.next()?.to_str().ok();
    Some(first.filter(|_| lines.next().is_none()).unwrap_or("?"))
}

/// A client at the realtime socket.
pub(crate) struct Visitor {
    entrance: Entrance,
    address: Address,
    /// The credential. `None`: it must come in the first message.
    pass: Option<Pass>,
    show_by: Instant,
    meter: Arc<Meter>,
    _permit: Arc<ConnectionPermit>,
    /// The permit of a client behind a proxy: the connection's own permit counts for the proxy.
    _connected: Option<Connected>,
}

impl Visitor {
    /// Check before the upgrade. A browser cannot send the header and need not put a key in a URL, so none is not wrong
    /// yet.
    pub(crate) fn at_the_door(
        entrance: &Entrance,
        peer: SocketAddr,
        (permit, meter): (Arc<ConnectionPermit>, Arc<Meter>),
        headers: &HeaderMap,
        uri: &Uri,
    ) -> Result<Visitor, Denied> {
        let door = &entrance.door;
        let (address, entered) = knock(door, peer, headers, uri);
        let admitted = || {
            door.check_origin(text(headers, &header::ORIGIN), text(headers, &header::HOST))?;
            let pass = match entered {
                Err(Denied::NoKey) => None,
                entered => Some(entered?),
            };
            let show_by = Instant::now() + door.key_within();
            let connected = (!permit.is_counted_by_address()).then(|| door.connect(address)).transpose()?;
            let entrance = entrance.clone();
            meter.begin(Account::new(entrance.inbound.clone(), address));
            Ok(Visitor { entrance, address, pass, show_by, meter, _permit: permit, _connected: connected })
        };
        admitted().map_err(|denied| entrance.refused(address, denied))
    }

    /// Take `api_key` from the first message, if no credential came before.
    pub(crate) fn enter(&mut self, api_key: Option<String>) -> Result<(), Denied> {
        if self.pass.is_none() {
            let entered = self.entrance.door.enter(self.address, api_key.as_deref(), Instant::now());
            self.pass = Some(entered.map_err(|denied| self.entrance.refused(self.address, denied))?);
        }
        Ok(())
    }

    /// Let a client in that another node has let in, on this account.
    pub(crate) fn enter_for(&mut self, account: Option<&str>) -> Result<(), Denied> {
        let entered = self.entrance.door.enter_for(account);
        self.pass = Some(entered.map_err(|denied| self.entrance.refused(self.address, denied))?);
        Ok(())
    }

    /// Where it comes from.
    pub(crate) fn ip(&self) -> IpAddr {
        self.address.ip()
    }

    /// The name of its key and the sessions that this may have, if it has one.
    pub(crate) fn key(&self) -> Option<(String, usize)> {
        self.pass.as_ref()?.key().map(|key| (key.name.to_string(), key.limits.sessions))
    }

    /// Its key may have no more sessions in the cluster.
    pub(crate) fn has_too_many_sessions(&self, most: usize) -> Denied {
        self.entrance.refused(self.address, Denied::TooManySessions(most))
    }

    /// Begin a session on this client's account.
    pub(crate) fn begin_session(&self) -> Result<Lease, Denied> {
        let pass = self.pass.as_ref().expect("who has not entered begins nothing");
        let begun = self.entrance.door.begin_session(pass, Instant::now());
        begun.map_err(|denied| self.entrance.refused(self.address, denied))
    }

    /// Whose sessions are its own, too. `None`: all clients are one.
    pub(crate) fn account(&self) -> Option<Arc<str>> {
        self.pass.as_ref()?.account()
    }

    /// What is known of the connection's bytes.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        self.meter.clone()
    }

    /// More bytes have come than there is room for.
    pub(crate) fn sent_too_much(&self) -> Denied {
        self.entrance.refused(self.address, Denied::TooManyBytes)
    }

    pub(crate) fn has_shown_a_key(&self) -> bool {
        self.pass.is_some()
    }

    /// Returns when a client without a credential has used up its time.
    pub(crate) async fn said_nothing(&self) -> Denied {
        if self.has_shown_a_key() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.show_by.into()).await;
        self.entrance.refused(self.address, Denied::NoKey)
    }
}

/// The body that asks for a token; every field is optional.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Wish {
    /// Seconds.
    expires_in: u64,
    sessions: u64,
}

impl Wish {
    /// Read field by field, so that an error names the field.
    fn read(body: &[u8], sessions_max: usize) -> Result<Wish, String> {
        let mut wish = Wish { expires_in: TOKEN_LIFE.as_secs(), sessions: 1 };
        let fields: serde_json::Map<String, Value> = match body {
            [] => return Ok(wish),
            body => serde_json::from_slice(body).map_err(|error| format!("the body must be a JSON object: {error}"))?,
        };
        for (name, value) in fields {
            let (place, most) = match name.as_str() {
                "expires_in" => (&mut wish.expires_in, TOKEN_LIFE_MAX.as_secs()),
                "sessions" => (&mut wish.sessions, sessions_max as u64),
                _ => return Err(format!("{name:?} is none of expires_in and sessions")),
            };
            let number = value.as_u64().filter(|number| (1..=most).contains(number));
            *place = number.ok_or_else(|| format!("{name} must be a whole number, 1 to {most}"))?;
        }
        Ok(wish)
    }
}

/// `POST /v1/tokens`, with a key: a token for a browser.
pub(crate) async fn mint(
    State(entrance): State<Entrance>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if !entrance.door.has_keys() {
        return (StatusCode::NOT_FOUND, "this server asks for no key, so there are no tokens").into_response();
    }
    let key = match knock(&entrance.door, peer, &headers, &uri) {
        (_, Ok(Pass::Key(key))) => key,
        // Otherwise one token could renew itself for ever.
        (address, Ok(_)) => return entrance.refused(address, Denied::NotAKey).into_response(),
        (address, Err(denied)) => return entrance.refused(address, denied).into_response(),
    };
    let wish = match Wish::read(&body, key.limits.sessions) {
        Ok(wish) => wish,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    match entrance.door.mint(&key, Duration::from_secs(wish.expires_in), wish.sessions as usize, Instant::now()) {
        Ok(token) => {
            let body = json!({ "token": token, "expires_in": wish.expires_in, "sessions": wish.sessions });
            ([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
        }
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "no token made");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
