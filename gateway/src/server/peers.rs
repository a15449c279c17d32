//! How many connections, or requests, each peer holds: by address before the handshake, by certificate after it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use varco_core::hash::Sha256;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    Address(IpAddr),
    /// The key rather than the certificate, so that renewals do not multiply a peer.
    Certified(Sha256),
}

pub struct Peers {
    most: usize,
    held: Arc<Mutex<HashMap<Key, usize>>>,
}

/// One connection's or request's place; given back when dropped.
pub struct Place {
    key: Key,
    held: Arc<Mutex<HashMap<Key, usize>>>,
}

impl Peers {
    pub fn new(most: usize) -> Self {
        Self { most, held: Arc::default() }
    }

    pub fn enter_address(&self, address: IpAddr) -> Option<Place> {
        // One machine may hold a whole /64 of IPv6: it counts as one address.
        let address = match address.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) >> 64 << 64).into()),
            v4 @ IpAddr::V4(_) => v4,
        };
        self.enter(Key::Address(address))
    }

    pub fn enter_certified(&self, key: Sha256) -> Option<Place> {
        self.enter(Key::Certified(key))
    }

    fn enter(&self, key: Key) -> Option<Place> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.entry(key).or_default();
        if *count >= self.most {
            return None;
        }
        *count = count.saturating_add(1);
        Some(Place { key, held: self.held.clone() })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = held.get_mut(&self.key) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_given_back_and_an_ipv6_network_is_one_peer() {
        let peers = Peers::new(2);
        let first = peers.enter_address("2001:db8::1".parse().unwrap());
        let second = peers.enter_address("2001:db8::ffff:2".parse().unwrap());
        assert!(first.is_some() && second.is_some());
        assert!(peers.enter_address("2001:db8::3".parse().unwrap()).is_none());
        assert!(peers.enter_address("2001:db8:0:1::3".parse().unwrap()).is_some());
        drop(first);
        assert!(peers.enter_address("2001:db8::3".parse().unwrap()).is_some());
    }
}
