//! How many bytes clients have sent that nobody has handled yet, of all and of each address: a message is held until its end has
//! come, and a first one until its session has begun.
//!
//! Without it one address could fill memory before anybody has a place: each of its connections may send a message of
//! `--message-bytes`, and wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::rules::address::Address;

/// Bytes of each connection that are not counted, so that a full account never costs anybody an event. The largest event, and
/// what the WebSocket layer reads ahead.
pub(crate) const FREE_BYTES: u64 = 256 << 10;

/// Of all that one address may hold, as a share of what all may: one picture too many of one household leaves room for others.
const ADDRESS_SHARE: u64 = 4;

/// The bytes that are held, by whom.
pub(crate) struct Inbound {
    bytes_max: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: u64,
    /// Of those who hold any, so it is no longer than there are connections.
    by_address: HashMap<Address, u64>,
}

impl Inbound {
    /// `bytes_max` is for all addresses together.
    pub(crate) fn new(bytes_max: u64) -> Arc<Inbound> {
        Arc::new(Inbound { bytes_max, held: Mutex::default() })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics under this lock")
    }

    /// Bytes that are held now.
    pub(crate) fn bytes(&self) -> u64 {
        self.held().bytes
    }
}

/// What one connection holds, or one of its messages: given back when this is dropped.
pub(crate) struct Account {
    inbound: Arc<Inbound>,
    address: Address,
    bytes: u64,
}

/// There is no room for more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

impl Account {
    pub(crate) fn new(inbound: Arc<Inbound>, address: Address) -> Account {
        Account { inbound, address, bytes: 0 }
    }

    /// Hold so many bytes in all, [`FREE_BYTES`] of which are not counted. What is held already stays held if there is no room.
    pub(crate) fn hold(&mut self, bytes: u64) -> Result<(), Full> {
        let bytes = bytes.saturating_sub(FREE_BYTES);
        if bytes <= self.bytes {
            return Ok(());
        }
        let more = bytes - self.bytes;
        let bytes_max = self.inbound.bytes_max;
        let mut held = self.inbound.held();
        let of_address = held.by_address.get(&self.address).copied().unwrap_or(0);
        if held.bytes + more > bytes_max || of_address + more > bytes_max / ADDRESS_SHARE {
            return Err(Full);
        }
        held.bytes += more;
        held.by_address.insert(self.address, of_address + more);
        self.bytes = bytes;
        Ok(())
    }

    /// An account of its own for what is held; this one holds nothing then.
    pub(crate) fn split(&mut self) -> Account {
        let (inbound, address) = (Arc::clone(&self.inbound), self.address);
        Account { inbound, address, bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut held = self.inbound.held();
        held.bytes -= self.bytes;
        let of_address = held.by_address.get_mut(&self.address).expect("an address that holds bytes is known");
        *of_address -= self.bytes;
        if *of_address == 0 {
            held.by_address.remove(&self.address);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn account(inbound: &Arc<Inbound>, last: u8) -> Account {
        Account::new(Arc::clone(inbound), IpAddr::from([192, 0, 2, last]).into())
    }

    #[test]
    fn an_address_holds_a_quarter_and_all_hold_no_more_than_there_is() {
        let inbound = Inbound::new(40 * MIB);
        let mut accounts: Vec<_> = (0..5).map(|last| account(&inbound, last)).collect();
        for account in &mut accounts[..4] {
            assert_eq!(account.hold(FREE_BYTES + 10 * MIB), Ok(()));
            assert_eq!(account.hold(FREE_BYTES + 10 * MIB + 1), Err(Full), "a quarter is one address's");
        }
        assert_eq!(accounts[4].hold(FREE_BYTES + 1), Err(Full), "all of it is held");
        assert_eq!(accounts[4].hold(FREE_BYTES), Ok(()), "a small message is never in the way");
        drop(accounts.remove(0));
        assert_eq!(inbound.bytes(), 30 * MIB);
        assert_eq!(accounts[3].hold(FREE_BYTES + 10 * MIB), Ok(()));
    }

    #[test]
    fn two_connections_of_an_address_share_its_part() {
        let inbound = Inbound::new(40 * MIB);
        let (mut one, mut other) = (account(&inbound, 1), account(&inbound, 1));
        assert_eq!(one.hold(FREE_BYTES + 6 * MIB), Ok(()));
        assert_eq!(other.hold(FREE_BYTES + 6 * MIB), Err(Full));
        assert_eq!(other.hold(FREE_BYTES + 4 * MIB), Ok(()));
        assert_eq!(one.hold(3 * MIB), Ok(()), "less than is held already");
        assert_eq!(inbound.bytes(), 10 * MIB);
    }

    #[test]
    fn what_is_held_is_given_back_once_and_nobody_is_remembered() {
        let inbound = Inbound::new(40 * MIB);
        let mut connection = account(&inbound, 1);
        assert_eq!(connection.hold(5 * MIB), Ok(()));
        let message = connection.split();
        assert_eq!(connection.hold(3 * MIB), Ok(()), "the next message");
        drop(connection);
        assert_eq!(inbound.bytes(), 5 * MIB - FREE_BYTES);
        drop(message);
        assert_eq!((inbound.bytes(), inbound.held().by_address.len()), (0, 0));
    }
}
