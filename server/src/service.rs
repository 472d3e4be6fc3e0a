//! Tells systemd how the service is: ready, or stopping, and in words what it does. A unit of `Type=notify` waits for that.
//!
//! The protocol is one datagram a message, `READY=1` or `STATUS=words`, to the socket that `NOTIFY_SOCKET` names:
//! <https://www.freedesktop.org/software/systemd/man/latest/sd_notify.html>

use std::ffi::OsStr;
use std::io;
use std::os::unix::net::UnixDatagram;

use anyhow::Context;

/// Whoever started this process, if that wants to know.
#[derive(Debug)]
pub struct Service(Option<UnixDatagram>);

impl Service {
    /// `socket` is a path, or behind an `@` a name that is no file; `None`: nobody wants to know.
    ///
    /// # Errors
    /// If there is no such socket.
    pub fn new(socket: Option<&OsStr>) -> anyhow::Result<Service> {
        let Some(socket) = socket.filter(|socket| !socket.is_empty()) else { return Ok(Service(None)) };
        let connected = connect(socket).with_context(|| format!("NOTIFY_SOCKET {}", socket.display()))?;
        Ok(Service(Some(connected)))
    }

    /// Lines such as `READY=1`.
    pub fn tell(&self, lines: &str) {
        let Some(socket) = &self.0 else { return };
        if let Err(error) = socket.send(lines.as_bytes()) {
            tracing::warn!(%error, lines, "the service manager was not told");
        }
    }
}

fn connect(address: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    // A full queue there must not hold anything up here.
    socket.set_nonblocking(true)?;
    match address.as_encoded_bytes().strip_prefix(b"@") {
        None => socket.connect(address)?,
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::SocketAddr;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Err(io::Error::new(io::ErrorKind::Unsupported, "a name that is no file, on this system")),
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_message_is_one_datagram_to_the_named_socket() {
        let scratch = Scratch::new();
        let path = scratch.path("notify");
        let manager = UnixDatagram::bind(&path).expect("a socket");
        let service = Service::new(Some(path.as_os_str())).expect("it is there");
        service.tell("READY=1\nSTATUS=serving");
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..length], b"READY=1\nSTATUS=serving");
        drop(manager);
        // Nobody listens any more: that is logged and ends nothing.
        service.tell("STOPPING=1");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_is_no_file_begins_with_an_at() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("causeway-{}", uuid::Uuid::new_v4().simple());
        let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).expect("a name");
        let manager = UnixDatagram::bind_addr(&address).expect("a socket");
        Service::new(Some(OsStr::new(&format!("@{name}")))).expect("it is there").tell("READY=1");
        let mut bytes = [0; 16];
        let length = manager.recv(&mut bytes).expect("a datagram");
        assert_eq!(&bytes[..length], b"READY=1");
    }

    #[test]
    fn without_a_manager_nobody_is_told_and_a_socket_that_is_not_there_is_an_error() {
        Service::new(None).expect("nobody").tell("READY=1");
        Service::new(Some(OsStr::new(""))).expect("nobody").tell("READY=1");
        let missing = Service::new(Some(OsStr::new("/no/such/socket"))).expect_err("not there");
        assert!(format!("{missing:#}").contains("NOTIFY_SOCKET /no/such/socket"), "{missing:#}");
    }
}
